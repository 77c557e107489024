"""What an app reads of a user: statistics and the profile, created on reading if missing."""

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
    state = _read(uid, clients)
    if state.stats is None:
        state = _repaired(uid, clients)
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
    state = _read(uid, clients)
    created = state.profile is None
    if created:
        state = _repaired(uid, clients)
    profile: Document = state.profile or {}
    return {
        "userId": uid,
        "displayName": json_value(profile.get("displayName")),
        "photoURL": json_value(profile.get("photoURL")),
        "preferences": json_value(profile.get("preferences")) or {},
        "createdAt": json_value(profile.get("createdAt")),
        "updatedAt": json_value(profile.get("updatedAt")),
        "created": created,
    }


def _read(uid: str, clients: Clients) -> FirebaseState:
    key = Key("user", uid)
    return read_documents([key], clients.firestore, new_deadline(), also=["preferences"])[key]


def _repaired(uid: str, clients: Clients) -> FirebaseState:
    """The documents after a repair; a failure in Stream alone is not raised."""
    logger.info(f"Self-healing triggered for user {uid}", user=uid)
    [outcome] = outbox.reconcile([Key("user", uid)], clients)
    state = _read(uid, clients)
    if isinstance(outcome.error, NotFound) or state.stats is None or state.profile is None:
        raise NotRepaired(outcome) if outcome.error else NotFound([uid])
    return state
