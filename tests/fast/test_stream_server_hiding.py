from __future__ import annotations

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import all_heard, heard, me


@pytest.fixture
def channel(channel):
    channel.send_message({"id": "m1", "text": "old"}, "bea")
    return channel


@pytest.fixture
def ann(stream, channel):
    """Her own client's channel."""
    return user_client(stream, "ann").channel("messaging", "c1")


def found(chat, conditions=None, **options):
    states = chat.query_channels(conditions or {}, **options)["channels"]
    return [state["channel"]["id"] for state in states]


def hide(channel, clear_history=False):
    return channel.client.post(f"{channel.url}/hide", data={"clear_history": clear_history})


def show(channel):
    return channel.client.post(f"{channel.url}/show")


def test_a_hidden_channel_is_left_out_for_who_hid_it(chat, stream, channel, ann):
    channel.hide("ann")
    assert found(ann.client) == []
    assert found(ann.client, {"hidden": True}) == ["c1"]
    assert found(ann.client, {"$or": [{"hidden": True}, {"hidden": False}]}) == ["c1"]
    assert found(user_client(stream, "bea")) == found(chat) == ["c1"]
    assert found(chat, {"hidden": True}, user_id="ann") == ["c1"]
    assert found(chat, user_id="ann") == []
    assert refusal(chat.query_channels, {"hidden": True}) == (400, 4)
    state = ann.query()
    assert (state["hidden"], state["channel"]["hidden"]) == (True, True)
    channel.show("ann")
    assert found(ann.client) == ["c1"]
    assert ann.query()["channel"]["hidden"] is False


def test_a_new_message_shows_a_hidden_channel_again(channel, ann):
    hide(ann)
    channel.send_message({"text": "a reply", "parent_id": "m1"}, "bea")
    assert found(ann.client) == []
    channel.send_message({"text": "new"}, "bea")
    assert found(ann.client) == ["c1"]
    assert [one["text"] for one in ann.query()["messages"]] == ["old", "new"]


def test_a_message_of_a_shadow_banned_user_shows_no_channel(chat, channel, ann):
    hide(ann)
    chat.shadow_ban("bea")
    channel.send_message({"text": "new"}, "bea")
    assert found(ann.client) == []


def test_history_that_was_cleared_is_gone_for_one_user(stream, channel, ann):
    channel.client.pin_message("m1", "bea")
    hide(ann, clear_history=True)
    assert me(stream, "ann")["total_unread_count"] == 0
    channel.send_message({"id": "m2", "text": "new"}, "bea")
    state = ann.query()
    assert [one["id"] for one in state["messages"]] == ["m2"]
    assert state["pinned_messages"] == []
    assert state["hide_messages_before"] == state["channel"]["hide_messages_before"]
    unread = {one["user"]["id"]: one["unread_messages"] for one in state["read"]}
    assert unread["ann"] == 1
    pinned = ann.client.get(f"{ann.url}/pinned_messages", params={"payload": "{}"})
    assert pinned["messages"] == []
    bea = user_client(stream, "bea").channel("messaging", "c1").query()
    assert [one["id"] for one in bea["messages"]] == ["m1", "m2"]
    show(ann)
    assert [one["id"] for one in ann.query()["messages"]] == ["m2"]


def test_hiding_is_told_to_the_users_own_clients_and_webhooks(stream, channel, ann, receiver):
    stream.webhook(receiver.url, ["channel.hidden", "channel.visible"])
    hidden = heard(stream, "ann", "channel.hidden", lambda: hide(ann, True))
    assert (hidden["cid"], hidden["user"]["id"]) == ("messaging:c1", "ann")
    assert hidden["clear_history"] is True
    assert hidden["channel"]["cid"] == "messaging:c1"
    visible = heard(stream, "ann", "channel.visible", lambda: show(ann))
    assert visible["user"]["id"] == "ann"
    told = receiver.one("channel.hidden")
    assert (told["user"]["id"], told["clear_history"], len(told["members"])) == ("ann", True, 2)
    assert receiver.one("channel.visible")["cid"] == "messaging:c1"
    assert all_heard(stream, "bea", lambda: hide(ann), watches=True) == []


def test_only_members_hide_a_channel(stream, channel):
    assert refusal(channel.hide, "cid") == (403, 17)
    assert refusal(hide, user_client(stream, "cid").channel("messaging", "c1")) == (403, 17)
    assert refusal(channel.hide, "nobody") == (400, 4)
    assert refusal(channel.show, "") == (400, 4)
    assert refusal(hide, channel, "yes") == (400, 4)


def test_who_comes_back_to_a_channel_finds_it_as_others_do(channel, ann):
    hide(ann, clear_history=True)
    channel.remove_members(["ann"])
    channel.add_members(["ann"])
    assert found(ann.client) == ["c1"]
    assert [one["id"] for one in ann.query()["messages"]] == ["m1"]


def test_what_is_unread_can_be_asked_for(channel, ann):
    assert found(ann.client, {"has_unread": True}) == ["c1"]
    assert found(ann.client, {"joined": False}) == []
    assert found(ann.client, {"joined": True}) == ["c1"]
    by_unread = [{"field": "unread_count", "direction": -1}]
    assert found(ann.client, {}, sort=by_unread) == ["c1"]
    channel.mark_read("ann")
    assert found(ann.client, {"has_unread": True}) == []


def test_new_members_may_be_kept_from_the_history(chat, stream, channel):
    second = channel.send_message({"id": "m2", "text": "later"}, "bea")["message"]
    chat.upsert_users([{"id": "dan"}, {"id": "eve"}])

    def seen(user_id):
        state = user_client(stream, user_id).channel("messaging", "c1").query()
        return [one["id"] for one in state["messages"]]

    hello = {"id": "m3", "text": "Cid joined", "user_id": "ann"}
    channel.add_members(["cid", "bea"], hello, hide_history=True)
    channel.add_members(["dan"], hide_history=True, hide_history_before=second["created_at"])
    channel.add_members(["eve"])
    assert seen("cid") == ["m3"]
    assert seen("dan") == ["m2", "m3"]
    assert seen("eve") == seen("bea") == ["m1", "m2", "m3"]


def test_a_channel_can_begin_hidden_for_its_creator(chat, stream, channel):
    data = {"members": ["ann", "bea"], "created_by_id": "ann"}
    path = "channels/messaging/c2/query"
    chat.post(path, data={"data": data, "hide_for_creator": True})
    ann, bea = user_client(stream, "ann"), user_client(stream, "bea")
    assert (found(ann, {"id": "c2"}), found(bea, {"id": "c2"})) == ([], ["c2"])
    chat.channel("messaging", "c2").send_message({"text": "hi"}, "bea")
    assert found(ann, {"id": "c2"}) == ["c2"]


def test_cleared_threads_and_replies_are_gone_too(stream, channel, ann):
    channel.send_message({"id": "r1", "text": "old", "parent_id": "m1"}, "ann")
    channel.send_message({"id": "r2", "text": "old", "parent_id": "m1"}, "bea")
    assert me(stream, "ann")["unread_threads"] == 1
    hide(ann, clear_history=True)
    channel.send_message({"id": "r3", "text": "new", "parent_id": "m1"}, "bea")
    assert [one["id"] for one in ann.get_replies("m1")["messages"]] == ["r3"]
    assert ann.client.post("threads", data={})["threads"] == []
    assert me(stream, "ann")["unread_threads"] == 0
    assert len(channel.get_replies("m1")["messages"]) == 3
