"""Which channels a client watches: it gets their events as they happen."""

from __future__ import annotations

from .errors import UNKNOWN_CONNECTION, StreamError, bad_input
from .membership import existing_channel
from .state import Json, State


def refuse_servers_watching(state: State, body: Json) -> None:
    for option in ("watch", "presence"):
        if body.get(option) and not state.caller.user_id:
            raise bad_input(f"{option} is not allowed with server side auth")


def watch(state: State, records: list[Json]) -> None:
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
    connection.watched |= {record["channel"]["cid"] for record in records}


def stop_watching_channel(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    connection = state.connections.get(state.caller.connection_id)
    if connection:
        connection.watched.discard(record["channel"]["cid"])
    return {}
