"""The operator's command, each time in a process of its own that has imported everything before.

``python -m chatsync`` takes longer to import than most commands to run. ``python -m
tests.emulator.commands`` imports once, and forks for each line of its standard input.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from dev import emulators

FUNCTIONS = emulators.ROOT / "functions"


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m chatsync`` against the emulators, as dev.seed has it."""
    return run("--project", emulators.PROJECT, *arguments, at=FUNCTIONS, **environment)


def run(*arguments: str, at: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m chatsync`` in a folder, where nobody can answer."""
    environment = {"PATH": os.environ["PATH"], **environment}
    with tempfile.TemporaryDirectory() as place:
        printed = [Path(place) / "stdout", Path(place) / "stderr"]
        call = {
            "arguments": ["chatsync", *arguments],
            "at": str(at),
            "environment": environment,
            "files": [os.devnull, *map(str, printed)],
        }
        server = _server()
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps(call) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        out, errors = [file.read_text() for file in printed]
    return subprocess.CompletedProcess(arguments, status, out, errors)


@cache
def _server() -> subprocess.Popen[str]:
    """It ends with this process, which has the other end of its standard input."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.emulator.commands"],
        cwd=emulators.ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(FUNCTIONS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _serve() -> None:
    from chatsync.operator.command import main

    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
            main()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(call: dict[str, Any]) -> None:
    sys.argv = call["arguments"]
    os.chdir(call["at"])
    os.environ.clear()
    os.environ.update(call["environment"])
    for number, file in enumerate(call["files"]):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)


if __name__ == "__main__":
    _serve()
