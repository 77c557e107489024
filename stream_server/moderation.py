"""Bans, from the whole app or from one channel."""

from __future__ import annotations

from .errors import bad_input
from .events import channel_event, user_event
from .membership import existing_channel
from .state import Json, State
from .user_checks import existing_user


def ban(state: State, params: Json, body: Json) -> Json:
    return set_banned(state, body, to=True)


def unban(state: State, params: Json, body: Json) -> Json:
    return set_banned(state, params, to=False)


def set_banned(state: State, given: Json, *, to: bool) -> Json:
    """The event of a ban from a channel names the channel; that of a ban from the app has none.

    Assumed: a ban that changes nothing is told as well.
    """
    if not given.keys().isdisjoint({"timeout", "ip_ban"}):
        raise bad_input("the local Stream server only has lasting bans")
    if not isinstance(given.get("target_user_id"), str) or not given["target_user_id"]:
        raise bad_input("target_user_id is a required field")
    user = existing_user(state, given["target_user_id"])
    # A body says true, a query "true".
    is_shadow = given.get("shadow") in (True, "true")
    flag = "shadow_banned" if is_shadow else "banned"
    event_type = "user.banned" if to else "user.unbanned"
    fields = {"user": user, "shadow": is_shadow, **moderator(state, given)}
    if isinstance(given.get("reason"), str):
        fields["reason"] = given["reason"]
    if "type" not in given and "id" not in given:
        user[flag] = to
        user_event(state, event_type, **fields)
        return {}
    if not isinstance(given.get("type"), str) or not isinstance(given.get("id"), str):
        raise bad_input("a channel is named by type and id")
    record = existing_channel(state, given)
    if user["id"] not in record["members"]:
        raise bad_input("the local Stream server only bans members from a channel")
    record["members"][user["id"]][flag] = to
    channel_event(state, event_type, record, [user["id"]], **fields)
    return {}


def moderator(state: State, given: Json) -> Json:
    by = state.users.get(str(given.get("banned_by_id", "")))
    return {"created_by": by} if by else {}
