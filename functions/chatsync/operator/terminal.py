"""The command's edge: what people read, and each error in one line."""

import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import requests
import typer
from firebase_admin.exceptions import FirebaseError
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from rich.console import Console, RenderableType
from rich.table import Table

from ..errors import (
    ChatsyncError,
    FirebaseUnavailable,
    Paused,
    SettingInvalid,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamUnavailable,
    Temporary,
    Unsafe,
)
from ..settings import STREAM_API_SECRET
from .options import FAILED, START

MAX_ATTEMPTS = 5

Answer = TypeVar("Answer")

stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
"""For everything but the result, so that ``--json`` can be piped."""


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
            return (
                f"Stream cannot be reached ({error}). Is STREAM_BASE_URL right, if it is set? In a"
                " clone, `make start` runs a local Stream server."
            )
        case FirebaseUnavailable() | requests.ConnectionError():
            local = f"Locally, {START}, or wait while they are busy, as after a backfill"
            return f"Firebase cannot be reached ({str(error)[:200]}). {local}."
        case GoogleAuthError():
            return "No Google credentials: run `gcloud auth application-default login`."
        case GoogleAPICallError() | FirebaseError():
            return f"Firebase refuses: {type(error).__name__}: {str(error)[:200]}"
        case Unsafe():
            return f"Stopped: {error}? --i-know goes on."
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


def tell_log(entry: Mapping[str, Any]) -> None:
    """Show warnings and errors of the functions' log to the operator."""
    if entry["severity"] in ("WARNING", "ERROR"):
        stderr.print(entry.get("message", ""), style="yellow", soft_wrap=True)


def patiently(call: Callable[[], Answer], wait: Callable[[int], None]) -> Answer:
    """What ``call`` returns; repeated after each rate limit, and a few times if it may help."""
    failures = 0
    while True:
        try:
            return call()
        except StreamRateLimited as limited:
            wait(limited.retry_after)
        except Paused:
            raise
        except Temporary:
            failures += 1
            if failures == MAX_ATTEMPTS:
                raise
            time.sleep(2**failures / 2)


def percent(rate: float | None, digits: int = 0) -> str:
    """Rounded down: 100 % means that all agree."""
    if rate is None:
        return "-"
    return f"{math.floor(rate * 100 * 10**digits + 1e-9) / 10**digits:.{digits}f}%"


def confirm(question: str, yes: bool) -> None:
    if not yes and not typer.confirm(question, err=True):
        raise typer.Abort


def console() -> Console:
    """Created at each use, since tests replace the standard output."""
    width = None if sys.stdout.isatty() else 200
    return Console(highlight=False, markup=False, emoji=False, width=width)


def print_line(text: str) -> None:
    console().print(text, soft_wrap=True)


def print_table(columns: Iterable[str], rows: Iterable[Iterable[RenderableType]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    # What cannot be printed is escaped as JSON does: an argument may have bytes that are no UTF-8.
    print(text.encode(errors="backslashreplace").decode())
