"""Measures the functions and prints one table; every ratio is to a baseline of the same run."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from dev import emulators
from dev.start import StackError
from tests.chaos.backends import free_port, running_backends

from . import figures, people, serving
from .figures import Figure
from .processes import prepare

MEASUREMENTS = {**serving.MEASUREMENTS}


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
    warnings.filterwarnings("ignore", message="The HMAC key")  # the local secret is short
    os.environ.update(emulators.CLIENT_ENVIRONMENT)
    measured: list[Figure] = []
    events_port = free_port()
    with running_backends(events_port) as backends, answering(events_port):
        people.connect()
        queue_tasks(events_port)
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            backends.check()
            people.forget_in_stream()
            measured += MEASUREMENTS[name]()
    return measured


def queue_tasks(port: int) -> None:
    """The queue that createConversation puts a task into, to be delivered to ``port``."""
    queue = (
        f"http://{emulators.HOST}:{emulators.PORTS['tasks']}/projects/{emulators.PROJECT}"
        f"/locations/{emulators.REGION}/queues/drainRepairs"
    )
    body = {"defaultUri": f"http://{emulators.HOST}:{port}/"}
    requests.post(queue, json=body, headers={"Authorization": "Bearer owner"}).raise_for_status()


@contextlib.contextmanager
def answering(port: int) -> Iterator[None]:
    """A server that is content with every request: it stands for the functions not measured."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer((emulators.HOST, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()


if __name__ == "__main__":
    main()
