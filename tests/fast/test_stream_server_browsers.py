from __future__ import annotations

import pytest
import requests

from stream_server.user_client import user_token

PAGE = {"Origin": "http://127.0.0.1:5173"}
PREFLIGHT = {
    **PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,stream-auth-type,x-stream-client",
}


def preflight(stream, path):
    return requests.options(f"{stream.url}{path}", headers=PREFLIGHT)


def test_a_page_of_another_origin_may_call(stream):
    answer = preflight(stream, "/channels/messaging/c1/query?api_key=local-key")
    assert answer.ok
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "stream-auth-type" in answer.headers["Access-Control-Allow-Headers"]


def test_a_page_reads_the_answer(stream, chat):
    chat.upsert_user({"id": "ann"})
    headers = {**PAGE, "stream-auth-type": "jwt", "Authorization": user_token(stream, "ann")}
    parameters = {"api_key": stream.key, "payload": '{"filter_conditions": {"id": "ann"}}'}
    answer = requests.get(f"{stream.url}/users", parameters, headers=headers)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "*")


def test_a_page_reads_a_refusal(stream):
    answer = requests.get(f"{stream.url}/users", headers=PAGE)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, "*")
    assert answer.json()["code"] == 2


def test_a_preflight_is_no_call(stream):
    since = stream.last_request()
    stream.fault("*", "reset", rate=1)
    assert preflight(stream, "/users").ok
    assert stream.requests(since) == []


def test_others_than_pages_are_answered_as_ever(stream):
    assert "Access-Control-Allow-Origin" not in requests.get(f"{stream.url}/users").headers
    answer = requests.options(f"{stream.url}/users")
    assert (answer.status_code, answer.json()["code"]) == (404, 16)


@pytest.mark.parametrize("path", ["/_control/reset", "/_control/state"])
def test_no_page_steers_the_server(stream, path):
    answer = preflight(stream, path)
    assert not answer.ok
    assert "Access-Control-Allow-Origin" not in answer.headers
