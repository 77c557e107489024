from __future__ import annotations

import asyncio
import json

import pytest
from stream_chat.base.exceptions import StreamAPIException

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import connected, in_thread


@pytest.fixture
def channel(channel):
    """With message m1 of Ann."""
    channel.send_message({"id": "m1", "text": "hello"}, "ann")
    return channel


def reply(channel, message_id, user_id="bea", **fields):
    message = {"id": message_id, "text": message_id, "parent_id": "m1", **fields}
    return channel.send_message(message, user_id)["message"]


def ids(messages):
    return [message["id"] for message in messages]


def test_a_reply_is_in_its_thread_only(channel):
    assert reply(channel, "r1")["type"] == "reply"
    (parent,) = channel.query()["messages"]
    assert (parent["id"], parent["reply_count"]) == ("m1", 1)
    assert ids(channel.get_replies("m1")["messages"]) == ["r1"]


def test_a_reply_can_be_in_the_channel_too(channel):
    reply(channel, "r1", show_in_channel=True)
    assert ids(channel.query()["messages"]) == ["m1", "r1"]
    assert ids(channel.get_replies("m1")["messages"]) == ["r1"]


def test_a_parent_shows_who_replied(channel):
    assert "thread_participants" not in channel.query()["messages"][0]
    for message_id, user_id in (("r1", "bea"), ("r2", "bea"), ("r3", "ann")):
        reply(channel, message_id, user_id)
    (parent,) = channel.query()["messages"]
    assert ids(parent["thread_participants"]) == ["bea", "ann"]
    assert (parent["reply_count"], parent["deleted_reply_count"]) == (3, 0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["r1", "r2", "r3", "r4"]),
        ({"limit": 2}, ["r3", "r4"]),
        ({"limit": 2, "id_lt": "r3"}, ["r1", "r2"]),
        ({"limit": 2, "id_gte": "r2"}, ["r2", "r3"]),
        ({"limit": 3, "id_around": "r2"}, ["r1", "r2", "r3"]),
        ({"limit": 2, "sort": [{"field": "created_at", "direction": 1}]}, ["r1", "r2"]),
        ({"limit": 2, "sort": [{"field": "created_at", "direction": -1}]}, ["r3", "r4"]),
    ],
    ids=str,
)
def test_replies_come_in_pages(channel, options, expected):
    for number in range(1, 5):
        reply(channel, f"r{number}")
    if "sort" in options:
        options = {**options, "sort": json.dumps(options["sort"])}
    assert ids(channel.get_replies("m1", **options)["messages"]) == expected


@pytest.mark.parametrize("options", [{"limit": "two"}, {"id_lt": "x"}, {"sort": "{"}], ids=str)
def test_a_bad_page_of_replies_is_refused(channel, options):
    assert refusal(channel.get_replies, "m1", **options) == (400, 4)


def test_a_reply_to_an_unknown_message_is_refused(channel, chat):
    other = chat.channel("messaging", "c2", {"members": ["ann"]})
    other.create("ann")
    for where, parent_id in ((channel, "unknown"), (other, "m1")):
        message = {"text": "hi", "parent_id": parent_id}
        assert refusal(where.send_message, message, "ann") == (400, 4)


def test_a_reply_to_a_reply_is_refused(channel):
    reply(channel, "r1")
    assert refusal(channel.send_message, {"text": "hi", "parent_id": "r1"}, "ann") == (400, 21)


def test_the_replies_of_an_unknown_message_are_refused(channel):
    with pytest.raises(StreamAPIException, match="Message with id x doesn't exist"):
        channel.get_replies("x")


def test_a_stranger_reads_no_replies(channel, stream):
    stranger = user_client(stream, "cid").channel("messaging", "c1")
    assert refusal(stranger.get_replies, "m1") == (403, 17)


def test_a_reply_does_not_make_the_channel_unread(channel):
    reply(channel, "r1")
    reads = {one["user"]["id"]: one["unread_messages"] for one in channel.query()["read"]}
    assert reads == {"ann": 0, "bea": 1}
    reply(channel, "r2", show_in_channel=True)
    reads = {one["user"]["id"]: one["unread_messages"] for one in channel.query()["read"]}
    assert reads == {"ann": 1, "bea": 0}


def test_a_silent_message_does_not_make_the_channel_unread(channel):
    channel.mark_read("bea")
    channel.send_message({"text": "psst", "silent": True}, "ann")
    assert {one["unread_messages"] for one in channel.query()["read"]} == {0}


def test_watchers_hear_of_a_reply_and_of_its_parent(channel, stream):
    async def connect():
        async with connected(stream, "ann") as client:
            await client.watch()
            await in_thread(reply, channel, "r1")
            return await client.event("message.new"), await client.event("message.updated")

    new, updated = asyncio.run(connect())
    assert (new["message"]["parent_id"], ids(new["thread_participants"])) == ("m1", ["bea"])
    assert (updated["message"]["id"], updated["message"]["reply_count"]) == ("m1", 1)


def test_a_quote_shows_what_it_quotes(channel):
    channel.send_message({"id": "m2", "text": "yes", "quoted_message_id": "m1"}, "bea")
    quote = channel.send_message({"text": "no", "quoted_message_id": "m2"}, "ann")["message"]
    assert (quote["quoted_message_id"], quote["quoted_message"]["text"]) == ("m2", "yes")
    assert quote["quoted_message"]["user"]["id"] == "bea"
    assert "quoted_message" not in quote["quoted_message"]
    assert channel.query()["messages"][1]["quoted_message"]["text"] == "hello"


def test_an_unknown_message_is_not_quoted(channel):
    message = {"text": "hi", "quoted_message_id": "x"}
    assert refusal(channel.send_message, message, "ann") == (400, 4)


@pytest.mark.parametrize("field", ["poll_id", "restricted_visibility", "shared_location"])
def test_what_is_not_known_here_is_refused(channel, field):
    assert refusal(channel.send_message, {"text": "hi", field: ["x"]}, "ann") == (400, 4)


def test_a_system_message_is_for_servers_and_moderators(channel, stream):
    message = {"text": "Ann was here", "type": "system"}
    assert channel.send_message(message, "ann")["message"]["type"] == "system"
    of_ann = user_client(stream, "ann").channel("messaging", "c1")
    assert refusal(of_ann.send_message, message, "ann") == (403, 17)
    channel.assign_roles([{"user_id": "ann", "channel_role": "channel_moderator"}])
    assert of_ann.send_message(message, "ann")["message"]["type"] == "system"
    assert refusal(channel.send_message, {"text": "hi", "type": "deleted"}, "ann") == (400, 4)
