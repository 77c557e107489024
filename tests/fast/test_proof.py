"""Whether Stream's events arrive, as ``chatsync/webhook`` says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import InternalServerError, PermissionDenied

from chatsync import audit, proof
from chatsync.clients.stream import Stream
from chatsync.proof import EVENTS, is_proven, missing_events, note_hooks, note_user_event
from tests.fast.proven import forget, prove

URL = "https://functions.example/streamWebhook"
NOW = datetime.now(UTC)


@pytest.fixture
def stored(firestore):
    return lambda: firestore.document("chatsync/webhook").get().to_dict()


@pytest.fixture
def hooked(stream):
    """Stream sends every event."""
    stream.webhook(URL)
    yield stream
    stream.webhook(None)


@pytest.fixture
def logged(monkeypatch) -> list[str]:
    lines: list[str] = []
    for name in ("warn", "error"):
        monkeypatch.setattr(proof.logger, name, lambda line, **fields: lines.append(line))
    return lines


# What counts as proof


def test_an_event_and_a_complete_check_are_proof(clients):
    prove(clients)
    assert is_proven(clients, NOW)


@pytest.mark.parametrize(
    ("fields", "is_proof"),
    [
        ({"lastUserEventAt": NOW - timedelta(hours=23)}, True),
        ({"lastUserEventAt": NOW - timedelta(hours=24)}, False),
        ({"lastUserEventAt": None}, False),
        ({"lastUserEventAt": "2026-11-20"}, False),
        ({"checkedAt": NOW - timedelta(hours=47)}, True),
        ({"checkedAt": NOW - timedelta(hours=49)}, False),
        ({"checkedAt": 5}, False),
        ({"missingEvents": ["user.banned"]}, False),
        ({"missingEvents": None}, False),
    ],
)
def test_old_or_incomplete_proof_is_none(clients, fields, is_proof):
    prove(clients, **fields)
    assert is_proven(clients, NOW) is is_proof


def test_without_the_document_nothing_is_proven(clients):
    assert not is_proven(clients, NOW)


def test_trust_hours_say_how_old_an_event_may_be(with_settings):
    clients = with_settings(stream={"trust_hours": 0.5})
    prove(clients, lastUserEventAt=NOW - timedelta(minutes=40))
    assert not is_proven(clients, NOW)
    prove(clients, lastUserEventAt=NOW - timedelta(minutes=20))
    assert is_proven(clients, NOW)


def test_with_no_trust_nothing_is_read(with_settings, firestore_api):
    clients = with_settings(stream={"trust_hours": 0})
    prove(clients)
    firestore_api.calls.clear()
    assert not is_proven(clients, NOW)
    assert firestore_api.calls == []


# Once a minute


def test_the_document_is_read_once_a_minute(clients, firestore_api):
    prove(clients)
    firestore_api.calls.clear()
    for seconds in (0, 1, 59):
        assert is_proven(clients, NOW + timedelta(seconds=seconds))
    assert firestore_api.calls == ["batch_get_documents"]
    clients.firestore.document("chatsync/webhook").delete()
    assert not is_proven(clients, NOW + timedelta(seconds=60))


def test_many_threads_read_the_document_once(clients, firestore_api):
    prove(clients)
    firestore_api.calls.clear()
    all_there = threading.Barrier(8)

    def ask(number: int) -> bool:
        all_there.wait()
        now = NOW + timedelta(milliseconds=number)  # they come in any order
        return is_proven(clients.leaving(0.5), now)  # as events do, with the same Firestore

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(8)))
    assert firestore_api.calls == ["batch_get_documents"]


@pytest.mark.parametrize("error", [InternalServerError("down"), PermissionDenied("no role")])
def test_a_document_that_cannot_be_read_is_no_proof_and_told_once_a_minute(
    clients, firestore_api, logged, error
):
    prove(clients)

    def fail(call: str) -> None:
        raise error

    firestore_api.before_call = fail
    assert not any(is_proven(clients, NOW + timedelta(seconds=one)) for one in range(59))
    assert len(logged) == 1
    assert "chatsync/webhook" in logged[0]
    firestore_api.before_call = lambda call: None
    assert is_proven(clients, NOW + timedelta(seconds=61))


# An event is noted


def test_an_event_of_a_user_is_noted(clients, stored):
    note_user_event(clients)
    assert datetime.now(UTC) - stored()["lastUserEventAt"] < timedelta(seconds=30)


def test_events_of_ten_minutes_are_noted_once(clients, firestore_api):
    for _ in range(5):
        note_user_event(clients)
    assert firestore_api.calls == ["batch_get_documents", "commit"]


def test_another_instances_note_counts(clients, firestore_api):
    note_user_event(clients)
    forget(clients)
    firestore_api.calls.clear()
    for _ in range(5):
        note_user_event(clients)
    assert firestore_api.calls == ["batch_get_documents"]


def test_an_old_note_is_renewed_and_the_check_stays(clients, stored):
    prove(clients, lastUserEventAt=NOW - timedelta(minutes=11))
    note_user_event(clients)
    assert datetime.now(UTC) - stored()["lastUserEventAt"] < timedelta(minutes=1)
    assert stored()["missingEvents"] == []
    assert is_proven(clients, datetime.now(UTC))


def test_what_this_process_noted_it_knows_at_once(clients):
    prove(clients, lastUserEventAt=NOW - timedelta(days=2))
    assert not is_proven(clients, datetime.now(UTC))
    note_user_event(clients)
    assert is_proven(clients, datetime.now(UTC))


@pytest.mark.parametrize("call", ["batch_get_documents", "commit"])
def test_a_note_that_fails_is_only_logged_and_not_tried_at_each_event(
    clients, firestore_api, logged, call
):
    tried = []

    def fail(called: str) -> None:
        tried.append(called)
        if called == call:
            raise PermissionDenied("no role")

    firestore_api.before_call = fail
    for _ in range(5):
        note_user_event(clients)
    assert tried.count(call) == 1
    assert logged


# Stream's settings are checked


def test_all_events_are_sent(clients, hooked, stored):
    note_hooks(clients)
    assert stored()["missingEvents"] == []
    assert datetime.now(UTC) - stored()["checkedAt"] < timedelta(seconds=30)


def test_missing_events_are_noted_and_told(clients, stream, hooked, stored, logged):
    stream.webhook(URL, [one for one in EVENTS if one != "user.banned"])
    note_hooks(clients)
    assert stored()["missingEvents"] == ["user.banned"]
    assert "does not send user.banned" in logged[0]


def test_without_webhook_all_events_are_missing(clients, stream, stored):
    stream.webhook(None)
    note_hooks(clients)
    assert stored()["missingEvents"] == sorted(EVENTS)


def test_a_check_keeps_the_last_event_and_is_known_at_once(clients, hooked):
    prove(clients, missingEvents=["user.banned"])
    assert not is_proven(clients, NOW)
    note_hooks(clients)
    assert is_proven(clients, NOW)


def hook(**fields: Any) -> dict[str, Any]:
    return {"hook_type": "webhook", "webhook_url": URL, "enabled": True, **fields}


@pytest.mark.parametrize(
    ("app", "missing"),
    [
        ({}, None),
        ({"webhook_url": "", "event_hooks": []}, None),
        ({"webhook_url": "https://elsewhere.example"}, None),
        ({"webhook_url": URL}, []),
        ({"webhook_url": "https://streamwebhook-abc.run.example"}, []),
        ({"webhook_url": "https://us-east1-a-project.cloudfunctions.net/streamWebhook"}, []),
        ({"webhook_url": "https://us-east1-b-project.cloudfunctions.net/streamWebhook"}, None),
        ({"webhook_url": URL, "webhook_events": list(EVENTS)}, []),
        ({"webhook_url": URL, "webhook_events": list(EVENTS[1:])}, ["channel.created"]),
        ({"event_hooks": [hook()]}, []),
        ({"event_hooks": [hook(enabled=False)]}, None),
        ({"event_hooks": [hook(hook_type="pending_message")]}, None),
        ({"event_hooks": [{"hook_type": "sqs"}, "?", None]}, None),
        (
            {"event_hooks": [hook(event_types=EVENTS[:5]), hook(event_types=EVENTS[6:])]},
            ["message.new"],
        ),
        ({"event_hooks": [hook(event_types=["user.updated"])], "webhook_url": URL}, []),
    ],
    ids=str,
)
def test_the_events_that_are_missing(app, missing):
    assert missing_events(app, "a-project") == missing


# When it is checked


def test_every_night_the_settings_are_checked(clients, hooked, stored, tasks):
    audit.begin_nightly(clients)
    assert stored()["missingEvents"] == []
    assert len(tasks.waiting) == 1


@pytest.mark.parametrize("what", ["status", "credentials", "write"])
def test_a_check_that_fails_does_not_stop_the_audit(
    clients, hooked, tasks, firestore_api, logged, what
):
    if what == "status":
        hooked.fault("GetApp", "status", rate=1)
    elif what == "credentials":
        clients = replace(clients, stream=Stream("local-key", "wrong", hooked.url))
    else:

        def fail_first(call: str) -> None:
            if call == "commit":
                firestore_api.before_call = lambda _: None
                raise PermissionDenied("no role")

        firestore_api.before_call = fail_first
    audit.begin_nightly(clients)
    assert len(tasks.waiting) == 1
    assert any("could not be checked" in line for line in logged)


def test_deployed_an_event_does_not_check_the_settings(clients, hooked):
    since = hooked.last_request()
    note_user_event(clients)
    assert hooked.operations(since) == []


def test_in_the_emulators_the_first_event_checks_the_settings(clients, hooked, monkeypatch):
    monkeypatch.setenv("FUNCTIONS_EMULATOR", "true")
    since = hooked.last_request()
    for _ in range(3):
        note_user_event(clients)
    assert hooked.operations(since) == ["GetApp"]
    assert is_proven(clients, datetime.now(UTC))
