"""Messages, as far as it takes for channels to have some: sent, shown, and read."""

from __future__ import annotations

import html
import uuid

from . import timestamps
from .channel_shapes import MAX_TEXT, channel_shape
from .errors import MESSAGE_TOO_LONG, StreamError, bad_input
from .events import channel_event, notification
from .membership import existing_channel, refuse_unusable_users
from .message_shapes import message_shape
from .payloads import refuse_big_custom_data, refuse_reserved, refuse_wrong_types
from .permissions import refuse_unless_participant
from .state import Json, State

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
}
RESERVED = {
    "cid",
    "created_at",
    "deleted_at",
    "html",
    "latest_reactions",
    "own_reactions",
    "reaction_counts",
    "reaction_scores",
    "reply_count",
    "updated_at",
}


def send_message(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "CreateMessage")
    return {"message": add_message(state, record, body.get("message"))}


def add_message(state: State, record: Json, given: object, kind: str = "regular") -> Json:
    if not isinstance(given, dict):
        raise bad_input("message is a required field")
    given = {key: value for key, value in given.items() if value is not None}
    refuse_wrong_types(given, INPUT_TYPES, "message")
    refuse_reserved(given, RESERVED, "message")
    custom = {key: value for key, value in given.items() if key not in INPUT_TYPES}
    refuse_big_custom_data(custom, "message")
    text = given.get("text", "")
    if len(text) > MAX_TEXT:
        detail = f"message text is too long, the maximum is {MAX_TEXT} characters"
        raise StreamError(400, MESSAGE_TOO_LONG, detail)
    message_id = given.get("id") or str(uuid.uuid4())
    if message_id in state.message_cids:
        raise bad_input(f"a message with ID {message_id} already exists")
    user_id = sender(state, given)
    refuse_unusable_users(state, [user_id], "message send")
    now = time_of_sending(record)
    message = {
        **custom,
        "id": message_id,
        "text": text,
        "html": f"<p>{html.escape(text)}</p>\n" if text else "",
        "type": "reply" if given.get("parent_id") else kind,
        "cid": record["channel"]["cid"],
        "user_id": user_id,
        "attachments": given.get("attachments", []),
        "mentioned_user_ids": [
            one
            for one in dict.fromkeys(map(str, given.get("mentioned_users", [])))
            if one in state.users
        ],
        "shadowed": False,
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
        **{key: given[key] for key in ("parent_id", "show_in_channel") if key in given},
    }
    record["messages"][message_id] = message
    state.message_cids[message_id] = record["channel"]["cid"]
    record["channel"]["last_message_at"] = now
    if user_id in record["members"]:
        record["last_reads"][user_id] = now
    shape = message_shape(state, message)
    announce(state, record, shape)
    return shape


def time_of_sending(record: Json) -> str:
    """No two messages of a channel have the same, so that their times say their order."""
    last = next(reversed(record["messages"].values()), None)
    now = timestamps.now()
    return timestamps.just_after(last["created_at"]) if last and now <= last["created_at"] else now


def sender(state: State, given: Json) -> str:
    """Who speaks or reads: a client's own user, or whom a server names."""
    if state.caller.user_id:
        return state.caller.user_id
    refuse_wrong_types(given, {"user_id": str, "user": dict}, "message")
    user_id = given.get("user_id") or given.get("user", {}).get("id")
    if not isinstance(user_id, str) or not user_id:
        raise bad_input(
            "either message.user or message.user_id must be provided when using server side auth."
        )
    return user_id


def announce(state: State, record: Json, message: Json) -> None:
    fields = {
        "message": message,
        "message_id": message["id"],
        "user": message["user"],
        "watcher_count": state.connections.watcher_count(record["channel"]["cid"]),
        "channel": channel_shape(state, record),
    }
    channel_event(state, "message.new", record, **fields)
    notification(state, "notification.message_new", record, record["members"], **fields)


def mark_read(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "ReadChannel")
    user_id = sender(state, body)
    refuse_unusable_users(state, [user_id], "channel read")
    record["last_reads"][user_id] = timestamps.now()
    event = {
        "type": "message.read",
        "cid": record["channel"]["cid"],
        "channel_type": record["channel"]["type"],
        "channel_id": record["channel"]["id"],
        "user": state.users[user_id],
        "created_at": record["last_reads"][user_id],
    }
    for connection in state.connections.watching(event["cid"]):
        connection.send(event)
    return {"event": event}
