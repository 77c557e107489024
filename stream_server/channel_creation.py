"""Get or create a channel."""

from __future__ import annotations

import base64
import hashlib
import re

from . import timestamps
from .blocking import without_blockers
from .channel_config import CHANNEL_TYPES
from .channel_data import STORED, checked_data, custom_data
from .channel_shapes import (
    channel_shape,
    channel_state,
    member_shapes,
)
from .errors import bad_input, not_allowed, not_found
from .events import channel_event
from .filters import whole_number
from .invites import invitations
from .membership import (
    add_members,
    announce_members,
    invite,
    memberships,
    refuse_team_mismatch,
    refuse_unusable_users,
)
from .paging import asked_page
from .payloads import MAX_ITEMS, given_fields, refuse_wrong_types
from .permissions import (
    client,
    refusal,
    refuse_creation_outside_teams,
    refuse_unless_participant,
)
from .state import Json, State
from .user_checks import refuse_bad_id, refuse_deleted
from .user_shapes import new_user
from .watching import refuse_servers_watching, subscribe

VALID_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def get_or_create_channel(state: State, params: Json, body: Json) -> Json:
    """By id, or without one by the set of members."""
    channel_type = params["type"]
    if channel_type not in CHANNEL_TYPES:
        raise not_found(f"{channel_type} is not a defined channel type")
    refuse_servers_watching(state, body)
    refuse_wrong_types(given_fields(body), {"hide_for_creator": bool}, "channel")
    data = checked_data(body.get("data") or {})
    members = memberships(data.get("members", []), "data.members")
    members |= invitations(data.get("invites", []), "data.invites")
    channel_id = params["id"] if "id" in params else distinct_id(state, members)
    record = state.channels.get(f"{channel_type}:{channel_id}")
    shown = parts_shown(body, record["messages"] if record else {})
    if record is None:
        if "id" in params and not VALID_ID.fullmatch(channel_id):
            raise bad_input(
                f'channel id "{channel_id}" must be 1 to 64 characters of a-z A-Z 0-9 _ -'
            )
        record = create(state, channel_type, channel_id, data, members)
        if body.get("hide_for_creator") and record["created_by_id"] in record["members"]:
            record["hidden"][record["created_by_id"]] = timestamps.now()
    else:
        refuse_unless_participant(state, record, "ReadChannel")
        if state.switches["existing_channel_adds_members"]:
            refuse_unusable_users(state, list(members), "channel create")
            announce_members(state, record, add_members(state, record, members))
    subscribe(state, body, [record])
    return channel_state(state, record, **shown)


def parts_shown(body: Json, messages: dict[str, Json]) -> Json:
    """Which messages, members and watchers the answer shows; of them, members alone unasked."""
    options = {}
    for part in ("messages", "members", "watchers"):
        given = body.get(part) or {}
        if not isinstance(given, dict):
            raise bad_input(f"{part} must be an object")
        options[part] = given
    page = asked_page(options["messages"], messages)
    watchers = whole_number(options["watchers"], "limit", MAX_ITEMS)
    return {
        "messages": page if body.get("state") else None,
        "members": whole_number(options["members"], "limit", MAX_ITEMS) or MAX_ITEMS,
        "members_offset": whole_number(options["members"], "offset", 1000),
        "watchers": watchers if body.get("state") else 0,
        "watchers_offset": whole_number(options["watchers"], "offset", 1000),
    }


def distinct_id(state: State, members: dict[str, Json]) -> str:
    """The same for the same members, in whatever order. How Stream makes the hash is unknown."""
    if len(members) < 2:
        raise bad_input("When using member based IDs specify at least 2 members")
    # Seen for clients only.
    if state.caller.user_id and state.caller.user_id not in members:
        detail = "When creating distinct channel, the creator should be present as a member"
        raise not_allowed(detail)
    digest = hashlib.sha256("\n".join(sorted(members)).encode()).digest()
    return "!members-" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def create(
    state: State, channel_type: str, channel_id: str, data: Json, members: dict[str, Json]
) -> Json:
    now = timestamps.now()
    creator_id = creator(state, data)
    involved = dict.fromkeys([*members, creator_id])
    new_users = {}
    if state.switches["unknown_creator"] == "created" and creator_id not in state.users:
        refuse_deleted(state, creator_id)
        refuse_bad_id(creator_id)
        new_users[creator_id] = new_user(creator_id, now)
    usable = [user_id for user_id in involved if user_id not in new_users]
    refuse_unusable_users(state, usable, "channel create")
    refuse_creation_outside_teams(state, data.get("team"))
    refuse_team_mismatch(state, data.get("team"), list(members))
    record = new_record(channel_type, channel_id, creator_id, data, now)
    record["distinct"] = list(members) if channel_id.startswith("!") else None
    cid = record["channel"]["cid"]
    if cid in state.deleted_cids and (user := client(state)):
        raise refusal(state, user, record, "RecreateChannel")
    state.users |= new_users
    state.channels[cid] = record
    add_members(state, record, without_blockers(state, members))
    state.deleted_cids.discard(cid)
    announce_channel(state, record)
    return record


def new_record(channel_type: str, channel_id: str, creator_id: str, data: Json, now: str) -> Json:
    """As channel_shapes.py describes it, without anybody in it yet."""
    return {
        "channel": {
            "id": channel_id,
            "type": channel_type,
            "cid": f"{channel_type}:{channel_id}",
            "created_at": now,
            "updated_at": now,
            "frozen": False,
            "disabled": False,
            **{key: value for key, value in data.items() if key in STORED},
            **custom_data(data),
        },
        "created_by_id": creator_id,
        "distinct": None,
        "members": {},
        "messages": {},
        "reads": {},
        "thread_reads": {},
        "hidden": {},
        "cleared": {},
        "config_overrides": data.get("config_overrides", {}),
    }


def creator(state: State, data: Json) -> str:
    if "created_by" in data and "created_by_id" in data:
        raise bad_input("cannot set both data.created_by and data.created_by_id.")
    creator_id = data.get("created_by_id") or data.get("created_by", {}).get("id")
    if state.caller.user_id:
        if creator_id not in (None, state.caller.user_id):
            raise not_allowed("data.created_by can only be set server side")
        return state.caller.user_id
    if not isinstance(creator_id, str) or not creator_id:
        raise bad_input(
            "either data.created_by or data.created_by_id must be provided when using server "
            "side auth."
        )
    return creator_id


def announce_channel(state: State, record: Json) -> None:
    channel = {**channel_shape(state, record), "members": member_shapes(state, record)}
    user = state.users[record["created_by_id"]]
    channel_event(state, "channel.created", record, channel=channel, user=user)
    for user_id in record["members"]:
        invite(state, record, user_id)
