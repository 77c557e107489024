from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from stream_chat import StreamChat
from stream_chat.base.exceptions import StreamAPIException

from tests.waiting import wait_for


def upsert(chat, user_id="u1"):
    return chat.upsert_user({"id": user_id})


def outcome(call, *args):
    try:
        return call(*args).status_code()
    except StreamAPIException as error:
        return error.status_code, getattr(error, "error_code", None)


def users(stream):
    return stream.state()["counts"]["users"]


def control(stream, method, path, body=None):
    # Python's JSON writes infinity, which requests refuses to do.
    data = None if body is None else json.dumps(body)
    return requests.request(method, f"{stream.url}/_control/{path}", data=data, timeout=5)


def test_a_status_fault_happens_so_many_times(chat, stream):
    stream.fault("UpdateUsers", "status", status=503, times=2)
    assert [outcome(upsert, chat) for _ in range(3)] == [(503, -1), (503, -1), 201]


@pytest.mark.parametrize(("status", "code"), [(500, -1), (429, 9), (403, 17), (413, 22)])
def test_a_status_fault_has_the_usual_code(chat, stream, status, code):
    stream.fault("UpdateUsers", "status", status=status)
    assert outcome(upsert, chat) == (status, code)


def test_a_status_fault_can_have_another_code(chat, stream):
    stream.fault("UpdateUsers", "status", status=403, code=99)
    assert outcome(upsert, chat) == (403, 99)


def test_a_fault_leaves_other_operations_alone(chat, stream):
    stream.fault("QueryUsers", "status")
    assert outcome(upsert, chat) == 201


def test_a_fault_can_be_for_all_operations(chat, stream):
    stream.fault("*", "status")
    assert outcome(chat.get_app_settings) == (500, -1)


def test_a_fault_before_leaves_nothing_applied(chat, stream):
    stream.fault("UpdateUsers", "status", when="before")
    outcome(upsert, chat)
    assert users(stream) == 0


def test_a_fault_after_only_loses_the_answer(chat, stream):
    stream.fault("UpdateUsers", "status", when="after")
    assert outcome(upsert, chat) == (500, -1)
    assert users(stream) == 1


@pytest.mark.parametrize(
    ("body", "text"), [("html", "<html>"), ("empty", ""), ("list", '["upstream')]
)
def test_a_status_fault_can_answer_like_a_gateway(stream, body, text):
    stream.fault("GetApp", "status", status=502, body=body)
    response = requests.get(f"{stream.url}/app", timeout=5)
    assert response.status_code == 502
    assert response.text.startswith(text)
    assert "x-ratelimit-limit" not in response.headers


def test_a_reset_drops_the_connection(chat, stream):
    stream.fault("UpdateUsers", "reset")
    with pytest.raises(requests.ConnectionError):
        upsert(chat)
    assert users(stream) == 0


def test_a_reset_after_loses_only_the_answer(chat, stream):
    stream.fault("UpdateUsers", "reset", when="after")
    with pytest.raises(requests.ConnectionError):
        upsert(chat)
    assert users(stream) == 1


def test_a_timeout_keeps_silent(stream):
    impatient = StreamChat(stream.key, stream.secret, timeout=0.2, base_url=stream.url)
    stream.fault("UpdateUsers", "timeout", when="after")
    with pytest.raises(requests.ReadTimeout):
        upsert(impatient)
    assert users(stream) == 1


def test_a_delayed_call_is_applied_though_its_caller_gave_up(stream):
    impatient = StreamChat(stream.key, stream.secret, timeout=0.1, base_url=stream.url)
    stream.fault("UpdateUsers", "delay", delay_ms=300)
    with pytest.raises(requests.ReadTimeout):
        upsert(impatient)
    assert users(stream) == 0
    wait_for(lambda: users(stream) == 1)


def test_a_delayed_call_does_not_outlive_a_reset(chat, stream):
    stream.fault("UpdateUsers", "delay", delay_ms=1500)
    with ThreadPoolExecutor() as pool:
        late = pool.submit(upsert, chat)
        wait_for(lambda: stream.requests())
        stream.reset()
        with pytest.raises(requests.ConnectionError):
            late.result()
    assert users(stream) == 0


def test_a_rate_strikes_some_calls_and_its_seed_repeats_them(chat, stream):
    outcomes = []
    for _ in range(2):
        stream.clear_faults()
        stream.fault("UpdateUsers", "status", rate=0.5, seed=1)
        outcomes.append([outcome(upsert, chat) for _ in range(20)])
    assert outcomes[0] == outcomes[1]
    assert {201, (500, -1)} == set(outcomes[0])


