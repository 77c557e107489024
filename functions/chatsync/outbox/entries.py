"""The entries of the outbox: the documents of Firestore's ``repairs``.

An entry says that a user or a conversation is to be reconciled, never what to write. Each key has
one entry at most:

    kind, key                 which user, company or conversation
    state                     ``waiting``, or ``parked``: only the nightly audit tries it again
    reason, lastError         why
    attempts                  of the drain, so far
    reports                   how often a failure elsewhere was entered
    removal                   true if the Stream user must be removed when the account is gone
    firstFailedAt
    nextAttemptAt             absent while parked
    recheckAt                 until then Stream may still apply a call whose answer was lost
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from firebase_functions import logger
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch
from google.rpc import code_pb2

from .. import ids
from ..clients import Clients
from ..clients.documents import CHANGED, temporary_failures_named, until
from ..errors import FirebaseUnavailable
from ..ids import Key
from ..log_events import LogEvent
from ..outcome import Outcome, Parked, Waiting
from ..side_by_side import BATCH, batches
from . import retry
from .wakes import slot_of, try_to_wake

COLLECTION = "repairs"

WRITE_SECONDS = 8.0

LISTING_SECONDS = 40.0

_MOST_SHOWN = 2000

_MOST_LOOKED_AT = 2 * BATCH
"""By each of two queries, every five minutes."""


@dataclass(frozen=True)
class Entry:
    """A waiting entry, as it was read."""

    key: Key
    removal: bool
    attempts: int
    reference: firestore.DocumentReference
    version: object
    """Firestore's update time; a new report of the same key changes it."""

    recheck_at: float = 0.0
    """A Unix time; no outcome before it is final."""

    next_attempt_at: datetime | None = None


def write_entries(
    outcomes: Sequence[Outcome], clients: Clients, seconds: float = WRITE_SECONDS
) -> None:
    """Enter outcomes into the outbox: as waiting, or as parked if no retry can succeed.

    An entry that the drain has tried keeps its time, so that reports don't bring it forward.
    The wake is arranged first: a crash in between leads to a needless call of the drain, but leaves
    no entry without a wake. Arranging takes up to ``tasks.ENQUEUE_SECONDS``, writing up to
    ``seconds``; a slow write is followed by another wake.

    Raises FirebaseUnavailable if the outbox cannot be written.
    """
    references = {one.key: reference_of(one.key, clients) for one in outcomes}
    waits = any(not outcome.is_parked for outcome in outcomes)
    with waking(clients) if waits else nullcontext(), temporary_failures_named():
        deadline = time.monotonic() + seconds
        snapshots = clients.firestore.get_all(list(references.values()), **until(deadline))
        known = {snapshot.id: snapshot.to_dict() or {} for snapshot in snapshots}
        batch = clients.firestore.batch()
        for outcome in outcomes:
            reference = references[outcome.key]
            batch.set(reference, retry.fields_of_entry(outcome, known[reference.id]), merge=True)
        batch.commit(**until(deadline))
    for outcome in outcomes:
        _log_written(outcome)


@contextmanager
def waking(clients: Clients) -> Iterator[None]:
    """Wake the drain for entries that are written inside, and again if that took too long."""
    wake_at = slot_of(time.time() + retry.FIRST_ATTEMPT_SECONDS)
    try_to_wake(wake_at, clients)
    yield
    if time.time() >= wake_at:
        try_to_wake(time.time(), clients)


def document_id(key: Key) -> str:
    """The id of a key's entry, even of a key that cannot be the id of a document."""
    return f"{key.kind}_{ids.document_id(key.id)}"


def begin_entry(
    key: Key, batch: firestore.WriteBatch, clients: Clients, pause: float, *, removal: bool = False
) -> Entry:
    """Add to ``batch`` an entry for work that begins now, due in ``pause`` seconds.

    The caller ends it with :func:`complete`; if the caller dies, the drain finishes the work.
    """
    reference = reference_of(key, clients)
    fields = {
        "kind": key.kind,
        "key": key.id,
        "attempts": 0,
        "state": "waiting",
        "reason": Waiting.BEGUN,
        "lastError": "",
        "firstFailedAt": firestore.SERVER_TIMESTAMP,
        "nextAttemptAt": datetime.fromtimestamp(time.time() + pause, UTC),
    }
    batch.set(reference, {**fields, "removal": True} if removal else fields, merge=True)
    return Entry(key, removal=removal, attempts=0, reference=reference, version=None)


