"""Changing a channel, wholly or in part."""

from __future__ import annotations

from dataclasses import dataclass

from . import timestamps
from .blocking import without_blockers
from .channel_config import checked_overrides
from .channel_data import (
    NOT_IN_PARTIAL_UPDATES,
    STORED,
    checked_data,
    checked_list,
    custom_data,
    strings_in,
    typed,
)
from .channel_shapes import (
    OWN_FIELDS,
    channel_answer,
    channel_shape,
    custom_fields,
    member_shape,
    member_shapes,
)
from .errors import bad_input, not_allowed
from .events import channel_event
from .hiding import asked_history
from .invites import answer_invite, asked_answer, invitations
from .membership import (
    add_members,
    announce_members,
    existing_channel,
    memberships,
    refuse_team_mismatch,
    refuse_unusable_users,
    remove_member,
)
from .messages import add_message
from .payloads import patched, refuse_big_custom_data
from .permissions import refuse_unless_manager, refuse_unless_participant
from .state import Json, State

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


def update_channel(state: State, params: Json, body: Json) -> Json:
    """What `data` doesn't name stays only if it is Stream's own: custom data is replaced.

    A moderator is made a member; another role for who is no member is refused: both assumed.
    """
    record = existing_channel(state, params)
    lists = {name: checked_list(body, name) for name in MEMBER_LISTS}
    history_end = asked_history(record, body)
    members = memberships(lists["add_members"], "add_members")
    roles = changed_roles(lists)
    known = record["members"].keys() | members.keys()
    new_moderators = [one for one in lists["add_moderators"] if one not in known]
    members |= memberships(new_moderators, "add_moderators")
    members |= invitations(lists["invites"], "invites")
    members = without_blockers(state, members)
    removed = strings_in(lists["remove_members"], "remove_members")
    if both := members.keys() & set(removed):
        raise bad_input(f"cannot add and remove the same members: [{' '.join(sorted(both))}]")
    if not_members := roles.keys() - record["members"].keys() - members.keys():
        raise bad_input(f"only members have roles: [{' '.join(sorted(not_members))}]")
    invite_answer = asked_answer(state, record, body)
    refuse_update(state, record, body, removed, invite_answer)
    new_fields = changed_tags(replaced_fields(state, record, body), lists)
    involved = [*members, *(user_id for user_id in roles if user_id not in members)]
    refuse_unusable_users(state, involved, "channel update")
    refuse_team_mismatch(state, new_fields.get("team"), list(members))
    refuse_outsiders(record, members)
    changes = Changes(members, removed, roles, invite_answer, history_end)
    return applied_update(state, record, body, new_fields, changes)


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


def refuse_update(
    state: State, record: Json, body: Json, removed: list[str], invite_answer: object
) -> None:
    """Members may leave and answer an invite; all else is for who manages the channel."""
    changed = {key for key in (*MEMBER_LISTS, "data") if body.get(key)}
    if changed == {"remove_members"} and removed == [state.caller.user_id]:
        refuse_unless_participant(state, record, "RemoveOwnChannelMembership")
    elif invite_answer and not changed:
        refuse_unless_participant(state, record, "ReadChannel")
    elif changed and "data" not in changed:
        refuse_unless_manager(state, record, "UpdateChannelMembers")
    else:
        refuse_unless_manager(state, record, "UpdateChannel")


def replaced_fields(state: State, record: Json, body: Json) -> Json:
    old = record["channel"]
    cooldown = body.get("cooldown")
    refuse_bad_cooldown(cooldown)
    fields = old if cooldown is None else {**old, "cooldown": cooldown}
    if body.get("data") is None:
        return fields
    data = checked_data(body["data"])
    if data.get("members") or data.get("invites"):
        raise bad_input("data.members cannot be updated, use add_members or remove_members")
    refuse_moving(state, old, data.get("team", old.get("team")))
    kept = {key: value for key, value in fields.items() if key in OWN_FIELDS}
    sent = {key: value for key, value in data.items() if key in STORED}
    return {**kept, **sent, **custom_data(data)}


