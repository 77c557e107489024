"""The operations on channels: for now, get-or-create by id.

A channel is kept as {"channel": its own and custom fields, "created_by_id", "members": user id ->
membership}; users are joined in when it is answered.
"""

from __future__ import annotations

import re

from . import timestamps
from .errors import bad_input, not_allowed, not_found
from .payloads import (
    MAX_ITEMS,
    refuse_big_custom_data,
    refuse_reserved,
    refuse_wrong_types,
)
from .state import Json, State
from .users import is_deleted, new_user, refuse_bad_id, refuse_deactivated, refuse_deleted

CHANNEL_TYPES = ("messaging", "livestream", "team", "gaming", "commerce")
VALID_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Only `cooldown` is known to be refused; that the other fields of answers are too is assumed.
RESERVED = {
    "cid",
    "config",
    "cooldown",
    "created_at",
    "deleted_at",
    "hidden",
    "id",
    "last_message_at",
    "member_count",
    "own_capabilities",
    "truncated_at",
    "type",
    "updated_at",
}
INPUT_TYPES = {
    "created_by": dict,
    "created_by_id": str,
    "members": list,
    "team": str,
    "frozen": bool,
    "disabled": bool,
    "filter_tags": list,
    "config_overrides": dict,
    "auto_translation_enabled": bool,
    "auto_translation_language": str,
    "truncated_by_id": str,
}
STORED = {"team", "frozen", "disabled", "filter_tags"}


def get_or_create_channel(state: State, params: Json, body: Json) -> Json:
    channel_type, channel_id = params["type"], params["id"]
    if channel_type not in CHANNEL_TYPES:
        raise not_found(f"{channel_type} is not a defined channel type")
    if not VALID_ID.fullmatch(channel_id):
        raise bad_input(f'channel id "{channel_id}" must be 1 to 64 characters of a-z A-Z 0-9 _ -')
    for option in ("watch", "presence"):
        if body.get(option):
            raise bad_input(f"{option} is not allowed with server side auth")
    data = checked_data(body.get("data") or {})
    members = memberships(data.get("members", []))
    channel = state.channels.get(f"{channel_type}:{channel_id}")
    if channel is None:
        channel = create(state, channel_type, channel_id, data, members)
    elif state.switches["existing_channel_adds_members"]:
        refuse_unusable_users(state, list(members))
        channel["members"] = {**members, **channel["members"]}
    return answer(state, channel)


def checked_data(data: object) -> Json:
    if not isinstance(data, dict):
        raise bad_input("data must be an object")
    refuse_reserved(data, RESERVED, "data")
    if data.get("invites"):
        raise bad_input("data.invites is not known to the local Stream server")
    data = {key: v for key, v in data.items() if v is not None or key not in INPUT_TYPES}
    refuse_wrong_types(data, INPUT_TYPES, "data")
    if len(data.get("members", [])) > MAX_ITEMS:
        raise bad_input(f"data.members must contain at most {MAX_ITEMS} items")
    refuse_big_custom_data(custom_fields(data), "channel")
    return data


def custom_fields(data: Json) -> Json:
    return {key: value for key, value in data.items() if key not in {*INPUT_TYPES, "invites"}}


def memberships(members: list[object]) -> dict[str, Json]:
    now = timestamps.now()
    found = {}
    for member in members:
        given = {"user_id": member} if isinstance(member, str) else member
        if not isinstance(given, dict) or not isinstance(given.get("user_id"), str):
            raise bad_input("data.members must be user ids or objects with a user_id")
        custom = {key: value for key, value in given.items() if key != "user"}
        found[given["user_id"]] = {
            "channel_role": "channel_member",
            **custom,
            "created_at": now,
            "updated_at": now,
            "banned": False,
            "shadow_banned": False,
            "notifications_muted": False,
            "status": "member",
        }
    return found


