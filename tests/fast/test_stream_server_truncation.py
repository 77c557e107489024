from __future__ import annotations

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import heard, me


@pytest.fixture
def channel(channel):
    """With three messages, of which the second has a reply."""
    for number in (1, 2, 3):
        channel.send_message({"id": f"m{number}", "text": "hi"}, "ann")
    channel.send_message({"id": "r1", "text": "hi", "parent_id": "m2"}, "bea")
    return channel


def ids(channel):
    return [one["id"] for one in channel.query()["messages"]]


def test_a_truncated_channel_has_no_messages_and_keeps_its_members(chat, stream, channel):
    before = channel.query()["channel"]
    answer = channel.truncate()
    assert answer.status_code() == 201
    after = answer["channel"]
    assert after["truncated_at"] > before["last_message_at"]
    assert "last_message_at" not in after
    state = channel.query()
    assert (state["messages"], len(state["members"])) == ([], 2)
    assert me(stream, "bea")["total_unread_count"] == 0
    assert refusal(chat.get_message, "m1") == (400, 4)
    channel.send_message({"id": "m4", "text": "new"}, "ann")
    assert ids(channel) == ["m4"]


def test_only_messages_up_to_a_time_are_removed(chat, channel):
    second = chat.get_message("m2")["message"]["created_at"]
    channel.truncate(truncated_at=second, hard_delete=True)
    assert ids(channel) == ["m3"]
    assert refusal(chat.get_message, "r1") == (400, 4)
    assert channel.query()["channel"]["truncated_at"] == second


def test_a_system_message_may_follow(channel):
    answer = channel.truncate(message={"id": "s1", "text": "all gone"}, user_id="ann")
    message = answer["message"]
    assert (message["type"], message["user"]["id"]) == ("system", "ann")
    assert message["created_at"] > answer["channel"]["truncated_at"]
    assert answer["channel"]["truncated_by"]["id"] == "ann"
    assert ids(channel) == ["s1"]


def test_a_truncation_is_told_to_watchers_members_and_webhooks(stream, channel, receiver):
    stream.webhook(receiver.url, ["channel.truncated", "message.new"])

    def truncate():
        channel.truncate(message={"id": "s1", "text": "gone"}, user_id="ann")

    event = heard(stream, "bea", "channel.truncated", truncate, watches=True)
    assert event["channel"]["truncated_at"]
    assert (event["user"]["id"], event["message"]["id"], event["message_id"]) == ("ann", "s1", "s1")
    told = receiver.one("channel.truncated")
    assert (told["message_id"], len(told["members"])) == ("s1", 2)
    event = heard(stream, "bea", "notification.channel_truncated", channel.truncate)
    assert (event["cid"], event["channel"]["cid"]) == ("messaging:c1", "messaging:c1")
    assert "message.new" not in [one["type"] for one in stream.deliveries()]


def test_members_without_permission_truncate_nothing(stream, channel):
    own = user_client(stream, "bea").channel("messaging", "c1")
    assert refusal(own.truncate) == (403, 17)
    assert refusal(user_client(stream, "cid").channel("messaging", "c1").truncate) == (403, 17)
    assert len(ids(channel)) == 3
    assert user_client(stream, "ann").channel("messaging", "c1").truncate().is_ok()


@pytest.mark.parametrize(
    "options",
    [
        {"truncated_at": "yesterday"},
        {"truncated_at": 1},
        {"message": "gone"},
        {"message": {"text": "by nobody"}},
        {"user_id": "nobody"},
        {"member_ids": ["ann"]},
        {"hard_delete": "yes"},
    ],
    ids=str,
)
def test_a_bad_truncation_is_refused_and_removes_nothing(channel, options):
    assert refusal(channel.truncate, **options) == (400, 4)
    assert len(ids(channel)) == 3
