"""Flags: messages and users that somebody reports to the app's moderators.

Here nobody reviews them, so that a flag stays as it was made.
"""

from __future__ import annotations

from typing import Any

from . import timestamps
from .errors import bad_input, not_found
from .events import channel_fields, webhook_event
from .filters import Schema, whole_number
from .membership import refuse_unusable_users
from .message_checks import acting_user, existing_message
from .message_shapes import find_message, message_shape
from .payloads import given_fields, json_object, refuse_wrong_types
from .permissions import refuse_unless_participant
from .state import Json, State
from .user_checks import existing_user
from .user_shapes import short_shape

TARGETS = ("target_message_id", "target_user_id")
INPUT_TYPES: dict[str, type] = {**dict.fromkeys(TARGETS, str), "reason": str, "custom": dict}
DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET = 100, 300, 1000  # assumed
EQUAL_OR_IN = {"$eq", "$in"}
MESSAGE_FLAGS = Schema(
    name="flags",
    operators={
        **dict.fromkeys(("channel_cid", "team", "user_id"), EQUAL_OR_IN),
        "is_reviewed": {"$eq"},
    },
    times=frozenset(),
    flags=frozenset({"is_reviewed"}),
    texts=frozenset({"channel_cid", "team", "user_id"}),
)


def flag(state: State, params: Json, body: Json) -> Json:
    """A repetition is one flag with the newer reason, and is told again: assumed."""
    given = given_fields(body)
    kind, target_id = target(given)
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], "flag")
    if kind == "target_message_id":
        record, message = existing_message(state, target_id)
        refuse_unless_participant(state, record, "FlagMessage")
        key, author = f"message:{target_id}:{user_id}", message["user_id"]
    else:
        key, author = f"user:{target_id}:{user_id}", existing_user(state, target_id)["id"]
    now = timestamps.now()
    state.flags[key] = {
        kind: target_id,
        "user_id": user_id,
        "flagged_user_id": author,
        "reason": given.get("reason", ""),
        "created_at": state.flags.get(key, {}).get("created_at", now),
        "updated_at": now,
    }
    tell_flag(state, state.flags[key])
    return {"flag": flag_shape(state, state.flags[key])}


def unflag(state: State, params: Json, body: Json) -> Json:
    """Stream answers so, and removes nothing: its JS SDK says it."""
    given = given_fields(body)
    kind, target_id = target(given)
    user_id = acting_user(state, given)
    key = f"{'message' if kind == 'target_message_id' else 'user'}:{target_id}:{user_id}"
    if key not in state.flags:
        raise not_found(f"user {user_id} has not flagged {target_id}")
    return {"flag": flag_shape(state, state.flags[key])}


def target(given: Json) -> tuple[str, str]:
    refuse_wrong_types(given, INPUT_TYPES, "flag")
    named = [(kind, given[kind]) for kind in TARGETS if given.get(kind)]
    if len(named) != 1:
        raise bad_input("one of target_message_id and target_user_id is a required field")
    return named[0]


def flag_shape(state: State, flag: Json) -> Json:
    shape = {
        "user": short_shape(state, flag["user_id"]),
        "reason": flag["reason"],
        "created_at": flag["created_at"],
        "updated_at": flag["updated_at"],
        "created_by_automod": False,
    }
    if "target_user_id" in flag:
        return {**shape, "target_user": short_shape(state, flag["target_user_id"])}
    message_id = flag["target_message_id"]
    return {
        **shape,
        "target_message_id": message_id,
        "channel_cid": state.message_cids.get(message_id, ""),
        "message_user_id": flag["flagged_user_id"],
    }


def tell_flag(state: State, flag: Json) -> None:
    """Webhooks only, as Stream documents for messages, and assumed for users."""
    total = sum(one["flagged_user_id"] == flag["flagged_user_id"] for one in state.flags.values())
    fields = {
        "user": short_shape(state, flag["user_id"]),
        "reason": flag["reason"],
        "total_flags": total,
    }
    message = find_message(state, flag.get("target_message_id"))
    if message is None:
        flagged = short_shape(state, flag["target_user_id"])
        webhook_event(state, "user.flagged", target_user=flagged, **fields)
        return
    fields |= channel_fields(state.channels[message["cid"]])
    shape = message_shape(state, message)
    told = {"message": shape, "message_id": message["id"], "flag": flag_shape(state, flag)}
    webhook_event(state, "message.flagged", **fields, **told)


def query_message_flags(state: State, params: Json, body: Json) -> Json:
    """The newest first; those of messages that are gone are gone, too: both assumed."""
    payload = json_object(params.get("payload") or "{}")
    matches = MESSAGE_FLAGS.compile(payload.get("filter_conditions") or {})
    limit = whole_number(payload, "limit", MAX_LIMIT) or DEFAULT_LIMIT
    offset = whole_number(payload, "offset", MAX_OFFSET)
    found = [
        {**flag_shape(state, flag), "message": message_shape(state, message)}
        for flag in state.flags.values()
        if (message := find_message(state, flag.get("target_message_id")))
        and matches(filtered_fields(state, flag, message))
    ]
    found.sort(key=lambda shape: str(shape["created_at"]), reverse=True)
    return {"flags": found[offset : offset + limit]}


def filtered_fields(state: State, flag: Json, message: Json) -> dict[str, Any]:
    """The user is the author of the message."""
    return {
        "channel_cid": message["cid"],
        "team": state.channels[message["cid"]]["channel"].get("team"),
        "user_id": flag["flagged_user_id"],
        "is_reviewed": False,
    }
