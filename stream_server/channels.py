"""The operations on channels, but for queries: get or create, update, delete."""

from __future__ import annotations

import base64
import hashlib
import re

from . import timestamps
from .channel_removal import remove_channel
from .channel_shapes import (
    DEFAULT_MESSAGES,
    MAX_MESSAGES,
    OWN_FIELDS,
    channel_shape,
    channel_state,
    custom_fields,
    member_shape,
    member_shapes,
)
from .errors import bad_input, not_allowed, not_found
from .events import channel_event, notification
from .filters import whole_number
from .membership import (
    add_members,
    existing_channel,
    memberships,
    refuse_team_mismatch,
    refuse_unusable_users,
)
from .messages import add_message
from .payloads import (
    MAX_ITEMS,
    patched,
    refuse_big_custom_data,
    refuse_reserved,
    refuse_unless_one_to_hundred,
    refuse_wrong_types,
)
from .permissions import (
    client,
    refusal,
    refuse_creation_outside_teams,
    refuse_unless_manager,
    refuse_unless_participant,
)
from .state import Json, State
from .users import new_task, new_user, refuse_bad_id, refuse_deleted
from .watching import refuse_servers_watching, watch

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
# Known for four of them, assumed for the rest.
NOT_IN_PARTIAL_UPDATES = (RESERVED - {"cooldown"}) | {"created_by", "created_by_id", "members"}
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
MEMBER_LISTS = (
    "add_members",
    "remove_members",
    "add_moderators",
    "demote_moderators",
    "assign_roles",
    "invites",
    "add_filter_tags",
    "remove_filter_tags",
)
MAX_COOLDOWN = 120


def get_or_create_channel(state: State, params: Json, body: Json) -> Json:
    """By id, or without one by the set of members."""
    channel_type = params["type"]
    if channel_type not in CHANNEL_TYPES:
        raise not_found(f"{channel_type} is not a defined channel type")
    refuse_servers_watching(state, body)
    data = checked_data(body.get("data") or {})
    members = memberships(data.get("members", []), "data.members")
    shown = parts_shown(body)
    channel_id = params["id"] if "id" in params else distinct_id(state, members)
    record = state.channels.get(f"{channel_type}:{channel_id}")
    if record is None:
        if "id" in params and not VALID_ID.fullmatch(channel_id):
            raise bad_input(
                f'channel id "{channel_id}" must be 1 to 64 characters of a-z A-Z 0-9 _ -'
            )
        record = create(state, channel_type, channel_id, data, members)
    else:
        refuse_unless_participant(state, record, "ReadChannel")
        if state.switches["existing_channel_adds_members"]:
            refuse_unusable_users(state, list(members), "channel create")
            announce_members(state, record, add_members(record, members))
    if body.get("watch"):
        watch(state, [record])
    return channel_state(state, record, **shown)


def checked_data(data: object) -> Json:
    if not isinstance(data, dict):
        raise bad_input("data must be an object")
    refuse_reserved(data, RESERVED, "data")
    if data.get("invites"):
        raise bad_input("data.invites is not known to the local Stream server")
    data = typed(data)
    if len(data.get("members", [])) > MAX_ITEMS:
        raise bad_input(f"data.members must contain at most {MAX_ITEMS} items")
    refuse_big_custom_data(custom_data(data), "channel")
    return data


def typed(data: Json) -> Json:
    """The data with null for Stream's own fields read as absent."""
    given = {key: v for key, v in data.items() if v is not None or key not in INPUT_TYPES}
    refuse_wrong_types(given, INPUT_TYPES, "data")
    strings_in(given.get("filter_tags", []), "data.filter_tags")
    return given


def custom_data(data: Json) -> Json:
    return {key: value for key, value in data.items() if key not in {*INPUT_TYPES, "invites"}}


