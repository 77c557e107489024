"""What the functions talk to: the Auth, Firestore and Tasks emulators, the local Stream server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from dev import emulators
from dev.start import LOG, START_TIMEOUT, Stack, StackError, refuse_unless_ready

FOLDER = emulators.ROOT / ".local" / "chaos"

_SERVERS = ("auth", "firestore", "tasks", "local Stream server")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def running_backends(events_port: int) -> Iterator[Backends]:
    """Starts them, and stops them whatever happens, and all other children of this process too.

    Firestore sends its events to ``events_port``.
    """
    refuse_unless_ready(any_stream_app=True)
    backends = Backends(events_port)
    previous = {number: signal.signal(number, _exit) for number in _SIGNALS}
    try:
        backends.start()
        yield backends
    finally:
        backends.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


class Backends(Stack):
    """The local stack without the Functions emulator, which is not how production runs them."""

    def __init__(self, events_port: int) -> None:
        super().__init__()
        self.events_port = events_port

    def start(self) -> None:
        LOG.write_bytes(b"")
        port = str(emulators.PORTS["local Stream server"])
        address = ["--host", emulators.HOST, "--port", port, "--parent", str(os.getpid())]
        command = [sys.executable, "-m", "tests.chaos.stream_server", *address]
        self._spawn("local Stream server", command)
        self._spawn("Firebase CLI", _cli_command(), self._cli_environment())
        environment = emulators.cli_environment()
        self._spawn("Tasks emulator", _tasks_command(), environment)
        deadline = time.monotonic() + START_TIMEOUT
        while not all(emulators.answers(emulators.PORTS[name]) for name in _SERVERS):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"The emulators are not up after {START_TIMEOUT} s: {LOG}")
            time.sleep(0.2)

    def _cli_environment(self) -> dict[str, str]:
        """With a ``java`` that gives the Firestore emulator one more argument.

        The emulator sends its events to a Functions emulator, of which the CLI tells it only if it
        has started one. So the events here are Firestore's own: one per change, encoded by it.
        """
        environment = emulators.cli_environment()
        stand_in = FOLDER / "bin" / "java"
        stand_in.parent.mkdir(parents=True, exist_ok=True)
        receiver = f"{emulators.HOST}:{self.events_port}"
        stand_in.write_text(
            "#!/bin/sh\n"
            f'case " $* " in *" -jar "*) set -- "$@" --functions_emulator {receiver} ;; esac\n'
            f'exec "{environment["JAVA_HOME"]}/bin/java" "$@"\n'
        )
        stand_in.chmod(0o755)
        path = os.pathsep.join([str(stand_in.parent), environment["PATH"]])
        return {**environment, "PATH": path}


def _cli_command() -> list[str]:
    only = "--only=auth,firestore"
    return [only if one.startswith("--only=") else one for one in emulators.cli_command()]


def _tasks_command() -> list[str]:
    script = emulators.ROOT / "tests" / "chaos" / "tasks_emulator.cjs"
    tools = emulators.ROOT / "node_modules" / "firebase-tools"
    return ["node", str(script), str(tools), emulators.HOST, str(emulators.PORTS["tasks"])]


def free_port() -> int:
    with socket.socket() as free:
        free.bind((emulators.HOST, 0))
        port: int = free.getsockname()[1]
        return port
