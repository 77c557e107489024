"""The command's edge: the project, what people read, and each error in one line.

Exit status 2 means that it could not be done.
"""

import json
import math
import os
import socket
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import requests
import typer
from firebase_admin.exceptions import FirebaseError
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from rich.console import Console

from ..errors import (
    ChatsyncError,
    FirebaseUnavailable,
    SettingInvalid,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamUnavailable,
)
from ..settings import STREAM_API_SECRET

FAILED = 2

# The Firebase CLI never uses a real project for such a name.
_LOCAL_PROJECT = "demo-"
_EMULATORS = {
    "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:9099",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:8080",
    "CLOUD_TASKS_EMULATOR_HOST": "127.0.0.1:9499",
}
_FUNCTIONS = Path(__file__).parents[2]

stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
"""For everything but the result, so that ``--json`` can be piped."""


class Refused(ChatsyncError):
    """The command doesn't do what was asked; the message says why."""


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn an error into status 2 and a line that says what to do."""
    try:
        yield
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except typer.Abort:
        fail("Nothing was removed or closed. Without a terminal, pass --yes.")
    except KeyboardInterrupt:
        fail("Stopped. Completed work stays; a backfill continues when it is started again.")
    except Exception as error:  # noqa: BLE001 (Python's own exit status would mean "findings")
        # An error of typer's parser: its own message says what is wrong with the arguments.
        if format_message := getattr(error, "format_message", None):
            fail(_of_arguments(format_message()))
        if line := in_one_line(error):
            fail(line)
        traceback.print_exc()
        fail("This is a bug of the command: please report it, with the lines above.")


def in_one_line(error: Exception) -> str:
    """What happened and what to do, in one line; empty for an unexpected error."""
    match error:
        case SettingInvalid():
            message = f"{str(error).rstrip('.')}."
            if STREAM_API_SECRET.name in message:
                command = f"firebase functions:secrets:access {STREAM_API_SECRET.name}"
                message += f" `{command}` prints a deployed secret."
            return message
        case StreamCredentialsRejected():
            return "Stream refuses STREAM_API_KEY or STREAM_API_SECRET: are they of one app?"
        case StreamRateLimited():
            return f"Stream's rate limit is used up: try again in {error.retry_after} s."
        case StreamUnavailable():
            return f"Stream cannot be reached ({error}). Locally, run `make start`."
        case FirebaseUnavailable() | requests.ConnectionError():
            return f"Firebase cannot be reached ({str(error)[:200]}). Locally, run `make start`."
        case GoogleAuthError():
            return "No Google credentials: run `gcloud auth application-default login`."
        case GoogleAPICallError() | FirebaseError():
            return f"Firebase refuses: {type(error).__name__}: {str(error)[:200]}"
        case ChatsyncError():
            return str(error)
    return ""


def _of_arguments(message: str) -> str:
    if message.startswith("No such option: --project"):
        return "Put --project before the command, as in `--project ID audit`."
    if not message:
        return ""  # without arguments, help was shown
    sentence = message if message.endswith((".", "?")) else f"{message}."
    return f"{sentence} See --help."


def fail(message: str) -> NoReturn:
    if message:
        stderr.print(message, style="red", soft_wrap=True)
    sys.exit(FAILED)


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
        files = [".env.local", ".secret.local"]
        warnings.filterwarnings("ignore", message="The HMAC key")  # the local secret is short
        for variable, address in _EMULATORS.items():
            os.environ.setdefault(variable, address)
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
    return project.startswith(_LOCAL_PROJECT)


def refuse_without_emulators() -> None:
    """Fails at once; the clients would try for most of a minute."""
    for variable in ("FIREBASE_AUTH_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
        host, _, port = os.environ[variable].rpartition(":")
        if not port.isdecimal():
            raise Refused(f"{variable} must be host:port, not {os.environ[variable]!r}.")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            raise Refused(
                f"No emulator answers at {os.environ[variable]}: run `make start` in another"
                " terminal, and wait until it is up."
            ) from None


def _values_of(files: Sequence[str]) -> dict[str, str]:
    """The variables in files of the functions' directory; a later file wins."""
    values = {}
    for file in (_FUNCTIONS / name for name in files):
        lines = file.read_text().splitlines() if file.exists() else []
        for line in lines:
            name, separator, value = line.partition("=")
            if separator and not name.lstrip().startswith("#"):
                values[name.strip()] = value.strip().strip("\"'")
    return values


def tell_log(entry: Mapping[str, Any]) -> None:
    """Show warnings and errors of the functions' log to the operator."""
    if entry["severity"] in ("WARNING", "ERROR"):
        stderr.print(entry.get("message", ""), style="yellow", soft_wrap=True)


def percent(rate: float | None) -> str:
    """Rounded down: 100 % means that all agree."""
    return "-" if rate is None else f"{math.floor(rate * 100 + 1e-9)}%"


def confirm(question: str, yes: bool) -> None:
    if not yes and not typer.confirm(question, err=True):
        raise typer.Abort


def console() -> Console:
    """Created at each use, since tests replace the standard output."""
    width = None if sys.stdout.isatty() else 200
    return Console(highlight=False, markup=False, emoji=False, width=width)


def print_line(text: str) -> None:
    console().print(text, soft_wrap=True)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
