"""Users who go and come back: deletion, restoring, deactivation, reactivation."""

from __future__ import annotations

from copy import deepcopy

from . import timestamps
from .channel_removal import remove_channel
from .errors import bad_input
from .events import user_event
from .message_changes import remove_message
from .own_user import full_shape
from .payloads import user_ids
from .reader import forget_user
from .state import Json, State
from .tasks import new_task
from .user_checks import existing_user, unknown_user
from .users import checked, store


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
            delete_messages(state, user, modes["delete_messages"])
            if modes["delete_user"]:
                mark_deleted(state, user, modes)
    return new_task(state, {user_id: {"status": "ok"} for user_id in ids})


def mark_deleted(state: State, user: Json, modes: dict[str, str]) -> None:
    """Takes the user out of the member lists, about which no events tell."""
    is_new = "deleted_at" not in user
    user.setdefault("deleted_at", timestamps.now())
    delete_conversations(state, user, modes["delete_conversation"])
    delete_messages(state, user, modes["delete_messages"])
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
    for record in state.channels_of(user["id"]):
        state.leave(record, user["id"])
        record["reads"].pop(user["id"], None)
    if modes["delete_user"] != "soft":
        del state.users[user["id"]]
        forget_user(state, user["id"])
        state.erased_ids.add(user["id"])


def delete_conversations(state: State, user: Json, mode: str) -> None:
    """A conversation is a channel of exactly two members."""
    if not mode:
        return
    for record in state.channels_of(user["id"]):
        if len(record["members"]) == 2:
            remove_channel(state, record, hard=mode == "hard")


def delete_messages(state: State, user: Json, mode: str) -> None:
    """The event of the user tells it, so there is none for each message."""
    if not mode:
        return
    for message in messages_of(state, user["id"]):
        record = state.channels[message["cid"]]
        if mode == "soft":
            message.setdefault("deleted_at", timestamps.now())
        elif message["id"] in record["messages"]:  # not gone with its thread
            remove_message(state, record, message)


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
    deactivate(state, user, body)
    return {"user": full_shape(state, user)}


def deactivate(state: State, user: Json, body: Json) -> None:
    user.setdefault("deactivated_at", timestamps.now())
    if body.get("mark_messages_deleted"):
        for message in messages_of(state, user["id"]):
            if "deleted_at" not in message:
                message |= {"deleted_at": timestamps.now(), "deleted_with_user": True}
    user_event(state, "user.deactivated", user, **created_by(state, body))


def restore_messages(state: State, user: Json, body: Json) -> None:
    """Those that the deactivation marked as deleted, if the call asks for it."""
    for message in messages_of(state, user["id"]) if body.get("restore_messages") else []:
        if message.pop("deleted_with_user", False):
            message.pop("deleted_at", None)


def messages_of(state: State, user_id: str) -> list[Json]:
    return [
        message
        for record in state.channels.values()
        for message in record["messages"].values()
        if message["user_id"] == user_id
    ]


def reactivate_user(state: State, params: Json, body: Json) -> Json:
    user = existing_user(state, params["user_id"])
    if "deactivated_at" not in user:
        raise bad_input(f"the user {user['id']} is not deactivated")
    draft = {key: value for key, value in user.items() if key != "deactivated_at"}
    if body.get("name"):
        draft["name"] = body["name"]
    draft = checked(draft, f"users[{user['id']}]", timestamps.now())
    store(state, {user["id"]: draft})
    restore_messages(state, draft, body)
    user_event(state, "user.reactivated", draft, **created_by(state, body))
    return {"user": full_shape(state, draft)}


def deactivate_users(state: State, params: Json, body: Json) -> Json:
    if body.get("mark_channels_deleted"):
        raise bad_input("mark_channels_deleted is not known to the local Stream server")
    users = [existing_user(state, user_id) for user_id in user_ids(body)]
    for user in users:
        deactivate(state, user, body)
    return new_task(state, {"users": deepcopy(users)})


def reactivate_users(state: State, params: Json, body: Json) -> Json:
    if body.get("restore_channels"):
        raise bad_input("restore_channels is not known to the local Stream server")
    users = [existing_user(state, user_id) for user_id in user_ids(body)]
    for user in users:
        user.pop("deactivated_at", None)
        restore_messages(state, user, body)
        user_event(state, "user.reactivated", user, **created_by(state, body))
    return new_task(state, {"users": deepcopy(users)})


def created_by(state: State, body: Json) -> Json:
    """Who acted, as events tell, if the call says it."""
    actor = state.users.get(str(body.get("created_by_id")))
    return {"created_by": actor} if actor else {}
