"""Runs the Firebase emulators and the local Stream server until Ctrl-C."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psutil

from dev import emulators, setup
from stream_server.control_client import LocalStream

LOG = emulators.FOLDER / ".local" / "emulators.log"
READY_LINE = "The local stack is up."
START_TIMEOUT = 150
STOP_TIMEOUT = 12


class StackError(Exception):
    """The local stack cannot start, or died: a message for the developer."""


@contextlib.contextmanager
def running_stack(stack: "Stack", any_stream_app: bool = False) -> Iterator[None]:
    """Starts everything, and stops everything whatever happens, signals included.

    All output goes to .local/emulators.log. Unless ``any_stream_app``, functions/.env.local must
    name the local Stream server: demo and tests would fill a real app with their people.
    """
    refuse_unless_ready(any_stream_app)
    previous = {number: signal.signal(number, _exit) for number in _SIGNALS}
    try:
        stack.start()
        yield
    finally:
        stack.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def refuse_unless_ready(any_stream_app: bool = False) -> None:
    needed = (emulators.CONFIG, setup.EMULATOR_ENVIRONMENT, emulators.FUNCTIONS_ENVIRONMENT)
    if not all(file.exists() for file in needed):
        raise StackError("Not set up yet: run `make setup` first.")
    base_url = emulators.functions_environment().get("STREAM_BASE_URL")
    if base_url != emulators.STREAM_BASE_URL and not any_stream_app:
        raise StackError(
            "functions/.env.local does not point to the local Stream server. For demo and tests,"
            " move it away and run `make setup`, which writes a new one."
        )
    if base_url == emulators.STREAM_BASE_URL and (wrong := emulators.wrong_local_settings()):
        raise StackError(wrong)
    deadline = time.monotonic() + STOP_TIMEOUT + 5
    while taken := emulators.taken_ports(emulators.ports()):
        # The stack of a killed test run notices that it is an orphan, and needs a moment to end.
        if not any("--parent" in line for line in taken) or time.monotonic() > deadline:
            raise StackError("\n".join(taken))
        time.sleep(0.2)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _exit(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


class Stack:
    """All parts; ``parent`` is the process without which none of them shall go on.

    ``config`` says which functions, by default ours.
    """

    def __init__(self, parent: int | None = None, config: Path = emulators.CONFIG) -> None:
        self.parent = parent
        self.config = config
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        # The Firebase CLI detaches what it starts, and forgets some Python workers when it reloads
        # the functions: orphans cannot be found later, so they are noted while they have parents.
        self.family: set[psutil.Process] = set()

    def start(self) -> None:
        LOG.write_bytes(b"")
        self.log = LOG.open(errors="replace")
        its_environment = {**os.environ, "PYTHONPATH": str(emulators.ROOT)}
        self._spawn("local Stream server", emulators.stream_server_command(), its_environment)
        self._spawn(
            "Firebase CLI", emulators.cli_command(config=self.config), emulators.cli_environment()
        )
        if "web example" in emulators.PORTS:
            self._spawn("web example", emulators.web_example_command(), stdin=subprocess.PIPE)

        deadline = time.monotonic() + START_TIMEOUT
        output = ""
        while _CLI_READY not in output or not _all_answer():
            self.check()
            output += self.log.read()
            if time.monotonic() > deadline:
                raise _error(f"The emulators are not up after {START_TIMEOUT} s.")
            time.sleep(0.2)
        # The CLI reports success even if the functions failed to load.
        if not emulators.loaded_functions():
            raise _error("The functions did not load.", output.partition(_CLI_READY)[0])

    def watch(self, echo: bool) -> NoReturn:
        """Ends by a signal, or with an error when a part of the stack dies."""
        while True:
            output = self.log.read()
            if echo and output:
                print(output, end="", flush=True)
            self.check()
            for name in _SERVERS:
                if not emulators.listens(emulators.PORTS[name]):
                    raise _error(f"The {name} server died.")
            time.sleep(0.5)

    def stop(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            self._note_family()
            for child in self.children.values():
                child.send_signal(signal.SIGINT)
            deadline = time.monotonic() + STOP_TIMEOUT
            while time.monotonic() < deadline and any(
                child.poll() is None for child in self.children.values()
            ):
                self._note_family()
                time.sleep(0.1)
        finally:  # also when a second Ctrl-C ends the wait
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._note_family()
            for process in self.family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(self.family, timeout=5)

    def _spawn(
        self,
        name: str,
        command: list[str],
        env: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        with LOG.open("ab") as log:
            self.children[name] = subprocess.Popen(
                command,
                cwd=emulators.FOLDER,
                env=env,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's Ctrl-C reaches only us: we stop in order
            )

    def check(self) -> None:
        """Raises StackError if a part of the stack ended. To be called now and then."""
        self._note_family()
        if self.parent not in (None, os.getppid()):
            raise StackError(f"Process {self.parent}, for which this ran, is gone.")
        for name, child in self.children.items():
            if child.poll() is not None:
                raise _error(f"The {name} ended with exit status {child.returncode}.")

    def _note_family(self) -> None:
        self.family.update(psutil.Process().children(recursive=True))


_CLI_READY = "All emulators ready"
# The other two take WebSockets only.
_SERVERS = [one for one in emulators.PORTS if one not in ("logging", "firestore websocket")]


def _all_answer() -> bool:
    return all(emulators.answers(emulators.PORTS[name]) for name in _SERVERS)


def _error(message: str, output: str | None = None) -> StackError:
    output = output or LOG.read_text(errors="replace")
    lines = [*output.splitlines()[-30:], "", f"{message} (More above and in {LOG}.)"]
    return StackError("\n".join(lines))


def addresses() -> str:
    ports = emulators.ports()
    functions = emulators.functions_environment()
    titles = {
        "auth": "Auth emulator",
        "firestore": "Firestore emulator",
        "functions": "Functions emulator",
        "pubsub": "Pub/Sub emulator",
        "tasks": "Cloud Tasks emulator",
        "eventarc": "Eventarc emulator",
        "local Stream server": "Stream (local server)",
        "ui": "Emulator UI",
    }
    rows = [
        *((titles[name], f"{emulators.HOST}:{ports[name]}") for name in titles if name in ports),
        ("Project id", emulators.PROJECT),
        ("Region", emulators.REGION),
        ("Stream API key", functions.get("STREAM_API_KEY", "not set")),
        ("Stream base URL", functions.get("STREAM_BASE_URL", "Stream's own")),
        ("A callable's URL", f"{emulators.FUNCTIONS_URL}/ensureStreamUser"),
    ]
    if "web example" in ports:
        rows.append(("A chat to click through", emulators.url("web example")))
    table = "\n".join(f"  {what:<24}{address}" for what, address in rows)
    return (
        f"\n{READY_LINE} Ctrl-C stops it.\n\n{table}\n\n"
        f"  cd functions && venv/bin/python -m chatsync --project {emulators.PROJECT} doctor\n\n"
        f"In the Android emulator, {emulators.HOST} is 10.0.2.2. For a phone: docs/callables.md.\n"
    )


def call_back() -> None:
    """Have the local Stream server call our webhook, as an app's own Stream would.

    With more time than Stream gives: a function starts cold here.
    """
    stream = LocalStream(emulators.STREAM_BASE_URL)
    stream.webhook(f"{emulators.FUNCTIONS_URL}/streamWebhook", timeout_ms=20_000, total_ms=55_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.start", description=__doc__)
    parser.add_argument("--quiet", action="store_true", help=f"log only to {LOG.name} in .local")
    parser.add_argument("--parent", type=int, help="the process that this one ends with")
    arguments = parser.parse_args()

    if not arguments.quiet:
        print("Starting the Firebase emulators and the local Stream server ...", flush=True)
    stack = Stack(arguments.parent)
    try:
        with running_stack(stack, any_stream_app=not arguments.quiet):
            if not arguments.quiet:
                call_back()
            print(addresses(), flush=True)
            stack.watch(echo=not arguments.quiet)
    except StackError as error:
        sys.exit(str(error))
    except SystemExit:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print("\nStopped.", flush=True)
        raise


if __name__ == "__main__":
    main()
