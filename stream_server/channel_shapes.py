"""Channels as answers and events show them.

A channel is kept as {"channel": its own and custom fields, "created_by_id", "members": user id ->
membership, "messages": message id -> message, in order of time, "reads": user id ->
{"last_read", ...}, "thread_reads": parent id -> {user id: time}, "distinct": member ids or None};
"config_overrides" too, and what reader.py tells; users and counts are joined in here.
"""

from __future__ import annotations

from .capabilities import own_capabilities
from .channel_config import config
from .message_shapes import message_shapes, pinned_messages
from .paging import Page, page_of
from .payloads import MAX_ITEMS
from .permissions import client
from .reader import is_muted, reader_fields, sees
from .state import Json, State
from .unread import is_in_main_list, unread_messages
from .user_checks import shares
from .user_shapes import short_shape

# What a channel has besides custom data and what is joined in.
OWN_FIELDS = {
    "id",
    "type",
    "cid",
    "created_at",
    "updated_at",
    "last_message_at",
    "deleted_at",
    "truncated_at",
    "team",
    "frozen",
    "disabled",
    "filter_tags",
    "cooldown",
}


def channel_shape(state: State, record: Json) -> Json:
    """As events show it, to whom it may concern."""
    truncated_by = record.get("truncated_by_id")
    return {
        **record["channel"],
        "created_by": state.users.get(record["created_by_id"]),
        **({"truncated_by": short_shape(state, truncated_by)} if truncated_by else {}),
        "member_count": len(record["members"]),
        "config": config(record),
        **({"config_overrides": record["config_overrides"]} if record["config_overrides"] else {}),
    }


def channel_answer(state: State, record: Json) -> Json:
    """As the answer to a call shows it: to a client, with what its user may do there."""
    shape = channel_shape(state, record)
    user = client(state)
    if user is None:
        return shape
    return {
        **shape,
        **reader_fields(state, record, user["id"]),
        "own_capabilities": own_capabilities(state, user, record),
    }


def deleted_shape(state: State, record: Json, deleted_at: str) -> Json:
    own = {key: value for key, value in record["channel"].items() if key in OWN_FIELDS}
    shape = channel_shape(state, {**record, "channel": own})
    return {**shape, "created_by": None, "deleted_at": deleted_at}


def custom_fields(record: Json) -> Json:
    return {key: value for key, value in record["channel"].items() if key not in OWN_FIELDS}


def member_shape(state: State, record: Json, user_id: str) -> Json:
    membership = record["members"][user_id]
    is_moderator = membership["channel_role"] == "channel_moderator"
    role = "moderator" if is_moderator else "member"
    return {
        **membership,
        # Assumed, as Stream's Android and iOS SDKs describe it.
        "notifications_muted": is_muted(state, record, user_id),
        "user": state.users[user_id],
        # Deprecated by Stream, for channel_role.
        "role": "owner" if user_id == record["created_by_id"] else role,
        **({"is_moderator": True} if is_moderator else {}),
    }


def member_shapes(
    state: State, record: Json, limit: int = MAX_ITEMS, offset: int = 0
) -> list[Json]:
    user_ids = list(record["members"])[offset : offset + limit]
    return [member_shape(state, record, user_id) for user_id in user_ids]


def channel_state(
    state: State,
    record: Json,
    *,
    messages: Page | None,
    members: int,
    members_offset: int = 0,
    watchers: int = 0,
    watchers_offset: int = 0,
) -> Json:
    """The answer of get-or-create, and an item of QueryChannels."""
    answer = {
        "channel": channel_answer(state, record),
        "members": member_shapes(state, record, members, members_offset),
        "messages": shown_messages(state, record, messages),
        "pinned_messages": shown_pins(state, record) if messages else [],
        "threads": [],
        "read": [read_shape(state, record, user_id) for user_id in shown_readers(state, record)],
        "watcher_count": state.connections.watcher_count(record["channel"]["cid"]),
    }
    if watchers:
        answer["watchers"] = watcher_shapes(state, record, watchers, watchers_offset)
    caller = state.caller.user_id
    if caller is not None:
        answer |= reader_fields(state, record, caller)
        if caller in record["members"]:
            answer["membership"] = member_shape(state, record, caller)
    return answer


def watcher_shapes(state: State, record: Json, limit: int, offset: int) -> list[Json]:
    watching = state.connections.watching(record["channel"]["cid"])
    user_ids = list(dict.fromkeys(one.user_id for one in watching))
    return [short_shape(state, user_id) for user_id in user_ids[offset : offset + limit]]


def shown_messages(state: State, record: Json, page: Page | None) -> list[Json]:
    if page is None:
        return []
    reader = state.caller.user_id
    messages = [
        message
        for message in record["messages"].values()
        if is_in_main_list(message) and sees(record, message, reader)
    ]
    return message_shapes(state, page_of(messages, page))


def shown_pins(state: State, record: Json) -> list[Json]:
    reader = state.caller.user_id
    pinned = [one for one in pinned_messages(record) if sees(record, one, reader)]
    return message_shapes(state, pinned[-MAX_ITEMS:])


def shown_readers(state: State, record: Json) -> list[str]:
    """Whose privacy settings let others see it, and who asks; a server sees all."""
    asks = state.caller.user_id
    return [
        one for one in record["reads"] if asks in (None, one) or shares(state, one, "read_receipts")
    ]


def read_shape(state: State, record: Json, user_id: str) -> Json:
    return {
        "user": short_shape(state, user_id),
        **record["reads"][user_id],
        "unread_messages": len(unread_messages(state, record, user_id)),
    }
