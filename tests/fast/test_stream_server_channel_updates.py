from __future__ import annotations

import pytest
from stream_chat.base.exceptions import StreamAPIException

from tests.fast.refusals import refusal


@pytest.fixture
def channel(chat):
    """Channel c1 of Ann and Bea, made by Ann; Cid exists as well."""
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    channel = chat.channel("messaging", "c1", {"members": ["ann", "bea"], "name": "old", "gym": 7})
    channel.create("ann")
    return channel


def members(channel):
    return [member["user_id"] for member in channel.query()["members"]]


def test_an_update_replaces_all_custom_data(channel):
    response = channel.update({"name": "new"})
    assert response.status_code() == 201
    updated = channel.query()["channel"]
    assert updated["name"] == "new"
    assert "gym" not in updated


def test_an_update_keeps_what_is_not_custom(channel):
    channel.update_partial({"team": "a", "frozen": True})
    updated = channel.update({"name": "new"})["channel"]
    assert (updated["team"], updated["frozen"], updated["member_count"]) == ("a", True, 2)
    assert updated["updated_at"] > updated["created_at"]


def test_an_update_without_data_leaves_custom_data_alone(channel):
    channel.add_members(["cid"])
    assert channel.query()["channel"]["gym"] == 7


def test_an_update_can_move_a_channel_to_another_team(channel):
    assert channel.update({"team": "b"})["channel"]["team"] == "b"


def test_members_are_added_once(channel):
    response = channel.add_members(["bea", {"user_id": "cid", "channel_role": "channel_moderator"}])
    assert [member["user_id"] for member in response["members"]] == ["ann", "bea", "cid"]
    assert response["members"][2]["channel_role"] == "channel_moderator"


def test_members_are_removed_whether_they_are_there_or_not(channel):
    channel.remove_members(["bea", "cid"])
    assert members(channel) == ["ann"]


def test_unknown_members_are_named_and_nobody_is_added(channel):
    with pytest.raises(StreamAPIException) as caught:
        channel.add_members(["cid", "x", "y"])
    assert (caught.value.status_code, caught.value.error_code) == (400, 4)
    assert caught.value.error_message == (
        'UpdateChannel failed with error: "The following users are involved in channel update '
        "operation, but don't exist: [x y]. Please create the user objects before setting up the "
        'channel."'
    )
    assert members(channel) == ["ann", "bea"]


def test_a_deleted_or_deactivated_user_cannot_be_added(channel, chat):
    chat.delete_user("cid")
    assert refusal(channel.add_members, ["cid"]) == (404, 16)
    chat.restore_users(["cid"])
    chat.deactivate_user("cid")
    assert refusal(channel.add_members, ["cid"]) == (404, 16)


def test_by_switch_a_new_user_cannot_be_added_for_a_while(channel, chat, stream):
    stream.switch(users_unknown_ms_after_upsert=600_000)
    chat.upsert_user({"id": "new"})
    with pytest.raises(StreamAPIException, match=r"channel update operation.*\[new\]"):
        channel.add_members(["new"])


def test_nobody_is_added_and_removed_at_once(channel):
    assert refusal(channel.add_members, ["cid"], remove_members=["cid"]) == (400, 4)


@pytest.mark.parametrize("change", ["add_members", "remove_members"])
def test_a_hundred_members_are_changed_in_a_call_and_no_more(chat, channel, change):
    chat.upsert_users([{"id": f"u{n}"} for n in range(100)])
    ids = [f"u{n}" for n in range(100)]
    assert getattr(channel, change)(ids).is_ok()
    assert refusal(getattr(channel, change), [*ids, "ann"]) == (400, 4)


def test_a_channel_has_more_members_than_its_answers_show(chat, channel):
    chat.upsert_users([{"id": f"u{n}"} for n in range(100)])
    response = channel.add_members([f"u{n}" for n in range(100)])
    assert (response["channel"]["member_count"], len(response["members"])) == (102, 100)


def test_roles_in_the_channel_can_be_changed(channel):
    channel.add_moderators(["bea"])
    assert channel.query()["members"][1]["channel_role"] == "channel_moderator"
    channel.demote_moderators(["bea"])
    channel.assign_roles([{"user_id": "ann", "channel_role": "channel_moderator"}])
    roles = [member["channel_role"] for member in channel.query()["members"]]
    assert roles == ["channel_moderator", "channel_member"]


def test_a_new_moderator_becomes_a_member(channel, stream, receiver):
    stream.webhook(receiver.url, ["member.added", "member.updated"])
    response = channel.add_moderators(["bea", "cid"])
    roles = {one["user_id"]: (one["channel_role"], one["role"]) for one in response["members"]}
    assert roles["bea"] == roles["cid"] == ("channel_moderator", "moderator")
    assert roles["ann"] == ("channel_member", "owner")
    assert receiver.one("member.added")["member"]["user_id"] == "cid"
    assert receiver.one("member.updated")["member"]["channel_role"] == "channel_moderator"


def test_an_unknown_moderator_is_named(channel):
    with pytest.raises(StreamAPIException, match=r"don't exist: \[x\]"):
        channel.add_moderators(["x"])


def test_filter_tags_are_added_and_removed(channel):
    channel.add_filter_tags(["x", "y", "x"])
    channel.remove_filter_tags(["x", "z"])
    assert channel.query()["channel"]["filter_tags"] == ["y"]


def test_an_update_can_come_with_a_message(channel):
    response = channel.add_members(["cid"], message={"text": "Cid is here", "user_id": "ann"})
    assert (response["message"]["text"], response["message"]["type"]) == ("Cid is here", "system")
    assert len(channel.query()["messages"]) == 1


