"""The tables at the end of a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from stream_server.control import calls_by_status

from .hostile import share_of_limits
from .judge import Verdict
from .weather import WINDOW_SECONDS, calls_of_functions

if TYPE_CHECKING:
    from .chaos import Run

_MAX_SHOWN = 20


def chaos(run: Run, settled: float | None, verdict: Verdict) -> bool:
    """Print what happened; True if nothing was lost and nothing against the contract was seen."""
    driver = run.driver
    table("Operations", driver.operations.items(), total=True)
    table(
        "Answers of callables",
        ((f"{name}: {code}", count) for (name, code), count in sorted(driver.answers.items())),
    )
    slowest = sorted(driver.seconds) or [0.0]
    lines = [
        ("median, seconds", f"{slowest[len(slowest) // 2]:.2f}"),
        ("slowest of 100, seconds", f"{slowest[int(len(slowest) * 0.99)]:.2f}"),
        ("slowest, seconds", f"{slowest[-1]:.2f}"),
        ("said that a repair is queued", driver.queued),
    ]
    table("Callables", lines)
    events_and_stream(run)
    _hostile(run)
    table("Outbox", outbox_lines(run))
    return conclusion(run, settled, verdict)


def _hostile(run: Run) -> None:
    hostile = run.driver.hostile
    table("Hostile accounts did", hostile.operations.items(), total=True)
    table("Answers to hostile accounts", sorted(hostile.answers.items()))
    limits = {name: limit["limit"] for name, limit in run.stream.state()["limits"].items()}
    windows = (time.monotonic() - run.began) / WINDOW_SECONDS
    used = share_of_limits(calls_of_functions(run.stream), hostile.uids, limits, windows)
    table("Stream calls about hostile accounts, and their share of the limits", used)


def events_and_stream(run: Run) -> None:
    table(
        "Events: delivered, twice, late, deliveries that failed and were repeated",
        (
            (name, f"{one.events:>7}{one.doubled:>7}{one.late:>7}{one.failed:>7}")
            for name, one in sorted(run.platform.deliveries.items())
        ),
    )
    calls = calls_by_status(calls_of_functions(run.stream))
    table(
        "Stream calls by operation and status; none: no answer",
        ((name, summary(statuses)) for name, statuses in sorted(calls.items())),
    )


def outbox_lines(run: Run) -> list[tuple[str, object]]:
    functions = run.platform.functions
    instances = [one for function in functions.values() for one in function.instances]
    return [
        ("most repairs waiting at once", run.outbox_peak),
        ("requests to drainRepairs, by status", summary(functions["drainRepairs"].answers)),
        ("runs of wakeRepairs", run.ticks),
        *((f"{name} killed while it worked", count) for name, count in run.kills.items()),
        ("processes started again", sum(one.starts - 1 for one in instances)),
    ]


def conclusion(run: Run, settled: float | None, verdict: Verdict) -> bool:
    given_up = sum(one.given_up for one in run.platform.deliveries.values())
    violations = [*run.driver.violations, *run.driver.hostile.violations]
    shown("Answers against the contract", violations)
    shown("Parked repairs", (str(entry) for entry in verdict.parked))
    shown("Lost", (f"{uid} {'; '.join(what)}" for uid, what in verdict.problems.items()))
    has_tried_all = not run.has_faults or "drainRepairs" in run.kills
    if not has_tried_all:
        shown("Not tried", ["no drain was killed in the middle of its work"])
    table(
        "In the end",
        [
            ("living accounts, all in Stream", verdict.living - verdict.not_promised),
            ("imported, and no call for them succeeded", verdict.not_promised),
            ("deleted accounts", verdict.deleted),
            ("repairs waiting", verdict.waiting),
            ("repairs parked", len(verdict.parked)),
            ("events not delivered", run.platform.pending_events + given_up),
            ("answers against the contract", len(violations)),
            ("seconds to settle", "not settled" if settled is None else f"{settled:.0f}"),
            ("lost", len(verdict.problems)),
        ],
    )
    return bool(
        settled is not None
        and not verdict.problems
        and not given_up
        and not violations
        and has_tried_all
    )


def summary(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    parts = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{total:>7}  ({parts})"


def table(title: str, rows: Iterable[tuple[str, object]], total: bool = False) -> None:
    listed = list(rows)
    if total:
        numbers = Counter(dict(listed))
        listed.append(("in all", numbers.total()))
    print(f"\n{title}")
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        text = f"{value:>7}" if isinstance(value, int) else str(value)
        print(f"  {name:<{width}}  {text}")


def shown(title: str, lines: Iterable[str]) -> None:
    """A list, if there is anything in it; long ones are cut."""
    listed = list(lines)
    if listed:
        print(f"\n{title}")
        for line in listed[:_MAX_SHOWN]:
            print(f"  {line}")
        if len(listed) > _MAX_SHOWN:
            print(f"  and {len(listed) - _MAX_SHOWN} more")
