"""Users as answers about them show them, and their own clients: with all that is theirs alone."""

from __future__ import annotations

from .channel_shapes import channel_shape
from .reader import valid_mutes
from .state import Json, State
from .unread import totals
from .user_shapes import short_shape


def full_shape(state: State, user: Json) -> Json:
    return {
        **user,
        "devices": list(state.devices.get(user["id"], {}).values()),
        "mutes": user_mutes(state, user["id"]),
        "channel_mutes": channel_mutes(state, user["id"]),
        **totals(state, user["id"]),
    }


def user_mutes(state: State, user_id: str) -> list[Json]:
    user = short_shape(state, user_id)
    return [
        {"user": user, "target": short_shape(state, target), **mute}
        for target, mute in valid_mutes(state.user_mutes, user_id).items()
    ]


def channel_mutes(state: State, user_id: str) -> list[Json]:
    user = short_shape(state, user_id)
    return [
        {"user": user, "channel": channel_shape(state, state.channels[cid]), **mute}
        for cid, mute in valid_mutes(state.channel_mutes, user_id).items()
    ]
