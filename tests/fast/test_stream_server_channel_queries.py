from __future__ import annotations

import pytest
from stream_chat.base.exceptions import StreamAPIException

from tests.fast.refusals import refusal

BY_ID = [{"field": "id", "direction": 1}]


@pytest.fixture
def channels(chat):
    """c1 to c4, made in this order; c2 has the newest message."""
    chat.upsert_users([{"id": "ann", "name": "Ann Lee"}, {"id": "bea"}, {"id": "cid"}])
    for channel_type, channel_id, data in (
        ("messaging", "c1", {"members": ["ann", "bea"], "team": "a", "name": "Order one", "n": 1}),
        ("messaging", "c2", {"members": ["ann"], "team": "b", "n": 2, "tags": ["x"]}),
        ("messaging", "c3", {"members": ["ann", "bea", "cid"], "frozen": True, "vip": True}),
        ("team", "c4", {"members": [], "place": {"city": "Pune"}}),
    ):
        chat.channel(channel_type, channel_id, data).create("cid" if channel_id == "c4" else "ann")
    chat.channel("messaging", "c2").send_message({"text": "hi"}, "ann")
    return chat


def found(chat, conditions, sort=None, **options):
    states = chat.query_channels(conditions, sort, **options)["channels"]
    return [state["channel"]["id"] for state in states]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "c1 c2 c3 c4"),
        ({"cid": "messaging:c1"}, "c1"),
        ({"cid": {"$in": ["messaging:c1", "team:c4", "team:x"]}}, "c1 c4"),
        ({"cid": {"$in": ["messaging:c1", "messaging:c2"]}, "team": "b"}, "c2"),
        ({"id": {"$in": ["c2", "c3"]}}, "c2 c3"),
        ({"id": {"$gt": "c2"}}, "c3 c4"),
        ({"type": "team"}, "c4"),
        ({"team": "a"}, "c1"),
        ({"team": {"$in": ["a", "b"]}}, "c1 c2"),
        ({"team": None}, "c3 c4"),
        ({"members": {"$in": ["bea"]}}, "c1 c3"),
        ({"members": {"$in": ["bea", "cid"]}}, "c1 c3"),
        ({"members": {"$eq": ["bea", "ann"]}}, "c1"),
        ({"members": ["ann"]}, "c2"),
        ({"name": "Order one"}, "c1"),
        ({"name": {"$autocomplete": "one"}}, "c1"),
        ({"member.user.name": "Ann Lee"}, "c1 c2 c3"),
        ({"member.user.name": {"$autocomplete": "le"}}, "c1 c2 c3"),
        ({"member.user.name": "Bea"}, ""),
        ({"member_count": {"$gte": 2}}, "c1 c3"),
        ({"member_count": 0}, "c4"),
        ({"created_by_id": "cid"}, "c4"),
        ({"frozen": True}, "c3"),
        ({"disabled": False}, "c1 c2 c3 c4"),
        ({"distinct": True}, ""),
        ({"last_message_at": {"$exists": True}}, "c2"),
        ({"created_at": {"$gt": "2001-01-01T00:00:00Z"}}, "c1 c2 c3 c4"),
        ({"updated_at": {"$lt": "2001-01-01T00:00:00Z"}}, ""),
        ({"n": {"$gt": 1}}, "c2"),
        ({"tags": {"$contains": "x"}}, "c2"),
        ({"vip": True}, "c3"),
        ({"place": {"city": "Pune"}}, "c4"),
        ({"$or": [{"team": "a"}, {"type": "team"}]}, "c1 c4"),
        ({"$and": [{"type": "messaging"}, {"members": {"$in": ["cid"]}}]}, "c3"),
        ({"$nor": [{"type": "messaging"}]}, "c4"),
    ],
    ids=str,
)
def test_a_filter_finds(channels, conditions, expected):
    assert found(channels, conditions, BY_ID) == expected.split()


@pytest.mark.parametrize(
    "conditions",
    [
        {"id": 1},
        {"cid": {"$contains": "x"}},
        {"members": {"$gt": "ann"}},
        {"members": {"$in": [1]}},
        {"member_count": "2"},
        {"frozen": 1},
        {"created_at": {"$gt": "yesterday"}},
        {"config": {}},
        {"app_banned": "only"},
        {"last_activity": {"$exists": True}},
        {"muted": True},
        {"$not": [{}]},
        ["x"],
    ],
    ids=str,
)
def test_a_bad_filter_is_refused(channels, conditions):
    assert refusal(channels.query_channels, conditions) == (400, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"limit": -1},
        {"limit": "9"},
        {"offset": 1001},
        {"member_limit": 101},
        {"watch": True},
        {"presence": True},
        {"sort": [{"field": name, "direction": 1} for name in "abcdef"]},
        {"sort": [{"field": "id", "direction": 0}]},
    ],
    ids=str,
)
def test_a_bad_option_is_refused(channels, options):
    assert refusal(channels.post, "channels", data={"filter_conditions": {}, **options}) == (400, 4)


def test_a_wrong_type_is_explained(channels):
    with pytest.raises(StreamAPIException) as caught:
        channels.query_channels({"id": 1})
    assert "field `id` contains type number. expecting string" in caught.value.error_message


