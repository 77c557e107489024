"""Reactions to messages. A user has one of each type on a message, or one in all if they say so."""

from __future__ import annotations

from . import timestamps
from .channel_config import refuse_feature_off
from .errors import bad_input, not_allowed, not_found
from .filters import COMPARISON, Schema, in_order, number_in_query, whole_number
from .membership import refuse_unusable_users
from .message_changes import announce_change
from .message_checks import acting_user, existing_message
from .message_shapes import message_shape
from .payloads import refuse_big_custom_data, refuse_reserved, refuse_wrong_types
from .permissions import refuse_unless_participant
from .reaction_shapes import newest_first, reaction_shape
from .restrictions import is_frozen_for, refuse_banned
from .state import Json, State

INPUT_TYPES = {"type": str, "score": int, "user_id": str, "user": dict}
RESERVED = {"created_at", "updated_at"}
DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET = 100, 300, 1000  # the default is assumed
REACTIONS = Schema(
    name="reactions",
    operators={"type": COMPARISON, "user_id": COMPARISON, "created_at": COMPARISON},
    times=frozenset({"created_at"}),
    flags=frozenset(),
    texts=frozenset({"type", "user_id"}),
)


def send_reaction(state: State, params: Json, body: Json) -> Json:
    """With ``enforce_unique`` it takes the place of the user's others, told as an update."""
    record, message = existing_message(state, params["message_id"])
    given = checked_reaction(body.get("reaction"))
    user_id = acting_user(state, given)
    refuse_reacting(state, record, message, "CreateReaction")
    refuse_unusable_users(state, [user_id], "reaction send")
    own = [one for one in message["reactions"] if one["user_id"] == user_id]
    same = next((one for one in own if one["type"] == given["type"]), None)
    replaced = own if body.get("enforce_unique") is True else [one for one in own if one is same]
    now = timestamps.now()
    custom = {key: value for key, value in given.items() if key not in (*INPUT_TYPES, "message_id")}
    reaction = {
        **custom,
        "type": given["type"],
        "score": given.get("score", 1),
        "user_id": user_id,
        "created_at": same["created_at"] if same else now,
        "updated_at": now,
    }
    message["reactions"] = [one for one in message["reactions"] if one not in replaced]
    message["reactions"].append(reaction)
    is_update = body.get("enforce_unique") is True and bool(own)
    event_type = "reaction.updated" if is_update else "reaction.new"
    return told_reaction(state, record, message, reaction, event_type)


def checked_reaction(given: object) -> Json:
    if not isinstance(given, dict) or not given.get("type"):
        raise bad_input("reaction.type is a required field")
    given = {key: value for key, value in given.items() if value is not None}
    refuse_wrong_types(given, INPUT_TYPES, "reaction")
    refuse_reserved(given, RESERVED, "reaction")
    custom = {key: value for key, value in given.items() if key not in INPUT_TYPES}
    refuse_big_custom_data(custom, "reaction")
    return given


def refuse_reacting(state: State, record: Json, message: Json, action: str) -> None:
    refuse_unless_participant(state, record, action)
    refuse_feature_off(record, "reactions")
    refuse_banned(state, record)
    if is_frozen_for(state, record):
        raise not_allowed("the channel is frozen")
    if "deleted_at" in message:
        raise bad_input("a deleted message has no reactions")


def told_reaction(
    state: State, record: Json, message: Json, reaction: Json, event_type: str
) -> Json:
    message["updated_at"] = timestamps.now()
    shape = reaction_shape(state, message, reaction)
    user = shape["user"]
    announce_change(state, record, message, event_type, reaction=shape, user=user)
    return {"message": message_shape(state, message, state.caller.user_id), "reaction": shape}


def delete_reaction(state: State, params: Json, body: Json) -> Json:
    record, message = existing_message(state, params["message_id"])
    user_id = acting_user(state, params)
    refuse_reacting(state, record, message, "DeleteReaction")
    for reaction in message["reactions"]:
        if (reaction["user_id"], reaction["type"]) == (user_id, params["reaction_type"]):
            message["reactions"].remove(reaction)
            return told_reaction(state, record, message, reaction, "reaction.deleted")
    raise not_found(f"reaction {params['reaction_type']} of user {user_id} doesn't exist")


def get_reactions(state: State, params: Json, body: Json) -> Json:
    record, message = existing_message(state, params["message_id"])
    refuse_unless_participant(state, record, "ReadChannel")
    limit = number_in_query(params, "limit", MAX_LIMIT) or DEFAULT_LIMIT
    offset = number_in_query(params, "offset", MAX_OFFSET)
    return {"reactions": newest_first(state, message)[offset : offset + limit]}


def query_reactions(state: State, params: Json, body: Json) -> Json:
    """``next`` is the number of reactions that earlier pages had; Stream's is opaque."""
    record, message = existing_message(state, params["message_id"])
    refuse_unless_participant(state, record, "ReadChannel")
    matches = REACTIONS.compile(body.get("filter") or {})
    limit = whole_number(body, "limit", MAX_LIMIT) or DEFAULT_LIMIT
    start = number_in_query(body, "next", 10**9)
    found = [shape for shape in newest_first(state, message) if matches(shape)]
    found = in_order(found, body.get("sort"), [("created_at", -1)])
    page = found[start : start + limit]
    more = {"next": str(start + limit)} if len(found) > start + limit else {}
    return {"reactions": page, **more}
