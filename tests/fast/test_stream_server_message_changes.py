from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from stream_chat.base.exceptions import StreamAPIException

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import heard as heard_by
from tests.waiting import wait_for

FORBIDDEN = (403, 17)


@pytest.fixture
def channel(chat):
    """With message m1 of Ann; Mod moderates."""
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}, {"id": "mod"}])
    channel = chat.channel("messaging", "c1", {"members": ["ann", "bea", "mod"]})
    channel.create("bea")
    channel.add_moderators(["mod"])
    channel.send_message({"id": "m1", "text": "hello", "order_id": 7}, "ann")
    return channel


@pytest.fixture
def as_user(stream, channel):
    return lambda user_id: user_client(stream, user_id)


def main_list(channel):
    return [message["id"] for message in channel.query()["messages"]]


def heard(stream, event_type, call, *arguments, **options):
    """The next event of the type that Bea, who watches, hears of the call."""
    return heard_by(stream, "bea", event_type, call, *arguments, watches=True, **options)


def edited(chat, message_id="m1", user_id="ann", **fields):
    return chat.update_message({"id": message_id, "user_id": user_id, **fields})["message"]


def test_a_message_is_found_by_its_id(chat, channel, as_user):
    message = chat.get_message("m1")["message"]
    assert (message["text"], message["channel"]["cid"]) == ("hello", "messaging:c1")
    assert as_user("bea").get_message("m1")["message"]["id"] == "m1"
    assert refusal(as_user("cid").get_message, "m1") == FORBIDDEN
    with pytest.raises(StreamAPIException, match="Message with id x doesn't exist"):
        chat.get_message("x")


def test_several_messages_are_found_by_their_ids(channel):
    channel.send_message({"id": "m2", "text": "two"}, "ann")
    found = channel.get_messages(["m2", "x", "m1"])["messages"]
    assert [message["id"] for message in found] == ["m2", "m1"]


def test_an_edit_replaces_what_was_written(chat, channel):
    channel.send_message({"id": "m0", "text": "quoted"}, "ann")
    edited(chat, text="hi", quoted_message_id="m0", mentioned_users=["bea"])
    before = chat.get_message("m1")["message"]
    assert (before["quoted_message"]["id"], "order_id" in before) == ("m0", False)
    after = edited(chat, text="bye", colour="red")
    assert (after["text"], after["html"], after["colour"]) == ("bye", "<p>bye</p>\n", "red")
    assert ("quoted_message" in after, after["mentioned_users"]) == (False, [])
    assert (after["created_at"], after["type"]) == (before["created_at"], "regular")
    assert after["message_text_updated_at"] == after["updated_at"] > before["updated_at"]
    assert channel.query()["messages"][0]["text"] == "bye"


def test_an_edit_takes_back_what_stream_says_of_a_message(chat, channel):
    """As Stream's JS SDK sends a message that it got."""
    own = {"created_at", "updated_at", "html", "latest_reactions", "own_reactions", "user"}
    own |= {"reaction_counts", "reply_count", "mentioned_users"}
    message = {k: v for k, v in chat.get_message("m1")["message"].items() if k not in own}
    del message["channel"]
    after = chat.update_message({**message, "text": "new", "user_id": "ann"})["message"]
    assert (after["text"], after["order_id"]) == ("new", 7)
    assert refusal(edited, chat, text="x", created_at=message["cid"]) == (400, 4)


def test_a_partial_edit_leaves_the_rest(chat, channel):
    change = {"set": {"text": "new", "details.colour": "red"}, "unset": ["order_id"]}
    after = chat.update_message_partial("m1", change, "ann")["message"]
    assert (after["text"], after["details"], "order_id" in after) == (
        "new",
        {"colour": "red"},
        False,
    )
    for bad in ({"set": {"html": "x"}}, {"set": {"text": 1}}, {"set": ["x"]}):
        assert refusal(chat.update_message_partial, "m1", bad, "ann") == (400, 4)
    assert refusal(chat.update_message_partial, "m1", {"set": {}}, "") == (400, 4)


