"""Finding a user, and what makes an id or a name unusable."""

from __future__ import annotations

import re

from .errors import DUPLICATE_NAME, StreamError, bad_input, not_found
from .state import Json, State

VALID_ID = re.compile(r"[A-Za-z0-9_@-]{1,255}")


def existing_user(state: State, user_id: str) -> Json:
    refuse_deleted(state, user_id)
    if user_id not in state.users:
        raise unknown_user(state, f"the user {user_id} does not exist")
    return state.users[user_id]


def unknown_user(state: State, detail: str) -> StreamError:
    if state.switches["unknown_user_refusal"] == "bad_input":
        return bad_input(detail)
    return not_found(detail)


def refuse_bad_id(user_id: str) -> None:
    if not VALID_ID.fullmatch(user_id):
        raise bad_input(f'user id "{user_id}" must be 1 to 255 characters of a-z A-Z 0-9 @ _ -')


def is_deleted(state: State, user_id: str) -> bool:
    if user_id in state.users:
        return "deleted_at" in state.users[user_id]
    return user_id in state.erased_ids and bool(state.switches["hard_delete_blocks_id_reuse"])


def refuse_deleted(state: State, user_id: str) -> None:
    if is_deleted(state, user_id):
        raise not_found(f"the user {user_id} was deleted")


def refuse_deactivated(state: State, user_id: str) -> None:
    if "deactivated_at" in state.users.get(user_id, {}):
        raise not_found(f"the user {user_id} was deactivated")


def refuse_taken_name(state: State, user: Json, drafts: dict[str, Json]) -> None:
    scope = state.switches["enforce_unique_usernames"]
    name = user.get("name")
    if scope == "no" or not name:
        return
    for other in {**state.users, **drafts}.values():
        gone = "deleted_at" in other or "deactivated_at" in other
        if other["id"] == user["id"] or other.get("name") != name or gone:
            continue
        if scope == "app":
            raise StreamError(400, DUPLICATE_NAME, f"username '{name}' already exists")
        for team in set(user["teams"]) & set(other["teams"]):
            detail = f"username '{name}' already exists in team '{team}'"
            raise StreamError(400, DUPLICATE_NAME, detail)


def shares(state: State, user_id: str, setting: str) -> bool:
    """Whether the user's privacy settings let others see this of them."""
    settings = state.users[user_id].get("privacy_settings", {}).get(setting)
    return not isinstance(settings, dict) or settings.get("enabled") is not False
