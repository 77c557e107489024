from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stream_server import mutes, timestamps
from stream_server.reader import valid_mutes
from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import heard, me
from tests.waiting import wait_for


def muted_users(stream, user_id):
    return [one["target"]["id"] for one in me(stream, user_id)["mutes"]]


def muted_channels(stream, user_id):
    return [one["channel"]["cid"] for one in me(stream, user_id)["channel_mutes"]]


def test_a_user_mutes_another(chat, stream, channel):
    answer = chat.mute_user("bea", "ann")
    mute = answer["mute"]
    assert (mute["user"]["id"], mute["target"]["id"]) == ("ann", "bea")
    assert "expires" not in mute
    assert answer["own_user"]["mutes"] == [mute] == answer["mutes"]
    assert muted_users(stream, "ann") == ["bea"]
    assert muted_users(stream, "bea") == []
    [ann] = chat.query_users({"id": "ann"})["users"]
    assert [one["target"]["id"] for one in ann["mutes"]] == ["bea"]
    chat.unmute_user("bea", "ann")
    assert muted_users(stream, "ann") == []


def test_several_users_are_muted_at_once_but_for_unknown_ones(chat, stream, channel):
    answer = chat.mute_users(["bea", "cid", "ghost"], "ann", timeout=10)
    assert [one["target"]["id"] for one in answer["mutes"]] == ["bea", "cid"]
    assert answer["non_existing_users"] == ["ghost"]
    ends_in = datetime.fromisoformat(answer["mutes"][0]["expires"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < ends_in <= timedelta(minutes=10)
    assert chat.unmute_users(["bea", "ghost"], "ann")["non_existing_users"] == ["ghost"]
    assert muted_users(stream, "ann") == ["cid"]


def test_muting_again_moves_the_end(chat, channel):
    first = chat.mute_user("bea", "ann", timeout=10)["mute"]
    again = chat.mute_user("bea", "ann")["mute"]
    assert again["created_at"] == first["created_at"] < again["updated_at"]
    assert "expires" not in again


def test_a_mute_for_a_time_ends_by_itself():
    state_mutes = {}
    mutes.mute(state_mutes, "ann", ["bea"], timedelta(minutes=1))
    mutes.mute(state_mutes, "ann", ["cid"], timedelta())
    assert list(valid_mutes(state_mutes, "ann")) == ["bea", "cid"]
    state_mutes["ann"]["bea"]["expires"] = timestamps.just_before(timestamps.now())
    assert list(valid_mutes(state_mutes, "ann")) == ["cid"]


def test_messages_of_a_muted_user_are_not_counted(chat, stream, channel):
    chat.mute_user("bea", "ann")
    event = heard(
        stream, "ann", "notification.message_new", lambda: channel.send_message({}, "bea")
    )
    assert event["total_unread_count"] == 0
    channel.send_message({"text": "hi"}, "cid")
    assert me(stream, "ann")["total_unread_count"] == 1


def test_muted_users_are_told_to_ones_own_clients_and_webhooks(stream, channel, receiver):
    stream.webhook(receiver.url, ["user.muted", "user.unmuted"])
    own = user_client(stream, "ann")

    def mute():
        own.post("moderation/mute", data={"target_ids": ["bea", "cid"]})

    event = heard(stream, "ann", "notification.mutes_updated", mute)
    assert [one["target"]["id"] for one in event["me"]["mutes"]] == ["bea", "cid"]
    assert event["me"]["id"] == "ann"
    told = receiver.one("user.muted")
    assert (told["user"]["id"], told["target_user"]["id"]) == ("ann", "bea")
    assert [one["id"] for one in told["target_users"]] == ["bea", "cid"]
    event = heard(
        *(stream, "ann", "notification.mutes_updated"),
        lambda: own.post("moderation/unmute", data={"target_id": "bea"}),
    )
    assert [one["target"]["id"] for one in event["me"]["mutes"]] == ["cid"]
    assert receiver.one("user.unmuted")["target_user"]["id"] == "bea"


def test_a_user_mutes_a_channel(chat, stream, channel):
    channel.send_message({"text": "hi"}, "bea")
    answer = channel.mute("ann")
    mute = answer["channel_mute"]
    assert (mute["user"]["id"], mute["channel"]["cid"]) == ("ann", "messaging:c1")
    assert "expires" not in mute
    assert answer["own_user"]["channel_mutes"] == [mute]
    assert muted_channels(stream, "ann") == ["messaging:c1"]
    assert me(stream, "ann")["total_unread_count"] == 0
    members = {one["user_id"]: one["notifications_muted"] for one in channel.query()["members"]}
    assert members == {"ann": True, "bea": False}
    ann = user_client(stream, "ann")
    assert ann.channel("messaging", "c1").query()["channel"]["muted"] is True
    for asked, expected in ((True, 1), (False, 0)):
        found = chat.query_channels({"muted": asked}, user_id="ann")["channels"]
        assert len(found) == len(ann.query_channels({"muted": asked})["channels"]) == expected
    channel.unmute("ann")
    assert muted_channels(stream, "ann") == []
    assert me(stream, "ann")["total_unread_count"] == 1


def test_a_muted_channel_stays_hidden(stream, channel):
    channel.mute("ann")
    channel.hide("ann")
    channel.hide("bea")
    channel.send_message({"text": "hi"}, "bea")
    hidden = {
        user_id: user_client(stream, user_id).channel("messaging", "c1").query()["hidden"]
        for user_id in ("ann", "bea")
    }
    assert hidden == {"ann": True, "bea": False}


def test_a_channel_is_muted_for_a_time(stream, channel):
    mute = channel.mute("ann", expiration=500)["channel_mute"]
    ends_in = datetime.fromisoformat(mute["expires"]) - datetime.now(UTC)
    assert ends_in <= timedelta(milliseconds=500)
    wait_for(lambda: muted_channels(stream, "ann") == [], seconds=30)


def test_muted_channels_are_told_to_ones_own_clients_and_webhooks(stream, channel, receiver):
    stream.webhook(receiver.url, ["channel.muted", "channel.unmuted"])
    event = heard(stream, "ann", "notification.channel_mutes_updated", lambda: channel.mute("ann"))
    assert [one["channel"]["cid"] for one in event["me"]["channel_mutes"]] == ["messaging:c1"]
    told = receiver.one("channel.muted")
    assert (told["user"]["id"], told["mute"]["channel"]["cid"]) == ("ann", "messaging:c1")
    event = heard(stream, "ann", "channel.unmuted", lambda: channel.unmute("ann"))
    assert event["mute"]["channel"]["cid"] == "messaging:c1"
    assert receiver.one("channel.unmuted")["user"]["id"] == "ann"


def test_a_mute_goes_with_what_was_muted(chat, stream, channel):
    channel.mute("ann")
    chat.mute_user("bea", "ann")
    channel.delete(hard=True)
    chat.delete_users(["bea"], "pruning")
    assert (muted_channels(stream, "ann"), muted_users(stream, "ann")) == ([], [])
    chat.channel("messaging", "c1", {"members": ["ann"]}).create("ann")
    assert muted_channels(stream, "ann") == []


def test_a_mute_that_cannot_be_is_refused(chat, stream, channel):
    assert refusal(chat.mute_user, "ann", "ann") == (400, 4)
    assert refusal(chat.mute_user, "ghost", "ann") == (404, 16)
    assert refusal(chat.mute_users, [], "ann") == (400, 4)
    assert refusal(chat.mute_user, "bea", "ghost") == (400, 4)
    assert refusal(chat.mute_user, "bea", "ann", timeout="1") == (400, 4)
    assert refusal(chat.mute_user, 1, "ann") == (400, 4)
    assert refusal(channel.mute, "ann", expiration=-1) == (400, 4)
    assert refusal(chat.channel("messaging", "c2").mute, "ann") == (404, 16)
    stranger = user_client(stream, "cid")
    data = {"channel_cid": "messaging:c1"}
    assert refusal(stranger.post, "moderation/mute/channel", data=data) == (403, 17)
