"""Measures the functions and prints one table; every ratio is to a baseline of the same run."""

from __future__ import annotations

import argparse
import json
import sys

from dev import emulators
from dev.start import StackError
from tests.chaos.backends import running_backends

from . import background, figures, people, queue, serving
from .figures import Figure
from .processes import prepare

MEASUREMENTS = {**serving.MEASUREMENTS, **background.MEASUREMENTS}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures and machine as JSON")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=MEASUREMENTS, help=", ".join(MEASUREMENTS)
    )
    arguments = parser.parse_args()
    machine = figures.machine()
    prepare()
    try:
        measured = measure(arguments.only or list(MEASUREMENTS))
    except StackError as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps({"machine": machine, "figures": [one.as_json() for one in measured]}))
        return
    print(f"\n{figures.describe(machine)}\n")
    figures.show(measured)


def measure(names: list[str]) -> list[Figure]:
    emulators.use_local_stack()
    measured: list[Figure] = []
    with running_backends() as backends, queue.answering(backends.events_port):
        people.connect()
        queue.create(backends.events_port)
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            backends.check()
            people.forget_in_stream()
            measured += MEASUREMENTS[name]()
    return measured


if __name__ == "__main__":
    main()
