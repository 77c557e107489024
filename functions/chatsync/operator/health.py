"""Whether anything is wrong with the whole: what ``status`` and ``report`` say first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import audit as audits
from .. import daily, outbox
from ..audit import Audit
from ..audit.steps import (
    CHANNEL_STEPS,
    KINDS,
    KINDS_OF_CHANNELS,
    KINDS_OF_USERS,
    USER_STEPS,
)
from ..clients import Clients
from ..daily import Day
from ..entry import set_up
from ..outcome import Waiting
from ..proof import missing_when_checked
from .explain.explanation import Problem, when
from .sentences import FINDINGS, OF_THE_WHOLE, PARKED, sentence_of_entry

NIGHTS = 30

LATE_AFTER = timedelta(minutes=10)
"""The drain should have tried an entry by then."""

ABSENT_AFTER = timedelta(hours=26)
DEAD_AFTER = timedelta(seconds=150)
"""Of a backfill: a rate limit delays a page by two minutes."""

MOST_PERCENT = 80
"""Of a limit: outbox, audit and backfill leave the rest to people who wait."""

TOLERATED = ("taken_channel",)
"""Findings about which nothing must be done."""

_MOST_NAMED, _LONGEST, _LONGEST_ERROR = 3, 40, 200


@dataclass(frozen=True)
class Health:
    """What was read of the whole, at one time."""

    project: str
    now: datetime
    paused_since: datetime | None = None
    set_up: Mapping[str, Any] = field(default_factory=dict)
    waiting: int = 0
    oldest: datetime | None = None
    """Of those that wait, when the first one failed."""

    waiting_entries: Sequence[Mapping[str, Any]] = ()
    """Up to 2,000, as are those of ``parked_entries``."""

    parked: int = 0
    parked_entries: Sequence[Mapping[str, Any]] = ()
    audits: Sequence[Audit] = ()
    """Those of the last nights, newest first; backfills too."""

    missing_events: Sequence[str] = ()
    days: Mapping[str, Day] = field(default_factory=dict)

    @property
    def limits(self) -> Counter[str]:
        """Of Stream, by operation: the most percent that was used since yesterday."""
        used, since = Counter[str](), f"{self.now - timedelta(days=1):%Y-%m-%d}"
        for day in (day for date, day in self.days.items() if date >= since):
            used |= Counter({name: round(100 * share) for name, share in day.limits.items()})
        return used

    @property
    def last_audit(self) -> Audit | None:
        return next((one for one in self.audits if one.mode != "backfill"), None)

    @property
    def last_backfill(self) -> Audit | None:
        return next((one for one in self.audits if one.mode == "backfill"), None)

    @property
    def last_whole_audit(self) -> Audit | None:
        """The last one that is done and looked at everything."""
        return self.last_audit_of(*USER_STEPS, *CHANNEL_STEPS)

    def last_audit_of(self, *steps: str) -> Audit | None:
        """The last one that is done and has all these steps, for all teams."""
        done = (one for one in self.audits if one.state == "done" and one.team is None)
        return next((one for one in done if {*steps} <= {*one.steps}), None)


def read_health(clients: Clients) -> Health:
    """Read the whole. It needs Firestore only. Raises FirebaseUnavailable."""
    now = datetime.now(UTC)
    waiting, parked = (outbox.count(state, clients) for state in ("waiting", "parked"))
    return Health(
        str(clients.firestore.project),
        now,
        clients.pause.since(0),
        set_up.read(clients),
        waiting,
        outbox.oldest(clients, parked) if waiting else None,
        outbox.sample("waiting", clients),
        parked,
        outbox.sample("parked", clients),
        audits.recent(clients, now - timedelta(days=NIGHTS + 1)),
        missing_when_checked(clients),
        daily.read(clients),
    )


def is_nightly(audit: Audit) -> bool:
    """Whether it is one of the functions' own; the first one follows the first deployment."""
    return audit.mode in ("nightly", "setup")


def problems_of(health: Health) -> list[Problem]:
    """What is wrong, the gravest first; pure."""
    return [
        *_of_functions(health),
        *_of_parked(health),
        *_of_waiting(health),
        *_of_audits(health),
        *_of_findings(health.last_audit_of(*USER_STEPS), KINDS_OF_USERS),
        *_of_findings(health.last_audit_of(*CHANNEL_STEPS), KINDS_OF_CHANNELS),
        *_of_limits(health),
    ]


def _of_functions(health: Health) -> Iterator[Problem]:
    if health.paused_since:
        yield _problem("paused", f"since {when(health.paused_since)}")
    if health.set_up and (left := set_up.lacking(health.set_up)):
        yield _problem("not set up", "; ".join(left))
    if health.missing_events:
        yield _problem("events missing", ", ".join(health.missing_events))


