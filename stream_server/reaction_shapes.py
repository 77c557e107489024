"""What a message shows of its reactions.

A reaction is kept as {"type", "user_id", "score", "created_at", "updated_at", and custom fields}.
"""

from __future__ import annotations

from .state import Json, State
from .user_shapes import short_shape

MAX_LATEST = 10


def reaction_shape(state: State, message: Json, reaction: Json) -> Json:
    user = short_shape(state, reaction["user_id"])
    return {**reaction, "message_id": message["id"], "user": user}


def newest_first(state: State, message: Json) -> list[Json]:
    return [reaction_shape(state, message, one) for one in reversed(message["reactions"])]


def reaction_fields(state: State, message: Json, reader: str | None) -> Json:
    """A deleted message shows none."""
    shapes = [] if "deleted_at" in message else newest_first(state, message)
    groups: dict[str, Json] = {}
    for shape in reversed(shapes):
        group = groups.setdefault(shape["type"], new_group(shape))
        group["count"] += 1
        group["sum_scores"] += shape["score"]
        group["last_reaction_at"] = shape["created_at"]
    return {
        "latest_reactions": shapes[:MAX_LATEST],
        "own_reactions": [shape for shape in shapes if shape["user_id"] == reader],
        "reaction_counts": {name: group["count"] for name, group in groups.items()},
        "reaction_scores": {name: group["sum_scores"] for name, group in groups.items()},
        "reaction_groups": groups or None,
    }


def new_group(first: Json) -> Json:
    return {"count": 0, "sum_scores": 0, "first_reaction_at": first["created_at"]}
