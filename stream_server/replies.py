"""Threads: a message, the parent, and the replies to it."""

from __future__ import annotations

import json

from .errors import MULTIPLE_NESTING, StreamError, bad_input
from .events import Personal, notification
from .filters import number_in_query
from .message_checks import existing_message
from .message_shapes import message_shapes, replies_to
from .paging import MAX_MESSAGES, MAX_OFFSET, asked_page, page_of
from .permissions import refuse_unless_participant
from .reader import sees
from .state import Json, State
from .unread import thread_users

MOST = {"limit": MAX_MESSAGES, "offset": MAX_OFFSET}


def get_replies(state: State, params: Json, body: Json) -> Json:
    """Oldest first, whatever the sort: that it only says which end a page is of is assumed."""
    record, parent = existing_message(state, params["message_id"])
    refuse_unless_participant(state, record, "ReadChannel")
    given = {**params, **{name: number_in_query(params, name, most) for name, most in MOST.items()}}
    page = asked_page(given, record["messages"], is_forward=is_oldest_first(params.get("sort")))
    seen = [one for one in replies_to(state, parent) if sees(record, one, state.caller.user_id)]
    return {"messages": message_shapes(state, page_of(seen, page))}


def is_oldest_first(sort: str | None) -> bool:
    try:
        keys = json.loads(sort or "[]")
        return [(key["field"], key["direction"]) for key in keys] == [("created_at", 1)]
    except (ValueError, TypeError, KeyError):
        raise bad_input("sort must be an array of objects with field and direction") from None


def refuse_bad_parent(record: Json, parent_id: str) -> None:
    """That an unknown parent is refused like an unknown message elsewhere is assumed."""
    parent = record["messages"].get(parent_id)
    if parent is None:
        raise bad_input(f"Message with id {parent_id} doesn't exist")
    if parent.get("parent_id"):
        detail = "multiple levels of replies are not supported, the parent is a reply itself"
        raise StreamError(400, MULTIPLE_NESTING, detail)


def add_reply(record: Json, parent: Json, reply: Json) -> None:
    parent["reply_ids"].append(reply["id"])
    last_reads = record["thread_reads"].setdefault(parent["id"], {})
    last_reads[reply["user_id"]] = reply["created_at"]


def announce_reply(
    state: State, record: Json, parent: Json, personal: Personal, fields: Json
) -> None:
    """To who is in the thread and didn't reply: their clients count threads by this event alone."""
    sender = fields["message"]["user"]["id"]
    heard_by = [one for one in thread_users(record, parent) if one != sender]
    event_type = "notification.thread_message_new"
    notification(state, event_type, record, heard_by, personal, also_watching=True, **fields)
