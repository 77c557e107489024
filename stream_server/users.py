"""The operations on users.

A user is a flat object: Stream's own fields and the app's custom fields side by side. It is kept
in the short shape that members and events carry; the answers here add what is kept per reader.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from . import timestamps
from .channel_removal import remove_channel
from .errors import DUPLICATE_NAME, StreamError, bad_input, not_found
from .events import user_event
from .payloads import (
    patched,
    refuse_big_custom_data,
    refuse_reserved,
    refuse_unless_one_to_hundred,
    refuse_wrong_types,
    user_ids,
)
from .permissions import refuse_promoting_oneself, refuse_writing_others
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
    users = {user_id: full_shape(user) for user_id, user in drafts.items()}
    return {"users": users, "membership_deletion_task_id": ""}


def delete_user(state: State, params: Json, body: Json) -> Json:
    hard = params.get("hard_delete") == "true"
    if hard and params.get("mark_messages_deleted") != "true":
        raise bad_input("mark_messages_deleted must be set together with hard_delete")
    user = existing_user(state, params["user_id"])
    mode = "hard" if hard else "soft"
    modes = {
        "delete_user": mode,
        "delete_messages": mode if params.get("mark_messages_deleted") == "true" else "",
        "delete_conversation": (
            mode if params.get("delete_conversation_channels") == "true" else ""
        ),
    }
    mark_deleted(state, user, modes)
    return {"user": user}


def delete_users(state: State, params: Json, body: Json) -> Json:
    ids = user_ids(body)
    for field, allowed in {
        "user": ("soft", "pruning", "hard"),
        "messages": ("soft", "pruning", "hard"),
        "conversations": ("soft", "hard"),
        "calls": ("soft", "hard"),
    }.items():
        if body.get(field) not in (None, "", *allowed):
            raise bad_input(f"{field} must be one of {allowed}")
    if body.get("user") == "hard" and not (
        body.get("messages") == body.get("conversations") == "hard"
    ):
        raise bad_input("user hard requires messages and conversations to be hard as well")
    modes = {
        "delete_user": body.get("user") or "",
        "delete_messages": body.get("messages") or "",
        "delete_conversation": body.get("conversations") or "",
    }
    for user_id in ids:
        if user := state.users.get(user_id):
            delete_conversations(state, user, modes["delete_conversation"])
            if modes["delete_user"]:
                mark_deleted(state, user, modes)
    return new_task(state, {user_id: {"status": "ok"} for user_id in ids})


def mark_deleted(state: State, user: Json, modes: dict[str, str]) -> None:
    """Takes the user out of the member lists, about which no events tell."""
    is_new = "deleted_at" not in user
    user.setdefault("deleted_at", timestamps.now())
    delete_conversations(state, user, modes["delete_conversation"])
    if is_new or modes["delete_user"] != "soft":
        user_event(
            state,
            "user.deleted",
            user,
            **modes,
            hard_delete=modes["delete_user"] == "hard",
            mark_messages_deleted=bool(modes["delete_messages"]),
            delete_conversation_channels=bool(modes["delete_conversation"]),
        )
    for record in state.channels.values():
        record["members"].pop(user["id"], None)
        record["last_reads"].pop(user["id"], None)
    if modes["delete_user"] != "soft":
        del state.users[user["id"]]
        state.erased_ids.add(user["id"])


def delete_conversations(state: State, user: Json, mode: str) -> None:
    """A conversation is a channel of exactly two members."""
    if not mode:
        return
    for record in list(state.channels.values()):
        if len(record["members"]) == 2 and user["id"] in record["members"]:
            remove_channel(state, record, hard=mode == "hard")


def restore_users(state: State, params: Json, body: Json) -> Json:
    ids = user_ids(body)
    restorable = [user_id for user_id in ids if "deleted_at" in state.users.get(user_id, {})]
    if state.switches["restore_all_or_nothing"]:
        for user_id in ids:
            if user_id not in restorable:
                raise unknown_user(state, f"the user {user_id} cannot be restored")
    for user_id in restorable:
        del state.users[user_id]["deleted_at"]
    state.hide_from_channels(restorable)
    return {}


def deactivate_user(state: State, params: Json, body: Json) -> Json:
    user = existing_user(state, params["user_id"])
    if "deactivated_at" in user and state.switches["repeated_deactivation"] == "refused":
        raise bad_input(f"the user {user['id']} is already deactivated")
    user.setdefault("deactivated_at", timestamps.now())
    user_event(state, "user.deactivated", user, **created_by(state, body))
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
    user_event(state, "user.reactivated", draft, **created_by(state, body))
    return {"user": full_shape(draft)}


def deactivate_users(state: State, params: Json, body: Json) -> Json:
    users = [existing_user(state, user_id) for user_id in user_ids(body)]
    for user in users:
        user.setdefault("deactivated_at", timestamps.now())
        user_event(state, "user.deactivated", user, **created_by(state, body))
    return new_task(state, {"users": deepcopy(users)})


def reactivate_users(state: State, params: Json, body: Json) -> Json:
    users = [existing_user(state, user_id) for user_id in user_ids(body)]
    for user in users:
        user.pop("deactivated_at", None)
        user_event(state, "user.reactivated", user, **created_by(state, body))
    return new_task(state, {"users": deepcopy(users)})


def created_by(state: State, body: Json) -> Json:
    """Who acted, as events tell, if the call says it."""
    actor = state.users.get(str(body.get("created_by_id")))
    return {"created_by": actor} if actor else {}


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
