"""What a client subscribes to: the events of channels, and the presence of users."""

from __future__ import annotations

from collections.abc import Iterable

from .connections import Connection
from .errors import UNKNOWN_CONNECTION, StreamError, bad_input
from .events import watchers_event
from .membership import existing_channel
from .permissions import refuse_unless_participant
from .state import Json, State
from .user_shapes import short_shape


def refuse_servers_watching(state: State, body: Json) -> None:
    for option in ("watch", "presence"):
        if body.get(option) and not state.caller.user_id:
            raise bad_input(f"{option} is not allowed with server side auth")


def subscribe(state: State, body: Json, records: list[Json]) -> None:
    """To the channels' events with ``watch``, to their members' presence with ``presence``."""
    if not body.get("watch") and not body.get("presence"):
        return
    connection = callers_connection(state)
    if body.get("presence"):
        connection.presence_cids |= {record["channel"]["cid"] for record in records}
    if body.get("watch"):
        for record in records:
            start_watching(state, connection, record)


def subscribe_to_users(state: State, user_ids: Iterable[str]) -> None:
    callers_connection(state).presence_users |= set(user_ids)


def callers_connection(state: State) -> Connection:
    if not state.caller.connection_id:
        raise bad_input(
            "Watch or Presence requires an active websocket connection, please make sure to "
            "include your websocket connection_id"
        )
    connection = state.connections.get(state.caller.connection_id)
    if connection is None or connection.user_id != state.caller.user_id:
        # Only the code is known.
        detail = f"connection ID {state.caller.connection_id} not found"
        raise StreamError(400, UNKNOWN_CONNECTION, detail)
    return connection


def start_watching(state: State, connection: Connection, record: Json) -> None:
    cid = record["channel"]["cid"]
    is_new = not is_watched_by(state, cid, connection.user_id)
    connection.watched.add(cid)
    if is_new:
        tell_watchers(state, record, "user.watching.start", connection.user_id)


def stop_watching(state: State, connection: Connection, record: Json) -> None:
    cid = record["channel"]["cid"]
    connection.presence_cids.discard(cid)
    if cid not in connection.watched:
        return
    connection.watched.discard(cid)
    if not is_watched_by(state, cid, connection.user_id):
        tell_watchers(state, record, "user.watching.stop", connection.user_id)


def is_watched_by(state: State, cid: str, user_id: str) -> bool:
    return any(one.user_id == user_id for one in state.connections.watching(cid))


def tell_watchers(state: State, record: Json, event_type: str, user_id: str) -> None:
    """A user counts once, with however many connections; whoever starts is told, too."""
    count = state.connections.watcher_count(record["channel"]["cid"])
    user = short_shape(state, user_id)
    watchers_event(state, event_type, record, user=user, watcher_count=count)


def stop_watching_channel(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "ReadChannel")
    connection = state.connections.get(state.caller.connection_id)
    if connection:
        stop_watching(state, connection, record)
    return {}
