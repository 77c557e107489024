from __future__ import annotations

import contextlib
import time

import pytest
from stream_chat.base.exceptions import StreamAPIException

from tests.fast.refusals import refusal


@pytest.fixture
def pair(chat):
    chat.upsert_users([{"id": "ann", "teams": ["a"]}, {"id": "bea", "teams": ["b"]}])
    return chat


def create(chat, *, channel_id="c1", channel_type="messaging", creator="ann", **data):
    return chat.channel(channel_type, channel_id, data).create(creator)


def query(chat, **body):
    return chat.post("channels/messaging/c1/query", data=body)


def test_a_channel_is_created(pair):
    response = create(pair, members=["ann", "bea"], team="a", name="Order 1", order_id=7)
    assert response.status_code() == 201
    channel = response["channel"]
    assert (channel["cid"], channel["id"], channel["type"]) == ("messaging:c1", "c1", "messaging")
    assert (channel["team"], channel["name"], channel["order_id"]) == ("a", "Order 1", 7)
    assert (channel["member_count"], channel["created_by"]["id"]) == (2, "ann")
    assert channel["config"]["name"] == "messaging"


def test_members_carry_user_and_role(pair):
    first, second = create(pair, members=["ann", {"user_id": "bea", "seat": 2}])["members"]
    assert (first["user_id"], first["user"]["id"], first["role"]) == ("ann", "ann", "owner")
    assert (second["role"], second["channel_role"]) == ("member", "channel_member")
    assert (second["status"], second["seat"]) == ("member", 2)
    assert "unread_count" not in second["user"]


def test_the_creator_is_not_made_a_member(pair):
    members = create(pair, members=["bea"])["members"]
    assert [member["user_id"] for member in members] == ["bea"]


def test_unknown_members_are_named(pair):
    with pytest.raises(StreamAPIException) as caught:
        create(pair, members=["ann", "x", "bea", "y"])
    assert (caught.value.status_code, caught.value.error_code) == (400, 4)
    assert caught.value.error_message == (
        'GetOrCreateChannel failed with error: "The following users are involved in channel create '
        "operation, but don't exist: [x y]. Please create the user objects before setting up the "
        'channel."'
    )


def test_a_refused_channel_is_not_created(pair, stream):
    refusal(create, pair, members=["ann", "x"])
    assert stream.state()["counts"]["channels"] == 0


def test_an_unknown_creator_is_refused(pair):
    assert refusal(create, pair, creator="x") == (400, 4)


def test_by_switch_an_unknown_creator_is_created(pair, stream):
    stream.switch(unknown_creator="created")
    create(pair, creator="x", members=["x", "ann"])
    assert len(pair.query_users({"id": "x"})["users"]) == 1


def test_a_deleted_member_is_refused(pair):
    pair.delete_user("bea")
    with pytest.raises(StreamAPIException, match="the user bea was deleted"):
        create(pair, members=["ann", "bea"])
    assert refusal(create, pair, members=["ann", "bea"]) == (404, 16)


def test_by_switch_a_deleted_member_is_unknown(pair, stream):
    stream.switch(deleted_member="unknown")
    pair.delete_user("bea")
    assert refusal(create, pair, members=["ann", "bea"]) == (400, 4)


def test_a_deactivated_member_is_refused(pair):
    pair.deactivate_user("bea")
    with pytest.raises(StreamAPIException, match="the user bea was deactivated"):
        create(pair, members=["ann", "bea"])


def test_an_existing_channel_is_returned_as_it_is(pair):
    create(pair, members=["ann"], name="old")
    again = create(pair, members=["ann", "bea"], name="new", creator="bea")
    assert (again["channel"]["name"], again["channel"]["member_count"]) == ("old", 1)


def test_by_switch_an_existing_channel_adds_members(pair, stream):
    stream.switch(existing_channel_adds_members=True)
    create(pair, members=["ann"])
    assert create(pair, members=["ann", "bea"])["channel"]["member_count"] == 2


def test_an_existing_channel_needs_no_creator(pair):
    create(pair, members=["ann"])
    assert query(pair, data={})["channel"]["id"] == "c1"


def test_a_new_channel_needs_a_creator(pair):
    with pytest.raises(StreamAPIException, match="must be provided when using server"):
        query(pair, data={"members": ["ann"]})


def test_two_creators_are_refused(pair):
    with pytest.raises(StreamAPIException, match="cannot set both"):
        query(pair, data={"created_by_id": "ann", "created_by": {"id": "ann"}})


@pytest.mark.parametrize("channel_id", ["a.b", "a@b", "!members-x", "x" * 65])
def test_a_bad_id_is_refused(pair, channel_id):
    assert refusal(create, pair, channel_id=channel_id) == (400, 4)


def test_an_unknown_type_is_refused(pair):
    assert refusal(create, pair, channel_type="x") == (404, 16)


def test_a_hundred_members_are_accepted_and_one_more_refused(chat):
    chat.upsert_users([{"id": f"u{n}"} for n in range(100)])
    members = [f"u{n}" for n in range(100)]
    assert create(chat, members=members, creator="u0")["channel"]["member_count"] == 100
    assert refusal(create, chat, members=[*members, "u0"], creator="u0") == (400, 4)


def test_reserved_data_is_refused(pair):
    with pytest.raises(StreamAPIException, match=r"data\.cooldown is a reserved field"):
        create(pair, cooldown=1)


