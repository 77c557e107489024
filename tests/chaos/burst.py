"""Thousands of sign-ups as fast as the machine makes them, beyond what Stream's limits allow."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import datetime
from typing import Any

from . import report, weather
from .backends import Backends
from .chaos import Run, check, running, settle
from .cloud import Disorder
from .stream_server import caller_of

_AT_ONCE = 32
_INSTANCES = {"createStreamUser": 3, "createUserProfile": 2}

MAX_REFUSED_PER_USER = 1.5 / 100
"""Calls of UpdateUsers beyond its limit: a batch per hundred users, and half as many again."""


async def run_burst(backends: Backends, seed: int, users: int) -> bool:
    async with running(backends, seed, _INSTANCES, Disorder()) as run:
        run.has_faults = False
        weather.set_limits(run.stream, per_window=1.0)
        run.say(f"Stream's limits of a minute hold for {weather.WINDOW_SECONDS:.0f} s")
        began = time.monotonic()
        await _sign_up(run, users)
        run.say(f"{users} people have signed up, {users / (time.monotonic() - began):.0f} a second")
        settled, verdict = await settle(run)
        print(f"\nFrom the first sign-up until all settled: {time.monotonic() - began:.0f} s")
        report.events_and_stream(run)
        report.table("Outbox", report.outbox_lines(run))
        has_kept_limits = _limits(weather.calls_of_functions(run.stream), users)
        return report.conclusion(run, settled, verdict) and has_kept_limits


async def _sign_up(run: Run, users: int) -> None:
    left = iter(range(users))

    async def worker() -> None:
        for _ in left:
            await run.driver.sign_up()

    workers = [asyncio.create_task(worker()) for _ in range(_AT_ONCE)]
    while not all(one.done() for one in workers):
        await asyncio.sleep(1)
        check(run, workers)


def _limits(calls: list[dict[str, Any]], users: int) -> bool:
    """Print how UpdateUsers and its limit got on; whether the refusals were few enough."""
    updates = [call for call in calls if call["operation"] == "UpdateUsers"]
    refused: Counter[tuple[int, str]] = Counter()
    window, ends = 0, 0.0
    for call in updates:
        at = datetime.fromisoformat(call["at"]).timestamp()
        if at >= ends:
            window, ends = window + 1, at + weather.WINDOW_SECONDS
        if call["status"] == 429:
            refused[window, caller_of(call["path"])] += 1
    most = max(refused.values(), default=0)
    allowed = MAX_REFUSED_PER_USER * users
    sizes = [len(call["ids"]) for call in updates if call["status"] == 201]
    report.table(
        "UpdateUsers and its limit",
        [
            ("calls", len(updates)),
            ("users per call, on average", f"{sum(sizes) / max(1, len(sizes)):.1f}"),
            ("windows", window),
            (f"calls beyond the limit, of which {allowed:.0f} are allowed", refused.total()),
            ("most by one process in one window, of which 1 is allowed", most),
        ],
    )
    for (number, caller), count in sorted(refused.items()):
        if count > 1:
            print(f"  window {number}: {caller} was refused {count} times")
    return refused.total() <= allowed and most <= 1
