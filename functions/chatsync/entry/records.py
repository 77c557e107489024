"""What an app reads of a user: statistics and the profile, created on reading if missing.

Firebase alone answers: nobody waits for Stream, which the outbox brings into agreement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from firebase_functions import logger

from .. import outbox, users
from ..agreement import is_fresh
from ..as_json import json_value
from ..clients import Clients
from ..clients.accounts import read_accounts
from ..clients.documents import (
    WITH_HISTORY,
    Entry,
    commit,
    create_missing,
    log_created,
    read_documents,
    tell_created,
)
from ..errors import FailedPrecondition, NotFound, Postponed, Refusal, Temporary, Unsettled
from ..ids import Key
from ..outbox import retry
from ..outcome import NotRepaired, Outcome
from ..reconcile import new_deadline
from ..settings import Settings
from ..side_by_side import begin, result
from ..users import Document, FirebaseState

_MAX_CONFLICTS = 3

_ALL = ("user", "profile", "stats", "company", "entry")


def read_stats(uid: str, caller: str, clients: Clients) -> dict[str, Any]:
    """``{userId, createdAt, conversationsStarted, messagesSent, lastActiveAt, updatedAt}``.

    The app's own ``[stats] public_fields`` are told too. A missing record of an existing account is
    created. ``lastActiveAt``, and ``updatedAt``, which follows it, are null unless the caller asks
    for their own. Raises NotFound, FailedPrecondition for an anonymous account that is not
    provisioned, and NotRepaired if Firebase fails.
    """
    own = clients.settings.config.stats.public_fields
    state, _ = _found_or_made(uid, "stats", {"stats": own}, clients)
    stats = state.stats or {}
    return {
        **{name: json_value(stats.get(name)) for name in own},
        "userId": uid,
        "createdAt": json_value(stats.get("createdAt")),
        "conversationsStarted": json_value(stats.get("conversationsStarted")) or 0,
        "messagesSent": json_value(stats.get("messagesSent")) or 0,
        "lastActiveAt": json_value(stats.get("lastActiveAt")) if uid == caller else None,
        "updatedAt": json_value(stats.get("updatedAt")) if uid == caller else None,
    }


def ensure_profile(uid: str, clients: Clients) -> dict[str, Any]:
    """``{userId, displayName, photoURL, preferences, createdAt, updatedAt, created}``.

    ``preferences`` is the map in the user document, which only its owner reads; else that of a
    profile that has one. ``created`` says whether the profile was missing. Whatever else the user
    lacks in Firebase is created too. Raises as read_stats does.
    """
    whole = {document: ["preferences"] for document in ("user", "profile")}
    state, created = _found_or_made(uid, "profile", whole, clients)
    profile, config = state.profile or {}, clients.settings.config
    kept = [(one or {}).get("preferences") for one in (state.user, state.profile)]
    return {
        "userId": uid,
        "displayName": users.told_in_profile(profile, "name", config),
        "photoURL": users.told_in_profile(profile, "image", config),
        "preferences": json_value(next((one for one in kept if isinstance(one, Mapping)), {})),
        "createdAt": json_value(profile.get("createdAt")),
        "updatedAt": json_value(profile.get("updatedAt")),
        "created": created,
    }


def _found_or_made(
    uid: str,
    field: Literal["profile", "stats"],
    whole: Mapping[str, Sequence[str]],
    clients: Clients,
) -> tuple[FirebaseState, bool]:
    """The user with this document, and whether it was missing.

    ``whole`` names fields to read uncut, by the document that they are in.
    """
    key, deadline = Key("user", uid), new_deadline()

    def read(of: Sequence[str]) -> tuple[FirebaseState, Document | None]:
        state = read_documents([key], clients, deadline, of=of, whole=whole)[key]
        return state, getattr(state, field)

    # An app ensures its own profile when it starts; statistics are read of many, at two reads each.
    state, found = read(_ALL if field == "profile" else [field, "entry"])
    if found is not None and (field == "stats" or _lacks_nothing(state, clients)):
        _repair_later_unless_fresh(key, state, clients)
        return state, False
    logger.info(f"Self-healing triggered for user {uid}", user=uid)
    try:
        _make(key, clients, deadline)
        _, made = read([field])
    except (NotFound, FailedPrecondition):
        if found is None:
            raise
        return state, False
    except Temporary as error:
        [outcome] = outbox.enqueue_unfinished([Outcome(key, "", None, error)], clients)
        if found is None:
            raise NotRepaired(outcome) from error
        return state, False
    if made is None:
        raise NotFound([uid])  # the account was deleted a moment ago
    with_it = replace(state, profile=made) if field == "profile" else replace(state, stats=made)
    return with_it, found is None


def _repair_later_unless_fresh(key: Key, state: FirebaseState, clients: Clients) -> None:
    """Enter into the outbox a user who was not seen in agreement with Stream lately.

    An entry of the last minute belongs to a repair that is under way, or was withdrawn by one.
    Nobody is for 0 ``trust_hours``: each reading would lead to a repair.
    """
    if not clients.settings.config.stream.trust_hours:
        return
    is_new = state.remembered and not state.remembered.was_there_before(timedelta(minutes=1))
    if not is_new and not is_fresh(state, clients.settings.config, datetime.now(UTC)):
        waiting = Outcome(key, "", None, Postponed("not seen in agreement lately"))
        outbox.enqueue_unfinished([waiting], clients)


def _lacks_nothing(state: FirebaseState, clients: Clients) -> bool:
    return state.kind is not None and not users.lacking(state, clients.settings.config)


def _make(key: Key, clients: Clients, deadline: float) -> None:
    """Create what the user lacks in Firestore.

    Auth is asked once. The same commit enters the user into the outbox: so Stream follows, and an
    account that was deleted meanwhile loses the documents again.
    """
    asking = begin(read_accounts, [key], clients.auth)
    for _ in range(_MAX_CONFLICTS):
        state = read_documents([key], clients, deadline, of=_ALL, whole=WITH_HISTORY)[key]
        if _lacks_nothing(state, clients):
            return
        account = result(asking, deadline).get(key)
        if account is None:
            raise NotFound([key.id])
        state, entry = _judged(key, replace(state, account=account), clients.settings)
        batch = clients.firestore.batch()
        if entry:
            lacking = users.lacking(state, clients.settings.config)
            collections = map(clients.settings.collection_of, lacking)
            entry = entry.with_change("documents", collections)
        created = create_missing(key, state, entry, batch, clients)
        if not created:
            return
        if not entry:
            tell_created(key, state, created, batch, clients)
        with outbox.waking(clients):
            pause = retry.FIRST_ATTEMPT_SECONDS
            outbox.begin_entry(key, batch, clients, pause, removal=True)
            committed = commit(batch, deadline)
        if committed is not None:
            log_created(key, created)
            return
    raise Unsettled(f"the documents of user {key.id} kept changing")


def _judged(
    key: Key, state: FirebaseState, settings: Settings
) -> tuple[FirebaseState, Entry | None]:
    """What to create documents from, and what is still to be written down of the account.

    Raises FailedPrecondition for an account that gets no documents.
    """
    account, config = state.account, settings.config
    if account and account.anonymous and not config.stream.provision_anonymous_users:
        raise FailedPrecondition([key.id], Refusal.ANONYMOUS)
    kind = users.kind_of(key, state, config)
    if kind is None:
        # As if there were a user document: ours would decide that the account is a person.
        return replace(state, user={}), None
    entry = Entry(kind, settings.stream_id(key, state))
    return replace(state, kind=kind), None if state.kind else entry
