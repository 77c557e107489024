"""The operations on users.

A user is a flat object: Stream's own fields and the app's custom fields side by side. It is kept
in the short shape that members and events carry; the answers here add what is kept per reader.
"""

from __future__ import annotations

import re
import uuid
from copy import deepcopy

from . import timestamps
from .errors import DUPLICATE_NAME, StreamError, bad_input, not_found
from .payloads import (
    refuse_big_custom_data,
    refuse_reserved,
    refuse_unless_one_to_hundred,
    refuse_wrong_types,
    user_ids,
)
from .state import Json, State

VALID_ID = re.compile(r"[A-Za-z0-9_@-]{1,255}")
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
SERVER_SET = {"created_at", "banned", "shadow_banned", "online", "revoke_tokens_issued_before"}
# Name and image count as custom data: assumed, as Stream once kept them there.
NOT_CUSTOM = (set(INPUT_TYPES) - {"name", "image"}) | SERVER_SET | {"updated_at"}


def update_users(state: State, params: Json, body: Json) -> Json:
    users = body.get("users")
    refuse_unless_one_to_hundred(users, "users[]")
    if not isinstance(users, dict):
        raise bad_input("users must be an object")
    now = timestamps.now()
    drafts = {user_id: replacement(state, user_id, given, now) for user_id, given in users.items()}
    return store(state, drafts)


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
    if not state.switches["upsert_resets_omitted"]:
        kept |= {"role", "teams"}
    old = state.users.get(user_id, {})
    draft = new_user(user_id, now)
    draft |= {key: old[key] for key in kept if key in old}
    draft |= {key: value for key, value in given.items() if key not in IGNORED_IN_UPSERTS}
    return checked(draft, label, now)


def update_users_partial(state: State, params: Json, body: Json) -> Json:
    changes = body.get("users")
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
    return store(state, drafts)


def changed(old: Json, change: Json, now: str) -> Json:
    label = f"users[{old['id']}]"
    to_set, to_unset = change.get("set") or {}, change.get("unset") or []
    if not isinstance(to_set, dict) or not isinstance(to_unset, list):
        raise bad_input(f"{label} needs an object in set and an array in unset")
    if not all(isinstance(path, str) for path in to_unset):
        raise bad_input(f"{label}.unset must be an array of strings")
    reserved = RESERVED | IGNORED_IN_UPSERTS | {"id"}
    refuse_reserved({**to_set, **dict.fromkeys(to_unset)}, reserved, label)
    draft = deepcopy(old)
    for path, value in to_set.items():
        *parents, key = segments(path)
        parent_object(draft, parents, path)[key] = value
    for path in to_unset:
        *parents, key = segments(path)
        parent_object(draft, parents, path).pop(key, None)
    if draft.get("revoke_tokens_issued_before") is not None:
        before = draft["revoke_tokens_issued_before"]
        draft["revoke_tokens_issued_before"] = timestamps.parse(
            before, "revoke_tokens_issued_before"
        )
    return checked(draft, label, now)


def segments(path: str) -> list[str]:
    parts = path.split(".")
    if not all(parts) or any(character.isspace() for character in path):
        raise bad_input(f'"{path}" is not a valid field name')
    return parts


def parent_object(draft: Json, parents: list[str], path: str) -> Json:
    for parent in parents:
        draft = draft.setdefault(parent, {})
        if not isinstance(draft, dict):
            raise bad_input(f'"{path}" leads into a field that is not an object')
    return draft


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
    users = {user_id: full_shape(user) for user_id, user in drafts.items()}
    return {"users": users, "membership_deletion_task_id": ""}


def delete_user(state: State, params: Json, body: Json) -> Json:
    hard = params.get("hard_delete") == "true"
    if hard and params.get("mark_messages_deleted") != "true":
        raise bad_input("mark_messages_deleted must be set together with hard_delete")
    user = existing_user(state, params["user_id"])
    mark_deleted(state, user, erase=hard)
    return {"user": user}


