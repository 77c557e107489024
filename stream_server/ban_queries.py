"""QueryBannedUsers: who is banned, from where, by whom and until when."""

from __future__ import annotations

from .channel_shapes import channel_shape
from .errors import not_allowed
from .filters import COMPARISON, Schema, in_order, whole_number
from .payloads import given_fields, json_object
from .permissions import client, is_moderator
from .state import Json, State
from .user_shapes import short_shape

DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET = 100, 300, 1000  # assumed
BANS = Schema(
    name="bans",
    operators={
        "channel_cid": {"$eq", "$in"},
        "reason": COMPARISON | {"$autocomplete"},
        **dict.fromkeys(("banned_by_id", "created_at", "user_id"), COMPARISON),
    },
    times=frozenset({"created_at"}),
    flags=frozenset(),
    texts=frozenset({"banned_by_id", "channel_cid", "reason", "user_id"}),
)


def query_banned_users(state: State, params: Json, body: Json) -> Json:
    """The newest first. One that has ended is none any more, whether such are asked for or not."""
    payload = given_fields(json_object(params.get("payload") or "{}"))
    conditions = payload.get("filter_conditions") or {}
    matches = BANS.compile(conditions)
    refuse_unless_moderated(state, conditions)
    limit = whole_number(payload, "limit", MAX_LIMIT) or DEFAULT_LIMIT
    offset = whole_number(payload, "offset", MAX_OFFSET)
    found = [
        fields
        for (user_id, cid, flag), ban in state.bans.items()
        if is_in_force(state, user_id, cid, flag)
        for fields in [{**ban, "user_id": user_id, "channel_cid": cid, "flag": flag}]
        if matches(fields)
    ]
    found = in_order(found, payload.get("sort"), [("created_at", -1)])
    return {"bans": [ban_shape(state, one) for one in found[offset : offset + limit]]}


def is_in_force(state: State, user_id: str, cid: str | None, flag: str) -> bool:
    """One from a channel ends with the membership."""
    if cid is None:
        return bool(state.users.get(user_id, {}).get(flag))
    members = state.channels[cid]["members"] if cid in state.channels else {}
    return bool(members.get(user_id, {}).get(flag))


def refuse_unless_moderated(state: State, conditions: Json) -> None:
    """Admins see all bans, others those of a channel that they moderate."""
    user = client(state)
    if user is None or user["role"] == "admin":
        return
    cid = conditions.get("channel_cid")
    record = state.channels.get(cid) if isinstance(cid, str) else None
    if record is None or not is_moderator(user, record):
        raise not_allowed("only moderators can query the banned users of a channel")


def ban_shape(state: State, ban: Json) -> Json:
    shape: Json = {
        "user": short_shape(state, ban["user_id"]),
        "created_at": ban["created_at"],
        "shadow": ban["flag"] == "shadow_banned",
        **{name: ban[name] for name in ("expires", "reason") if name in ban},
    }
    if "banned_by_id" in ban:
        shape["banned_by"] = short_shape(state, ban["banned_by_id"])
    if ban["channel_cid"]:
        shape["channel"] = channel_shape(state, state.channels[ban["channel_cid"]])
    return shape
