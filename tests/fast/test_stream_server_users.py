from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from stream_chat.base.exceptions import StreamAPIException

from tests.fast.refusals import refusal


def stored(chat, user_id):
    return chat.query_users({"id": user_id})["users"][0]


def test_an_upsert_creates_a_user(chat):
    response = chat.upsert_user({"id": "u1", "name": "Ann", "plan": "gold"})
    assert response.status_code() == 201
    assert re.fullmatch(r"\d+\.\d\dms", response["duration"])
    user = response["users"]["u1"]
    assert (user["name"], user["plan"], user["role"], user["teams"]) == ("Ann", "gold", "user", [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", user["created_at"])
    assert response["membership_deletion_task_id"] == ""


def test_an_upsert_replaces_what_it_leaves_out(chat):
    chat.upsert_user({"id": "u1", "name": "Ann", "plan": "gold", "role": "admin", "teams": ["a"]})
    chat.upsert_user({"id": "u1", "image": "x"})
    user = stored(chat, "u1")
    assert "name" not in user
    assert "plan" not in user
    assert (user["image"], user["role"], user["teams"]) == ("x", "user", [])


def test_an_upsert_keeps_the_time_of_creation(chat):
    before = chat.upsert_user({"id": "u1"})["users"]["u1"]
    after = chat.upsert_user({"id": "u1"})["users"]["u1"]
    assert after["created_at"] == before["created_at"]
    assert after["updated_at"] > before["updated_at"]


def test_by_switch_an_upsert_keeps_role_and_teams(chat, stream):
    stream.switch(upsert_resets_omitted=False)
    chat.upsert_user({"id": "u1", "role": "admin", "teams": ["a"], "plan": "gold"})
    chat.upsert_user({"id": "u1"})
    user = stored(chat, "u1")
    assert (user["role"], user["teams"]) == ("admin", ["a"])
    assert "plan" not in user


def test_one_bad_user_fails_the_whole_batch(chat):
    users = [{"id": "good"}, {"id": "bad", "role": "king"}]
    assert refusal(chat.upsert_users, users) == (400, 4)
    assert chat.query_users({})["users"] == []


def test_a_hundred_users_fit_in_one_call(chat):
    chat.upsert_users([{"id": f"u{n}"} for n in range(100)])
    assert len(chat.query_users({}, limit=100)["users"]) == 100


def test_more_than_a_hundred_users_are_refused(chat):
    assert refusal(chat.upsert_users, [{"id": f"u{n}"} for n in range(101)]) == (400, 4)


def test_no_users_are_refused(chat):
    assert refusal(chat.upsert_users, []) == (400, 4)


@pytest.mark.parametrize("user_id", ["A-z_0@9", "x" * 255])
def test_a_good_id_is_accepted(chat, user_id):
    assert user_id in chat.upsert_user({"id": user_id})["users"]


@pytest.mark.parametrize("user_id", ["", "a b", "a.b", "a|b", "a:b", "a/b", "a+b", "é", "x" * 256])
def test_a_bad_id_is_refused(chat, user_id):
    assert refusal(chat.upsert_user, {"id": user_id}) == (400, 4)


def test_reserved_fields_are_named(chat):
    with pytest.raises(StreamAPIException) as caught:
        chat.upsert_user({"id": "u1", "online": True, "banned": False})
    assert caught.value.error_code == 4
    assert caught.value.error_message == (
        'UpdateUsers failed with error: "users[u1].online is a reserved field, '
        'users[u1].banned is a reserved field"'
    )
    assert json.loads(caught.value.response_text)["exception_fields"] == {
        "users[u1].online": "users[u1].online is a reserved field",
        "users[u1].banned": "users[u1].banned is a reserved field",
    }


def test_an_echoed_time_of_creation_is_ignored(chat):
    user = chat.upsert_user({"id": "u1", "created_at": "2001-01-01T00:00:00Z"})["users"]["u1"]
    assert not user["created_at"].startswith("2001")


def test_an_unknown_role_is_named(chat):
    with pytest.raises(StreamAPIException, match=re.escape(r"role \"king\" provided but not")):
        chat.upsert_user({"id": "u1", "role": "king"})


@pytest.mark.parametrize(
    "fields", [{"name": 1}, {"teams": "a"}, {"teams": [1]}, {"invisible": "no"}]
)
def test_a_field_of_the_wrong_type_is_refused(chat, fields):
    assert refusal(chat.upsert_user, {"id": "u1", **fields}) == (400, 4)


def test_250_teams_of_100_bytes_are_accepted(chat):
    teams = [f"{n:0100d}" for n in range(250)]
    assert chat.upsert_user({"id": "u1", "teams": teams})["users"]["u1"]["teams"] == teams


@pytest.mark.parametrize("teams", [[str(n) for n in range(251)], ["é" * 51], [""]])
def test_too_many_or_too_long_teams_are_refused(chat, teams):
    assert refusal(chat.upsert_user, {"id": "u1", "teams": teams}) == (400, 4)


def test_more_than_5_kb_of_custom_data_is_refused(chat):
    with pytest.raises(StreamAPIException, match="user custom data cannot be bigger than 5KB"):
        chat.upsert_user({"id": "u1", "bio": "x" * 5200})
    assert refusal(chat.upsert_user, {"id": "u1", "bio": "x" * 5200}) == (413, 22)


def test_nearly_5_kb_of_custom_data_is_accepted(chat):
    assert chat.upsert_user({"id": "u1", "bio": "x" * 5000}).status_code() == 201


def test_names_may_repeat(chat):
    chat.upsert_users([{"id": "u1", "name": "Ann"}, {"id": "u2", "name": "Ann"}])
    assert len(chat.query_users({"name": "Ann"})["users"]) == 2


def test_by_switch_a_name_is_unique_in_the_app(chat, stream):
    stream.switch(enforce_unique_usernames="app")
    chat.upsert_user({"id": "u1", "name": "Ann"})
    with pytest.raises(StreamAPIException, match="username 'Ann' already exists"):
        chat.upsert_user({"id": "u2", "name": "Ann"})
    assert refusal(chat.upsert_user, {"id": "u2", "name": "Ann"}) == (400, 6)


def test_by_switch_a_name_is_unique_in_a_team(chat, stream):
    stream.switch(enforce_unique_usernames="team")
    chat.upsert_user({"id": "u1", "name": "Ann", "teams": ["a", "b"]})
    chat.upsert_user({"id": "u2", "name": "Ann", "teams": ["c"]})
    with pytest.raises(StreamAPIException, match="already exists in team 'b'"):
        chat.upsert_user({"id": "u3", "name": "Ann", "teams": ["b"]})


def test_a_partial_update_keeps_the_rest(chat):
    chat.upsert_user({"id": "u1", "name": "Ann", "plan": "gold", "role": "admin"})
    response = chat.update_user_partial({"id": "u1", "set": {"name": "Bea"}, "unset": ["plan"]})
    assert response.status_code() == 200
    user = response["users"]["u1"]
    assert (user["name"], user["role"]) == ("Bea", "admin")
    assert "plan" not in user


def test_a_partial_update_reaches_nested_fields(chat):
    chat.upsert_user({"id": "u1", "address": {"city": "Oslo"}})
    chat.update_user_partial({"id": "u1", "set": {"address.zip": 7}, "unset": ["address.city"]})
    assert stored(chat, "u1")["address"] == {"zip": 7}


def test_unsetting_the_last_nested_field_leaves_an_empty_object(chat):
    chat.upsert_user({"id": "u1", "address": {"city": "Oslo"}})
    chat.update_user_partial({"id": "u1", "unset": ["address.city"]})
    assert stored(chat, "u1")["address"] == {}


@pytest.mark.parametrize("path", ["a..b", ".a", "a.", "a b", "", "name.first", "online", "id"])
def test_a_partial_update_refuses_a_bad_path(chat, path):
    chat.upsert_user({"id": "u1", "name": "Ann"})
    assert refusal(chat.update_user_partial, {"id": "u1", "set": {path: 1}}) == (400, 4)


def test_a_partial_update_of_an_unknown_user_is_refused(chat):
    assert refusal(chat.update_user_partial, {"id": "u1", "set": {"name": "Ann"}}) == (404, 16)


def test_by_switch_an_unknown_user_is_bad_input(chat, stream):
    stream.switch(unknown_user_refusal="bad_input")
    assert refusal(chat.update_user_partial, {"id": "u1", "set": {"name": "Ann"}}) == (400, 4)


def test_one_bad_change_fails_the_whole_partial_update(chat):
    chat.upsert_user({"id": "u1", "name": "Ann"})
    changes = [{"id": "u1", "set": {"name": "Bea"}}, {"id": "u2", "set": {"name": "Cid"}}]
    assert refusal(chat.update_users_partial, changes) == (404, 16)
    assert stored(chat, "u1")["name"] == "Ann"


def test_a_partial_update_refuses_an_unknown_role(chat):
    chat.upsert_user({"id": "u1"})
    assert refusal(chat.update_user_partial, {"id": "u1", "set": {"role": "king"}}) == (400, 4)


def test_tokens_of_a_user_are_revoked_and_revocation_undone(chat):
    chat.upsert_user({"id": "u1"})
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    user = chat.revoke_user_token("u1", moment)["users"]["u1"]
    assert user["revoke_tokens_issued_before"] == "2026-01-02T03:04:05.000000Z"
    user = chat.revoke_user_token("u1", None)["users"]["u1"]
    assert "revoke_tokens_issued_before" not in user


def test_an_upsert_keeps_the_revocation(chat):
    chat.upsert_user({"id": "u1"})
    chat.revoke_user_token("u1", datetime.now(UTC))
    assert "revoke_tokens_issued_before" in chat.upsert_user({"id": "u1"})["users"]["u1"]


def test_a_revocation_time_without_zone_is_refused(chat):
    chat.upsert_user({"id": "u1"})
    assert refusal(chat.revoke_user_token, "u1", "2026-01-02T03:04:05") == (400, 4)
