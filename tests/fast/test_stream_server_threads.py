from __future__ import annotations

import asyncio

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import connected, in_thread


@pytest.fixture
def channel(channel):
    """With messages m1 and m2 of Ann."""
    for message_id in ("m1", "m2"):
        channel.send_message({"id": message_id, "text": message_id}, "ann")
    return channel


def reply(channel, message_id, parent_id="m1", user_id="bea"):
    message = {"id": message_id, "text": message_id, "parent_id": parent_id}
    channel.send_message(message, user_id)


def ids(shown):
    return [one["id"] for one in shown]


def test_a_thread_is_shown_as_a_whole(chat, channel):
    for number in range(1, 5):
        reply(channel, f"r{number}")
    thread = chat.get("threads/m1")["thread"]
    assert (thread["parent_message"]["id"], thread["channel"]["cid"]) == ("m1", "messaging:c1")
    assert (thread["reply_count"], thread["participant_count"]) == (4, 1)
    assert ids(thread["latest_replies"]) == ["r2", "r3", "r4"]
    assert thread["last_message_at"] == thread["latest_replies"][-1]["created_at"]
    assert [one["user_id"] for one in thread["thread_participants"]] == ["ann", "bea"]
    unread = {one["user"]["id"]: one["unread_messages"] for one in thread["read"]}
    assert unread == {"ann": 4, "bea": 0}
    thread = chat.get("threads/m1", {"reply_limit": 1, "participant_limit": 1})["thread"]
    assert (len(thread["latest_replies"]), len(thread["read"])) == (1, 1)


def test_a_users_threads_are_found_the_unread_first(chat, channel):
    reply(channel, "r1", "m1")
    reply(channel, "r2", "m2", "ann")

    def found(user_id, **body):
        answer = chat.post("threads", data={"user_id": user_id, **body})
        return [one["parent_message_id"] for one in answer["threads"]], answer.get("next")

    assert (found("ann"), found("bea"), found("cid")) == (
        (["m1", "m2"], None),
        (["m1"], None),
        ([], None),
    )
    channel.mark_read("ann", thread_id="m1")
    assert found("ann") == (["m2", "m1"], None)
    assert found("ann", limit=1) == (["m2"], "1")
    assert found("ann", limit=1, next="1") == (["m1"], None)
    assert found("ann", filter={"parent_message_id": {"$eq": "m1"}}) == (["m1"], None)
    by_time = [{"field": "created_at", "direction": 1}]
    assert found("ann", sort=by_time) == (["m1", "m2"], None)
    assert refusal(chat.post, "threads", data={"user_id": "ann", "next": "x"}) == (400, 4)


def test_a_stranger_sees_no_thread(channel, stream):
    reply(channel, "r1")
    stranger = user_client(stream, "cid")
    assert refusal(stranger.get, "threads/m1") == (403, 17)
    assert stranger.post("threads", data={})["threads"] == []
    assert refusal(stranger.get, "threads/x") == (400, 4)


def test_the_channels_of_threads_can_be_watched(channel, stream):
    reply(channel, "r1")

    async def connect():
        async with connected(stream, "ann") as ann:
            await ann.query("threads", watch=True)
            await in_thread(reply, channel, "r2")
            return await ann.event("message.new")

    assert asyncio.run(connect())["message"]["id"] == "r2"
    assert refusal(channel.client.get, "threads/m1", {"watch": "true"}) == (400, 4)
