from __future__ import annotations

import asyncio
import time

import aiohttp
import jwt
import pytest
import requests
from aiohttp.test_utils import TestClient, TestServer

from stream_server import connections
from stream_server import server as server_module
from stream_server.user_client import user_token
from tests.fast.stream_clients import DEADLINE_S, connected, in_thread, opened
from tests.waiting import wait_for


async def refusal(server, token, user_id="ann", details=None):
    """What the client hears before the connection is closed for good."""
    async with opened(server, token, user_id, details) as client:
        first = await client.socket.receive_json(timeout=DEADLINE_S)
        last = await client.socket.receive(DEADLINE_S)
        assert (last.type, last.data) == (aiohttp.WSMsgType.CLOSE, 1000)
    assert first.keys() == {"error"}
    assert first["error"]["message"].startswith("Connect failed with error: ")
    return first["error"]["StatusCode"], first["error"]["code"]


@pytest.fixture
def people(chat):
    chat.upsert_users([{"id": "ann", "name": "Ann", "teams": ["a"]}, {"id": "bea"}, {"id": "cid"}])
    return chat


@pytest.fixture
def channel(people):
    channel = people.channel("messaging", "c1", {"members": ["ann", "bea"]})
    channel.create("ann")
    return channel


def test_a_connection_begins_with_its_id_and_user(people, stream):
    async def connect():
        async with connected(stream, "ann") as client:
            assert client.id
            assert (client.me["name"], client.me["online"]) == ("Ann", True)
            assert (client.me["devices"], client.me["total_unread_count"]) == ([], 0)
            assert stream.state()["counts"]["connections"] == 1

    asyncio.run(connect())
    wait_for(lambda: stream.state()["counts"]["connections"] == 0)
    assert people.query_users({"id": "ann"})["users"][0]["online"] is False


def test_a_connection_creates_its_user(chat, stream):
    async def connect():
        async with connected(stream, "new", name="New", shoe_size=43) as client:
            return client.me

    assert asyncio.run(connect())["role"] == "user"
    (user,) = chat.query_users({"id": "new"})["users"]
    assert (user["name"], user["shoe_size"]) == ("New", 43)


def test_a_connection_changes_only_what_it_names(people, stream):
    async def connect(**details):
        async with connected(stream, "ann", **details) as client:
            return client.me

    me = asyncio.run(connect(image="https://example.com/a.png"))
    assert (me["name"], me["image"], me["teams"]) == ("Ann", "https://example.com/a.png", ["a"])
    # As an app does that hands over the user it once got from Stream.
    assert asyncio.run(connect(**me))["name"] == "Ann"


def test_a_name_that_a_connection_overwrites_is_told(people, stream, receiver):
    async def connect(**details):
        async with connected(stream, "ann", **details):
            pass

    stream.webhook(receiver.url, ["user.updated"])
    asyncio.run(connect())  # Stream's SDK for JS: only the id
    asyncio.run(connect(name="ann"))  # that for Flutter before 9.21: the id as name
    event = receiver.one("user.updated")
    assert (event["user"]["name"], event["request_info"]["type"]) == ("ann", "client")
    assert len(receiver.received) == 1


def test_a_connection_does_not_change_role_or_teams(people, stream):
    for user_id, details, expected in (
        ("ann", {"role": "admin"}, (403, 17)),
        ("ann", {"teams": ["a", "b"]}, (403, 17)),
        ("new", {"role": "admin"}, (400, 4)),
    ):
        token = user_token(stream, user_id)
        found = asyncio.run(refusal(stream, token, user_id, {"id": user_id, **details}))
        assert found == expected


@pytest.mark.parametrize(
    ("claims", "secret", "expected"),
    [
        ({"exp": 1}, None, (401, 40)),
        ({"iat": 9999999999}, None, (401, 42)),
        ({}, "other", (401, 5)),
        ({"server": True}, None, (400, 4)),
        ({"user_id": "bea"}, None, (400, 4)),
    ],
    ids=str,
)
def test_a_bad_token_opens_no_connection(people, stream, claims, secret, expected):
    token = jwt.encode({"user_id": "ann", **claims}, secret or stream.secret)
    assert asyncio.run(refusal(stream, token)) == expected


def test_a_revoked_token_opens_no_connection(people, stream):
    token = user_token(stream, "ann", iat=int(time.time()) - 60)
    people.revoke_user_token("ann", "2100-01-01T00:00:00Z")
    assert asyncio.run(refusal(stream, token)) == (401, 40)


@pytest.mark.parametrize("removal", ["delete_user", "deactivate_user"])
def test_a_user_who_is_gone_opens_no_connection(people, stream, removal):
    getattr(people, removal)("ann")
    assert asyncio.run(refusal(stream, user_token(stream, "ann"))) == (404, 16)


def test_a_plain_request_is_refused(stream):
    response = requests.get(f"{stream.url}/connect", timeout=10)
    assert (response.status_code, response.json()["code"]) == (400, 4)


def test_a_sign_of_life_is_answered(people, stream):
    async def connect():
        async with connected(stream, "ann") as client:
            await client.socket.send_json([{"type": "health.check", "client_id": "x"}])
            return (await client.event("health.check"))["connection_id"] == client.id

    assert asyncio.run(connect())


