"""Lines of the log that an alert depends on have its event, where Cloud Logging finds it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from flask import Flask, request
from functions_framework import create_app

from chatsync import audit, budgets, outbox, proof
from chatsync.entry import events, set_up, webhooks
from chatsync.errors import (
    FailedPrecondition,
    FirebaseUnavailable,
    Refusal,
    StreamCredentialsRejected,
    StreamUnavailable,
    Temporary,
)
from chatsync.ids import Key
from chatsync.log_events import LogEvent
from chatsync.outbox import drain
from chatsync.outcome import Outcome
from tests.fast.test_functions import (  # noqa: F401 (fixtures)
    MAIN,
    at_its_time,
    call,
    create_stream_user,
    environment,
)


@pytest.fixture
def lines(capsys):
    """The lines of the log since the last look, as Cloud Logging makes ``jsonPayload`` of them."""

    def lines() -> list[dict[str, object]]:
        printed = "\n".join(capsys.readouterr()).splitlines()
        return [json.loads(line) for line in printed if line.startswith("{")]

    return lines


@pytest.fixture
def world(accounts, clients, firestore, tasks, monkeypatch, stream):
    accounts.sign_up("ann")
    return SimpleNamespace(**locals())


def enqueue(error: Exception, world) -> None:
    outbox.enqueue_unfinished([Outcome(Key("user", "ann"), "ann", None, error)], world.clients)


def retry(error: Exception, world) -> None:
    """Fail again in the drain."""
    enqueue(StreamUnavailable("down"), world)

    def fail(*args: object, **more: object) -> None:
        raise error

    world.monkeypatch.setattr(drain, "reconcile_users", fail)
    drain.drain(0, world.clients)


def be_paused(world) -> None:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    world.firestore.document("chatsync/pause").set({"since": an_hour_ago})
    enqueue(StreamUnavailable("down"), world)
    drain.wake_if_due(world.clients)


def find_entries_due(world) -> None:
    enqueue(StreamUnavailable("down"), world)
    drain.wake_if_due(world.clients)


def fail_to_wake(world) -> None:
    def fail(*args: object) -> None:
        raise FirebaseUnavailable("no role")

    world.monkeypatch.setattr(type(world.tasks), "enqueue", fail)
    outbox.try_to_wake(0, world.clients)


def fail_to_write(world) -> None:
    def fail(*args: object) -> None:
        raise FirebaseUnavailable("down")

    world.monkeypatch.setattr("chatsync.outbox.service.write_entries", fail)
    enqueue(StreamUnavailable("down"), world)


def fail_to_answer_stream(world) -> None:
    def connect() -> None:
        raise Temporary("down")

    with Flask("test").test_request_context("/", method="POST"):
        webhooks.answer(request, connect)


def deploy_in_vain(world) -> None:
    world.monkeypatch.setattr(set_up, "_failure_of", lambda step: "no role")
    with pytest.raises(Temporary):
        set_up.set_up(world.clients, with_backfill=False)


def run_audit(world) -> None:
    audit.run(audit.start("nightly", world.clients).id, world.clients)


def stop_audit(world) -> None:
    begun = audit.start("nightly", world.clients)
    world.monkeypatch.setattr(
        "chatsync.audit.pages.run_page",
        lambda one, clients: audit.set_state(one, "unsafe", clients),
    )
    audit.run(begun.id, world.clients)


def ask_too_much(world) -> None:
    budgets._warn.cache_clear()  # it is told once in a minute
    budgets._refusal("ann", "k", 0.0)


SITUATIONS = {
    "parked at once": (
        LogEvent.PARKED,
        lambda world: enqueue(FailedPrecondition(["ann"], Refusal.DELETED), world),
    ),
    "parked by the drain": (
        LogEvent.PARKED,
        lambda world: retry(FailedPrecondition(["ann"], Refusal.DELETED), world),
    ),
    "credentials": (
        LogEvent.CREDENTIALS,
        lambda world: enqueue(StreamCredentialsRejected("401"), world),
    ),
    "credentials, in the drain": (
        LogEvent.CREDENTIALS,
        lambda world: retry(StreamCredentialsRejected("401"), world),
    ),
    "due": (LogEvent.OUTBOX_DUE, find_entries_due),
    "not woken": (LogEvent.OUTBOX_DOWN, fail_to_wake),
    "not written": (LogEvent.OUTBOX_DOWN, fail_to_write),
    "paused": (LogEvent.PAUSED, be_paused),
    "a bug in the drain": (LogEvent.BUG, lambda world: retry(ZeroDivisionError(), world)),
    "webhook": (LogEvent.WEBHOOK_FAILED, fail_to_answer_stream),
    "no hook": (LogEvent.EVENTS_MISSING, lambda world: proof.note_hooks(world.clients)),
    "a lost hook": (LogEvent.HOOK_LOST, lambda world: set_up._tell_lost([{"id": "1"}], [])),
    "not set up": (LogEvent.NOT_SET_UP, deploy_in_vain),
    "an audit": (LogEvent.AUDIT_DONE, run_audit),
    "an audit that is stopped": (LogEvent.AUDIT_UNSAFE, stop_audit),
    "a flood": (LogEvent.BUDGET_USED_UP, ask_too_much),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_line_has_its_event(situation, world, lines):
    event, happen = SITUATIONS[situation]
    happen(world)
    assert event in [line.get("event") for line in lines()]


def test_every_event_is_logged_somewhere():
    assert {event for event, _ in SITUATIONS.values()} == set(LogEvent)


def test_the_line_of_a_pause_says_for_how_long(world, lines):
    be_paused(world)
    assert [line["minutes"] for line in lines() if "minutes" in line] == [60]


def test_a_repair_that_only_waits_has_no_event(world, lines):
    enqueue(StreamUnavailable("down"), world)
    assert [line.get("event") for line in lines()] == [None]


# Errors that nobody expects


def breaks(*args: object, **more: object) -> None:
    raise ZeroDivisionError


def test_a_bug_in_an_event_function_is_told(create_stream_user, monkeypatch, lines):  # noqa: F811
    monkeypatch.setattr(events, "reconcile_after_sign_up", breaks)
    assert create_stream_user("ann") == 500
    [line] = lines()
    assert (line["severity"], line["event"]) == ("ERROR", LogEvent.BUG)
    assert "ZeroDivisionError" in str(line["message"])


@pytest.mark.parametrize("function", ["wakeRepairs", "auditSync"])
def test_a_bug_at_its_time_is_told(function, monkeypatch, lines):
    monkeypatch.setattr(drain, "wake_if_due", breaks)
    monkeypatch.setattr(audit, "begin_nightly", breaks)
    assert at_its_time(function) == 500
    assert [line["event"] for line in lines()] == [LogEvent.BUG]


@pytest.mark.parametrize("function", ["ensureStreamUser", "runSweep"])
def test_a_bug_in_a_callable_or_a_task_is_told(function, call, monkeypatch, lines):  # noqa: F811
    monkeypatch.setattr(outbox, "reconcile", breaks)
    monkeypatch.setattr(audit, "run", breaks)
    assert call({"userId": "ann", "auditId": "1"}, function=function)[0] == 500
    assert [line["event"] for line in lines()] == [LogEvent.BUG]


def test_a_bug_in_the_webhook_is_told(monkeypatch, lines):
    monkeypatch.setattr(webhooks, "_verified_event", breaks)
    app = create_app("streamWebhook", str(MAIN), "http").test_client()
    assert app.post("/").status_code == 500
    assert [line["event"] for line in lines()] == [LogEvent.BUG]


@pytest.mark.parametrize("function", ["createConversation", "runSweep"])
def test_a_refused_key_is_no_bug(function, call, monkeypatch, lines):  # noqa: F811
    def refuse(*args: object, **more: object) -> None:
        raise StreamCredentialsRejected("401")

    monkeypatch.setattr("main.create_conversation", refuse, raising=False)
    monkeypatch.setattr("chatsync.conversations.create.create_conversation", refuse)
    monkeypatch.setattr(audit, "run", refuse)
    assert call({"auditId": "1"}, function=function)[0] == 500
    assert [line["event"] for line in lines()] == [LogEvent.CREDENTIALS]


def test_an_event_that_is_delivered_again_is_no_bug(create_stream_user, monkeypatch, lines):  # noqa: F811
    def fail(*args: object) -> None:
        raise FirebaseUnavailable("down")

    monkeypatch.setattr(events, "reconcile_after_sign_up", fail)
    assert create_stream_user("ann") == 500
    assert lines() == []
