"""What is written in a message: what a call may say of it, and what is kept.

Stream's own fields (text, attachments, ...) and the app's custom ones, side by side.
"""

from __future__ import annotations

import html

from .channel_config import config, refuse_feature_off
from .errors import MESSAGE_TOO_LONG, StreamError, bad_input
from .payloads import refuse_big_custom_data, refuse_reserved, refuse_wrong_types
from .state import Json, State

WRITTEN_TYPES = {
    "text": str,
    "attachments": list,
    "mentioned_users": list,
    "mml": str,
    "quoted_message_id": str,
    "show_in_channel": bool,
    "silent": bool,
}
# Of a message as well, but not of what is written in it.
ABOUT_TYPES = {
    "id": str,
    "type": str,
    "user_id": str,
    "user": dict,
    "parent_id": str,
    "pinned": bool,
    "pinned_at": str,
    "pin_expires": str,
}
UNKNOWN_HERE = ("poll_id", "restricted_visibility", "shared_location")
RESERVED = {
    "created_at",
    "deleted_at",
    "html",
    "latest_reactions",
    "own_reactions",
    "quoted_message",
    "reaction_counts",
    "reply_count",
    "updated_at",
}
# In an edit, Stream's JS SDK sends these back as it got them.
ANSWER_ONLY = {
    "cid",
    "deleted_reply_count",
    "mentioned_channel",
    "mentioned_here",
    "message_text_updated_at",
    "pinned_by",
    "reaction_groups",
    "reaction_scores",
    "shadowed",
    "thread_participants",
}


def checked_fields(given: object) -> Json:
    """What a call says of a message, without the nulls."""
    if not isinstance(given, dict):
        raise bad_input("message is a required field")
    given = {key: value for key, value in given.items() if value is not None}
    refuse_wrong_types(given, WRITTEN_TYPES | ABOUT_TYPES, "message")
    refuse_reserved(given, RESERVED, "message")
    for field in UNKNOWN_HERE:
        if given.pop(field, None):
            raise bad_input(f"message.{field} is not known to the local Stream server")
    return {key: value for key, value in given.items() if key not in ANSWER_ONLY}


def written(state: State, record: Json, fields: Json, old: Json | None = None) -> Json:
    """What is kept of the checked fields as the message's content.

    An edit of ``old`` content may keep its quote, even if what it quotes is gone.
    """
    given = {key: value for key, value in fields.items() if key not in ABOUT_TYPES}
    custom = {key: value for key, value in given.items() if key not in WRITTEN_TYPES}
    refuse_big_custom_data(custom, "message")
    longest = config(record)["max_message_length"]
    if len(given.get("text", "")) > longest:
        detail = f"message text is too long, the maximum is {longest} characters"
        raise StreamError(400, MESSAGE_TOO_LONG, detail)
    quoted_id = given.get("quoted_message_id")
    if quoted_id and quoted_id != (old or {}).get("quoted_message_id"):
        refuse_feature_off(record, "quotes")
        if quoted_id not in record["messages"]:
            raise bad_input(f"Message with id {quoted_id} doesn't exist")
    mentioned = [one.get("id") if isinstance(one, dict) else one for one in mentions(given)]
    return {
        "text": "",
        "attachments": [],
        "silent": False,
        **given,
        "mentioned_users": [
            one for one in dict.fromkeys(mentioned) if isinstance(one, str) and one in state.users
        ],
    }


def mentions(given: Json) -> list[object]:
    mentioned: list[object] = given.get("mentioned_users", [])
    return [one for one in mentioned if isinstance(one, str | dict)]


def html_of(text: str) -> str:
    return f"<p>{html.escape(text)}</p>\n" if text else ""
