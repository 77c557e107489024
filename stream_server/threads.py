"""Threads as a whole: one of them, and those that a user is in."""

from __future__ import annotations

from .channel_shapes import channel_answer
from .filters import COMPARISON, Schema, in_order, number_in_query, whole_number
from .message_checks import acting_user, existing_message
from .message_shapes import message_shape, message_shapes, thread_shape
from .permissions import refuse_unless_participant
from .reader import sees
from .state import Json, State
from .unread import thread_users, unread_in_thread
from .user_checks import existing_user
from .user_shapes import short_shape
from .watching import refuse_servers_watching, subscribe

# Of Stream's JS SDK, which always names them; the largest are assumed.
LIMIT, REPLIES, PARTICIPANTS = 10, 3, 100
MAX_LIMIT, MAX_REPLIES, MAX_PARTICIPANTS = 100, 100, 1000
NEWEST = [("has_unread", -1), ("last_message_at", -1), ("parent_message_id", -1)]
THREADS = Schema(
    name="threads",
    operators={
        **dict.fromkeys(("channel_cid", "parent_message_id", "created_by_user_id"), COMPARISON),
        **dict.fromkeys(("created_at", "updated_at", "last_message_at"), COMPARISON),
        **dict.fromkeys(("reply_count", "participant_count"), COMPARISON),
        "has_unread": {"$eq"},
    },
    times=frozenset({"created_at", "updated_at", "last_message_at"}),
    flags=frozenset({"has_unread"}),
    texts=frozenset({"channel_cid", "parent_message_id", "created_by_user_id"}),
    numbers=frozenset({"reply_count", "participant_count"}),
)


def get_thread(state: State, params: Json, body: Json) -> Json:
    """Also of a message without replies: assumed."""
    record, parent = existing_message(state, params["message_id"])
    refuse_unless_participant(state, record, "ReadChannel")
    if params.get("watch") == "true":
        refuse_servers_watching(state, {"watch": True})
        subscribe(state, {"watch": True}, [record])
    replies = number_in_query(params, "reply_limit", MAX_REPLIES) or REPLIES
    people = number_in_query(params, "participant_limit", MAX_PARTICIPANTS) or PARTICIPANTS
    return {"thread": whole_thread(state, record, parent, replies, people)}


def query_threads(state: State, params: Json, body: Json) -> Json:
    """``next`` is the number of threads that earlier pages had; Stream's is opaque."""
    refuse_servers_watching(state, body)
    matches = THREADS.compile(body.get("filter") or {})
    limit = whole_number(body, "limit", MAX_LIMIT) or LIMIT
    replies = whole_number(body, "reply_limit", MAX_REPLIES) or REPLIES
    people = whole_number(body, "participant_limit", MAX_PARTICIPANTS) or PARTICIPANTS
    start = number_in_query(body, "next", 10**9)
    user = existing_user(state, acting_user(state, body))
    views = [view for view in views_of(state, user["id"]) if matches(view)]
    page = in_order(views, body.get("sort"), NEWEST)[start : start + limit]
    subscribe(state, body, [view["record"] for view in page])
    return {
        "threads": [
            whole_thread(state, view["record"], view["parent"], replies, people) for view in page
        ],
        **({"next": str(start + limit)} if len(views) > start + limit else {}),
    }


def views_of(state: State, user_id: str) -> list[Json]:
    """The user's threads, as filters and sorts see them."""
    found = []
    for record in state.channels_of(user_id):
        for parent_id in record["thread_reads"]:
            parent = record["messages"][parent_id]
            is_seen = bool(parent["reply_ids"]) and sees(record, parent, user_id)
            if is_seen and user_id in thread_users(record, parent):
                unread = bool(unread_in_thread(record, parent, user_id))
                shape = thread_shape(state, parent)
                found.append({**shape, "has_unread": unread, "record": record, "parent": parent})
    return found


def whole_thread(state: State, record: Json, parent: Json, replies: int, participants: int) -> Json:
    users = list(thread_users(record, parent))[:participants]
    latest = [record["messages"][one] for one in parent["reply_ids"][-replies:]]
    return {
        **thread_shape(state, parent),
        "created_by": short_shape(state, parent["user_id"]),
        "channel": channel_answer(state, record),
        "parent_message": message_shape(state, parent, state.caller.user_id),
        "latest_replies": message_shapes(state, latest),
        "thread_participants": [participant(state, record, parent, one) for one in users],
        "read": [read_shape(state, record, parent, user_id) for user_id in users],
    }


def participant(state: State, record: Json, parent: Json, user_id: str) -> Json:
    return {
        "channel_cid": parent["cid"],
        "thread_id": parent["id"],
        "user_id": user_id,
        "user": short_shape(state, user_id),
        "created_at": parent["created_at"],
        "last_read_at": last_read(record, parent, user_id),
    }


def read_shape(state: State, record: Json, parent: Json, user_id: str) -> Json:
    return {
        "user": short_shape(state, user_id),
        "last_read": last_read(record, parent, user_id),
        "unread_messages": len(unread_in_thread(record, parent, user_id)),
    }


def last_read(record: Json, parent: Json, user_id: str) -> str:
    began: str = parent["created_at"]
    reads: dict[str, str] = record["thread_reads"].get(parent["id"], {})
    return reads.get(user_id, began)
