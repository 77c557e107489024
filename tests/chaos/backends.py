"""What the functions talk to: the Auth, Firestore and Tasks emulators, the local Stream server."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator

from dev import emulators, setup
from dev.start import LOG, START_TIMEOUT, Stack, StackError, running_stack

FOLDER = setup.LOCAL / "chaos"

_SERVERS = ("auth", "firestore", "tasks", "local Stream server")


@contextlib.contextmanager
def running_backends() -> Iterator[Backends]:
    """Starts them, and stops them whatever happens, and all other children of this process too."""
    backends = Backends()
    with running_stack(backends, any_stream_app=True):
        yield backends


class Backends(Stack):
    """The local stack without the Functions emulator, which is not how production runs them.

    Firestore sends its events to ``events_port``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events_port = free_port()

    def start(self) -> None:
        LOG.write_bytes(b"")
        stream_server = emulators.stream_server_command("tests.chaos.stream_server")
        its_environment = {**os.environ, "PYTHONPATH": str(emulators.ROOT)}
        self._spawn("local Stream server", stream_server, its_environment)
        cli = emulators.cli_command(only=("auth", "firestore"))
        self._spawn("Firebase CLI", cli, self._cli_environment())
        self._spawn("Tasks emulator", _tasks_command(), emulators.cli_environment())
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
        stand_in = emulators.FOLDER / ".local" / "bin" / "java"
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


def _tasks_command() -> list[str]:
    script = emulators.ROOT / "tests" / "chaos" / "tasks_emulator.cjs"
    tools = setup.NODE_MODULES / "firebase-tools"
    return ["node", str(script), str(tools), emulators.HOST, str(emulators.PORTS["tasks"])]


def free_port() -> int:
    with socket.socket() as free:
        free.bind((emulators.HOST, 0))
        port: int = free.getsockname()[1]
        return port
