from __future__ import annotations

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal


@pytest.fixture
def channel(chat):
    """With a message of Ann's."""
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    channel = chat.channel("messaging", "c1", {"members": ["ann", "bea"], "team": "a"})
    channel.create("ann")
    channel.send_message({"id": "m1", "text": "hi"}, "ann")
    return channel


def flags(chat, conditions=None, **options):
    found = chat.query_message_flags(conditions or {}, **options)["flags"]
    return [(one["target_message_id"], one["user"]["id"]) for one in found]


def test_a_message_is_flagged(chat, channel, stream):
    answer = user_client(stream, "bea").flag_message("m1", reason="spam")
    flag = answer["flag"]
    assert (flag["target_message_id"], flag["user"]["id"]) == ("m1", "bea")
    assert (flag["channel_cid"], flag["message_user_id"]) == ("messaging:c1", "ann")
    assert (flag["reason"], flag["created_by_automod"]) == ("spam", False)
    [found] = chat.query_message_flags({})["flags"]
    assert (found["message"]["id"], found["reason"]) == ("m1", "spam")


def test_flags_of_messages_are_found(chat, channel):
    channel.send_message({"id": "m2", "text": "hi"}, "bea")
    chat.flag_message("m1", user_id="bea")
    chat.flag_message("m2", user_id="ann")
    chat.flag_user("ann", user_id="bea")
    assert flags(chat) == [("m2", "ann"), ("m1", "bea")]
    assert flags(chat, {"channel_cid": "messaging:c1"}, limit=1) == [("m2", "ann")]
    assert flags(chat, {"channel_cid": {"$in": ["messaging:c2"]}}) == []
    assert flags(chat, {"user_id": "ann"}) == [("m1", "bea")]
    assert flags(chat, {"team": "a", "is_reviewed": False}, offset=1) == [("m1", "bea")]
    assert flags(chat, {"is_reviewed": True}) == []
    chat.delete_message("m2", hard=True)
    assert flags(chat) == [("m1", "bea")]


def test_a_repeated_flag_is_one(chat, channel):
    first = chat.flag_message("m1", user_id="bea")["flag"]
    again = chat.flag_message("m1", user_id="bea", reason="really")["flag"]
    assert (again["created_at"], again["reason"]) == (first["created_at"], "really")
    assert len(flags(chat)) == 1


def test_a_user_is_flagged(chat, channel):
    flag = chat.flag_user("ann", user_id="bea")["flag"]
    assert (flag["target_user"]["id"], flag["user"]["id"]) == ("ann", "bea")


def test_flags_are_told_to_webhooks(chat, channel, stream, receiver):
    stream.webhook(receiver.url, ["message.flagged", "user.flagged"])
    chat.flag_message("m1", user_id="bea", reason="spam")
    event = receiver.one("message.flagged")
    assert (event["message"]["id"], event["message_id"]) == ("m1", "m1")
    assert (event["user"]["id"], event["cid"], event["reason"]) == ("bea", "messaging:c1", "spam")
    assert event["total_flags"] == 1
    chat.flag_user("ann", user_id="cid")
    event = receiver.one("user.flagged")
    assert (event["target_user"]["id"], event["user"]["id"]) == ("ann", "cid")
    assert event["total_flags"] == 2


def test_taking_a_flag_back_changes_nothing_as_in_stream(chat, channel):
    chat.flag_message("m1", user_id="bea")
    assert chat.unflag_message("m1", user_id="bea")["flag"]["target_message_id"] == "m1"
    assert flags(chat) == [("m1", "bea")]
    assert refusal(chat.unflag_user, "ann", user_id="bea") == (404, 16)


def test_a_flag_that_cannot_be_is_refused(chat, channel, stream):
    assert refusal(chat.flag_message, "m9", user_id="bea") == (400, 4)
    assert refusal(chat.flag_user, "ghost", user_id="bea") == (404, 16)
    assert refusal(chat.flag_user, "ann", user_id="ghost") == (400, 4)
    assert refusal(chat.flag_user, "ann") == (400, 4)
    assert refusal(chat.flag_user, "", user_id="bea") == (400, 4)
    assert refusal(chat.flag_user, "ann", target_message_id="m1", user_id="bea") == (400, 4)
    assert refusal(user_client(stream, "cid").flag_message, "m1") == (403, 17)
    assert refusal(user_client(stream, "ann").query_message_flags, {}) == (403, 17)
    assert refusal(chat.query_message_flags, {"is_reviewed": "yes"}) == (400, 4)
