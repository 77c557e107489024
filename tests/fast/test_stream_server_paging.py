from __future__ import annotations

import pytest
from stream_chat.base.exceptions import StreamAPIException

from tests.fast.refusals import refusal


@pytest.fixture
def channel(channel):
    """With messages m1 to m6."""
    for number in range(1, 7):
        channel.send_message({"id": f"m{number}", "text": str(number)}, "ann")
    return channel


def page(channel, **cursor):
    return [message["id"] for message in channel.query(messages=cursor)["messages"]]


def sent_at(channel, message_id):
    messages = channel.query()["messages"]
    return next(one["created_at"] for one in messages if one["id"] == message_id)


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        ({"limit": 2}, ["m5", "m6"]),
        ({"limit": 2, "offset": 1}, ["m4", "m5"]),
        ({"limit": 2, "id_lt": "m3"}, ["m1", "m2"]),
        ({"limit": 2, "id_lt": "m5"}, ["m3", "m4"]),
        ({"limit": 2, "id_lte": "m5"}, ["m4", "m5"]),
        ({"limit": 2, "id_gt": "m3"}, ["m4", "m5"]),
        ({"limit": 2, "id_gte": "m3"}, ["m3", "m4"]),
        ({"id_gt": "m2", "id_lt": "m5"}, ["m3", "m4"]),
        ({"id_gt": "m6"}, []),
        ({"id_lt": "m1"}, []),
        ({"limit": 3, "id_around": "m3"}, ["m2", "m3", "m4"]),
        ({"limit": 4, "id_around": "m3"}, ["m1", "m2", "m3", "m4"]),
        ({"limit": 3, "id_around": "m1"}, ["m1", "m2", "m3"]),
        ({"limit": 3, "id_around": "m6"}, ["m4", "m5", "m6"]),
        ({"limit": 10, "id_around": "m2"}, ["m1", "m2", "m3", "m4", "m5", "m6"]),
    ],
    ids=str,
)
def test_messages_come_in_pages(channel, cursor, expected):
    assert page(channel, **cursor) == expected


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        ("created_at_before", ["m2", "m3"]),
        ("created_at_before_or_equal", ["m3", "m4"]),
        ("created_at_after", ["m5", "m6"]),
        ("created_at_after_or_equal", ["m4", "m5"]),
        ("created_at_around", ["m3", "m4"]),
    ],
)
def test_a_point_in_time_is_a_cursor_too(channel, cursor, expected):
    assert page(channel, limit=2, **{cursor: sent_at(channel, "m4")}) == expected


def test_around_the_distant_past_are_the_first_messages(channel):
    assert page(channel, limit=2, created_at_around="2000-01-01T00:00:00Z") == ["m1", "m2"]
    assert page(channel, limit=2, created_at_around="2100-01-01T00:00:00Z") == ["m5", "m6"]


@pytest.mark.parametrize(
    "cursor",
    [
        {"id_lt": "unknown"},
        {"id_around": 1},
        {"created_at_after": "yesterday"},
        {"id_around": "m3", "id_lt": "m5"},
        {"limit": 301},
    ],
    ids=str,
)
def test_a_bad_cursor_is_refused(channel, cursor):
    assert refusal(channel.query, messages=cursor) == (400, 4)


def test_an_unknown_cursor_is_named(channel):
    with pytest.raises(StreamAPIException, match="Message with id x doesn't exist"):
        channel.query(messages={"id_gt": "x"})


def test_a_bad_cursor_creates_no_channel(chat, channel, stream):
    new = chat.channel("messaging", "c2", {"created_by_id": "ann"})
    assert refusal(new.query, messages={"id_lt": "m1"}) == (400, 4)
    assert stream.state()["counts"]["channels"] == 1


def test_messages_show_their_users_as_they_are_now(chat, channel):
    chat.update_user_partial({"id": "ann", "set": {"name": "Ann II"}})
    assert channel.query()["messages"][0]["user"]["name"] == "Ann II"


def test_a_message_id_is_unique_in_the_app_while_its_channel_lasts(chat, channel):
    other = chat.channel("messaging", "c2", {"members": ["ann"]})
    other.create("ann")
    assert refusal(other.send_message, {"id": "m1", "text": "again"}, "ann") == (400, 4)
    channel.delete(hard=True)
    assert other.send_message({"id": "m1", "text": "again"}, "ann").is_ok()
