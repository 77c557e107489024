"""Events: what webhooks and connected clients hear of what happened.

Custom fields are flat in webhook bodies, as in the rest of v1, and once more under
``channel_custom``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from . import timestamps
from .channel_shapes import channel_shape, custom_fields, member_shapes
from .connections import Connection
from .event_log import NOTIFICATIONS, remember
from .reader import is_blocked, reader_fields
from .state import Json, State
from .user_shapes import short_shape
from .webhooks import targets

MAX_MEMBERS = 50

Personal = Callable[[str], Json]


def nothing(user_id: str) -> Json:
    return {}


def channel_event(
    state: State,
    event_type: str,
    record: Json,
    about: Iterable[str] = (),
    personal: Personal = nothing,
    **fields: object,
) -> None:
    """For webhooks, the clients that watch the channel, and those of the users it is ``about``.

    What is ``personal`` depends on whose client hears it.
    """
    event = {**new_event(event_type), **channel_fields(record), **fields}
    remember(state, event)
    if not is_heard(state, event_type):
        return
    members = {"members": member_shapes(state, record, MAX_MEMBERS)}
    to_webhooks(state, {**members, **event})
    cid = record["channel"]["cid"]
    watching = state.connections.watching(cid)
    affected = [one for one in state.connections.of_users(about) if one not in watching]
    for connection in [*watching, *affected]:
        send(state, connection, record, {**event, **personal(connection.user_id)})


def personal_event(
    state: State, event_type: str, record: Json, user_id: str, **fields: object
) -> None:
    """For webhooks and the user's own clients: what only this user sees of the channel."""
    channel = {**channel_shape(state, record), **reader_fields(state, record, user_id)}
    about = {"channel": channel, "user": short_shape(state, user_id)}
    event = {**new_event(event_type), **channel_fields(record), **about, **fields}
    remember(state, event, [user_id])
    to_webhooks(state, {"members": member_shapes(state, record, MAX_MEMBERS), **event})
    for connection in state.connections.of_users([user_id]):
        connection.send(event)


def notification(
    state: State,
    event_type: str,
    record: Json,
    user_ids: Iterable[str],
    personal: Personal = nothing,
    *,
    also_watching: bool = False,
    **fields: object,
) -> None:
    """For clients of these users, unless they watch the channel; webhooks get none."""
    is_remembered = event_type in NOTIFICATIONS
    if not state.connections and not is_remembered:
        return
    event = {**new_event(event_type), **channel_fields(record), **fields}
    if is_remembered:
        user_ids = list(user_ids)
        remember(state, event, user_ids)
    for connection in state.connections.of_users(user_ids):
        if also_watching or record["channel"]["cid"] not in connection.watched:
            send(state, connection, record, {**event, **personal(connection.user_id)})


def watchers_event(state: State, event_type: str, record: Json, **fields: object) -> None:
    """For the clients that watch the channel; webhooks get none."""
    watching = state.connections.watching(record["channel"]["cid"])
    if not watching:
        return
    event = {**new_event(event_type), **channel_fields(record), **fields}
    for connection in watching:
        send(state, connection, record, event)


def send(state: State, connection: Connection, record: Json, event: Json) -> None:
    """Unless its user blocks the channel, and the event is another's doing."""
    reader = connection.user_id
    is_own = event.get("user", {}).get("id") == reader
    if is_own or not is_blocked(state, record, reader):
        connection.send(event)


def user_event(state: State, event_type: str, user: Json, **fields: object) -> None:
    """For webhooks, the user's own clients, and those that watch a channel with the user."""
    if not is_heard(state, event_type):
        return
    event = {**new_event(event_type), "user": user, **fields}
    to_webhooks(state, event)
    shared = state.cids_by_member.get(user["id"], {}).keys()
    for connection in state.connections.all():
        if connection.user_id == user["id"] or connection.watched & shared:
            connection.send(event)


def own_event(state: State, event_type: str, user_id: str, **fields: object) -> None:
    """For the user's own clients; webhooks get none."""
    for connection in state.connections.of_users([user_id]):
        connection.send({**new_event(event_type), **fields})


def webhook_event(state: State, event_type: str, **fields: object) -> None:
    """For webhooks only."""
    to_webhooks(state, {**new_event(event_type), **fields})


def is_heard(state: State, event_type: str) -> bool:
    return bool(state.connections) or bool(targets(state.app, event_type))


def new_event(event_type: str) -> Json:
    return {"type": event_type, "created_at": timestamps.now()}


def channel_fields(record: Json) -> Json:
    own = record["channel"]
    return {
        "cid": own["cid"],
        "channel_type": own["type"],
        "channel_id": own["id"],
        "channel_member_count": len(record["members"]),
        "channel_message_count": len(record["messages"]),
        "channel_custom": custom_fields(record),
        **({"team": own["team"]} if own.get("team") else {}),
        **({"channel_last_message_at": last} if (last := own.get("last_message_at")) else {}),
    }


def to_webhooks(state: State, event: Json) -> None:
    urls = targets(state.app, event["type"])
    if urls:
        is_compressed = bool(state.app.get("enable_hook_payload_compression"))
        signed = {**event, "request_info": state.caller.request_info}
        state.webhooks.send(urls, signed, is_compressed)
