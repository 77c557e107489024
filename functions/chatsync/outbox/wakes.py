"""Wakes: tasks that call the drain, one at most for each ten seconds."""

import math
import time

from firebase_functions import logger

from ..clients import Clients
from ..errors import FirebaseUnavailable
from ..log_events import LogEvent

DRAIN = "drainRepairs"
"""The task function that works the outbox off."""

SLOT_SECONDS = 10

FURTHEST_WAKE_SECONDS = 60
"""The Tasks emulator calls at once, and again every ten seconds until a wake's time has come."""


def wake(at: float, clients: Clients) -> None:
    """Let the task queue call the drain at the Unix time ``at`` or up to 10 s later.

    There is one task for each 10 s, however many callers ask. A task never ends before its time
    (:func:`drain.drain`), so a task that exists already means that the drain will still run.
    """
    slot = slot_of(at)
    clients.tasks.enqueue(DRAIN, {"notBefore": slot}, f"wake-{slot}", float(slot))


def slot_of(at: float) -> int:
    now = time.time()
    return math.ceil(min(max(at, now), now + FURTHEST_WAKE_SECONDS) / SLOT_SECONDS) * SLOT_SECONDS


def try_to_wake(at: float, clients: Clients) -> None:
    """Wake the drain; a failure is only logged, since ``wakeRepairs`` follows in five minutes."""
    try:
        wake(at, clients)
    except FirebaseUnavailable as error:
        logger.error(f"The drain could not be woken: {error}", event=LogEvent.OUTBOX_DOWN)
