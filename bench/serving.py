"""What users wait for: callables and the sign-up, beside a baseline that does the bare calls.

Both are processes as in production and take turns, sample by sample, so that noise meets both.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dev.app_client import AppUser

from . import people, sizes
from .figures import Figure, p50, p95
from .people import STREAM
from .processes import BASELINE, BY_HAND, OURS, Function, both, serving

Sample = Callable[[], float]
"""Does something once, and says how long it took, in milliseconds."""


def timed(call: Callable[[], Any]) -> Sample:
    def sample() -> float:
        began = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - began)

    return sample


def alternate(times: int, ours: Sample, baseline: Sample) -> tuple[list[float], list[float]]:
    """Samples of both, which take turns in being first."""
    samples: tuple[list[float], list[float]] = ([], [])
    for turn in range(2 * times):
        side = (turn + turn // 2) % 2
        samples[side].append((ours, baseline)[side]())
    return samples


def warm(calls: Sequence[Callable[[], Any]]) -> None:
    """Let every thread of the functions make its connections."""
    people.set_delay(20)
    with ThreadPoolExecutor(sizes.CALLERS) as threads:
        for call in calls:
            for answer in [threads.submit(call) for _ in range(2 * sizes.CALLERS)]:
                answer.result()
    people.set_delay(0)


def heal(function: Function, uids: Sequence[str], caller: AppUser) -> None:
    for some in people.groups(uids, 100):
        results = function.call({"userIds": some}, caller.id_token)
        assert all(result["status"] != "failed" for result in results["results"])


# Cold start


class Start(NamedTuple):
    seconds: float
    cpu_seconds: float
    memory_mb: float


def cold_start() -> Iterator[Figure]:
    """From the process's start until the first answer of ``ensureStreamUser``."""
    caller = people.caller()
    with serving(OURS, "ensureStreamUser") as function:
        heal(function, [caller.uid], caller)

    def ask(function: Function) -> None:
        function.call({"userId": caller.uid}, caller.id_token)

    ours, baseline = starts("ensureStreamUser", BASELINE, ask)
    note = f"median of {sizes.STARTS}"
    yield Figure("cold start", ours.seconds, baseline.seconds, "s", "<= 1.15", note)
    yield Figure("cold start, CPU time", ours.cpu_seconds, baseline.cpu_seconds, "s", "", note)
    note = f"gunicorn and worker, PSS, median of {sizes.STARTS}"
    name = "memory after the first answer"
    yield Figure(name, ours.memory_mb, baseline.memory_mb, "MB", "<= 1.15", note)


def starts(name: str, baseline: Path, ask: Callable[[Function], object]) -> tuple[Start, Start]:
    """From the process's start until ``ask`` was answered: the medians of ours and the baseline."""
    measured: dict[Path, list[Start]] = {OURS: [], baseline: []}
    for turn in range(2 * sizes.STARTS + 2):
        source = (OURS, baseline)[turn % 2]
        measured[source].append(_start(source, name, ask))
    # Without the first of each, which found files and emulators cold.
    first, second = (Start(*map(p50, zip(*one[1:], strict=True))) for one in measured.values())
    return first, second


def _start(source: Path, name: str, ask: Callable[[Function], object]) -> Start:
    began = time.perf_counter()
    with serving(source, name) as function:
        ask(function)
        seconds = time.perf_counter() - began
        return Start(seconds, function.cpu_seconds(), function.memory_mb())


# Callables


def ensure_present() -> Iterator[Figure]:
    caller = people.caller()
    with both("ensureStreamUser") as functions:
        yield from with_delays("ensureStreamUser, present", functions, caller)


def token() -> Iterator[Figure]:
    """Stream is asked, or not about somebody who is known to agree."""
    caller = people.caller()
    people.prove(False)
    with both("getStreamUserToken") as functions:
        yield from with_delays("getStreamUserToken", functions, caller)
    people.prove()
    with both("getStreamUserToken") as functions:
        name = "getStreamUserToken, known to agree"
        yield from with_delays(name, functions, caller, ("", "<= 0.15"))


