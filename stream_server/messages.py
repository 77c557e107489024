"""Sending a message."""

from __future__ import annotations

import uuid

from . import timestamps
from .channel_config import refuse_feature_off
from .channel_shapes import channel_shape
from .errors import bad_input
from .events import channel_event, notification
from .hiding import unhide
from .membership import existing_channel, refuse_unusable_users
from .message_changes import announce_change
from .message_checks import acting_user
from .message_content import checked_fields, written
from .message_shapes import message_shape, thread_participants
from .permissions import refuse_unless_moderator, refuse_unless_participant
from .pins import changed_pin
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

TYPES = ("", "regular", "system")


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
    keep_message(state, record, message)
    parent = record["messages"].get(message.get("parent_id"))
    if parent:
        add_reply(record, parent, message)
    if is_in_main_list(message) and message["user_id"] in record["reads"]:
        read_up_to(record, message["user_id"], message)
    announce(state, record, message, parent)
    return message_shape(state, message, state.caller.user_id)


def keep_message(state: State, record: Json, message: Json) -> None:
    record["messages"][message["id"]] = message
    state.message_cids[message["id"]] = message["cid"]
    record["channel"]["last_message_at"] = message["created_at"]
    if is_in_main_list(message):
        unhide(state, record, message)


def new_message(state: State, record: Json, given: object, kind: str) -> Json:
    """As it is kept, or what is wrong with it."""
    fields = checked_fields(given)
    if fields.get("type", "") not in TYPES:
        raise bad_input(f"message.type must be one of [{' '.join(TYPES)}]")
    if fields.get("id") in state.message_cids:
        raise bad_input(f"a message with ID {fields['id']} already exists")
    if parent_id := fields.get("parent_id"):
        refuse_feature_off(record, "replies")
        refuse_bad_parent(record, parent_id)
    content = written(state, record, fields)
    user_id = acting_user(state, fields)
    refuse_unusable_users(state, [user_id], "message send")
    if fields.get("type") == "system":
        refuse_unless_moderator(state, record, "CreateSystemMessage")
        kind = "system"
    now = time_of_sending(record)
    return {
        "id": fields.get("id") or str(uuid.uuid4()),
        "cid": record["channel"]["cid"],
        "type": "reply" if parent_id else kind,
        **({"parent_id": parent_id} if parent_id else {}),
        "user_id": user_id,
        "written": content,
        "shadowed": is_shadow_banned(state, record, user_id),
        "pin": changed_pin(None, fields, user_id),
        "reactions": [],
        "reply_ids": [],
        "created_at": now,
        "updated_at": now,
    }


def frozen_notice(state: State, record: Json, given: object) -> Json:
    """What Stream answers in place of a message; it is kept nowhere. The text is assumed."""
    message = new_message(state, record, given, "error")
    content = {**message["written"], "text": "Sending messages to this channel has been disabled"}
    notice = {**message, "type": "error", "written": content}
    return message_shape(state, notice, state.caller.user_id)


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
