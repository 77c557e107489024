"""Repairs that enter into the outbox what they cannot do now."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from firebase_functions import logger
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch

from ..clients import Clients
from ..clients.documents import temporary_failures_named, until
from ..errors import FirebaseUnavailable, StreamCredentialsRejected
from ..ids import Key
from ..log_events import LogEvent
from ..observe import AskAuth
from ..outcome import Disposition, NotRepaired, Outcome
from ..reconcile import reconcile_users
from ..removal import remove_users
from .entries import WRITE_SECONDS, Entry, mark_removal, write_entries

OutcomeKind = TypeVar("OutcomeKind", bound=Outcome)


def reconcile(
    keys: Sequence[Key],
    clients: Clients,
    *,
    ask_auth: AskAuth = "if_needed",
    retry_refused: bool = False,
    deadline: float = math.inf,
) -> list[Outcome]:
    """:func:`reconcile_users`, which enters what failed into the outbox.

    A temporary failure waits there, and ``is_queued`` says so; a permanent one is parked. Raises
    what reconcile_users raises, but NotRepaired for StreamCredentialsRejected.
    """
    try:
        outcomes = reconcile_users(
            keys, clients, ask_auth=ask_auth, retry_refused=retry_refused, deadline=deadline
        )
    except StreamCredentialsRejected as error:
        raise _nobody_served(keys, error, clients) from error
    return enqueue_unfinished(outcomes, clients)


def remove(keys: Sequence[Key], clients: Clients) -> list[Outcome]:
    """:func:`remove_users`, with failures entered into the outbox in the same way."""
    mark_removal(keys, clients)
    try:
        outcomes = remove_users(keys, clients)
    except StreamCredentialsRejected as error:
        raise _nobody_served(keys, error, clients, removal=True) from error
    return enqueue_unfinished(outcomes, clients)


def _nobody_served(
    keys: Sequence[Key], error: StreamCredentialsRejected, clients: Clients, removal: bool = False
) -> NotRepaired:
    outcomes = [Outcome(key, "", None, error, removal=removal) for key in keys]
    return NotRepaired(enqueue_unfinished(outcomes, clients)[0])


def complete(entry: Entry, outcome: OutcomeKind, clients: Clients) -> OutcomeKind:
    """Delete an entry of :func:`begin_entry` if its work is done, else enter the outcome into it.

    Returns the outcome, with ``is_queued``.
    """
    if not outcome.is_done:
        return enqueue_unfinished([outcome], clients)[0]
    batch = BulkWriteBatch(clients.firestore)
    batch.delete(entry.reference, clients.firestore.write_option(last_update_time=entry.version))
    try:
        with temporary_failures_named():
            batch.commit(**until(time.monotonic() + WRITE_SECONDS))
    except FirebaseUnavailable as error:
        logger.warn(f"The drain will find {entry.key.kind} {entry.key.id} done: {error}")
    return outcome


def enqueue_unfinished(outcomes: Sequence[OutcomeKind], clients: Clients) -> list[OutcomeKind]:
    """Enter what is not done into the outbox; returns the outcomes, with ``is_queued``.

    If the outbox cannot be written, ``is_queued`` stays false.
    """
    unfinished = [outcome for outcome in outcomes if not outcome.is_done]
    if not unfinished:
        return list(outcomes)
    try:
        write_entries(unfinished, clients)
    except FirebaseUnavailable as error:
        users = [outcome.key.id for outcome in unfinished]
        message = f"The outbox cannot be written: {error}"
        logger.error(message, users=users, event=LogEvent.OUTBOX_DOWN)
        return list(outcomes)
    return [
        replace(one, is_queued=True) if one.disposition == Disposition.RETRY else one
        for one in outcomes
    ]