def test_more_than_5_kb_of_custom_data_is_refused(pair):
    assert refusal(create, pair, note="x" * 5200) == (413, 22)


def test_watching_needs_a_client(pair):
    assert refusal(query, pair, watch=True, data={"created_by_id": "ann"}) == (400, 4)


def test_members_of_other_teams_are_accepted(pair):
    assert create(pair, members=["ann", "bea"], team="a").is_ok()


def test_by_switch_members_of_other_teams_are_refused(pair, stream):
    stream.switch(team_mismatch="refused")
    assert refusal(create, pair, members=["ann", "bea"], team="a") == (403, 17)


def test_a_deleted_user_leaves_the_channel_for_good(pair):
    create(pair, members=["ann", "bea"])
    pair.delete_user("bea")
    pair.restore_users(["bea"])
    members = create(pair)["members"]
    assert [member["user_id"] for member in members] == ["ann"]


@pytest.fixture
def slowly(stream):
    """Channels learn of new users late; the deadline is far away for any machine."""
    stream.switch(users_unknown_ms_after_upsert=600_000)


def test_by_switch_a_new_user_is_unknown_to_channels_for_a_while(chat, slowly):
    chat.upsert_user({"id": "ann"})
    assert len(chat.query_users({"id": "ann"})["users"]) == 1
    with pytest.raises(StreamAPIException, match=r"don't exist: \[ann\]"):
        create(chat, members=["ann"])
    assert refusal(create, chat, members=["ann"]) == (400, 4)


def test_by_switch_a_restored_user_is_unknown_to_channels_for_a_while(pair, slowly):
    pair.delete_user("ann")
    pair.restore_users(["ann"])
    assert refusal(create, pair, members=["ann"]) == (400, 4)


def test_by_switch_an_old_user_stays_known_to_channels(pair, slowly):
    pair.upsert_user({"id": "ann", "name": "Ann"})
    assert create(pair, members=["ann"]).is_ok()


def test_by_switch_a_new_user_gets_known_to_channels(chat, stream):
    stream.switch(users_unknown_ms_after_upsert=1)
    chat.upsert_user({"id": "ann"})
    deadline = time.monotonic() + 30
    created = None
    while created is None and time.monotonic() < deadline:
        with contextlib.suppress(StreamAPIException):
            created = create(chat, members=["ann"])
    assert created


def distinct(chat, *members, creator="ann", **data):
    return chat.channel("messaging", None, {"members": list(members), **data}).create(creator)


@pytest.fixture
def trio(pair):
    pair.upsert_user({"id": "cid"})
    return pair


def test_a_channel_without_id_is_found_by_its_members(trio):
    first = distinct(trio, "ann", "bea")["channel"]
    assert first["id"].startswith("!members-")
    assert distinct(trio, "bea", "ann")["channel"]["cid"] == first["cid"]
    assert distinct(trio, "ann", "bea", "cid")["channel"]["cid"] != first["cid"]


def test_a_channel_found_by_its_members_can_be_asked_for_by_its_id(trio):
    channel_id = distinct(trio, "ann", "bea")["channel"]["id"]
    assert create(trio, channel_id=channel_id)["channel"]["member_count"] == 2


def test_members_need_to_be_two_to_make_an_id(pair):
    with pytest.raises(StreamAPIException, match="specify at least 2 members"):
        distinct(pair, "ann")


def test_unknown_members_are_named_without_an_id_too(pair):
    with pytest.raises(StreamAPIException, match=r"GetOrCreateChannel.*don't exist: \[x\]"):
        distinct(pair, "ann", "x")


def test_an_outsider_cannot_join_a_distinct_channel(trio):
    channel = trio.channel("messaging", None, {"members": ["ann", "bea"]})
    channel.create("ann")
    with pytest.raises(StreamAPIException, match="please create a new distinct channel"):
        channel.add_members(["cid"])
    assert refusal(channel.add_members, ["cid"]) == (403, 17)


def test_an_original_member_can_return_to_a_distinct_channel(trio):
    channel = trio.channel("messaging", None, {"members": ["ann", "bea"]})
    channel.create("ann")
    channel.remove_members(["bea"])
    assert channel.add_members(["bea"])["channel"]["member_count"] == 2


def test_the_answer_shows_as_many_messages_and_members_as_asked(trio):
    channel = trio.channel("messaging", "c1", {"members": ["ann", "bea", "cid"]})
    channel.create("ann")
    for text in ("one", "two", "three"):
        channel.send_message({"text": text}, "ann")
    state = channel.query(messages={"limit": 2}, members={"limit": 1, "offset": 1})
    assert [message["text"] for message in state["messages"]] == ["two", "three"]
    assert [member["user_id"] for member in state["members"]] == ["bea"]
    assert create(trio)["messages"] == []


def test_the_answer_counts_what_members_have_not_read(pair):
    channel = pair.channel("messaging", "c1", {"members": ["ann", "bea"]})
    channel.create("ann")
    channel.send_message({"text": "hi"}, "ann")
    assert unread(channel) == {"ann": 0, "bea": 1}
    channel.mark_read("bea")
    assert unread(channel) == {"ann": 0, "bea": 0}


def unread(channel):
    return {one["user"]["id"]: one["unread_messages"] for one in channel.query()["read"]}


def test_a_channel_that_is_to_be_hidden_is_refused(pair):
    channel = pair.channel("messaging", "c1", {"created_by_id": "ann"})
    assert refusal(channel.query, hide_for_creator="yes") == (400, 4)
