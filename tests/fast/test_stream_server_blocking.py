from __future__ import annotations

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import all_heard, heard, me


@pytest.fixture
def people(chat):
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    return chat


@pytest.fixture
def pair(people):
    """The distinct channel of Ann and Bea."""
    channel = people.channel("messaging", data={"members": ["ann", "bea"]})
    channel.create("ann")
    return channel


@pytest.fixture
def group(people):
    channel = people.channel("messaging", "c1", {"members": ["ann", "bea", "cid"]})
    channel.create("ann")
    return channel


def found(client, conditions=None):
    return [one["channel"] for one in client.query_channels(conditions or {})["channels"]]


def block(stream, pair):
    """Ann's own client blocks Bea."""
    return user_client(stream, "ann").post("users/block", data={"blocked_user_id": "bea"})


def test_who_is_blocked_shows_in_the_user_until_they_are_unblocked(people, stream):
    answer = people.block_user("bea", "ann")
    assert (answer["blocked_by_user_id"], answer["blocked_user_id"]) == ("ann", "bea")
    [blocked] = people.get_blocked_users("ann")["blocks"]
    assert (blocked["user"]["id"], blocked["blocked_user"]["id"]) == ("ann", "bea")
    assert blocked["created_at"] == answer["created_at"]
    assert me(stream, "ann")["blocked_user_ids"] == ["bea"]
    assert people.block_user("bea", "ann")["created_at"] == answer["created_at"]
    people.upsert_user({"id": "ann", "name": "Ann"})
    assert people.query_users({"id": "ann"})["users"][0]["blocked_user_ids"] == ["bea"]
    people.unblock_user("bea", "ann")
    assert people.get_blocked_users("ann")["blocks"] == []
    assert me(stream, "ann")["blocked_user_ids"] == []


def test_the_channel_with_a_blocked_user_is_hidden_and_says_why(people, pair, group, stream):
    people.block_user("bea", "ann")
    pair.send_message({"text": "hello?"}, "bea")
    ann, bea = user_client(stream, "ann"), user_client(stream, "bea")
    assert [one["id"] for one in found(ann)] == ["c1"]
    [hidden] = found(ann, {"hidden": True})
    assert (hidden["cid"], hidden["blocked"]) == (pair.cid, True)
    assert len(found(bea)) == 2
    assert me(stream, "ann")["total_unread_count"] == 0
    people.unblock_user("bea", "ann")
    assert [one.get("blocked") for one in found(ann)] == [None, None]
    assert me(stream, "ann")["total_unread_count"] == 1


def test_blocking_is_told_as_hiding(people, pair, stream):
    event = heard(stream, "ann", "channel.hidden", lambda: block(stream, pair))
    assert (event["cid"], event["channel"]["blocked"]) == (pair.cid, True)
    event = heard(stream, "ann", "channel.visible", lambda: people.unblock_user("bea", "ann"))
    assert "blocked" not in event["channel"]


def test_nothing_that_a_blocked_user_does_is_heard_but_in_groups(people, pair, group, stream):
    people.block_user("bea", "ann")
    assert all_heard(stream, "ann", lambda: pair.send_message({"text": "hi"}, "bea")) == []
    assert all_heard(stream, "ann", lambda: group.send_message({"text": "hi"}, "bea")) == [
        "notification.message_new"
    ]
    assert "notification.message_new" in all_heard(
        stream, "bea", lambda: pair.send_message({"text": "hi"}, "ann")
    )


def test_a_blocked_user_cannot_add_who_blocked_them(people, stream):
    people.block_user("bea", "ann")
    bea = user_client(stream, "bea")
    new = bea.channel("messaging", "c2", {"members": ["ann", "bea"]})
    assert [one["user_id"] for one in new.create("bea")["members"]] == ["bea"]
    assert [one["user_id"] for one in new.add_members(["ann", "cid"])["members"]] == ["bea", "cid"]
    by_server = people.channel("messaging", "c2").add_members(["ann"])["members"]
    assert "ann" in [one["user_id"] for one in by_server]


def test_a_block_goes_with_its_user(people, stream):
    people.block_user("bea", "ann")
    people.delete_users(["bea"], "pruning")
    assert people.get_blocked_users("ann")["blocks"] == []
    assert me(stream, "ann")["blocked_user_ids"] == []


def test_a_block_that_cannot_be_is_refused(people):
    assert refusal(people.block_user, "ann", "ann") == (400, 4)
    assert refusal(people.block_user, "ghost", "ann") == (404, 16)
    assert refusal(people.block_user, "bea", "ghost") == (400, 4)
    assert refusal(people.block_user, "", "ann") == (400, 4)
    assert refusal(people.block_user, 1, "ann") == (400, 4)
    assert refusal(people.get_blocked_users, "") == (400, 4)
