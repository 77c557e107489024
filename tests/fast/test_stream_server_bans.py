from __future__ import annotations

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import heard


@pytest.fixture
def channel(chat):
    """Ann's, with Bea and a moderator."""
    chat.upsert_users(
        [{"id": "ann"}, {"id": "bea"}, {"id": "mod"}, {"id": "root", "role": "admin"}]
    )
    channel = chat.channel("messaging", "c1", {"members": ["ann", "bea", "mod"]})
    channel.create("ann")
    channel.add_moderators(["mod"])
    return channel


def banned(chat, conditions=None, **options):
    payload = {"filter_conditions": conditions or {}, **options}
    found = chat.query_banned_users(payload)["bans"]
    return [(one["user"]["id"], one.get("channel", {}).get("cid")) for one in found]


def test_bans_are_found_with_what_is_known_of_them(chat, channel):
    chat.ban_user("ann", banned_by_id="root", reason="very rude", timeout=60)
    channel.ban_user("bea", shadow=True)
    in_channel, in_app = chat.query_banned_users({"filter_conditions": {}})["bans"]
    assert (in_app["user"]["id"], in_app["banned_by"]["id"]) == ("ann", "root")
    assert (in_app["reason"], in_app["shadow"], "channel" in in_app) == ("very rude", False, False)
    assert in_app["expires"] > in_app["created_at"]
    assert (in_channel["channel"]["cid"], in_channel["shadow"]) == ("messaging:c1", True)
    for conditions, expected in (
        ({"channel_cid": "messaging:c1"}, ["bea"]),
        ({"user_id": {"$in": ["ann"]}}, ["ann"]),
        ({"banned_by_id": "root"}, ["ann"]),
        ({"reason": {"$autocomplete": "rud"}}, ["ann"]),
        ({"created_at": {"$lt": "2001-01-01T00:00:00Z"}}, []),
    ):
        assert [user_id for user_id, _ in banned(chat, conditions)] == expected
    oldest_first = [{"field": "created_at", "direction": 1}]
    assert banned(chat, sort=oldest_first, limit=1) == [("ann", None)]
    assert banned(chat, sort=oldest_first, offset=1) == [("bea", "messaging:c1")]


def test_a_ban_that_was_lifted_is_not_found(chat, channel):
    chat.ban_user("ann")
    channel.ban_user("ann")
    chat.unban_user("ann")
    assert banned(chat) == [("ann", "messaging:c1")]
    channel.remove_members(["ann"])
    channel.add_members(["ann"])
    assert banned(chat) == []
    channel.ban_user("ann")
    channel.delete(hard=True)
    assert banned(chat) == []


def test_moderators_ban_from_their_channels_only(channel, stream):
    own = user_client(stream, "mod").channel("messaging", "c1")
    event = heard(stream, "bea", "user.banned", lambda: own.ban_user("ann"), watches=True)
    assert (event["user"]["id"], event["created_by"]["id"]) == ("ann", "mod")
    assert event["cid"] == "messaging:c1"
    assert banned(own.client, {"channel_cid": "messaging:c1"}) == [("ann", "messaging:c1")]
    event = heard(stream, "ann", "user.unbanned", lambda: own.unban_user("ann"))
    assert event["cid"] == "messaging:c1"
    assert refusal(own.client.ban_user, "ann") == (403, 17)
    assert refusal(own.client.query_banned_users, {"filter_conditions": {}}) == (403, 17)


def test_admins_ban_from_the_app(channel, stream):
    root = user_client(stream, "root")
    root.ban_user("ann")
    assert banned(root) == [("ann", None)]
    root.unban_user("ann")
    assert banned(root) == []


def test_members_ban_nobody(channel, stream):
    own = user_client(stream, "bea").channel("messaging", "c1")
    assert refusal(own.ban_user, "ann") == (403, 17)
    assert refusal(own.unban_user, "ann") == (403, 17)
    assert refusal(own.client.ban_user, "ann") == (403, 17)
    conditions = {"filter_conditions": {"channel_cid": "messaging:c1"}}
    assert refusal(own.client.query_banned_users, conditions) == (403, 17)


def test_a_bad_query_of_bans_is_refused(chat, channel):
    assert refusal(banned, chat, {"user_id": 1}) == (400, 4)
    assert refusal(banned, chat, {"channel_cid": {"$gt": "a"}}) == (400, 4)
    assert refusal(banned, chat, limit=301) == (400, 4)
