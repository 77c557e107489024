"""The command ``status``: whether anything is wrong, then the state of the whole, on one screen."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..audit import Audit
from ..audit.steps import CHANNEL_STEPS, USER_STEPS
from ..entry.set_up import lacking
from . import options
from .explain.explanation import Explanation, Facts, Problem, problems_as_json, verdict_of, when
from .explain.lines import NARROWEST, WIDEST, lines_of, wrapped
from .health import Health, age, cut, problems_of, read_health, reasons_of
from .options import FINDINGS, IN_SYNC, AsJson
from .sentences import FINDINGS as FINDINGS_BY_KIND
from .terminal import percent, print_json

SHORTEST = 20

_LONGEST = 20
"""Of a name in a line."""

_ENTRY_FIELDS = ("kind", "key", "reason", "lastError", "attempts")


def status(as_json: AsJson = False) -> int:
    """Say whether anything is wrong, and show the outbox, the last audit and the rest."""
    health = read_health(options.connect())
    problems = problems_of(health)
    if as_json:
        print_json(report_of(health, problems))
    else:
        size = shutil.get_terminal_size()
        width = max(NARROWEST, min(WIDEST, size.columns))
        print("\n".join(screen(health, problems, width, max(SHORTEST, size.lines - 1))))
    return FINDINGS if problems else IN_SYNC


def screen(health: Health, problems: Sequence[Problem], width: int, height: int) -> list[str]:
    """At most ``height`` lines, if the first problem leaves room for the rest; pure."""
    head = f"{health.project}: {verdict_of(problems)}."
    state = lines_of(Explanation("", [], facts=facts_of(health)), width)
    advice = f"Commands go after `chatsync --project {health.project}`."
    if any(one.name in FINDINGS_BY_KIND for one in problems):
        advice += " Findings stay here until an audit is without them: `audit` looks again."
    rest = [*wrapped(advice, width), ""]
    room = height - len(state) - 2 - (len(rest) if problems else 0)
    told: list[str] = []
    for number, problem in enumerate(problems):
        lines = lines_of(Explanation("", [problem]), width)
        others = "; ".join(dict.fromkeys(one.name for one in problems[number:]))
        also = [*wrapped(f"Also: {others}. `report` tells all.", width), ""]
        if len(lines) + len(also) > room:  # the page and `explain` tell the error, too
            lines = lines_of(Explanation("", [replace(problem, error="")]), width)
        is_last = number == len(problems) - 1
        if number and len(told) + len(lines) + (0 if is_last else len(also)) > room:
            told += also
            break
        told += lines
    return [*wrapped(head, width), "", *told, *(rest if problems else []), *state]


def facts_of(health: Health) -> Facts:
    return [
        ("writing", [f"paused since {when(health.paused_since)}" if health.paused_since else "on"]),
        ("set-up", [_set_up(health.set_up)]),
        ("outbox", [_outbox(health)]),
        ("parked", [_counted(health.parked, health.parked_entries) if health.parked else "none"]),
        ("last audit", [described(health.last_audit)]),
        ("last backfill", [described(health.last_backfill)]),
        ("Stream", [_limits(health)]),
    ]


def _set_up(done: Mapping[str, Any]) -> str:
    if not done:
        return "not deployed yet, or not by `firebase deploy`"
    return "; ".join(lacking(done)) or "done"


def _outbox(health: Health) -> str:
    if not health.waiting:
        return "empty"
    oldest = f"; the oldest for {age(health.now - health.oldest)}" if health.oldest else ""
    return f"{_counted(health.waiting, health.waiting_entries)} wait{oldest}"


def _counted(total: int, entries: Sequence[Mapping[str, Any]]) -> str:
    """``12 (10 stream_unavailable, 2 begun)``, of all or of those that were read."""
    reasons = reasons_of(entries).most_common(3)
    shown = ", ".join(f"{count} {cut(reason, _LONGEST)}" for reason, count in reasons)
    of = "" if total == len(entries) else f"of {len(entries)}: "
    return f"{total} ({of}{shown})"


def described(audit: Audit | None) -> str:
    """``2026-11-27 02:00 UTC, nightly, done: 98% in sync, ...``; a partial one has its limits."""
    if audit is None:
        return "none in the last 30 days"
    sections = {"users": USER_STEPS, "channels": CHANNEL_STEPS}
    only = [name for name, steps in sections.items() if set(steps) & set(audit.steps)]
    limits = [f"{only[0]} only"] if len(only) == 1 else []
    limits += [f"team {cut(str(audit.team), _LONGEST)}"] if audit.team else []
    mode = [cut(audit.mode, _LONGEST)] if audit.mode != "backfill" else []
    head = ", ".join([when(audit.started_at), *mode, *limits, audit.state])
    if audit.state == "unsafe":
        return f"{head}: {cut(audit.reason, 60)}"
    left = f", {audit.failed} failed" if audit.failed else ""
    if audit.mode == "backfill":
        return f"{head}: {audit.seen} compared, {audit.repaired} repaired{left}"
    rate = audit.sync_rate
    in_sync = "nothing to compare" if rate is None else f"{percent(rate)} in sync"
    repaired = f", {audit.repaired} repaired{left}" if audit.repair else ""
    return f"{head}: {in_sync}, {audit.findings} findings{repaired}"


def _limits(health: Health) -> str:
    if not health.days:
        return "how much of its limits is used is not known yet"
    [(operation, percent)] = health.limits.most_common(1) or [("", 0)]
    of = f" ({cut(operation, _LONGEST)})" if operation else ""
    return f"at most {percent}% of a limit was used since yesterday{of}"


def report_of(health: Health, problems: Sequence[Problem]) -> dict[str, Any]:
    """For ``--json``."""
    paused, oldest = health.paused_since, health.oldest
    fields = ("webhookUrl", "auditId", "backfillId")
    return {
        "problems": problems_as_json(problems),
        "pausedSince": paused.isoformat() if paused else None,
        "setUp": {name: health.set_up.get(name) for name in fields},
        "waiting": health.waiting,
        "reasons": reasons_of(health.waiting_entries),
        "oldest": oldest.isoformat() if oldest else None,
        "parked": health.parked,
        "parkedEntries": [
            {name: entry.get(name) for name in _ENTRY_FIELDS} for entry in health.parked_entries
        ],
        "lastAudit": summary(health.last_audit) if health.last_audit else None,
        "lastBackfill": summary(health.last_backfill) if health.last_backfill else None,
        "missingEvents": list(health.missing_events),
    }


def summary(done: Audit) -> dict[str, Any]:
    return {
        "id": done.id,
        "mode": done.mode,
        "state": done.state,
        "reason": done.reason,
        "steps": done.steps,
        "team": done.team,
        "syncRate": done.sync_rate,
        "counts": done.counts,
        "teams": done.teams,
        "repaired": done.repaired,
        "failed": done.failed,
        "streamCalls": done.stream_calls,
    }
