"""The drain: works the outbox off, a hundred users per call to Stream, two hundred at a time."""

import time
import traceback
from collections.abc import Callable, Sequence

from firebase_functions import logger

from ..clients import Clients
from ..conversations import reconcile_conversations
from ..errors import ChatsyncError, Postponed, StreamRateLimited, Unexpected
from ..ids import Key
from ..outcome import Outcome
from ..reconcile import new_deadline, reconcile_users
from ..removal import remove_users
from ..side_by_side import batches, two_at_once
from .entries import WRITE_SECONDS, Entry, apply_outcomes, due, earliest
from .wakes import wake

BUDGET_SECONDS = 45.0
"""After which no batch is begun."""

BATCH_SECONDS = 30.0
"""For all that is tried of a batch; writing down what became of it takes a little longer."""

PAUSE_SECONDS = 5.0
"""After a batch in which nothing could be done."""

ROOMS = 10
"""Conversations tried at a time, one after another: then people who came meanwhile have their turn.
"""


def drain(not_before: float, clients: Clients) -> None:
    """Try what is due in the outbox, people before conversations, and arrange the next wake.

    Raises Postponed if called before the Unix time ``not_before``, whatever was done: a queue that
    calls too early is to call again, so that a wake which was arranged is never over too soon.
    Raises FirebaseUnavailable if the outbox cannot be read or written.
    """
    ends = time.monotonic() + BUDGET_SECONDS
    resume_at = 0.0
    last: Entry | None = None
    rooms: list[Entry] = []
    while not resume_at and time.monotonic() < ends:
        entries = due(clients, new_deadline(), last)
        last = entries[-1] if entries else last
        rooms += [entry for entry in entries if entry.key.kind == "conversation"]
        people = [entry for entry in entries if entry.key.kind != "conversation"]
        if people:
            outcomes = _try_people(people, clients)
        elif rooms and not entries:
            outcomes, rooms = _try_rooms(rooms, clients)
        elif not entries:
            break
        else:
            continue
        for batch in batches(list(outcomes.items())):
            apply_outcomes(dict(batch), clients, new_deadline())
        resume_at = _pause_until(list(outcomes.values()))
    # Before the last look: who relies on this wake may have written after it.
    too_early = time.time() < not_before
    next_attempt = earliest(clients, new_deadline())
    if next_attempt is not None:
        wake(max(next_attempt, resume_at), clients)
    if too_early:
        raise Postponed("called before its time")


def _try_people(entries: Sequence[Entry], clients: Clients) -> dict[Entry, Outcome]:
    """The outcome of each: removed where that was asked for and nobody exists, else reconciled.

    Those that failed before are tried after the others, and apart from them.
    """
    deadline = time.monotonic() + BATCH_SECONDS
    removals = [entry for entry in entries if entry.removal]
    new = [entry for entry in entries if not entry.removal and not entry.attempts]
    failed_before = [entry for entry in entries if not entry.removal and entry.attempts]

    def remove(keys: Sequence[Key]) -> list[Outcome]:
        return remove_users(keys, clients, deadline=deadline)

    def reconcile(keys: Sequence[Key]) -> list[Outcome]:
        return reconcile_users(keys, clients, deadline=deadline)

    # While one hundred is written the other is read: Stream is far away.
    outcomes: dict[Entry, Outcome] = {}
    to_reconcile = [*batches(new), *batches(failed_before)]
    for made in two_at_once(lambda batch: _each(batch, reconcile), to_reconcile):
        outcomes |= made
    for batch in batches(removals):
        outcomes |= _each(batch, remove)
    return outcomes


def _try_rooms(
    entries: Sequence[Entry], clients: Clients
) -> tuple[dict[Entry, Outcome], list[Entry]]:
    """The outcomes of a few conversations, and the entries that are left.

    None are left if Stream's limit is used up: the others are put off as well, without a call.
    """
    deadline = time.monotonic() + BATCH_SECONDS

    def reconcile(keys: Sequence[Key]) -> Sequence[Outcome]:
        return reconcile_conversations([key.id for key in keys], clients, deadline=deadline)

    outcomes = _each(entries[:ROOMS], reconcile)
    left = list(entries[ROOMS:])
    errors = [outcome.error for outcome in outcomes.values()]
    limit = next((error for error in errors if isinstance(error, StreamRateLimited)), None)
    if limit is None:
        return outcomes, left
    return outcomes | {entry: Outcome(entry.key, "", None, limit) for entry in left}, []


def _each(
    entries: Sequence[Entry], repair: Callable[[Sequence[Key]], Sequence[Outcome]]
) -> dict[Entry, Outcome]:
    """The outcomes of a batch. What breaks it concerns all, or, by halves, the one that does it."""
    if not entries:
        return {}
    try:
        outcomes = repair([entry.key for entry in entries])
    except ChatsyncError as error:
        return {entry: Outcome(entry.key, "", None, error) for entry in entries}
    except Exception as error:  # noqa: BLE001 (a bug that one entry meets must not stop all)
        if len(entries) > 1:
            middle = len(entries) // 2
            return _each(entries[:middle], repair) | _each(entries[middle:], repair)
        [entry] = entries
        logger.error(traceback.format_exc(), **{entry.key.kind: entry.key.id})
        return {entry: Outcome(entry.key, "", None, Unexpected(type(error).__name__))}
    return dict(zip(entries, outcomes, strict=True))


def _pause_until(outcomes: Sequence[Outcome]) -> float:
    """The Unix time before which the drain would try in vain; 0 if it may go on.

    What limits removals or channels is not waited for: users have their own endpoints.
    """
    users = [one for one in outcomes if one.key.kind != "conversation" and not one.removal]
    waits = [one.error.retry_after for one in users if isinstance(one.error, StreamRateLimited)]
    if waits:
        return time.time() + max(waits)
    if not any(one.is_done for one in outcomes):
        return time.time() + PAUSE_SECONDS
    return 0.0


def wake_if_due(clients: Clients) -> None:
    """The look every five minutes, with which no lost wake lasts."""
    at = earliest(clients, time.monotonic() + WRITE_SECONDS)
    if at is not None and at <= time.time():
        logger.info("The outbox has entries that are due")
        wake(at, clients)