def test_a_message_without_sender_refuses_the_whole_update(channel):
    assert refusal(channel.add_members, ["cid"], message={"text": "hi"}) == (400, 4)
    assert members(channel) == ["ann", "bea"]


@pytest.mark.parametrize(
    "body",
    [
        {"add_members": "cid"},
        {"add_members": [1]},
        {"remove_members": [{"user_id": "bea"}]},
        {"assign_roles": ["bea"]},
        {"assign_roles": [{"user_id": "cid", "channel_role": "channel_moderator"}]},
        {"demote_moderators": ["cid"]},
        {"add_moderators": ["cid"], "remove_members": ["cid"]},
        {"add_members": ["cid"], "hide_history": "yes"},
        {"add_members": ["cid"], "hide_history_before": "2999-01-01T00:00:00Z"},
        {"data": []},
        {"data": {"members": ["cid"]}},
        {"data": {"cid": "x"}},
        {"data": {"frozen": "yes"}},
        {"cooldown": 121},
        {"add_filter_tags": [{}]},
        {"data": {"filter_tags": [1]}},
        {"invites": [1]},
    ],
    ids=str,
)
def test_a_bad_update_is_refused(chat, channel, body):
    assert refusal(chat.post, "channels/messaging/c1", data=body) == (400, 4)
    assert members(channel) == ["ann", "bea"]


@pytest.mark.parametrize("call", ["update", "update_partial", "add_members", "delete"])
def test_an_unknown_channel_is_refused(chat, channel, call):
    unknown = chat.channel("messaging", "unknown")
    arguments = [] if call == "delete" else [{"name": "x"}]
    with pytest.raises(StreamAPIException, match="Can't find channel"):
        getattr(unknown, call)(*arguments)
    assert refusal(getattr(unknown, call), *arguments) == (404, 16)


def test_more_than_5_kb_of_custom_data_is_refused(channel):
    assert refusal(channel.update, {"note": "x" * 5200}) == (413, 22)
    assert refusal(channel.update_partial, {"note": "x" * 5200}) == (413, 22)


def test_a_partial_update_sets_and_unsets_by_path(channel):
    response = channel.update_partial({"name": "new", "place": {"city": "Pune"}}, ["gym"])
    assert response.status_code() == 200
    channel.update_partial({"place.zip": 1}, ["place.city"])
    updated = channel.query()["channel"]
    assert (updated["name"], updated["place"]) == ("new", {"zip": 1})
    assert "gym" not in updated


def test_a_partial_update_moves_a_channel_and_keeps_the_rest(channel):
    assert channel.update_partial({"team": "b"})["channel"]["team"] == "b"
    moved = channel.query()["channel"]
    assert (moved["team"], moved["gym"]) == ("b", 7)
    assert "team" not in channel.update_partial({}, ["team"])["channel"]


@pytest.mark.parametrize("field", ["created_at", "updated_at", "members", "member_count", "cid"])
def test_a_partial_update_leaves_streams_own_fields_alone(channel, field):
    with pytest.raises(StreamAPIException) as caught:
        channel.update_partial({field: 1})
    assert (caught.value.status_code, caught.value.error_code) == (403, 17)
    assert f"field `{field}` is reserved and cannot updated" in caught.value.error_message


@pytest.mark.parametrize("path", ["a..b", ".a", "a.", "a b", "name.x"])
def test_a_bad_path_is_refused(channel, path):
    assert refusal(channel.update_partial, {path: 1}) == (400, 4)


def test_a_deleted_channel_is_answered_as_it_was(channel):
    response = channel.delete()
    assert response.status_code() == 200
    deleted = response["channel"]
    assert deleted["deleted_at"]
    assert (deleted["cid"], deleted["created_by"]) == ("messaging:c1", None)
    assert "gym" not in deleted


@pytest.mark.parametrize("hard", [False, True])
def test_a_deleted_channel_is_gone_and_created_again_empty(chat, channel, hard):
    channel.send_message({"text": "hi"}, "ann")
    channel.delete(hard=hard)
    assert chat.query_channels({"cid": "messaging:c1"})["channels"] == []
    again = chat.channel("messaging", "c1", {"created_by_id": "ann"}).query()
    assert (again["members"], again["messages"]) == ([], [])
    assert "gym" not in again["channel"]


def test_several_channels_are_deleted_by_a_task(chat, channel):
    chat.channel("messaging", "c2").create("ann")
    cids = ["messaging:c1", "messaging:c2"]
    response = chat.delete_channels(cids, hard_delete=True)
    assert response.status_code() == 201
    task = chat.get_task(response["task_id"])
    assert (task["status"], task["result"]) == (
        "completed",
        {cid: {"status": "ok"} for cid in cids},
    )
    assert chat.query_channels({})["channels"] == []


def test_one_unknown_channel_saves_the_others(chat, channel):
    assert refusal(chat.delete_channels, ["messaging:c1", "messaging:x"]) == (404, 16)
    assert len(chat.query_channels({})["channels"]) == 1


@pytest.mark.parametrize("cids", [[], [1], "messaging:c1", [f"messaging:{n}" for n in range(101)]])
def test_a_hundred_channels_at_most_are_deleted_at_once(chat, cids):
    assert refusal(chat.delete_channels, cids) == (400, 4)


@pytest.mark.parametrize(
    ("options", "left"), [({}, ["c1", "c2"]), ({"conversations": "soft"}, ["c2"])]
)
def test_a_users_conversations_can_be_deleted_with_them(chat, channel, options, left):
    chat.channel("messaging", "c2", {"members": ["ann", "bea", "cid"]}).create("ann")
    chat.delete_users(["bea"], "soft", **options)
    states = chat.query_channels({}, [{"field": "id", "direction": 1}])["channels"]
    assert [state["channel"]["id"] for state in states] == left
    assert all(state["channel"]["member_count"] < 3 for state in states)