def test_a_sign_of_life_comes_unasked(monkeypatch):
    monkeypatch.setattr(connections, "HEALTH_CHECK_SECONDS", 0.01)

    async def connect():
        query = {"api_key": "local-key", "stream-auth-type": "jwt", "json": "{}"}
        query["authorization"] = jwt.encode({"user_id": "ann"}, "local-secret")
        async with (
            TestClient(TestServer(server_module.create_app())) as client,
            client.ws_connect("/connect", params=query) as socket,
        ):
            return [await socket.receive_json(timeout=DEADLINE_S) for _ in range(3)]

    events = asyncio.run(connect())
    assert [event["type"] for event in events] == ["health.check"] * 3
    assert ["me" in event for event in events] == [True, False, False]


def test_who_watches_a_channel_gets_its_messages(channel, stream):
    async def connect():
        async with connected(stream, "bea") as client:
            state = await client.watch()
            assert (state["watcher_count"], state["membership"]["user_id"]) == (1, "bea")
            await in_thread(channel.send_message, {"text": "hi"}, "ann")
            return await client.event("message.new")

    event = asyncio.run(connect())
    assert (event["cid"], event["message"]["text"], event["user"]["id"]) == (
        "messaging:c1",
        "hi",
        "ann",
    )
    assert event["watcher_count"] == 1
    assert "request_info" not in event


def test_a_query_can_watch_its_channels(channel, stream):
    async def connect():
        async with connected(stream, "bea") as client:
            conditions = {"members": {"$in": ["bea"]}}
            await client.query("channels", filter_conditions=conditions, watch=True)
            await in_thread(channel.send_message, {"text": "hi"}, "ann")
            return await client.event("message.new")

    assert asyncio.run(connect())["message"]["text"] == "hi"


def test_a_member_who_does_not_watch_is_notified_of_messages(channel, stream):
    async def connect():
        async with connected(stream, "bea") as client:
            await in_thread(channel.send_message, {"text": "hi"}, "ann")
            return await client.event("notification.message_new")

    event = asyncio.run(connect())
    assert (event["channel"]["cid"], event["message"]["text"]) == ("messaging:c1", "hi")


def test_who_stops_watching_is_only_notified(channel, stream):
    async def connect():
        async with connected(stream, "bea") as client:
            await client.watch()
            await client.query("channels/messaging/c1/stop-watching")
            await in_thread(channel.send_message, {"text": "hi"}, "ann")
            await client.event("notification.message_new")
            return client.seen

    assert "message.new" not in asyncio.run(connect())


def test_a_stranger_hears_nothing_of_a_channel(channel, people, stream):
    async def connect():
        async with connected(stream, "cid") as client:
            await in_thread(channel.send_message, {"text": "hi"}, "ann")
            await in_thread(people.update_user_partial, {"id": "cid", "set": {"name": "Cid"}})
            await client.event("user.updated")
            return client.seen

    assert asyncio.run(connect()) == []


def test_a_new_member_is_notified_and_watchers_are_told(channel, stream):
    async def connect():
        async with connected(stream, "bea") as bea, connected(stream, "cid") as cid:
            await bea.watch()
            await in_thread(channel.add_members, ["cid"])
            added = await cid.event("notification.added_to_channel")
            return added, await bea.event("member.added")

    for event in asyncio.run(connect()):
        assert (event["cid"], event["member"]["user_id"]) == ("messaging:c1", "cid")
        assert event["channel"]["member_count"] == 3


def test_a_new_channel_reaches_its_members(people, stream):
    async def connect():
        async with connected(stream, "bea") as client:
            channel = people.channel("messaging", "c2", {"members": ["ann", "bea"]})
            await in_thread(channel.create, "ann")
            return await client.event("notification.added_to_channel")

    assert asyncio.run(connect())["channel"]["id"] == "c2"


def test_who_is_removed_is_told_and_watches_no_longer(channel, stream):
    async def connect():
        async with connected(stream, "bea") as client:
            await client.watch()
            await in_thread(channel.remove_members, ["bea"])
            await client.event("member.removed")
            await client.event("notification.removed_from_channel")
            await in_thread(channel.send_message, {"text": "hi"}, "ann")
            await in_thread(channel.add_members, ["bea"])
            await client.event("notification.added_to_channel")
            return client.seen

    assert "message.new" not in asyncio.run(connect())


def test_a_channels_changes_and_end_reach_who_watches(channel, stream):
    async def connect():
        async with connected(stream, "ann") as ann, connected(stream, "bea") as bea:
            await bea.watch()
            await in_thread(channel.update_partial, {"name": "new"})
            updated = await bea.event("channel.updated")
            await in_thread(channel.delete)
            await bea.event("channel.deleted")
            await ann.event("notification.channel_deleted")
            return updated

    assert asyncio.run(connect())["channel"]["name"] == "new"


def test_changed_users_reach_who_shares_a_watched_channel(channel, people, stream):
    async def connect():
        async with connected(stream, "bea") as client:
            await client.watch()
            await in_thread(people.update_user_partial, {"id": "ann", "set": {"name": "Ann II"}})
            return await client.event("user.updated")

    assert asyncio.run(connect())["user"]["name"] == "Ann II"


def test_a_connection_is_not_another_users(channel, stream):
    async def connect():
        async with connected(stream, "ann") as ann, connected(stream, "bea") as bea:
            bea.id = ann.id
            with pytest.raises(AssertionError, match=r"\"code\": 46"):
                await bea.watch()

    asyncio.run(connect())


def test_a_reset_disconnects(people, stream):
    async def connect():
        async with connected(stream, "ann") as client:
            await in_thread(stream.reset)
            message = await client.socket.receive(DEADLINE_S)
            return message.type, message.data

    assert asyncio.run(connect()) == (aiohttp.WSMsgType.CLOSE, 1001)
    assert stream.state()["counts"] | {"connections": 0, "users": 0} == stream.state()["counts"]