def test_clearing_ends_faults(chat, stream):
    stream.fault("*", "status", times=9)
    stream.clear_faults()
    assert outcome(upsert, chat) == 201


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("faults", {"kind": "status"}, "operation"),
        ("faults", {"operation": "UpdateUser", "kind": "status"}, "operation"),
        ("faults", {"operation": "*"}, "kind"),
        ("faults", {"operation": "*", "kind": "crash"}, "kind"),
        ("faults", {"operation": "*", "kind": "status", "status": 199}, "status"),
        ("faults", {"operation": "*", "kind": "status", "times": 0}, "times"),
        ("faults", {"operation": "*", "kind": "status", "times": 1, "rate": 1}, "times, rate"),
        ("faults", {"operation": "*", "kind": "delay"}, "delay_ms"),
        ("faults", {"operation": "*", "kind": "status", "body": ["html"]}, "body"),
        ("faults", {"operation": "*", "kind": "status", "often": 1}, "often"),
        ("faults", {"operation": "*", "kind": "delay", "delay_ms": 10**400}, "delay_ms"),
        ("faults", [], "body"),
        ("limits", {"UpdateUser": None}, "UpdateUser"),
        ("limits", {"UpdateUsers": {"limit": 1}}, "UpdateUsers"),
        ("limits", {"UpdateUsers": {"limit": -1, "window_s": 1}}, "UpdateUsers.limit"),
        ("limits", {"UpdateUsers": {"limit": 1, "window_s": 0}}, "UpdateUsers.window_s"),
        ("limits", {"UpdateUsers": {"limit": 1, "window_s": 10**400}}, "UpdateUsers.window_s"),
        ("limits", {"UpdateUsers": {"limit": 1, "window_s": float("inf")}}, "body"),
        ("switches", {"magic": True}, "magic"),
        ("switches", {"hard_delete_blocks_id_reuse": 1}, "hard_delete_blocks_id_reuse"),
        ("switches", {"users_unknown_ms_after_upsert": -1}, "users_unknown_ms_after_upsert"),
        ("switches", {"users_unknown_ms_after_upsert": True}, "users_unknown_ms_after_upsert"),
        ("faults", {"operation": "*", "kind": "status", "retry_after": -1}, "retry_after"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_control_request_is_explained(stream, path, body, field):
    response = control(stream, "POST", path, body)
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"{field}: ")


def test_a_limit_refuses_what_is_too_much(chat, stream):
    stream.limit("UpdateUsers", 2)
    assert [outcome(upsert, chat) for _ in range(3)] == [201, 201, (429, 9)]


def test_a_limit_opens_again_at_its_reset(chat, stream):
    stream.limit("UpdateUsers", 1, window_s=0.2)
    assert outcome(upsert, chat) == 201
    wait_for(lambda: outcome(upsert, chat) == 201)


def test_answers_carry_the_limit_where_streams_client_finds_it(chat, stream):
    stream.limit("UpdateUsers", 5)
    limit = upsert(chat).rate_limit()
    assert (limit.limit, limit.remaining) == (5, 4)
    assert 0 < limit.reset.timestamp() - time.time() <= 61


def test_refusals_carry_the_limit_too(stream):
    stream.limit("GetApp", 0)
    response = requests.get(f"{stream.url}/app", timeout=5)
    assert response.headers["x-ratelimit-remaining"] == "0"


def test_streams_documented_limits_are_the_default(chat):
    limits = chat.get_rate_limits(server_side=True, endpoints=["UpdateUsers", "QueryUsers"])
    assert limits.keys() == {"server_side", "duration"}
    found = {name: limit["limit"] for name, limit in limits["server_side"].items()}
    assert found == {"UpdateUsers": 300, "QueryUsers": 1000}


def test_an_operation_without_limit_has_no_limit_headers(chat, stream):
    stream.remove_limit("UpdateUsers")
    response = upsert(chat)
    assert response.rate_limit() is None
    assert not [name for name in response.headers() if "ratelimit" in name.lower()]
    stream.limit("UpdateUsers", 0)
    stream.remove_limit("UpdateUsers")
    assert outcome(upsert, chat) == 201


def test_a_burst_is_refused_though_the_window_has_room(chat, stream):
    stream.switch(burst_guard=True)
    stream.limit("UpdateUsers", 6, window_s=3)  # four in any one second
    assert [outcome(upsert, chat) for _ in range(5)] == [201, 201, 201, 201, (429, 9)]
    limits = chat.get_rate_limits(server_side=True, endpoints=["UpdateUsers"])
    assert limits["server_side"]["UpdateUsers"]["remaining"] == 2


def test_a_burst_is_over_within_a_second(chat, stream):
    stream.switch(burst_guard=True)
    stream.limit("UpdateUsers", 1000, window_s=2000)
    assert [outcome(upsert, chat) for _ in range(2)] == [201, (429, 9)]
    wait_for(lambda: outcome(upsert, chat) == 201)


def test_a_burst_is_accepted_unless_the_guard_is_on(chat, stream):
    stream.limit("UpdateUsers", 6)
    assert [outcome(upsert, chat) for _ in range(6)] == [201] * 6


