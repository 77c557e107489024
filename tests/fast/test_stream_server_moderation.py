from __future__ import annotations

import pytest
from stream_chat.base.exceptions import StreamAPIException


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
        ("ann", {"timeout": 60}, (400, 4)),
    ],
    ids=str,
)
@pytest.mark.parametrize("call", ["ban_user", "unban_user"])
def test_a_ban_that_cannot_be_is_refused(ann, call, user_id, options, refusal):
    with pytest.raises(StreamAPIException) as caught:
        getattr(ann, call)(user_id, **options)
    assert (caught.value.status_code, caught.value.error_code) == refusal
