"""The Stream client: every failure becomes one of the project's exceptions, in time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from chatsync.clients.stream import Stream
from chatsync.errors import (
    Postponed,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
)


@pytest.fixture
def client(stream) -> Stream:
    return Stream(stream.key, stream.secret, stream.url)


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def test_users_are_found_by_id(client):
    client.upsert_users([{"id": "ann", "name": "Ann"}, {"id": "bob"}], soon())
    found = client.query_users(["ann", "bob", "nobody"], soon())
    assert sorted(found) == ["ann", "bob"]
    assert found["ann"]["name"] == "Ann"


def test_a_long_id_list_is_asked_in_parts_that_fit_a_url(client, stream):
    ids = ["@63" * 80 + f"{n:03}" for n in range(100)]
    client.upsert_users([{"id": stream_id} for stream_id in ids], soon())
    since = stream.last_request()
    # The server refuses request lines over 8 KB.
    assert len(client.query_users(ids, soon())) == 100
    assert len(stream.requests(since)) > 1


FAILURES = [
    ({"kind": "status", "status": 500}, StreamUnavailable),
    ({"kind": "status", "status": 503, "body": "html"}, StreamUnavailable),
    ({"kind": "status", "status": 502, "body": "empty"}, StreamUnavailable),
    ({"kind": "status", "status": 504, "body": "list"}, StreamUnavailable),
    ({"kind": "status", "status": 200, "body": "html"}, StreamUnavailable),
    ({"kind": "status", "status": 200, "body": "list"}, StreamUnavailable),
    ({"kind": "status", "status": 200, "body": "empty"}, StreamUnavailable),
    ({"kind": "status", "status": 408, "code": 23}, StreamUnavailable),
    ({"kind": "status", "status": 429}, StreamRateLimited),
    ({"kind": "status", "status": 429, "body": "html"}, StreamRateLimited),
    ({"kind": "status", "status": 429, "body": "list"}, StreamRateLimited),
    ({"kind": "status", "status": 400, "code": 4}, StreamRejected),
    ({"kind": "status", "status": 404, "code": 16}, StreamRejected),
    ({"kind": "status", "status": 413, "body": "html"}, StreamRejected),
    ({"kind": "status", "status": 413, "code": 22}, StreamRejected),
    ({"kind": "status", "status": 302, "body": "html"}, StreamUnavailable),
    ({"kind": "status", "status": 400, "body": "html"}, StreamUnavailable),
    ({"kind": "status", "status": 401, "body": "html"}, StreamUnavailable),
    ({"kind": "status", "status": 404, "body": "list"}, StreamUnavailable),
    ({"kind": "status", "status": 408, "body": "empty"}, StreamUnavailable),
    ({"kind": "status", "status": 401, "code": 5}, StreamCredentialsRejected),
    ({"kind": "status", "status": 403, "code": 99}, StreamCredentialsRejected),
    ({"kind": "reset"}, StreamUnavailable),
]


@pytest.mark.parametrize(("fault", "expected"), FAILURES, ids=str)
def test_every_failure_of_a_write_becomes_one_of_ours(client, stream, fault, expected):
    stream.fault("UpdateUsers", rate=1, **fault)
    with pytest.raises(expected):
        client.upsert_users([{"id": "ann"}], soon())


@pytest.mark.parametrize(("fault", "expected"), FAILURES, ids=str)
def test_every_lasting_failure_of_a_read_becomes_one_of_ours(client, stream, fault, expected):
    stream.fault("QueryUsers", rate=1, **fault)
    with pytest.raises(expected):
        client.query_users(["ann"], soon())


def test_a_read_that_fails_is_repeated(client, stream):
    stream.fault("QueryUsers", "reset", times=2)
    assert client.query_users(["ann"], soon()) == {}
    assert len(stream.requests()) == 3


@pytest.mark.parametrize("operation", ["UpdateUsers", "UpdateUsersPartial", "RestoreUsers"])
def test_a_write_that_fails_is_never_repeated_behind_our_back(client, stream, operation):
    stream.fault("*", "reset", times=1)
    send = {
        "UpdateUsers": lambda: client.upsert_users([{"id": "ann"}], soon()),
        "UpdateUsersPartial": lambda: client.update_users_partial([{"id": "ann"}], soon()),
        "RestoreUsers": lambda: client.restore_users(["ann"], soon()),
    }[operation]
    with pytest.raises(StreamUnavailable):
        send()
    assert stream.operations() == [operation]


def test_a_rate_limit_is_not_argued_with(client, stream):
    stream.limit("QueryUsers", 0)
    with pytest.raises(StreamRateLimited):
        client.query_users(["ann"], soon())
    assert len(stream.requests()) == 1


def test_a_rate_limit_says_when_its_window_ends(client, stream):
    stream.limit("UpdateUsers", 0, window_s=30)
    with pytest.raises(StreamRateLimited) as refusal:
        client.upsert_users([{"id": "ann"}], soon())
    assert 29 <= refusal.value.retry_after <= 31


def test_silence_ends_at_the_deadline(client, stream):
    stream.fault("QueryUsers", "timeout", times=1)
    began = time.monotonic()
    with pytest.raises(StreamUnavailable):
        client.query_users(["ann"], soon(0.5))
    assert time.monotonic() - began < 4
    assert len(stream.requests()) == 1


@pytest.mark.parametrize("body", ["{}", '{"duration": "1ms"}', '{"duration": 1, "users": null}'])
def test_an_answer_without_users_is_no_answer(client, monkeypatch, body):
    response = requests.Response()
    response.status_code, response._content = 200, body.encode()
    answer_all(client, monkeypatch, response)
    with pytest.raises(StreamUnavailable):
        client.query_users(["ann"], soon())


def client_answered(client, monkeypatch, status: int, headers: dict[str, str]) -> Stream:
    """``client``, for which somebody in front of Stream answers."""
    response = requests.Response()
    response.status_code, response._content = status, b"slow down"
    response.headers.update(headers)

    answer_all(client, monkeypatch, response)
    return client


def answer_all(client, monkeypatch, response: requests.Response) -> None:
    with client._calls.client() as chat:
        session = chat.session

    def answer(*args, **options):
        for hook in session.hooks["response"]:
            hook(response)
        return response

    answer.__name__ = "get"
    monkeypatch.setattr(session, "get", answer)


def test_a_retry_after_is_heeded_where_nothing_is_said_of_a_window(client, monkeypatch):
    answered = client_answered(client, monkeypatch, 429, {"Retry-After": "7"})
    with pytest.raises(StreamRateLimited) as refusal:
        answered.query_users(["ann"], soon())
    assert refusal.value.retry_after == 7


@pytest.mark.parametrize(
    ("reset", "expected"),
    [("in 30 s", (29, 31)), ("in the past", (1, 1)), ("in milliseconds", (120, 120))],
)
def test_the_wait_after_a_rate_limit_is_sensible(client, monkeypatch, reset, expected):
    now = int(time.time())
    resets = {"in 30 s": now + 30, "in the past": now - 30, "in milliseconds": now * 1000}
    headers = {
        "x-ratelimit-limit": "300, 300",
        "x-ratelimit-remaining": "0, 0",
        "x-ratelimit-reset": f"{resets[reset]}, {resets[reset]}",
    }
    with pytest.raises(StreamRateLimited) as refusal:
        client_answered(client, monkeypatch, 429, headers).query_users(["ann"], soon())
    assert expected[0] <= refusal.value.retry_after <= expected[1]


def test_nothing_is_sent_after_the_deadline(client, stream):
    with pytest.raises(Postponed):
        client.upsert_users([{"id": "ann"}], time.monotonic())
    assert stream.requests() == []


def test_nobody_answering_is_unavailable():
    client = Stream("local-key", "local-secret", "http://127.0.0.1:1")
    with pytest.raises(StreamUnavailable):
        client.query_users(["ann"], soon())


def test_what_stream_quotes_of_a_user_stays_out_of_the_error(client, stream):
    stream.switch(enforce_unique_usernames="app")
    client.upsert_users([{"id": "ann", "name": "Zoe Private"}], soon())
    with pytest.raises(StreamRejected, match="already exists") as refusal:
        client.upsert_users([{"id": "bob", "name": "Zoe Private"}], soon())
    assert "Zoe Private" not in str(refusal.value)
    with pytest.raises(StreamRejected, match="provided but not defined") as refusal:
        client.upsert_users([{"id": "bob", "role": "zoe@example.com"}], soon())
    assert "zoe@example.com" not in str(refusal.value)


def test_deleting_who_is_gone_already_is_no_error(client):
    client.upsert_users([{"id": "ann"}], soon())
    for policy in ("soft", "soft", "hard", "deactivate"):
        client.remove_user("ann", policy, soon())
    client.remove_user("nobody", "soft", soon())
    assert client.query_users(["ann"], soon()) == {}


def test_a_deletion_that_stream_refuses_is_not_taken_for_done(client, stream):
    client.upsert_users([{"id": "ann"}], soon())
    stream.fault("DeleteUser", "status", status=400, code=4, times=2)
    with pytest.raises(StreamRejected):
        client.remove_user("ann", "soft", soon())


def test_calls_at_once_never_share_a_connection(client):
    meet = threading.Barrier(4, timeout=10)

    def client_of_a_call(_: int) -> int:
        with client._calls.client() as chat:
            meet.wait()
            return id(chat)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(client_of_a_call, range(4)))) == 4


def test_one_call_after_another_uses_one_connection_from_any_thread(client):
    def client_of_a_call() -> int:
        client.query_users(["ann"], soon())
        with client._calls.client() as chat:
            return id(chat)

    used = set()
    for _ in range(4):
        with ThreadPoolExecutor(1) as pool:
            used.add(pool.submit(client_of_a_call).result())
    assert len(used) == 1


def test_calls_go_through_the_proxy_of_the_environment(stream, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(StreamUnavailable, match="ProxyError"):
        Stream("local-key", "local-secret", "http://stream.example").query_users(["ann"], soon(1))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert Stream("local-key", "local-secret", stream.url).query_users(["ann"], soon()) == {}


def test_the_secret_never_shows_in_an_error(stream):
    client = Stream("local-key", "s3cr3t-s3cr3t", stream.url)
    with pytest.raises(StreamCredentialsRejected) as refusal:
        client.query_users(["ann"], soon())
    assert "s3cr3t" not in str(refusal.value)
