from __future__ import annotations

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import heard as heard_by


@pytest.fixture
def channel(channel):
    """With message m1 of Ann."""
    channel.send_message({"id": "m1", "text": "hello"}, "ann")
    return channel


def react(channel, kind, user_id="bea", **fields):
    return channel.send_reaction("m1", {"type": kind, **fields}, user_id)


def heard(stream, event_type, call, *arguments, **options):
    """The next event of the type that Ann, who watches, hears of the call."""
    return heard_by(stream, "ann", event_type, call, *arguments, watches=True, **options)


def test_a_reaction_is_kept_and_counted(channel):
    response = react(channel, "like", colour="red")
    assert response.status_code() == 201
    reaction = response["reaction"]
    assert (reaction["type"], reaction["score"], reaction["colour"]) == ("like", 1, "red")
    assert (reaction["message_id"], reaction["user"]["id"]) == ("m1", "bea")
    react(channel, "like", "ann", score=3)
    react(channel, "wow", "ann")
    (message,) = channel.query()["messages"]
    assert message["reaction_counts"] == {"like": 2, "wow": 1}
    assert message["reaction_scores"] == {"like": 4, "wow": 1}
    group = message["reaction_groups"]["like"]
    assert (group["count"], group["sum_scores"]) == (2, 4)
    assert group["first_reaction_at"] == reaction["created_at"] < group["last_reaction_at"]
    latest = [(one["type"], one["user_id"]) for one in message["latest_reactions"]]
    assert latest == [("wow", "ann"), ("like", "ann"), ("like", "bea")]
    assert message["updated_at"] > message["created_at"]


def test_a_reader_sees_which_are_their_own(channel, stream):
    react(channel, "like")
    react(channel, "wow", "ann")
    for user_id, expected in (("bea", ["like"]), ("ann", ["wow"])):
        client = user_client(stream, user_id)
        (message,) = client.channel("messaging", "c1").query()["messages"]
        assert [one["type"] for one in message["own_reactions"]] == expected
    assert channel.query()["messages"][0]["own_reactions"] == []


def test_the_same_reaction_again_changes_it(channel):
    first = react(channel, "like")["reaction"]
    second = react(channel, "like", score=5)["reaction"]
    assert second["created_at"] == first["created_at"] < second["updated_at"]
    (message,) = channel.query()["messages"]
    assert (message["reaction_counts"], message["reaction_scores"]) == ({"like": 1}, {"like": 5})


def test_a_reaction_can_take_the_place_of_all_others(chat, channel, stream):
    react(channel, "like")
    react(channel, "wow")
    body = {"reaction": {"type": "sad", "user_id": "bea"}, "enforce_unique": True}
    event = heard(stream, "reaction.updated", chat.post, "messages/m1/reaction", data=body)
    assert event["message"]["reaction_counts"] == {"sad": 1}
    assert event["reaction"]["type"] == "sad"


def test_a_reaction_is_taken_back(channel, stream):
    react(channel, "like")
    event = heard(stream, "reaction.deleted", channel.delete_reaction, "m1", "like", "bea")
    assert (event["reaction"]["type"], event["user"]["id"]) == ("like", "bea")
    (message,) = channel.query()["messages"]
    assert (message["reaction_counts"], message["reaction_groups"]) == ({}, None)
    assert refusal(channel.delete_reaction, "m1", "like", "bea") == (404, 16)


def test_watchers_and_webhooks_hear_of_a_reaction(channel, stream, receiver):
    stream.webhook(receiver.url, ["reaction.new"])
    event = heard(stream, "reaction.new", react, channel, "like")
    assert (event["reaction"]["user_id"], event["message"]["id"]) == ("bea", "m1")
    assert event["message"]["reaction_counts"] == {"like": 1}
    assert event["message"]["own_reactions"] == []
    assert receiver.one("reaction.new")["reaction"]["type"] == "like"


def test_reactions_are_listed(channel):
    for kind in ("one", "two", "three"):
        react(channel, kind)
    listed = channel.get_reactions("m1")["reactions"]
    assert [one["type"] for one in listed] == ["three", "two", "one"]
    page = channel.get_reactions("m1", limit=1, offset=1)["reactions"]
    assert [one["type"] for one in page] == ["two"]
    assert refusal(channel.get_reactions, "m1", limit="x") == (400, 4)


def test_reactions_are_found(chat, channel):
    for kind, user_id in (("one", "ann"), ("two", "bea"), ("one", "bea")):
        react(channel, kind, user_id)

    def found(**body):
        answer = chat.post("messages/m1/reactions", data=body)
        shown = [(one["type"], one["user_id"]) for one in answer["reactions"]]
        return shown, answer.get("next")

    assert found(filter={"type": "one"}) == ([("one", "bea"), ("one", "ann")], None)
    oldest_first = [{"field": "created_at", "direction": 1}]
    first, cursor = found(sort=oldest_first, limit=2)
    assert first == [("one", "ann"), ("two", "bea")]
    assert found(sort=oldest_first, limit=2, next=cursor) == ([("one", "bea")], None)
    assert refusal(chat.post, "messages/m1/reactions", data={"next": "x"}) == (400, 4)


@pytest.mark.parametrize(
    ("reaction", "user_id", "expected"),
    [
        ({}, "bea", (400, 4)),
        ({"type": 1}, "bea", (400, 4)),
        ({"type": "like", "score": "2"}, "bea", (400, 4)),
        ({"type": "like", "created_at": "now"}, "bea", (400, 4)),
        ({"type": "like"}, "nobody", (400, 4)),
        ({"type": "like", "note": "x" * 5200}, "bea", (413, 22)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_reaction_is_refused(channel, reaction, user_id, expected):
    assert refusal(channel.send_reaction, "m1", reaction, user_id) == expected
    assert channel.query()["messages"][0]["reaction_counts"] == {}


def test_who_may_not_react_is_refused(channel, stream):
    def reaction_of(user_id):
        own = user_client(stream, user_id).channel("messaging", "c1")
        return refusal(own.send_reaction, "m1", {"type": "like"}, user_id)

    assert reaction_of("cid") == (403, 17)
    channel.ban_user("bea")
    assert reaction_of("bea") == (403, 17)
    channel.unban_user("bea")
    channel.update_partial({"frozen": True})
    assert reaction_of("bea") == (403, 17)
    channel.update_partial({"frozen": False, "config_overrides": {"reactions": False}})
    assert reaction_of("bea") == (400, 19)
    channel.update_partial(to_unset=["config_overrides.reactions"])
    assert refusal(channel.send_reaction, "x", {"type": "like"}, "bea") == (400, 4)


def test_a_deleted_message_shows_no_reactions(chat, channel):
    react(channel, "like")
    chat.delete_message("m1")
    assert channel.query()["messages"][0]["reaction_counts"] == {}
    assert refusal(react, channel, "like") == (400, 4)
    chat.undelete_message("m1", "ann")
    assert channel.query()["messages"][0]["reaction_counts"] == {"like": 1}
