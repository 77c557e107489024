"""Who left a direct conversation comes back by their own call only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatsync import audit, outbox
from chatsync.conversations import reconcile_conversations
from chatsync.conversations.create import create_conversation
from chatsync.entry import webhooks
from chatsync.entry.events import remove_after_event
from chatsync.errors import FailedPrecondition, PermissionDenied, Postponed, Temporary
from chatsync.ids import Key
from chatsync.outcome import Outcome
from tests.fast.failures import fails_with
from tests.fast.outbox import drain_until_settled, entries

pytestmark = pytest.mark.usefixtures("three_people")


@pytest.fixture
def document(firestore):
    def document(conversation_id: str) -> dict[str, Any]:
        return firestore.document("conversations", conversation_id).get().to_dict() or {}

    return document


@pytest.fixture
def members(chat):
    def members(room: str) -> set[str]:
        state = chat.channel("messaging", room).query()
        return {one["user_id"] for one in state["members"]}

    return members


@pytest.fixture
def told(clients):
    """Stream's event of a member, some time after it happened."""

    def told(kind: str, room: str, uid: str = "bob", **fields: object) -> None:
        about = {"cid": f"messaging:{room}", "member": {"user_id": uid}, **fields}
        webhooks.handle({"type": f"member.{kind}", **about}, clients)

    return told


@pytest.fixture
def leave(chat, told):
    def leave(room: str, uid: str = "bob") -> None:
        chat.channel("messaging", room).remove_members([uid])
        told("removed", room, uid)

    return leave


@pytest.fixture
def refused(create):
    def refused(caller: str = "ann", other: str = "bob") -> None:
        with fails_with(FailedPrecondition) as refusal:
            create(caller, other)
        assert (refusal.value.ids, refusal.value.reason) == ([other], "left")

    return refused


def test_who_left_is_not_added_again_by_the_others_call(create, leave, refused, members, document):
    room = create()["id"]
    leave(room)
    for _ in range(3):
        refused()
    assert members(room) == {"ann"}
    kept = document(room)
    assert (kept["status"], kept["memberIds"], kept["participantIds"]) == (
        "ready",
        ["ann"],
        ["ann"],
    )
    assert datetime.now(UTC) - kept["left"]["bob"] < timedelta(minutes=1)


def test_the_time_is_that_of_the_event(create, chat, told, document):
    room = create()["id"]
    chat.channel("messaging", room).remove_members(["bob"])
    at = datetime.now(UTC) - timedelta(hours=1)
    told("removed", room, created_at=at.isoformat())
    assert document(room)["left"] == {"bob": at}


def test_who_left_comes_back_by_their_own_call(create, leave, members, document):
    room = create()["id"]
    leave(room)
    back = create("bob", "ann")
    assert (back["id"], back["existed"]) == (room, True)
    assert members(room) == {"ann", "bob"}
    assert "left" not in document(room)
    assert set(document(room)["participantIds"]) == {"ann", "bob"}
    assert create()["id"] == room


def test_who_was_added_by_a_moderator_has_not_left(create, leave, chat, told, members, document):
    room = create()["id"]
    leave(room)
    chat.channel("messaging", room).add_members(["bob"])
    told("added", room)
    assert "left" not in document(room)
    assert create()["id"] == room


def test_an_event_that_comes_late_takes_nobody_out(create, leave, told, members, document):
    room = create()["id"]
    leave(room)
    create("bob", "ann")
    told("removed", room)
    assert "left" not in document(room)
    assert create()["id"] == room
    assert members(room) == {"ann", "bob"}
    leave(room)
    told("added", room)
    assert set(document(room)["left"]) == {"bob"}


def test_an_event_that_comes_twice_is_one(create, leave, told, document):
    room = create()["id"]
    leave(room)
    before = document(room)
    told("removed", room)
    assert document(room) == before


def test_the_channels_own_event_may_come_first(create, chat, told, clients, refused, document):
    room = create()["id"]
    chat.channel("messaging", room).remove_members(["bob"])
    reconcile_conversations([room], clients)
    assert document(room)["memberIds"] == ["ann"]
    told("removed", room)
    assert set(document(room)["left"]) == {"bob"}
    refused()


def test_when_both_left_the_first_to_come_back_waits_for_the_other(
    create, leave, refused, members, document
):
    room = create()["id"]
    leave(room, "bob")
    leave(room, "ann")
    assert set(document(room)["left"]) == {"ann", "bob"}
    refused("ann", "bob")
    assert members(room) == set()
    assert create("bob", "ann")["id"] == room
    assert members(room) == {"ann", "bob"}


def test_a_member_who_merely_lacks_is_added_again(create, chat, members, clients):
    room = create()["id"]
    chat.delete_user("bob")
    reconcile_conversations([room], clients)
    assert create()["healed"] == ["bob"]
    assert members(room) == {"ann", "bob"}


