from __future__ import annotations

import pytest
from stream_chat.base.exceptions import StreamAPIException

from tests.fast.refusals import refusal

# The required fields of MessageResponse and UserResponse in Stream's generated SDKs, but for
# `custom`, which is flat in v1.
PROMISED = (
    *("cid", "created_at", "deleted_reply_count", "html", "id", "pinned", "reply_count"),
    *("shadowed", "silent", "text", "type", "updated_at", "attachments", "latest_reactions"),
    *("mentioned_users", "own_reactions", "restricted_visibility", "reaction_counts"),
    *("reaction_scores", "user"),
)
PROMISED_OF_USERS = (
    *("banned", "blocked_user_ids", "created_at", "id", "language", "online", "role", "teams"),
    "updated_at",
)


@pytest.fixture
def channel(chat):
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}])
    channel = chat.channel("messaging", "c1", {"members": ["ann"]})
    channel.create("ann")
    return channel


def test_a_message_is_sent_and_shown(channel):
    response = channel.send_message({"text": "a < b", "order_id": 7}, "ann")
    assert response.status_code() == 201
    message = response["message"]
    assert (message["text"], message["html"]) == ("a < b", "<p>a &lt; b</p>\n")
    assert (message["type"], message["cid"], message["order_id"]) == ("regular", "messaging:c1", 7)
    assert (message["user"]["id"], message["mentioned_users"]) == ("ann", [])
    assert [one["id"] for one in channel.query()["messages"]] == [message["id"]]


def test_a_message_has_all_fields_that_streams_api_promises(channel):
    channel.send_message({"text": "hi"}, "ann")
    (message,) = channel.query()["messages"]
    assert set(PROMISED) <= message.keys()
    assert set(PROMISED_OF_USERS) <= message["user"].keys()


def test_a_message_dates_its_channel(channel):
    assert "last_message_at" not in channel.query()["channel"]
    message = channel.send_message({"text": "hi"}, "ann")["message"]
    assert channel.query()["channel"]["last_message_at"] == message["created_at"]


def test_a_message_can_bring_its_own_id_once(channel):
    assert channel.send_message({"id": "m1", "text": "hi"}, "ann")["message"]["id"] == "m1"
    assert refusal(channel.send_message, {"id": "m1", "text": "hi"}, "ann") == (400, 4)


def test_a_server_may_speak_for_who_is_no_member(channel):
    assert channel.send_message({"text": "hi"}, "bea").is_ok()


def test_a_message_needs_a_sender(channel, chat):
    with pytest.raises(StreamAPIException, match="user_id must be provided"):
        chat.post("channels/messaging/c1/message", data={"message": {"text": "hi"}})


@pytest.mark.parametrize(
    ("message", "sender", "expected"),
    [
        ({"text": "hi"}, "nobody", (400, 4)),
        ({"text": "x" * 5001}, "ann", (400, 20)),
        ({"text": 1}, "ann", (400, 4)),
        ({"text": "hi"}, {}, (400, 4)),
        ({"text": "hi", "created_at": "now"}, "ann", (400, 4)),
        ({"text": "hi", "note": "x" * 5200}, "ann", (413, 22)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_message_is_refused(channel, message, sender, expected):
    assert refusal(channel.send_message, message, sender) == expected
    assert channel.query()["messages"] == []


def test_a_deactivated_user_says_nothing(channel, chat):
    chat.deactivate_user("ann")
    assert refusal(channel.send_message, {"text": "hi"}, "ann") == (404, 16)


def test_a_message_to_an_unknown_channel_is_refused(chat, channel):
    unknown = chat.channel("messaging", "x")
    assert refusal(unknown.send_message, {"text": "hi"}, "ann") == (404, 16)


def test_mentioned_users_are_shown_if_they_exist(channel):
    given = {"text": "hi", "mentioned_users": ["bea", "nobody", {}]}
    mentioned = channel.send_message(given, "ann")["message"]["mentioned_users"]
    assert [user["id"] for user in mentioned] == ["bea"]


def test_who_has_read_must_be_named(channel, chat):
    for body in ({}, {"user": 1}, {"user_id": "nobody"}):
        assert refusal(chat.post, "channels/messaging/c1/read", data=body) == (400, 4)
