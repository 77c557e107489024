from __future__ import annotations

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import heard


@pytest.fixture
def channel(chat):
    """Made by Ann, with Bea; and c2 beside it."""
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    chat.channel("messaging", "c2", {"members": ["ann", "bea"]}).create("ann")
    channel = chat.channel("messaging", "c1", {"members": ["ann", "bea"]})
    channel.create("ann")
    return channel


def found(chat, conditions, sort=None, **options):
    states = chat.query_channels(conditions, sort, **options)["channels"]
    return [state["channel"]["id"] for state in states]


def own(stream, user_id):
    return user_client(stream, user_id).channel("messaging", "c1")


@pytest.mark.parametrize(
    ("flag", "set_it", "unset_it"),
    [("pinned", "pin", "unpin"), ("archived", "archive", "unarchive")],
)
def test_a_member_pins_and_archives_a_channel_for_themselves(
    chat, channel, stream, flag, set_it, unset_it
):
    member = getattr(channel, set_it)("ann")["channel_member"]
    assert (member["user_id"], member["user"]["id"]) == ("ann", "ann")
    time = member[f"{flag}_at"]
    assert getattr(channel, set_it)("ann")["channel_member"][f"{flag}_at"] == time
    ann = user_client(stream, "ann")
    assert found(ann, {flag: True}) == found(chat, {flag: True}, user_id="ann") == ["c1"]
    assert found(ann, {flag: False}) == ["c2"]
    assert found(user_client(stream, "bea"), {flag: True}) == []
    assert own(stream, "ann").query()["membership"][f"{flag}_at"] == time
    assert f"{flag}_at" not in getattr(channel, unset_it)("ann")["channel_member"]
    assert found(ann, {flag: True}) == []
    getattr(channel, set_it)("ann")
    channel.update_member_partial("ann", to_unset=[flag])
    assert found(ann, {flag: True}) == []


def test_pinned_channels_can_come_first(chat, channel, stream):
    by_pin = [{"field": "pinned_at", "direction": -1}]
    assert found(user_client(stream, "ann"), {}, by_pin) == ["c1", "c2"]
    chat.channel("messaging", "c2").pin("ann")
    assert found(user_client(stream, "ann"), {}, by_pin) == ["c2", "c1"]


def test_a_membership_has_custom_fields(channel):
    member = channel.update_member_partial("bea", {"hat": {"color": "blue", "size": 3}})
    assert member["channel_member"]["hat"] == {"color": "blue", "size": 3}
    channel.update_member_partial("bea", {"hat.color": "red"}, ["hat.size"])
    [bea] = channel.query_members({"id": "bea"})
    assert bea["hat"] == {"color": "red"}
    [bea] = channel.query_members({"hat": {"color": "red"}})
    assert bea["user_id"] == "bea"


def test_a_changed_membership_is_told(channel, stream, receiver):
    stream.webhook(receiver.url, ["member.updated"])
    event = heard(stream, "bea", "member.updated", lambda: channel.pin("ann"), watches=True)
    assert (event["member"]["user_id"], event["user"]["id"]) == ("ann", "ann")
    assert event["member"]["pinned_at"]
    assert receiver.one("member.updated")["member"]["pinned_at"]
    event = heard(stream, "ann", "member.updated", lambda: channel.archive("ann"))
    assert event["member"]["archived_at"]


def test_members_change_themselves_and_managers_others(channel, stream):
    bea = own(stream, "bea")
    assert bea.update_member_partial("bea", {"mood": "good"}).is_ok()
    patched = bea.client.patch(f"{bea.url}/member", data={"set": {"mood": "bad"}})
    assert patched["channel_member"]["mood"] == "bad"
    assert refusal(bea.update_member_partial, "ann", {"mood": "bad"}) == (403, 17)
    role = {"channel_role": "channel_moderator"}
    assert refusal(bea.update_member_partial, "bea", role) == (403, 17)
    member = own(stream, "ann").update_member_partial("bea", role)["channel_member"]
    assert (member["channel_role"], member["is_moderator"]) == ("channel_moderator", True)
    assert refusal(own(stream, "cid").update_member_partial, "cid", {"mood": "x"}) == (403, 17)


@pytest.mark.parametrize(
    "fields",
    [
        {"pinned": "yes"},
        {"pinned_at": "2030-01-01T00:00:00Z"},
        {"banned": True},
        {"user_id": "bea"},
        {"channel_role": 1},
        {"bad..path": 1},
    ],
    ids=str,
)
def test_a_bad_change_of_a_membership_is_refused(channel, fields):
    before = channel.query()["members"]
    assert refusal(channel.update_member_partial, "ann", fields) == (400, 4)
    assert channel.query()["members"] == before


def test_only_a_membership_can_be_changed(channel):
    assert refusal(channel.update_member_partial, "cid", {"a": 1}) == (400, 4)
    assert refusal(channel.client.patch, f"{channel.url}/member", data={"set": {}}) == (400, 4)
    assert refusal(channel.update_member_partial, "ann", ["a"]) == (400, 4)
    assert refusal(channel.update_member_partial, "ann", {"a": "x" * 6000}) == (413, 22)