def test_whom_our_own_repair_removed_has_not_left(create, chat, told, document, firestore, clients):
    room = create(conversationType="group")["id"]
    firestore.document(f"conversations/{room}").update({"status": "pending"})
    chat.channel("messaging", room).add_members(["eve"])
    reconcile_conversations([room], clients)
    told("removed", room, "eve")
    assert (document(room)["status"], document(room).get("left")) == ("ready", None)


def test_nobody_who_left_a_group_comes_back_with_it(
    create, leave, chat, clients, document, members
):
    asked = {"conversationType": "group", "idempotencyKey": "tap"}
    room = create(**asked)["id"]
    leave(room)
    assert set(document(room)["left"]) == {"bob"}
    chat.channel("messaging", room).delete(hard=True)
    reconcile_conversations([room], clients)
    create(**asked)
    assert members(room) == {"ann"}
    assert document(room)["participantIds"] == ["ann"]


def test_who_left_a_group_does_not_begin_it_again(create, leave, chat, clients):
    asked = {"conversationType": "group", "idempotencyKey": "tap"}
    room = create(**asked)["id"]
    leave(room, "ann")
    with fails_with(PermissionDenied):
        create(**asked)
    chat.channel("messaging", room).delete(hard=True)
    reconcile_conversations([room], clients)
    with fails_with(PermissionDenied):
        create(**asked)


@pytest.mark.parametrize("status", ["pending", "failed"])
@pytest.mark.parametrize("conversation_type", ["direct", "group"])
def test_the_outbox_does_not_bring_back_who_left(
    create, leave, members, document, firestore, clients, conversation_type, status
):
    room = create(conversationType=conversation_type)["id"]
    firestore.document(f"conversations/{room}").update({"status": status})
    leave(room)
    drain_until_settled(clients)
    assert members(room) == {"ann"}
    kept = document(room)
    assert (kept["status"], kept["memberIds"], set(kept["left"])) == ("ready", ["ann"], {"bob"})
    assert entries(clients) == {}


def test_what_failed_expires_no_more_once_somebody_left_it(
    create, leave, chat, clients, document, firestore
):
    room = create()["id"]
    failed = {"status": "failed", "chatsyncExpireAt": datetime.now(UTC) + timedelta(days=1)}
    firestore.document(f"conversations/{room}").update(failed)
    leave(room)
    chat.deactivate_user("ann")
    reconcile_conversations([room], clients)
    kept = document(room)
    assert (kept["status"], set(kept["left"])) == ("failed", {"bob"})
    assert "chatsyncExpireAt" not in kept


@pytest.mark.parametrize("status", ["pending", "failed"])
@pytest.mark.parametrize("conversation_type", ["direct", "group"])
def test_what_all_members_left_before_it_was_ready_leaves_no_entry(
    create, leave, document, firestore, clients, conversation_type, status
):
    room = create(conversationType=conversation_type)["id"]
    firestore.document(f"conversations/{room}").update({"status": status})
    leave(room, "bob")
    leave(room, "ann")
    drain_until_settled(clients)
    kept = document(room)
    assert (kept["status"], set(kept["left"])) == ("failed", {"ann", "bob"})
    assert entries(clients) == {}


def test_the_night_does_not_bring_back_who_left(create, leave, clients, members, refused):
    room = create()["id"]
    leave(room)
    waiting = Outcome(Key("conversation", room), "", None, Postponed("later"))
    outbox.write_entries([waiting], clients)
    found = audit.start("nightly", clients, repair=audit.CREATING)
    while found.state == "running":
        found = audit.run_page(found, clients)
    drain_until_settled(clients)
    assert members(room) == {"ann"}
    refused()


@pytest.mark.parametrize("by", ["the outbox", "the other's call"])
def test_who_left_while_stream_did_not_answer_has_left(
    create, leave, stream, clients, document, members, refused, by
):
    room = create()["id"]
    stream.fault("QueryChannels", "status", status=503, rate=1)
    leave(room)
    assert "left" not in document(room)
    with fails_with(Temporary):
        create()
    stream.clear_faults()
    if by == "the outbox":
        drain_until_settled(clients)
        assert set(document(room)["left"]) == {"bob"}
    refused()
    assert members(room) == {"ann"}


def test_deleting_the_channel_does_not_bring_back_who_left(create, leave, chat, clients, refused):
    room = create()["id"]
    leave(room)
    chat.channel("messaging", room).delete(hard=True)
    reconcile_conversations([room], clients)
    refused()
    assert create("bob", "ann")["id"] == room


