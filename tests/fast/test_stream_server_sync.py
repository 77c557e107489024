from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from stream_server import event_log
from stream_server.state import State
from stream_server.timestamps import text
from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import connected, in_thread

CID = "messaging:c1"


def now():
    return text(datetime.now(UTC))


@pytest.fixture
def channel(channel):
    channel.send_message({"id": "m0", "text": "before"}, "ann")
    return channel


@pytest.fixture
def missed(stream, channel):
    """The types of the events that a user's client missed, and the client's call."""

    def missed(since, user_id="bea", cids=(CID,), **options):
        data = {"channel_cids": list(cids), "last_sync_at": since, **options}
        return user_client(stream, user_id).post("sync", data=data)

    return missed


def types(answer):
    return [event["type"] for event in answer["events"]]


def test_a_client_gets_the_events_that_it_missed(chat, channel, missed):
    since = now()
    channel.send_message({"id": "m1", "text": "hi"}, "ann")
    channel.send_reaction("m1", {"type": "like"}, "ann")
    chat.update_message({"id": "m1", "text": "hello", "user_id": "ann"})
    channel.mark_read("ann")
    chat.delete_message("m0")
    channel.update_partial({"name": "One"})
    channel.add_members(["cid"])
    answer = missed(since)
    assert types(answer) == [
        "message.new",
        "reaction.new",
        "message.updated",
        "message.read",
        "message.deleted",
        "channel.updated",
        "member.added",
    ]
    first = answer["events"][0]
    assert (first["message"]["text"], first["cid"], first["user"]["id"]) == ("hi", CID, "ann")
    assert types(missed(answer["events"][-2]["created_at"])) == ["member.added"]
    assert types(missed(now())) == []


def test_who_was_added_learns_it(channel, missed):
    since = now()
    channel.add_members(["cid"])
    assert types(missed(since, "cid")) == ["member.added", "notification.added_to_channel"]


def test_what_is_for_one_user_is_for_nobody_else(channel, missed):
    since = now()
    channel.hide("bea")
    channel.show("bea")
    assert types(missed(since)) == ["channel.hidden", "channel.visible"]
    assert types(missed(since, "ann")) == []


def test_what_a_user_may_not_see_is_not_told_afterwards(channel, missed):
    since = now()
    channel.send_message({"text": "secret"}, "ann")
    channel.add_members(["cid"], hide_history=True)
    channel.send_message({"text": "hello Cid"}, "ann")
    events = missed(since, "cid")["events"]
    texts = [event["message"]["text"] for event in events if "message" in event]
    assert texts == ["hello Cid"]


def test_a_channel_that_cannot_be_read_yields_a_removal(channel, missed):
    since = now()
    channel.remove_members(["bea"])
    gone = "messaging:gone"
    answer = missed(since, cids=(CID, gone))
    assert [(event["type"], event["cid"]) for event in answer["events"]] == [
        ("notification.removed_from_channel", CID),
        ("notification.removed_from_channel", gone),
    ]
    answer = missed(since, cids=(CID, gone), with_inaccessible_cids=True)
    assert (answer["events"], answer["inaccessible_cids"]) == ([], [CID, gone])


def test_a_server_syncs_for_a_user(chat, channel):
    since = now()
    channel.send_message({"text": "hi"}, "ann")
    data = {"channel_cids": [CID], "last_sync_at": since}
    assert types(chat.post("sync", data={**data, "user_id": "bea"})) == ["message.new"]
    assert refusal(chat.post, "sync", data=data) == (400, 4)


def test_a_sync_can_watch_its_channels(stream, channel):
    async def connect():
        async with connected(stream, "bea") as bea:
            await bea.query("sync", channel_cids=[CID], last_sync_at=now(), watch=True)
            await in_thread(channel.send_message, {"text": "hi"}, "ann")
            return await bea.event("message.new")

    assert asyncio.run(connect())["message"]["text"] == "hi"


def test_too_many_events_are_refused(channel, missed):
    since = now()
    for _ in range(334):
        # Each tells message.new, message.updated of the parent, and the end of an old read.
        channel.send_message({"text": "hi", "parent_id": "m0"}, "ann")
        channel.mark_read("ann")
    assert refusal(missed, since) == (400, 4)
    assert len(missed(now())["events"]) == 0


def test_only_the_last_events_are_kept_and_the_loss_is_known(monkeypatch):
    monkeypatch.setattr(event_log, "MAX_EVENTS", 2)
    state = State(limits={})
    times = [f"2026-01-01T00:00:0{second}.000000Z" for second in (1, 2, 2, 3)]
    for time in times:
        event_log.remember(state, {"created_at": time, "cid": CID})
    assert [json.loads(one)["created_at"] for one in state.events.values()] == times[2:]
    assert not event_log.is_complete(state, times[0])
    assert event_log.is_complete(state, times[1])
    assert len(list(event_log.missed(state, {CID}, "ann", times[1]))) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"channel_cids": []},
        {"channel_cids": [1]},
        {"channel_cids": [f"messaging:{number}" for number in range(256)]},
        {"last_sync_at": "yesterday"},
        {"last_sync_at": None},
        {"last_sync_at": text(datetime.now(UTC) - timedelta(days=31))},
        {"watch": True},
    ],
    ids=lambda given: str(given)[:15],
)
def test_a_bad_sync_is_refused(stream, channel, given):
    data = {"channel_cids": [CID], "last_sync_at": now(), **given}
    assert refusal(user_client(stream, "bea").post, "sync", data=data) == (400, 4)