def with_delays(
    name: str,
    functions: tuple[Function, Function],
    caller: AppUser,
    goals: tuple[str, str] = ("<= 1.5", "<= 1.15"),
) -> Iterator[Figure]:
    """The caller asks for themselves: p50 with and without a delay of Stream's."""
    calls = [partial(one.call, {"userId": caller.uid}, caller.id_token) for one in functions]
    warm(calls)
    for delay, times, goal in (
        (0, sizes.SAMPLES_WITHOUT_DELAY, goals[0]),
        (100, sizes.SAMPLES, goals[1]),
    ):
        people.set_delay(delay)
        ours, baseline = map(p50, alternate(times, *map(timed, calls)))
        yield Figure(f"{name}, delay {delay}", ours, baseline, "ms", goal, f"p50, n={times}")


def ensure_missing() -> Iterator[Figure]:
    """Of the account nobody but Auth knows anything: documents are missing too."""
    caller = people.caller()
    with both("ensureStreamUser") as functions:
        warm([partial(one.call, {"userId": caller.uid}, caller.id_token) for one in functions])
        people.set_delay(100)
        fresh = iter(people.accounts(2 * sizes.SAMPLES))

        def ensure(function: Function) -> None:
            function.call({"userId": next(fresh)}, caller.id_token)

        samples = [timed(partial(ensure, one)) for one in functions]
        ours, baseline = map(p50, alternate(sizes.SAMPLES, *samples))
        name, note = "ensureStreamUser, missing, delay 100", f"p50, n={sizes.SAMPLES}"
        yield Figure(name, ours, baseline, "ms", "<= 1.25", note)


def ensure_growth() -> Iterator[Figure]:
    caller = people.caller()
    with both("ensureStreamUser") as functions:
        uids = people.accounts(100)
        heal(functions[0], uids, caller)
        for size in (1, 10, 100):
            calls = [
                partial(one.call, {"userIds": uids[:size]}, caller.id_token) for one in functions
            ]
            warm(calls)
            people.set_delay(50)
            ours, baseline = map(p50, alternate(sizes.SAMPLES, *map(timed, calls)))
            name = f"ensureStreamUser, {size} userIds, delay 50"
            yield Figure(name, ours, baseline, "ms", "", f"p50, n={sizes.SAMPLES}")


# Sign-up


def sign_up() -> Iterator[Figure]:
    yield from sign_ups(BASELINE, ("<= 1.3", "<= 1.5"))


def sign_ups(baseline: Path, goals: tuple[str, str]) -> Iterator[Figure]:
    """From the event until Stream has answered the call that creates the user."""
    people.set_delay(0)
    with both("createStreamUser", baseline) as functions:
        fresh = iter(people.accounts(2 * sizes.SIGN_UPS + 4 * sizes.CALLERS))
        samples = [partial(until_in_stream, one, fresh) for one in functions]
        warm(samples)
        ours, by_others = alternate(sizes.SIGN_UPS, *samples)
    note = f"n={sizes.SIGN_UPS}"
    for percentile, goal in zip((p50, p95), goals, strict=True):
        name = f"sign-up until in Stream, {percentile.__name__}"
        yield Figure(name, percentile(ours), percentile(by_others), "ms", goal, note)


def until_in_stream(function: Function, fresh: Iterator[str]) -> float:
    """Milliseconds of the next one's sign-up."""
    uid = next(fresh)
    since = STREAM.last_request()
    began = time.time()
    function.post(*created_event(function, uid))
    return 1000 * (people.arrived_at(uid, since) - began)


