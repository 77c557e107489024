"""Users as answers show them.

A user is kept in the short shape that members and events carry; own_user.py adds the rest.
"""

from __future__ import annotations

from .state import Json, State


def new_user(user_id: str, now: str) -> Json:
    return {
        "id": user_id,
        "role": "user",
        "language": "",
        "teams": [],
        "created_at": now,
        "updated_at": now,
        "banned": False,
        "shadow_banned": False,
        "online": False,
        "invisible": False,
        "blocked_user_ids": [],
    }


def short_shape(state: State, user_id: str) -> Json:
    """The user as members, messages and events show them.

    Of whom a hard deletion erased only the id is left; how Stream shows them is assumed.
    """
    return state.users.get(user_id) or {"id": user_id, "role": "user", "banned": False}
