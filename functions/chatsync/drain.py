"""The drain: works the outbox off, a hundred users per call to Stream, two hundred at a time."""

import time
import traceback
from collections.abc import Callable, Sequence

from firebase_functions import logger

from . import repairs
from .clients import Clients
from .conversations import reconcile_conversations
from .errors import ChatsyncError, Postponed, StreamRateLimited, Unexpected
from .ids import Key
from .removal import remove_users
from .repairs import Entry
from .side_by_side import batches, two_at_once
from .sync import Outcome, new_deadline, reconcile_users

BUDGET_SECONDS = 45.0
"""After which no batch is begun."""

BATCH_SECONDS = 30.0
"""For all that is tried of a batch; writing down what became of it takes a little longer."""

PAUSE_SECONDS = 5.0
"""After a batch in which nothing could be done."""


def drain(not_before: float, clients: Clients) -> None:
    """Try what is due in the outbox, and arrange the next wake for what remains.

    Raises Postponed if called before the Unix time ``not_before``, whatever was done: a queue that
    calls too early is to call again, so that a wake which was arranged is never over too soon.
    Raises FirebaseUnavailable if the outbox cannot be read or written.
    """
    ends = time.monotonic() + BUDGET_SECONDS
    resume_at = 0.0
    while not resume_at and time.monotonic() < ends:
        entries = repairs.due(clients, new_deadline())
        if not entries:
            break
        outcomes = _try(entries, clients)
        repairs.settle(outcomes, clients, new_deadline())
        resume_at = _pause_until(list(outcomes.values()))
    # Before the last look: who relies on this wake may have written after it.
    too_early = time.time() < not_before
    next_attempt = repairs.earliest(clients, new_deadline())
    if next_attempt is not None:
        repairs.wake(max(next_attempt, resume_at), clients)
    if too_early:
        raise Postponed("called before its time")


def _try(entries: Sequence[Entry], clients: Clients) -> dict[Entry, Outcome]:
    """The outcome of each: removed where that was asked for and nobody exists, else reconciled."""
    deadline = time.monotonic() + BATCH_SECONDS
    rooms = [entry for entry in entries if entry.key.kind == "conversation"]
    people = [entry for entry in entries if entry.key.kind != "conversation"]
    removals = [entry for entry in people if entry.removal]
    others = [entry for entry in people if not entry.removal]

    def remove(keys: Sequence[Key]) -> list[Outcome]:
        return remove_users(keys, clients, deadline=deadline)

    def reconcile(keys: Sequence[Key]) -> list[Outcome]:
        return reconcile_users(keys, clients, deadline=deadline)

    def reconcile_rooms(keys: Sequence[Key]) -> Sequence[Outcome]:
        ids = [key.id for key in keys]
        return reconcile_conversations(ids, clients, deadline=deadline)

    # While one hundred is written the other is read: Stream is far away.
    outcomes: dict[Entry, Outcome] = {}
    for made in two_at_once(lambda batch: _each(batch, reconcile), [*batches(others)]):
        outcomes |= made
    for batch in batches(removals):
        outcomes |= _each(batch, remove)
    return outcomes | _each(rooms, reconcile_rooms)


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
    if not any(map(repairs.is_done, outcomes)):
        return time.time() + PAUSE_SECONDS
    return 0.0