def test_a_client_edits_and_deletes_its_own_messages_only(channel, as_user):
    for user_id, allowed in (("bea", False), ("cid", False), ("ann", True), ("mod", True)):
        client = as_user(user_id)
        calls = (
            (client.update_message, {"id": "m1", "text": user_id}),
            (client.update_message_partial, "m1", {"set": {"text": user_id}}, user_id),
        )
        for call, *arguments in calls:
            if allowed:
                assert call(*arguments)["message"]["text"] == user_id
            else:
                assert refusal(call, *arguments) == FORBIDDEN
        if not allowed:
            assert refusal(client.delete_message, "m1") == FORBIDDEN
    assert as_user("ann").delete_message("m1").is_ok()


def test_a_banned_users_client_edits_nothing(channel, as_user):
    channel.ban_user("ann")
    ann = as_user("ann")
    assert refusal(ann.update_message, {"id": "m1", "text": "x"}) == FORBIDDEN
    assert refusal(ann.delete_message, "m1") == FORBIDDEN
    assert refusal(ann.pin_message, "m1", "ann") == FORBIDDEN


def test_an_edit_reaches_who_watches(chat, channel, stream):
    event = heard(stream, "message.updated", edited, chat, text="new")
    assert (event["message"]["text"], event["user"]["id"]) == ("new", "ann")


def test_a_message_is_pinned_and_unpinned(chat, channel, stream, as_user):
    event = heard(stream, "message.updated", as_user("bea").pin_message, "m1", "bea")
    assert event["message"]["pinned"] is True
    (pinned,) = channel.query()["pinned_messages"]
    assert (pinned["id"], pinned["pinned_by"]["id"], pinned["pin_expires"]) == ("m1", "bea", None)
    assert pinned["pinned_at"] is not None
    assert refusal(as_user("cid").unpin_message, "m1", "cid") == FORBIDDEN
    message = chat.unpin_message("m1", "bea")["message"]
    assert (message["pinned"], message["pinned_at"], message["pinned_by"]) == (False, None, None)
    assert channel.query()["pinned_messages"] == []


def test_a_pin_ends_at_its_time(chat, channel):
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    change = {"set": {"pinned": True, "pin_expires": soon}}
    assert chat.update_message_partial("m1", change, "ann")["message"]["pinned"] is True
    wait_for(lambda: not chat.get_message("m1")["message"]["pinned"], seconds=30)
    assert channel.query()["pinned_messages"] == []


def test_a_message_can_be_sent_pinned(channel):
    message = channel.send_message({"text": "rules", "pinned": True}, "ann")["message"]
    assert (message["pinned"], message["pinned_by"]["id"]) == (True, "ann")


def test_pinned_messages_come_in_pages(chat, channel):
    for number in (3, 2):
        channel.send_message({"id": f"m{number}", "text": "hi"}, "ann")
        chat.pin_message(f"m{number}", "ann")
    chat.pin_message("m1", "ann")

    def pinned(**page):
        params = {"payload": json.dumps(page)}
        found = chat.get("channels/messaging/c1/pinned_messages", params)["messages"]
        return [message["id"] for message in found]

    assert (pinned(), pinned(limit=2)) == (["m3", "m2", "m1"], ["m2", "m1"])
    assert pinned(id_lt="m1", limit=1) == ["m2"]
    at = chat.get_message("m2")["message"]["pinned_at"]
    assert pinned(pinned_at_before_or_equal=at) == ["m3", "m2"]


def test_a_softly_deleted_message_keeps_its_place(chat, channel, stream):
    chat.pin_message("m1", "ann")
    event = heard(stream, "message.deleted", chat.delete_message, "m1", deleted_by="mod")
    assert (event["hard_delete"], event["message"]["type"]) == (False, "deleted")
    assert event["user"]["id"] == "mod"
    (message,) = channel.query()["messages"]
    assert (message["type"], message["pinned"]) == ("deleted", False)
    assert message["deleted_at"] == event["message"]["deleted_at"]
    assert refusal(edited, chat, text="x") == (400, 4)
    assert refusal(chat.delete_message, "m1") == (400, 4)


def test_a_deleted_message_comes_back(chat, channel, stream, as_user):
    chat.delete_message("m1")
    event = heard(stream, "message.undeleted", chat.undelete_message, "m1", "mod")
    assert (event["message"]["type"], event["message"]["text"]) == ("regular", "hello")
    assert "deleted_at" not in chat.get_message("m1")["message"]
    assert refusal(chat.undelete_message, "m1", "mod") == (400, 4)
    with pytest.raises(StreamAPIException, match="can only be called server side"):
        as_user("ann").undelete_message("m1", "ann")