def refuse_bad_cooldown(cooldown: object) -> None:
    if cooldown is not None and not (type(cooldown) is int and 0 <= cooldown <= MAX_COOLDOWN):
        raise bad_input(f"cooldown must be a number from 0 to {MAX_COOLDOWN}")


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


@dataclass(frozen=True)
class Changes:
    """Who comes, who goes, and who is what in a channel."""

    members: dict[str, Json]
    removed: list[str]
    roles: dict[str, str]
    invite_answer: tuple[str, str] | None
    history_end: str | None
    """Up to when new members see no messages."""


def applied_update(state: State, record: Json, body: Json, fields: Json, changes: Changes) -> Json:
    answer = {}
    if body.get("message"):
        # First, because it can still be refused.
        answer["message"] = add_message(state, record, actors_message(body), kind="system")
    if overrides := (body.get("data") or {}).get("config_overrides"):
        record["config_overrides"] = overrides
    if (
        fields != record["channel"]
        or body.get("data") is not None
        or answer
        or changes.invite_answer
    ):
        last = {key: v for key, v in record["channel"].items() if key == "last_message_at"}
        record["channel"] = {**fields, **last, "updated_at": timestamps.now()}
        announce_update(state, record, answer.get("message"))
    added = add_members(state, record, changes.members)
    if changes.history_end:
        record["cleared"] |= dict.fromkeys(added, changes.history_end)
    announce_members(state, record, added)
    for user_id in changes.removed:
        remove_member(state, record, user_id)
    change_roles(state, record, changes.roles)
    if changes.invite_answer:
        answer_invite(state, record, *changes.invite_answer)
    shapes = member_shapes(state, record)
    return {**answer, "channel": channel_answer(state, record), "members": shapes}


def change_roles(state: State, record: Json, roles: dict[str, str]) -> None:
    for user_id, role in roles.items():
        membership = record["members"].get(user_id)
        if membership is None or membership["channel_role"] == role:
            continue
        membership |= {"channel_role": role, "updated_at": timestamps.now()}
        member = member_shape(state, record, user_id)
        fields: Json = {"member": member, "user": member["user"]}
        channel_event(state, "member.updated", record, **fields)


def actors_message(body: Json) -> Json:
    """The message of an update, said by whoever makes the update unless it names another."""
    if not isinstance(body["message"], dict):
        raise bad_input("message must be an object")
    user = body.get("user")
    actor = body.get("user_id") or (user.get("id") if isinstance(user, dict) else None)
    return {**({"user_id": actor} if actor else {}), **body["message"]}


def announce_update(state: State, record: Json, message: Json | None = None) -> None:
    actor = state.users.get(state.caller.user_id or "")
    fields: Json = {"channel": channel_shape(state, record)}
    if message:
        fields |= {"message": message, "message_id": message["id"]}
    if actor:
        fields["user"] = actor
    channel_event(state, "channel.updated", record, **fields)


def update_channel_partial(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_manager(state, record, "UpdateChannel")
    old = record["channel"]
    overrides = record["config_overrides"]
    fields = patched({**old, "config_overrides": overrides}, body, "data")
    for path in (*(body.get("set") or {}), *(body.get("unset") or [])):
        if path.split(".")[0] in NOT_IN_PARTIAL_UPDATES:
            raise not_allowed(f"field `{path}` is reserved and cannot updated")
    fields = typed(fields)
    refuse_bad_cooldown(fields.get("cooldown"))
    overrides = checked_overrides(fields.pop("config_overrides", {}))
    refuse_moving(state, old, fields.get("team"))
    refuse_big_custom_data(custom_fields({"channel": fields}), "channel")
    flags = {"frozen": False, "disabled": False}
    record["config_overrides"] = overrides
    record["channel"] = {**flags, **fields, "updated_at": timestamps.now()}
    announce_update(state, record)
    shapes = member_shapes(state, record)
    return {"channel": channel_answer(state, record), "members": shapes}
