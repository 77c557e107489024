"""The page of ``report``: what stands on it, from what was read of the whole; pure."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

import chatsync

from ..audit import Audit
from ..audit.steps import Finding
from ..daily import Day
from . import charts
from .explain.explanation import verdict_of, when
from .health import (
    Health,
    findings_by_kind,
    name_of_entry,
    problems_of,
    reasons_of,
)
from .nights import Night, days_of, nights_of, rate_of_team
from .sentences import FINDINGS, PARKED, Sentence
from .terminal import percent

_HERE = files(__package__)


Rows = Sequence[Sequence[object]]


@dataclass(frozen=True)
class Chart:
    """A section of the page: what it says in words, the drawing, and its numbers."""

    id: str
    title: str
    caption: str
    svg: str = ""
    head: Sequence[str] = ()
    rows: Rows = ()


def page_of(health: Health, found: Sequence[Finding]) -> str:
    """The page as HTML. ``found`` is what the last whole audit found, as far as it is saved."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["commands"] = _commands
    template = environment.from_string(_HERE.joinpath("report.html").read_text(encoding="utf-8"))
    script = _HERE.joinpath("report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    audit, problems = health.last_whole_audit, problems_of(health)
    kinds = findings_by_kind(audit) if audit else {}
    return str(
        template.render(
            health=health,
            version=chatsync.__version__,
            made_at=f"{health.now:%Y-%m-%d %H:%M}",
            verdict=f"{verdict_of(problems).capitalize()}.",
            problems=problems,
            charts=charts_of(health),
            parked_caption=_parked(health),
            parked_sentences=_sentences_of_parked(health),
            findings_caption=_findings(audit, len(found)),
            kinds=[(kind, count, FINDINGS[kind]) for kind, count in kinds.items()],
            tables=tables_of(health, found),
            script=script,
            script_hash=base64.b64encode(digest).decode(),
        )
    )


def _commands(text: str) -> Markup:
    """Escaped, with what stands in backticks as code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def charts_of(health: Health) -> list[Chart]:
    nights = nights_of(health.audits, health.now)
    days = days_of(health.days, health.now)
    drawn = (
        *(_sync_rate(nights, health.now), _teams(nights, health.now)),
        *(_findings_per_night(nights, health.now), _outbox(days, health)),
        _limits(days, health.now),
    )
    return [one for one in drawn if one]


def _sync_rate(nights: Sequence[Night], now: datetime) -> Chart:
    title = "In sync"
    rates = [(one.rate, one.date) for one in nights if one.rate is not None]
    if not rates:
        return Chart(
            "sync", title, "No nightly audit has ended yet, or there was nothing to compare."
        )
    lowest, date = min(rates)
    missing = sum(one.audit is None for one in nights)
    caption = f"{percent(rates[-1][0], 1)} when the last audit began, before it repaired anything;"
    caption += f" {percent(lowest, 1)} at the lowest, on {date}."
    if missing:
        caption += f" {missing} of {len(nights)} nights have no audit: they are marked."
    rows = [(one.date, percent(one.rate, 1) if one.audit else "no audit") for one in nights]
    svg = charts.draw(charts.sync_rate(nights, now))
    return Chart("sync", title, caption, svg, ("night", "in sync"), rows)


def _teams(nights: Sequence[Night], now: datetime) -> Chart | None:
    spec = charts.teams(nights, now)
    if spec is None:
        return None
    worst = charts.worst_teams(nights)
    last = next(one.audit for one in reversed(nights) if one.audit)
    rates = [rate_of_team(last, team) for team in last.teams]
    below = sum(rate is not None and rate < 1 for rate in rates)
    caption = f"{below} of {len(last.teams)} teams were not in sync on the last night."
    if len(last.teams) > len(worst):
        caption += f" The {len(worst)} lowest are shown."
    rows = [(team, percent(rate, 1)) for team, rate in worst]
    head = ("team", "in sync on the last night")
    return Chart("teams", "In sync, by team", caption, charts.draw(spec), head, rows)


def _findings_per_night(nights: Sequence[Night], now: datetime) -> Chart | None:
    audited = [(one.date, one.audit) for one in nights if one.audit]
    if not audited:
        return None
    rows = [(date, one.findings, one.repaired, one.failed) for date, one in audited]
    total = sum(one.findings for _, one in audited)
    repaired = sum(one.repaired for _, one in audited)
    left = audited[-1][1].findings - audited[-1][1].repaired
    nights_long = f"{len(audited)} nights" if len(audited) > 1 else "1 night"
    caption = f"{total} in {nights_long}; the audits repaired {repaired} themselves."
    caption += f" The last one left {left}." if left > 0 else " The last one left none."
    svg = charts.draw(charts.findings(nights, now)) if total else ""
    head = ("night", "found", "repaired", "failed")
    return Chart("nights", "Findings per night", caption, svg, head, rows)


def _recorded(days: Mapping[str, Day | None]) -> dict[str, Day]:
    return {date: day for date, day in days.items() if day}


def _not_recorded(days: Mapping[str, Day | None]) -> str:
    missing = len(days) - len(_recorded(days))
    if missing > 1:
        return f" {missing} of {len(days)} days were not recorded: they are marked."
    return f" 1 of {len(days)} days was not recorded: it is marked." if missing else ""


def _rows(days: Mapping[str, Day | None], row: Callable[[Day], Sequence[object]]) -> Rows:
    return [(date, *(row(day) if day else ("not recorded",))) for date, day in days.items()]


def _outbox(days: Mapping[str, Day | None], health: Health) -> Chart:
    title, recorded = "Outbox", _recorded(days)
    now = f"{health.waiting} entries wait now" if health.waiting else "Nothing waits now"
    if not recorded:
        return Chart("outbox", title, f"{now}. `wakeRepairs` has recorded no day yet.")
    most, date = max((one.waiting, date) for date, one in recorded.items())
    caption = (
        f"{now}. The most was {most}, on {date}." if most else f"{now}, and nothing did before."
    )
    caption += _not_recorded(days)
    rows = _rows(days, lambda one: (one.waiting, one.oldest_minutes, one.parked))
    head = ("day", "waiting, at most", "oldest, in minutes", "parked")
    svg = charts.draw(charts.outbox(days, health.now))
    return Chart("outbox", title, caption, svg, head, rows)


def _limits(days: Mapping[str, Day | None], now: datetime) -> Chart | None:
    recorded = _recorded(days)
    if not recorded:
        return None
    title = "Stream's limits"
    spec = charts.limits(days, now)
    if spec is None:
        return Chart("limits", title, "Less than 1% of any limit was used.")
    seen = [(s, name, date) for date, day in recorded.items() for name, s in day.limits.items()]
    share, name, date = max(seen)
    caption = f"At most {share:.0%} of a minute's limit was used: {name}, on {date}."
    caption += " At 100% Stream refuses calls. The limits are looked at every five minutes."
    caption += _not_recorded(days)
    names = sorted({name for _, name, _ in seen})
    rows = _rows(days, lambda day: [f"{day.limits.get(one, 0):.0%}" for one in names])
    return Chart("limits", title, caption, charts.draw(spec), ("day", *names), rows)


def _parked(health: Health) -> str:
    if not health.parked:
        return "None: every repair succeeds or is tried again."
    shown = len(health.parked_entries)
    of = f" {shown} of them are listed." if shown < health.parked else ""
    return f"{health.parked} wait until a person acts.{of}"


def _sentences_of_parked(health: Health) -> list[tuple[str, Sentence]]:
    reasons = reasons_of(health.parked_entries)
    return [(str(one), sentence) for one, sentence in PARKED.items() if reasons[str(one)]]


def _findings(audit: Audit | None, shown: int) -> str:
    if audit is None:
        return "No audit of everything has ended in the last 30 days."
    head = f"The audit of {when(audit.started_at)} found {audit.findings or 'nothing'}"
    repaired = f", and repaired {audit.repaired} of them" if audit.repaired else ""
    first = f" The first {shown} are listed." if shown < audit.findings else ""
    return f"{head}{repaired}.{first}"


def tables_of(health: Health, found: Sequence[Finding]) -> list[dict[str, Any]]:
    """For the page's script; ``choose`` is the column that can be chosen from."""
    parked = [
        [
            name_of_entry(one),
            str(one.get("reason")),
            when(one.get("firstFailedAt")),
            str(one.get("lastError") or ""),
        ]
        for one in health.parked_entries
    ]
    findings = [
        [str(cell or "") for cell in (one.kind, one.key, one.team, one.detail)] for one in found
    ]
    return [
        {
            "section": "parked",
            "columns": ["who", "reason", "first failed", "last error"],
            "rows": parked,
            "choose": 1,
        },
        {
            "section": "findings",
            "columns": ["kind", "who or what", "team", "detail"],
            "rows": findings,
            "choose": 0,
        },
    ]
