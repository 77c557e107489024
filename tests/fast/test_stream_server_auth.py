from __future__ import annotations

import time
from datetime import UTC, datetime

import jwt
import pytest
import requests
from stream_chat import StreamChat
from stream_chat.base.exceptions import StreamAPIException

MINUTE = 60


def call(stream, claims=None, *, token=None, secret=None, **changes):
    """GET /app with a server token, or with what the test changes about the call."""
    if token is None:
        token = jwt.encode(claims or {"server": True}, secret or stream.secret)
    headers = {"Authorization": token, "stream-auth-type": "jwt"} | changes.get("headers", {})
    return requests.get(
        f"{stream.url}/{changes.get('path', 'app')}",
        params=changes.get("params", {"api_key": stream.key}),
        headers={name: value for name, value in headers.items() if value is not None},
        timeout=5,
    )


def outcome(response):
    return response.status_code, response.json()["code"]


def test_a_server_token_is_accepted(stream):
    assert call(stream).status_code == 200


def test_a_call_without_key_is_refused(stream):
    response = call(stream, params={})
    assert outcome(response) == (401, 2)
    expected = 'GetApp failed with error: "api_key or app_id not provided"'
    assert response.json()["message"] == expected


def test_an_unknown_key_is_refused(stream):
    response = call(stream, params={"api_key": "other"})
    assert outcome(response) == (401, 2)
    assert "api_key not valid" in response.json()["message"]


def test_a_missing_auth_type_is_refused(stream):
    response = call(stream, headers={"stream-auth-type": None})
    assert outcome(response) == (401, 5)
    assert "stream-auth-type missing or invalid" in response.json()["message"]


def test_a_missing_token_is_refused(stream):
    assert outcome(call(stream, headers={"Authorization": None})) == (401, 5)


def test_a_malformed_token_is_refused(stream):
    response = call(stream, token="abc")
    assert outcome(response) == (401, 5)
    assert "token contains an invalid number of segments" in response.json()["message"]


def test_a_token_that_is_not_json_is_refused(stream):
    assert outcome(call(stream, token="a.b.c")) == (401, 5)


def test_a_token_of_another_secret_is_refused(stream):
    response = call(stream, secret="other")
    assert outcome(response) == (401, 5)
    assert "Token signature is invalid" in response.json()["message"]


def test_an_unsigned_token_is_refused(stream):
    token = jwt.encode({"server": True}, None, algorithm="none")
    assert outcome(call(stream, token=token)) == (401, 5)


@pytest.mark.parametrize(
    ("claim", "offset", "code"), [("exp", -MINUTE, 40), ("nbf", MINUTE, 41), ("iat", MINUTE, 42)]
)
def test_a_token_outside_its_time_is_refused(stream, claim, offset, code):
    claims = {"server": True, claim: int(time.time()) + offset}
    assert outcome(call(stream, claims)) == (401, code)


def test_a_time_that_is_not_a_whole_number_is_refused(stream):
    # PyJWT itself refuses to sign such a token, so it is signed as plain bytes.
    token = jwt.api_jws.encode(b'{"server": true, "exp": "2030-01-01"}', stream.secret)
    assert outcome(call(stream, token=token)) == (401, 5)


def test_a_user_token_may_not_call_what_is_for_servers(stream):
    response = call(stream, {"user_id": "u1", "iat": int(time.time()) - 5}, path="rate_limits")
    assert outcome(response) == (403, 17)
    assert "this endpoint can only be called server side" in response.json()["message"]


def test_the_key_is_checked_before_the_token(stream):
    assert outcome(call(stream, token="abc", params={"api_key": "other"})) == (401, 2)


def test_the_error_envelope_has_the_keys_of_stream(stream):
    body = call(stream, params={}).json()
    assert body.keys() == {
        "code",
        "message",
        "StatusCode",
        "duration",
        "more_info",
        "details",
    }
    assert (body["StatusCode"], body["details"]) == (401, [])


@pytest.fixture
def query_as(stream, chat):
    """Query users with a token of Ann's, who exists."""
    chat.upsert_user({"id": "ann"})

    def query_as(**claims) -> tuple[int, int | None]:
        client = StreamChat(stream.key, "unknown to a client", base_url=stream.url)
        client.auth_token = jwt.encode({"user_id": "ann", **claims}, stream.secret)
        try:
            client.query_users({"id": "ann"})
        except StreamAPIException as error:
            return error.status_code, error.error_code
        return 200, None

    return query_as


def test_a_users_token_opens_what_is_for_clients(query_as):
    assert query_as(iat=int(time.time()) - 5, exp=int(time.time()) + MINUTE) == (200, None)


def test_a_users_token_ends(query_as):
    assert query_as(exp=int(time.time()) - 1) == (401, 40)


def test_a_token_from_the_future_is_refused(query_as):
    assert query_as(iat=int(time.time()) + MINUTE) == (401, 42)


def test_a_token_issued_before_the_revocation_is_refused(query_as, chat):
    now = datetime.now(UTC).replace(microsecond=0)
    chat.revoke_user_token("ann", now)
    assert query_as(iat=int(now.timestamp()) - 1)[0] == 401
    assert query_as()[0] == 401  # it doesn't say when it was issued
    assert query_as(iat=int(now.timestamp())) == (200, None)


def test_a_revocation_can_be_undone(query_as, chat):
    chat.revoke_user_token("ann", datetime.now(UTC))
    chat.revoke_user_token("ann", None)
    assert query_as(iat=int(time.time()) - MINUTE) == (200, None)


def test_a_token_for_nobody_is_refused(query_as):
    assert query_as(user_id="nobody") == (404, 16)


def test_a_token_for_somebody_deactivated_is_refused(query_as, chat):
    chat.deactivate_user("ann")
    assert query_as() == (404, 16)
