"""Who is online: whoever has a connection and isn't invisible."""

from __future__ import annotations

from . import timestamps
from .connections import Connection
from .events import new_event
from .state import Json, State
from .watching import stop_watching


def update_presence(state: State, user_id: str) -> None:
    """Tells a change to the clients that subscribed to it; webhooks hear none."""
    user = state.users.get(user_id)
    if user is None:
        return
    is_connected = any(state.connections.of_users([user_id]))
    is_online = is_connected and not user["invisible"]
    if user["online"] == is_online:
        return
    user["online"] = is_online
    event = {**new_event("user.presence.changed"), "user": user}
    for connection in state.connections.all():
        if is_subscribed(state, connection, user):
            connection.send(event)


def is_subscribed(state: State, connection: Connection, user: Json) -> bool:
    shared = state.cids_by_member.get(user["id"], {}).keys()
    return user["id"] in connection.presence_users or bool(connection.presence_cids & shared)


def end_connection(state: State, connection: Connection) -> None:
    state.connections.discard(connection)
    for cid in list(connection.watched):
        if cid in state.channels:
            stop_watching(state, connection, state.channels[cid])
    if user := state.users.get(connection.user_id):
        user["last_active"] = timestamps.now()
    update_presence(state, connection.user_id)
