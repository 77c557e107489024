"""How much one caller may ask for, counted in memory and in Firestore."""

from __future__ import annotations

import functools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from functions_framework import create_app
from google.api_core.exceptions import ServiceUnavailable

from chatsync import budgets
from chatsync.budgets import Budgets
from chatsync.conversations.create import create_conversation
from chatsync.errors import BudgetUsedUp
from stream_server.control_client import LocalStream
from tests.fast.test_functions import MAIN, environment, id_token  # noqa: F401 (a fixture)

START = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
LIMITS = {
    "ensure_per_minute": 30,
    "ensure_calls_per_minute": 20,
    "token_per_minute": 20,
    "revoke_per_minute": 3,
    "conversations_per_minute": 20,
    "new_conversations_per_day": 5,
}
CALLS = {
    "ensureStreamUser": ({"userId": "bob"}, "ensure_calls_per_minute"),
    "getStreamUserToken": ({}, "token_per_minute"),
    "revokeStreamUserTokens": ({}, "revoke_per_minute"),
    "createConversation": ({"participantIds": ["bob"]}, "conversations_per_minute"),
}


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time of the budgets, which stands still."""
    clock = Clock()
    monkeypatch.setattr(budgets, "clock", clock)
    budgets._warn.cache_clear()
    return clock


@pytest.fixture
def clients(with_settings):
    return with_settings(limits=LIMITS)


@pytest.fixture
def app(clients, monkeypatch, environment, accounts):  # noqa: F811 (the imported fixture)
    """Calls a function of one instance as a client SDK does; returns status and body."""
    monkeypatch.setattr("chatsync.clients._connected", lambda load: load() and clients)
    for uid in ("ann", "bob", "eve"):
        accounts.sign_up(uid)
    instance = functools.cache(lambda name: create_app(name, str(MAIN), "http").test_client())

    def call(function: str, data: object, caller: str = "ann", **claims: object):
        headers = {"Authorization": f"Bearer {id_token(caller, **claims)}"}
        response = instance(function).post("/", json={"data": data}, headers=headers)
        return response.status_code, response.json

    return call


@pytest.fixture
def spend(clients):
    """Counts a call of ann's for so many people in an instance."""

    def spend(instance: Budgets, people: int = 1, uid: str = "ann") -> None:
        asked = {"ensure_calls_per_minute": 1, "ensure_per_minute": people}
        instance.spend(uid, False, asked, clients)

    return spend


def passed(spend, instance: Budgets, **asked: Any) -> int:
    """How many calls pass until one is refused."""
    for count in range(100):
        try:
            spend(instance, **asked)
        except BudgetUsedUp:
            return count
    pytest.fail("no call was refused")


def stored(clients, uid: str = "ann") -> dict[str, Any]:
    return clients.firestore.document("budgets", uid).get().to_dict() or {}


# Callables


