"""Remove what is left of deleted accounts."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from firebase_functions import logger

from . import ids, side_by_side
from .clients import Clients
from .clients.accounts import existing_keys
from .clients.documents import WITH_HISTORY, Entry, delete_user_documents, read_documents
from .departures import leave_conversations
from .errors import (
    ChatsyncError,
    FirebaseUnavailable,
    InvalidArgument,
    NotFound,
    StreamRejected,
    StreamUnavailable,
    Temporary,
)
from .ids import Key
from .outcome import Outcome
from .reconcile import GRACE_SECONDS, new_deadline, reconcile_users
from .users import FirebaseState, UserKind


def remove_users(
    keys: Sequence[Key],
    clients: Clients,
    *,
    from_stream: bool = True,
    documents: bool = True,
    deadline: float = math.inf,
) -> list[Outcome]:
    """Remove the Stream users of up to 100 deleted accounts by policy, and their documents.

    They leave their conversations, too. Without ``from_stream`` or ``documents``, only the other of
    the two is removed.

    A user who exists, because the event is late or the uid is in use again, is reconciled instead.
    One outcome per key, in the same order; NotFound means success: the user doesn't exist, and
    nothing is left of them.

    Raises StreamCredentialsRejected.
    """
    outcomes: dict[Key, Outcome] = {}
    removable = []
    for key in keys:
        try:
            ids.check_key(key.id, f"{key.kind}Id", key.kind, clients.settings.id_format)
            removable.append(key)
        except InvalidArgument as error:
            outcomes[key] = Outcome(key, "", None, error)

    deadline = min(new_deadline(), deadline)
    removal = from_stream and documents
    try:
        of = ("company", "entry")
        reading = side_by_side.begin(
            read_documents, removable, clients, deadline, of=of, whole=WITH_HISTORY
        )
        existing = existing_keys(removable, clients, deadline)
        states = side_by_side.result(reading, deadline)
    except FirebaseUnavailable as error:
        for key in removable:
            outcomes[key] = Outcome(key, "", None, error, removal=removal)
        return [outcomes[key] for key in keys]
    gone = {key: states[key] for key in removable if key not in existing}
    removed = _remove(gone, clients, from_stream, documents, deadline)
    for key, failure in removed.items():
        stream_id = clients.settings.stream_id(key, gone[key])
        # A deletion without an answer may come late, when the account is back.
        recheck = isinstance(failure, StreamUnavailable)
        result = failure or NotFound([key.id])
        outcomes[key] = Outcome(key, stream_id, None, result, recheck=recheck, removal=removal)
    try:
        existing |= existing_keys(list(gone), clients, deadline + GRACE_SECONDS)
    except FirebaseUnavailable as error:
        # Nor raised here: the outbox finds who came back meanwhile.
        for key in gone:
            if isinstance(outcomes[key].error, NotFound):
                outcomes[key] = replace(outcomes[key], error=error)
    alive = [key for key in removable if key in existing]
    for outcome in reconcile_users(alive, clients, deadline=deadline + GRACE_SECONDS):
        before = outcomes.get(outcome.key)
        recheck = outcome.recheck or bool(before and before.recheck)
        outcomes[outcome.key] = replace(outcome, recheck=recheck)
    return [outcomes[key] for key in keys]


def _remove(
    gone: Mapping[Key, FirebaseState],
    clients: Clients,
    from_stream: bool,
    documents: bool,
    deadline: float,
) -> dict[Key, ChatsyncError | None]:
    """Remove these users from both sides, or one; the error of each who could not be removed."""
    policy = clients.settings.config.stream.delete_policy if from_stream else ""
    entries = {
        key: Entry(
            _kind_of(key, state),
            clients.settings.stream_id(key, state),
            state.remembered.history if state.remembered else (),
        )
        for key, state in gone.items()
    }
    # A company that has a document remains in Stream, though its account is deleted.
    stream_ids = {
        key: entry.stream_id
        for key, entry in entries.items()
        if entry.kind != "company" or gone[key].company is None
    }
    failures = _remove_from_stream(stream_ids, policy, clients, deadline) if policy else {}
    # After Stream, which no longer lists the members by then. A deletion in Stream whose answer
    # was lost is to be looked at again: its error counts.
    after = deadline + GRACE_SECONDS
    of_documents = _remove_documents(
        entries, stream_ids, clients, documents, failures.keys(), after
    )
    failures = {**of_documents, **failures}
    for key in gone:
        if key not in failures:
            _log(key, policy, documents)
    return {key: failures.get(key) for key in gone}


def _remove_documents(
    entries: Mapping[Key, Entry],
    stream_ids: Mapping[Key, str],
    clients: Clients,
    documents: bool,
    still_in_stream: Collection[Key],
    deadline: float,
) -> dict[Key, ChatsyncError]:
    """Take accounts out of their conversations, then delete their documents; returns the errors.

    Without ``documents`` only ``stream_users`` is told, which is always told last.
    """
    leaving = {
        key: side_by_side.begin(leave_conversations, key.id, stream_id, clients, deadline)
        for key, stream_id in stream_ids.items()
        if key.kind == "user" and documents
    }
    failures: dict[Key, ChatsyncError] = {}
    for key, future in leaving.items():
        try:
            side_by_side.result(future, deadline)
        except FirebaseUnavailable as error:
            failures[key] = error
    left = {key: entry for key, entry in entries.items() if key not in failures}
    try:
        delete_user_documents(
            left, clients, deadline, documents=documents, still_in_stream=still_in_stream
        )
    except FirebaseUnavailable as error:
        failures |= dict.fromkeys(left, error)
    return failures


def _kind_of(key: Key, state: FirebaseState) -> UserKind:
    is_company = key.kind == "company" or state.company is not None
    return state.kind or ("company" if is_company else "user")


def _log(key: Key, policy: str, documents: bool) -> None:
    message = f"Removed {key.kind} {key.id} by policy {policy}" if policy else ""
    if documents and key.kind == "user":
        message += ", and their documents" if policy else f"Removed the documents of {key.id}"
    logger.info(message, **{key.kind: key.id})


def _remove_from_stream(
    stream_ids: Mapping[Key, str], policy: str, clients: Clients, deadline: float
) -> dict[Key, ChatsyncError]:
    """Several users are softly deleted in one call: Stream allows few deletions in a minute."""
    if policy == "soft" and len(stream_ids) > 1:
        try:
            clients.stream.delete_users(list(stream_ids.values()), deadline)
            return {}
        except Temporary as error:
            return dict.fromkeys(stream_ids, error)
        except StreamRejected as error:
            logger.warn(f"{len(stream_ids)} removals are tried one by one: {error}")
    failures: dict[Key, ChatsyncError] = {}
    for key, stream_id in stream_ids.items():
        try:
            clients.stream.remove_user(stream_id, policy, deadline)
        except (Temporary, StreamRejected) as error:
            failures[key] = error
    return failures
