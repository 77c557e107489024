"""Finding a channel, who can be in it, and who comes and goes."""

from __future__ import annotations

from . import timestamps
from .channel_shapes import channel_shape, member_shape
from .errors import bad_input, not_allowed, not_found
from .events import channel_event, notification
from .state import Json, State
from .user_checks import is_deleted, refuse_deactivated, refuse_deleted


def existing_channel(state: State, params: Json) -> Json:
    cid = f"{params['type']}:{params['id']}"
    if cid not in state.channels:
        raise not_found(f"Can't find channel with id {cid}")
    return state.channels[cid]


def memberships(members: list[object], label: str) -> dict[str, Json]:
    now = timestamps.now()
    found = {}
    for member in members:
        given = {"user_id": member} if isinstance(member, str) else member
        if not isinstance(given, dict) or not isinstance(given.get("user_id"), str):
            raise bad_input(f"{label} must be user ids or objects with a user_id")
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


def add_members(state: State, record: Json, members: dict[str, Json]) -> list[str]:
    """Whom this is new to; a membership that exists stays as it is."""
    added = [user_id for user_id in members if user_id not in record["members"]]
    for user_id in added:
        state.join(record, user_id, members[user_id])
        record["reads"][user_id] = {"last_read": members[user_id]["created_at"]}
    return added


def refuse_unusable_users(state: State, user_ids: list[str], operation: str) -> None:
    """Deleted ones first, then all unknown ones by name, then deactivated ones."""
    reported_deleted = state.switches["deleted_member"] == "deleted"
    missing = []
    for user_id in user_ids:
        if reported_deleted:
            refuse_deleted(state, user_id)
        is_known = user_id in state.users and state.is_known_to_channels(user_id)
        if not is_known or is_deleted(state, user_id):
            missing.append(user_id)
    if missing:
        raise bad_input(
            f"The following users are involved in {operation} operation, but don't exist: "
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
        is_pending = member["status"] == "pending"
        fields: Json = {"channel": channel_shape(state, record), "member": member}
        if is_pending:
            fields["user"] = member["user"]
        event_type = "notification.invited" if is_pending else "notification.added_to_channel"
        notification(state, event_type, record, [user_id], **fields)


def remove_member(state: State, record: Json, user_id: str) -> None:
    """Who is no member need not be removed."""
    if user_id not in record["members"]:
        return
    member = member_shape(state, record, user_id)
    state.leave(record, user_id)
    record["reads"].pop(user_id, None)
    fields = {"channel": channel_shape(state, record), "member": member, "user": member["user"]}
    channel_event(state, "member.removed", record, **fields)
    for connection in state.connections.of_users([user_id]):
        connection.watched.discard(record["channel"]["cid"])
        connection.presence_cids.discard(record["channel"]["cid"])
    notification(state, "notification.removed_from_channel", record, [user_id], **fields)
