"""Runs the operator's command, for each line of standard input in a process forked from this one,
which has imported everything. Needs nothing but chatsync and what that needs."""

import gc
import json
import os
import sys
from typing import Any

from chatsync.operator.command import main


def serve() -> None:
    gc.freeze()  # else each child would go through all that was imported when it ends
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(json.loads(line))
            main()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(call: dict[str, Any]) -> None:
    sys.argv = call["arguments"]
    os.chdir(call["at"])
    os.environ.clear()
    os.environ.update(call["environment"])
    for number, file in enumerate(call["files"]):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)


if __name__ == "__main__":
    serve()
