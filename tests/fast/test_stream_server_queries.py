from __future__ import annotations

import json

import pytest
import requests
from stream_chat.base.exceptions import StreamAPIException

from stream_server.queries import query_users
from stream_server.state import State
from stream_server.users import new_user

PEOPLE = [
    {"id": "ann", "name": "Ann Lee", "teams": ["a", "b"], "age": 30, "tags": ["x"], "vip": True},
    {"id": "bea", "name": "Bea Ray", "teams": ["b"], "age": 40, "email": "b@x", "role": "admin"},
    {"id": "cid", "name": "Cid", "age": 50, "plan": {"kind": "gold"}, "language": "en"},
]


@pytest.fixture
def people(chat):
    for person in PEOPLE:
        chat.upsert_user(person)
    return chat


def ids(chat, conditions, sort=None, **options):
    return [user["id"] for user in chat.query_users(conditions, sort, **options)["users"]]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"id": "ann"}, "ann"),
        ({"id": {"$ne": "ann"}}, "bea cid"),
        ({"id": {"$in": ["ann", "cid", "nobody"]}}, "ann cid"),
        ({"id": {"$nin": ["ann", "cid"]}}, "bea"),
        ({"id": {"$gt": "ann"}}, "bea cid"),
        ({"id": {"$gte": "ann", "$lt": "cid"}}, "ann bea"),
        ({"id": {"$autocomplete": "c"}}, "cid"),
        ({"name": {"$autocomplete": "ra"}}, "bea"),
        ({"role": "admin"}, "bea"),
        ({"role": {"$in": ["admin", "user"]}}, "ann bea cid"),
        ({"teams": {"$contains": "a"}}, "ann"),
        ({"teams": {"$in": ["a", "b"]}}, "ann bea"),
        ({"teams": {"$eq": ["b", "a"]}}, "ann"),
        ({"teams": {"$eq": ["a", None]}}, ""),
        ({"teams": None}, "cid"),
        ({"banned": False}, "ann bea cid"),
        ({"email": "b@x"}, "bea"),
        ({"language": "en"}, "cid"),
        ({"last_active": {"$exists": False}}, "ann bea cid"),
        ({"created_at": {"$gt": "2001-01-01T00:00:00+02:00"}}, "ann bea cid"),
        ({"created_at": {"$lt": "2001-01-01T00:00:00Z"}}, ""),
        ({"age": {"$gt": 30, "$lte": 50}}, "bea cid"),
        ({"age": {"$gt": "30"}}, ""),
        ({"age": {"$exists": True}, "name": "Cid"}, "cid"),
        ({"vip": True}, "ann"),
        ({"vip": 1}, ""),
        ({"tags": {"$contains": "x"}}, "ann"),
        ({"plan": {"kind": "gold"}}, "cid"),
        ({"$and": [{"teams": {"$contains": "b"}}, {"age": 40}]}, "bea"),
        ({"$or": [{"id": "ann"}, {"age": 50}]}, "ann cid"),
        ({"$nor": [{"id": "ann"}, {"age": 50}]}, "bea"),
        ({}, "ann bea cid"),
    ],
    ids=str,
)
def test_a_filter_finds(people, conditions, expected):
    assert ids(people, conditions, [{"field": "id", "direction": 1}]) == expected.split()


@pytest.mark.parametrize(
    ("conditions", "text"),
    [
        ({"devices": "x"}, "search is not enabled for field users.devices"),
        ({"id": {"$contains": "x"}}, r"operator \"$contains\" is not allowed for field \"id\""),
        ({"id": {"$q": "x"}}, "unsupported operator $q"),
        ({"$not": [{}]}, "unsupported operator $not"),
        ({"id": 1}, "field `id` contains type number. expecting string"),
        ({"name": {"$autocomplete": ""}}, "$autocomplete field is empty or contains invalid"),
        ({"teams": ""}, "teams"),
        ({"created_at": {"$gt": "yesterday"}}, "created_at"),
        ({"id": {"$in": "ann"}}, "$in must be an array"),
        ({"age": {"$exists": 1}}, "$exists must be true or false"),
        ({"$or": []}, "$or must be an array"),
    ],
    ids=str,
)
def test_a_bad_filter_is_refused(people, conditions, text):
    with pytest.raises(StreamAPIException) as caught:
        people.query_users(conditions)
    assert (caught.value.status_code, caught.value.error_code) == (400, 4)
    assert text in caught.value.error_message


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 101},
        {"limit": -1},
        {"limit": "9"},
        {"offset": 1001},
        {"presence": True},
        {"sort": [{"field": "id", "direction": 2}]},
        {"sort": [{"field": name, "direction": 1} for name in "abcdef"]},
    ],
    ids=str,
)
def test_a_bad_option_is_refused(people, options):
    with pytest.raises(StreamAPIException) as caught:
        people.query_users({}, **options)
    assert (caught.value.status_code, caught.value.error_code) == (400, 4)