def _of_parked(health: Health) -> Iterator[Problem]:
    read = len(health.parked_entries)
    of = f" of the first {read}" if read < health.parked else ""
    by_reason: dict[str, list[Mapping[str, Any]]] = {str(one): [] for one in PARKED}
    for entry in health.parked_entries:
        by_reason.setdefault(str(entry.get("reason")), []).append(entry)
    for reason, entries in by_reason.items():
        if entries:
            detail = f"{len(entries)}{of}: {_some([name_of_entry(one) for one in entries])}"
            error = cut(str(entries[0].get("lastError") or ""), _LONGEST_ERROR)
            why = sentence_of_entry("parked", reason)
            yield Problem(cut(f"parked, {reason}"), why, detail, error)


def _of_waiting(health: Health) -> Iterator[Problem]:
    waits = health.now - health.oldest if health.oldest else timedelta(0)
    if waits > LATE_AFTER and not health.paused_since:
        late = [one for one in health.waiting_entries if _is_late(one, health.now)]
        reasons = reasons_of(late or health.waiting_entries) or Counter([str(Waiting.INTERNAL)])
        [(reason, _)] = reasons.most_common(1)
        detail = f"{health.waiting}, the oldest for {age(waits)}"
        yield Problem(cut(f"waiting, {reason}"), sentence_of_entry("waiting", reason), detail)


def _is_late(entry: Mapping[str, Any], now: datetime) -> bool:
    at = entry.get("firstFailedAt")
    since = at if isinstance(at, datetime) and outbox.waits_since_it_failed(entry) else now
    return now - since > LATE_AFTER


def _of_audits(health: Health) -> Iterator[Problem]:
    for last in (health.last_audit, health.last_backfill):
        if last and last.state == "unsafe":
            yield _problem("audit stopped", last.reason)
    backfill = health.last_backfill
    if backfill and not health.paused_since and _has_stopped(backfill, health.now):
        yield _problem("backfill stopped", f"{backfill.seen} are done")
    nightly = [one for one in health.audits if is_nightly(one)]
    last_end = next((one.finished_at for one in nightly if one.state == "done"), None)
    since = last_end or min((one.started_at for one in nightly if one.started_at), default=None)
    if health.set_up.get("auditId") and (since is None or health.now - since > ABSENT_AFTER):
        yield _problem("no audit", f"the last one ended {when(last_end)}" if last_end else "")


def is_dead(audit: Audit, now: datetime) -> bool:
    """Whether the last page ended so long ago that no process can be at work."""
    return audit.version is None or now - audit.version > DEAD_AFTER


def _has_stopped(audit: Audit, now: datetime) -> bool:
    return audit.state == "stopped" or (audit.state == "running" and is_dead(audit, now))


def _of_findings(audit: Audit | None, kinds: Sequence[str]) -> Iterator[Problem]:
    """What the last audit found and was not to repair."""
    found = findings_by_kind(audit) if audit else {}
    for kind in kinds:
        if audit and kind in found and kind not in (*audit.repair, *TOLERATED):
            yield Problem(
                kind, FINDINGS[kind], f"{found[kind]} in the audit of {when(audit.started_at)}"
            )


def _of_limits(health: Health) -> Iterator[Problem]:
    for operation, percent in health.limits.most_common():
        if percent > MOST_PERCENT:
            yield _problem("limit", f"{operation}: {percent}% since yesterday")


def findings_by_kind(audit: Audit) -> dict[str, int]:
    counts = {kind: n for numbers in audit.counts.values() for kind, n in numbers.items()}
    return {kind: counts[kind] for kind in KINDS if counts.get(kind)}


def reasons_of(entries: Sequence[Mapping[str, Any]]) -> Counter[str]:
    return Counter(str(one.get("reason")) for one in entries)


def name_of_entry(entry: Mapping[str, Any]) -> str:
    """As ``explain`` and ``repair`` take it."""
    kind, key = str(entry.get("kind")), str(entry.get("key"))
    return key if kind == "conversation" or (kind == "user" and ":" not in key) else f"{kind}:{key}"


def age(of: timedelta) -> str:
    minutes = max(0, int(of.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{minutes // 60 // 24} days"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    shown = ", ".join(cut(one) for one in names[:_MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def cut(text: str, most: int = _LONGEST) -> str:
    """The beginning: what people or other systems wrote may be of any length."""
    return text if len(text) <= most else f"{text[:most]}..."


def _problem(name: str, detail: str = "") -> Problem:
    return Problem(name, OF_THE_WHOLE[name], cut(detail, _LONGEST_ERROR))
