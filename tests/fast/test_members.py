"""Conversations name only people who exist and have a profile."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import InternalServerError

from chatsync import audit
from chatsync.conversations import reconcile_conversations
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import FirebaseUnavailable
from tests.fast.firebase_in_memory import no_hook
from tests.fast.outbox import drain_until_settled, entries

DOCUMENTS = ("users", "user_profiles", "user_stats")


@pytest.fixture
def ann_and_bob(accounts, clients, chat) -> None:
    """Both are in Stream; Bob came with an import, and has no documents."""
    for uid in ("ann", "bob"):
        accounts.sign_up(uid, displayName=uid.title())
    reconcile_after_sign_up("ann", clients)
    chat.upsert_user({"id": "bob"})


@pytest.fixture
def channel(ann_and_bob, chat):
    """A channel that an app made in Stream."""
    channel = chat.channel("messaging", "room", {"members": ["ann", "bob"]})
    channel.create("ann")
    return channel


@pytest.fixture
def has_documents(firestore):
    def has_documents(uid: str) -> list[bool]:
        return [firestore.document(f"{name}/{uid}").get().exists for name in DOCUMENTS]

    return has_documents


@pytest.fixture
def document(firestore):
    return lambda name="room": firestore.document(f"conversations/{name}").get().to_dict()


@pytest.fixture
def night(clients):
    def night() -> None:
        audit.run(audit.start("nightly", clients, repair=audit.CREATING).id, clients)

    return night


def test_recording_a_channel_leads_to_its_members_documents(channel, clients, has_documents):
    reconcile_conversations(["room"], clients)
    assert list(entries(clients)) == ["user_bob"]
    drain_until_settled(clients)
    assert has_documents("bob") == [True, True, True]


def test_so_does_the_night(channel, clients, has_documents, night):
    night()
    drain_until_settled(clients)
    assert has_documents("bob") == [True, True, True]


def test_so_does_a_new_member(channel, clients, accounts, chat, has_documents):
    reconcile_conversations(["room"], clients)
    drain_until_settled(clients)
    accounts.sign_up("eve")
    chat.upsert_user({"id": "eve"})
    channel.add_members(["eve"])
    reconcile_conversations(["room"], clients)
    assert list(entries(clients)) == ["user_eve"]
    drain_until_settled(clients)
    assert has_documents("eve") == [True, True, True]


def test_members_who_lack_nothing_cost_one_read_and_no_entry(channel, clients, firestore_api):
    reconcile_after_sign_up("bob", clients)
    reconcile_conversations(["room"], clients)
    assert entries(clients) == {}
    channel.update_partial({"name": "Room"})
    firestore_api.calls.clear()
    reconcile_conversations(["room"], clients)
    assert firestore_api.calls == ["batch_get_documents", "commit"]


def test_a_failure_between_the_two_writes_loses_nobody(
    channel, clients, firestore_api, has_documents, document
):
    commits = 0

    def fail(call: str) -> None:
        nonlocal commits
        commits += call == "commit"
        if commits == 2:
            firestore_api.before_call = no_hook
            raise InternalServerError("down")

    firestore_api.before_call = fail
    [outcome] = reconcile_conversations(["room"], clients)
    assert isinstance(outcome.error, FirebaseUnavailable)
    reconcile_conversations(["room"], clients)
    drain_until_settled(clients)
    assert document()["participantIds"] == ["ann", "bob"]
    assert has_documents("bob") == [True, True, True]