@pytest.mark.parametrize("told_first", ["of the member", "of the channel"])
def test_who_left_a_channel_that_was_deleted_at_once_has_left(
    create, chat, clients, told, refused, members, document, told_first
):
    room = create()["id"]
    chat.channel("messaging", room).remove_members(["bob"])
    chat.channel("messaging", room).delete(hard=True)
    if told_first == "of the channel":
        reconcile_conversations([room], clients)
    told("removed", room)
    assert (set(document(room)["left"]), "leaving" in document(room)) == ({"bob"}, False)
    refused()
    assert create("bob", "ann")["id"] == room
    assert members(room) == {"ann", "bob"}


@pytest.mark.parametrize("opened", [False, True], ids=["never opened here", "opened here"])
def test_who_left_a_recorded_conversation_is_not_added_again(
    create, leave, chat, clients, refused, members, opened
):
    chat.channel("messaging", "old", {"members": ["ann", "bob"]}).create("ann")
    reconcile_conversations(["old"], clients)
    if opened:
        assert create()["id"] == "old"
    leave("old")
    refused()
    assert members("old") == {"ann"}
    back = create("bob", "ann")
    assert back["id"] == "old"
    assert members(back["id"]) == {"ann", "bob"}
    assert create()["id"] == back["id"]


@pytest.fixture
def recorded(create, chat, clients) -> str:
    """A channel of the two that the app made, opened here."""
    chat.channel("messaging", "old", {"members": ["ann", "bob"]}).create("ann")
    reconcile_conversations(["old"], clients)
    return str(create()["id"])


@pytest.mark.parametrize("opened", [False, True], ids=["never opened here", "opened here"])
def test_nobody_who_left_a_recorded_conversation_gets_another_when_both_have_left(
    create, leave, chat, clients, refused, members, opened
):
    chat.channel("messaging", "old", {"members": ["ann", "bob"]}).create("ann")
    reconcile_conversations(["old"], clients)
    if opened:
        create()
    leave("old", "bob")
    leave("old", "ann")
    for _ in range(2):
        refused()
    assert members("old") == set()
    assert create("bob", "ann")["id"] == "old"
    assert members("old") == {"ann", "bob"}
    assert create()["existed"]


def test_nobody_who_left_a_recorded_conversation_gets_another_when_a_third_is_added(
    recorded, create, leave, chat, told, refused, members
):
    leave(recorded)
    chat.channel("messaging", recorded).add_members(["eve"])
    told("added", recorded, "eve")
    refused()
    back = create("bob", "ann")["id"]
    assert back != recorded
    assert members(back) == {"ann", "bob"}
    assert create()["id"] == back


def test_both_come_back_after_the_recorded_channel_that_they_left_is_deleted(
    recorded, create, leave, refused, chat, clients, members
):
    leave(recorded, "bob")
    leave(recorded, "ann")
    chat.channel("messaging", recorded).delete(hard=True)
    reconcile_conversations([recorded], clients)
    refused()
    assert members(create("bob", "ann")["id"]) == {"ann", "bob"}


def test_who_leaves_a_recorded_group_is_not_kept_in_its_document(chat, told, document, clients):
    lobby = chat.channel("messaging", "lobby", {"name": "Lobby", "members": ["ann", "bob"]})
    lobby.create("ann")
    reconcile_conversations(["lobby"], clients)
    lobby.remove_members(["bob"])
    told("removed", "lobby")
    assert document("lobby")["memberIds"] == ["ann"]
    assert not {"left", "leaving"} & set(document("lobby"))


def test_a_bot_that_was_removed_is_added_again(with_settings, chat, told, members, document):
    clients = with_settings(stream={"service_users": ["bot"]})
    chat.upsert_user({"id": "bot"})
    asked = {"participantIds": ["bot"]}
    room = create_conversation("ann", asked, clients)["id"]
    chat.channel("messaging", room).remove_members(["bot"])
    event = {"type": "member.removed", "cid": f"messaging:{room}", "member": {"user_id": "bot"}}
    webhooks.handle(event, clients)
    assert create_conversation("ann", asked, clients)["id"] == room
    assert members(room) == {"ann", "bot"}


def test_nobody_is_said_to_have_left_a_channel_that_somebody_else_made(
    create, chat, told, document
):
    room = create()["id"]
    chat.channel("messaging", room).delete(hard=True)
    squatted = chat.channel("messaging", room, {"members": ["eve", "ann", "bob"]})
    squatted.create("eve")
    squatted.remove_members(["bob"])
    told("removed", room)
    assert "left" not in document(room)
    assert create()["id"] != room


def test_a_deleted_account_is_not_among_those_who_left(
    create, leave, accounts, clients, document, members
):
    room = create()["id"]
    leave(room)
    accounts.delete("bob")
    remove_after_event("bob", clients)
    assert not document(room).get("left")
    accounts.sign_up("bob")
    assert create()["id"] == room
    assert members(room) == {"ann", "bob"}
