"""How much a user hasn't read: messages of channels, and replies in threads."""

from __future__ import annotations

from collections.abc import Iterator

from .reader import counts, history_start, is_blocked, sees, valid_mutes
from .state import Json, State


def is_in_main_list(message: Json) -> bool:
    """A reply is in its thread, and in the channel only if it says so."""
    return not message.get("parent_id") or message["written"].get("show_in_channel") is True


def counts_as_unread(message: Json) -> bool:
    """As Stream's JS SDK counts by itself."""
    is_hidden = message["written"]["silent"] or message["shadowed"] or "deleted_at" in message
    return not is_hidden and is_in_main_list(message)


def unread_messages(state: State, record: Json, user_id: str) -> list[Json]:
    """The newest first; none for who has no read state in the channel, or wants to see none."""
    read = record["reads"].get(user_id)
    if read is None or not counts(state, record, user_id):
        return []
    not_counted = {user_id, *valid_mutes(state.user_mutes, user_id)}
    since = max(read["last_read"], history_start(record, user_id))
    newer = later_than(record["messages"], since)
    return [
        message
        for message in newer
        if message["user_id"] not in not_counted and counts_as_unread(message)
    ]


def later_than(messages: dict[str, Json], time: str) -> Iterator[Json]:
    for message in reversed(messages.values()):
        if message["created_at"] <= time:
            return
        yield message


def unread_threads(record: Json, user_id: str) -> list[str]:
    """The parents of the threads in which others replied since the user looked.

    Who is in a thread is its parent's author, and whoever replied: assumed.
    """
    return [
        parent_id
        for parent_id in record["thread_reads"]
        for parent in [record["messages"][parent_id]]
        if sees(record, parent, user_id)
        and user_id in thread_users(record, parent)
        and unread_in_thread(record, parent, user_id)
    ]


def unread_in_thread(record: Json, parent: Json, user_id: str) -> list[Json]:
    last_read = record["thread_reads"].get(parent["id"], {}).get(user_id, "")
    return [
        reply
        for reply in thread_replies(record, parent)
        if reply["created_at"] > last_read and reply["user_id"] != user_id
    ]


def thread_replies(record: Json, parent: Json) -> list[Json]:
    replies = [record["messages"][reply_id] for reply_id in parent["reply_ids"]]
    return [reply for reply in replies if "deleted_at" not in reply]


def thread_users(record: Json, parent: Json) -> dict[str, None]:
    replies = [record["messages"][reply_id] for reply_id in parent["reply_ids"]]
    return dict.fromkeys([parent["user_id"], *(reply["user_id"] for reply in replies)])


def totals(state: State, user_id: str) -> Json:
    """Over all channels of which the user is a member."""
    records = state.channels_of(user_id)
    unread = [len(unread_messages(state, record, user_id)) for record in records]
    return {
        "total_unread_count": sum(unread),
        "unread_count": sum(unread),
        "unread_channels": sum(count > 0 for count in unread),
        "unread_threads": sum(
            len(unread_threads(record, user_id))
            for record in records
            if not is_blocked(state, record, user_id)
        ),
    }
