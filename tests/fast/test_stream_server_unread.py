from __future__ import annotations

import asyncio

import pytest

from tests.fast.refusals import refusal
from tests.fast.test_stream_server_connections import connected, in_thread


@pytest.fixture
def people(chat):
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    return chat


def conversation(chat, channel_id, members=("ann", "bea")):
    channel = chat.channel("messaging", channel_id, {"members": list(members)})
    channel.create("ann")
    return channel


@pytest.fixture
def channel(people):
    return conversation(people, "c1")


def totals(source):
    names = ("total_unread_count", "unread_channels", "unread_threads")
    return tuple(source[name] for name in names)


def me(stream, user_id):
    async def connect():
        async with connected(stream, user_id) as client:
            return client.me

    return asyncio.run(connect())


def test_a_connection_begins_with_what_is_unread(people, channel, stream):
    second = conversation(people, "c2")
    conversation(people, "c3")
    for where in (channel, channel, second):
        where.send_message({"text": "hi"}, "ann")
    assert totals(me(stream, "bea")) == (3, 2, 0)
    assert totals(me(stream, "ann")) == (0, 0, 0)
    channel.mark_read("bea")
    assert totals(me(stream, "bea")) == (1, 1, 0)
    second.remove_members(["bea"])
    assert totals(me(stream, "bea")) == (0, 0, 0)


def test_users_are_found_with_their_totals(people, channel):
    channel.send_message({"text": "hi"}, "ann")
    (user,) = people.query_users({"id": "bea"})["users"]
    assert totals(user) == (1, 1, 0)


def test_a_message_tells_each_member_their_totals(people, channel, stream):
    conversation(people, "c2").send_message({"text": "before"}, "ann")

    async def connect():
        async with connected(stream, "ann") as ann, connected(stream, "bea") as bea:
            await ann.watch()
            await in_thread(channel.send_message, {"text": "hi"}, "ann")
            new = await ann.event("message.new")
            return new, await bea.event("notification.message_new")

    sent, received = asyncio.run(connect())
    assert (totals(sent), totals(received)) == ((0, 0, 0), (2, 2, 0))


def test_reading_is_told_to_all_clients_of_the_reader(channel, stream):
    channel.send_message({"id": "m1", "text": "hi"}, "ann")

    async def connect():
        async with (
            connected(stream, "bea") as phone,
            connected(stream, "bea") as laptop,
            connected(stream, "ann") as ann,
        ):
            await phone.watch()
            await ann.watch()
            answer = await phone.query("channels/messaging/c1/read")
            own = [await one.event("notification.mark_read") for one in (phone, laptop)]
            return answer["event"], own, await ann.event("message.read")

    answered, own, seen = asyncio.run(connect())
    assert answered["type"] == "message.read"
    assert [totals(event) for event in own] == [(0, 0, 0)] * 2
    assert own[0]["channel"]["cid"] == own[1]["cid"] == "messaging:c1"
    assert (seen["user"]["id"], seen["last_read_message_id"]) == ("bea", "m1")
    assert "total_unread_count" not in seen


def test_a_channel_is_read_up_to_a_message(channel):
    for number in (1, 2, 3):
        channel.send_message({"id": f"m{number}", "text": "hi"}, "ann")
    channel.mark_read("bea", message_id="m1")
    read = next(one for one in channel.query()["read"] if one["user"]["id"] == "bea")
    assert (read["last_read_message_id"], read["unread_messages"]) == ("m1", 2)
    assert refusal(channel.mark_read, "bea", message_id="x") == (400, 4)


def test_a_thread_is_unread_for_who_is_in_it(channel, stream):
    channel.add_members(["cid"])
    channel.send_message({"id": "m1", "text": "hi"}, "ann")
    channel.mark_read("bea")
    channel.mark_read("cid")
    channel.send_message({"text": "one", "parent_id": "m1"}, "bea")
    assert [totals(me(stream, name)) for name in ("ann", "bea", "cid")] == [
        (0, 0, 1),
        (0, 0, 0),
        (0, 0, 0),
    ]
    channel.send_message({"text": "two", "parent_id": "m1"}, "ann")
    assert [totals(me(stream, name)) for name in ("ann", "bea")] == [(0, 0, 0), (0, 0, 1)]
    channel.mark_read("bea", thread_id="m1")
    assert totals(me(stream, "bea")) == (0, 0, 0)


def test_a_reply_is_told_to_who_is_in_the_thread(channel, stream):
    channel.send_message({"id": "m1", "text": "hi"}, "ann")

    async def connect():
        async with connected(stream, "ann") as ann, connected(stream, "bea") as bea:
            await ann.watch()
            reply = {"text": "one", "parent_id": "m1"}
            await in_thread(channel.send_message, reply, "bea")
            told = await ann.event("notification.thread_message_new")
            await in_thread(channel.mark_read, "ann", thread_id="m1")
            return told, await ann.event("notification.mark_read"), bea.seen

    told, read, seen = asyncio.run(connect())
    assert (told["message"]["parent_id"], told["unread_threads"]) == ("m1", 1)
    assert (read["thread_id"], read["unread_threads"]) == ("m1", 0)
    assert read["thread"]["reply_count"] == 1
    assert seen == []


def test_a_deleted_users_channels_are_left(people, channel, stream):
    channel.send_message({"text": "hi"}, "ann")
    people.delete_user("bea")
    people.restore_users(["bea"])
    assert totals(me(stream, "bea")) == (0, 0, 0)
