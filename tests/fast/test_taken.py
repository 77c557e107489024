"""A channel that somebody else made under a pair's id is neither opened nor made ours."""

from __future__ import annotations

from typing import Any

import pytest

from chatsync import audit
from chatsync.conversations import channel as channel_module
from chatsync.conversations import reconcile_conversations
from chatsync.conversations.create import create_conversation, parse
from chatsync.errors import Temporary
from tests.fast.failures import fails_with
from tests.fast.outbox import drain_until_settled, entries

PAIR = {"ann", "bob"}


pytestmark = pytest.mark.usefixtures("three_people")


@pytest.fixture
def make(chat):
    """Make a channel in Stream, as a client may."""

    def make(channel_id: str, by: str = "eve", members: tuple[str, ...] = ("ann", "bob")) -> None:
        chat.channel("messaging", channel_id, {"members": list(members)}).create(by)

    return make


@pytest.fixture
def remake(chat, make):
    """Somebody else makes a channel anew whose id they learned."""

    def remake(channel_id: str, **fields: Any) -> None:
        chat.channel("messaging", channel_id).delete(hard=True)
        make(channel_id, **fields)

    return remake


@pytest.fixture
def creator_of(chat):
    def creator_of(channel_id: str) -> str:
        state = chat.channel("messaging", channel_id).query()
        assert {one["user_id"] for one in state["members"]} == PAIR
        return state["channel"]["created_by"]["id"]

    return creator_of


@pytest.fixture
def document(firestore):
    def document(conversation_id: str) -> dict[str, Any]:
        return firestore.document("conversations", conversation_id).get().to_dict() or {}

    return document


@pytest.fixture
def legacy_id(clients) -> str:
    return parse("ann", {"participantIds": ["bob"]}, clients.settings).legacy_id()


@pytest.fixture
def opens_another(create, creator_of, document):
    """Both get the same conversation, and its channel is theirs."""

    def opens_another(taken: str) -> str:
        result = create()
        assert result["id"] != taken
        assert not result["existed"]
        assert creator_of(result["id"]) in PAIR
        again = [create(), create("bob", "ann")]
        assert [(one["id"], one["existed"]) for one in again] == [(result["id"], True)] * 2
        assert document(result["id"])["status"] == "ready"
        return result["id"]

    return opens_another


WITH = [("ann", "bob"), ("eve", "ann", "bob")]


@pytest.mark.parametrize("members", WITH, ids=["the two", "three"])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_channel_under_the_id_of_before_is_not_opened(
    make, opens_another, document, legacy_id, clients, members, recorded
):
    make(legacy_id, members=members)
    if recorded:
        reconcile_conversations([legacy_id], clients)
    opens_another(legacy_id)
    assert document(legacy_id).get("origin") != "app"


@pytest.mark.parametrize("members", WITH, ids=["the two", "three"])
@pytest.mark.parametrize("status", ["pending", "failed", "ready", "deleted"])
def test_a_conversation_whose_channel_somebody_else_made_anew_is_left(
    create, remake, opens_another, firestore, members, status
):
    taken = create()["id"]
    remake(taken, members=members)
    firestore.document(f"conversations/{taken}").update({"status": status})
    opens_another(taken)


@pytest.mark.parametrize("status", ["pending", "failed", "ready"])
def test_a_conversation_of_before_whose_channel_somebody_else_made_is_left(
    make, opens_another, firestore, legacy_id, status
):
    fields = {"conversationType": "direct", "memberIds": ["ann", "bob"], "status": status}
    firestore.document(f"conversations/{legacy_id}").set({**fields, "origin": "app"})
    make(legacy_id)
    opens_another(legacy_id)


@pytest.mark.parametrize("members", WITH, ids=["the two", "three"])
def test_what_was_made_anew_and_recorded_is_somebody_elses(
    create, remake, opens_another, document, clients, members
):
    taken = create()["id"]
    remake(taken, members=members)
    document_before = document(taken)
    clients.firestore.document(f"conversations/{taken}").update({"status": "deleted"})
    reconcile_conversations([taken], clients)
    assert (document_before["createdBy"], document(taken)["createdBy"]) == ("ann", "eve")
    opens_another(taken)
    assert document(taken)["origin"] == "webhook"


def test_whose_account_is_deleted_since_made_it_all_the_same(
    create, remake, opens_another, clients
):
    taken = create()["id"]
    remake(taken)
    clients.firestore.document(f"conversations/{taken}").update({"status": "deleted"})
    reconcile_conversations([taken], clients)
    clients.firestore.document(f"conversations/{taken}").update({"createdBy": None})
    opens_another(taken)


def test_the_outbox_adopts_nothing_either(create, make, chat, clients, stream, document):
    stream.fault("GetOrCreateChannel", "status", status=503, rate=1)
    with fails_with(Temporary):
        create()
    stream.clear_faults()
    [entry] = entries(clients).values()
    taken = entry["key"]
    make(taken, members=("eve", "ann", "bob"))
    drain_until_settled(clients)
    assert (document(taken)["status"], document(taken)["failedReason"]) == ("failed", "taken")
    state = chat.channel("messaging", taken).query()
    assert {one["user_id"] for one in state["members"]} == {"eve", "ann", "bob"}
    assert entries(clients) == {}


def test_a_service_user_may_have_made_it(create, remake, with_settings, chat):
    clients = with_settings(stream={"service_users": ["bot"]})
    chat.upsert_user({"id": "bot"})
    room = create()["id"]
    remake(room, by="bot")
    assert create_conversation("ann", {"participantIds": ["bob"]}, clients)["id"] == room


@pytest.mark.parametrize("is_legacy", [False, True], ids=["ours", "under the id of before"])
def test_it_is_told_in_the_log_and_found_by_the_audit(
    create, make, remake, clients, legacy_id, is_legacy, capsys
):
    if is_legacy:
        taken = legacy_id
        make(taken)
        reconcile_conversations([taken], clients)
    else:
        taken = create()["id"]
        remake(taken)
    found = audit.start("operator", clients, steps=["conversations", "channels"])
    while found.state == "running":
        found = audit.run_page(found, clients)
    told = [(one.kind, one.key) for one in audit.findings_of(found, clients)]
    assert told == [("taken_channel", f"messaging:{taken}")]
    create()
    told = capsys.readouterr()
    assert "somebody else" in told.out + told.err


def test_a_channel_of_three_that_somebody_made_for_them_is_no_finding(make, clients):
    make("lobby")
    reconcile_conversations(["lobby"], clients)
    found = audit.start("operator", clients, steps=["conversations", "channels"])
    while found.state == "running":
        found = audit.run_page(found, clients)
    assert found.findings == 0


@pytest.mark.parametrize(
    ("creator", "is_strangers"),
    [("ann", False), ("eve", True), ("delete-user-0a1b", False), (None, False)],
)
def test_a_deleted_user_is_no_stranger(clients, creator, is_strangers):
    channel = {"created_by": {"id": creator} if creator else None}
    assert channel_module.is_strangers(channel, PAIR, clients.settings) == is_strangers
