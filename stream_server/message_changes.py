"""Editing, pinning and deleting a message, and bringing it back."""

from __future__ import annotations

from . import timestamps
from .errors import bad_input
from .events import channel_event
from .membership import refuse_unusable_users
from .message_checks import acting_user, existing_message
from .message_content import checked_fields, written
from .message_shapes import message_shape
from .payloads import patched
from .permissions import refuse_unless_author, refuse_unless_participant
from .pins import changed_pin
from .restrictions import refuse_banned
from .state import Json, State
from .user_shapes import short_shape

PIN_FIELDS = ("pinned", "pinned_at", "pin_expires")


def update_message(state: State, params: Json, body: Json) -> Json:
    """Replaces what is written: what the call leaves out is gone."""
    record, message = existing_message(state, params["message_id"])
    fields = checked_fields(body.get("message"))
    user_id = acting_user(state, fields)
    refuse_unusable_users(state, [user_id], "message update")
    refuse_change(state, record, message, "UpdateMessage")
    content = written(state, record, fields, message["written"])
    return change(state, record, message, content, changed_pin(message["pin"], fields, user_id))


def update_message_partial(state: State, params: Json, body: Json) -> Json:
    """Sets and unsets by dotted paths. Who only pins needn't be the author."""
    record, message = existing_message(state, params["message_id"])
    user_id = acting_user(state, body)
    refuse_unusable_users(state, [user_id], "message update")
    patch = patched(message["written"], body, "message")
    fields = checked_fields(patch)
    changed = {*(body.get("set") or {}), *(body.get("unset") or [])}
    pin = changed_pin(message["pin"], fields, user_id)
    if changed <= set(PIN_FIELDS):
        refuse_unless_participant(state, record, "PinMessage")
        refuse_banned(state, record)
        refuse_deleted(message)
        return change(state, record, message, message["written"], pin)
    refuse_change(state, record, message, "UpdateMessage")
    content = written(state, record, fields, message["written"])
    return change(state, record, message, content, pin)


def refuse_change(state: State, record: Json, message: Json, action: str) -> None:
    refuse_unless_participant(state, record, action)
    refuse_unless_author(state, record, message, action)
    refuse_banned(state, record)
    refuse_deleted(message)


def refuse_deleted(message: Json) -> None:
    if "deleted_at" in message:
        raise bad_input("a deleted message cannot be changed")


def change(state: State, record: Json, message: Json, content: Json, pin: Json | None) -> Json:
    now = timestamps.now()
    if content["text"] != message["written"]["text"]:
        message["message_text_updated_at"] = now
    message |= {"written": content, "pin": pin, "updated_at": now}
    announce_change(state, record, message, "message.updated")
    return {"message": message_shape(state, message, state.caller.user_id)}


def announce_change(
    state: State, record: Json, message: Json, event_type: str, **fields: object
) -> None:
    shape = message_shape(state, message)
    told = {"message": shape, "message_id": shape["id"], "user": shape["user"]}

    def personal(user_id: str) -> Json:
        # Who is banned without knowing it must not see it in the event either.
        return {"message": {**shape, "shadowed": False}} if user_id == message["user_id"] else {}

    channel_event(state, event_type, record, personal=personal, **{**told, **fields})


def delete_message(state: State, params: Json, body: Json) -> Json:
    """What was written stays in a message that is deleted softly, as Stream's events show it."""
    record, message = existing_message(state, params["message_id"])
    refuse_change(state, record, message, "DeleteMessage")
    if params.get("delete_for_me") == "true" or body.get("delete_for_me"):
        raise bad_input("delete_for_me is not known to the local Stream server")
    if deleted_by := params.get("deleted_by"):
        refuse_unusable_users(state, [deleted_by], "message delete")
    is_hard = params.get("hard") == "true"
    message |= {"deleted_at": timestamps.now(), "pin": None}
    shape = message_shape(state, message, state.caller.user_id)
    parent = record["messages"].get(message.get("parent_id"))
    actor = state.caller.user_id or deleted_by or message["user_id"]
    user = short_shape(state, actor)
    announce_change(state, record, message, "message.deleted", hard_delete=is_hard, user=user)
    if is_hard:
        remove_message(state, record, message)
    if parent:
        announce_change(state, record, parent, "message.updated")
    return {"message": shape}


def remove_message(state: State, record: Json, message: Json) -> None:
    """With its thread, if it is a parent."""
    for reply_id in list(message["reply_ids"]):
        remove_message(state, record, record["messages"][reply_id])
    parent = record["messages"].get(message.get("parent_id"))
    if parent:
        parent["reply_ids"].remove(message["id"])
    record["thread_reads"].pop(message["id"], None)
    del record["messages"][message["id"]]
    del state.message_cids[message["id"]]


def undelete_message(state: State, params: Json, body: Json) -> Json:
    """Only what was deleted softly is still there."""
    record, message = existing_message(state, params["message_id"])
    if not isinstance(body.get("undeleted_by"), str):
        raise bad_input("undeleted_by is a required field")
    refuse_unusable_users(state, [body["undeleted_by"]], "message undelete")
    if "deleted_at" not in message:
        raise bad_input(f"Message with id {message['id']} is not deleted")
    del message["deleted_at"]
    message["updated_at"] = timestamps.now()
    announce_change(state, record, message, "message.undeleted")
    parent = record["messages"].get(message.get("parent_id"))
    if parent:
        announce_change(state, record, parent, "message.updated")
    return {"message": message_shape(state, message)}
