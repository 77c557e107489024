"""Creating and changing users.

A user is a flat object: Stream's own fields and the app's custom fields side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import timestamps
from .errors import bad_input
from .events import user_event
from .own_user import full_shape
from .payloads import (
    patched,
    refuse_big_custom_data,
    refuse_reserved,
    refuse_unless_one_to_hundred,
    refuse_wrong_types,
)
from .permissions import refuse_promoting_oneself, refuse_writing_others
from .presence import update_presence
from .state import Json, State
from .user_checks import (
    existing_user,
    refuse_bad_id,
    refuse_deactivated,
    refuse_deleted,
    refuse_taken_name,
)
from .user_shapes import new_user

ROLES = (
    "user",
    "admin",
    "guest",
    "anonymous",
    "moderator",
    "channel_member",
    "channel_moderator",
)
MAX_TEAMS = 250
MAX_TEAM_BYTES = 100
INPUT_TYPES = {
    "id": str,
    "name": str,
    "image": str,
    "role": str,
    "language": str,
    "teams": list,
    "teams_role": dict,
    "invisible": bool,
    "privacy_settings": dict,
}
# Only `online` is known to be refused; that the other fields of answers are too is assumed.
RESERVED = {
    "avg_response_time",
    "ban_expires",
    "banned",
    "blocked_user_ids",
    "bypass_moderation",
    "channel_mutes",
    "deactivated_at",
    "deleted_at",
    "devices",
    "last_active",
    "latest_hidden_channels",
    "mutes",
    "online",
    "shadow_banned",
    "total_unread_count",
    "unread_channels",
    "unread_count",
    "unread_threads",
}
# Stream's own SDK tests send these back without harm.
IGNORED_IN_UPSERTS = {"created_at", "updated_at"}
SERVER_SET = {
    "created_at",
    "banned",
    "shadow_banned",
    "ban_expires",
    "blocked_user_ids",
    "online",
    "revoke_tokens_issued_before",
}
# Name and image count as custom data: assumed, as Stream once kept them there.
NOT_CUSTOM = (set(INPUT_TYPES) - {"name", "image"}) | SERVER_SET | {"updated_at"}


def update_users(state: State, params: Json, body: Json) -> Json:
    users = body.get("users")
    refuse_unless_one_to_hundred(users, "users[]")
    if not isinstance(users, dict):
        raise bad_input("users must be an object")
    refuse_writing_others(state, list(users))
    now = timestamps.now()
    drafts = {user_id: replacement(state, user_id, given, now) for user_id, given in users.items()}
    created = drafts.keys() - state.users.keys()
    answer = store(state, drafts)
    state.hide_from_channels(created)
    announce_updates(state, drafts)
    return answer


def replacement(state: State, user_id: str, given: object, now: str) -> Json:
    label = f"users[{user_id}]"
    if not isinstance(given, dict):
        raise bad_input(f"{label} must be an object")
    if given.get("id") != user_id:
        raise bad_input(f"{label}.id must be equal to the key of the user")
    refuse_bad_id(user_id)
    refuse_reserved(given, RESERVED | {"revoke_tokens_issued_before"}, label)
    refuse_deleted(state, user_id)
    refuse_deactivated(state, user_id)
    kept = set(SERVER_SET)
    if state.caller.user_id or not state.switches["upsert_resets_omitted"]:
        kept |= {"role", "teams", "teams_role"}
    old = state.users.get(user_id, {})
    draft = new_user(user_id, now)
    draft |= {key: old[key] for key in kept if key in old}
    draft |= {key: value for key, value in given.items() if key not in IGNORED_IN_UPSERTS}
    draft = checked(draft, label, now)
    refuse_promoting_oneself(state, old, draft)
    return draft


def update_users_partial(state: State, params: Json, body: Json) -> Json:
    changes: Any = body.get("users")
    refuse_unless_one_to_hundred(changes, "users[]")
    now = timestamps.now()
    drafts: dict[str, Json] = {}
    for change in changes:
        if not isinstance(change, dict) or not isinstance(change.get("id"), str):
            raise bad_input("users[].id is a required field")
        user_id = change["id"]
        old = drafts.get(user_id) or existing_user(state, user_id)
        refuse_deactivated(state, user_id)
        drafts[user_id] = changed(old, change, now)
        refuse_promoting_oneself(state, old, drafts[user_id])
    refuse_writing_others(state, list(drafts))
    answer = store(state, drafts)
    announce_updates(state, drafts)
    return answer


def announce_updates(state: State, users: Iterable[str]) -> None:
    for user_id in users:
        user_event(state, "user.updated", state.users[user_id])
        update_presence(state, user_id)


def changed(old: Json, change: Json, now: str) -> Json:
    label = f"users[{old['id']}]"
    draft = patched(old, change, label)
    named = {**(change.get("set") or {}), **dict.fromkeys(change.get("unset") or [])}
    refuse_reserved(named, RESERVED | IGNORED_IN_UPSERTS | {"id"}, label)
    if draft.get("revoke_tokens_issued_before") is not None:
        before = draft["revoke_tokens_issued_before"]
        draft["revoke_tokens_issued_before"] = timestamps.parse(
            before, "revoke_tokens_issued_before"
        )
    return checked(draft, label, now)


def checked(draft: Json, label: str, now: str) -> Json:
    """The draft with null for Stream's own fields read as absent, or what is wrong with it."""
    clearable = {*INPUT_TYPES, "revoke_tokens_issued_before"}
    given = {key: v for key, v in draft.items() if v is not None or key not in clearable}
    user = {**new_user(draft["id"], now), **given, "updated_at": now}
    refuse_wrong_types(user, INPUT_TYPES, label)
    for role in (user["role"], *user.get("teams_role", {}).values()):
        if role not in ROLES:
            raise bad_input(f'role "{role}" provided but not defined')
    if len(user["teams"]) > MAX_TEAMS:
        raise bad_input(f"{label}.teams must contain at most {MAX_TEAMS} items")
    for team in user["teams"]:
        size = len(team.encode("utf-8", "replace")) if isinstance(team, str) else 0
        if not 0 < size <= MAX_TEAM_BYTES:
            raise bad_input(f"{label}.teams must hold texts of 1 to {MAX_TEAM_BYTES} bytes")
    custom = {key: value for key, value in user.items() if key not in NOT_CUSTOM}
    refuse_big_custom_data(custom, "user")
    return user


def store(state: State, drafts: dict[str, Json]) -> Json:
    for user in drafts.values():
        refuse_taken_name(state, user, drafts)
    state.users |= drafts
    state.erased_ids -= drafts.keys()
    users = {user_id: full_shape(state, user) for user_id, user in drafts.items()}
    return {"users": users, "membership_deletion_task_id": ""}
