"""What the channels of a type can do, and one channel in particular by its overrides.

A feature is on exactly if this server has it, so that an app shows what works. All types are alike
here; in Stream each has its own defaults.
"""

from __future__ import annotations

from .errors import CHANNEL_FEATURE_OFF, StreamError, bad_input
from .payloads import refuse_wrong_types
from .state import Json

CHANNEL_TYPES = ("messaging", "livestream", "team", "gaming", "commerce")
MAX_TEXT = 5000
BUILT = (
    "typing_events",
    "read_events",
    "connect_events",
    "delivery_events",
    "custom_events",
    "replies",
    "quotes",
    "reactions",
    "uploads",
    "mutes",
    "search",
)
NOT_BUILT = (
    "url_enrichment",
    "push_notifications",
    "reminders",
    "user_message_reminders",
    "polls",
    "shared_locations",
    "count_messages",
    "mark_messages_pending",
    "skip_last_msg_update_for_system_msgs",
)
# Of what Stream lets a channel override; the rest of it isn't known here.
OVERRIDES = {
    "typing_events": bool,
    "reactions": bool,
    "replies": bool,
    "quotes": bool,
    "uploads": bool,
    "max_message_length": int,
}


def config(record: Json) -> Json:
    return {**type_config(record["channel"]["type"]), **record["config_overrides"]}


def type_config(channel_type: str) -> Json:
    return {
        "name": channel_type,
        "created_at": "2020-01-01T00:00:00.000000Z",
        "updated_at": "2020-01-01T00:00:00.000000Z",
        **dict.fromkeys(BUILT, True),
        **dict.fromkeys(NOT_BUILT, False),
        "message_retention": "infinite",
        "max_message_length": MAX_TEXT,
        "automod": "disabled",
        "automod_behavior": "flag",
        "commands": [],
    }


def checked_overrides(given: object) -> Json:
    if not isinstance(given, dict):
        raise bad_input("field `data.config_overrides` must be of type object")
    for name in given:
        if name not in OVERRIDES:
            raise bad_input(f"config_overrides.{name} is not known to the local Stream server")
    refuse_wrong_types(given, OVERRIDES, "config_overrides")
    if not 1 <= given.get("max_message_length", 1) <= MAX_TEXT:
        raise bad_input(f"max_message_length must be a number from 1 to {MAX_TEXT}")
    return given


def refuse_feature_off(record: Json, feature: str) -> None:
    if not config(record)[feature]:
        detail = f"{feature} are not enabled for this channel"
        raise StreamError(400, CHANNEL_FEATURE_OFF, detail)
