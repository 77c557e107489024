"""The operator's command, each time in a process of its own that has imported everything before.

``python -m chatsync`` takes longer to import than most commands to run.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from dev import emulators

FUNCTIONS = emulators.ROOT / "functions"
_SERVER = Path(__file__).with_name("command_server.py")


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m chatsync`` against the emulators, as dev.seed has it."""
    return run("--project", emulators.PROJECT, *arguments, at=FUNCTIONS, **environment)


def run(
    *arguments: str, at: Path, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``python -m chatsync`` in a folder, where nobody can answer.

    ``python`` is another one that has chatsync installed.
    """
    with tempfile.TemporaryDirectory() as place:
        printed = [Path(place) / "stdout", Path(place) / "stderr"]
        call = {
            "arguments": ["chatsync", *arguments],
            "at": str(at),
            "environment": {"PATH": os.environ["PATH"], **environment},
            "files": [os.devnull, *map(str, printed)],
        }
        server = _server(python)
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps(call) + "\n")
        server.stdin.flush()
        try:
            status = int(server.stdout.readline())
        except BaseException:  # out of time: the next command must not get this one's answer
            server.kill()
            _server.cache_clear()
            raise
        out, errors = [file.read_text() for file in printed]
    return subprocess.CompletedProcess(arguments, status, out, errors)


@cache
def _server(python: str) -> subprocess.Popen[str]:
    """It ends with this process, which has the other end of its standard input."""
    ours = {"PYTHONPATH": str(FUNCTIONS)} if python == sys.executable else {}
    return subprocess.Popen(
        [python, _SERVER],
        env={"PATH": os.environ["PATH"], **ours},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