def due(clients: Clients, deadline: float, after: Entry | None = None) -> list[Entry]:
    """Up to 200 due entries, the longest due first, from the one after ``after``.

    An entry that is put off or reported again comes after all that are due now.
    """
    query = (
        clients.firestore.collection(COLLECTION)
        .where(filter=FieldFilter("nextAttemptAt", "<=", datetime.now(UTC)))
        .order_by("nextAttemptAt")
        .order_by("__name__")
        .limit(2 * BATCH)
    )
    if after:
        query = query.start_after(
            {"nextAttemptAt": after.next_attempt_at, "__name__": after.reference}
        )
    return [_entry(snapshot) for snapshot in _answer(query, deadline)]


def earliest(clients: Clients, deadline: float) -> float | None:
    """The Unix time of the next attempt of any entry; None if no entry waits."""
    query = clients.firestore.collection(COLLECTION).order_by("nextAttemptAt").limit(1)
    found = _answer(query, deadline)
    return found[0].get("nextAttemptAt").timestamp() if found else None


def apply_outcomes(outcomes: Mapping[Entry, Outcome], clients: Clients, deadline: float) -> None:
    """Delete the entries that are done; put off or park the others.

    An entry that was reported again meanwhile stays as it is, since its outcome may be outdated;
    only ``recheck`` and ``removal`` are entered all the same. Raises FirebaseUnavailable if some
    entries could not be written.
    """
    batch = BulkWriteBatch(clients.firestore)
    for entry, outcome in outcomes.items():
        unchanged = clients.firestore.write_option(last_update_time=entry.version)
        is_final = outcome.is_done or outcome.is_parked
        if is_final and entry.recheck_at > time.time():
            again_at = datetime.fromtimestamp(entry.recheck_at, UTC)
            batch.update(entry.reference, {"nextAttemptAt": again_at}, unchanged)
        elif outcome.is_done:
            batch.delete(entry.reference, unchanged)
        else:
            batch.update(
                entry.reference, retry.fields_after_attempt(outcome, entry.attempts), unchanged
            )
        _log_applied(entry, outcome)
    with temporary_failures_named():
        statuses = batch.commit(**until(deadline)).status
    codes = [status.code for status in statuses]
    missed = [
        outcome
        for outcome, code in zip(outcomes.values(), codes, strict=True)
        if code in CHANGED and (outcome.recheck or outcome.removal)
    ]
    if missed:
        write_entries(missed, clients)
    if any(code not in (code_pb2.OK, *CHANGED) for code in codes):
        raise FirebaseUnavailable("an entry could not be written")


def entries_of(keys: Iterable[Key], clients: Clients) -> dict[Key, Entry]:
    """The entries that these keys have now, waiting or parked."""
    references = [reference_of(key, clients) for key in keys]
    with temporary_failures_named():
        snapshots = clients.firestore.get_all(references, **until(_listing_ends()))
        entries = [_entry(snapshot) for snapshot in snapshots if snapshot.exists]
    return {entry.key: entry for entry in entries}


def count(state: str, clients: Clients) -> int:
    counting: Any = _in_state(state, clients).count()
    [[counted]] = _answer(counting, _listing_ends())
    return int(counted.value)


def oldest(clients: Clients, parked: int) -> datetime | None:
    """When the entry that waits longest first failed; ``parked`` is how many are parked.

    One of the first ``parked`` + 1 entries waits, so no index of two fields is needed. Where more
    than 200 are parked and more than 200 wait, it is the oldest of 200 that wait.
    """
    entries = clients.firestore.collection(COLLECTION)
    first = entries.order_by("firstFailedAt").limit(parked + 1)
    known = _oldest_of(first) if parked <= _MOST_LOOKED_AT else None
    return known or _oldest_of(_in_state("waiting", clients).limit(_MOST_LOOKED_AT))


def _oldest_of(query: firestore.Query) -> datetime | None:
    fields = ["state", "reason", "firstFailedAt"]
    found = (one.to_dict() or {} for one in _answer(query.select(fields), _listing_ends()))
    times = (one.get("firstFailedAt") for one in found if waits_since_it_failed(one))
    return min((at for at in times if isinstance(at, datetime)), default=None)


def waits_since_it_failed(entry: Mapping[str, Any]) -> bool:
    """Not so one that was parked, and is tried once more: it keeps its reason until then."""
    return entry.get("state") == "waiting" and entry.get("reason") not in list(Parked)


