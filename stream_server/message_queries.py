"""Finding messages by their ids."""

from __future__ import annotations

from .channel_shapes import channel_answer
from .membership import existing_channel
from .message_checks import existing_message
from .message_shapes import message_shape, message_shapes
from .permissions import refuse_unless_participant
from .state import Json, State


def get_message(state: State, params: Json, body: Json) -> Json:
    record, message = existing_message(state, params["message_id"])
    refuse_unless_participant(state, record, "ReadChannel")
    shape = message_shape(state, message, state.caller.user_id)
    return {"message": {**shape, "channel": channel_answer(state, record)}}


def get_many_messages(state: State, params: Json, body: Json) -> Json:
    """Of one channel; ids that it hasn't got are passed over: assumed."""
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "ReadChannel")
    ids = dict.fromkeys(params.get("ids", "").split(","))
    found = [record["messages"][one] for one in ids if one in record["messages"]]
    return {"messages": message_shapes(state, found)}
