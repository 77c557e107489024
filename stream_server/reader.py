"""What a channel is to one of its users: hidden, or without its older messages.

A channel's record keeps for it "hidden": user id -> time, and "cleared": user id -> time up to
which the user sees no messages.
"""

from __future__ import annotations

from .state import Json, State


def is_hidden(state: State, record: Json, user_id: str) -> bool:
    return user_id in record["hidden"]


def sees(record: Json, message: Json, user_id: str | None) -> bool:
    """In lists: that a message is still found by its own id is assumed. A server sees all."""
    return user_id is None or message["created_at"] > history_start(record, user_id)


def history_start(record: Json, user_id: str) -> str:
    start: str = record["cleared"].get(user_id, "")
    return start


def reader_fields(state: State, record: Json, user_id: str) -> Json:
    """Of a channel, as the answer to its reader shows it."""
    fields: Json = {"hidden": is_hidden(state, record, user_id)}
    if start := history_start(record, user_id):
        fields["hide_messages_before"] = start
    return fields
