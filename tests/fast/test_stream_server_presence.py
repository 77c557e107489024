from __future__ import annotations

import asyncio
import json

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import connected, in_thread
from tests.waiting import wait_for


@pytest.fixture
def people(chat):
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    return chat


async def query_users(client, *user_ids):
    payload = {"filter_conditions": {"id": {"$in": list(user_ids)}}, "presence": True}
    params = {
        "api_key": client.server.key,
        "connection_id": client.id,
        "payload": json.dumps(payload),
    }
    headers = {"Authorization": client.token, "stream-auth-type": "jwt"}
    url = f"{client.server.url}/users"
    async with client.session.get(url, params=params, headers=headers) as response:
        return (await response.json())["users"]


def test_who_asked_for_presence_hears_members_come_and_go(channel, stream):
    async def connect():
        async with connected(stream, "bea") as bea:
            await bea.query("channels/messaging/c1/query", presence=True)
            async with connected(stream, "ann"), connected(stream, "cid"):
                came = await bea.event("user.presence.changed")
            return came, await bea.event("user.presence.changed")

    came, went = asyncio.run(connect())
    assert (came["user"]["id"], came["user"]["online"]) == ("ann", True)
    assert (went["user"]["id"], went["user"]["online"]) == ("ann", False)
    assert went["user"]["last_active"] > came["user"]["last_active"]


def test_the_presence_of_found_users_can_be_asked_for(people, stream):
    async def connect():
        async with connected(stream, "bea") as bea:
            (cid,) = await query_users(bea, "cid")
            assert cid["online"] is False
            async with connected(stream, "ann"), connected(stream, "cid"):
                return await bea.event("user.presence.changed")

    assert asyncio.run(connect())["user"]["id"] == "cid"


def test_presence_is_not_told_unasked(channel, stream):
    async def connect():
        async with connected(stream, "bea") as bea:
            await bea.watch()
            async with connected(stream, "ann") as ann:
                await ann.watch()
                await bea.event("user.watching.start")
            return bea.seen

    assert "user.presence.changed" not in asyncio.run(connect())


def test_a_second_connection_is_no_news(channel, stream):
    async def connect():
        async with connected(stream, "bea") as bea, connected(stream, "ann"):
            await bea.query("channels/messaging/c1/query", presence=True)
            async with connected(stream, "ann"):
                pass
            await in_thread(channel.add_members, ["cid"])
            async with connected(stream, "cid"):
                return await bea.event("user.presence.changed")

    assert asyncio.run(connect())["user"]["id"] == "cid"


def test_the_invisible_are_offline_for_all(people, channel, stream):
    async def connect():
        async with connected(stream, "bea") as bea, connected(stream, "ann"):
            await bea.query("channels/messaging/c1/query", presence=True)
            change = {"id": "ann", "set": {"invisible": True}}
            await in_thread(people.update_user_partial, change)
            hidden = await bea.event("user.presence.changed")
            change = {"id": "ann", "set": {"invisible": False}}
            await in_thread(people.update_user_partial, change)
            return hidden, await bea.event("user.presence.changed")

    hidden, shown = asyncio.run(connect())
    assert (hidden["user"]["online"], shown["user"]["online"]) == (False, True)


def test_presence_needs_a_connection(channel, stream):
    of_ann = user_client(stream, "ann").channel("messaging", "c1")
    assert refusal(of_ann.query, presence=True) == (400, 4)
    assert refusal(of_ann.client.query_users, {"id": "bea"}, presence=True) == (400, 4)


def test_watchers_hear_who_else_watches(channel, stream):
    async def connect():
        async with connected(stream, "bea") as bea:
            await bea.watch()
            own = await bea.event("user.watching.start")
            async with connected(stream, "ann") as ann:
                await ann.watch()
                started = await bea.event("user.watching.start")
                await ann.query("channels/messaging/c1/stop-watching")
                stopped = await bea.event("user.watching.stop")
                await ann.watch()
                await bea.event("user.watching.start")
            return own, started, stopped, await bea.event("user.watching.stop")

    events = asyncio.run(connect())
    told = [(event["user"]["id"], event["watcher_count"]) for event in events]
    assert told == [("bea", 1), ("ann", 2), ("ann", 1), ("ann", 1)]
    assert {event["cid"] for event in events} == {"messaging:c1"}


def test_a_user_watches_once_with_two_connections(channel, stream):
    async def connect():
        async with connected(stream, "bea") as bea, connected(stream, "ann") as phone:
            await bea.watch()
            await phone.watch()
            async with connected(stream, "ann") as laptop:
                await laptop.watch()
            wait_for(lambda: stream.state()["counts"]["connections"] == 2)
            await phone.query("channels/messaging/c1/stop-watching")
            stopped = await bea.event("user.watching.stop")
            return stopped, bea.seen

    stopped, seen = asyncio.run(connect())
    assert (stopped["user"]["id"], seen.count("user.watching.start")) == ("ann", 2)


def test_a_channel_lists_its_watchers_if_asked(channel, stream):
    async def connect():
        async with connected(stream, "bea") as bea, connected(stream, "ann") as ann:
            await bea.watch()
            await ann.watch()
            asked = {"watchers": {"limit": 10}, "state": True}
            return await bea.query("channels/messaging/c1/query", **asked)

    state = asyncio.run(connect())
    assert [user["id"] for user in state["watchers"]] == ["bea", "ann"]
    assert state["watcher_count"] == 2
    assert "watchers" not in channel.query()


def test_a_stranger_stops_watching_nothing(channel, stream):
    client = user_client(stream, "cid")
    assert refusal(client.post, "channels/messaging/c1/stop-watching") == (403, 17)
