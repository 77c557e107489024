"""Points in time, in the one form that Stream answers with.

All have the same length and zone, so comparing the texts compares the times.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .errors import bad_input


def now() -> str:
    return text(datetime.now(UTC))


def just_after(time: str) -> str:
    return text(datetime.fromisoformat(time) + timedelta(microseconds=1))


def just_before(time: str) -> str:
    return text(datetime.fromisoformat(time) - timedelta(microseconds=1))


def text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse(value: object, field: str) -> str:
    """The same point in time in our form; refused unless it is RFC 3339 with a zone."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment and moment.tzinfo is not None:
            return text(moment)
    except (ValueError, OverflowError):
        pass
    raise bad_input(f"field `{field}` is not a valid RFC 3339 time")