def sample(state: str, clients: Clients) -> list[dict[str, Any]]:
    """Up to 2,000 entries that are ``waiting`` or ``parked``; the first to have failed come first.

    Sorted here: a query that filters and sorts would need an index of its own.
    """
    query = _in_state(state, clients).limit(_MOST_SHOWN)
    snapshots = _answer(query, _listing_ends())
    entries = [snapshot.to_dict() or {} for snapshot in snapshots]
    return sorted(entries, key=lambda entry: str(entry.get("firstFailedAt", "")))


def _listing_ends() -> float:
    return time.monotonic() + LISTING_SECONDS


def _in_state(state: str, clients: Clients) -> firestore.Query:
    collection = clients.firestore.collection(COLLECTION)
    return collection.where(filter=FieldFilter("state", "==", state))


def _answer(query: Any, deadline: float) -> Any:
    """What Firestore answers to a query or a count. Raises FirebaseUnavailable."""
    with temporary_failures_named():
        return query.get(**until(deadline))


def retry_parked(clients: Clients) -> int:
    """Let the drain try up to 2,000 parked entries once more; returns their number."""
    deadline = _listing_ends()
    retried = 0
    snapshots = _answer(_in_state("parked", clients).limit(_MOST_SHOWN), deadline)
    with temporary_failures_named():
        for some in batches(snapshots):
            batch = BulkWriteBatch(clients.firestore)
            for snapshot in some:
                unchanged = clients.firestore.write_option(last_update_time=snapshot.update_time)
                fields = {"state": "waiting", "nextAttemptAt": datetime.now(UTC)}
                batch.update(snapshot.reference, fields, unchanged)
                retried += 1
            batch.commit(**until(deadline))
    if retried:
        try_to_wake(time.time(), clients)
    return retried


def mark_removal(keys: Iterable[Key], clients: Clients) -> None:
    """Mark the existing entries of deleted accounts, in case the drain that repairs them dies now.

    A key without an entry needs no mark: its own event is delivered again.
    """
    batch = BulkWriteBatch(clients.firestore)
    for key in keys:
        batch.update(reference_of(key, clients), {"removal": True})
    with temporary_failures_named():
        batch.commit(**until(time.monotonic() + WRITE_SECONDS))


def reference_of(key: Key, clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document(COLLECTION, document_id(key))


def _entry(snapshot: Any) -> Entry:
    fields = snapshot.to_dict() or {}
    return Entry(
        key=Key(fields["kind"], fields["key"]),
        removal=fields.get("removal") is True,
        attempts=fields.get("attempts", 0),
        reference=snapshot.reference,
        version=snapshot.update_time,
        recheck_at=fields["recheckAt"].timestamp() if "recheckAt" in fields else 0.0,
        next_attempt_at=fields.get("nextAttemptAt"),
    )


def _log_written(outcome: Outcome) -> None:
    key, reason = outcome.key, outcome.reason
    if outcome.is_parked:
        _log_parked(outcome)
    else:
        message = f"Repair of {key.kind} {key.id} queued: {reason}"
        fields = {key.kind: key.id, "removal": outcome.removal}
        logger.warn(message, **fields, reason=reason, **_event(reason))


def _log_applied(entry: Entry, outcome: Outcome) -> None:
    key, reason = entry.key, outcome.reason
    fields = {key.kind: key.id, "attempt": entry.attempts + 1}
    if outcome.is_parked:
        _log_parked(outcome, attempt=entry.attempts + 1)
    elif outcome.is_done:
        result = outcome.status or str(outcome.error)
        logger.info(f"Queued repair of {key.kind} {key.id} done: {result}", **fields)
    else:
        message = f"Queued repair of {key.kind} {key.id} put off: {reason}"
        logger.warn(message, **fields, reason=reason, **_event(reason))


def _log_parked(outcome: Outcome, **fields: int) -> None:
    key = outcome.key
    message = f"Repair of {key.kind} {key.id} parked: {outcome.error}"
    fields_of_key = {key.kind: key.id, "reason": outcome.reason}
    logger.error(message, **fields_of_key, **fields, event=LogEvent.PARKED)


def _event(reason: object) -> dict[str, LogEvent]:
    return {"event": LogEvent.CREDENTIALS} if reason == Waiting.CREDENTIALS else {}
