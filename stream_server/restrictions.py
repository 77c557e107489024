"""What keeps a participant's client from sending: a ban, a frozen channel, slow mode.

Servers may send anyway, and in whose name they want: assumed, as Stream checks permissions of
clients only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from . import timestamps
from .errors import IN_COOLDOWN, StreamError, not_allowed
from .permissions import client, is_moderator
from .state import Json, State


def is_banned(user: Json, record: Json) -> bool:
    return bool(user["banned"] or record["members"].get(user["id"], {}).get("banned"))


def is_shadow_banned(state: State, record: Json, user_id: str) -> bool:
    membership = record["members"].get(user_id, {})
    return bool(state.users[user_id]["shadow_banned"] or membership.get("shadow_banned"))


def refuse_banned(state: State, record: Json) -> None:
    user = client(state)
    if user and is_banned(user, record):
        raise not_allowed(
            "Sorry, you do not have access to this feature. Your account is currently suspended "
            "from chat."
        )


def is_frozen_for(state: State, record: Json) -> bool:
    """By default no role has the permission to use a frozen channel."""
    return bool(state.caller.user_id and record["channel"]["frozen"])


def refuse_in_cooldown(state: State, record: Json) -> None:
    """Moderators and admins have the permission to skip it."""
    user = client(state)
    seconds = record["channel"].get("cooldown", 0)
    if user is None or not seconds or is_moderator(user, record):
        return
    began = timestamps.text(datetime.now(UTC) - timedelta(seconds=seconds))
    for message in reversed(record["messages"].values()):
        if message["created_at"] <= began:
            return
        if message["user_id"] == user["id"]:
            raise StreamError(
                403,
                IN_COOLDOWN,
                f"user {user['id']} is not allowed to send messages on channel "
                f"{record['channel']['cid']} under cool down period({seconds}s)",
            )
