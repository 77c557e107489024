"""Truncating a channel: its messages go, its members and data stay.

Stream hides the messages, or removes them with ``hard_delete``; here they are removed in both
cases, which only their own ids could tell apart.
"""

from __future__ import annotations

from . import timestamps
from .channel_shapes import channel_answer, channel_shape
from .errors import bad_input
from .events import channel_event, notification
from .hiding import end_of_history
from .membership import existing_channel, refuse_unusable_users
from .message_changes import remove_message
from .message_checks import acting_user
from .message_shapes import message_shape
from .messages import keep_message, new_message
from .payloads import given_fields, refuse_wrong_types
from .permissions import refuse_unless_manager
from .state import Json, State
from .user_shapes import short_shape

INPUT_TYPES = {
    "hard_delete": bool,
    "skip_push": bool,
    "message": dict,
    "truncated_at": str,
    "user_id": str,
    "user": dict,
}


def truncate_channel(state: State, params: Json, body: Json) -> Json:
    """All messages up to ``truncated_at`` or now; then a system message, if one is given."""
    record = existing_channel(state, params)
    refuse_unless_manager(state, record, "TruncateChannel")
    given = given_fields(body)
    refuse_wrong_types(given, INPUT_TYPES, "truncate")
    if given.get("member_ids"):
        raise bad_input("member_ids is not known to the local Stream server")
    until = end_of_truncation(record, given)
    actor = truncating_user(state, given)
    message = None
    if "message" in given:
        # First, because it can still be refused.
        own = {"user_id": actor} if actor else {}
        message = new_message(state, record, {**own, **given["message"]}, "system")
        message["created_at"] = max(message["created_at"], timestamps.just_after(until))
        message["updated_at"] = message["created_at"]
    remove_messages(state, record, until)
    if message:
        keep_message(state, record, message)
    record["channel"] |= {"truncated_at": until, "updated_at": timestamps.now()}
    record["truncated_by_id"] = actor
    announce_truncation(state, record, message, actor)
    shown = {"message": message_shape(state, message, state.caller.user_id)} if message else {}
    return {"channel": channel_answer(state, record), **shown}


def end_of_truncation(record: Json, given: Json) -> str:
    if "truncated_at" in given:
        return timestamps.parse(given["truncated_at"], "truncated_at")
    return end_of_history(record)


def truncating_user(state: State, given: Json) -> str | None:
    """A server need not name one."""
    if not state.caller.user_id and not given.keys() & {"user_id", "user"}:
        return None
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], "channel truncate")
    return user_id


def remove_messages(state: State, record: Json, until: str) -> None:
    for message in list(record["messages"].values()):
        # It may have gone with its thread.
        if message["created_at"] <= until and message["id"] in record["messages"]:
            remove_message(state, record, message)
    record["channel"].pop("last_message_at", None)
    if last := next(reversed(record["messages"].values()), None):
        record["channel"]["last_message_at"] = last["created_at"]


def announce_truncation(
    state: State, record: Json, message: Json | None, actor: str | None
) -> None:
    """The system message has no event of its own: assumed, as Stream's SDKs take it from here."""
    fields: Json = {"channel": channel_shape(state, record)}
    if actor:
        fields["user"] = short_shape(state, actor)
    told = (
        {"message": message_shape(state, message), "message_id": message["id"]} if message else {}
    )
    channel_event(state, "channel.truncated", record, **fields, **told)
    notification(state, "notification.channel_truncated", record, record["members"], **fields)
