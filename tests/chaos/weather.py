"""What Stream does to its callers during a run: faults, an outage, and limits."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from stream_server.control_client import LocalStream
from stream_server.operations import documented_limits

from .cloud import Platform
from .stream_server import caller_of

WINDOW_SECONDS = 30.0
"""Of the rate limits, which in production are counted by the minute."""

OUTAGE_SECONDS = 20.0

LATE_SECONDS = 8.0
"""How late Stream applies some calls: after their callers gave up, which is after six seconds."""

# Shares of all calls, 30 percent together. Time-outs are few because each holds up a thread for
# six seconds. "after" means that the call is applied and its answer lost.
_FAULTS: list[tuple[float, str, dict[str, Any]]] = [
    (0.045, "status", {"status": 500}),
    (0.030, "status", {"status": 500, "when": "after"}),
    (0.015, "status", {"status": 503, "body": "html"}),
    (0.010, "status", {"status": 502, "body": "empty"}),
    (0.010, "status", {"status": 502, "body": "list", "when": "after"}),
    (0.010, "status", {"status": 200, "body": "html"}),
    (0.030, "status", {"status": 429}),
    (0.040, "reset", {}),
    (0.035, "reset", {"when": "after"}),
    (0.003, "timeout", {}),
    (0.007, "timeout", {"when": "after"}),
    (0.015, "delay", {"delay_ms": 1000 * LATE_SECONDS}),
    (0.050, "delay", {"delay_ms": 800}),
]
SHARE_OF_SLOW_WRITES = 0.2
"""Of the writes that meet none of these."""

SHARE_OF_FAULTS = sum(share for share, _, _ in _FAULTS)


def set_limits(stream: LocalStream, per_window: float) -> None:
    """Stream's documented limits of a minute times ``per_window``, in the shorter windows.

    And its guard against bursts.
    """
    stream.switch(burst_guard=True)
    for operation, limit in documented_limits().items():
        stream.limit(operation, max(1, round(limit.limit * per_window)), WINDOW_SECONDS)


def set_faults(stream: LocalStream, seed: int) -> None:
    stream.clear_faults()
    left = 1.0
    for number, (share, kind, options) in enumerate(_FAULTS):
        # The server asks one fault after the other: each sees only what the earlier ones left.
        stream.fault("*", kind, rate=share / left, seed=seed + number, **options)
        left -= share
    for operation in ("UpdateUsers", "UpdateUsersPartial"):
        # Slow writes are applied in another order than they were meant.
        stream.fault(operation, "delay", rate=SHARE_OF_SLOW_WRITES, seed=seed, delay_ms=800)


async def outage(stream: LocalStream, seed: int) -> None:
    """Stream is down completely for a while, and then as before."""
    stream.clear_faults()
    stream.fault("*", "reset", rate=1.0)
    await asyncio.sleep(OUTAGE_SECONDS)
    set_faults(stream, seed + 1000)


async def kill_in_the_middle(
    platform: Platform, stream: LocalStream, name: str, deadline: float
) -> bool:
    """SIGKILL a process of a function that has begun to write to Stream and not answered yet.

    False if none was seen until ``deadline``, in the time of ``time.monotonic()``.
    """
    function = platform.functions[name]
    since = stream.last_request()
    while time.monotonic() < deadline:
        calls = await asyncio.to_thread(stream.requests, since)
        since = max((call["n"] for call in calls), default=since)
        writers = {caller_of(call["path"]) for call in calls if call["method"] != "GET"}
        for instance in function.instances:
            if instance.name in writers and instance.in_flight:
                cut_off = function.answers["reset"] + instance.in_flight
                instance.kill()
                await asyncio.sleep(1)
                if function.answers["reset"] >= cut_off:
                    return True
        await asyncio.sleep(0.005)
    return False


def calls_of_functions(stream: LocalStream) -> list[dict[str, Any]]:
    """The request log, without the calls of others: somebody looked whether the server is up."""
    return [call for call in stream.requests() if caller_of(call["path"])]
