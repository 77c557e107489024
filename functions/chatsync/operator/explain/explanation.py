"""What is said of a subject: its problems, its sides beside each other, and other facts; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ...users import Document
from ..sentences import Sentence, sentence_of_entry

ABSENT = "-"

UNKNOWN = "unknown"


Facts = list[tuple[str, Sequence[str]]]
"""Labels, with what is told under each."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    name: str
    sentence: Sentence
    detail: str = ""
    """In a few words."""

    error: str = ""
    """What Stream or Firebase said."""


@dataclass(frozen=True)
class Row:
    """One line of the sides beside each other."""

    label: str
    cells: tuple[str, ...]
    differs: bool = False


@dataclass(frozen=True)
class Explanation:
    """All that is said of one subject."""

    title: str
    problems: list[Problem]
    heads: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    facts: Facts = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    """For ``--json``."""


def problem_of_entry(entry: Document | None) -> list[Problem]:
    if not entry:
        return []
    reason, error = str(entry.get("reason")), str(entry.get("lastError") or "")
    state = "parked" if entry.get("state") == "parked" else "waiting"
    return [Problem(f"{state}, {reason}", sentence_of_entry(state, reason), error=error)]


def outbox_fact(entry: Document | None) -> tuple[str, Sequence[str]]:
    if not entry:
        return "outbox", ["no entry"]
    count = entry.get("attempts", 0)
    tried = f"first failed {when(entry.get('firstFailedAt'))}, {count} attempts since"
    state = "parked" if entry.get("state") == "parked" else "waiting"
    lines = [f"{state}, {entry.get('reason')}: {tried}"]
    if state == "waiting":
        lines.append(f"next attempt {when(entry.get('nextAttemptAt'))}")
    if entry.get("removal") is True:
        lines.append("if the account is gone, its Stream user is removed")
    return "outbox", lines


def is_there(side: object, failure: str = "") -> str:
    return "yes" if side else UNKNOWN if failure else "no"


def day(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}"
    return value[:10] if isinstance(value, str) else ABSENT


def when(at: object) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if isinstance(at, datetime) else "at an unknown time"


def problems_as_json(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [
        {
            "name": one.name,
            "detail": one.detail,
            "error": one.error,
            "why": one.sentence.why,
            "do": one.sentence.do,
        }
        for one in problems
    ]


def only(names: Iterable[str], fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """These of the fields; None if there are no fields at all."""
    return {one: fields[one] for one in names if one in fields} if fields else None


def verdict_of(problems: Sequence[Problem], wrong: str = "wrong") -> str:
    """``2 things are wrong``, or ``nothing is wrong``."""
    amount = f"{len(problems)} things are" if len(problems) > 1 else "1 thing is"
    return f"{amount if problems else 'nothing is'} {wrong}"
