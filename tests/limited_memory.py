"""A function's process under a memory limit that the kernel enforces.

``RLIMIT_DATA`` needs no privilege, unlike a memory cgroup, which the platform uses. It counts what
a process asked for, not what it touched: more than a cgroup does, by 10 to 50 MB. And it refuses
what is too much where the platform kills the process: Python raises MemoryError, a library in C may
abort. So whoever asks whether a process survives looks at its answers too: none may be a 500.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from dev import emulators
from tests.chaos.backends import free_port
from tests.chaos.deployment import Deployed, deploy
from tests.waiting import wait_for

MB = 1024 * 1024

STACK_BYTES = 2 * MB
"""Of a thread: the usual 8 MB count in full, though little of them is touched."""


@dataclass(frozen=True)
class Limited:
    """A function's process; requests go to ``url``."""

    url: str
    worker: psutil.Process
    """The process that answers. If it dies, gunicorn starts another."""

    def peak_mb(self) -> float:
        """The most memory that it had since its start; a cgroup counts up to 30 MB more."""
        status = Path(f"/proc/{self.worker.pid}/status").read_text()
        [kilobytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        return int(kilobytes) / 1024

    def is_alive(self) -> bool:
        return self.worker.is_running() and self.worker.status() != psutil.STATUS_ZOMBIE


@functools.cache
def deployed() -> dict[str, Deployed]:
    """The functions by name, as their manifest has them."""
    with tempfile.TemporaryDirectory() as folder:
        return {one.name: one for one in deploy(Path(folder))}


@contextlib.contextmanager
def start(
    name: str,
    limit_mb: float,
    environment: Mapping[str, str],
    source: Path = emulators.ROOT / "functions",
) -> Iterator[Limited]:
    """A function's process with as many threads as in production.

    ``environment`` comes on top of that of the local stack. Skips the test where there is no limit.
    """
    prlimit = shutil.which("prlimit")
    if not sys.platform.startswith("linux") or not prlimit:
        pytest.skip("a limit of memory needs Linux, and prlimit of util-linux")
    function, port = deployed()[name], free_port()
    limits = [prlimit, f"--data={int(limit_mb * MB)}", f"--stack={STACK_BYTES}", "--"]
    with tempfile.TemporaryFile() as log:
        process = function.start(
            source,
            Path(sys.executable).parent,
            port,
            {
                **os.environ,
                **emulators.CLIENT_ENVIRONMENT,
                "THREADS": str(function.concurrency),
                **environment,
            },
            log,
            under=limits,
        )
        try:
            worker = wait_for(lambda: _worker(process, port))
            yield Limited(f"http://{emulators.HOST}:{port}/", worker)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _worker(process: subprocess.Popen[bytes], port: int) -> psutil.Process | None:
    if process.poll() is not None:
        pytest.fail(f"the function ended with {process.returncode} before it served")
    children = psutil.Process(process.pid).children()
    return children[0] if children and emulators.listens(port) else None
