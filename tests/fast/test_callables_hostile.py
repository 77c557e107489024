"""Whatever a client sends, a callable answers with a documented error, and writes nothing."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import firebase_admin.auth
import pytest
from functions_framework import create_app
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsync.budgets import Budgets
from chatsync.entry.callables import MAX_BYTES
from chatsync.errors import InvalidArgument
from chatsync.ids import IdFormat, check_key
from tests.fast.large_body import HELD_BYTES, Broken, send_large
from tests.fast.test_functions import MAIN, environment, id_token  # noqa: F401 (a fixture)

CALLABLES = [
    "createConversation",
    "ensureStreamUser",
    "ensureUserProfile",
    "getUserStats",
    "getStreamUserToken",
    "revokeStreamUserTokens",
]
DOCUMENTED = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND"}
HUNDREDS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["a/b/c", ".", "..", "__x__", "\x00", "\ud800", "x" * 129, "ü" * 100]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
ids = st.one_of(json_values, st.text(max_size=300), st.just("ann"))
arguments = st.one_of(
    json_values,
    st.fixed_dictionaries({}, optional={"userId": ids, "userIds": ids | st.lists(ids)}),
    st.fixed_dictionaries(
        {"participantIds": ids | st.lists(ids | st.fixed_dictionaries({"companyId": ids}))},
        optional={
            "conversationType": json_values | st.sampled_from(["direct", "group"]),
            "name": json_values,
            "team": json_values,
            "idempotencyKey": json_values,
        },
    ),
    st.fixed_dictionaries({"userIds": st.lists(st.text(), min_size=100, max_size=103)}),
)
bodies = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    arguments.map(lambda data: json.dumps({"data": data}).encode()),
    st.just(b"[" * 100_000),
    st.just(b'{"data":' * 5_000 + b"1" + b"}" * 5_000),
    st.just(b'{"data": {"userId": "' + b"x" * 1_000_000 + b'"}}'),
    st.just(b'{"data": ' + b"9" * 10_000 + b"}"),
    st.just(b'["data"]'),
    st.just(b'"data"'),
    st.just(b'{"data": null, "more": "ann@example.com"}'),
)
headers = st.fixed_dictionaries(
    {
        "Content-Type": st.sampled_from(
            ["application/json", "application/json; charset=utf-8", "text/plain", "", "a/b;c=d"]
        )
    },
    optional={
        "Authorization": st.sampled_from(
            ["Bearer " + id_token("caller"), "Bearer x.y.z", "Bearer ", "Basic eA==", "\xff"]
        )
    },
)


@pytest.fixture
def app(environment, monkeypatch) -> Callable[[str], Any]:  # noqa: F811 (the imported fixture)
    """A client of each callable, which is loaded at its first use in a test.

    One caller sends more than budgets allow.
    """
    monkeypatch.setattr(Budgets, "spend", lambda *_: None)
    return cache(lambda name: create_app(name, str(MAIN), "http").test_client())


@pytest.fixture
def nothing_is_written(firestore_api, stream):
    """Checks after the test that no side was written to, and returns a check for one call."""

    def check() -> None:
        assert not firestore_api.documents

    yield check
    assert set(stream.operations()) <= {"QueryUsers"}


@pytest.mark.parametrize("name", CALLABLES)
@HUNDREDS
@given(body=bodies, headers=headers)
def test_a_senseless_request_gets_a_documented_error(app, name, nothing_is_written, body, headers):
    response = app(name).post("/", data=body, headers=headers)
    assert_documented(response)
    nothing_is_written()


@pytest.mark.parametrize("name", CALLABLES)
@HUNDREDS
@given(data=arguments)
def test_senseless_arguments_of_a_signed_in_caller_get_a_documented_error(
    app, name, nothing_is_written, data
):
    headers = {"Authorization": f"Bearer {id_token('caller')}"}
    response = app(name).post("/", json={"data": data}, headers=headers)
    assert response.status_code != 401
    assert_documented(response)
    nothing_is_written()


def test_no_depth_of_nesting_is_our_bug(app):
    for depth in (*range(1, 60), *range(60, 1100, 7)):
        body = '{"data": ' + "[" * depth + "]" * depth + "}"
        response = app("ensureStreamUser").post("/", data=body, headers=SIGNED_IN)
        answer = response.status_code, response.json["error"]["status"]
        assert answer == (400, "INVALID_ARGUMENT"), f"{depth} deep"


SIGNED_IN = {
    "Authorization": f"Bearer {id_token('caller')}",
    "Content-Type": "application/json",
}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_and_never_in_memory(app, chunked):
    response, held = send_large(app("ensureStreamUser"), SIGNED_IN, chunked)
    assert_documented(response)
    assert (response.status_code, response.json["error"]["details"]) == (400, {"field": "data"})
    assert held < HELD_BYTES


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_of_nobody_is_never_in_memory(app, chunked):
    headers = {"Content-Type": "application/json"}
    response, held = send_large(app("ensureStreamUser"), headers, chunked)
    assert_documented(response)
    assert response.status_code == 401
    assert held < HELD_BYTES


@pytest.mark.parametrize("method", ["PUT", "OPTIONS"])
def test_a_large_body_of_another_method_is_never_in_memory(app, method):
    _, held = send_large(app("ensureStreamUser"), SIGNED_IN, chunked=False, method=method)
    assert held < HELD_BYTES


@pytest.mark.parametrize("too_much", [0, 1])
def test_a_body_up_to_the_limit_is_understood(app, too_much):
    body = json.dumps({"data": {"userId": "a/b"}}).ljust(MAX_BYTES + too_much)
    response = app("ensureStreamUser").post("/", data=body, headers=SIGNED_IN)
    field = response.json["error"]["details"]["field"]
    assert (response.status_code, field) == (400, "data" if too_much else "userId")


def test_the_largest_conversation_is_within_the_limit():
    members = [{"companyId": "x" * 128}] * 1000
    assert len(json.dumps({"data": {"participantIds": members, "name": "x" * 256}})) < MAX_BYTES


OF_NO_PROJECT = id_token("caller").split(".")[0] + "." + "e30" + "."


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": f"Bearer {OF_NO_PROJECT}"}], ids=["none", "not valid"]
)
def test_who_is_not_signed_in_is_refused_before_the_body_is_parsed(app, headers):
    response = app("ensureStreamUser").post(
        "/", data=b"no JSON", headers={"Content-Type": "application/json", **headers}
    )
    assert (response.status_code, response.json["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_a_token_is_verified_once(app, accounts, monkeypatch):
    verified = []

    def verify(token: str, *_: object, **__: object) -> dict[str, str]:
        verified.append(token)
        return {"uid": "caller"}

    monkeypatch.setattr(firebase_admin.auth, "verify_id_token", verify)
    accounts.sign_up("caller")
    headers = {"Authorization": f"Bearer {id_token('caller')}"}
    response = app("getUserStats").post("/", json={"data": {}}, headers=headers)
    assert (response.status_code, response.json["result"]["userId"]) == (200, "caller")
    assert verified == [id_token("caller")]


def test_a_body_that_breaks_off_gets_a_documented_error(app):
    response = app("ensureStreamUser").post(
        "/",
        headers={**SIGNED_IN, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input": Broken(), "wsgi.input_terminated": True},
    )
    assert_documented(response)
    assert response.status_code == 400


def assert_documented(response: Any) -> None:
    # From any origin: else a web page cannot read the answer.
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    if response.status_code == 200:
        # Every id was a possible one: then each has its own answer.
        results = response.json["result"]["results"]
        assert {result["error"]["code"] for result in results} == {"not-found"}
        return
    error = response.json["error"]
    assert DOCUMENTED.get(response.status_code) == error["status"], error
    if error["status"] == "NOT_FOUND":
        for user_id in error["details"]["userIds"]:
            check_key(user_id, "userId", "user", IdFormat())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_than_post_is_refused(app, method):
    response = app("ensureStreamUser").open("/", method=method, json={"data": {}})
    assert (response.status_code, response.json["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_body_that_is_refused_is_not_logged(app, capfd, caplog):
    app("ensureStreamUser").post("/", json={"data": {}, "email": "ann@example.com"})
    assert "ann@example.com" not in caplog.text + "".join(capfd.readouterr())


def test_a_malformed_token_is_not_logged(app, capfd, caplog):
    headers = {"Authorization": "Bearer s3cr3t-without-dots"}
    response = app("ensureStreamUser").post("/", json={"data": {}}, headers=headers)
    assert (response.status_code, response.json["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert "s3cr3t" not in caplog.text + "".join(capfd.readouterr())


def test_a_truncated_token_is_not_logged(app, capfd, caplog):
    header, payload, _ = id_token("ann@example.com").split(".")
    headers = {"Authorization": f"Bearer {header}.{payload[:-9]}."}
    response = app("ensureStreamUser").post("/", json={"data": {}}, headers=headers)
    assert (response.status_code, response.json["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert "ann@example" not in caplog.text + "".join(capfd.readouterr())


def test_a_browser_may_call_from_anywhere(app):
    response = app("ensureStreamUser").options(
        "/",
        headers={"Origin": "https://app.example", "Access-Control-Request-Method": "POST"},
    )
    assert response.headers["Access-Control-Allow-Origin"] in ("*", "https://app.example")


def test_the_hostile_ids_are_hostile():
    for value in ("a/b/c", ".", "..", "__x__", "\x00", "\ud800", "x" * 129, "ü" * 100):
        with pytest.raises(InvalidArgument):
            check_key(value, "userId", "user", IdFormat())
