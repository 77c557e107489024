from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from stream_chat.base.exceptions import StreamAPIException

from stream_server import moderation, timestamps
from stream_server.state import State
from stream_server.user_client import user_client
from stream_server.user_shapes import new_user
from tests.fast.refusals import refusal as refused
from tests.waiting import wait_for


def flags(chat, user_id):
    (user,) = chat.query_users({"id": user_id})["users"]
    return user["banned"], user["shadow_banned"]


@pytest.fixture
def ann(chat):
    chat.upsert_user({"id": "ann"})
    return chat


def test_a_ban_shows_in_the_user(ann):
    assert ann.ban_user("ann", banned_by_id="moderator", reason="spam").status_code() == 201
    assert flags(ann, "ann") == (True, False)


def test_a_ban_can_be_taken_back(ann):
    ann.ban_user("ann")
    assert ann.unban_user("ann").status_code() == 200
    assert flags(ann, "ann") == (False, False)


def test_a_shadow_ban_is_a_flag_of_its_own(ann):
    ann.ban_user("ann")
    ann.shadow_ban("ann")
    assert flags(ann, "ann") == (True, True)
    ann.remove_shadow_ban("ann")
    assert flags(ann, "ann") == (True, False)


def test_taking_back_a_ban_takes_back_a_shadow_ban_too(ann):
    ann.ban_user("ann")
    ann.shadow_ban("ann")
    ann.unban_user("ann")
    assert flags(ann, "ann") == (False, False)


def test_a_ban_from_a_channel_shows_in_the_member_only(ann):
    ann.upsert_user({"id": "bea"})
    channel = ann.channel("messaging", "general", {"members": ["ann"]})
    channel.create("ann")

    def is_banned():
        [member] = channel.query_members({"id": "ann"})
        return member["banned"]

    channel.ban_user("ann")
    assert (is_banned(), flags(ann, "ann")) == (True, (False, False))
    channel.unban_user("ann")
    assert not is_banned()
    with pytest.raises(StreamAPIException, match="only bans members"):
        channel.ban_user("bea")


def test_a_ban_survives_an_upsert(ann):
    ann.ban_user("ann")
    ann.upsert_user({"id": "ann", "name": "Ann"})
    assert flags(ann, "ann") == (True, False)


def test_a_ban_is_in_the_request_log_with_its_user(ann, stream):
    since = stream.last_request()
    ann.ban_user("ann")
    ann.unban_user("ann")
    log = [(entry["operation"], entry["ids"]) for entry in stream.requests(since)]
    assert log == [("Ban", ["ann"]), ("Unban", ["ann"])]


@pytest.mark.parametrize(
    ("user_id", "options", "refusal"),
    [
        ("nobody", {}, (404, 16)),
        ("", {}, (400, 4)),
        ("ann", {"type": "messaging", "id": "general"}, (404, 16)),
        ("ann", {"type": "messaging"}, (400, 4)),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", ["ban_user", "unban_user"])
def test_a_ban_that_cannot_be_is_refused(ann, call, user_id, options, refusal):
    with pytest.raises(StreamAPIException) as caught:
        getattr(ann, call)(user_id, **options)
    assert (caught.value.status_code, caught.value.error_code) == refusal


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": -1},
        {"timeout": "1"},
        {"ip_ban": True},
        {"delete_messages": "soft"},
        {"ban_from_future_channels": True},
    ],
    ids=str,
)
def test_a_ban_in_a_way_that_is_not_known_is_refused(ann, options):
    assert refused(ann.ban_user, "ann", **options) == (400, 4)


