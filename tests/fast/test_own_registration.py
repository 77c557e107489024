"""Apps whose registration creates the user document: ``[users] create = false``."""

from __future__ import annotations

import pytest

from chatsync import audit
from chatsync.conversations import reconcile_conversations
from chatsync.conversations.create import create_conversation
from chatsync.entry import events, records
from chatsync.ids import Key
from chatsync.reconcile import reconcile_users
from tests.fast.outbox import entries

ANN = Key("user", "ann")


@pytest.fixture
def clients(with_settings):
    return with_settings(users={"create": False})


@pytest.fixture
def ann(accounts, clients):
    accounts.sign_up("ann", displayName="Ann")
    events.reconcile_after_sign_up("ann", clients)


@pytest.fixture
def in_stream(chat):
    return lambda: chat.query_users({"id": "ann"})["users"][0]


def test_a_sign_up_leaves_the_user_document_to_the_app(ann, firestore_api, in_stream):
    assert firestore_api.left_documents() == {
        *("user_profiles/ann", "user_stats/ann", "stream_users/user_ann"),
    }
    assert in_stream()["name"] == "Ann"


@pytest.mark.parametrize(
    ("document", "field", "value"),
    [
        ({"displayName": "Ann Lee"}, "name", "Ann Lee"),
        ({"displayName": "Ann", "chat": {"teams": ["red"]}}, "teams", ["red"]),
        ({"photoURL": "https://p/a.png"}, "image", "https://p/a.png"),
    ],
)
def test_what_the_registration_writes_comes_to_stream(
    ann, clients, firestore, in_stream, document, field, value
):
    firestore.document("users/ann").create(document)
    events.reconcile_after_creation("ann", clients)
    assert in_stream()[field] == value


def test_an_account_that_is_not_registered_yet_agrees(ann, clients):
    assert reconcile_users([ANN], clients)[0].status == "ok"
    ran = audit.start("nightly", clients)
    audit.run(ran.id, clients)
    assert list(audit.findings_of(ran, clients)) == []
    assert entries(clients) == {}


def test_the_profile_of_who_is_not_registered_yet_is_read_once(ann, clients, firestore_api):
    firestore_api.calls.clear()
    assert records.ensure_profile("ann", clients)["displayName"] == "Ann"
    assert firestore_api.calls == ["batch_get_documents"]


def test_only_documents_of_ours_are_told_to_be_missing(ann, clients, firestore, run):
    firestore.document("user_profiles/ann").delete()
    ran = audit.start("nightly", clients)
    audit.run(ran.id, clients)
    assert [one.detail for one in audit.findings_of(ran, clients)] == ["profile"]
    assert "create user_profiles, since" in run("explain", "ann").out


def test_an_account_that_is_not_registered_yet_is_named_by_a_conversation(
    ann, accounts, clients, firestore
):
    accounts.sign_up("bob")
    create_conversation("ann", {"participantIds": ["bob"]}, clients)
    [conversation] = firestore.collection("conversations").get()
    assert sorted(conversation.get("participantIds")) == ["ann", "bob"]
    assert firestore.collection("users").get() == []


def test_a_channel_of_who_is_not_registered_yet_is_recorded_without_a_repair(
    ann, chat, clients, firestore
):
    chat.channel("messaging", "room", {"members": ["ann"]}).create("ann")
    reconcile_conversations(["room"], clients)
    assert firestore.document("conversations/room").get().get("participantIds") == ["ann"]
    assert entries(clients) == {}


def test_an_account_that_is_not_registered_yet_is_listed_in_agreement(ann, run):
    ran = run("audit", "--users", "--all")
    assert ran.status == 0
    assert ran.out.splitlines()[1].split()[2:] == ["-", "exists", "exists", "exists", "ann"]


def test_what_the_registration_wrote_goes_with_the_account(
    ann, accounts, clients, firestore, firestore_api
):
    firestore.document("users/ann").create({"displayName": "Ann Lee"})
    accounts.delete("ann")
    events.remove_after_event("ann", clients)
    assert firestore_api.left_documents() == set()


def test_a_profile_without_room_is_no_error_of_who_is_not_registered_yet(
    ann, accounts, clients, firestore, in_stream
):
    almost_a_mebibyte = {"preferences": {"x": "x" * (2**20 - 600)}}
    firestore.document("user_profiles/ann").update(almost_a_mebibyte)
    accounts.sign_up("ann", displayName="y" * 256)
    [outcome] = reconcile_users([ANN], clients)
    assert (outcome.status, outcome.error) == ("updated", None)
    assert in_stream()["name"] == "y" * 256
