"""The nights of ``report``: the audit that counts for each; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..audit import Audit
from ..daily import Day
from .health import NIGHTS, is_nightly

DUE_HOUR = 4
"""In UTC: by then the audit of this night has begun."""


@dataclass(frozen=True)
class Night:
    date: str
    """As in 2026-11-27, in UTC."""

    audit: Audit | None = None
    """The functions' audit that is done; None if none is."""

    @property
    def rate(self) -> float | None:
        return self.audit.sync_rate if self.audit else None


def nights_of(audits: Sequence[Audit], now: datetime) -> list[Night]:
    """The last thirty nights in order, from the first audit on; ``audits`` has the newest first."""
    begun = {f"{one.started_at:%Y-%m-%d}": None for one in audits if is_nightly(one)}
    done = [one for one in reversed(audits) if is_nightly(one) and one.state == "done"]
    by_date: dict[str, Audit | None] = begun | {f"{one.started_at:%Y-%m-%d}": one for one in done}
    if not by_date:
        return []
    first, today = min(by_date), f"{now:%Y-%m-%d}"
    return [
        Night(date, by_date.get(date))
        for date in _last_dates(now)
        if date >= first and (date != today or by_date.get(today) or now.hour >= DUE_HOUR)
    ]


def days_of(days: Mapping[str, Day], now: datetime) -> dict[str, Day | None]:
    """The last thirty days in order, from the first that is recorded on; None if one is not. Today
    may still be without a record."""
    dates = _last_dates(now)
    first = min((date for date in days if date in dates), default="")
    known = {date: days.get(date) for date in dates if first and date >= first}
    return {date: day for date, day in known.items() if day or date != dates[-1]}


def _last_dates(now: datetime) -> list[str]:
    return [f"{now - timedelta(days=ago):%Y-%m-%d}" for ago in reversed(range(NIGHTS))]


def rate_of_team(audit: Audit, team: str) -> float | None:
    """Of the records that it owns; None if it owns none."""
    numbers = audit.teams.get(team, {})
    records = numbers.get("records", 0)
    return numbers.get("agreeing", 0) / records if records else None
