"""The record of each day, as ``wakeRepairs`` notes it every five minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import PermissionDenied
from stream_chat import StreamChat

from chatsync import daily, outbox
from chatsync.daily import Day
from chatsync.errors import FirebaseUnavailable, StreamRejected, StreamUnavailable
from chatsync.ids import Key
from chatsync.outcome import Outcome

TODAY = f"{datetime.now(UTC):%Y-%m-%d}"


@pytest.fixture
def enter(clients, firestore):
    """Enters a user into the outbox, who first failed so many minutes ago."""

    def enter(uid: str, minutes: int = 0, *, parked: bool = False) -> None:
        error = StreamRejected("no", 400, 4) if parked else StreamUnavailable("down")
        outbox.write_entries([Outcome(Key("user", uid), "", None, error)], clients)
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        firestore.document(f"repairs/user_{uid}").update({"firstFailedAt": at})

    return enter


def today(clients) -> Day:
    daily.note(clients)
    return daily.read(clients)[TODAY]


def test_a_quiet_day_is_recorded_as_quiet(clients):
    day = today(clients)
    assert (day.waiting, day.oldest_minutes, day.parked) == (0, 0, 0)


def test_what_waits_is_recorded_with_the_age_of_the_oldest(clients, enter):
    for number in range(3):
        enter(f"parked-{number}", 600, parked=True)
    enter("new", 2)
    enter("old", 45)
    day = today(clients)
    assert (day.waiting, day.oldest_minutes, day.parked) == (2, 45, 3)


def test_the_worst_of_a_day_stays_and_what_is_parked_is_the_latest(clients, enter, firestore):
    enter("ann", 30)
    enter("bob", parked=True)
    daily.note(clients)
    for uid in ("ann", "bob"):
        firestore.document(f"repairs/user_{uid}").delete()
    day = today(clients)
    assert (day.waiting, day.oldest_minutes, day.parked) == (1, 30, 0)


def test_the_share_of_streams_limits_is_recorded(clients, stream, chat):
    stream.limit("QueryUsers", 10)
    for _ in range(4):
        chat.query_users({"id": "ann"})
    assert today(clients).limits["QueryUsers"] == 0.4
    stream.limit("QueryUsers", 10)  # a new window
    assert today(clients).limits["QueryUsers"] == 0.4


def test_nothing_is_written_if_nothing_is_new(clients, firestore_api):
    daily.note(clients)
    firestore_api.calls.clear()
    daily.note(clients)
    assert "commit" not in firestore_api.calls


def test_old_days_are_left_out(clients, firestore):
    kept, gone = (datetime.now(UTC) - timedelta(days=days) for days in (90, 91))
    days = {f"{one:%Y-%m-%d}": {"waiting": 1} for one in (kept, gone)}
    firestore.document("chatsync/days").set({"days": days})
    daily.note(clients)
    assert list(daily.read(clients)) == [f"{kept:%Y-%m-%d}", TODAY]


def test_the_outbox_is_recorded_while_stream_is_down(clients, stream, enter):
    enter("ann")
    stream.fault("GetRateLimits", "status", status=503, times=9)
    day = today(clients)
    assert (day.waiting, dict(day.limits)) == (1, {})


def test_the_document_has_the_fields_that_are_described_and_no_others(clients, firestore):
    daily.note(clients)
    [day] = firestore.document("chatsync/days").get().get("days").values()
    assert day.keys() == {"waiting", "oldestMinutes", "parked", "limits"}


ODD_DAYS = [
    *(7, "x", [], {TODAY: None}, {TODAY: [1]}, {"no date": {"waiting": 1}}),
    {"2026-11-26": {"waiting": "many", "oldestMinutes": -3, "parked": None, "limits": [1]}},
    {"2026-11-26": {"limits": {"QueryUsers": "x", "UpdateUsers": float("nan"), "Q": 7, "R": None}}},
]


@pytest.mark.parametrize("days", ODD_DAYS, ids=str)
def test_what_is_odd_in_the_record_is_ignored(clients, firestore, days):
    firestore.document("chatsync/days").set({"days": days})
    assert today(clients).waiting == 0
    for date, day in daily.read(clients).items():
        assert datetime.strptime(date, "%Y-%m-%d")
        counts = (day.waiting, day.oldest_minutes, day.parked)
        assert all(isinstance(one, int) and one >= 0 for one in counts)
        assert all(0 <= one <= 1 for one in day.limits.values())


ODD_LIMITS = [
    *([], "x", None, {"QueryUsers": None}, {"QueryUsers": {}}, {"QueryUsers": [1, 2]}),
    *({"QueryUsers": {"limit": "10", "remaining": 4}}, {"QueryUsers": {"limit": 0}}),
    *({"": {"limit": 2, "remaining": 1}}, {"__x__": {"limit": 2, "remaining": 1}}),
]


@pytest.mark.parametrize("stated", ODD_LIMITS, ids=str)
def test_limits_of_another_shape_are_left_out(clients, monkeypatch, stated):
    monkeypatch.setattr(StreamChat, "get_rate_limits", lambda *_, **__: {"server_side": stated})
    assert today(clients).limits == {}


@pytest.mark.parametrize(("remaining", "share"), [(15, 0), (-5, 1), (4, 0.6)])
def test_a_share_is_between_nothing_and_all(clients, monkeypatch, remaining, share):
    stated = {"QueryUsers": {"limit": 10, "remaining": remaining}, "UpdateUsers": None}
    monkeypatch.setattr(StreamChat, "get_rate_limits", lambda *_, **__: {"server_side": stated})
    assert today(clients).limits == {"QueryUsers": share}


def test_the_oldest_is_known_with_more_parked_entries_than_are_read(clients, enter, firestore):
    at = datetime.now(UTC) - timedelta(days=9)
    batch = firestore.batch()
    for number in range(205):
        entry = {"state": "parked", "reason": "rejected", "firstFailedAt": at}
        batch.set(firestore.document(f"repairs/user_p{number}"), entry)
    batch.commit()
    enter("ann", 33)
    assert today(clients).oldest_minutes == 33


def test_a_parked_entry_that_is_tried_once_more_has_not_waited_since_it_failed(clients, enter):
    enter("ann", 9000, parked=True)
    enter("bob", 3)
    assert outbox.retry_parked(clients) == 1
    assert today(clients).oldest_minutes == 3


@pytest.mark.parametrize("odd", [None, 7, "yesterday"])
def test_an_entry_without_a_time_hides_no_other(clients, enter, firestore, odd):
    firestore.document("repairs/user_odd").set({"state": "waiting", "firstFailedAt": odd})
    enter("ann", 12)
    assert today(clients).oldest_minutes == 12


@pytest.mark.parametrize("error", [FirebaseUnavailable("no answer"), PermissionDenied("no role")])
def test_a_failure_of_firestore_is_only_told_in_the_log(clients, monkeypatch, capsys, error):
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(daily, "read", fails)
    daily.note(clients)
    assert "The record of the day could not be written" in "".join(capsys.readouterr())
