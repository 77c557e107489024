"""Blocking users: their distinct channels of two are hidden from who blocked them.

Group channels and the blocked user's own view stay as they are.
"""

from __future__ import annotations

from . import timestamps
from .errors import bad_input
from .events import personal_event
from .membership import refuse_unusable_users
from .message_checks import acting_user
from .payloads import given_fields, refuse_wrong_types
from .state import Json, State
from .user_checks import existing_user
from .user_shapes import short_shape


def block_user(state: State, params: Json, body: Json) -> Json:
    user_id, other_id = blocking(state, body)
    if user_id == other_id:
        raise bad_input("you cannot block yourself")
    existing_user(state, other_id)
    blocks = state.blocks.setdefault(user_id, {})
    if other_id not in blocks:
        blocks[other_id] = timestamps.now()
        show_blocks(state, user_id)
        tell_channels(state, "channel.hidden", user_id, other_id, clear_history=False)
    return {
        "blocked_by_user_id": user_id,
        "blocked_user_id": other_id,
        "created_at": blocks[other_id],
    }


def unblock_user(state: State, params: Json, body: Json) -> Json:
    """Who isn't blocked need not be unblocked: assumed."""
    user_id, other_id = blocking(state, body)
    if state.blocks.get(user_id, {}).pop(other_id, None):
        show_blocks(state, user_id)
        tell_channels(state, "channel.visible", user_id, other_id)
    return {}


def get_blocked_users(state: State, params: Json, body: Json) -> Json:
    user_id = acting_user(state, params)
    refuse_unusable_users(state, [user_id], "block")
    return {
        "blocks": [
            {
                "user_id": user_id,
                "user": short_shape(state, user_id),
                "blocked_user_id": other_id,
                "blocked_user": short_shape(state, other_id),
                "created_at": time,
            }
            for other_id, time in state.blocks.get(user_id, {}).items()
        ]
    }


def blocking(state: State, body: Json) -> tuple[str, str]:
    """Who blocks, and whom."""
    given = given_fields(body)
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], "block")
    refuse_wrong_types(given, {"blocked_user_id": str}, "block")
    if not given.get("blocked_user_id"):
        raise bad_input("blocked_user_id is a required field")
    return user_id, given["blocked_user_id"]


def show_blocks(state: State, user_id: str) -> None:
    state.users[user_id]["blocked_user_ids"] = list(state.blocks[user_id])


def tell_channels(
    state: State, event_type: str, user_id: str, other_id: str, **fields: object
) -> None:
    """Assumed, as Stream's JS SDK takes from these events whether a channel is blocked."""
    for record in state.channels_of(user_id):
        if set(record["distinct"] or ()) == {user_id, other_id} and user_id not in record["hidden"]:
            personal_event(state, event_type, record, user_id, **fields)


def without_blockers(state: State, members: dict[str, Json]) -> dict[str, Json]:
    """Whom a client may add: who blocked its user is passed over without a word."""
    adds = state.caller.user_id
    return {one: member for one, member in members.items() if adds not in state.blocks.get(one, {})}
