"""Bans, from the whole app or from one channel, for good or for a time.

A ban is kept as {"created_at", "expires"?, "reason"?, "banned_by_id"?}.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from . import timestamps
from .errors import bad_input, not_allowed
from .events import channel_event, user_event
from .filters import whole_number
from .membership import existing_channel
from .permissions import client, refuse_unless_moderator
from .restrictions import refuse_banned
from .state import Json, State
from .user_checks import existing_user

MAX_MINUTES = 10**7  # assumed
UNKNOWN_HERE = ("ban_from_future_channels", "delete_messages", "delete_reactions")


def ban(state: State, params: Json, body: Json) -> Json:
    minutes = whole_number(body, "timeout", MAX_MINUTES)
    if body.get("ip_ban"):
        raise bad_input("the local Stream server bans no addresses")
    for option in UNKNOWN_HERE:
        if body.get(option):
            raise bad_input(f"{option} is not known to the local Stream server")
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
    if not is_from_app(given) and not all(
        isinstance(given.get(one), str) for one in ("type", "id")
    ):
        raise bad_input("a channel is named by type and id")
    # A body says true, a query "true".
    is_shadow = given.get("shadow") in (True, "true")
    refuse_unless_may_ban(state, given)
    event_type = "user.banned" if to else "user.unbanned"
    by_id = state.caller.user_id or given.get("banned_by_id") or given.get("user_id")
    about = {"reason": given.get("reason"), "expires": expires, "banned_by_id": by_id}
    details = {key: value for key, value in about.items() if isinstance(value, str)}
    fields: Json = {"user": user, "shadow": is_shadow}
    if by := state.users.get(details.get("banned_by_id", "")):
        fields["created_by"] = by
    if "reason" in details:
        fields["reason"] = details["reason"]
    if expires:
        fields["expiration"] = expires
    if is_from_app(given):
        mark_all(state, user["id"], None, is_shadow, details if to else None)
        user_event(state, event_type, **fields)
        return {}
    record = existing_channel(state, given)
    if user["id"] not in record["members"]:
        raise bad_input("the local Stream server only bans members from a channel")
    mark_all(state, user["id"], record["channel"]["cid"], is_shadow, details if to else None)
    channel_event(state, event_type, record, [user["id"]], **fields)
    return {}


def is_from_app(given: Json) -> bool:
    return "type" not in given and "id" not in given


def refuse_unless_may_ban(state: State, given: Json) -> None:
    """Moderators ban from their channels, admins from the app; while banned, neither does."""
    user = client(state)
    if user is None:
        return
    if not is_from_app(given):
        record = existing_channel(state, given)
        refuse_unless_moderator(state, record, "BanChannelMember")
        refuse_banned(state, record)
    elif user["role"] != "admin" or user["banned"]:
        raise not_allowed(
            f"User '{user['id']}' with role '{user['role']}' is not allowed to BanUser"
        )


def mark_all(
    state: State, user_id: str, cid: str | None, is_shadow: bool, details: Json | None
) -> None:
    """A ban's end is that of a shadow ban, too."""
    mark(state, user_id, cid, is_shadow, details)
    if details is None and not is_shadow:
        mark(state, user_id, cid, True, None)


def mark(
    state: State, user_id: str, cid: str | None, is_shadow: bool, details: Json | None
) -> None:
    """Writes a ban, or with None its end, into the user, or into their membership of a channel."""
    target = state.users.get(user_id)
    if cid:
        target = state.channels.get(cid, {"members": {}})["members"].get(user_id)
    flag = "shadow_banned" if is_shadow else "banned"
    state.bans.pop((user_id, cid, flag), None)
    if target is None:  # a ban that outlived its user or channel
        return
    target[flag] = details is not None
    target.pop("ban_expires", None)
    if details is not None:
        state.bans[user_id, cid, flag] = {"created_at": timestamps.now(), **details}
        if "expires" in details:
            target["ban_expires"] = details["expires"]


def lift_ended_bans(state: State, now: str) -> None:
    """Assumed: nobody is told of a ban that ends by itself."""
    ended = [key for key, ban in state.bans.items() if ban.get("expires", now + "Z") <= now]
    for user_id, cid, flag in ended:
        mark(state, user_id, cid, flag == "shadow_banned", None)
