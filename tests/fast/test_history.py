"""Each door that changes something of a user writes it into the history in ``stream_users``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from chatsync import audit, outbox
from chatsync.agreement import KEPT_CHANGES, change_of
from chatsync.clients.entries import withdraw
from chatsync.conversations.create import create_conversation
from chatsync.entry import events, records, tokens, user_events, webhooks
from chatsync.errors import Postponed
from chatsync.ids import Key
from chatsync.outbox.drain import drain
from chatsync.outcome import Outcome
from chatsync.users import FirebaseState, Remembered

ANN = Key("user", "ann")

NAMES = {"name", "image", "role", "teams", "kind", "users", "user_profiles", "user_stats"}


@pytest.fixture
def entry(firestore):
    def entry(name: str = "user_ann") -> dict:
        return firestore.document(f"stream_users/{name}").get().to_dict() or {}

    return entry


@pytest.fixture
def told(entry):
    def told(name: str = "user_ann") -> list[tuple]:
        return [(one["did"], *one["fields"]) for one in entry(name).get("history", [])]

    return told


@pytest.fixture
def ann(accounts, clients, firestore_api):
    accounts.sign_up("ann", displayName="Ann")
    events.reconcile_after_sign_up("ann", clients)
    firestore_api.age()


def by_an_event(clients, chat, accounts, run):
    clients.firestore.document("users/ann").update({"displayName": "Anna"})
    after = FirebaseState(user={"displayName": "Anna"})
    events.reconcile_after_change("ann", FirebaseState(user={"displayName": "Ann"}), after, clients)


def by_a_callable(clients, chat, accounts, run):
    chat.delete_user("ann")
    outbox.reconcile([ANN], clients)  # as ensureStreamUser


def by_the_outbox(clients, chat, accounts, run):
    chat.update_user_partial({"id": "ann", "set": {"name": "x"}})
    outbox.write_entries([Outcome(ANN, "", None, Postponed("later"))], clients)
    drain(0, clients)


def by_an_audit(clients, chat, accounts, run):
    chat.update_user_partial({"id": "ann", "set": {"name": "x"}})
    audit.run(audit.start("nightly", clients, repair=audit.CREATING).id, clients)


def by_an_operator(clients, chat, accounts, run):
    clients.firestore.document("user_profiles/ann").delete()
    assert run("repair", "ann", "--apply").status == 0


def by_a_correction(clients, chat, accounts, run):
    assert run("repair", "ann", "--kind", "company", "--apply", "--yes").status == 0


def by_an_event_of_stream(clients, chat, accounts, run):
    user_events.handle("user.banned", {"id": "ann"}, None, clients, time.monotonic() + 60)


def by_an_overwriting_client(clients, chat, accounts, run):
    user = {**chat.query_users({"id": "ann"})["users"][0], "name": "x"}
    user_events.handle("user.updated", user, datetime.now(UTC), clients, time.monotonic() + 60)


def by_a_revocation(clients, chat, accounts, run):
    tokens.revoke_tokens("ann", clients)


def by_asking_for_stats(clients, chat, accounts, run):
    clients.firestore.document("user_stats/ann").delete()
    records.read_stats("ann", "ann", clients)


def by_asking_for_the_profile(clients, chat, accounts, run):
    clients.firestore.document("user_profiles/ann").delete()
    records.ensure_profile("ann", clients)


def by_a_message(clients, chat, accounts, run):
    clients.firestore.document("user_stats/ann").delete()
    message = {"id": "1", "user": {"id": "ann"}, "created_at": datetime.now(UTC).isoformat()}
    webhooks.handle({"type": "message.new", "cid": "messaging:room", "message": message}, clients)


def by_a_conversation(clients, chat, accounts, run):
    accounts.sign_up("bob", displayName="Bob")
    events.reconcile_after_sign_up("bob", clients)
    clients.firestore.document("user_stats/ann").delete()
    create_conversation("ann", {"participantIds": ["ann", "bob"]}, clients)


def by_a_profile_that_follows(clients, chat, accounts, run):
    chat.update_user_partial({"id": "ann", "set": {"name": "Anna"}})
    by_an_event(clients, chat, accounts, run)


def by_a_new_user_document(clients, chat, accounts, run):
    clients.firestore.document("user_profiles/ann").delete()
    events.reconcile_after_creation("ann", clients)


def by_a_deletion(clients, chat, accounts, run):
    accounts.delete("ann")
    events.remove_after_event("ann", clients)


def by_a_repair_of_somebody_banned(clients, chat, accounts, run):
    chat.ban_user("ann", user_id="ann")
    chat.update_user_partial({"id": "ann", "set": {"name": "x"}})
    outbox.reconcile([ANN], clients)


@pytest.mark.parametrize(
    ("door", "changes"),
    [
        (by_an_event, [("updated", "name")]),
        (by_a_callable, [("restored",)]),
        (by_the_outbox, [("updated", "name")]),
        (by_an_audit, [("updated", "name")]),
        (by_an_operator, [("documents", "user_profiles")]),
        (by_a_correction, [("corrected", "kind"), ("created",)]),
        (by_an_event_of_stream, [("user.banned",)]),
        (by_an_overwriting_client, [("user.updated", "name")]),
        (by_a_revocation, [("revoked",)]),
        (by_asking_for_stats, [("documents", "user_stats")]),
        (by_asking_for_the_profile, [("documents", "user_profiles")]),
        (by_a_new_user_document, [("documents", "user_profiles")]),
        (by_a_message, [("documents", "user_stats")]),
        (by_a_conversation, [("documents", "user_stats")]),
        (by_a_profile_that_follows, [("profile updated",)]),
        (by_a_deletion, [("deleted",)]),
        (by_a_repair_of_somebody_banned, [("updated", "name")]),
    ],
)
def test_a_door_tells_the_history_what_it_changed(
    ann, clients, chat, accounts, run, told, entry, door, changes
):
    door(clients, chat, accounts, run)
    assert told() == [("created",), *changes]
    for change in entry()["history"]:
        assert change.keys() == {"at", "by", "did", "fields"}
        assert set(change["fields"]) <= NAMES
    assert "Ann" not in json.dumps(entry()["history"], default=str)


def test_documents_that_an_app_asks_for_are_told_before_stream_has_the_user(
    accounts, clients, told
):
    accounts.sign_up("ann")
    records.ensure_profile("ann", clients)
    assert told() == [("documents", "user_profiles", "user_stats", "users")]
    drain(0, clients)
    assert told()[1:] == [("created",)]


@pytest.mark.parametrize("is_at_once", [False, True])
def test_an_account_that_comes_back_keeps_its_history(
    ann, accounts, clients, firestore_api, told, entry, monkeypatch, is_at_once
):
    accounts.delete("ann")
    for _ in range(2):  # the event is delivered again
        events.remove_after_event("ann", clients)
    assert told() == [("created",), ("deleted",)]
    assert entry()["chatsyncExpireAt"]
    firestore_api.age()
    accounts.sign_up("ann", displayName="Ann")
    if is_at_once:  # the tombstone may be younger than what Stream said
        monkeypatch.setattr(Remembered, "was_there_before", lambda *_: False)
    events.reconcile_after_sign_up("ann", clients)
    assert told() == [("created",), ("deleted",), ("restored",)]
    assert "chatsyncExpireAt" not in entry()


def test_a_company_that_is_an_account_is_told_of_by_either_id(accounts, clients, told, firestore):
    firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme")
    events.reconcile_after_sign_up("acme", clients)
    deadline = time.monotonic() + 60
    user_events.handle("user.banned", {"id": "company_acme"}, None, clients, deadline)
    assert told("user_acme") == [("created",), ("user.banned",)]


def test_the_history_holds_ten_changes_however_many_events_come(ann, clients, told, entry):
    for number in range(KEPT_CHANGES + 3):
        change = change_of(f"event {number}")
        withdraw([ANN], clients, time.monotonic() + 60, change=change)
    assert [did for did, *_ in told()] == [f"event {number}" for number in range(3, 13)]
    assert entry()["verifiedAt"] is None


def test_nobody_without_entry_gets_one_by_an_event(clients, entry):
    withdraw([ANN], clients, time.monotonic() + 60, change=change_of("user.banned"))
    assert entry() == {}


def test_the_history_says_which_function_did_it():
    program = "from chatsync.agreement import change_of; print(change_of('created')['by'])"
    environment = {**os.environ, "FUNCTION_TARGET": "drainRepairs", "PYTHONPATH": "functions"}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "drainRepairs"
