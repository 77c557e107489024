"""What nobody waits for: the drain, the backfill and the audit, beside bare reads and writes.

Each runs as in production: the drain as a function that its queue calls, the others as the
operator's command. Times are of the work alone: our command's from the first to the last write of
its ``audits/{id}``, the baseline's from when its clients are made; so imports count in neither. The
accounts have their documents, and lack nothing but the Stream user; under limits, documents too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from dev import emulators

from . import people, queue, sizes
from .figures import Figure, p95
from .people import STREAM
from .processes import BASELINE, COMMANDS, FOLDER, OURS, Function, environment, serving

DELAY_MS = 100

WINDOWS = 2

CALL_EVERY_SECONDS = 0.5
MISSING_EVERY = 7
"""Of so many callers one meets somebody who is missing: 15 percent of the limit. If each did, two a
second would take 40 percent of Stream's real limit, twice what the background leaves them."""

SHARE_PER_SECOND = 400
"""Accounts that the background may bring to Stream, at 300 calls a minute less a fifth."""

GOALS = {"backfill": "<= 1.3", "drain": "<= 1.3", "audit": "<= 1.5"}

_COLLECTIONS = ("users", "user_profiles", "user_stats")
_TASK_HEADERS = {"Content-Type": "application/json"}
_PATIENCE_SECONDS = 5.0


# How it grows


def growth() -> Iterator[Figure]:
    """Each of three sizes in emulators that hold nobody else, both sides one after the other."""
    if sizes.WARM_UP_USERS:
        _grow(sizes.WARM_UP_USERS)
    for size in sizes.USERS:
        measured = _grow(size)
        for work, (ours, baseline) in measured.items():
            goal = GOALS[work] if size == sizes.USERS[-1] else ""
            load = f"load {os.getloadavg()[0]:.1f}"
            name = f"{work}, {size:,} users"
            yield Figure(name, ours, baseline, "s", goal, f"{size / ours:,.0f}/s; {load}")


def delayed() -> Iterator[Figure]:
    """With Stream as far away as it is, beside what our share of its limit allows."""
    with _drain_function() as function:
        uids = _fresh(sizes.DELAYED_USERS)
        note = f"{sizes.DELAYED_USERS:,} users; beside the four fifths of 300 calls a minute"
        works: dict[str, Callable[[], float]] = {
            "backfill": lambda: _command("backfill", sizes.DELAYED_USERS),
            "drain": lambda: _drained(function, uids),
        }
        for work, seconds in works.items():
            people.forget_in_stream()
            people.set_delay(DELAY_MS)
            rate = sizes.DELAYED_USERS / seconds()
            yield Figure(f"{work}, delay {DELAY_MS}", rate, SHARE_PER_SECOND, "/s", "", note)


def _grow(size: int) -> dict[str, tuple[float, float]]:
    """Of each work: our seconds and the baseline's."""
    measured: dict[str, tuple[float, float]] = {}
    uids = _fresh(size)
    with _drain_function() as function:
        backfill = _command("backfill", size)
        measured["audit"] = _command("audit", size), _baseline("audit", 0)
        people.forget_in_stream()
        measured["backfill"] = backfill, _baseline("backfill", size)
        people.forget_in_stream()
        drained = _drained(function, uids)
        people.forget_in_stream()
        _fill_outbox(uids)
        measured["drain"] = drained, _baseline("drain", size)
    return measured


def _drained(function: Function, uids: Sequence[str]) -> float:
    _fill_outbox(uids)
    began = time.perf_counter()
    for _ in _calls_of_queue(function):
        if not people.documents().collection("repairs").limit(1).get():
            break
    seconds = time.perf_counter() - began
    if (count := STREAM.state()["counts"]["users"]) != len(uids):
        raise RuntimeError(f"the drain made {count} of {len(uids)} users")
    return seconds


def _command(command: str, size: int) -> float:
    """How long the operator's command was at work."""
    with _commanding(command) as process:
        output, _ = process.communicate()
    users = json.loads(output)["counts"]["users"]
    if process.returncode or users["records"] != size:
        raise RuntimeError(f"{command} ended with {process.returncode}: {output!r}")
    audits = people.documents().collection("audits").order_by("startedAt", direction="DESCENDING")
    [latest] = audits.limit(1).get()
    seconds: float = (latest.get("finishedAt") - latest.get("startedAt")).total_seconds()
    return seconds