def test_a_filter_nested_without_reason_is_refused(people):
    conditions = {"id": "ann"}
    for _ in range(250):  # the longest that a URL can carry here
        conditions = {"$and": [conditions]}
    with pytest.raises(StreamAPIException) as caught:
        people.query_users(conditions)
    assert (caught.value.status_code, caught.value.error_code) == (400, 4)


def test_a_filter_may_be_nested_deeper_than_anybody_needs(people):
    conditions = {"id": "ann"}
    for _ in range(40):
        conditions = {"$and": [conditions]}
    assert ids(people, conditions) == ["ann"]


def test_the_newest_come_first(people):
    assert ids(people, {}) == ["cid", "bea", "ann"]


def test_users_of_one_call_are_ordered_by_falling_id(chat):
    chat.upsert_users([{"id": "b"}, {"id": "c"}, {"id": "a"}])
    assert ids(chat, {}) == ["c", "b", "a"]


def test_sorting_by_several_fields(chat):
    chat.upsert_users([{"id": "a", "n": 1}, {"id": "b", "n": 2}, {"id": "c", "n": 1}, {"id": "d"}])
    sort = [{"field": "n", "direction": -1}, {"field": "id", "direction": 1}]
    assert ids(chat, {}, sort) == ["b", "a", "c", "d"]


def test_thirty_users_are_a_page_unless_told(chat):
    chat.upsert_users([{"id": f"u{n:02}"} for n in range(40)])
    assert len(ids(chat, {})) == 30


def test_offset_and_limit_make_pages(people):
    sort = [{"field": "id", "direction": 1}]
    assert ids(people, {}, sort, limit=1, offset=1) == ["bea"]


BY_ID = [{"field": "id", "direction": 1}]


def test_everybody_is_found_by_going_on_after_the_last_id(chat):
    everybody = [f"u{n:03}" for n in range(50)]
    chat.upsert_users([{"id": user_id} for user_id in reversed(everybody)])
    chat.delete_user("u007")
    chat.deactivate_user("u008")
    walked: list[str] = []
    while page := ids(chat, {"id": {"$gt": walked[-1]}} if walked else {}, BY_ID, limit=10):
        walked += page
    assert walked == [one for one in everybody if one not in ("u007", "u008")]
    assert ids(chat, {"id": {"$gt": "u010"}}, BY_ID, limit=2, offset=3) == ["u014", "u015"]


def test_going_on_after_an_id_looks_at_few_of_very_many():
    looked_at = []

    class User(dict):
        def get(self, field, default=None):
            looked_at.append(field)
            return super().get(field, default)

    users = {f"u{n:05}": User(new_user(f"u{n:05}", "")) for n in range(10_000)}
    state = State(limits={}, users=users)
    payload = {"filter_conditions": {"id": {"$gt": "u04999"}}, "sort": BY_ID, "limit": 100}
    answer = query_users(state, {"payload": json.dumps(payload)}, {})
    assert [user["id"] for user in answer["users"]] == [f"u{n:05}" for n in range(5_000, 5_100)]
    assert len(looked_at) <= 200


def test_the_old_id_bounds_are_understood(people):
    assert sorted(ids(people, {}, id_gt="ann", id_lte="cid")) == ["bea", "cid"]


def test_deactivated_users_are_hidden_unless_asked_for(people):
    people.deactivate_user("bea")
    assert ids(people, {"id": "bea"}) == []
    assert ids(people, {"id": "bea"}, include_deactivated_users=True) == ["bea"]


def test_deleted_users_are_never_found(people):
    people.delete_user("bea")
    assert ids(people, {"id": "bea"}, include_deactivated_users=True) == []


def test_a_query_without_payload_is_refused(chat, stream):
    response = requests.get(
        f"{stream.url}/users",
        params={"api_key": stream.key},
        headers={"Authorization": chat.auth_token, "stream-auth-type": "jwt"},
        timeout=5,
    )
    assert response.status_code == 400
    assert response.json()["message"] == 'QueryUsers failed with error: "invalid json data"'
