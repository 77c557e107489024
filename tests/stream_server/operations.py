"""Every operation of Stream's API that this server knows.

A handler takes the state, the parameters of path and query, and the JSON body, and returns the
body of the answer or raises a StreamError. Handlers never wait: each is atomic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import application, channels, moderation, queries, users
from .limits import Limit
from .state import Json, State


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    handler: Callable[[State, Json, Json], Json] | None = None
    # Stream's documented limit for servers; assumed for RestoreUsers, GetTask, Ban and Unban.
    calls_per_minute: int | None = None
    client_side: bool = False
    """Whether a user's own client may call it, too."""


OPERATIONS = [
    Operation("GetApp", "GET", "/app", application.get_app, 10_000),
    Operation("GetRateLimits", "GET", "/rate_limits", application.get_rate_limits),
    Operation("GetTask", "GET", "/tasks/{task_id}", users.get_task, 60),
    Operation("UpdateUsers", "POST", "/users", users.update_users, 300),
    Operation("UpdateUsersPartial", "PATCH", "/users", users.update_users_partial, 300),
    Operation("QueryUsers", "GET", "/users", queries.query_users, 1_000, client_side=True),
    Operation("DeleteUser", "DELETE", "/users/{user_id}", users.delete_user, 60),
    Operation("DeleteUsers", "POST", "/users/delete", users.delete_users, 6),
    Operation("RestoreUsers", "POST", "/users/restore", users.restore_users, 60),
    Operation("DeactivateUsers", "POST", "/users/deactivate", users.deactivate_users, 60),
    Operation("ReactivateUsers", "POST", "/users/reactivate", users.reactivate_users, 60),
    Operation("DeactivateUser", "POST", "/users/{user_id}/deactivate", users.deactivate_user, 60),
    Operation("ReactivateUser", "POST", "/users/{user_id}/reactivate", users.reactivate_user, 60),
    Operation("Ban", "POST", "/moderation/ban", moderation.ban, 300),
    Operation("Unban", "DELETE", "/moderation/ban", moderation.unban, 300),
    Operation(
        "GetOrCreateChannel",
        "POST",
        "/channels/{type}/{id}/query",
        channels.get_or_create_channel,
        10_000,
    ),
]
OPERATION_NAMES = {operation.name for operation in OPERATIONS}


def documented_limits() -> dict[str, Limit]:
    return {
        operation.name: Limit(operation.calls_per_minute, window_s=60)
        for operation in OPERATIONS
        if operation.calls_per_minute
    }