@pytest.mark.parametrize("function", CALLS)
def test_who_calls_too_often_is_refused_until_the_minute_is_over(function, app):
    data, key = CALLS[function]
    answers = [app(function, data)[0] for _ in range(LIMITS[key])]
    assert set(answers) == {200}, answers
    status, body = app(function, data)
    assert (status, body["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert body["error"]["details"] == {
        "retryAfterSeconds": 60,
        "reason": "budget",
        "repairQueued": False,
    }
    assert "Stream" not in body["error"]["message"]
    assert app(function, data, "eve")[0] == 200


@pytest.mark.parametrize("function", CALLS)
def test_a_refused_call_does_nothing(function, app, clients, stream, accounts, firestore_api):
    data, key = CALLS[function]
    for _ in range(LIMITS[key]):
        app(function, data)
    since, documents = stream.last_request(), dict(firestore_api.documents)
    accounts.calls.clear()
    firestore_api.calls.clear()
    assert app(function, data)[0] == 429
    assert stream.requests(since) == []
    assert accounts.calls == firestore_api.calls == []
    assert firestore_api.documents == documents


def test_an_invalid_call_is_not_counted(app):
    for _ in range(LIMITS["ensure_calls_per_minute"] + 1):
        assert app("ensureStreamUser", {"userId": "a/b"})[0] == 400
    assert app("ensureStreamUser", {"userId": "bob"})[0] == 200


def test_people_are_counted_one_by_one(app):
    assert app("ensureStreamUser", {"userIds": ["bob"] * 29})[0] == 200
    assert app("ensureStreamUser", {"userIds": ["bob", "eve"]})[0] == 429
    assert app("ensureStreamUser", {"userId": "bob"})[0] == 200
    assert app("ensureStreamUser", {"userId": "bob"})[0] == 429


def test_an_anonymous_caller_has_a_part_as_the_id_token_says(app, accounts):
    anonymous = {"firebase": {"sign_in_provider": "anonymous"}}
    answers = [app("getStreamUserToken", {}, **anonymous)[0] for _ in range(5)]
    accounts.calls.clear()
    answers.append(app("getStreamUserToken", {}, **anonymous)[0])
    assert answers == [200] * 5 + [429]
    assert accounts.calls == []
    by_password = {"firebase": {"sign_in_provider": "password"}}
    assert app("getStreamUserToken", {}, "eve", **by_password)[0] == 200


@pytest.mark.parametrize("function", ["getUserStats", "ensureUserProfile"])
def test_what_costs_stream_nothing_has_no_budget(function, app):
    assert {app(function, {})[0] for _ in range(50)} == {200}


def test_a_refusal_of_streams_has_its_own_shape(app, stream):
    stream.limit("QueryUsers", 0)
    status, body = app("ensureStreamUser", {"userId": "bob"})
    assert (status, body["error"]["message"]) == (429, "too many calls to Stream Chat")
    assert body["error"]["details"].keys() == {"retryAfterSeconds", "repairQueued"}


def test_a_refused_caller_is_told_once_a_minute_in_the_log(app, clock, capsys):
    def refusals() -> list[dict[str, str]]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [line for line in lines if "used up" in line["message"]]

    for _ in range(2):
        for _ in range(LIMITS["token_per_minute"] + 5):
            app("getStreamUserToken", {})
        [line] = refusals()
        assert line["severity"] == "WARNING"
        assert line["message"] == "User ann has used up token_per_minute of [limits]"
        assert line["user"] == "ann"
        clock.now += 60


# Counting


def test_a_window_is_a_minute_from_the_first_call(spend, clock):
    instance = Budgets()
    clock.now += 17
    assert passed(spend, instance) == 20
    clock.now += 59
    with pytest.raises(BudgetUsedUp) as refusal:
        spend(instance)
    assert refusal.value.retry_after == 1
    clock.now += 1
    assert passed(spend, instance) == 20


@pytest.mark.parametrize(("limit", "factor", "part"), [(10, 0.25, 3), (3, 0.25, 1), (200, 1, 200)])
def test_the_part_of_an_anonymous_caller_is_rounded_up(with_settings, limit, factor, part):
    limits = {"token_per_minute": limit, "anonymous_factor": factor}
    config = with_settings(limits=limits).settings.config.limits
    assert budgets.limit_of("token_per_minute", True, config) == part
    assert budgets.limit_of("token_per_minute", False, config) == limit


def test_one_call_for_more_than_an_untouched_budget_passes_and_uses_it_up(spend):
    instance = Budgets()
    spend(instance, people=100)
    with pytest.raises(BudgetUsedUp):
        spend(instance, people=1)


def test_a_call_that_is_refused_counts_for_none_of_its_budgets(spend):
    instance = Budgets()
    spend(instance, people=25)
    for _ in range(30):
        with pytest.raises(BudgetUsedUp):
            spend(instance, people=6)
    spend(instance, people=5)


def test_a_clock_that_was_wrong_locks_nobody_out(spend, clock):
    instance = Budgets()
    clock.now += 7_200
    assert passed(spend, instance) == 20
    clock.now -= 7_200
    assert passed(spend, instance) == 20


def test_many_callers_dont_fill_the_memory(spend, monkeypatch):
    monkeypatch.setattr(budgets, "MAX_CALLERS", 10)
    instance = Budgets()
    for number in range(100):
        spend(instance, uid=f"caller-{number}")
    assert list(instance._windows) == [f"caller-{number}" for number in range(90, 100)]


def test_threads_of_an_instance_share_a_budget(spend):
    instance = Budgets()
    together = threading.Barrier(8)

    def flood(_: int) -> int:
        together.wait()
        return passed(spend, instance)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(flood, range(8))) == 20


# Sharing between instances


def test_a_tenth_of_a_budget_costs_no_call_to_firestore(spend, firestore_api):
    instance = Budgets()
    for _ in range(2):
        spend(instance)
    assert firestore_api.calls == []
    spend(instance)
    assert firestore_api.calls == ["batch_get_documents", "commit"]
    spend(instance)
    assert firestore_api.calls == ["batch_get_documents", "commit", "commit"]


def test_what_is_refused_costs_no_call_to_firestore(spend, firestore_api):
    instance = Budgets()
    passed(spend, instance)
    firestore_api.calls.clear()
    assert passed(spend, instance) == 0
    assert firestore_api.calls == []


def test_instances_dont_multiply_a_budget(spend, clients, clock):
    first, second = Budgets(), Budgets()
    for _ in range(8):
        spend(first)
    clock.now += 30
    # Its first two are a tenth, and told with the third.
    assert passed(spend, second) == 12
    assert passed(spend, first) == 0
    clock.now += 29
    assert passed(spend, second) == 0, "the window is that of the first call of all"
    clock.now += 1
    assert passed(spend, second) == 20
    assert stored(clients)["used"]["ensure_calls_per_minute"] == 20


def test_an_instance_learns_what_others_counted(spend, firestore_api):
    first, second = Budgets(), Budgets()
    passed(spend, first)
    passed(spend, second)
    firestore_api.calls.clear()
    assert passed(spend, second) == 0
    assert firestore_api.calls == []


def test_instances_at_once_share_exactly(spend, clients):
    together = threading.Barrier(4)

    def flood(_: int) -> int:
        together.wait()
        return passed(spend, Budgets())

    with ThreadPoolExecutor(4) as threads:
        # A tenth of each, two calls, may be known to itself only.
        assert 20 <= sum(threads.map(flood, range(4))) <= 20 + 3 * 2


