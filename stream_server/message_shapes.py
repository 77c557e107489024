"""Messages as answers and events show them.

A message is kept as one flat object: its own and custom fields side by side, with the ids of the
users and messages that are joined in here.
"""

from __future__ import annotations

from .state import Json, State
from .user_shapes import short_shape

JOINED = {"user_id", "mentioned_user_ids", "reply_ids"}


def message_shape(state: State, message: Json) -> Json:
    shape = {key: value for key, value in message.items() if key not in JOINED}
    return {
        **shape,
        "user": short_shape(state, message["user_id"]),
        "mentioned_users": [short_shape(state, one) for one in message["mentioned_user_ids"]],
        "latest_reactions": [],
        "own_reactions": [],
        "reaction_counts": {},
        "reaction_scores": {},
        "reaction_groups": None,
        "reply_count": 0,
        "deleted_reply_count": 0,
    }


def message_shapes(state: State, messages: list[Json]) -> list[Json]:
    return [message_shape(state, message) for message in messages]
