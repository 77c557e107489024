"""``explain`` as a process at 80 columns, of what the runbook tells, on the emulators."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from firebase_admin import auth
from rich.cells import cell_len

from chatsync import proof
from chatsync.audit.steps import KINDS
from chatsync.operator.sentences import FINDINGS, PARKED
from chatsync.outcome import Parked
from dev import app_client, emulators
from tests.emulator.commands import run_command
from tests.emulator.test_webhooks import PATIENCE, URL
from tests.waiting import wait_for

COLUMNS = 80

FUNCTIONS = emulators.ROOT / "functions"

OWNED = '[[channels]]\nid = "event_{event}_*"\nowner = "events/{event}"\n'


def name_of(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def world(nothing_is_left, firebase, firestore, chat, stream_user):
    """Three people, of whom nobody was told; ``person`` imports another one, ``sign_up`` tells."""

    def person(uid: str = "", **fields: object) -> str:
        uid = uid or name_of("person")
        auth.import_users([auth.ImportUserRecord(uid, **fields)], app=firebase)
        return uid

    def sign_up(email: str = "") -> app_client.AppUser:
        person = app_client.sign_up(email or f"{uuid.uuid4().hex}@example.com", "Ann")
        wait_for(lambda: stream_user(person.uid))
        return person

    def recorded(by: str, members: list[str]) -> str:
        room = name_of("room")
        chat.channel("messaging", room, {"members": members}).create(by)
        assert run_command("sync-channel", room, "--apply").returncode == 0
        return room

    people = [person(), person(), person()]
    chat.upsert_users([{"id": uid} for uid in people])
    return SimpleNamespace(
        firebase=firebase,
        firestore=firestore,
        chat=chat,
        stream_user=stream_user,
        person=person,
        sign_up=sign_up,
        recorded=recorded,
        people=people,
    )


def missing_documents(world):
    return world.person()


def missing_stream_user(world):
    return world.person()


def drifted_stream_user(world):
    uid = world.person(display_name="Ann")
    world.chat.upsert_user({"id": uid, "name": "Somebody"})
    return uid


def orphan_stream_user(world):
    ghost = name_of("ghost")
    world.chat.upsert_user({"id": ghost})
    return ghost


def orphan_documents(world):
    gone = name_of("gone")
    world.firestore.document("users", gone).set({"displayName": "Gone"})
    return gone


def wrong_kind(world):
    uid = world.person()
    world.firestore.document(f"stream_users/user_{uid}").set({"kind": "user", "streamUserId": uid})
    world.firestore.document("companies", uid).set({"name": "Acme"})
    return uid


def only_in_stream(world):
    room = world.recorded(world.people[0], world.people[:2])
    world.firestore.document("conversations", room).delete()
    return room


def member_mismatch(world):
    room = world.recorded(world.people[0], world.people[:2])
    world.firestore.document("conversations", room).update({"memberIds": world.people[:1]})
    return room


def only_in_firestore(world):
    room = name_of("room")
    fields = {"status": "ready", "origin": "operator", "memberIds": world.people[:2]}
    world.firestore.document("conversations", room).set(fields)
    return room


def wrong_team(world):
    room = world.recorded(world.people[0], world.people[:2])
    world.firestore.document("conversations", room).update({"team": "gym_1"})
    return room


def foreign_document(world):
    room = name_of("theirs")
    world.firestore.document("conversations", room).set({"memberIds": world.people[:2]})
    return room


def taken_channel(world):
    room = world.recorded(world.people[2], world.people[:2])
    fields = {"origin": "app", "conversationType": "direct"}
    world.firestore.document("conversations", room).update(fields)
    return room


DISAGREEMENTS = (
    *(missing_documents, missing_stream_user, drifted_stream_user, orphan_stream_user),
    *(orphan_documents, wrong_kind, only_in_stream, member_mismatch, only_in_firestore),
    *(wrong_team, foreign_document, taken_channel),
)


def check_lines(ran: subprocess.CompletedProcess[str]) -> str:
    """What was printed, as one line; none of its lines is wider than the terminal."""
    assert ran.stdout, ran.stderr
    assert not ran.stderr
    assert all(cell_len(line) <= COLUMNS for line in ran.stdout.splitlines()), ran.stdout
    return " ".join(ran.stdout.split())


def explain(*subject: str) -> tuple[int, str]:
    ran = run_command("explain", *subject, COLUMNS=str(COLUMNS))
    return ran.returncode, check_lines(ran)


@pytest.mark.parametrize("disagree", DISAGREEMENTS, ids=lambda one: one.__name__)
def test_a_finding_is_told_with_what_to_do(world, disagree):
    status, text = explain(disagree(world))
    kind = disagree.__name__
    assert status == 1
    assert kind in text
    assert FINDINGS[kind].why in text
    assert "To do: " in text


def test_a_channel_without_owner_is_told(world, tmp_path):
    """The settings name owners; those of the emulators don't."""
    for name in (".env.local", ".secret.local"):
        shutil.copy(FUNCTIONS / name, tmp_path)
    (tmp_path / "chatsync.toml").write_text(OWNED)
    room = f"event_{uuid.uuid4().hex[:8]}_room"
    world.chat.channel("messaging", room, {"members": world.people[:2]}).create(world.people[0])
    program = (
        "import pathlib, sys; from chatsync import config;"
        f"config.FOLDER = pathlib.Path({str(tmp_path)!r});"
        "from chatsync.operator.command import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, "--project", emulators.PROJECT, "explain", room],
        cwd=FUNCTIONS,
        env={"PATH": os.environ["PATH"], "COLUMNS": str(COLUMNS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    text = check_lines(ran)
    assert "orphan_channel" in text
    assert FINDINGS["orphan_channel"].why in text


def test_every_finding_is_met():
    assert {one.__name__ for one in DISAGREEMENTS} | {"orphan_channel"} == set(KINDS)


def rejected(world):
    person = world.sign_up()
    fields = {"chat": {"role": "no-such-role"}}
    world.firestore.document("users", person.uid).set(fields, merge=True)
    return person.uid


def deleted(world):
    person = world.sign_up()
    world.chat.delete_user(person.uid, hard_delete=True, mark_messages_deleted=True)
    run_command("repair", person.uid, "--apply")
    return person.uid


def invalid_id(world):
    uid = f"a/{uuid.uuid4().hex[:8]}"
    auth.create_user(uid=uid, app=world.firebase)
    return uid


@pytest.mark.parametrize("park", [rejected, deleted, invalid_id], ids=lambda one: one.__name__)
def test_a_parked_entry_is_told_with_what_to_do(world, firestore, park):
    uid, reason = park(world), park.__name__
    entry = firestore.document("repairs", f"user_{uid.replace('/', '%2F')}")
    wait_for(lambda: (entry.get().to_dict() or {}).get("state") == "parked")
    status, text = explain(uid)
    assert status == 1
    assert f"parked, {reason}" in text
    assert PARKED[Parked(reason)].why in text
    assert "To do: " in text


def test_two_people_are_told_why_they_cannot_chat_until_they_can(world, chat):
    caller, other = world.sign_up(), world.person(display_name="Lena")
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


def test_the_history_names_the_functions(world, webhook):
    person = world.sign_up()
    wait_for(lambda: "created, by createStreamUser" in explain(person.uid)[1])
    world.chat.ban_user(person.uid, user_id=world.people[0])
    wait_for(lambda: "user.banned, by streamWebhook" in explain(person.uid)[1])


def test_json_is_stable_and_personal_only_if_asked_for(world):
    email = f"{uuid.uuid4().hex}@example.com"
    person = world.sign_up(email)
    wait_for(lambda: explain(person.uid)[0] == 0)
    without = run_command("explain", person.uid, "--json").stdout
    assert email not in without
    assert json.loads(without)["found"][0]["streamUser"]["name"] == "Ann"
    told = json.loads(run_command("explain", person.uid, "--json", "--personal").stdout)
    assert told["found"][0]["personal"]["email"] == email