def delete_users(state: State, params: Json, body: Json) -> Json:
    ids = user_ids(body)
    for field, modes in {
        "user": ("soft", "pruning", "hard"),
        "messages": ("soft", "pruning", "hard"),
        "conversations": ("soft", "hard"),
        "calls": ("soft", "hard"),
    }.items():
        if body.get(field) not in (None, "", *modes):
            raise bad_input(f"{field} must be one of {modes}")
    mode = body.get("user")
    if mode == "hard" and not body.get("messages") == body.get("conversations") == "hard":
        raise bad_input("user hard requires messages and conversations to be hard as well")
    for user_id in ids:
        user = state.users.get(user_id)
        if mode and user:
            mark_deleted(state, user, erase=mode != "soft")
    return new_task(state, {user_id: {"status": "ok"} for user_id in ids})


def mark_deleted(state: State, user: Json, *, erase: bool) -> None:
    user.setdefault("deleted_at", timestamps.now())
    for channel in state.channels.values():
        channel["members"].pop(user["id"], None)
    if erase:
        del state.users[user["id"]]
        state.erased_ids.add(user["id"])


def restore_users(state: State, params: Json, body: Json) -> Json:
    ids = user_ids(body)
    restorable = [user_id for user_id in ids if "deleted_at" in state.users.get(user_id, {})]
    if state.switches["restore_all_or_nothing"]:
        for user_id in ids:
            if user_id not in restorable:
                raise unknown_user(state, f"the user {user_id} cannot be restored")
    for user_id in restorable:
        del state.users[user_id]["deleted_at"]
    return {}


def deactivate_user(state: State, params: Json, body: Json) -> Json:
    user = existing_user(state, params["user_id"])
    if "deactivated_at" in user and state.switches["repeated_deactivation"] == "refused":
        raise bad_input(f"the user {user['id']} is already deactivated")
    user.setdefault("deactivated_at", timestamps.now())
    return {"user": full_shape(user)}


def reactivate_user(state: State, params: Json, body: Json) -> Json:
    user = existing_user(state, params["user_id"])
    if "deactivated_at" not in user:
        raise bad_input(f"the user {user['id']} is not deactivated")
    draft = {key: value for key, value in user.items() if key != "deactivated_at"}
    if body.get("name"):
        draft["name"] = body["name"]
    draft = checked(draft, f"users[{user['id']}]", timestamps.now())
    store(state, {user["id"]: draft})
    return {"user": full_shape(draft)}


def deactivate_users(state: State, params: Json, body: Json) -> Json:
    users = [existing_user(state, user_id) for user_id in user_ids(body)]
    for user in users:
        user.setdefault("deactivated_at", timestamps.now())
    return new_task(state, {"users": deepcopy(users)})


def reactivate_users(state: State, params: Json, body: Json) -> Json:
    users = [existing_user(state, user_id) for user_id in user_ids(body)]
    for user in users:
        user.pop("deactivated_at", None)
    return new_task(state, {"users": deepcopy(users)})


def new_task(state: State, result: Json) -> Json:
    now = timestamps.now()
    task_id = str(uuid.uuid4())
    state.tasks[task_id] = {
        "task_id": task_id,
        "created_at": now,
        "updated_at": now,
        "result": result,
    }
    return {"task_id": task_id}


def get_task(state: State, params: Json, body: Json) -> Json:
    task = state.tasks.get(params["task_id"])
    if task is None:
        raise not_found(f"Can't find task with id {params['task_id']}")
    status = state.switches["task_status"]
    answer = {**task, "status": status}
    if status != "completed":
        del answer["result"]
    if status == "failed":
        answer["error"] = {"type": "local", "description": "the switch task_status says so"}
    return answer


def new_user(user_id: str, now: str) -> Json:
    return {
        "id": user_id,
        "role": "user",
        "language": "",
        "teams": [],
        "created_at": now,
        "updated_at": now,
        "banned": False,
        "shadow_banned": False,
        "online": False,
        "invisible": False,
    }


def full_shape(user: Json) -> Json:
    return {
        **user,
        "blocked_user_ids": [],
        "devices": [],
        "mutes": [],
        "channel_mutes": [],
        "unread_count": 0,
        "total_unread_count": 0,
        "unread_channels": 0,
        "unread_threads": 0,
    }


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
