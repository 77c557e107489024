"""What users have read, and what has reached their devices."""

from __future__ import annotations

from . import timestamps
from .channel_data import checked_list
from .channel_shapes import channel_shape
from .errors import bad_input, not_found
from .events import channel_event, channel_fields, new_event, notification, watchers_event
from .membership import existing_channel, refuse_unusable_users
from .message_checks import acting_user, message_in
from .message_shapes import thread_shape
from .permissions import refuse_unless_participant
from .state import Json, State
from .unread import is_in_main_list, totals
from .user_checks import shares

DELIVERED = "latest_delivered_messages"


def mark_read(state: State, params: Json, body: Json) -> Json:
    """A channel up to its last message, or up to ``message_id``; or the thread ``thread_id``."""
    record, user_id = channel_and_reader(state, params, body, "channel read")
    if body.get("thread_id"):
        parent = message_in(record, body["thread_id"])
        fields = read_thread(state, record, user_id, parent)
    else:
        message = message_in(record, body["message_id"]) if body.get("message_id") else None
        fields = read_channel(state, record, user_id, message)
    tell_readers_clients(state, record, user_id, fields)
    return {"event": {**new_event("message.read"), **channel_fields(record), **fields}}


def channel_and_reader(state: State, params: Json, body: Json, what: str) -> tuple[Json, str]:
    """``what`` the user does, for the text of a refusal."""
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "ReadChannel")
    user_id = acting_user(state, body)
    refuse_unusable_users(state, [user_id], what)
    return record, user_id


def read_thread(state: State, record: Json, user_id: str, parent: Json) -> Json:
    """What events tell of it."""
    record["thread_reads"].setdefault(parent["id"], {})[user_id] = timestamps.now()
    fields = {"thread": thread_shape(state, parent), "thread_id": parent["id"]}
    return told_watchers(state, record, user_id, fields)


def read_channel(state: State, record: Json, user_id: str, message: Json | None) -> Json:
    """Up to the message, or to the last; what events tell of it."""
    read_up_to(record, user_id, message or last_message(record))
    if message is None:
        record["reads"][user_id]["last_read"] = timestamps.now()
    last_id = record["reads"][user_id].get("last_read_message_id")
    fields = {"last_read_message_id": last_id} if last_id else {}
    return told_watchers(state, record, user_id, fields)


def told_watchers(state: State, record: Json, user_id: str, fields: Json) -> Json:
    fields = {"user": state.users[user_id], **fields}
    if shares(state, user_id, "read_receipts"):
        channel_event(state, "message.read", record, **fields)
    return fields


def mark_all_read(state: State, params: Json, body: Json) -> Json:
    """All channels of the user, or those of ``read_by_channel``: {cid: message id or ""}."""
    user_id = acting_user(state, body)
    refuse_unusable_users(state, [user_id], "channel read")
    named = body.get("read_by_channel")
    if named is not None and not isinstance(named, dict):
        raise bad_input("read_by_channel must be an object")
    records = state.channels_of(user_id)
    if named:
        records = [channel_by_cid(state, cid) for cid in named]
    chosen = {
        record["channel"]["cid"]: message_in(record, message_id) if message_id else None
        for record in records
        for message_id in [(named or {}).get(record["channel"]["cid"])]
    }
    for record in records:
        refuse_unless_participant(state, record, "ReadChannel")
    for record in records:
        read_channel(state, record, user_id, chosen[record["channel"]["cid"]])
    event = {
        **new_event("notification.mark_read"),
        "user": state.users[user_id],
        **totals(state, user_id),
    }
    for connection in state.connections.of_users([user_id]):
        connection.send(event)
    return {}


def channel_by_cid(state: State, cid: object) -> Json:
    record = state.channels.get(str(cid))
    if record is None:
        raise not_found(f"Can't find channel with id {cid}")
    return record


def mark_delivered(state: State, params: Json, body: Json) -> Json:
    """The newest message that reached a device, by channel. One that is older changes nothing."""
    user_id = acting_user(state, body)
    refuse_unusable_users(state, [user_id], "delivery")
    confirmed = [checked_delivery(state, one) for one in checked_list(body, DELIVERED)]
    if not confirmed:
        raise bad_input(f"{DELIVERED} is a required field")
    for record, message in confirmed:
        read = record["reads"].setdefault(user_id, {"last_read": timestamps.now()})
        known = record["messages"].get(read.get("last_delivered_message_id"))
        if known and known["created_at"] >= message["created_at"]:
            continue
        delivered = {
            "last_delivered_at": timestamps.now(),
            "last_delivered_message_id": message["id"],
        }
        read |= delivered
        if shares(state, user_id, "delivery_receipts"):
            user = state.users[user_id]
            watchers_event(state, "message.delivered", record, user=user, **delivered)
    return {}


def checked_delivery(state: State, given: object) -> tuple[Json, Json]:
    """The record of the channel, and the message."""
    fields = given if isinstance(given, dict) else {}
    record = channel_by_cid(state, fields.get("cid"))
    refuse_unless_participant(state, record, "ReadChannel")
    return record, message_in(record, fields.get("id"))


def read_up_to(record: Json, user_id: str, message: Json | None) -> None:
    read = record["reads"].setdefault(user_id, {"last_read": timestamps.now()})
    if message:
        read |= {"last_read": message["created_at"], "last_read_message_id": message["id"]}


def last_message(record: Json) -> Json | None:
    newest_first = reversed(record["messages"].values())
    return next((message for message in newest_first if is_in_main_list(message)), None)


def tell_readers_clients(state: State, record: Json, user_id: str, fields: Json) -> None:
    """All clients of the reader learn their new totals, whether they watch the channel or not."""
    fields = {**fields, "channel": channel_shape(state, record), **totals(state, user_id)}
    event_type = "notification.mark_read"
    notification(state, event_type, record, [user_id], also_watching=True, **fields)
