"""What an app reads of a user, healed on reading: statistics and the profile."""

import time
from datetime import UTC, datetime
from typing import Any

from firebase_functions import logger

from . import firebase
from .clients import Clients
from .errors import NotFound
from .ids import Key
from .settings import Settings
from .sync import DEADLINE_SECONDS, reconcile_users
from .users import Document, Held


def read_stats(uid: str, caller: str, clients: Clients, settings: Settings) -> dict[str, Any]:
    """``{userId, createdAt, conversationsStarted, messagesSent, lastActiveAt, updatedAt}``.

    A missing record of an existing account is created. ``lastActiveAt`` is told to oneself only.
    Raises NotFound, and the repair's error where the record could not be made.
    """
    held = _read(uid, clients)
    if held.stats is None:
        held = _healed(uid, clients, settings)
    stats = held.stats or {}
    return {
        "userId": uid,
        "createdAt": _iso(stats.get("createdAt")),
        "conversationsStarted": stats.get("conversationsStarted", 0),
        "messagesSent": stats.get("messagesSent", 0),
        "lastActiveAt": _iso(stats.get("lastActiveAt")) if uid == caller else None,
        "updatedAt": _iso(stats.get("updatedAt")),
    }


def ensure_profile(uid: str, clients: Clients, settings: Settings) -> dict[str, Any]:
    """``{userId, displayName, photoURL, preferences, createdAt, updatedAt, created}``.

    ``created`` says whether it was missing. Raises as read_stats does.
    """
    held = _read(uid, clients)
    created = held.profile is None
    if created:
        held = _healed(uid, clients, settings)
    profile: Document = held.profile or {}
    return {
        "userId": uid,
        "displayName": profile.get("displayName"),
        "photoURL": profile.get("photoURL"),
        "preferences": profile.get("preferences") or {},
        "createdAt": _iso(profile.get("createdAt")),
        "updatedAt": _iso(profile.get("updatedAt")),
        "created": created,
    }


def _read(uid: str, clients: Clients) -> Held:
    key = Key("user", uid)
    deadline = time.monotonic() + DEADLINE_SECONDS
    return firebase.read_documents([key], clients.firestore, deadline)[key]


def _healed(uid: str, clients: Clients, settings: Settings) -> Held:
    """The documents after a repair, which may have failed in Stream without harm to them."""
    logger.info(f"Self-healing triggered for user {uid}", user=uid)
    [outcome] = reconcile_users([Key("user", uid)], clients, settings)
    held = _read(uid, clients)
    if isinstance(outcome.error, NotFound) or held.stats is None or held.profile is None:
        raise outcome.error or NotFound([uid])
    return held


def _iso(time_: object) -> str | None:
    if not isinstance(time_, datetime):
        return None
    return time_.astimezone(UTC).isoformat().replace("+00:00", "Z")
