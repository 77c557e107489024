"""Bans from the whole app."""

from __future__ import annotations

from .errors import bad_input
from .state import Json, State
from .users import existing_user


def ban(state: State, params: Json, body: Json) -> Json:
    return set_banned(state, body, to=True)


def unban(state: State, params: Json, body: Json) -> Json:
    return set_banned(state, params, to=False)


def set_banned(state: State, given: Json, *, to: bool) -> Json:
    if not given.keys().isdisjoint({"type", "id", "timeout", "ip_ban"}):
        raise bad_input("the local Stream server only has lasting bans from the whole app")
    if not isinstance(given.get("target_user_id"), str) or not given["target_user_id"]:
        raise bad_input("target_user_id is a required field")
    user = existing_user(state, given["target_user_id"])
    # A body says true, a query "true".
    is_shadow = given.get("shadow") in (True, "true")
    user["shadow_banned" if is_shadow else "banned"] = to
    return {}