def test_other_budgets_of_a_caller_share_the_window(clients, clock):
    first, second = Budgets(), Budgets()
    for _ in range(3):
        first.spend("ann", False, {"token_per_minute": 1}, clients)
    clock.now += 5
    for _ in range(4):
        second.spend("ann", False, {"conversations_per_minute": 1}, clients)
    document = stored(clients)
    assert document["used"] == {"token_per_minute": 3, "conversations_per_minute": 4}
    assert document["endsAt"].timestamp() == START + 60
    assert document["chatsyncExpireAt"].timestamp() == START + 2 * 24 * 3600


def test_without_firestore_the_instance_decides(spend, firestore_api):
    def fail(call: str) -> None:
        raise ServiceUnavailable("down")

    firestore_api.before_call = fail
    assert passed(spend, Budgets(), people=9) == 3


def test_a_slow_firestore_holds_a_call_up_for_a_moment_only(spend, firestore_api, monkeypatch):
    monkeypatch.setattr(budgets, "_SHARING_SECONDS", 0.1)
    hangs = threading.Event()
    firestore_api.before_call = lambda call: hangs.wait(30) and None
    try:
        assert passed(spend, Budgets(), people=29) == 1
    finally:
        hangs.set()


def test_a_document_that_was_removed_meanwhile_is_made_again(spend, clients):
    instance = Budgets()
    for _ in range(3):
        spend(instance)
    clients.firestore.document("budgets/ann").delete()
    spend(instance)
    assert stored(clients)["used"]["ensure_calls_per_minute"] == 1
    assert passed(spend, instance) == 16


def test_a_uid_that_no_document_can_have_is_counted_too(spend, clients):
    assert passed(spend, Budgets(), uid="a/b") == 20
    assert stored(clients, "a%2Fb")["used"]["ensure_calls_per_minute"] == 20


# Conversations in a day


@pytest.fixture
def begin(clients, accounts):
    """Begins a group of ann's."""
    for uid in ("ann", "bob", "eve", "max"):
        accounts.sign_up(uid)

    def begin(key: str | None = None, **options: Any) -> dict[str, Any]:
        asked = {"participantIds": ["bob", "eve"], "idempotencyKey": key}
        return create_conversation("ann", asked, clients, **options)

    return begin


def begun(clients) -> int:
    names = clients.firestore._firestore_api.documents
    return sum("/conversations/" in name for name in names)


def test_so_many_conversations_begin_in_a_day(begin, clients, clock, stream, firestore_api):
    for _ in range(5):
        begin()
    since, documents = stream.last_request(), dict(firestore_api.documents)
    with pytest.raises(BudgetUsedUp) as refusal:
        begin()
    assert refusal.value.retry_after == 12 * 3600
    assert firestore_api.documents == documents
    assert "GetOrCreateChannel" not in stream.operations(since)
    clock.now += 12 * 3600
    begin()
    assert stored(clients)["newConversations"] == {"2026-11-28": 1}


def test_a_conversation_that_goes_on_is_not_counted(begin, clients):
    for _ in range(8):
        begin("the same")
    assert stored(clients)["newConversations"] == {"2026-11-27": 1}


def test_an_anonymous_caller_begins_a_part(begin, clients):
    def begin_with(other: str) -> None:
        create_conversation("ann", {"participantIds": [other]}, clients, is_anonymous=True)

    for other in ("bob", "eve"):
        begin_with(other)
    with pytest.raises(BudgetUsedUp):
        begin_with("max")


def test_conversations_of_two_instances_at_once_are_both_counted(begin, clients):
    together = threading.Barrier(2)

    def begin_together(_: int) -> None:
        together.wait()
        begin()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(begin_together, range(2)))
    assert begun(clients) == 2
    assert stored(clients)["newConversations"] == {"2026-11-27": 2}


def test_a_conversation_that_two_instances_begin_at_once_is_counted_once(begin, clients):
    together = threading.Barrier(2)

    def begin_together(_: int) -> str:
        together.wait()
        return begin("one tap")["id"]

    with ThreadPoolExecutor(2) as threads:
        assert len(set(threads.map(begin_together, range(2)))) == 1
    assert stored(clients)["newConversations"] == {"2026-11-27": 1}


def test_the_day_and_the_minute_share_a_document(begin, spend, clients, clock):
    begin()
    instance = Budgets()
    passed(spend, instance)
    clock.now += 60
    passed(spend, instance)
    assert stored(clients)["newConversations"] == {"2026-11-27": 1}
    assert stored(clients)["used"]["ensure_calls_per_minute"] == 20


# A share for tokens


def test_a_tenth_of_streams_window_is_left_to_tokens(app, stream: LocalStream):
    stream.switch(burst_guard=False)
    stream.limit("QueryUsers", 20)
    answers = [app("ensureStreamUser", {"userId": "bob"}, f"caller-{n}")[0] for n in range(25)]
    assert answers == [200] * 18 + [429] * 7
    assert app("getStreamUserToken", {})[0] == 200
