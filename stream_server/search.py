"""Searching messages in the channels that a filter finds.

Stream searches at most 500 channels in one call; here there is no such limit.
"""

from __future__ import annotations

import base64
import json

from . import timestamps
from .channel_config import config
from .channel_queries import matching_channels
from .channel_shapes import channel_shape
from .errors import bad_input
from .filters import COMPARISON, CUSTOM_OPERATORS, WORD, Schema, in_order, whole_number
from .message_shapes import is_pinned, message_shape, reply_fields
from .payloads import given_fields, json_object, refuse_wrong_types
from .permissions import client, is_participant
from .reader import sees
from .state import Json, State

DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET = 100, 300, 1000  # the second is assumed
INPUT_TYPES: dict[str, type] = {"query": str, "next": str, "sort": list, "user_id": str}
BY_RELEVANCE = [("relevance", -1), ("id", 1)]
ORDERED = COMPARISON - {"$exists"}
MESSAGES = Schema(
    name="messages",
    operators={
        **dict.fromkeys(("id", "type", "parent_id", "user.id"), ORDERED | {"$exists"}),
        **dict.fromkeys(("reply_count", "created_at", "updated_at"), ORDERED),
        "text": ORDERED | {"$q", "$autocomplete"},
        "attachments": CUSTOM_OPERATORS,
        "attachments.type": {"$eq", "$in"},
        "mentioned_users.id": {"$contains"},
        "pinned": {"$eq"},
    },
    times=frozenset({"created_at", "updated_at"}),
    flags=frozenset({"pinned"}),
    texts=frozenset({"id", "text", "type", "parent_id", "user.id"}),
    numbers=frozenset({"reply_count"}),
    lists=frozenset({"attachments.type", "mentioned_users.id"}),
    any_of=frozenset({"attachments.type"}),
)


def search(state: State, params: Json, body: Json) -> Json:
    """``next`` and ``previous`` hold the sort and where the page begins; Stream's are opaque."""
    payload = given_fields(json_object(params.get("payload", "")))
    refuse_wrong_types(payload, INPUT_TYPES, "search")
    conditions = message_conditions(payload)
    matches = MESSAGES.compile(conditions)
    limit = whole_number(payload, "limit", MAX_LIMIT) or DEFAULT_LIMIT
    offset = whole_number(payload, "offset", MAX_OFFSET)
    sort = payload.get("sort")
    if offset and (sort or payload.get("next")):
        raise bad_input("cannot use offset with sort or next")
    if payload.get("next"):
        sort, offset = page_of_cursor(payload["next"])
    words = searched_words(conditions.get("text"))
    found = [
        view
        for record in readable_channels(state, payload)
        for message in record["messages"].values()
        if is_searched(state, record, message) and matches(view := fields_of(state, message, words))
    ]
    found = in_order(found, sort, BY_RELEVANCE)
    page = found[offset : offset + limit]
    return {
        "results": [{"message": found_message(state, view["message"])} for view in page],
        **({"next": cursor(sort, offset + limit)} if len(found) > offset + limit else {}),
        **({"previous": cursor(sort, max(0, offset - limit))} if offset else {}),
    }


def message_conditions(payload: Json) -> Json:
    """A bare text is searched for like ``query``: assumed, as Stream's UI components ask so."""
    conditions = payload.get("message_filter_conditions")
    if (conditions is None) is ("query" not in payload):
        raise bad_input("one of query and message_filter_conditions is a required field")
    if conditions is None:
        conditions = {"text": payload["query"]}
    if not isinstance(conditions, dict):
        raise bad_input("message_filter_conditions must be an object")
    text = conditions.get("text")
    return {**conditions, "text": {"$q": text}} if isinstance(text, str) else conditions


def readable_channels(state: State, payload: Json) -> list[Json]:
    """Others are passed over: assumed."""
    conditions = payload.get("filter_conditions")
    if not isinstance(conditions, dict) or not conditions:
        raise bad_input("filter_conditions is a required field")
    user = client(state)
    reader = state.caller.user_id or payload.get("user_id")
    return [
        view.record
        for view in matching_channels(state, conditions, reader)
        if config(view.record)["search"]
        and (user is None or is_participant(state, user, view.record))
    ]


def is_searched(state: State, record: Json, message: Json) -> bool:
    is_left_out = message["type"] == "system" or "deleted_at" in message
    return not is_left_out and sees(record, message, state.caller.user_id)


def fields_of(state: State, message: Json, words: list[str]) -> Json:
    """A message as filters and sorts see it."""
    content = message["written"]
    in_text = words_in(content["text"])
    types = [one.get("type") for one in content["attachments"] if isinstance(one, dict)]
    return {
        **content,
        **{name: message[name] for name in ("id", "type", "created_at", "updated_at")},
        "parent_id": message.get("parent_id"),
        "user.id": message["user_id"],
        "reply_count": reply_fields(state, message)["reply_count"],
        "attachments": content["attachments"] or None,
        "attachments.type": types,
        "mentioned_users.id": content["mentioned_users"],
        "pinned": is_pinned(message, timestamps.now()),
        "relevance": sum(one in words for one in in_text),
        "message": message,
    }


def found_message(state: State, message: Json) -> Json:
    shape = message_shape(state, message, state.caller.user_id)
    return {**shape, "channel": channel_shape(state, state.channels[message["cid"]])}


def searched_words(condition: object) -> list[str]:
    asked = condition if isinstance(condition, dict) else {}
    return words_in(str(asked.get("$q") or asked.get("$autocomplete") or ""))


def words_in(text: str) -> list[str]:
    return WORD.findall(text.lower())


def cursor(sort: object, offset: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, offset]).encode()).decode()


def page_of_cursor(text: str) -> tuple[object, int]:
    try:
        sort, offset = json.loads(base64.urlsafe_b64decode(text))
        if type(offset) is int and offset >= 0:
            return sort, offset
    except (ValueError, TypeError):
        pass
    raise bad_input("next is not a value that a search gave")