def _baseline(work: str, expected: int) -> float:
    words = [sys.executable, str(BASELINE / "background.py"), work]
    done = subprocess.run(words, env=environment(), stdout=subprocess.PIPE, check=True)
    printed = json.loads(done.stdout)
    if printed["count"] != expected:
        raise RuntimeError(f"the baseline's {work} counts {printed['count']}, not {expected}")
    seconds: float = printed["seconds"]
    return seconds


# Under Stream's limits


@dataclass
class Interactive:
    """People who call ``ensureStreamUser`` all the time, and some of them for who is missing."""

    function: Function
    missing: set[str] = field(default_factory=set)
    """Whom they called for."""

    milliseconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def call_until(self, stopped: threading.Event) -> None:
        caller = people.caller()
        number = 0
        next_at = time.monotonic()
        while not stopped.wait(max(0.0, next_at - time.monotonic())):
            next_at += CALL_EVERY_SECONDS
            uid = caller.uid
            if number % MISSING_EVERY == 0:
                # New, so that the background has not met them yet.
                [uid] = people.accounts(1)
                self.missing.add(uid)
            number += 1
            began = time.perf_counter()
            try:
                self.function.call({"userId": uid}, caller.id_token)
            except RuntimeError as error:
                self.failures.append(str(error))
            self.milliseconds.append(1000 * (time.perf_counter() - began))


def limited() -> Iterator[Figure]:
    """A window alone, then one in which people call."""
    # For whom our share is used up, and some more; without documents, to save time.
    enough = 85 * sizes.LIMIT * WINDOWS
    with _drain_function() as function, serving(OURS, "ensureStreamUser") as ensure:
        caller = people.caller()
        ensure.call({"userId": caller.uid}, caller.id_token)
        uids = _fresh(enough, documents=False)
        _fill_outbox(uids)
        yield from _limited("drain", Interactive(ensure), lambda: draining(function))
        _fresh(enough, documents=False)
        yield from _limited("backfill", Interactive(ensure), lambda: _commanding("backfill"))


def _limited(
    work: str,
    interactive: Interactive,
    running: Callable[[], contextlib.AbstractContextManager[object]],
) -> Iterator[Figure]:
    STREAM.switch(burst_guard=True)
    STREAM.limit("UpdateUsers", sizes.LIMIT, sizes.WINDOW_SECONDS)
    STREAM.limit("QueryUsers", sizes.QUERIES, sizes.WINDOW_SECONDS)
    since = STREAM.last_request()
    stopped = threading.Event()
    calling = threading.Thread(target=interactive.call_until, args=[stopped])
    try:
        with running():
            began = _first_update(since)
            _sleep_until(began + sizes.WINDOW_SECONDS)
            calling.start()
            _sleep_until(began + WINDOWS * sizes.WINDOW_SECONDS)
            stopped.set()
            calling.join()
    finally:
        stopped.set()
        STREAM.switch(burst_guard=False)
    calls = STREAM.requests(since)
    people.forget_in_stream()
    updates = [one for one in calls if one["operation"] == "UpdateUsers"]
    served = [0] * (WINDOWS + 1)
    theirs = 0
    for one in updates:
        window = min(WINDOWS, int((_time_of(one) - began) / sizes.WINDOW_SECONDS))
        if one["status"] == 201 and not interactive.missing.intersection(one["ids"]):
            served[window] += len(one["ids"])
        else:
            theirs += 1
    refused = [one["operation"] for one in calls if one["status"] == 429]
    scale = f"{sizes.LIMIT} calls per {sizes.WINDOW_SECONDS} s, instead of 300 per minute"
    whole = 100.0 * sizes.LIMIT
    yield Figure(f"{work}, limit", served[0], whole, "users", ">= 0.75", f"a window, {scale}")
    note = f"a window, limit less the {theirs} calls of people; {served[1] / whole:.2f} of it whole"
    left = whole - 100 * theirs
    yield Figure(f"{work}, limit, people calling", served[1], left, "users", ">= 0.75", note)
    made = len(interactive.milliseconds)
    kept = made - len(interactive.failures)
    slow = f"p95 {p95(interactive.milliseconds):.0f} ms"
    to_anybody = f"429s to anybody: {', '.join(refused) or 'none'}"
    note = f"{len(interactive.missing)} for missing users; {slow}; {to_anybody}"
    yield Figure(f"calls answered during {work}", kept, made, "calls", ">= 1", note)


