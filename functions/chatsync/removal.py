"""Remove what is left of deleted accounts."""

import math
from collections.abc import Sequence
from dataclasses import replace

from firebase_functions import logger

from . import ids, side_by_side
from .clients import Clients
from .clients.accounts import existing_keys
from .clients.documents import delete_user_documents
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


def remove_users(
    keys: Sequence[Key],
    clients: Clients,
    *,
    from_stream: bool = True,
    documents: bool = True,
    deadline: float = math.inf,
) -> list[Outcome]:
    """Remove the Stream users of up to 100 deleted accounts by policy, and their documents.

    Without ``from_stream`` or ``documents``, only the other of the two is removed.

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
        existing = existing_keys(removable, clients.auth, clients.firestore, deadline)
    except FirebaseUnavailable as error:
        for key in removable:
            stream_id = clients.settings.id_format.stream_id(key)
            outcomes[key] = Outcome(key, stream_id, None, error, removal=removal)
        return [outcomes[key] for key in keys]
    gone = [key for key in removable if key not in existing]
    removed = _remove(gone, clients, from_stream, documents, deadline)
    for key, failure in removed.items():
        stream_id = clients.settings.id_format.stream_id(key)
        # A deletion without an answer may come late, when the account is back.
        recheck = isinstance(failure, StreamUnavailable)
        result = failure or NotFound([key.id])
        outcomes[key] = Outcome(key, stream_id, None, result, recheck=recheck, removal=removal)
    try:
        existing |= existing_keys(gone, clients.auth, clients.firestore, deadline + GRACE_SECONDS)
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
    gone: Sequence[Key],
    clients: Clients,
    from_stream: bool,
    documents: bool,
    deadline: float,
) -> dict[Key, ChatsyncError | None]:
    """Remove these users from both sides, or one; the error of each who could not be removed."""
    uids = [key.id for key in gone if key.kind == "user" and documents]
    deleting = side_by_side.begin(delete_user_documents, uids, clients.firestore, deadline)
    failures = _remove_from_stream(gone, clients, deadline) if from_stream else {}
    try:
        side_by_side.result(deleting, deadline + GRACE_SECONDS)
    except FirebaseUnavailable as error:
        # Not raised: a deletion in Stream whose answer was lost is to be looked at again.
        failures = {**dict.fromkeys(gone, error), **failures}
    for key in gone:
        if key not in failures:
            _log(key, clients.settings.delete_policy if from_stream else "", documents)
    return {key: failures.get(key) for key in gone}


def _log(key: Key, policy: str, documents: bool) -> None:
    message = f"Removed {key.kind} {key.id} by policy {policy}" if policy else ""
    if documents and key.kind == "user":
        message += ", and their documents" if policy else f"Removed the documents of {key.id}"
    logger.info(message, **{key.kind: key.id})


def _remove_from_stream(
    gone: Sequence[Key], clients: Clients, deadline: float
) -> dict[Key, ChatsyncError]:
    """Several users are softly deleted in one call: Stream allows few deletions in a minute."""
    stream_ids = {key: clients.settings.id_format.stream_id(key) for key in gone}
    if clients.settings.delete_policy == "soft" and len(gone) > 1:
        try:
            clients.stream.delete_users(list(stream_ids.values()), deadline)
            return {}
        except Temporary as error:
            return dict.fromkeys(gone, error)
        except StreamRejected as error:
            logger.warn(f"{len(gone)} removals are tried one by one: {error}")
    failures: dict[Key, ChatsyncError] = {}
    for key, stream_id in stream_ids.items():
        try:
            clients.stream.remove_user(stream_id, clients.settings.delete_policy, deadline)
        except (Temporary, StreamRejected) as error:
            failures[key] = error
    return failures
