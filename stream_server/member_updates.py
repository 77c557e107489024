"""Changing one membership: pinning and archiving a channel for oneself, and custom fields."""

from __future__ import annotations

from . import timestamps
from .channel_shapes import member_shape
from .errors import bad_input
from .events import channel_event
from .membership import existing_channel
from .payloads import (
    patched,
    refuse_big_custom_data,
    refuse_reserved,
    refuse_wrong_types,
    set_and_unset,
)
from .permissions import refuse_unless_manager, refuse_unless_participant
from .state import Json, State

# When it was set, by what a call says of it.
FLAGS = {"pinned": "pinned_at", "archived": "archived_at"}
INPUT_TYPES = {"channel_role": str, **dict.fromkeys(FLAGS, bool)}
# Assumed: the fields of answers.
RESERVED = {
    *FLAGS.values(),
    "ban_expires",
    "banned",
    "created_at",
    "deleted_at",
    "deleted_messages",
    "invite_accepted_at",
    "invite_rejected_at",
    "invited",
    "is_moderator",
    "notifications_muted",
    "role",
    "shadow_banned",
    "status",
    "updated_at",
    "user",
    "user_id",
}


def update_member_partial(state: State, params: Json, body: Json) -> Json:
    """Of oneself, or of somebody else for who manages the channel, who alone gives roles."""
    record = existing_channel(state, params)
    user_id = params.get("user_id") or state.caller.user_id
    if not user_id:
        raise bad_input("user_id is a required field")
    to_set, to_unset = set_and_unset(body, "member")
    named = {**to_set, **dict.fromkeys(to_unset)}
    if user_id == state.caller.user_id and "channel_role" not in named:
        refuse_unless_participant(state, record, "UpdateOwnChannelMember")
    else:
        refuse_unless_manager(state, record, "UpdateChannelMembers")
    if user_id not in record["members"]:
        raise bad_input(f"user {user_id} is not a member of the channel")
    record["members"][user_id] = changed_membership(record["members"][user_id], body, named)
    member = member_shape(state, record, user_id)
    channel_event(state, "member.updated", record, [user_id], member=member, user=member["user"])
    return {"channel_member": member}


def changed_membership(old: Json, body: Json, named: Json) -> Json:
    now = timestamps.now()
    flags = {flag: time in old for flag, time in FLAGS.items()}
    draft = patched({**old, **flags}, body, "member")
    refuse_reserved(named, RESERVED, "member")
    for flag, time in FLAGS.items():
        if draft.get(flag) is None:
            draft[flag] = False
        refuse_wrong_types(draft, INPUT_TYPES, "member")
        if not draft.pop(flag):
            draft.pop(time, None)
        else:
            draft.setdefault(time, now)
    draft.setdefault("channel_role", "channel_member")
    custom = {key: value for key, value in draft.items() if key not in (*RESERVED, *INPUT_TYPES)}
    refuse_big_custom_data(custom, "member")
    return {**draft, "updated_at": now}
