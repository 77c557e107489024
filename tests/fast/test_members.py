"""Conversations name only people who exist and have a profile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.api_core.exceptions import InternalServerError

from chatsync import audit
from chatsync.config import DELETE_POLICIES
from chatsync.conversations import create, reconcile_conversations
from chatsync.conversations.create import create_conversation
from chatsync.entry import webhooks
from chatsync.entry.events import reconcile_after_sign_up, remove_after_event
from chatsync.errors import FirebaseUnavailable, NotFound, StreamUnavailable
from tests.fast.failures import fails_with
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
    def night(clients=clients) -> audit.Audit:
        began = audit.start("nightly", clients, repair=audit.CREATING)
        audit.run(began.id, clients)
        return audit.read(began.id, clients)

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


def test_a_member_without_account_is_named_only_once_there_is_one(
    channel, clients, accounts, chat, document, firestore_api
):
    """Somebody whom only Stream knows, such as an orphan there."""
    chat.upsert_user({"id": "ghost"})
    channel.add_members(["ghost"])
    reconcile_conversations(["room"], clients)
    assert list(entries(clients)) == ["user_bob"]
    assert document()["participantIds"] == ["ann", "bob"]
    assert set(document()["memberIds"]) == {"ann", "bob", "ghost"}
    firestore_api.calls.clear()
    reconcile_conversations(["room"], clients)
    assert "commit" not in firestore_api.calls
    accounts.sign_up("ghost")
    reconcile_after_sign_up("ghost", clients)
    reconcile_conversations(["room"], clients)
    assert set(document()["participantIds"]) == {"ann", "bob", "ghost"}


# A deleted account


@pytest.fixture
def deleted(accounts):
    """Delete an account, with the event of it."""

    def deleted(uid: str, clients) -> None:
        accounts.delete(uid)
        remove_after_event(uid, clients)

    return deleted


@pytest.fixture
def eve(ann_and_bob, accounts) -> None:
    accounts.sign_up("eve")


def people_in(fields) -> tuple[list[str], list[str], str | None]:
    return fields["participantIds"], fields["memberIds"], fields["createdBy"]


@pytest.mark.parametrize("policy", DELETE_POLICIES)
def test_a_deleted_account_leaves_its_conversations_and_stays_away(
    policy, with_settings, eve, deleted, document, chat, night
):
    clients = with_settings(stream={"delete_policy": policy})
    asked = {"participantIds": ["ann", "eve"], "conversationType": "group"}
    room = create_conversation("bob", asked, clients)["id"]
    deleted("bob", clients)
    left = ["ann", "eve"], ["ann", "eve"], None
    assert people_in(document(room)) == left
    chat.channel("messaging", room).update_partial({"name": "Room"})
    reconcile_conversations([room], clients)
    assert document(room)["name"] == "Room"
    assert people_in(document(room)) == left
    audited = night(clients)
    assert people_in(document(room)) == left
    assert audited.findings == 0


@pytest.mark.parametrize("others", [["bob"], ["bob", "eve"]], ids=["direct", "group"])
@pytest.mark.parametrize("moment", ["between_reads", "after_reads"])
@pytest.mark.parametrize("policy", DELETE_POLICIES)
def test_an_account_deleted_while_a_conversation_begins_is_not_named_by_it(
    policy, moment, others, with_settings, eve, deleted, firestore, monkeypatch, night
):
    """The event of the deletion is handled before the conversation is written."""
    clients = with_settings(stream={"delete_policy": policy})
    for uid in ("ann", "bob", "eve"):
        reconcile_after_sign_up(uid, clients)
    begin_reads = create.begin_reads_of

    def reads_around_deletion(*arguments):
        before = begin_reads(*arguments)
        before.documents.result()
        if moment == "after_reads":
            before.stream_users.result()
        deleted("bob", clients)
        if moment == "after_reads":
            return before
        return replace(before, stream_users=begin_reads(*arguments).stream_users)

    monkeypatch.setattr(create, "begin_reads_of", reads_around_deletion)
    with fails_with(NotFound, "bob"):
        create_conversation("ann", {"participantIds": others}, clients)
    drain_until_settled(clients)
    conversations = firestore.collection("conversations").get()
    is_seen = (policy, moment) == ("deactivate", "between_reads")
    assert len(conversations) == (0 if is_seen else 1)
    left = ["ann", *others[1:]]
    for conversation in conversations:
        night(clients)
        drain_until_settled(clients)
        kept = conversation.reference.get().to_dict()
        assert (kept["status"], kept["failedReason"]) == ("failed", "not_found")
        assert people_in(kept) == (left, left, "ann")


@pytest.mark.parametrize("policy", ["deactivate", "keep"])
def test_a_channel_recorded_after_a_deletion_does_not_name_the_account(
    policy, with_settings, channel, deleted, document
):
    clients = with_settings(stream={"delete_policy": policy, "service_users": ["bot"]})
    deleted("bob", clients)
    reconcile_conversations(["room"], clients)
    assert (document()["participantIds"], document()["memberIds"]) == (["ann"], ["ann"])


def test_events_that_stream_still_sends_of_the_account_change_nothing(
    eve, clients, deleted, document
):
    asked = {"participantIds": ["ann", "eve"], "conversationType": "group"}
    made = create_conversation("bob", asked, clients)
    deleted("bob", clients)
    before = document(made["id"])
    for kind in ("member.removed", "member.added"):
        event = {"type": kind, "cid": made["cid"], "member": {"user_id": "bob"}}
        webhooks.handle(event, clients)
    assert document(made["id"]) == before


def test_a_conversation_that_the_app_wrote_is_left_alone(
    ann_and_bob, clients, deleted, document, firestore
):
    own = {"participantIds": ["ann", "bob"], "memberIds": ["ann", "bob"], "createdBy": "bob"}
    firestore.document("conversations/room").set(own)
    deleted("bob", clients)
    assert document() == own


def test_what_the_account_began_and_left_before_no_longer_names_it(
    ann_and_bob, clients, deleted, document, firestore
):
    own = {"participantIds": ["ann"], "memberIds": ["ann"], "createdBy": "bob", "origin": "app"}
    firestore.document("conversations/room").set(own)
    deleted("bob", clients)
    assert people_in(document()) == (["ann"], ["ann"], None)


def test_hundreds_of_conversations_are_left(ann_and_bob, clients, deleted, document, firestore):
    fields = {"participantIds": ["ann", "bob"], "memberIds": ["ann", "bob"], "createdBy": "ann"}
    for n in range(250):
        # Those of the app stay in the way.
        origin = {"origin": "webhook"} if n >= 110 else {}
        firestore.document(f"conversations/{n:03}").set({**fields, **origin})
    deleted("bob", clients)
    assert document("109")["participantIds"] == ["ann", "bob"]
    assert all(document(f"{n}")["participantIds"] == ["ann"] for n in range(110, 250))


@pytest.mark.parametrize(
    ("call", "done"), [("run_query", 0), ("run_query", 1), ("batch_write", 1), ("commit", 0)]
)
def test_the_outbox_finishes_a_departure_that_failed(
    call, done, eve, clients, deleted, document, firestore_api, has_documents
):
    asked = {"participantIds": ["ann", "eve"], "conversationType": "group"}
    room = create_conversation("bob", asked, clients)["id"]

    calls = 0

    def fail(name: str) -> None:
        nonlocal calls
        calls += name == call
        if name == call and calls == done + 1:
            raise InternalServerError("down")

    firestore_api.before_call = fail
    deleted("bob", clients)
    assert entries(clients)["user_bob"]["removal"] is True
    firestore_api.before_call = no_hook
    drain_until_settled(clients)
    assert people_in(document(room)) == (["ann", "eve"], ["ann", "eve"], None)
    assert has_documents("bob") == [False, False, False]


def test_half_a_pair_does_not_open(ann_and_bob, clients, deleted, document, stream, chat):
    stream.fault("GetOrCreateChannel", "status", status=503, rate=1)
    with fails_with(StreamUnavailable):
        create_conversation("ann", {"participantIds": ["bob"]}, clients)
    deleted("bob", clients)
    stream.clear_faults()
    [entry] = entries(clients).values()
    drain_until_settled(clients)
    assert entries(clients) == {}
    failed = document(entry["key"])
    assert (failed["status"], failed["failedReason"]) == ("failed", "not_found")
    assert failed["memberIds"] == ["ann"]
    assert chat.query_channels({"members": {"$in": ["ann"]}})["channels"] == []


def test_a_company_that_remains_stays_in_its_conversations(
    ann_and_bob, accounts, clients, deleted, document, firestore
):
    accounts.sign_up("acme")
    firestore.document("companies/acme").set({"name": "Acme"})
    room = create_conversation("ann", {"participantIds": ["acme"]}, clients)["id"]
    deleted("acme", clients)
    assert "company_acme" in document(room)["memberIds"]