def create(
    state: State, channel_type: str, channel_id: str, data: Json, members: dict[str, Json]
) -> Json:
    now = timestamps.now()
    creator_id = creator(data)
    involved = dict.fromkeys([*members, creator_id])
    new_users = {}
    if state.switches["unknown_creator"] == "created" and creator_id not in state.users:
        refuse_deleted(state, creator_id)
        refuse_bad_id(creator_id)
        new_users[creator_id] = new_user(creator_id, now)
    refuse_unusable_users(state, [user_id for user_id in involved if user_id not in new_users])
    refuse_team_mismatch(state, data.get("team"), list(members))
    state.users |= new_users
    cid = f"{channel_type}:{channel_id}"
    state.channels[cid] = {
        "channel": {
            "id": channel_id,
            "type": channel_type,
            "cid": cid,
            "created_at": now,
            "updated_at": now,
            "frozen": False,
            "disabled": False,
            **{key: value for key, value in data.items() if key in STORED},
            **custom_fields(data),
        },
        "created_by_id": creator_id,
        "members": members,
    }
    return state.channels[cid]


def creator(data: Json) -> str:
    if "created_by" in data and "created_by_id" in data:
        raise bad_input("cannot set both data.created_by and data.created_by_id.")
    creator_id = data.get("created_by_id") or data.get("created_by", {}).get("id")
    if not isinstance(creator_id, str) or not creator_id:
        raise bad_input(
            "either data.created_by or data.created_by_id must be provided when using server "
            "side auth."
        )
    return creator_id


def refuse_unusable_users(state: State, user_ids: list[str]) -> None:
    reported_deleted = state.switches["deleted_member"] == "deleted"
    missing = []
    for user_id in user_ids:
        if reported_deleted:
            refuse_deleted(state, user_id)
        if user_id not in state.users or is_deleted(state, user_id):
            missing.append(user_id)
    if missing:
        raise bad_input(
            "The following users are involved in channel create operation, but don't exist: "
            f"[{' '.join(missing)}]. Please create the user objects before setting up the channel."
        )
    for user_id in user_ids:
        refuse_deactivated(state, user_id)


def refuse_team_mismatch(state: State, team: str | None, user_ids: list[str]) -> None:
    if not team or state.switches["team_mismatch"] == "accepted":
        return
    for user_id in user_ids:
        if team not in state.users.get(user_id, {}).get("teams", []):
            raise not_allowed(f'user {user_id} does not belong to team "{team}"')


def answer(state: State, channel: Json) -> Json:
    creator_id, members = channel["created_by_id"], channel["members"]
    return {
        "channel": {
            **channel["channel"],
            "created_by": state.users.get(creator_id),
            "member_count": len(members),
            "config": config(channel["channel"]["type"]),
        },
        "members": [
            {
                **membership,
                "user": state.users[user_id],
                "role": "owner" if user_id == creator_id else "member",
            }
            for user_id, membership in list(members.items())[:MAX_ITEMS]
        ],
        "messages": [],
        "pinned_messages": [],
        "threads": [],
        "read": [],
        "watcher_count": 0,
    }


def config(channel_type: str) -> Json:
    enabled = (
        "typing_events",
        "read_events",
        "connect_events",
        "delivery_events",
        "custom_events",
        "search",
        "reactions",
        "replies",
        "quotes",
        "mutes",
        "uploads",
        "url_enrichment",
        "push_notifications",
    )
    disabled = (
        "reminders",
        "user_message_reminders",
        "polls",
        "shared_locations",
        "count_messages",
        "mark_messages_pending",
        "skip_last_msg_update_for_system_msgs",
    )
    return {
        "name": channel_type,
        "created_at": "2020-01-01T00:00:00.000000Z",
        "updated_at": "2020-01-01T00:00:00.000000Z",
        **dict.fromkeys(enabled, True),
        **dict.fromkeys(disabled, False),
        "message_retention": "infinite",
        "max_message_length": 5000,
        "automod": "disabled",
        "automod_behavior": "flag",
        "commands": [],
    }