def test_a_ban_for_a_time_says_when_it_ends(ann, stream, receiver):
    stream.webhook(receiver.url, ["user.banned"])
    ann.ban_user("ann", timeout=60)
    (user,) = ann.query_users({"id": "ann"})["users"]
    assert user["banned"]
    ends_in = datetime.fromisoformat(user["ban_expires"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < ends_in <= timedelta(minutes=60)
    assert receiver.one("user.banned")["expiration"] == user["ban_expires"]
    ann.ban_user("ann")
    assert "ban_expires" not in ann.query_users({"id": "ann"})["users"][0]


def test_a_ban_for_a_time_ends_by_itself():
    state = State(limits={}, users={"ann": new_user("ann", "2026-01-01T00:00:00.000000Z")})
    ann = state.users["ann"]
    moderation.ban(state, {}, {"target_user_id": "ann", "shadow": True})
    moderation.ban(state, {}, {"target_user_id": "ann", "timeout": 1})
    moderation.lift_ended_bans(state, timestamps.now())
    assert (ann["banned"], ann["shadow_banned"]) == (True, True)
    moderation.lift_ended_bans(state, timestamps.text(datetime.now(UTC) + timedelta(minutes=2)))
    assert (ann["banned"], ann["shadow_banned"], "ban_expires" in ann) == (False, True, False)


@pytest.fixture
def channel(ann):
    ann.upsert_users([{"id": "bea"}, {"id": "root", "role": "admin"}])
    channel = ann.channel("messaging", "general", {"members": ["ann", "bea"]})
    channel.create("bea")
    return channel


@pytest.fixture
def of(stream, channel):
    """The channel as a user's client has it."""
    return lambda user_id: user_client(stream, user_id).channel("messaging", "general")


@pytest.mark.parametrize("where", ["app", "channel"])
def test_a_banned_users_client_sends_nothing_but_reads(ann, channel, of, where):
    (ann if where == "app" else channel).ban_user("ann")
    with pytest.raises(StreamAPIException, match="Your account is currently suspended") as caught:
        of("ann").send_message({"text": "hi"}, "ann")
    assert (caught.value.status_code, caught.value.error_code) == (403, 17)
    assert of("ann").query().is_ok()
    assert channel.send_message({"text": "for them"}, "ann").is_ok()
    (ann if where == "app" else channel).unban_user("ann")
    assert of("ann").send_message({"text": "hi"}, "ann").is_ok()


def test_the_messages_of_a_shadow_ban_are_marked_for_all_but_their_sender(ann, channel, of):
    ann.shadow_ban("ann")
    assert of("ann").send_message({"text": "hi"}, "ann")["message"]["shadowed"] is False
    assert of("ann").query()["messages"][0]["shadowed"] is False
    state = of("bea").query()
    assert state["messages"][0]["shadowed"] is True
    assert {one["unread_messages"] for one in state["read"]} == {0}


def test_a_frozen_channel_takes_no_messages(channel, of):
    channel.update_partial({"frozen": True})
    assert of("ann").send_message({"text": "hi"}, "ann")["message"]["type"] == "error"
    assert channel.query()["messages"] == []
    assert channel.send_message({"text": "from a server"}, "ann")["message"]["type"] == "regular"
    channel.update_partial({"frozen": False})
    assert of("ann").send_message({"text": "hi"}, "ann")["message"]["type"] == "regular"


def test_a_disabled_channel_is_closed_to_clients(ann, channel, of, stream):
    channel.update_partial({"disabled": True})
    for user_id in ("ann", "root"):
        assert refused(of(user_id).query) == (403, 17)
        assert refused(of(user_id).send_message, {"text": "hi"}, user_id) == (403, 17)
        assert refused(of(user_id).update_partial, {"disabled": False}) == (403, 17)
    found = user_client(stream, "ann").query_channels({"members": {"$in": ["ann"]}})
    assert found["channels"][0]["channel"]["disabled"] is True
    assert channel.query().is_ok()


def test_slow_mode_makes_members_wait(channel, of):
    channel.update({"name": "slow"})
    channel.update_partial({"cooldown": 60})
    assert of("ann").send_message({"text": "one"}, "ann").is_ok()
    with pytest.raises(StreamAPIException, match=r"under cool down period\(60s\)") as caught:
        of("ann").send_message({"text": "two"}, "ann")
    assert (caught.value.status_code, caught.value.error_code) == (403, 60)
    assert of("bea").send_message({"text": "three"}, "bea").is_ok()
    for _ in range(2):
        assert of("root").send_message({"text": "an admin"}, "root").is_ok()
        assert channel.send_message({"text": "a server"}, "ann").is_ok()
    channel.update_partial({"cooldown": 1})
    wait_for(lambda: not is_refused(of("ann").send_message, {"text": "later"}, "ann"), seconds=30)


@pytest.mark.parametrize("cooldown", [-1, 121, "1", True])
def test_a_bad_cooldown_is_refused(channel, cooldown):
    assert refused(channel.update_partial, {"cooldown": cooldown}) == (400, 4)


def is_refused(call, *arguments):
    try:
        call(*arguments)
    except StreamAPIException:
        return True
    return False
