"""The record of each day, as ``wakeRepairs`` notes it every five minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chatsync import daily, outbox
from chatsync.daily import Day
from chatsync.errors import StreamRejected, StreamUnavailable
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


def test_a_failure_of_firestore_is_only_told_in_the_log(clients, monkeypatch, capsys):
    def fails(*_: object, **__: object) -> None:
        raise StreamUnavailable("no answer")

    monkeypatch.setattr(daily, "read", fails)
    daily.note(clients)
    assert "The record of the day could not be written" in "".join(capsys.readouterr())
