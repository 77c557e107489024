"""Marking as unread again, and asking for what is unread."""

from __future__ import annotations

from . import timestamps
from .errors import bad_input
from .events import notification
from .message_checks import acting_user, message_in
from .payloads import user_ids
from .reading import channel_and_reader
from .state import Json, State
from .unread import (
    is_in_main_list,
    thread_replies,
    totals,
    unread_in_thread,
    unread_messages,
    unread_threads,
)
from .user_checks import existing_user


def mark_unread(state: State, params: Json, body: Json) -> Json:
    """A channel from a message on, named by its id or by a time; or the thread ``thread_id``."""
    record, user_id = channel_and_reader(state, params, body, "channel unread")
    if body.get("thread_id"):
        parent = message_in(record, body["thread_id"])
        record["thread_reads"].setdefault(parent["id"], {})[user_id] = parent["created_at"]
        fields = {"thread_id": parent["id"]}
    else:
        fields = read_only_before(state, record, user_id, first_unread(record, body))
    fields |= {"user": state.users[user_id], **totals(state, user_id)}
    event_type = "notification.mark_unread"
    notification(state, event_type, record, [user_id], also_watching=True, **fields)
    return {}


def first_unread(record: Json, body: Json) -> Json:
    if body.get("message_id"):
        return message_in(record, body["message_id"])
    if not body.get("message_timestamp"):
        raise bad_input("message_id, message_timestamp or thread_id is a required field")
    time = timestamps.parse(body["message_timestamp"], "message_timestamp")
    for message in record["messages"].values():
        if message["created_at"] >= time and is_in_main_list(message):
            found: Json = message
            return found
    raise bad_input("there is no message at or after message_timestamp")


def read_only_before(state: State, record: Json, user_id: str, message: Json) -> Json:
    """What the event of it tells."""
    earlier = [
        one
        for one in record["messages"].values()
        if one["created_at"] < message["created_at"] and is_in_main_list(one)
    ]
    kept = record["reads"].get(user_id, {})
    read = {key: value for key, value in kept.items() if key != "last_read_message_id"}
    read["last_read"] = timestamps.just_before(message["created_at"])
    if earlier:
        read["last_read_message_id"] = earlier[-1]["id"]
    record["reads"][user_id] = read
    return {
        "first_unread_message_id": message["id"],
        "last_read_at": read["last_read"],
        **({"last_read_message_id": earlier[-1]["id"]} if earlier else {}),
        "unread_messages": len(unread_messages(state, record, user_id)),
    }


def get_unread(state: State, params: Json, body: Json) -> Json:
    """A client's own, whomever it names."""
    user = existing_user(state, acting_user(state, params))
    return unread_counts(state, user["id"])


def get_unread_batch(state: State, params: Json, body: Json) -> Json:
    users = [existing_user(state, user_id) for user_id in user_ids(body)]
    return {"counts_by_user": {user["id"]: unread_counts(state, user["id"]) for user in users}}


def unread_counts(state: State, user_id: str) -> Json:
    records = state.channels_of(user_id)
    channels = [
        {
            "channel_id": record["channel"]["cid"],
            "unread_count": count,
            "last_read": record["reads"][user_id]["last_read"],
        }
        for record in records
        if (count := len(unread_messages(state, record, user_id)))
    ]
    by_type: dict[str, Json] = {}
    for channel in channels:
        name = channel["channel_id"].split(":")[0]
        new = {"channel_type": name, "channel_count": 0, "unread_count": 0}
        counts = by_type.setdefault(name, new)
        counts["channel_count"] += 1
        counts["unread_count"] += channel["unread_count"]
    threads = [
        thread_counts(record, record["messages"][parent_id], user_id)
        for record in records
        for parent_id in unread_threads(record, user_id)
    ]
    return {
        "total_unread_count": sum(channel["unread_count"] for channel in channels),
        "total_unread_threads_count": len(threads),
        "channels": channels,
        "channel_type": list(by_type.values()),
        "threads": threads,
    }


def thread_counts(record: Json, parent: Json, user_id: str) -> Json:
    last_read = record["thread_reads"][parent["id"]].get(user_id, parent["created_at"])
    seen = [one for one in thread_replies(record, parent) if one["created_at"] <= last_read]
    return {
        "parent_message_id": parent["id"],
        "unread_count": len(unread_in_thread(record, parent, user_id)),
        "last_read": last_read,
        "last_read_message_id": seen[-1]["id"] if seen else "",
    }
