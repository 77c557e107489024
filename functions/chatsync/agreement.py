"""What ``stream_users/{kind}_{id}`` remembers of a Stream user, and what that is worth. Pure.

A repair that ends in agreement writes down what it saw. A caller that trusts the entry need not ask
Stream. An entry claims nothing about now: it is withdrawn when something else is seen or an event
tells of it, and it counts for ``trust_hours`` at most.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from . import users
from .config import Config
from .ids import Key
from .users import Document, FirebaseState, Remembered

KEPT_CHANGES = 10
"""Of ``history``."""

DOOR = os.environ.get("FUNCTION_TARGET") or "operator"
"""What this process serves: the deployed function's name, which the platform sets."""

TOMBSTONE_KEPT_FOR = timedelta(days=7)
"""How long the entry of a deleted account is kept, by Firestore's TTL policy."""

TOMBSTONE_COUNTS_FOR = timedelta(hours=2)
"""How long a document of a deleted account is removed again: its ID tokens are valid for an hour
after the deletion."""


def fingerprint(key: Key, stream_id: str, state: FirebaseState, config: Config) -> str:
    """A hash of what the Stream user is to be by documents, account and settings as they are now.

    Values that were refused before are left out, as they are in Stream.
    """
    kind = users.kind_of(key, state, config)
    role = users.default_role(kind or "user", config)
    owned = users.without_refused(users.owned_fields(state, config), state.refused)
    wanted = users.with_values(owned, role)
    teams = wanted.get("teams")
    if isinstance(teams, list):
        wanted["teams"] = sorted(map(str, teams))
    text = json.dumps([stream_id, kind, wanted], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def is_fresh(state: FirebaseState, config: Config, now: datetime) -> bool:
    """Whether the user was seen in agreement within ``trust_hours``."""
    return _is_younger(state.remembered, config.stream.trust_hours, now)


def still_agrees(
    key: Key, stream_id: str, state: FirebaseState, config: Config, now: datetime
) -> bool:
    """Whether the entry is fresh, and Firebase says the same as when it was written.

    ``state`` holds the account.
    """
    remembered = state.remembered
    return (
        remembered is not None
        and is_fresh(state, config, now)
        and not users.documents_differ(state, config)
        and remembered.fingerprint == fingerprint(key, stream_id, state, config)
    )


def revoked_before(stream_user: Mapping[str, Any]) -> int:
    """Before which time tokens are revoked, in whole Unix seconds, rounded up; 0 if never."""
    revoked = stream_user.get("revoke_tokens_issued_before")
    return math.ceil(datetime.fromisoformat(revoked).timestamp()) if revoked else 0


def was_deleted_lately(state: FirebaseState, now: datetime) -> bool:
    """Whether the account was deleted within two hours; it may be back since."""
    deleted_at = state.remembered.deleted_at if state.remembered else None
    return deleted_at is not None and now - deleted_at < TOMBSTONE_COUNTS_FOR


def update_of_entry(
    remembered: Remembered | None,
    seen: str,
    stream_user: Mapping[str, Any],
    change: Mapping[str, Any] | None,
    config: Config,
    *,
    auth_was_asked: bool = True,
) -> dict[str, Any]:
    """The fields to write after a repair that ended in agreement; empty if they need no write.

    ``seen`` is the fingerprint, ``change`` what the repair did, for the history. If Auth was not
    asked, ``seen`` may lack a field that Auth states: then it replaces none that is young.
    """
    now = datetime.now(UTC)
    hours = config.stream.trust_hours
    # Nobody trusts an entry for 0 hours: it is written once, for its history.
    is_young = _is_younger(remembered, hours / 2, now) if hours else remembered is not None
    is_same = remembered is not None and remembered.fingerprint == seen
    if is_young and not change and (is_same or not auth_was_asked):
        return {}
    revoked = revoked_before(stream_user)
    fields: dict[str, Any] = {"fingerprint": seen, "verifiedAt": now, "revokedBefore": revoked}
    if change:
        fields["history"] = with_change(remembered.history if remembered else (), change)
    return fields


def change_of(did: str, names: Iterable[str] = ()) -> dict[str, Any]:
    """What this process did, or was told of, for the history. ``names`` are those of fields of the
    Stream user, or of collections; never values."""
    return {"by": DOOR, "did": did, "fields": sorted(names)}


def with_change(history: Sequence[Document], change: Mapping[str, Any]) -> list[Document]:
    """``history`` with one more change; the last ten only."""
    return [*history, {"at": datetime.now(UTC), **change}][-KEPT_CHANGES:]


def _is_younger(remembered: Remembered | None, hours: float, now: datetime) -> bool:
    verified_at = remembered.verified_at if remembered else None
    return verified_at is not None and now - verified_at < timedelta(hours=hours)
