"""What an app reads of a user: statistics and the profile, created on reading if missing."""

from collections.abc import Sequence
from typing import Any

from firebase_functions import logger

from .. import outbox
from ..as_json import json_value
from ..clients import Clients
from ..clients.documents import read_documents
from ..errors import NotFound
from ..ids import Key
from ..outcome import NotRepaired
from ..reconcile import new_deadline
from ..users import Document, FirebaseState


def read_stats(uid: str, caller: str, clients: Clients) -> dict[str, Any]:
    """``{userId, createdAt, conversationsStarted, messagesSent, lastActiveAt, updatedAt}``.

    A missing record of an existing account is created. ``lastActiveAt``, and ``updatedAt``, which
    follows it, are null unless the caller asks for their own. Raises NotFound, and the repair's
    error if the record could not be created.
    """
    state = _read(uid, clients, [])
    if state.stats is None:
        state = _repaired(uid, clients, [])
    stats = state.stats or {}
    return {
        "userId": uid,
        "createdAt": json_value(stats.get("createdAt")),
        "conversationsStarted": json_value(stats.get("conversationsStarted")) or 0,
        "messagesSent": json_value(stats.get("messagesSent")) or 0,
        "lastActiveAt": json_value(stats.get("lastActiveAt")) if uid == caller else None,
        "updatedAt": json_value(stats.get("updatedAt")) if uid == caller else None,
    }


def ensure_profile(uid: str, clients: Clients) -> dict[str, Any]:
    """``{userId, displayName, photoURL, preferences, createdAt, updatedAt, created}``.

    ``created`` says whether the profile was missing. Raises as read_stats does.
    """
    state = _read(uid, clients, ["preferences"])
    created = state.profile is None
    if created:
        state = _repaired(uid, clients, ["preferences"])
    profile: Document = state.profile or {}
    return {
        "userId": uid,
        "displayName": _text(profile, "displayName"),
        "photoURL": _text(profile, "photoURL"),
        "preferences": json_value(profile.get("preferences")) or {},
        "createdAt": json_value(profile.get("createdAt")),
        "updatedAt": json_value(profile.get("updatedAt")),
        "created": created,
    }


def _text(profile: Document, field: str) -> str | None:
    value = profile.get(field)
    return value if isinstance(value, str) else None


def _read(uid: str, clients: Clients, of_profile: Sequence[str]) -> FirebaseState:
    key = Key("user", uid)
    deadline = new_deadline()
    return read_documents([key], clients, deadline, whole={"profile": of_profile})[key]


def _repaired(uid: str, clients: Clients, of_profile: Sequence[str]) -> FirebaseState:
    """The documents after a repair; a failure in Stream alone is not raised."""
    logger.info(f"Self-healing triggered for user {uid}", user=uid)
    [outcome] = outbox.reconcile([Key("user", uid)], clients)
    state = _read(uid, clients, of_profile)
    if isinstance(outcome.error, NotFound) or state.stats is None or state.profile is None:
        raise NotRepaired(outcome) if outcome.error else NotFound([uid])
    return state
