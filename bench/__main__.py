"""Measures the functions and prints tables; every ratio is to a baseline of the same run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from dev import emulators
from dev.start import StackError
from tests.chaos.backends import running_backends

from . import background, emulated, figures, node, people, processor, queue, serving, sizes
from .figures import Figure
from .processes import prepare

TABLES = {
    "As in production, beside the bare SDKs": {**serving.MEASUREMENTS, **background.MEASUREMENTS},
    "CPU time, beside a function that makes the same calls": processor.MEASUREMENTS,
    "As in production, beside functions by hand in Node": node.MEASUREMENTS,
    "In the Functions emulator, beside functions by hand in Node": emulated.MEASUREMENTS,
}
MEASUREMENTS = {name: one for table in TABLES.values() for name, one in table.items()}
HERE = [
    name
    for name in MEASUREMENTS
    if emulators.FOLDER == emulators.ROOT or name not in emulated.MEASUREMENTS
]
"""Those by default. Elsewhere (tests/elsewhere.py) no functions run in the emulator."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="figures and machine as JSON")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=MEASUREMENTS, help=", ".join(MEASUREMENTS)
    )
    parser.add_argument(
        "--smoke", action="store_true", help="tiny samples: see that all of it still works"
    )
    arguments = parser.parse_args()
    machine = figures.machine()
    if arguments.smoke:
        sizes.shrink()
    try:
        measured = measure(arguments.only or HERE)
    except StackError as error:
        sys.exit(str(error))
    if arguments.smoke:  # whose figures say nothing
        measured = {
            name: [dataclasses.replace(one, goal="") for one in some]
            for name, some in measured.items()
        }
    if arguments.json:
        every = [
            {"measurement": name, **one.as_json()}
            for name, some in measured.items()
            for one in some
        ]
        print(json.dumps({"machine": machine, "figures": every}))
        return
    print(f"\n{figures.describe(machine)}")
    for title, table in TABLES.items():
        if lines := [one for name in table for one in measured.get(name, ())]:
            print(f"\n{title}:\n")
            figures.show(lines)


def measure(names: list[str]) -> dict[str, list[Figure]]:
    """The figures of each measurement."""
    emulators.use_local_stack()
    people.connect()
    measured = {}
    if as_in_production := [name for name in names if name not in emulated.MEASUREMENTS]:
        prepare()
        with running_backends() as backends, queue.answering(backends.events_port):
            queue.create(backends.events_port)
            for name in as_in_production:
                backends.check()
                people.forget_in_stream()
                measured[name] = _measure(name)
    for name in emulated.MEASUREMENTS:  # with emulators of its own
        if name in names:
            measured[name] = _measure(name)
    return measured


def _measure(name: str) -> list[Figure]:
    """Each figure is told at once: a failure later loses none."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    measured = []
    for figure in MEASUREMENTS[name]():
        measured.append(figure)
        beside = f"{figure.measured:.4g} beside {figure.baseline:.4g} {figure.unit}"
        print(f"  {figure.name}: {beside}", file=sys.stderr, flush=True)
    return measured


if __name__ == "__main__":
    main()