def test_a_status_fault_can_say_when_to_come_back(stream):
    stream.fault("GetApp", "status", status=429, retry_after=7)
    stream.fault("GetApp", "status", status=503, retry_after=8, body="html")
    answers = [requests.get(f"{stream.url}/app", timeout=5) for _ in range(3)]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["7", "8", None]


def test_a_reset_keeps_limits_and_opens_their_windows(chat, stream):
    stream.limit("UpdateUsers", 1)
    upsert(chat)
    stream.reset()
    assert [outcome(upsert, chat) for _ in range(2)] == [201, (429, 9)]


def test_a_reset_brings_the_documented_limits_back_if_asked(chat, stream):
    stream.limit("UpdateUsers", 1)
    stream.remove_limit("DeleteUser")
    before = stream.state()["limits"]
    stream.reset(limits=True)
    assert stream.state()["limits"].keys() == before.keys() | {"DeleteUser"}
    assert [outcome(upsert, chat) for _ in range(2)] == [201, 201]


def test_a_reset_forgets_users_faults_and_switches(chat, stream):
    upsert(chat)
    stream.fault("*", "status")
    stream.switch(team_mismatch="refused")
    stream.reset()
    state = stream.state()
    assert (state["counts"]["users"], state["faults"]) == (0, [])
    assert state["switches"]["team_mismatch"] == "accepted"


def test_the_request_log_names_users_and_channels(chat, stream):
    chat.upsert_users([{"id": "a"}, {"id": "b"}])
    chat.update_user_partial({"id": "a", "set": {}})
    chat.query_users({"id": {"$in": ["a", "x"]}})
    chat.delete_user("b")
    chat.restore_users(["b"])
    chat.channel("messaging", "c", {"members": ["a"]}).create("b")
    log = [(entry["operation"], entry["ids"]) for entry in stream.requests()]
    assert log == [
        ("UpdateUsers", ["a", "b"]),
        ("UpdateUsersPartial", ["a"]),
        ("QueryUsers", ["a", "x"]),
        ("DeleteUser", ["b"]),
        ("RestoreUsers", ["b"]),
        ("GetOrCreateChannel", ["messaging:c", "a", "b"]),
    ]


def test_the_request_log_can_be_read_from_a_number_on(chat, stream):
    upsert(chat)
    since = stream.last_request()
    chat.get_app_settings()
    (entry,) = stream.requests(since)
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/app", 200)
    assert entry["n"] == since + 1
    assert entry["duration_ms"] >= 0


def test_the_state_counts_calls_by_operation_and_status(chat, stream):
    stream.fault("UpdateUsers", "status", status=429)
    stream.fault("UpdateUsers", "reset")
    assert outcome(upsert, chat) == (429, 9)
    with pytest.raises(requests.ConnectionError):
        upsert(chat)
    upsert(chat)
    chat.get_app_settings()
    calls = stream.state()["calls"]
    assert calls == {"UpdateUsers": {"429": 1, "none": 1, "201": 1}, "GetApp": {"200": 1}}


@pytest.mark.parametrize("since", ["-1", "x", "9" * 5000], ids=lambda since: since[:9])
def test_a_bad_number_to_read_the_request_log_from_is_refused(stream, since):
    response = control(stream, "GET", f"requests?since={since}")
    assert response.status_code == 400
    assert response.json()["error"].startswith("since: ")


def test_a_dropped_connection_is_logged_without_status(chat, stream):
    stream.fault("UpdateUsers", "reset")
    with pytest.raises(requests.ConnectionError):
        upsert(chat)
    (entry,) = stream.requests()
    assert (entry["status"], entry["ids"]) == (None, ["u1"])


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PUT", "/users")])
def test_an_unknown_path_or_method_is_not_found(stream, method, path):
    response = requests.request(method, f"{stream.url}{path}", timeout=5)
    assert (response.status_code, response.json()["code"]) == (404, 16)
    assert response.json()["message"] == 'Request failed with error: "Not Found"'


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "1",
        b"\xff",
        "[" * 9999,
        '{"users": {"a": {"id": "a", "n": NaN}}}',
        '{"users": {"a": {"id": "a", "n": -Infinity}}}',
        '{"users": {"a": {"id": "a", "n": 1e400}}}',
        '{"users": {"a": {"id": "a", "n": %s}}}' % ("[" * 500 + "]" * 500),
    ],
    ids=lambda body: str(body[:40]),
)
def test_a_body_that_is_no_json_object_is_refused(chat, stream, body):
    response = requests.post(
        f"{stream.url}/users",
        data=body,
        params={"api_key": stream.key},
        headers={"Authorization": chat.auth_token, "stream-auth-type": "jwt"},
        timeout=5,
    )
    assert (response.status_code, response.json()["code"]) == (400, 4)


def test_the_app_is_described(chat):
    response = chat.get_app_settings()
    assert response.keys() == {"app", "duration"}
    assert response.status_code() == 200
