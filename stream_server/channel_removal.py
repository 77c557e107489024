"""The end of a channel, by its own deletion or with one of its members."""

from __future__ import annotations

from . import timestamps
from .channel_shapes import deleted_shape
from .events import channel_event, notification
from .state import Json, State


def remove_channel(state: State, record: Json, *, hard: bool) -> Json:
    """The channel as it was, for the answer. Nothing of it comes back, soft or hard."""
    cid = record["channel"]["cid"]
    deleted = deleted_shape(state, record, timestamps.now())
    actor = state.users.get(state.caller.user_id or "")
    fields = {"channel": deleted, **({"user": actor} if actor else {})}
    channel_event(state, "channel.deleted", record, **fields)
    notification(state, "notification.channel_deleted", record, record["members"], **fields)
    del state.channels[cid]
    for connection in state.connections.watching(cid):
        connection.watched.discard(cid)
    if hard:
        state.deleted_cids.discard(cid)
    else:
        state.deleted_cids.add(cid)
    return deleted
