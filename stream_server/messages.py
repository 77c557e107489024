"""Sending a message."""

from __future__ import annotations

import html
import uuid

from . import timestamps
from .channel_config import config, refuse_feature_off
from .channel_shapes import channel_shape
from .errors import MESSAGE_TOO_LONG, StreamError, bad_input
from .events import channel_event, notification
from .membership import existing_channel, refuse_unusable_users
from .message_checks import acting_user
from .message_shapes import message_shape, thread_participants
from .payloads import refuse_big_custom_data, refuse_reserved, refuse_wrong_types
from .permissions import refuse_unless_moderator, refuse_unless_participant
from .reading import read_up_to
from .replies import add_reply, announce_reply, refuse_bad_parent
from .restrictions import (
    is_frozen_for,
    is_shadow_banned,
    refuse_banned,
    refuse_in_cooldown,
)
from .state import Json, State
from .unread import is_in_main_list, totals
from .user_shapes import short_shape

INPUT_TYPES = {
    "id": str,
    "text": str,
    "type": str,
    "attachments": list,
    "mentioned_users": list,
    "user_id": str,
    "user": dict,
    "parent_id": str,
    "show_in_channel": bool,
    "silent": bool,
    "quoted_message_id": str,
    "mml": str,
}
TYPES = ("", "regular", "system")
UNKNOWN_HERE = ("poll_id", "restricted_visibility", "shared_location")
RESERVED = {
    "cid",
    "created_at",
    "deleted_at",
    "deleted_reply_count",
    "html",
    "latest_reactions",
    "own_reactions",
    "quoted_message",
    "reaction_counts",
    "reaction_groups",
    "reaction_scores",
    "reply_count",
    "thread_participants",
    "updated_at",
}


def send_message(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "CreateMessage")
    refuse_banned(state, record)
    if is_frozen_for(state, record):
        return {"message": frozen_notice(state, record, body.get("message"))}
    refuse_in_cooldown(state, record)
    return {"message": add_message(state, record, body.get("message"))}


def add_message(state: State, record: Json, given: object, kind: str = "regular") -> Json:
    message = new_message(state, record, given, kind)
    record["messages"][message["id"]] = message
    state.message_cids[message["id"]] = message["cid"]
    record["channel"]["last_message_at"] = message["created_at"]
    parent = record["messages"].get(message.get("parent_id"))
    if parent:
        add_reply(record, parent, message)
    if is_in_main_list(message) and message["user_id"] in record["reads"]:
        read_up_to(record, message["user_id"], message)
    announce(state, record, message, parent)
    return message_shape(state, message, state.caller.user_id)


def new_message(state: State, record: Json, given: object, kind: str) -> Json:
    """As it is kept, or what is wrong with it."""
    given = checked_message(state, record, given)
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], "message send")
    if given.get("type") == "system":
        refuse_unless_moderator(state, record, "CreateSystemMessage")
        kind = "system"
    text = given.get("text", "")
    now = time_of_sending(record)
    optional = ("mml", "parent_id", "quoted_message_id", "show_in_channel")
    return {
        **{key: value for key, value in given.items() if key not in INPUT_TYPES},
        **{key: given[key] for key in optional if key in given},
        "id": given.get("id") or str(uuid.uuid4()),
        "text": text,
        "html": f"<p>{html.escape(text)}</p>\n" if text else "",
        "type": "reply" if given.get("parent_id") else kind,
        "cid": record["channel"]["cid"],
        "user_id": user_id,
        "reply_ids": [],
        "attachments": given.get("attachments", []),
        "mentioned_user_ids": [
            one
            for one in dict.fromkeys(map(str, given.get("mentioned_users", [])))
            if one in state.users
        ],
        "shadowed": is_shadow_banned(state, record, user_id),
        "silent": given.get("silent", False),
        "pinned": False,
        "pinned_at": None,
        "pinned_by": None,
        "pin_expires": None,
        "restricted_visibility": [],
        "mentioned_channel": False,
        "mentioned_here": False,
        "created_at": now,
        "updated_at": now,
    }


def frozen_notice(state: State, record: Json, given: object) -> Json:
    """What Stream answers in place of a message; it is kept nowhere. The text is assumed."""
    message = new_message(state, record, given, "error")
    text = "Sending messages to this channel has been disabled"
    notice = {**message, "type": "error", "text": text, "html": f"<p>{text}</p>\n"}
    return message_shape(state, notice, state.caller.user_id)


def checked_message(state: State, record: Json, given: object) -> Json:
    """What a call says of a new message, without the nulls."""
    if not isinstance(given, dict):
        raise bad_input("message is a required field")
    given = {key: value for key, value in given.items() if value is not None}
    refuse_wrong_types(given, INPUT_TYPES, "message")
    refuse_reserved(given, RESERVED, "message")
    for field in UNKNOWN_HERE:
        if given.pop(field, None):
            raise bad_input(f"message.{field} is not known to the local Stream server")
    if given.get("type", "") not in TYPES:
        raise bad_input(f"message.type must be one of [{' '.join(TYPES)}]")
    custom = {key: value for key, value in given.items() if key not in INPUT_TYPES}
    refuse_big_custom_data(custom, "message")
    longest = config(record)["max_message_length"]
    if len(given.get("text", "")) > longest:
        detail = f"message text is too long, the maximum is {longest} characters"
        raise StreamError(400, MESSAGE_TOO_LONG, detail)
    if given.get("id") in state.message_cids:
        raise bad_input(f"a message with ID {given['id']} already exists")
    if given.get("parent_id"):
        refuse_feature_off(record, "replies")
        refuse_bad_parent(record, given["parent_id"])
    quoted_id = given.get("quoted_message_id")
    if quoted_id:
        refuse_feature_off(record, "quotes")
    if quoted_id and quoted_id not in record["messages"]:
        raise bad_input(f"Message with id {quoted_id} doesn't exist")
    return given


def time_of_sending(record: Json) -> str:
    """No two messages of a channel have the same, so that their times say their order."""
    last = next(reversed(record["messages"].values()), None)
    now = timestamps.now()
    return timestamps.just_after(last["created_at"]) if last and now <= last["created_at"] else now


def announce(state: State, record: Json, message: Json, parent: Json | None) -> None:
    """A reply tells watchers of its parent too, whose counts it changes.

    Assumed: that event of the parent, as no SDK of Stream counts replies by itself; and that a
    reply which only its thread shows is no news to members who don't watch the channel.
    """
    fields = {
        "message": message_shape(state, message),
        "message_id": message["id"],
        "user": short_shape(state, message["user_id"]),
        "watcher_count": state.connections.watcher_count(record["channel"]["cid"]),
        "channel": channel_shape(state, record),
    }
    if parent:
        fields["thread_participants"] = thread_participants(state, parent)

    def personal(user_id: str) -> Json:
        return {"message": message_shape(state, message, user_id), **totals(state, user_id)}

    channel_event(state, "message.new", record, personal=personal, **fields)
    if is_in_main_list(message):
        others = [user_id for user_id in record["members"] if user_id != message["user_id"]]
        notification(state, "notification.message_new", record, others, personal, **fields)
    if parent:
        announce_reply(state, record, parent, personal, fields)
        announce_change(state, record, parent, "message.updated")


def announce_change(state: State, record: Json, message: Json, event_type: str) -> None:
    shape = message_shape(state, message)
    fields = {"message": shape, "message_id": shape["id"], "user": shape["user"]}
    channel_event(state, event_type, record, **fields)
