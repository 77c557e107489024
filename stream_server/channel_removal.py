"""The end of a channel, by its own deletion or with one of its members."""

from __future__ import annotations

from . import timestamps
from .channel_shapes import deleted_shape
from .errors import bad_input, not_allowed, not_found
from .events import channel_event, notification
from .membership import existing_channel
from .payloads import refuse_unless_one_to_hundred
from .permissions import refuse_unless_manager
from .reader import forget_channel
from .state import Json, State
from .tasks import new_task


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


def remove_channel(state: State, record: Json, *, hard: bool) -> Json:
    """The channel as it was, for the answer. Nothing of it comes back, soft or hard."""
    cid = record["channel"]["cid"]
    deleted = deleted_shape(state, record, timestamps.now())
    actor = state.users.get(state.caller.user_id or "")
    fields: Json = {"channel": deleted, **({"user": actor} if actor else {})}
    channel_event(state, "channel.deleted", record, **fields)
    notification(state, "notification.channel_deleted", record, record["members"], **fields)
    for user_id in list(record["members"]):
        state.leave(record, user_id)
    del state.channels[cid]
    forget_channel(state, cid)
    for message_id in record["messages"]:
        del state.message_cids[message_id]
    for connection in state.connections.watching(cid):
        connection.watched.discard(cid)
    if hard:
        state.deleted_cids.discard(cid)
    else:
        state.deleted_cids.add(cid)
    return deleted
