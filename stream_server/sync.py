"""Sync: the events of channels that a client missed while it had no connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from . import timestamps
from .channel_data import strings_in
from .errors import bad_input
from .event_log import is_complete, missed
from .events import new_event
from .membership import refuse_unusable_users
from .message_checks import acting_user
from .payloads import given_fields, refuse_wrong_types
from .permissions import is_participant
from .reader import is_blocked, sees
from .state import Json, State
from .user_shapes import short_shape
from .watching import refuse_servers_watching, subscribe

MAX_DAYS = 30
MAX_CHANNELS = 255
MAX_MISSED = 1_000
INPUT_TYPES: dict[str, type] = {
    "channel_cids": list,
    "last_sync_at": str,
    "with_inaccessible_cids": bool,
    "watch": bool,
}


def sync(state: State, params: Json, body: Json) -> Json:
    """All events of the channels, the oldest first.

    A channel that the user can't read, or that is gone, has the one event of their removal.
    """
    given = given_fields(body)
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], "sync")
    refuse_wrong_types(given, INPUT_TYPES, "sync")
    cids = strings_in(given.get("channel_cids", []), "channel_cids")
    if not cids or len(cids) > MAX_CHANNELS:
        raise bad_input(f"channel_cids must contain 1 to {MAX_CHANNELS} items")
    since = start_of_sync(given)
    refuse_servers_watching(state, given)
    user = state.users[user_id]
    records = [
        state.channels[cid]
        for cid in cids
        if cid in state.channels and is_participant(state, user, state.channels[cid])
    ]
    readable = {record["channel"]["cid"] for record in records}
    closed = [cid for cid in cids if cid not in readable]
    heard = {
        record["channel"]["cid"] for record in records if not is_blocked(state, record, user_id)
    }
    events = [
        event
        for event in missed(state, heard, user_id, since)
        if "message" not in event or sees(state.channels[event["cid"]], event["message"], user_id)
    ]
    if len(events) > MAX_MISSED or not is_complete(state, since):
        raise bad_input("Too many events to sync, please use a more recent last_sync_at parameter")
    subscribe(state, given, records)
    if given.get("with_inaccessible_cids"):
        return {"events": events, "inaccessible_cids": closed}
    return {"events": [*events, *(removal(state, cid, user_id) for cid in closed)]}


def start_of_sync(given: Json) -> str:
    since = timestamps.parse(given.get("last_sync_at"), "last_sync_at")
    if since < timestamps.text(datetime.now(UTC) - timedelta(days=MAX_DAYS)):
        raise bad_input(
            "Too old last_sync_at time, please have last_sync_at argument no later than 30 days ago"
        )
    return since


def removal(state: State, cid: str, user_id: str) -> Json:
    channel_type, _, channel_id = cid.partition(":")
    return {
        **new_event("notification.removed_from_channel"),
        "cid": cid,
        "channel_type": channel_type,
        "channel_id": channel_id,
        "user": short_shape(state, user_id),
    }
