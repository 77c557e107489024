"""The same in the Functions emulator, which a developer meets: ours, then the functions by hand.

Each side has emulators of its own, since triggers of both would meet the same sign-ups. The
emulator gives each function processes that take one request at a time, and starts more when more
come at once. Limits of Stream's are out of the way.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from dev import emulators
from dev.app_client import AppUser
from dev.start import Stack, running_stack

from . import people, sizes
from .figures import Figure, p50, p95
from .people import STREAM
from .processes import BY_HAND, FOLDER, call_of, post
from .serving import timed

PAUSE_SECONDS = 0.3
"""After a sign-up, until what it causes is over, so that people don't meet."""

_BURST_PATIENCE_SECONDS = 60.0


class Measured(NamedTuple):
    name: str
    value: float
    unit: str
    note: str


def emulator() -> Iterator[Figure]:
    sides = [list(_measured(Stack(config=one))) for one in (emulators.CONFIG, _by_hand_config())]
    for ours, by_hand in zip(*sides, strict=True):
        note = ours.note if ours.note == by_hand.note else f"{ours.note}, by hand {by_hand.note}"
        yield Figure(ours.name, ours.value, by_hand.value, ours.unit, "", note)


def _by_hand_config() -> Path:
    """Of a project that has the functions by hand, and nothing else."""
    folder = FOLDER / "emulated"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(BY_HAND, folder / "functions")
    config: dict[str, Any] = json.loads(emulators.CONFIG.read_text())
    # The CLI takes the Node that there is.
    config["functions"] = [{"source": "functions", "codebase": "by-hand", "runtime": "nodejs22"}]
    del config["firestore"]
    file = folder / "firebase.json"
    file.write_text(json.dumps(config))
    return file


def _measured(stack: Stack) -> Iterator[Measured]:
    with running_stack(stack):
        people.forget_in_stream()
        people.prove()
        callers = iter(
            _callers(sizes.SAMPLES_WITHOUT_DELAY + sizes.SAMPLES + sizes.EMULATOR_STARTS + 2)
        )

        def token() -> float:
            return timed(partial(_get_token, next(callers)))()

        starts = [(_first(token), _first(_sign_up)) for _ in range(sizes.EMULATOR_STARTS + 1)]
        # Without the first, which found files cold.
        first_token, first_sign_up = map(p50, zip(*starts[1:], strict=True))
        note = f"median of {sizes.EMULATOR_STARTS}"
        yield Measured("first token after a start", first_token / 1000, "s", note)
        yield Measured("first sign-up after a start", first_sign_up / 1000, "s", note)

        token()
        for delay, times in ((0, sizes.SAMPLES_WITHOUT_DELAY), (100, sizes.SAMPLES)):
            people.set_delay(delay)
            name = f"getStreamUserToken, known to agree, delay {delay}"
            yield Measured(name, p50([token() for _ in range(times)]), "ms", f"p50, n={times}")
        people.set_delay(0)

        sign_ups = [_sign_up() for _ in range(sizes.EMULATOR_SIGN_UPS)]
        note = f"from the app's call, n={sizes.EMULATOR_SIGN_UPS}"
        yield Measured("sign-up until in Stream, p50", p50(sign_ups), "ms", note)
        yield Measured("sign-up until in Stream, p95", p95(sign_ups), "ms", note)

        yield _burst()


def _callers(count: int) -> list[AppUser]:
    """Known to agree. Each asks for one token: nobody may ask for very many."""
    callers = []
    for _ in range(count):
        since = STREAM.last_request()
        callers.append(people.caller())
        people.arrived_at(callers[-1].uid, since)
    time.sleep(sizes.SETTLE_SECONDS)
    return callers


def _get_token(caller: AppUser) -> None:
    path = f"/{emulators.PROJECT}/{emulators.REGION}/getStreamUserToken"
    post(emulators.PORTS["functions"], path, *call_of({}, caller.id_token))


def _sign_up() -> float:
    """Milliseconds from the app's call until Stream has answered the one that creates the user."""
    since = STREAM.last_request()
    began = time.time()
    uid = people.caller().uid
    time.sleep(PAUSE_SECONDS)
    return 1000 * (people.arrived_at(uid, since) - began)


def _first(sample: Callable[[], float]) -> float:
    """While no function has a process."""
    workers = [one for one in psutil.Process().children(recursive=True) if _is_worker(one)]
    for worker in workers:
        worker.kill()
    psutil.wait_procs(workers, timeout=10)
    time.sleep(PAUSE_SECONDS)
    milliseconds = sample()
    time.sleep(sizes.SETTLE_SECONDS)
    return milliseconds


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "FUNCTION_TARGET" in process.environ()
    except psutil.Error:  # it has just ended
        return False


def _burst() -> Measured:
    """Until all are in Stream, or nobody comes any more."""
    time.sleep(sizes.SETTLE_SECONDS)
    people.forget_in_stream()
    began = time.time()
    with ThreadPoolExecutor(sizes.EMULATOR_BURST_AT_ONCE) as threads:
        signing_up = [threads.submit(people.caller) for _ in range(sizes.EMULATOR_BURST)]
        count, at = people.arrivals(sizes.EMULATOR_BURST, _BURST_PATIENCE_SECONDS)
        for one in signing_up:
            one.result()
    name = f"{sizes.EMULATOR_BURST} sign-ups, {sizes.EMULATOR_BURST_AT_ONCE} at once"
    return Measured(name, at - began, "s", f"lost: {sizes.EMULATOR_BURST - count}")


MEASUREMENTS: dict[str, Callable[[], Iterator[Figure]]] = {"emulator": emulator}