def created_event(function: Function, uid: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers: of the 2nd generation, or for functions in Node of the 1st."""
    headers = {"Content-Type": "application/json"}
    user = {"uid": uid, "displayName": f"Person {uid}", "email": f"{uid}@example.com"}
    if function.source == BY_HAND:
        context = {
            "eventId": uuid.uuid4().hex,
            "eventType": "providers/firebase.auth/eventTypes/user.create",
            "resource": "projects/bench",
            "timestamp": "2026-01-01T00:00:00Z",
        }
        data = {**user, "metadata": {}}
        return json.dumps({"context": context, "data": data}).encode(), headers
    headers |= {
        "ce-specversion": "1.0",
        "ce-id": uuid.uuid4().hex,
        "ce-source": "//firebaseauth.googleapis.com/projects/bench",
        "ce-type": "google.firebase.auth.user.v2.created",
        "ce-time": "2026-01-01T00:00:00Z",
        "ce-subject": f"users/{uid}",
    }
    return json.dumps({"value": {"uid": uid, "metadata": {}}}).encode(), headers


# Conversations

_NOTHING_KNOWN = "agreeing, and nothing known"


def conversation() -> Iterator[Figure]:
    """A new group of people who are known to agree, or half of whom are missing in Stream."""
    kinds = (
        (2, _NOTHING_KNOWN, ""),
        (2, "agreeing", "<= 0.6"),
        (100, "agreeing", ""),
        (100, "half missing", "<= 0.33"),
        (100, "half without documents too", ""),
        (10, "half missing", ""),
    )
    for size, kind, goal in kinds[:: sizes.EVERY]:
        people.prove(kind != _NOTHING_KNOWN)
        yield _conversation(size, kind, goal)


def _conversation(size: int, kind: str, goal: str) -> Figure:
    caller = people.caller()
    present = people.accounts(size // 2 - 1)
    others = people.accounts((2 * sizes.CONVERSATIONS + 5) * (size - size // 2))
    with serving(OURS, "ensureStreamUser") as function:
        if kind != "half without documents too":
            heal(function, others, caller)
        if kind == "half missing":
            people.forget_in_stream()
            people.withdraw(others)
        heal(function, [caller.uid, *present], caller)
    fresh = iter(people.groups(others, size - size // 2))

    def create(function: Function) -> None:
        members = [*present, *next(fresh)]
        data = {"participantIds": members, "name": f"chat-{uuid.uuid4().hex}"}
        function.call(data, caller.id_token)

    with both("createConversation") as functions:
        for function in functions:
            create(function)
            create(function)
        people.set_delay(50)
        since = STREAM.last_request()
        create(functions[0])
        calls = len(STREAM.requests(since))
        samples = [timed(partial(create, one)) for one in functions]
        ours, baseline = map(p50, alternate(sizes.CONVERSATIONS, *samples))
        memory = functions[0].memory_mb()
    name = f"createConversation, {size} members, {kind}, delay 50"
    note = f"p50, n={sizes.CONVERSATIONS}; {calls} Stream calls; {memory:.0f} MB"
    return Figure(name, ours, baseline, "ms", goal, note)


# Throughput


def throughput() -> Iterator[Figure]:
    """Of one instance: 32 callers at once, beside one alone; and with other numbers of threads."""
    caller = people.caller()
    yield _throughput(caller, None, ">= 4")
    for threads in (4, 8, 32)[:: sizes.EVERY]:
        yield _throughput(caller, threads)


def _throughput(caller: AppUser, threads: int | None, goal: str = "") -> Figure:
    with serving(OURS, "ensureStreamUser", threads) as function:
        call = partial(function.call, {"userId": caller.uid}, caller.id_token)
        warm([call])
        people.set_delay(50)
        alone, together = _per_second(call, 1), _per_second(call, sizes.CALLERS)
        people.set_delay(0)
        name = f"an instance's throughput, THREADS={function.threads}, delay 50"
        note = f"{sizes.CALLERS} callers beside one, no errors; {function.memory_mb():.0f} MB"
        return Figure(name, together, alone, "/s", goal, note)


def _per_second(call: Callable[[], Any], callers: int) -> float:
    """Answers a second while so many callers ask again as soon as they are answered."""
    ends = time.perf_counter() + sizes.THROUGHPUT_SECONDS

    def ask(_: int) -> int:
        answers = 0
        while time.perf_counter() < ends:
            call()
            answers += 1
        return answers

    with ThreadPoolExecutor(callers) as threads:
        return sum(threads.map(ask, range(callers))) / sizes.THROUGHPUT_SECONDS


MEASUREMENTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "cold-start": cold_start,
    "ensure-present": ensure_present,
    "ensure-missing": ensure_missing,
    "token": token,
    "sign-up": sign_up,
    "conversation": conversation,
    "throughput": throughput,
    "ensure-growth": ensure_growth,
}
