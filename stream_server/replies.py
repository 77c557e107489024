"""Threads: a message, the parent, and the replies to it."""

from __future__ import annotations

import json

from .errors import MULTIPLE_NESTING, StreamError, bad_input
from .message_checks import existing_message
from .message_shapes import message_shapes, replies_to
from .paging import asked_page, page_of
from .permissions import refuse_unless_participant
from .state import Json, State


def get_replies(state: State, params: Json, body: Json) -> Json:
    """Oldest first, whatever the sort: that it only says which end a page is of is assumed."""
    record, parent = existing_message(state, params["message_id"])
    refuse_unless_participant(state, record, "ReadChannel")
    given = {**params, **{name: number(params, name) for name in ("limit", "offset")}}
    page = asked_page(given, record["messages"], is_forward=is_oldest_first(params.get("sort")))
    return {"messages": message_shapes(state, page_of(replies_to(state, parent), page))}


def number(params: Json, name: str) -> int:
    text = params.get(name, "0")
    if not text.isdecimal() or len(text) > 9:
        raise bad_input(f"{name} must be a whole number of 0 or more")
    return int(text)


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
