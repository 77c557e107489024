"""The drain: works the outbox off, a hundred users per call to Stream, two hundred at a time."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from firebase_functions import logger

from ..clients import Clients
from ..conversations import reconcile_conversations
from ..errors import ChatsyncError, Paused, Postponed, StreamRateLimited, Unexpected
from ..ids import Key
from ..log_events import LogEvent
from ..outcome import Outcome
from ..reconcile import new_deadline, reconcile_users
from ..removal import remove_users
from ..side_by_side import batches, two_at_once
from .entries import WRITE_SECONDS, Entry, apply_outcomes, due, earliest
from .wakes import wake

BUDGET_SECONDS = 45.0
"""The drain begins no batch after this time."""

BATCH_SECONDS = 30.0
"""For trying one batch; writing its outcomes takes a little longer."""

PAUSE_SECONDS = 5.0
"""After a batch in which no entry was done."""

CONVERSATIONS_PER_TURN = 10
"""They are tried one after another; then users who were entered meanwhile have their turn."""


def drain(not_before: float, clients: Clients) -> None:
    """Try the due entries of the outbox, users before conversations, and arrange the next wake.

    While writing to Stream is paused, nothing is tried and no wake arranged: `resume` wakes it.

    Raises Postponed at the end if called before the Unix time ``not_before``: the queue then calls
    again, so that the task of a wake never ends before its time. Raises FirebaseUnavailable if the
    outbox cannot be read or written.
    """
    # Before the switch is read: `resume` may rely on this wake if it ends the pause after that.
    too_early = time.time() < not_before
    if since := clients.pause.since(0):
        _tell_paused(since)
        if too_early:
            raise Postponed("called before its time")
        return
    ends = time.monotonic() + BUDGET_SECONDS
    resume_at = 0.0
    last: Entry | None = None
    conversations: list[Entry] = []
    while not resume_at and time.monotonic() < ends:
        entries = due(clients, new_deadline(), last)
        last = entries[-1] if entries else last
        conversations += [entry for entry in entries if entry.key.kind == "conversation"]
        users = [entry for entry in entries if entry.key.kind != "conversation"]
        if users:
            outcomes = _try_users(users, clients)
        elif entries:
            continue
        elif conversations:
            outcomes, conversations = _try_conversations(conversations, clients)
        else:
            break
        _apply(outcomes, clients)
        resume_at = _pause_until(list(outcomes.values()))
        if users and conversations and _rate_limit_of(outcomes):
            # Else somebody who keeps users at Stream's limit would keep conversations from opening.
            tried, conversations = _try_conversations(conversations, clients)
            _apply(tried, clients)
    # Before the last query: an entry written after it may rely on this wake.
    too_early = time.time() < not_before
    next_attempt = earliest(clients, new_deadline())
    if next_attempt is not None:
        wake(max(next_attempt, resume_at), clients)
    if too_early:
        raise Postponed("called before its time")


def _try_users(entries: Sequence[Entry], clients: Clients) -> dict[Entry, Outcome]:
    """Remove the users whose entries ask for it, if they don't exist; reconcile all others.

    Entries that failed before are tried after the others, in batches of their own.
    """
    deadline = time.monotonic() + BATCH_SECONDS
    removals = [entry for entry in entries if entry.removal]
    new = [entry for entry in entries if not entry.removal and not entry.attempts]
    failed_before = [entry for entry in entries if not entry.removal and entry.attempts]

    remove = partial(remove_users, clients=clients, deadline=deadline)
    reconcile = partial(reconcile_users, clients=clients, deadline=deadline)
    # Two batches at once: one is read while the other is written, since Stream is far away.
    outcomes: dict[Entry, Outcome] = {}
    to_reconcile = [*batches(new), *batches(failed_before)]
    for of_batch in two_at_once(lambda batch: _each(batch, reconcile), to_reconcile):
        outcomes |= of_batch
    for batch in batches(removals):
        outcomes |= _each(batch, remove)
    return outcomes


def _try_conversations(
    entries: Sequence[Entry], clients: Clients
) -> tuple[dict[Entry, Outcome], list[Entry]]:
    """The outcomes of a few conversations, and the entries that were not tried.

    If Stream's rate limit is used up, all others are put off too, without a call.
    """
    deadline = time.monotonic() + BATCH_SECONDS

    def reconcile(keys: Sequence[Key]) -> Sequence[Outcome]:
        return reconcile_conversations([key.id for key in keys], clients, deadline=deadline)

    outcomes = _each(entries[:CONVERSATIONS_PER_TURN], reconcile)
    left = list(entries[CONVERSATIONS_PER_TURN:])
    limit = _rate_limit_of(outcomes)
    if limit is None:
        return outcomes, left
    return outcomes | {entry: Outcome(entry.key, "", None, limit) for entry in left}, []


def _apply(outcomes: Mapping[Entry, Outcome], clients: Clients) -> None:
    for batch in batches(list(outcomes.items())):
        apply_outcomes(dict(batch), clients, new_deadline())


def _rate_limit_of(outcomes: Mapping[Entry, Outcome]) -> StreamRateLimited | None:
    errors = (outcome.error for outcome in outcomes.values())
    return next((error for error in errors if isinstance(error, StreamRateLimited)), None)


def _each(
    entries: Sequence[Entry], repair: Callable[[Sequence[Key]], Sequence[Outcome]]
) -> dict[Entry, Outcome]:
    """The outcomes of a batch. If a bug breaks it, halving finds the entry that meets the bug."""
    try:
        outcomes = repair([entry.key for entry in entries])
    except ChatsyncError as error:
        return {entry: Outcome(entry.key, "", None, error) for entry in entries}
    except Exception as error:  # noqa: BLE001 (a bug that one entry meets must not stop all)
        if len(entries) > 1:
            middle = len(entries) // 2
            return _each(entries[:middle], repair) | _each(entries[middle:], repair)
        [entry] = entries
        fields = {entry.key.kind: entry.key.id}
        logger.error(traceback.format_exc(), **fields, event=LogEvent.BUG)
        return {entry: Outcome(entry.key, "", None, Unexpected(type(error).__name__))}
    return dict(zip(entries, outcomes, strict=True))


def _pause_until(outcomes: Sequence[Outcome]) -> float:
    """The Unix time before which no further attempt can succeed; 0 if the drain may go on.

    Rate limits of removals and channels don't count: users have their own endpoints.
    """
    users = [one for one in outcomes if one.key.kind != "conversation" and not one.removal]
    waits = [one.error.retry_after for one in users if isinstance(one.error, StreamRateLimited)]
    if waits:
        return time.time() + max(waits)
    paused = any(isinstance(one.error, Paused) for one in outcomes)
    if paused or not any(one.is_done or one.is_parked for one in outcomes):
        return time.time() + PAUSE_SECONDS
    return 0.0


def wake_if_due(clients: Clients) -> None:
    """Wake the drain if an entry is due: called every five minutes, in case a wake was lost.

    While writing to Stream is paused, the entries wait.
    """
    at = earliest(clients, time.monotonic() + WRITE_SECONDS)
    if at is None or at > time.time():
        return
    if since := clients.pause.since():
        _tell_paused(since)
        return
    logger.info("The outbox has entries that are due", event=LogEvent.OUTBOX_DUE)
    wake(at, clients)


def _tell_paused(since: datetime) -> None:
    minutes = int((datetime.now(UTC) - since).total_seconds() // 60)
    message = f"The outbox waits: writing to Stream is paused since {since}"
    logger.info(message, minutes=minutes, event=LogEvent.PAUSED)
