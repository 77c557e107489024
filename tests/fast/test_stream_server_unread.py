from __future__ import annotations

import asyncio

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import connected, heard, in_thread, me


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


def unread_of(channel, user_id):
    (read,) = [one for one in channel.query()["read"] if one["user"]["id"] == user_id]
    return read["unread_messages"], read.get("last_read_message_id")


def test_a_channel_is_unread_again_from_a_message_on(channel, stream):
    for number in (1, 2, 3):
        channel.send_message({"id": f"m{number}", "text": "hi"}, "ann")
    channel.mark_read("bea")
    assert unread_of(channel, "bea") == (0, "m3")
    event = heard(
        stream, "bea", "notification.mark_unread", channel.mark_unread, "bea", message_id="m2"
    )
    assert (event["first_unread_message_id"], event["last_read_message_id"]) == ("m2", "m1")
    assert (event["unread_messages"], totals(event)) == (2, (2, 1, 0))
    assert unread_of(channel, "bea") == (2, "m1")
    channel.mark_unread("bea", message_id="m1")
    assert unread_of(channel, "bea") == (3, None)
    channel.mark_read("bea")
    at = channel.query()["messages"][2]["created_at"]
    channel.mark_unread("bea", message_timestamp=at)
    assert unread_of(channel, "bea") == (1, "m2")


def test_a_thread_is_unread_again(channel, stream):
    channel.send_message({"id": "m1", "text": "hi"}, "bea")
    channel.send_message({"text": "reply", "parent_id": "m1"}, "ann")
    channel.mark_read("bea", thread_id="m1")
    event = heard(
        stream, "bea", "notification.mark_unread", channel.mark_unread, "bea", thread_id="m1"
    )
    assert (event["thread_id"], event["unread_threads"]) == ("m1", 1)


@pytest.mark.parametrize(
    "options",
    [{}, {"message_id": "x"}, {"thread_id": "x"}, {"message_timestamp": "2100-01-01T00:00:00Z"}],
    ids=str,
)
def test_what_cannot_be_unread_is_refused(channel, options):
    assert refusal(channel.mark_unread, "bea", **options) == (400, 4)


def test_all_channels_are_read_at_once(people, channel, stream):
    second = conversation(people, "c2")
    for where in (channel, second):
        where.send_message({"text": "hi"}, "ann")
    event = heard(stream, "bea", "notification.mark_read", people.mark_all_read, "bea")
    assert (totals(event), event["user"]["id"], "cid" in event) == ((0, 0, 0), "bea", False)
    assert unread_of(channel, "bea")[0] == unread_of(second, "bea")[0] == 0


def test_some_channels_are_read_at_once(people, channel):
    second = conversation(people, "c2")
    for number in (1, 2):
        channel.send_message({"id": f"m{number}", "text": "hi"}, "ann")
    second.send_message({"text": "hi"}, "ann")
    named = {"messaging:c1": "m1"}
    people.post("channels/read", data={"user_id": "bea", "read_by_channel": named})
    assert (unread_of(channel, "bea"), unread_of(second, "bea")[0]) == ((1, "m1"), 1)
    for bad, expected in (({"messaging:x": ""}, (404, 16)), ({"messaging:c1": "x"}, (400, 4))):
        body = {"user_id": "bea", "read_by_channel": bad}
        assert refusal(people.post, "channels/read", data=body) == expected


def test_what_is_unread_can_be_asked_for(people, channel):
    for _ in range(2):
        channel.send_message({"text": "hi"}, "ann")
    channel.send_message({"id": "m3", "text": "hi"}, "bea")
    channel.send_message({"text": "hi"}, "ann")
    channel.send_message({"text": "reply", "parent_id": "m3"}, "ann")
    counts = people.unread_counts("bea")
    assert (counts["total_unread_count"], counts["total_unread_threads_count"]) == (1, 1)
    (found,) = counts["channels"]
    assert (found["channel_id"], found["unread_count"]) == ("messaging:c1", 1)
    expected = {"channel_type": "messaging", "channel_count": 1, "unread_count": 1}
    assert counts["channel_type"] == [expected]
    (thread,) = counts["threads"]
    assert (thread["parent_message_id"], thread["unread_count"]) == ("m3", 1)
    batch = people.unread_counts_batch(["ann", "bea"])["counts_by_user"]
    assert [batch[name]["total_unread_count"] for name in ("ann", "bea")] == [0, 1]
    assert refusal(people.unread_counts, "nobody") == (404, 16)


def test_a_client_asks_for_its_own_counts_only(people, channel, stream):
    channel.send_message({"text": "hi"}, "ann")
    assert user_client(stream, "ann").unread_counts("bea")["total_unread_count"] == 0
    assert user_client(stream, "bea").unread_counts("ann")["total_unread_count"] == 1
    assert refusal(user_client(stream, "bea").unread_counts_batch, ["ann"]) == (403, 17)
