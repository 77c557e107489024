from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import requests
from google.api_core.exceptions import ServiceUnavailable
from stream_chat.base.exceptions import StreamAPIException

from dev import app_client, demo
from dev.start import StackError

LOG = """\
i  functions: Beginning execution of "asia-south1-createStreamUser"
>  {"severity": "INFO", "message": "fine"}
>  {"severity": "ERROR", "message": "the signature is not valid"}
>  Traceback (most recent call last):
>    File "settings.py", line 9, in load
>  chatsync.settings.SettingsError: no secret
>  chatsync.settings.SettingsError: no secret
>  ERROR:root:Invalid request, unable to process.
"""


class Stack:
    def __init__(self, death: str | None = None) -> None:
        self.death = death

    def check(self) -> None:
        if self.death:
            raise StackError(self.death)


def failing_demo(monkeypatch, tmp_path, error: Exception, death: str | None = None) -> str:
    """What the demo says when its story ends in an error, and its stack may have died."""

    @contextlib.contextmanager
    def running_stack(stack: Stack) -> Iterator[None]:
        yield

    def tell_the_story(stack: Stack) -> None:
        raise error

    log = tmp_path / ".local" / "emulators.log"
    log.parent.mkdir()
    log.write_text(LOG)
    monkeypatch.setattr(demo, "LOG", log)
    monkeypatch.setattr(demo.emulators, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "Stack", lambda: Stack(death))
    monkeypatch.setattr(demo, "running_stack", running_stack)
    monkeypatch.setattr(demo, "tell_the_story", tell_the_story)
    with pytest.raises(SystemExit) as end:
        demo.main()
    return str(end.value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (demo.DemoError("Ann did not appear."), "Ann did not appear."),
        (requests.ConnectionError("refused"), "refused"),
        (ServiceUnavailable("Firestore is away"), "503 Firestore is away"),
        (StreamAPIException("<html>", 502), "StreamChat error HTTP code: 502"),
        (app_client.CallFailed({"message": "INTERNAL", "status": "INTERNAL"}), "INTERNAL"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_one_line_and_the_functions_last_errors(
    monkeypatch, tmp_path, error, line
) -> None:
    said = failing_demo(monkeypatch, tmp_path, error)
    assert said.splitlines() == [
        "",
        f"The demo failed: {line}",
        "The functions' last errors, more in .local/emulators.log:",
        '>  {"severity": "ERROR", "message": "the signature is not valid"}',
        ">  chatsync.settings.SettingsError: no secret",
    ]


def test_a_dead_stack_is_named_as_the_cause(monkeypatch, tmp_path) -> None:
    error = requests.ConnectionError("refused")
    said = failing_demo(monkeypatch, tmp_path, error, "The Firebase CLI ended.")
    assert said == "\nThe demo failed: The Firebase CLI ended."


def test_without_errors_the_log_is_named() -> None:
    assert demo.what_the_log_says("i  functions: fine") == "More in .local/emulators.log."
