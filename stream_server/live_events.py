"""Events that clients send each other: typing, and the app's own."""

from __future__ import annotations

import re

from .channel_config import config
from .errors import EVENT_NOT_SUPPORTED, StreamError, bad_input
from .events import channel_fields, new_event, watchers_event
from .membership import existing_channel, refuse_unusable_users
from .message_checks import acting_user
from .payloads import refuse_big_custom_data
from .permissions import refuse_unless_participant
from .restrictions import refuse_banned
from .state import Json, State
from .user_checks import shares

TYPING = ("typing.start", "typing.stop")
# Who sends an event of their own must not pass it off as Stream's: assumed.
STREAMS_OWN = re.compile(
    r"(message|channel|member|notification|reaction|user|health|connection|typing|thread|poll)\."
)
# What Stream puts into an event by itself.
NOT_CUSTOM = {"type", "user", "user_id", "cid", "channel_id", "channel_type", "created_at"}


def send_event(state: State, params: Json, body: Json) -> Json:
    """All fields of the event go on to who watches, the sender too; nothing of it is kept."""
    record = existing_channel(state, params)
    given = body.get("event")
    if not isinstance(given, dict) or not isinstance(given.get("type"), str) or not given["type"]:
        raise bad_input("event.type is a required field")
    event_type = given["type"]
    refuse_unless_participant(state, record, "SendCustomEvent")
    refuse_banned(state, record)
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], "event send")
    is_typing = event_type in TYPING
    is_on = config(record)["typing_events" if is_typing else "custom_events"]
    if not is_on or (not is_typing and STREAMS_OWN.match(event_type)):
        raise StreamError(400, EVENT_NOT_SUPPORTED, f"Event is not supported: {event_type}")
    custom = {key: value for key, value in given.items() if key not in NOT_CUSTOM}
    refuse_big_custom_data(custom, "event")
    fields = {**custom, "user": state.users[user_id]}
    if not is_typing or shares(state, user_id, "typing_indicators"):
        watchers_event(state, event_type, record, **fields)
    return {"event": {**new_event(event_type), **channel_fields(record), **fields}}
