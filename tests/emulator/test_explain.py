"""``explain`` as a process at 80 columns, on the emulators."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator

import pytest
from firebase_admin import auth
from rich.cells import cell_len

from chatsync import proof
from dev import app_client
from tests.emulator.commands import run_command
from tests.emulator.test_webhooks import PATIENCE, URL
from tests.waiting import wait_for

COLUMNS = 80


@pytest.fixture(scope="module")
def sign_up(nothing_is_left, stream_user) -> Callable[..., app_client.AppUser]:
    def sign_up(email: str = "") -> app_client.AppUser:
        person = app_client.sign_up(email or f"{uuid.uuid4().hex}@example.com", "Ann")
        wait_for(lambda: stream_user(person.uid))
        return person

    return sign_up


def check_lines(ran: subprocess.CompletedProcess[str]) -> str:
    """What was printed, as one line; none of its lines is wider than the terminal."""
    assert ran.stdout, ran.stderr
    assert not ran.stderr
    assert all(cell_len(line) <= COLUMNS for line in ran.stdout.splitlines()), ran.stdout
    return " ".join(ran.stdout.split())


def explain(*subject: str) -> tuple[int, str]:
    ran = run_command("explain", *subject, COLUMNS=str(COLUMNS))
    return ran.returncode, check_lines(ran)


def test_two_people_are_told_why_they_cannot_chat_until_they_can(sign_up, firebase, chat):
    caller, other = sign_up(), f"imported-{uuid.uuid4().hex[:8]}"
    auth.import_users([auth.ImportUserRecord(other)], app=firebase)
    status, text = explain(caller.uid, other)
    assert status == 1
    assert f"{other}: missing_stream_user" in text
    room = caller.call("createConversation", {"participantIds": [other]})["id"]
    wait_for(lambda: explain(caller.uid, other)[0] == 0)
    assert f"opens {room}" in explain(other, caller.uid)[1]
    chat.deactivate_user(other)
    assert f"{other}: deactivated" in explain(caller.uid, other)[1]


@pytest.fixture
def webhook(stream) -> Iterator[None]:
    stream.webhook(URL, proof.EVENTS, **PATIENCE)
    yield
    stream.webhook(None)


def test_the_history_names_the_functions(sign_up, webhook, chat):
    person = sign_up()
    wait_for(lambda: "created, by createStreamUser" in explain(person.uid)[1])
    chat.ban_user(person.uid, user_id=sign_up().uid)
    wait_for(lambda: "user.banned, by streamWebhook" in explain(person.uid)[1])


def test_json_is_stable_and_personal_only_if_asked_for(sign_up):
    email = f"{uuid.uuid4().hex}@example.com"
    person = sign_up(email)
    wait_for(lambda: explain(person.uid)[0] == 0)
    without = run_command("explain", person.uid, "--json").stdout
    assert email not in without
    assert json.loads(without)["found"][0]["streamUser"]["name"] == "Ann"
    told = json.loads(run_command("explain", person.uid, "--json", "--personal").stdout)
    assert told["found"][0]["personal"]["email"] == email