def parts_shown(body: Json) -> Json:
    """How many messages and members the answer shows. ``state: false`` leaves out messages."""
    options = {}
    for part in ("messages", "members"):
        given = body.get(part) or {}
        if not isinstance(given, dict):
            raise bad_input(f"{part} must be an object")
        options[part] = given
    messages = whole_number(options["messages"], "limit", MAX_MESSAGES) or DEFAULT_MESSAGES
    return {
        "messages": messages if body.get("state") else 0,
        "members": whole_number(options["members"], "limit", MAX_ITEMS) or MAX_ITEMS,
        "members_offset": whole_number(options["members"], "offset", 1000),
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
    cid = f"{channel_type}:{channel_id}"
    record = {
        "channel": {
            "id": channel_id,
            "type": channel_type,
            "cid": cid,
            "created_at": now,
            "updated_at": now,
            "frozen": False,
            "disabled": False,
            **{key: value for key, value in data.items() if key in STORED},
            **custom_data(data),
        },
        "created_by_id": creator_id,
        "members": {},
        "messages": [],
        "last_reads": {},
        "distinct": list(members) if channel_id.startswith("!") else None,
    }
    if cid in state.deleted_cids and (user := client(state)):
        raise refusal(state, user, record, "RecreateChannel")
    add_members(record, members)
    state.users |= new_users
    state.channels[cid] = record
    state.deleted_cids.discard(cid)
    announce_channel(state, record)
    return record


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


def announce_members(state: State, record: Json, added: list[str]) -> None:
    for user_id in added:
        member = member_shape(state, record, user_id)
        fields = {"channel": channel_shape(state, record), "member": member, "user": member["user"]}
        channel_event(state, "member.added", record, **fields)
        invite(state, record, user_id)


def invite(state: State, record: Json, user_id: str) -> None:
    """Whoever finds a channel by their own call needs no notification of it."""
    if user_id != state.caller.user_id:
        member = member_shape(state, record, user_id)
        notification(
            state,
            "notification.added_to_channel",
            record,
            [user_id],
            channel=channel_shape(state, record),
            member=member,
        )


def update_channel(state: State, params: Json, body: Json) -> Json:
    """What `data` doesn't name stays only if it is Stream's own: custom data is replaced."""
    record = existing_channel(state, params)
    lists = {name: checked_list(body, name) for name in MEMBER_LISTS}
    if lists["invites"] or body.get("accept_invite") or body.get("reject_invite"):
        raise bad_input("invites are not known to the local Stream server")
    members = memberships(lists["add_members"], "add_members")
    removed = strings_in(lists["remove_members"], "remove_members")
    if both := members.keys() & set(removed):
        raise bad_input(f"cannot add and remove the same members: [{' '.join(sorted(both))}]")
    roles = changed_roles(lists)
    refuse_update(state, record, body, removed)
    new_fields = changed_tags(replaced_fields(state, record, body), lists)
    involved = [*members, *(user_id for user_id in roles if user_id not in members)]
    refuse_unusable_users(state, involved, "channel update")
    refuse_team_mismatch(state, new_fields.get("team"), list(members))
    refuse_outsiders(record, members)
    return applied_update(state, record, body, new_fields, members, removed, roles)


def checked_list(body: Json, name: str) -> list[object]:
    given = body.get(name) or []
    if not isinstance(given, list):
        raise bad_input(f"{name} must be an array")
    if len(given) > MAX_ITEMS:
        raise bad_input(f"{name} must contain at most {MAX_ITEMS} items")
    return given


def strings_in(given: list[object], name: str) -> list[str]:
    strings = [one for one in given if isinstance(one, str)]
    if len(strings) < len(given):
        raise bad_input(f"{name} must be an array of strings")
    return list(dict.fromkeys(strings))


def changed_roles(lists: dict[str, list[object]]) -> dict[str, str]:
    roles = dict.fromkeys(
        strings_in(lists["add_moderators"], "add_moderators"), "channel_moderator"
    )
    roles |= dict.fromkeys(
        strings_in(lists["demote_moderators"], "demote_moderators"), "channel_member"
    )
    for given in lists["assign_roles"]:
        fields = given if isinstance(given, dict) else {}
        user_id, role = fields.get("user_id"), fields.get("channel_role")
        if not isinstance(user_id, str) or not isinstance(role, str):
            raise bad_input("assign_roles must be objects with a user_id and a channel_role")
        roles[user_id] = role
    return roles


def refuse_update(state: State, record: Json, body: Json, removed: list[str]) -> None:
    """Members may leave; all else is for who manages the channel."""
    changed = {key for key in (*MEMBER_LISTS, "data") if body.get(key)}
    if changed == {"remove_members"} and removed == [state.caller.user_id]:
        refuse_unless_participant(state, record, "RemoveOwnChannelMembership")
    elif changed and "data" not in changed:
        refuse_unless_manager(state, record, "UpdateChannelMembers")
    else:
        refuse_unless_manager(state, record, "UpdateChannel")


def replaced_fields(state: State, record: Json, body: Json) -> Json:
    old = record["channel"]
    cooldown = body.get("cooldown")
    if cooldown is not None and (type(cooldown) is not int or not 0 <= cooldown <= MAX_COOLDOWN):
        raise bad_input(f"cooldown must be a number from 0 to {MAX_COOLDOWN}")
    fields = old if cooldown is None else {**old, "cooldown": cooldown}
    if body.get("data") is None:
        return fields
    data = checked_data(body["data"])
    if data.get("members"):
        raise bad_input("data.members cannot be updated, use add_members or remove_members")
    refuse_moving(state, old, data.get("team", old.get("team")))
    kept = {key: value for key, value in fields.items() if key in OWN_FIELDS}
    sent = {key: value for key, value in data.items() if key in STORED}
    return {**kept, **sent, **custom_data(data)}


def changed_tags(fields: Json, lists: dict[str, list[object]]) -> Json:
    added = strings_in(lists["add_filter_tags"], "add_filter_tags")
    dropped = strings_in(lists["remove_filter_tags"], "remove_filter_tags")
    if not added and not dropped:
        return fields
    tags = [*fields.get("filter_tags", []), *added]
    return {**fields, "filter_tags": [tag for tag in dict.fromkeys(tags) if tag not in dropped]}


def refuse_moving(state: State, old: Json, team: str | None) -> None:
    if state.caller.user_id and team != old.get("team"):
        raise not_allowed("you are not allowed to update the field `team` ")


def refuse_outsiders(record: Json, members: dict[str, Json]) -> None:
    if record["distinct"] and not members.keys() <= set(record["distinct"]):
        raise not_allowed(
            "cannot add members to the distinct channel they don't belong to, please create a new "
            "distinct channel with the desired members"
        )


def applied_update(
    state: State,
    record: Json,
    body: Json,
    fields: Json,
    members: dict[str, Json],
    removed: list[str],
    roles: dict[str, str],
) -> Json:
    answer = {}
    if body.get("message"):
        # First, because it can still be refused.
        answer["message"] = add_message(state, record, actors_message(body), kind="system")
    if fields != record["channel"] or body.get("data") is not None or answer:
        last = {key: v for key, v in record["channel"].items() if key == "last_message_at"}
        record["channel"] = {**fields, **last, "updated_at": timestamps.now()}
        announce_update(state, record, answer.get("message"))
    announce_members(state, record, add_members(record, members))
    for user_id in removed:
        remove_member(state, record, user_id)
    for user_id, role in roles.items():
        if user_id in record["members"]:
            record["members"][user_id]["channel_role"] = role
    shapes = member_shapes(state, record)
    return {**answer, "channel": channel_shape(state, record), "members": shapes}


def actors_message(body: Json) -> Json:
    """The message of an update, said by whoever makes the update unless it names another."""
    if not isinstance(body["message"], dict):
        raise bad_input("message must be an object")
    user = body.get("user")
    actor = body.get("user_id") or (user.get("id") if isinstance(user, dict) else None)
    return {**({"user_id": actor} if actor else {}), **body["message"]}


def announce_update(state: State, record: Json, message: Json | None = None) -> None:
    actor = state.users.get(state.caller.user_id or "")
    fields = {"channel": channel_shape(state, record)}
    if message:
        fields |= {"message": message, "message_id": message["id"]}
    if actor:
        fields["user"] = actor
    channel_event(state, "channel.updated", record, **fields)


def remove_member(state: State, record: Json, user_id: str) -> None:
    """Who is no member need not be removed."""
    if user_id not in record["members"]:
        return
    member = member_shape(state, record, user_id)
    del record["members"][user_id]
    record["last_reads"].pop(user_id, None)
    fields = {"channel": channel_shape(state, record), "member": member, "user": member["user"]}
    channel_event(state, "member.removed", record, **fields)
    for connection in state.connections.of_users([user_id]):
        connection.watched.discard(record["channel"]["cid"])
    notification(state, "notification.removed_from_channel", record, [user_id], **fields)


def update_channel_partial(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_manager(state, record, "UpdateChannel")
    old = record["channel"]
    fields = patched(old, body, "data")
    for path in (*(body.get("set") or {}), *(body.get("unset") or [])):
        if path.split(".")[0] in NOT_IN_PARTIAL_UPDATES:
            raise not_allowed(f"field `{path}` is reserved and cannot updated")
    fields = typed(fields)
    refuse_moving(state, old, fields.get("team"))
    refuse_big_custom_data(custom_fields({"channel": fields}), "channel")
    flags = {"frozen": False, "disabled": False}
    record["channel"] = {**flags, **fields, "updated_at": timestamps.now()}
    announce_update(state, record)
    shapes = member_shapes(state, record)
    return {"channel": channel_shape(state, record), "members": shapes}


def delete_channel(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_manager(state, record, "DeleteChannel")
    hard = params.get("hard_delete") == "true"
    if hard and state.caller.user_id:
        raise not_allowed("hard_delete can only be used server side")
    return {"channel": remove_channel(state, record, hard=hard)}


def delete_channels(state: State, params: Json, body: Json) -> Json:
    cids = body.get("cids")
    refuse_unless_one_to_hundred(cids, "cids")
    if not isinstance(cids, list) or not all(isinstance(cid, str) for cid in cids):
        raise bad_input("cids must be an array of strings")
    cids = list(dict.fromkeys(cids))
    for cid in cids:
        if cid not in state.channels:
            raise not_found(f"Can't find channel with id {cid}")
    for cid in cids:
        remove_channel(state, state.channels[cid], hard=body.get("hard_delete") is True)
    return new_task(state, {cid: {"status": "ok"} for cid in cids})
