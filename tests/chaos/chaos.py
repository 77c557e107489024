"""Two thousand operations while Stream fails, is down, and processes die; then all must settle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from random import Random

import aiohttp

from dev import emulators
from stream_server.control_client import LocalStream

from . import report, weather
from .backends import FOLDER, Backends
from .cloud import Disorder, Platform
from .deployment import deploy
from .instances import SOURCE
from .judge import Verdict, judge
from .operations import Driver
from .people import Firebase

SETTLE_SECONDS = 240.0
"""A deadline: what counts is that nobody is lost, also beside other tests on a busy machine."""

TICK_SECONDS = 30.0
"""Between two runs of a scheduled function that production runs every five minutes."""

_DRAIN, _WAKE = "drainRepairs", "wakeRepairs"
_OTHER_VICTIMS = ("createStreamUser", "deleteStreamUser")
_KILL_SECONDS = 30.0
"""How long to wait, at least, for a drain to be in the middle of its work."""

_PER_WINDOW = weather.WINDOW_SECONDS / 60  # so many calls per second as in production
_MAX_AT_ONCE = 40
_INSTANCES = {"createStreamUser": 2, "ensureStreamUser": 2, "createUserProfile": 2}
_DISORDER = Disorder(twice=0.05, late=0.10)


@dataclass
class Run:
    """The parts of a run, and what was seen during it."""

    backends: Backends
    platform: Platform
    stream: LocalStream
    firebase: Firebase
    driver: Driver
    began: float = field(default_factory=time.monotonic)
    outbox_peak: int = 0
    outbox: int = 0
    ticks: int = 0
    has_faults: bool = True
    """Whether Stream fails and processes are killed, as opposed to the burst."""
    kills: dict[str, int] = field(default_factory=dict)

    def say(self, text: str) -> None:
        print(f"  {time.monotonic() - self.began:5.0f} s  {text}", flush=True)


@contextlib.asynccontextmanager
async def running(
    backends: Backends, seed: int, instances: dict[str, int], disorder: Disorder
) -> AsyncIterator[Run]:
    """Everything up, watched, and ticking."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    deployed = deploy(SOURCE)
    platform = Platform(deployed, instances, backends.events_port, Random(seed + 1), disorder)
    # A connection per request: the emulators close idle ones, which would look like a failure.
    connector = aiohttp.TCPConnector(force_close=True)
    async with platform.running(), aiohttp.ClientSession(connector=connector) as session:
        firebase = Firebase(session)
        driver = Driver(platform, firebase, Random(seed))
        stream = LocalStream(emulators.STREAM_BASE_URL)
        run = Run(backends, platform, stream, firebase, driver)
        names = ", ".join(f"{one} x{count}" for one, count in instances.items())
        run.say(f"{len(deployed)} functions are up, one process each, but {names}")
        # So that what is remembered of users counts.
        stream.webhook(platform.webhook_url, at_once=50)
        await firebase.prove_that_events_arrive()
        platform.spawn(_watch_outbox(run))
        platform.spawn(_tick(run))
        run.say(f"{_WAKE} runs every {TICK_SECONDS:.0f} s, which stand for five minutes")
        yield run


async def _watch_outbox(run: Run) -> None:
    while True:
        run.outbox = await run.firebase.waiting_repairs()
        run.outbox_peak = max(run.outbox_peak, run.outbox)
        await asyncio.sleep(0.5)


async def _tick(run: Run) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        await run.platform.tick(_WAKE)
        run.ticks += 1


async def run_chaos(backends: Backends, seed: int, operations: int, seconds: float) -> bool:
    """Whether nothing was lost and every answer was one that is documented."""
    async with running(backends, seed, _INSTANCES, _DISORDER) as run:
        weather.set_limits(run.stream, _PER_WINDOW)
        weather.set_faults(run.stream, seed)
        run.say(
            f"Stream fails in {100 * weather.SHARE_OF_FAULTS:.0f} % of all calls, with the limits"
            f" of production, half as many calls in {weather.WINDOW_SECONDS:.0f} s"
        )
        storm = asyncio.create_task(_storm(run, seed, seconds))
        await _operate(run, operations, seconds)
        await storm
        run.stream.clear_faults()
        run.say(
            f"{operations} operations are done and the faults over: {run.outbox} repairs and"
            f" {run.platform.pending_events} events are waiting"
        )
        settled, verdict = await settle(run)
        return report.chaos(run, settled, verdict)


async def _storm(run: Run, seed: int, seconds: float) -> None:
    """What happens once: an outage, and processes that are killed while they work."""
    end = time.monotonic() + seconds
    await asyncio.sleep(seconds * 0.35)
    run.say(f"Stream is down for {weather.OUTAGE_SECONDS:.0f} s")
    await weather.outage(run.stream, seed)
    run.say(f"Stream is back, with its faults: {run.outbox} repairs are waiting")
    others = [asyncio.create_task(_kill(run, name, end)) for name in _OTHER_VICTIMS]
    await _kill(run, _DRAIN, max(end, time.monotonic() + _KILL_SECONDS))
    await asyncio.sleep(seconds * 0.15)
    await _kill(run, _DRAIN, end)
    await asyncio.gather(*others)


async def _kill(run: Run, name: str, deadline: float) -> None:
    if await weather.kill_in_the_middle(run.platform, run.stream, name, deadline):
        run.kills[name] = run.kills.get(name, 0) + 1
        run.say(f"Killed a process of {name} in the middle of its work")


async def _operate(run: Run, count: int, seconds: float) -> None:
    """Begin the operations evenly spread, and wait for all."""
    room = asyncio.Semaphore(_MAX_AT_ONCE)
    tasks: list[asyncio.Task[None]] = []
    began = time.monotonic()
    said = 0.0

    async def one(number: int) -> None:
        try:
            await mix[number]()
        finally:
            room.release()

    mix = run.driver.mix(count)
    for number in range(count):
        await asyncio.sleep(max(0.0, began + seconds * number / count - time.monotonic()))
        await room.acquire()
        tasks.append(asyncio.create_task(one(number)))
        check(run, tasks)
        if time.monotonic() > said + 15:
            said = time.monotonic()
            run.say(progress(run, number))
    await asyncio.gather(*tasks)


def progress(run: Run, done: int) -> str:
    return (
        f"{done} operations, {run.outbox} repairs and {run.platform.pending_events} events waiting"
    )


def check(run: Run, tasks: Iterable[asyncio.Task[None]] = ()) -> None:
    """Raises what broke an operation or a part of the platform."""
    run.backends.check()
    run.platform.check()
    for task in tasks:
        if task.done():
            task.result()


async def settle(run: Run) -> tuple[float | None, Verdict]:
    """How long it took until everybody is where they belong; None if that took too long."""
    began = time.monotonic()
    said = began
    while True:
        check(run)
        waited = time.monotonic() - began
        is_quiet = not run.platform.pending_events and not await run.firebase.waiting_repairs()
        is_over = waited > weather.LATE_SECONDS or not run.has_faults
        if (is_quiet and is_over) or waited > SETTLE_SECONDS:
            driver = run.driver
            hostile = driver.hostile.uids
            verdict = await judge(run.firebase, driver.people, driver.chats, hostile)
            if is_quiet and not verdict.problems and not verdict.waiting:
                return time.monotonic() - began, verdict
            if waited > SETTLE_SECONDS:
                return None, verdict
        if time.monotonic() > said + 15:
            said = time.monotonic()
            run.say(
                f"settling: {run.platform.pending_events} events and"
                f" {await run.firebase.waiting_repairs()} repairs are waiting"
            )
        await asyncio.sleep(0.5)
