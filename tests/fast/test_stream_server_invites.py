from __future__ import annotations

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import heard, me


@pytest.fixture
def channel(chat):
    """Ann's, with Bea invited."""
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    channel = chat.channel("messaging", "c1", {"members": ["ann"]})
    channel.create("ann")
    channel.invite_members(["bea"])
    return channel


def own(stream, user_id):
    return user_client(stream, user_id).channel("messaging", "c1")


def accept(channel, **options):
    return channel.client.post(channel.url, data={"accept_invite": True, **options})


def member(channel, user_id="bea"):
    return next(one for one in channel.query()["members"] if one["user_id"] == user_id)


def found(chat, conditions, **options):
    states = chat.query_channels(conditions, **options)["channels"]
    return [state["channel"]["id"] for state in states]


def test_who_is_invited_is_a_member_whose_answer_is_pending(stream, channel):
    bea = member(channel)
    assert (bea["invited"], bea["status"]) == (True, "pending")
    assert "invite_accepted_at" not in bea
    channel.send_message({"text": "hi"}, "ann")
    assert me(stream, "bea")["total_unread_count"] == 0
    channel.invite_members(["ann"])
    assert member(channel, "ann")["status"] == "member"


@pytest.mark.parametrize(
    ("answer", "status"), [("accept_invite", "accepted"), ("reject_invite", "rejected")]
)
def test_an_invite_is_answered(chat, stream, channel, answer, status):
    bea = user_client(stream, "bea")
    assert found(bea, {"invite": "pending"}) == ["c1"]
    assert found(bea, {"joined": True}) == []
    own(stream, "bea").client.post(channel.url, data={answer: True})
    assert (
        found(bea, {"invite": status}) == found(chat, {"invite": status}, user_id="bea") == ["c1"]
    )
    assert found(bea, {"invite": "pending"}) == []
    assert bool(found(bea, {"joined": True})) == (status == "accepted")
    assert (member(channel)["status"], member(channel)["invited"]) == (status, True)
    assert member(channel)[f"invite_{status}_at"]
    channel.send_message({"text": "hi"}, "ann")
    assert me(stream, "bea")["total_unread_count"] == (status == "accepted")


def test_a_server_answers_for_a_user(chat, channel):
    channel.invite_members(["cid"])
    # The SDK's channel takes the answer for its data, and can't be asked afterwards.
    for answer in ("accept_invite", "reject_invite"):
        user_id = "bea" if answer == "accept_invite" else "cid"
        getattr(chat.channel("messaging", "c1"), answer)(user_id)
    assert member(channel)["status"] == "accepted"
    assert member(channel, "cid")["status"] == "rejected"


def test_an_accepted_invite_may_say_something(stream, channel):
    answer = accept(own(stream, "bea"), message={"text": "Bea joined"})
    assert (answer["message"]["type"], answer["message"]["user"]["id"]) == ("system", "bea")


def test_a_channel_begins_with_invites(chat, channel):
    data = {"members": ["ann", "bea"], "invites": ["bea", "cid"]}
    new = chat.channel("messaging", "c2", data)
    new.create("ann")
    statuses = {one["user_id"]: one["status"] for one in new.query()["members"]}
    assert statuses == {"ann": "member", "bea": "pending", "cid": "pending"}


def test_invites_and_their_answers_are_told(stream, channel, receiver):
    stream.webhook(receiver.url, ["member.added", "member.updated"])
    event = heard(stream, "cid", "notification.invited", lambda: channel.invite_members(["cid"]))
    assert (event["cid"], event["user"]["id"]) == ("messaging:c1", "cid")
    assert (event["member"]["status"], event["channel"]["id"]) == ("pending", "c1")
    assert receiver.one("member.added")["member"]["invited"] is True
    bea = own(stream, "bea")
    event = heard(stream, "ann", "notification.invite_accepted", lambda: accept(bea))
    assert (event["user"]["id"], event["member"]["status"]) == ("bea", "accepted")
    assert receiver.one("member.updated")["member"]["invite_accepted_at"]
    event = heard(
        *(stream, "cid", "notification.invite_rejected"), lambda: channel.reject_invite("cid")
    )
    assert event["member"]["user_id"] == "cid"
    event = heard(stream, "ann", "member.updated", lambda: answered(channel), watches=True)
    assert event["user"]["id"] == "new"


def answered(channel):
    channel.client.upsert_user({"id": "new"})
    channel.invite_members(["new"])
    channel.accept_invite("new")


def test_an_answer_again_changes_nothing_and_another_one_does(stream, channel):
    bea = own(stream, "bea")
    accept(bea)
    first = member(channel)
    accept(bea)
    assert member(channel) == first
    bea.client.post(channel.url, data={"reject_invite": True})
    assert member(channel)["status"] == "rejected"
    assert "invite_accepted_at" not in member(channel)


def test_only_who_is_invited_answers(stream, channel):
    assert refusal(accept, own(stream, "ann")) == (400, 4)
    assert refusal(accept, own(stream, "cid")) == (400, 4)
    assert refusal(accept, channel) == (400, 4)
    assert refusal(accept, own(stream, "bea"), reject_invite=True) == (400, 4)
    assert refusal(accept, own(stream, "bea"), data={"name": "mine"}) == (403, 17)
    assert refusal(own(stream, "bea").invite_members, ["cid"]) == (403, 17)


def test_strangers_are_not_invited_to_a_distinct_channel(chat, channel):
    pair = chat.channel("messaging", data={"members": ["ann", "bea"]})
    pair.create("ann")
    assert refusal(pair.invite_members, ["cid"]) == (403, 17)
    assert refusal(channel.invite_members, ["ghost"]) == (400, 4)
    assert refusal(channel.update, {"invites": ["cid"]}) == (400, 4)


def test_members_are_found_by_their_invites(chat, channel):
    def ids(**conditions):
        return [one["user_id"] for one in channel.query_members(conditions)]

    channel.invite_members(["cid"])
    chat.channel("messaging", "c1").accept_invite("cid")
    assert (ids(invite="pending"), ids(invite="accepted")) == (["bea"], ["cid"])
    assert (ids(joined=True), ids(joined=False)) == (["ann", "cid"], ["bea"])
    channel.add_moderators(["cid"])
    channel.mute("ann")
    assert (ids(is_moderator=True), ids(notifications_muted=True)) == (["cid"], ["ann"])
    assert refusal(channel.query_members, {"cid": "messaging:c1"}) == (400, 4)
