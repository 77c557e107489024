"""Messages as answers and events show them.

A message is kept as {"written": its content, see message_content.py, "user_id", "reply_ids",
"pin": {"by", "at", "expires"} or None, "reactions": [...]} and what of it is shown as it is.
"""

from __future__ import annotations

from . import timestamps
from .message_content import html_of
from .reaction_shapes import reaction_fields
from .state import Json, State
from .user_shapes import short_shape

JOINED = {"written", "user_id", "reply_ids", "pin", "reactions", "deleted_with_user"}


def message_shape(state: State, message: Json, reader: str | None = None) -> Json:
    """As the reader sees it, or anybody else.

    A quoted message is shown without the message that it quotes itself.
    """
    shape = plain_shape(state, message, reader)
    quoted = find_message(state, message["written"].get("quoted_message_id"))
    if quoted:
        shape["quoted_message"] = plain_shape(state, quoted, reader)
    return shape


def plain_shape(state: State, message: Json, reader: str | None) -> Json:
    content = message["written"]
    return {
        **content,
        **{key: value for key, value in message.items() if key not in JOINED},
        "type": "deleted" if "deleted_at" in message else message["type"],
        "html": html_of(content["text"]),
        # Who is banned without knowing it must not see it in their messages.
        "shadowed": message["shadowed"] and message["user_id"] != reader,
        "user": short_shape(state, message["user_id"]),
        "mentioned_users": [short_shape(state, one) for one in content["mentioned_users"]],
        "restricted_visibility": [],
        "mentioned_channel": False,
        "mentioned_here": False,
        **reaction_fields(state, message, reader),
        **pin_fields(state, message),
        **reply_fields(state, message),
    }


def is_pinned(message: Json, now: str) -> bool:
    pin = message["pin"]
    return pin is not None and (pin["expires"] is None or pin["expires"] > now)


def pinned_messages(record: Json) -> list[Json]:
    """In order of their pins, the oldest first."""
    now = timestamps.now()
    found = [one for one in record["messages"].values() if is_pinned(one, now)]
    return sorted(found, key=lambda message: str(message["pin"]["at"]))


def pin_fields(state: State, message: Json) -> Json:
    if not is_pinned(message, timestamps.now()):
        return {"pinned": False, "pinned_at": None, "pinned_by": None, "pin_expires": None}
    pin = message["pin"]
    by = short_shape(state, pin["by"])
    return {"pinned": True, "pinned_at": pin["at"], "pinned_by": by, "pin_expires": pin["expires"]}


def message_shapes(state: State, messages: list[Json]) -> list[Json]:
    """For the answer to a call."""
    return [message_shape(state, message, state.caller.user_id) for message in messages]


def reply_fields(state: State, message: Json) -> Json:
    replies = replies_to(state, message)
    deleted = sum("deleted_at" in reply for reply in replies)
    counts = {"reply_count": len(replies) - deleted, "deleted_reply_count": deleted}
    if not replies:
        return counts
    return {**counts, "thread_participants": thread_participants(state, message)}


def replies_to(state: State, message: Json) -> list[Json]:
    messages = state.channels[message["cid"]]["messages"]
    return [messages[reply_id] for reply_id in message["reply_ids"]]


def thread_participants(state: State, message: Json) -> list[Json]:
    """Who replied; that the author of the parent is none of them is assumed."""
    user_ids = dict.fromkeys(reply["user_id"] for reply in replies_to(state, message))
    return [short_shape(state, user_id) for user_id in user_ids]


def find_message(state: State, message_id: str | None) -> Json | None:
    cid = state.message_cids.get(message_id or "")
    if cid is None:
        return None
    message: Json = state.channels[cid]["messages"][message_id]
    return message


def thread_shape(state: State, parent: Json) -> Json:
    """A thread as events about it show it."""
    replies = replies_to(state, parent)
    times = [reply["created_at"] for reply in replies]
    return {
        "channel_cid": parent["cid"],
        "parent_message_id": parent["id"],
        "created_by_user_id": parent["user_id"],
        "reply_count": reply_fields(state, parent)["reply_count"],
        "participant_count": len(thread_participants(state, parent)),
        "active_participant_count": len(thread_participants(state, parent)),
        "last_message_at": times[-1] if times else None,
        "created_at": times[0] if times else parent["created_at"],
        "updated_at": times[-1] if times else parent["created_at"],
        "title": "",
    }
