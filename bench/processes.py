"""Function processes, started as production does, in an environment that holds what is deployed."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from dev import emulators, setup
from tests.chaos.backends import free_port
from tests.chaos.deployment import Deployed, deploy

FOLDER = setup.LOCAL / "bench"
VENV = FOLDER / "venv"
"""Without what is there for developers: some packages import others where they find them."""

OURS = FOLDER / "functions"
BASELINE = FOLDER / "baseline"
SAME_CALLS = FOLDER / "same_calls"
BY_HAND = emulators.ROOT / "bench" / "by_hand"
"""In Node. Nothing of it is compiled or left out where it is deployed."""

_NODE_FRAMEWORK = setup.NODE_MODULES / ".bin" / "functions-framework"

_CHATSYNC = (sys.executable, "-m", "chatsync", "--project", emulators.PROJECT)
COMMANDS = {
    "backfill": [*_CHATSYNC, "backfill", "--apply", "--json"],
    "audit": [*_CHATSYNC, "audit", "--users", "--json"],
}
"""The operator's."""

_BUDGETS = (
    *("ensure_per_minute", "ensure_calls_per_minute", "token_per_minute"),
    *("conversations_per_minute", "new_conversations_per_day"),
)
START_SECONDS = 60.0
CALL_SECONDS = 120.0
_POLL_SECONDS = 0.002


def prepare() -> None:
    """The environment, made once, and fresh copies of both sources; all of it compiled.

    As Google's builders do, whose containers begin with compiled files.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    requirements = emulators.ROOT / "functions" / "requirements.txt"
    inputs = f"{VENV} {setup.venv_version()} {setup.digest(requirements)}"
    if not VENV.exists() or not setup.done("bench", inputs):
        with setup.step("bench", inputs, "installing what is deployed, for the bench"):
            _run(setup.VENV_PYTHON, "-m", "venv", "--clear", VENV)
            pip = (VENV / "bin" / "python", "-m", "pip", "install", "-qq", "--require-hashes")
            _run(*pip, "-r", requirements)
    deployed()
    ignored = shutil.ignore_patterns("__pycache__")
    for source in (BASELINE, SAME_CALLS):
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(emulators.ROOT / "bench" / source.name, source, ignore=ignored)
    for source in (OURS, BASELINE, SAME_CALLS):
        _run(VENV / "bin" / "python", "-m", "compileall", "-q", source)


@functools.cache
def deployed() -> dict[str, Deployed]:
    """The functions by name, copied to ``OURS``."""
    functions = deploy(OURS)
    # One caller asks for more than an account may.
    limits = "".join(f"{name} = 1_000_000\n" for name in _BUDGETS)
    (OURS / "chatsync.toml").write_text(f"[limits]\n{limits}")
    return {one.name: one for one in functions}


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


@dataclass
class Function:
    """A function's process; use it with ``serving``."""

    source: Path
    name: str
    threads: int | None = None
    """None: as many as the function takes requests at once where it is deployed. Node has one."""

    def __post_init__(self) -> None:
        deployment = deployed()[self.name]
        self.threads = self.threads or deployment.concurrency
        self.port = free_port()
        self.log = FOLDER / f"{self.source.name}-{self.name}.log"
        with self.log.open("wb") as log:
            if self.source == BY_HAND:
                self.process = _start_node(self.name, self.port, log)
            else:
                settings = environment(THREADS=str(self.threads))
                self.process = deployment.start(self.source, VENV / "bin", self.port, settings, log)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not emulators.listens(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not start: {self.log}")
            time.sleep(_POLL_SECONDS)

    def call(self, data: object, id_token: str) -> Any:
        """The result of a callable."""
        return json.loads(self.post(*call_of(data, id_token)))["result"]

    def post(self, body: bytes, headers: dict[str, str]) -> bytes:
        try:
            return post(self.port, "/", body, headers)
        except RuntimeError as error:
            raise RuntimeError(f"{self.name}: {error}; {self.log}") from error

    def memory_mb(self) -> float:
        """Of gunicorn and its worker: each page once, where the system tells (Linux)."""
        used = [process.memory_full_info() for process in self._family()]
        return float(sum(getattr(one, "pss", one.uss) for one in used) / 1e6)

    def cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self._family()]
        return float(sum(one.user + one.system for one in times))

    def _family(self) -> list[psutil.Process]:
        gunicorn = psutil.Process(self.process.pid)
        return [gunicorn, *gunicorn.children(recursive=True)]

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _start_node(name: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A function of ``BY_HAND`` as in production, but for the signature of a caller's token.

    The emulator's tokens have none, and Python's SDK reads their claims only. Node's would ask the
    Auth emulator about each, as it doesn't in production; so it is told, as the Functions emulator
    tells it, to read the claims only.
    """
    signature = "http" if name == "getStreamUserToken" else "event"
    command = [str(_NODE_FRAMEWORK), f"--target={name}", f"--signature-type={signature}"]
    settings = environment(
        NODE_ENV="production",
        FIREBASE_DEBUG_MODE="true",
        FIREBASE_DEBUG_FEATURES='{"skipTokenVerification": true}',
    )
    return subprocess.Popen(
        [*command, f"--port={port}"],
        cwd=BY_HAND,
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def environment(**settings: str) -> dict[str, str]:
    return {
        **os.environ,
        **emulators.CLIENT_ENVIRONMENT,
        "PYTHONWARNINGS": "ignore:The HMAC key",
        "PYTHONDONTWRITEBYTECODE": "1",
        **settings,
    }


@contextlib.contextmanager
def serving(source: Path, name: str, threads: int | None = None) -> Iterator[Function]:
    """A function that takes requests."""
    function = Function(source, name, threads)
    try:
        function.wait_until_ready()
        yield function
    finally:
        function.stop()


@contextlib.contextmanager
def both(name: str, source: Path = BASELINE) -> Iterator[tuple[Function, Function]]:
    """Ours and the baseline's, side by side."""
    with serving(OURS, name) as ours, serving(source, name) as baseline:
        yield ours, baseline


def call_of(data: object, id_token: str) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a call of a callable."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {id_token}"}
    return json.dumps({"data": data}).encode(), headers


def post(port: int, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The answer's body, over a connection of its own. Raises RuntimeError unless it is a 200."""
    connection = http.client.HTTPConnection(emulators.HOST, port, timeout=CALL_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
    if response.status != 200:
        raise RuntimeError(f"answered {response.status}: {answer!r}")
    return answer
