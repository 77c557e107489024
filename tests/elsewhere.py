"""``python -m tests.elsewhere MODULE ...`` runs a module with emulators' ports of its own.

So it may run beside the local stack of this checkout, in a project of its own.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dev import emulators


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="elsewhere-") as folder:
        place, ports = Path(folder), free_ports()
        stated = {"firestore": {"rules": "firestore.rules"}, "emulators": emulators_at(ports)}
        for name in ("firebase.json", "firebase.local.json"):
            (place / name).write_text(json.dumps(stated))
        shutil.copy(emulators.ROOT / "firestore.rules", place)
        for name in (".local", "functions"):
            (place / name).mkdir()
        (place / "functions" / ".env.local").touch()  # for functions that the emulators run
        settings = {
            "LOCAL_STACK": folder,
            "LOCAL_STACK_PROJECT": "demo-elsewhere",
            "LOCAL_STREAM_PORT": str(ports["stream"]),
        }
        command = [sys.executable, "-m", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, **settings}, check=False).returncode


def free_ports() -> dict[str, int]:
    names = (*emulators.EMULATORS, "hub", "logging", "ui", "websocket", "stream")
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind((emulators.HOST, 0))
        return {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}


def emulators_at(ports: dict[str, int]) -> dict[str, Any]:
    """The part of firebase.json for emulators with these ports."""
    stated: dict[str, Any] = json.loads((emulators.ROOT / "firebase.local.json").read_text())
    found: dict[str, Any] = stated["emulators"]
    for name in (*emulators.EMULATORS, "hub", "logging", "ui"):
        found[name]["port"] = ports[name]
    found["firestore"]["websocketPort"] = ports["websocket"]
    return found


if __name__ == "__main__":
    sys.exit(main())
