"""The Stream client: every failure becomes one of the project's exceptions."""

import pytest

from chatsync.errors import (
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
)
from chatsync.stream import Stream


@pytest.fixture
def client(stream) -> Stream:
    return Stream(stream.key, stream.secret, stream.url)


def test_users_are_found_by_id(client):
    client.upsert_users([{"id": "ann", "name": "Ann"}, {"id": "bob"}])
    found = client.query_users(["ann", "bob", "nobody"])
    assert sorted(found) == ["ann", "bob"]
    assert found["ann"]["name"] == "Ann"


def test_a_long_id_list_is_asked_in_parts_that_fit_a_url(client, stream):
    ids = ["@63" * 80 + f"{n:03}" for n in range(100)]
    client.upsert_users([{"id": stream_id} for stream_id in ids])
    since = stream.last_request()
    assert len(client.query_users(ids)) == 100
    queries = stream.requests(since)
    assert len(queries) > 1
    assert all(len(str(query["path"])) < 8_000 for query in queries)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "status", "status": 500}, StreamUnavailable),
        ({"kind": "status", "status": 503, "body": "html"}, StreamUnavailable),
        ({"kind": "status", "status": 502, "body": "empty"}, StreamUnavailable),
        ({"kind": "status", "status": 504, "body": "list"}, StreamUnavailable),
        ({"kind": "status", "status": 200, "body": "html"}, StreamUnavailable),
        ({"kind": "status", "status": 408, "code": 23}, StreamUnavailable),
        ({"kind": "status", "status": 429}, StreamRateLimited),
        ({"kind": "status", "status": 429, "body": "html"}, StreamRateLimited),
        ({"kind": "status", "status": 400, "code": 4}, StreamRejected),
        ({"kind": "status", "status": 404, "code": 16}, StreamRejected),
        ({"kind": "status", "status": 413, "body": "html"}, StreamRejected),
        ({"kind": "status", "status": 401, "code": 5}, StreamCredentialsRejected),
        ({"kind": "reset"}, StreamUnavailable),
    ],
    ids=str,
)
def test_every_failure_becomes_one_of_ours(client, stream, fault, expected):
    stream.fault("UpdateUsers", times=1, **fault)
    with pytest.raises(expected):
        client.upsert_users([{"id": "ann"}])


def test_a_failed_call_is_made_once_and_not_repeated_behind_our_back(client, stream):
    stream.fault("QueryUsers", "reset", times=1)
    with pytest.raises(StreamUnavailable):
        client.query_users(["ann"])
    assert len(stream.requests()) == 1


def test_nobody_answering_is_unavailable():
    client = Stream("local-key", "local-secret", "http://127.0.0.1:1")
    with pytest.raises(StreamUnavailable):
        client.query_users(["ann"])


def test_deleting_who_is_gone_already_is_no_error(client):
    client.upsert_users([{"id": "ann"}])
    client.delete_users(["ann"])
    client.delete_users(["ann", "nobody"])
    assert client.query_users(["ann"]) == {}


def test_the_secret_never_shows_in_an_error(stream):
    client = Stream("local-key", "s3cr3t-s3cr3t", stream.url)
    with pytest.raises(StreamCredentialsRejected) as refusal:
        client.query_users(["ann"])
    assert "s3cr3t" not in str(refusal.value)
