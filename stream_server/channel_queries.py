"""QueryChannels and QueryMembers."""

from __future__ import annotations

from .channel_shapes import channel_state, member_shape
from .channel_views import ChannelView, has_joined, invite_of, named_fields, refuse_unanswerable
from .errors import NO_ACCESS_TO_CHANNELS, StreamError, bad_input
from .filters import (
    COMPARISON,
    CUSTOM_OPERATORS,
    EQUALITY,
    Schema,
    candidates,
    in_order,
    whole_number,
)
from .membership import existing_channel
from .paging import MAX_MESSAGES, Page
from .payloads import MAX_ITEMS, given_fields, json_object, refuse_wrong_types
from .permissions import client, is_participant, refuse_unless_participant
from .state import Json, State
from .watching import refuse_servers_watching, subscribe

DEFAULT_CHANNELS = 10
MAX_CHANNELS = 30
MAX_OFFSET = 1000
DEFAULT_MESSAGES = 25
DEFAULT_MEMBERS, MAX_MEMBERS = 100, 300
MAX_MEMBERS_OFFSET = 10_000
MEMBER_FLAGS = ("banned", "is_moderator", "joined", "notifications_muted", "shadow_banned")
READER_FLAGS = ("archived", "has_unread", "hidden", "joined", "muted", "pinned")

CHANNELS = Schema(
    name="channels",
    operators={
        **dict.fromkeys(("cid", "id", "type", "created_by_id"), COMPARISON | {"$ne", "$nin"}),
        **dict.fromkeys(("created_at", "updated_at", "last_message_at"), COMPARISON),
        "last_updated": COMPARISON,
        "member_count": COMPARISON,
        "name": COMPARISON | {"$autocomplete"},
        "team": COMPARISON,
        "members": {"$in", "$eq"},
        "member.user.name": {"$eq", "$autocomplete"},
        "filter_tags": {"$in", "$eq"},
        **dict.fromkeys(("frozen", "disabled", "distinct"), EQUALITY),
        **dict.fromkeys((*READER_FLAGS, "invite"), EQUALITY),
    },
    times=frozenset({"created_at", "updated_at", "last_message_at", "last_updated"}),
    flags=frozenset({"frozen", "disabled", "distinct", *READER_FLAGS}),
    texts=frozenset({"cid", "id", "type", "created_by_id", "name", "invite"}),
    numbers=frozenset({"member_count"}),
    lists=frozenset({"members", "filter_tags"}),
    any_of=frozenset({"member.user.name"}),
    not_searchable=frozenset(
        {"app_banned", "config", "created_by", "own_capabilities", "last_activity"}
    ),
)
MEMBERS = Schema(
    name="members",
    operators={
        **dict.fromkeys(("user_id", "id"), COMPARISON | {"$ne", "$nin"}),
        **dict.fromkeys(("name", "user.name"), COMPARISON | {"$autocomplete"}),
        **dict.fromkeys(("created_at", "updated_at", "last_active"), COMPARISON),
        **dict.fromkeys(MEMBER_FLAGS, EQUALITY),
        **dict.fromkeys(("channel_role", "user.email"), CUSTOM_OPERATORS),
        "invite": EQUALITY,
    },
    times=frozenset({"created_at", "updated_at", "last_active"}),
    flags=frozenset(MEMBER_FLAGS),
    texts=frozenset({"user_id", "id", "name", "user.name", "user.email", "invite"}),
    not_searchable=frozenset({"cid", "user"}),
)


def query_channels(state: State, params: Json, body: Json) -> Json:
    """For a client, or the user whom a server names; what they hid only if the filter asks."""
    conditions = body.get("filter_conditions") or {}
    refuse_wrong_types(given_fields(body), {"user_id": str}, "query")
    views = matching_channels(state, conditions, state.caller.user_id or body.get("user_id"))
    refuse_servers_watching(state, body)
    # Stream takes a higher limit without a word, and answers 30.
    limit = min(whole_number(body, "limit", 10**9) or DEFAULT_CHANNELS, MAX_CHANNELS)
    offset = whole_number(body, "offset", MAX_OFFSET)
    messages = whole_number(body, "message_limit", MAX_MESSAGES) or DEFAULT_MESSAGES
    members = whole_number(body, "member_limit", MAX_ITEMS) or MAX_ITEMS
    if "hidden" not in named_fields(conditions):
        views = [view for view in views if not view.get("hidden")]
    views = in_order(views, body.get("sort"), [("last_updated", -1), ("cid", -1)])
    found = [view.record for view in views[offset : offset + limit]]
    refuse_inaccessible(state, found)
    subscribe(state, body, found)
    page = Page(messages) if body.get("state") else None
    return {
        "channels": [
            channel_state(state, record, messages=page, members=members) for record in found
        ]
    }


def matching_channels(state: State, conditions: object, reader: str | None) -> list[ChannelView]:
    matches = CHANNELS.compile(conditions)
    refuse_unanswerable(named_fields(conditions), reader)
    asked = candidates(state.channels, conditions, "cid")
    return [view for one in asked if matches(view := ChannelView(state, one, reader))]


def refuse_inaccessible(state: State, records: list[Json]) -> None:
    """One channel without access spoils the query; the text is assumed."""
    user = client(state)
    if user is None:
        return
    closed = [one["channel"]["cid"] for one in records if not is_participant(state, user, one)]
    if closed:
        detail = f"no access to the channels [{' '.join(closed)}]"
        raise StreamError(403, NO_ACCESS_TO_CHANNELS, detail)


def query_members(state: State, params: Json, body: Json) -> Json:
    payload = json_object(params.get("payload", ""))
    if not isinstance(payload.get("type"), str):
        raise bad_input("type is a required field")
    conditions = payload.get("filter_conditions")
    if not isinstance(conditions, dict):
        raise bad_input("filter_conditions is a required field")
    matches = MEMBERS.compile(conditions)
    record = asked_channel(state, payload)
    refuse_unless_participant(state, record, "ReadChannel")
    limit = whole_number(payload, "limit", MAX_MEMBERS) or DEFAULT_MEMBERS
    offset = whole_number(payload, "offset", MAX_MEMBERS_OFFSET)
    found = []
    for user_id in record["members"]:
        member = member_shape(state, record, user_id)
        if matches({**member, **joined_fields(record, member)}):
            found.append(member)
    found = in_order(found, payload.get("sort"), [("created_at", 1)])
    return {"members": found[offset : offset + limit]}


def joined_fields(record: Json, member: Json) -> Json:
    """What filters know of a member beside the member's own fields."""
    user = member["user"]
    return {
        "id": user["id"],
        "name": user.get("name"),
        "user.name": user.get("name"),
        "user.email": user.get("email"),
        "last_active": user.get("last_active"),
        "invite": invite_of(record, user["id"]),
        "joined": has_joined(record, user["id"]),
    }


def asked_channel(state: State, payload: Json) -> Json:
    """By id, or a distinct channel by its members."""
    if isinstance(payload.get("id"), str):
        return existing_channel(state, payload)
    given = payload.get("members") or []
    wanted = {one.get("user_id") if isinstance(one, dict) else one for one in given}
    for record in state.channels.values():
        is_type = record["channel"]["type"] == payload["type"]
        if is_type and record["distinct"] and set(record["distinct"]) == wanted:
            return record
    raise bad_input("id is a required field")
