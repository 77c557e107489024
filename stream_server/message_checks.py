"""Finding a message, and who speaks."""

from __future__ import annotations

from .errors import bad_input
from .payloads import refuse_wrong_types
from .state import Json, State


def existing_message(state: State, message_id: str) -> tuple[Json, Json]:
    """The record of its channel, and the message."""
    if message_id not in state.message_cids:
        raise bad_input(f"Message with id {message_id} doesn't exist")
    record = state.channels[state.message_cids[message_id]]
    return record, record["messages"][message_id]


def message_in(record: Json, message_id: object) -> Json:
    message: Json | None = (
        record["messages"].get(message_id) if isinstance(message_id, str) else None
    )
    if message is None:
        raise bad_input(f"Message with id {message_id} doesn't exist")
    return message


def acting_user(state: State, given: Json) -> str:
    """Who speaks, reads or reacts: a client's own user, or whom a server names."""
    if state.caller.user_id:
        return state.caller.user_id
    refuse_wrong_types(given, {"user_id": str, "user": dict}, "message")
    user_id = given.get("user_id") or given.get("user", {}).get("id")
    if not isinstance(user_id, str) or not user_id:
        raise bad_input(
            "either message.user or message.user_id must be provided when using server side auth."
        )
    return user_id