def _time_of(call: dict[str, Any]) -> float:
    return datetime.fromisoformat(call["at"]).timestamp()


def _first_update(since: int) -> float:
    """Waits for it; the start of the first window."""
    while not (calls := [c for c in STREAM.requests(since) if c["operation"] == "UpdateUsers"]):
        time.sleep(0.1)
    return _time_of(calls[0])


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.time()))


@contextlib.contextmanager
def draining(function: Function) -> Iterator[None]:
    """The drain is called in its own thread until its process ends."""
    stopped = threading.Event()

    def call() -> None:
        with contextlib.suppress(OSError, RuntimeError):
            for _ in _calls_of_queue(function):
                if stopped.is_set():
                    return

    calling = threading.Thread(target=call, daemon=True)
    calling.start()
    try:
        yield
    finally:
        stopped.set()
        function.stop()
        calling.join()


# Processes


def _drain_function() -> contextlib.AbstractContextManager[Function]:
    return serving(OURS, "drainRepairs")


def _calls_of_queue(function: Function) -> Iterator[None]:
    """Calls the drain whenever its wakes say so, after a first call; one at a time."""
    not_before = 0.0
    while True:
        body = json.dumps({"data": {"notBefore": not_before}}).encode()
        function.post(body, _TASK_HEADERS)
        yield
        not_before = queue.next_wake(_PATIENCE_SECONDS)


@contextlib.contextmanager
def _commanding(command: str) -> Iterator[subprocess.Popen[bytes]]:
    """The operator's command at work; interrupted, if it still is at the end."""
    with (FOLDER / f"{command}.log").open("wb") as log:
        process = subprocess.Popen(
            COMMANDS[command],
            cwd=OURS,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate()


# Accounts and documents


def _fresh(size: int, documents: bool = True) -> list[str]:
    """So many accounts, and nobody else, neither here nor in Stream."""
    people.forget_in_stream()
    for name, path in (("auth", "accounts"), ("firestore", "databases/(default)/documents")):
        url = f"{emulators.url(name)}/emulator/v1/projects/{emulators.PROJECT}/{path}"
        requests.delete(url, timeout=120).raise_for_status()
    uids = people.accounts(size)
    if documents:
        _write_documents(uids)
    return uids


def _write_documents(uids: Sequence[str]) -> None:
    """The three of each, as the repair makes them."""
    now = datetime.now(UTC)
    for some in people.groups(uids, 100):
        batch = people.documents().batch()
        for uid in some:
            name = f"Person {uid}"
            shown = {"displayName": name, "photoURL": None}
            stats = {"conversationsStarted": 0, "messagesSent": 0, "lastActiveAt": None}
            fields: tuple[dict[str, Any], ...] = (
                {"displayName": name, "email": f"{uid}@example.com"},
                {**shown, "preferences": {}, "mirrored": shown},
                stats,
            )
            for collection, document in zip(_COLLECTIONS, fields, strict=True):
                dated = {**document, "createdAt": now, "updatedAt": now}
                batch.create(people.documents().document(collection, uid), dated)
        batch.commit()


def _fill_outbox(uids: Sequence[str]) -> None:
    """An entry for each, as after an outage of Stream's, which is due."""
    now = datetime.now(UTC)
    for some in people.groups(uids, 100):
        batch = people.documents().batch()
        for uid in some:
            entry = {
                "kind": "user",
                "key": uid,
                "attempts": 0,
                "reports": 1,
                "state": "waiting",
                "reason": "stream_unavailable",
                "lastError": "upsert_users: ConnectTimeout",
                "firstFailedAt": now,
                "nextAttemptAt": now - timedelta(seconds=1),
            }
            batch.set(people.documents().document("repairs", f"user_{uid}"), entry)
        batch.commit()


MEASUREMENTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "background-growth": growth,
    "background-delay": delayed,
    "background-limit": limited,
}
