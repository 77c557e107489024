"""The record of each day: how full the outbox was, and how much of Stream's limits was used.

``chatsync/days`` has one field, ``days``, with a map for each date in UTC:

    waiting         the most entries of the outbox that waited at once
    oldestMinutes   the greatest age of one that waited
    parked          the parked entries when it was last looked
    limits          by operation of Stream, the greatest share of a minute's limit that was used

It is looked every five minutes: what rises and falls in between is not seen.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from firebase_functions import logger
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import firestore

from . import outbox
from .clients import Clients
from .clients.documents import temporary_failures_named, until
from .errors import ChatsyncError

KEPT_DAYS = 90
"""As long as audits."""

OPERATIONS = (
    *("GetOrCreateChannel", "QueryChannels", "QueryUsers"),
    *("UpdateChannel", "UpdateUsers", "UpdateUsersPartial"),
)
"""Of Stream, those that the functions call most."""

CALL_SECONDS = 8.0


@dataclass(frozen=True)
class Day:
    """What was seen of a day."""

    waiting: int = 0
    oldest_minutes: int = 0
    parked: int = 0
    limits: Mapping[str, float] = field(default_factory=dict)
    """Shares from 0 to 1."""

    def then(self, later: "Day") -> "Day":
        """The same day when more of it was seen."""
        names = {*self.limits, *later.limits}
        return Day(
            max(self.waiting, later.waiting),
            max(self.oldest_minutes, later.oldest_minutes),
            later.parked,
            {one: max(self.limits.get(one, 0), later.limits.get(one, 0)) for one in names},
        )


def note(clients: Clients) -> None:
    """Look at outbox and limits, and note what is new of this day. A failure is only logged:
    nothing but the operator's report depends on it."""
    now = datetime.now(UTC)
    try:
        known = read(clients)
        today = f"{now:%Y-%m-%d}"
        seen = _look(clients, now)
        noted = known[today].then(seen) if today in known else seen
        if noted != known.get(today):
            _write({today: noted}, _outdated(known, now), clients)
    except (ChatsyncError, GoogleAPICallError) as error:
        logger.warn(f"The record of the day could not be written: {error}")


def read(clients: Clients) -> dict[str, Day]:
    """The days that are recorded, by date, without what is odd. Raises FirebaseUnavailable."""
    with temporary_failures_named():
        snapshot = _reference(clients).get(**until(time.monotonic() + CALL_SECONDS))
    stored = (snapshot.to_dict() or {}).get("days") or {}
    days = stored.items() if isinstance(stored, dict) else ()
    return {
        day: _day_of(fields)
        for day, fields in sorted(days)
        if _is_date(day) and isinstance(fields, dict)
    }


def _is_date(text: str) -> bool:
    try:
        return str(date.fromisoformat(text)) == text
    except ValueError:
        return False


def _look(clients: Clients, now: datetime) -> Day:
    waiting, parked = (outbox.count(state, clients) for state in ("waiting", "parked"))
    oldest = outbox.oldest(clients, parked) if waiting else None
    age = (now - oldest).total_seconds() if oldest else 0
    try:
        limits = clients.stream.limits_used(OPERATIONS, time.monotonic() + CALL_SECONDS)
    except ChatsyncError as error:
        logger.warn(f"Stream's limits could not be read: {error}")
        limits = {}
    return Day(waiting, int(max(0, age) // 60), parked, limits)


def _outdated(known: Mapping[str, Day], now: datetime) -> list[str]:
    first = f"{now - timedelta(days=KEPT_DAYS):%Y-%m-%d}"
    return [day for day in known if day < first]


def _write(days: Mapping[str, Day], outdated: list[str], clients: Clients) -> None:
    fields: dict[str, Any] = {day: _fields_of(seen) for day, seen in days.items()}
    fields |= dict.fromkeys(outdated, firestore.DELETE_FIELD)
    with temporary_failures_named():
        deadline = time.monotonic() + CALL_SECONDS
        _reference(clients).set({"days": fields}, merge=True, **until(deadline))


def _fields_of(day: Day) -> dict[str, Any]:
    fields = asdict(day)
    oldest = fields.pop("oldest_minutes")
    return {**fields, "oldestMinutes": oldest}


def _day_of(fields: Mapping[str, Any]) -> Day:
    limits = fields.get("limits")
    shares = limits.items() if isinstance(limits, dict) else ()
    known = {name: one for name, one in shares if isinstance(one, int | float) and 0 <= one <= 1}
    waiting, oldest, parked = (
        _count(fields.get(name)) for name in ("waiting", "oldestMinutes", "parked")
    )
    return Day(waiting, oldest, parked, known)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _reference(clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document("chatsync", "days")
