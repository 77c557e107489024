"""The options that commands share, and the clients of the project that they name."""

import json
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from .. import clients as client_module
from .. import config as config_module
from ..clients import Clients
from ..clients.pacing import LEFT_BY_BACKGROUND
from ..errors import ChatsyncError
from .init import firebase_json
from .init.plan import variables_in

IN_SYNC, FINDINGS, FAILED = 0, 1, 2
"""Exit statuses; the last means that it could not be done."""

SECONDS = 60.0
"""For the calls of a command that works on a few users or one channel."""

Apply = Annotated[
    bool, typer.Option("--apply", help="Make the changes. Without it, only show them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
IKnow = Annotated[
    bool,
    typer.Option("--i-know", help="Go on where the safeguard takes a setting for wrong."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask before destroying something.")]

_EMULATORS = {
    "FIREBASE_AUTH_EMULATOR_HOST": ("auth", 9099),
    "FIRESTORE_EMULATOR_HOST": ("firestore", 8080),
    "CLOUD_TASKS_EMULATOR_HOST": ("tasks", 9499),
}
"""By variable the emulator's name in ``firebase.json``, and its port where none is stated."""

PACKAGE = Path(__file__).parents[1]

IS_WHEEL = (PACKAGE / "deployable").exists()
"""Whether this was installed as a wheel (``pyproject.toml``): no app's settings are beside it."""

START = "run `firebase emulators:start`" if IS_WHEEL else "run `make start`"
"""What brings up the emulators."""


class Refused(ChatsyncError):
    """The command doesn't do what was asked; the message says why."""


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Where the file of ``--out`` is looked at or written: errors become Refused."""
    try:
        yield
    except OSError as error:
        raise Refused(f"--out: {out}: {error.strerror}.") from error


def projects_in(*folders: Path) -> dict[str, str]:
    """The ids of projects by their alias, as the first ``.firebaserc`` that can be read says."""
    for folder in folders:
        with suppress(OSError, ValueError, KeyError, TypeError):
            stated = dict(json.loads((folder / ".firebaserc").read_text())["projects"])
            return {alias: project for alias, project in stated.items() if isinstance(project, str)}
    return {}


def use_installed_folder() -> bool:
    """Take the settings that ``chatsync init`` put into the project of the current directory, if
    this is a wheel; else those beside this package count. Whether there are any."""
    if not IS_WHEEL:
        return True
    for place in (Path.cwd(), *Path.cwd().parents):
        if (firebase := place / "firebase.json").is_file():
            source = firebase_json.source_of(firebase.read_text(encoding="utf-8"))
            if source:
                config_module.FOLDER = place / source
            return bool(source)
    return False


def connect() -> Clients:
    """The clients for the environment's project; they leave room in Stream's limits to callers."""
    use_project()
    return client_module.connect().leaving(LEFT_BY_BACKGROUND)


def connect_to(apply: bool) -> Clients:
    """The same. With ``apply``, raises Paused while writing to Stream is paused."""
    clients = connect()
    if apply:
        clients.pause.refuse_if_paused()
    return clients


def connect_to_firebase() -> Clients:
    """Clients for the environment's project that need neither key nor secret of Stream."""
    use_project()
    return client_module.connect_to_firebase()


def use_project() -> None:
    """Let clients and settings use the environment's project; ``demo-...`` means the emulators."""
    name = os.environ.get("GCLOUD_PROJECT") or os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not name:
        raise Refused(
            "Which project? Name it before the command, as in `--project ID audit`, or set"
            " GOOGLE_CLOUD_PROJECT."
        )
    os.environ["GCLOUD_PROJECT"] = os.environ["GOOGLE_CLOUD_PROJECT"] = name
    files = [".env", f".env.{name}"]
    if is_local(name):
        files += [".env.local", ".secret.local"]  # as the emulators do
        warnings.filterwarnings("ignore", message="The HMAC key")  # the local secret is short
        for variable, (emulator, port) in _EMULATORS.items():
            os.environ.setdefault(variable, emulator_address(emulator, port))
        refuse_without_emulators()
    elif variables := [variable for variable in _EMULATORS if os.environ.get(variable)]:
        # Compared with half of a project, Stream's users would look like orphans.
        raise Refused(
            f"{' and '.join(variables)} point to emulators, not to project {name}: unset them, or"
            " use a project named demo-..."
        )
    for variable, value in _values_of(files).items():
        os.environ[variable] = os.environ.get(variable) or value


def is_local(project: str) -> bool:
    """Whether it is of the emulators: the Firebase CLI uses no real project of such a name."""
    return project.startswith("demo-")


def emulator_address(name: str, port: int) -> str:
    """Where ``firebase.json`` puts an emulator; the Firebase CLI's default port where it says none.
    Raises ProjectRefused."""
    for place in config_module.FOLDER.parents:
        if (file := place / "firebase.json").is_file():
            text = file.read_text(encoding="utf-8")
            return firebase_json.emulator_address(text, name, port)
    return f"127.0.0.1:{port}"


def refuse_without_emulators() -> None:
    """Fail at once where no emulator answers; the clients would try for most of a minute."""
    for variable in ("FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
        host, _, port = os.environ[variable].rpartition(":")
        if not port.isdecimal():
            raise Refused(f"{variable} must be host:port, not {os.environ[variable]!r}.")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            raise Refused(
                f"No emulator answers at {os.environ[variable]}: {START} in another terminal,"
                f" and wait until it is up. Where they are is said by firebase.json or {variable}."
            ) from None


def _values_of(files: Sequence[str]) -> dict[str, str]:
    """The variables in files of the functions' directory; a later file wins."""
    values: dict[str, str] = {}
    for file in (config_module.FOLDER / name for name in files):
        values |= variables_in(file.read_text()) if file.exists() else {}
    return values
