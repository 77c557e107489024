"""The command ``manifest``, and the text of ``functions.yaml``.

The Firebase CLI reads the file instead of running Python, and learns from it what the SDK for
Python can't say: roles, and the function to call after a deployment.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from .. import config as config_module
from ..config import MANIFEST
from ..errors import ChatsyncError
from .options import FINDINGS, IN_SYNC
from .terminal import print_line

ROLES = {
    "roles/datastore.user": "reads and writes documents",
    "roles/firebaseauth.viewer": "reads accounts; none is changed",
    "roles/cloudtasks.enqueuer": "wakes drainRepairs and runSweep",
    "roles/logging.logWriter": "writes the log",
    "roles/run.invoker": "events, schedules and tasks call the functions as this account",
    "roles/eventarc.eventReceiver": "gets the events of Auth and Firestore",
}
"""What the functions' service account may do, and why. The CLI itself lets it read the secret.

roles/iam.serviceAccountUser is missing on purpose: on the project it would be for all accounts.
"""

APIS = {
    "firestore.googleapis.com": "The functions read and write documents.",
    "identitytoolkit.googleapis.com": "The functions read accounts.",
    "cloudtasks.googleapis.com": "Queues repeat repairs, and run audits.",
    "cloudscheduler.googleapis.com": "The outbox is looked at every five minutes, all at night.",
    "eventarc.googleapis.com": "Events of Auth and Firestore call functions.",
    "secretmanager.googleapis.com": "The secret of the Stream app is kept there.",
}
"""What the functions need, and why: the CLI shows it to whoever deploys."""

HOOKS = {
    # A task function refuses a body without `data`.
    event: {"task": {"function": "setUp", "body": {"data": {}}}}
    for event in ("afterFirstDeploy", "afterRedeploy")
}
"""What the CLI calls after a deployment of all functions."""

_SECONDS = 120
_KEPT = ("HOME", "PATH", "PYTHONPATH")
_DISCOVERY = """\
from firebase_functions.private import serving
print(serving.functions_as_yaml(serving.get_functions()))
"""


class _Undiscoverable(ChatsyncError):
    """Python fails to import main.py; the message has its last words."""


def manifest(
    check: Annotated[
        bool, typer.Option("--check", help=f"Only compare {MANIFEST} with what it should be.")
    ] = False,
) -> int:
    """Write functions.yaml, by which the Firebase CLI deploys. Needs no project and no network."""
    file = config_module.FOLDER / MANIFEST
    text = manifest_for(config_module.FOLDER)
    if not check:
        file.write_text(text, encoding="utf-8")
        print_line(f"Wrote {file}.")
        return IN_SYNC
    if file.exists() and file.read_text(encoding="utf-8") == text:
        print_line(f"{file} is what main.py and chatsync.toml ask for.")
        return IN_SYNC
    print_line(f"{file} is not what main.py and chatsync.toml ask for: run `chatsync manifest`.")
    return FINDINGS


def manifest_for(folder: Path) -> str:
    """``functions.yaml`` for a folder with ``main.py``, ``chatsync/`` and ``chatsync.toml``.

    Always the same for the same files: of the environment nothing counts, nor do overlays. Raises
    SettingInvalid for a mistake in ``chatsync.toml`` or an overlay, or another ChatsyncError if
    ``main.py`` can't be imported.
    """
    config_module.load(folder=folder)
    for overlay in sorted(folder.glob("chatsync.*.toml")):  # for its mistakes
        project = overlay.name.removeprefix("chatsync.").removesuffix(".toml")
        config_module.load(project, folder)
    discovered = _discovered(folder)
    apis = {one["api"]: one["reason"] for one in discovered["requiredAPIs"]} | APIS
    return "\n".join(
        (
            f"# From chatsync.toml, sha256 {config_module.hash_of(folder)}, and main.py, by",
            "# `chatsync manifest`. Don't edit it: the functions compare the first line.",
            _yaml(specVersion=discovered["specVersion"], params=discovered["params"]),
            _yaml(requiredAPIs=[{"api": api, "reason": apis[api]} for api in sorted(apis)]),
            "requiredRoles:",
            *(f"# {reason}\n- {role}" for role, reason in ROLES.items()),
            "",
            _yaml(lifecycleHooks=HOOKS),
            _yaml(endpoints=discovered["endpoints"]),
        )
    )


def _yaml(**values: object) -> str:
    return str(yaml.safe_dump(values, sort_keys=False, width=1000))


def _discovered(folder: Path) -> Mapping[str, Any]:
    """What the SDK's own discovery finds.

    In another process, since ``main.py`` can be imported once in each; and in another folder of the
    same files, without the manifest, which may be an old one.
    """
    with tempfile.TemporaryDirectory() as place:
        for file in folder.resolve().iterdir():
            if file.name != MANIFEST:
                (Path(place) / file.name).symlink_to(file)
        ran = subprocess.run(
            [sys.executable, "-B", "-c", _DISCOVERY],
            cwd=place,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    if ran.returncode:
        last = (ran.stderr.strip() or ran.stdout.strip()).rpartition("\n")[2]
        raise _Undiscoverable(f"{folder / 'main.py'} cannot be imported: {last}")
    found: Mapping[str, Any] = yaml.safe_load(ran.stdout)
    return found