def test_the_latest_activity_comes_first(channels):
    assert found(channels, {}) == ["c2", "c4", "c3", "c1"]


def test_sorting_by_several_fields(channels):
    sort = [{"field": "type", "direction": -1}, {"field": "created_at", "direction": 1}]
    assert found(channels, {}, sort) == ["c4", "c1", "c2", "c3"]
    by_count = [{"field": "member_count", "direction": -1}]
    assert found(channels, {}, by_count)[0] == "c3"


def test_ten_channels_are_a_page_unless_told_and_thirty_at_most(chat):
    chat.upsert_user({"id": "ann"})
    for n in range(35):
        chat.channel("messaging", f"c{n:02}").create("ann")
    assert len(found(chat, {})) == 10
    assert len(found(chat, {}, limit=30)) == 30
    assert len(found(chat, {}, limit=100)) == 30
    assert found(chat, {}, BY_ID, limit=30, offset=30) == ["c30", "c31", "c32", "c33", "c34"]


def test_all_channels_are_walked_by_their_creation(chat):
    chat.upsert_user({"id": "ann"})
    for n in range(7):
        chat.channel("messaging", f"c{n}").create("ann")
    seen, conditions = {}, {}
    while True:
        sort = [{"field": "created_at", "direction": 1}]
        page = chat.query_channels(conditions, sort, limit=3)["channels"]
        new = [state["channel"] for state in page if state["channel"]["cid"] not in seen]
        seen |= {channel["cid"]: channel for channel in new}
        if not new:
            break
        conditions = {"created_at": {"$gte": new[-1]["created_at"]}}
    assert len(seen) == 7


def test_a_page_shows_the_state_of_its_channels(channels):
    response = channels.query_channels({"id": "c1"}, member_limit=1)
    assert response.status_code() == 201
    (state,) = response["channels"]
    assert (state["channel"]["n"], state["channel"]["member_count"]) == (1, 2)
    assert [member["user_id"] for member in state["members"]] == ["ann"]
    assert state["messages"] == []


def test_a_page_shows_as_many_messages_as_asked(channels):
    channels.channel("messaging", "c2").send_message({"text": "ho"}, "ann")
    (state,) = channels.query_channels({"id": "c2"}, message_limit=1)["channels"]
    assert [message["text"] for message in state["messages"]] == ["ho"]
    (state,) = channels.query_channels({"id": "c2"}, state=False)["channels"]
    assert state["messages"] == []


def test_the_request_log_names_the_channels_asked_for(channels, stream):
    since = stream.last_request()
    channels.query_channels({"cid": {"$in": ["messaging:c1"]}})
    channels.channel("messaging", "c1").query_members({})
    channels.channel("messaging", "c1").add_members(["cid"])
    log = [(entry["operation"], entry["ids"]) for entry in stream.requests(since)]
    assert log == [
        ("QueryChannels", ["messaging:c1"]),
        ("QueryMembers", ["messaging:c1"]),
        ("UpdateChannel", ["messaging:c1", "cid"]),
    ]


def people(chat, conditions, channel_id="c3", sort=None, **options):
    channel = chat.channel("messaging", channel_id)
    return [one["user_id"] for one in channel.query_members(conditions, sort, **options)]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "ann bea cid"),
        ({"user_id": "bea"}, "bea"),
        ({"user_id": {"$in": ["ann", "cid", "x"]}}, "ann cid"),
        ({"id": {"$ne": "ann"}}, "bea cid"),
        ({"name": {"$autocomplete": "lee"}}, "ann"),
        ({"banned": False}, "ann bea cid"),
        ({"channel_role": "channel_moderator"}, ""),
    ],
    ids=str,
)
def test_a_filter_finds_members(channels, conditions, expected):
    assert people(channels, conditions) == expected.split()


def test_members_come_in_pages(channels):
    assert people(channels, {}, limit=1, offset=1) == ["bea"]
    newest = [{"field": "user_id", "direction": -1}]
    assert people(channels, {}, sort=newest) == ["cid", "bea", "ann"]


def test_a_hundred_members_are_a_page_unless_told_and_three_hundred_at_most(chat):
    users = [f"u{n:03}" for n in range(300)]
    for start in range(0, 300, 100):
        chat.upsert_users([{"id": user_id} for user_id in users[start : start + 100]])
    chat.channel("messaging", "c3").create("u000")
    for start in range(0, 300, 100):
        chat.channel("messaging", "c3").add_members(users[start : start + 100])
    assert len(people(chat, {})) == 100
    assert people(chat, {}, limit=300) == users


@pytest.mark.parametrize(
    "options", [{"limit": 301}, {"offset": 10_001}, {"sort": [{"user_id": 2}]}], ids=str
)
def test_a_bad_option_for_members_is_refused(channels, options):
    assert refusal(people, channels, {}, **options) == (400, 4)


def test_members_of_an_unknown_channel_are_refused(channels):
    assert refusal(people, channels, {}, channel_id="x") == (404, 16)


def test_members_of_no_channel_are_refused(channels):
    payload = '{"filter_conditions": {}}'
    assert refusal(channels.get, "members", {"payload": payload}) == (400, 4)
