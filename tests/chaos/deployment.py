"""The functions as they are deployed: a copy of their source, and what their manifest says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dev import emulators

_DESCRIBE = """
import json, yaml, main
from firebase_functions.private import serving
print(json.dumps(yaml.safe_load(serving.functions_as_yaml(serving.get_functions()))))
"""


@dataclass(frozen=True)
class Deployed:
    """One function: what it listens to, and how the platform runs it."""

    name: str
    concurrency: int
    memory_mb: int
    timeout_seconds: int
    event_type: str | None = None
    event_filters: dict[str, str] | None = None
    document: str | None = None
    """A Firestore trigger's pattern, such as ``users/{uid}``."""
    retry: bool = False
    queue: dict[str, Any] | None = None
    """A task queue's retryConfig and rateLimits."""

    @property
    def signature(self) -> str:
        return "cloudevent" if self.event_type else "http"

    def start(
        self,
        source: Path,
        scripts: Path,
        port: int,
        settings: dict[str, str],
        log: IO[bytes],
        under: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """A process as in production; ``scripts`` is where functions-framework is.

        ``under`` is a command that is given this one to become, as ``nice`` is.
        """
        command = [*under, str(scripts / "functions-framework"), "--source", "main.py"]
        command += ["--target", self.name, "--signature-type", self.signature]
        return subprocess.Popen(
            [*command, "--host", emulators.HOST, "--port", str(port)],
            cwd=source,
            env={**settings, "CHATSYNC_REGION": emulators.REGION},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: gunicorn and its worker die together
        )


def deploy(folder: Path) -> list[Deployed]:
    """Copy the source to ``folder``, since a deployment doesn't change while it runs."""
    shutil.rmtree(folder, ignore_errors=True)
    source = emulators.ROOT / "functions"
    folder.mkdir(parents=True)
    shutil.copy(source / "main.py", folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / "chatsync", folder / "chatsync", ignore=ignored)
    described = subprocess.run(
        [sys.executable, "-c", _DESCRIBE],
        cwd=folder,
        env={**os.environ, "GCLOUD_PROJECT": emulators.PROJECT},
        capture_output=True,
        text=True,
    )
    if described.returncode:
        raise RuntimeError(f"The functions cannot be loaded:\n{described.stderr}")
    endpoints = json.loads(described.stdout)["endpoints"]
    return [_deployed(name, endpoint) for name, endpoint in endpoints.items()]


def _deployed(name: str, endpoint: dict[str, Any]) -> Deployed:
    event = endpoint.get("eventTrigger") or {}
    return Deployed(
        name=name,
        concurrency=endpoint["concurrency"],
        memory_mb=endpoint["availableMemoryMb"],
        timeout_seconds=endpoint["timeoutSeconds"],
        event_type=event.get("eventType"),
        event_filters=event.get("eventFilters"),
        document=event.get("eventFilterPathPatterns", {}).get("document"),
        retry=bool(event.get("retry")),
        queue=endpoint.get("taskQueueTrigger"),
    )