def test_a_hard_deleted_message_is_gone_with_its_thread(chat, channel, stream):
    channel.send_message({"id": "r1", "text": "reply", "parent_id": "m1"}, "bea")
    channel.send_message({"id": "m2", "text": "quote", "quoted_message_id": "m1"}, "bea")
    event = heard(stream, "message.deleted", chat.delete_message, "m1", hard=True)
    assert event["hard_delete"] is True
    (quote,) = channel.query()["messages"]
    assert "quoted_message" not in quote
    for message_id in ("m1", "r1"):
        assert refusal(chat.get_message, message_id) == (400, 4)
    assert refusal(chat.undelete_message, "m1", "mod") == (400, 4)


def test_deleted_replies_are_counted_apart(chat, channel, stream):
    for number in (1, 2):
        channel.send_message({"id": f"r{number}", "text": "hi", "parent_id": "m1"}, "bea")
    event = heard(stream, "message.updated", chat.delete_message, "r1")
    counts = event["message"]["reply_count"], event["message"]["deleted_reply_count"]
    assert (event["message"]["id"], counts) == ("m1", (1, 1))
    chat.delete_message("r2", hard=True)
    parent = chat.get_message("m1")["message"]
    assert (parent["reply_count"], parent["deleted_reply_count"]) == (0, 1)


def test_deleted_messages_are_not_unread(chat, channel):
    channel.send_message({"id": "m2", "text": "two"}, "ann")
    chat.delete_message("m2")
    chat.delete_message("m1", hard=True)
    read = next(one for one in channel.query()["read"] if one["user"]["id"] == "bea")
    assert read["unread_messages"] == 0


def test_deleting_for_oneself_is_not_known(chat, channel):
    assert refusal(chat.delete_message, "m1", hard=False, delete_for_me=True, deleted_by="ann") == (
        400,
        4,
    )
    assert main_list(channel) == ["m1"]


def test_a_quote_outlives_what_it_quotes(chat, channel, as_user):
    channel.send_message({"id": "m2", "text": "yes", "quoted_message_id": "m1"}, "bea")
    chat.delete_message("m1", hard=True)
    as_user("bea").update_message_partial("m2", {"set": {"text": "no"}}, "bea")
    assert edited(chat, "m2", "bea", text="maybe", quoted_message_id="m1")["text"] == "maybe"
    assert "quoted_message" not in chat.get_message("m2")["message"]
    with pytest.raises(StreamAPIException, match="Message with id m9 doesn't exist"):
        edited(chat, "m2", "bea", text="maybe", quoted_message_id="m9")


def test_a_deleted_message_is_not_pinned(chat, channel, as_user):
    chat.delete_message("m1")
    assert refusal(as_user("ann").pin_message, "m1", "ann") == (400, 4)
    assert channel.query()["pinned_messages"] == []


def test_nobody_changes_a_message_who_does_not_exist(chat, channel):
    patch = {"set": {"pinned": True}}
    assert refusal(edited, chat, user_id="nobody", text="x") == (400, 4)
    assert refusal(chat.update_message_partial, "m1", patch, "nobody") == (400, 4)
    assert refusal(chat.delete_message, "m1", deleted_by="nobody") == (400, 4)
    chat.delete_message("m1")
    assert refusal(chat.undelete_message, "m1", "nobody") == (400, 4)


def test_who_is_shadow_banned_learns_it_from_no_event(chat, channel, stream):
    chat.shadow_ban("bea", banned_by_id="mod")
    channel.send_message({"id": "m2", "text": "hi"}, "bea")
    own = heard(stream, "reaction.new", channel.send_reaction, "m2", {"type": "like"}, "ann")
    assert own["message"]["shadowed"] is False
    chat.remove_shadow_ban("bea")
    chat.shadow_ban("ann", banned_by_id="mod")
    channel.send_message({"id": "m3", "text": "hi"}, "ann")
    others = heard(stream, "message.updated", edited, chat, "m3", text="ho")
    assert others["message"]["shadowed"] is True
