"""Bans, from the whole app or from one channel, for good or for a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from . import timestamps
from .errors import bad_input
from .events import channel_event, user_event
from .filters import whole_number
from .membership import existing_channel
from .state import Json, State
from .user_checks import existing_user

MAX_MINUTES = 10**7  # assumed


def ban(state: State, params: Json, body: Json) -> Json:
    minutes = whole_number(body, "timeout", MAX_MINUTES)
    if body.get("ip_ban"):
        raise bad_input("the local Stream server bans no addresses")
    if body.get("delete_messages"):
        raise bad_input("delete_messages is not known to the local Stream server")
    expires = timestamps.text(datetime.now(UTC) + timedelta(minutes=minutes)) if minutes else None
    return set_banned(state, body, to=True, expires=expires)


def unban(state: State, params: Json, body: Json) -> Json:
    return set_banned(state, params, to=False)


def set_banned(state: State, given: Json, *, to: bool, expires: str | None = None) -> Json:
    """The event of a ban from a channel names the channel; that of a ban from the app has none.

    Assumed: a ban that changes nothing is told as well.
    """
    if not isinstance(given.get("target_user_id"), str) or not given["target_user_id"]:
        raise bad_input("target_user_id is a required field")
    user = existing_user(state, given["target_user_id"])
    # A body says true, a query "true".
    is_shadow = given.get("shadow") in (True, "true")
    event_type = "user.banned" if to else "user.unbanned"
    fields = {"user": user, "shadow": is_shadow, **moderator(state, given)}
    if isinstance(given.get("reason"), str):
        fields["reason"] = given["reason"]
    if expires:
        fields["expiration"] = expires
    if "type" not in given and "id" not in given:
        mark(state, user["id"], None, is_shadow, to, expires)
        user_event(state, event_type, **fields)
        return {}
    if not isinstance(given.get("type"), str) or not isinstance(given.get("id"), str):
        raise bad_input("a channel is named by type and id")
    record = existing_channel(state, given)
    if user["id"] not in record["members"]:
        raise bad_input("the local Stream server only bans members from a channel")
    mark(state, user["id"], record["channel"]["cid"], is_shadow, to, expires)
    channel_event(state, event_type, record, [user["id"]], **fields)
    return {}


def mark(
    state: State, user_id: str, cid: str | None, is_shadow: bool, to: bool, expires: str | None
) -> None:
    """Writes a ban into the user, or into their membership of a channel."""
    target = state.users.get(user_id)
    if cid:
        target = state.channels.get(cid, {"members": {}})["members"].get(user_id)
    flag = "shadow_banned" if is_shadow else "banned"
    state.ban_ends.pop((user_id, cid, flag), None)
    if target is None:  # a ban that outlived its user or channel
        return
    target[flag] = to
    target.pop("ban_expires", None)
    if expires:
        target["ban_expires"] = expires
        state.ban_ends[user_id, cid, flag] = expires


def moderator(state: State, given: Json) -> Json:
    by = state.users.get(str(given.get("banned_by_id", "")))
    return {"created_by": by} if by else {}


def lift_ended_bans(state: State, now: str) -> None:
    """Assumed: nobody is told of a ban that ends by itself."""
    ended = [ban for ban, expires in state.ban_ends.items() if expires <= now]
    for user_id, cid, flag in ended:
        mark(state, user_id, cid, flag == "shadow_banned", False, None)
