"""What a user's own client may do; servers may do everything.

Much simplified from Stream's table of roles, resources and channel types: who is no member has no
access, and a channel is changed by who created it, its moderators, and admins of the app. With
``multi_tenant_enabled``, everybody (admins too) is also kept to channels of their own teams.
"""

from __future__ import annotations

import json

from .errors import StreamError, not_allowed
from .state import Json, State

# Types whose channels every user may read and write in.
OPEN_TYPES = ("livestream",)
MODERATORS = ("channel_moderator", "moderator")


def client(state: State) -> Json | None:
    """The user whose client calls; None for a server."""
    return state.users[state.caller.user_id] if state.caller.user_id else None


def refuse_unless_participant(state: State, record: Json, action: str) -> None:
    user = client(state)
    if user and (record["channel"]["disabled"] or not is_participant(state, user, record)):
        raise refusal(state, user, record, action)


def refuse_unless_manager(state: State, record: Json, action: str) -> None:
    refuse_unless_participant(state, record, action)
    user = client(state)
    if user and not is_manager(user, record):
        raise refusal(state, user, record, action)


def refuse_unless_moderator(state: State, record: Json, action: str) -> None:
    refuse_unless_participant(state, record, action)
    user = client(state)
    if user and not is_moderator(user, record):
        raise refusal(state, user, record, action)


def refuse_unless_author(state: State, record: Json, message: Json, action: str) -> None:
    """Of the message, or who moderates the channel."""
    user = client(state)
    if user and message["user_id"] != user["id"] and not is_moderator(user, record):
        raise refusal(state, user, record, action)


def is_participant(state: State, user: Json, record: Json) -> bool:
    own = record["channel"]
    return is_in_tenant(state, user, own.get("team")) and (
        user["id"] in record["members"] or own["type"] in OPEN_TYPES or is_manager(user, record)
    )


def is_manager(user: Json, record: Json) -> bool:
    return user["id"] == record["created_by_id"] or is_moderator(user, record)


def is_moderator(user: Json, record: Json) -> bool:
    membership = record["members"].get(user["id"], {})
    return user["role"] == "admin" or membership.get("channel_role") in MODERATORS


def is_in_tenant(state: State, user: Json, team: str | None) -> bool:
    if not state.app.get("multi_tenant_enabled"):
        return True
    return team in user["teams"] if team else not user["teams"]


def refusal(state: State, user: Json, record: Json, action: str) -> StreamError:
    own = record["channel"]
    roles = [user["role"]]
    if membership := record["members"].get(user["id"]):
        roles.append(membership["channel_role"])
    plural = f"roles [{', '.join(repr(role) for role in roles)}]"
    named = f"role '{roles[0]}'" if len(roles) == 1 else plural
    detail = f"User '{user['id']}' with {named} is not allowed to perform action {action}"
    if not own.get("team") and not is_in_tenant(state, user, None):
        detail += " because requested resource does not belong to any team"
    else:
        detail += f" in scope '{own['type']}'"
    return not_allowed(detail)


def refuse_creation_outside_teams(state: State, team: str | None) -> None:
    user = client(state)
    if user and not is_in_tenant(state, user, team):
        if not team:
            raise not_allowed(
                f"User '{user['id']}' with role '{user['role']}' is not allowed to perform action "
                "CreateChannel because requested resource does not belong to any team"
            )
        teams = json.dumps(user["teams"])
        raise not_allowed(f'user from teams {teams} cannot create a channel for team "{team}"')


def refuse_writing_others(state: State, user_ids: list[str]) -> None:
    user = client(state)
    if user and user["role"] != "admin" and set(user_ids) != {user["id"]}:
        raise not_allowed(
            f"User with role '{user['role']}' is not allowed to perform action UpdateUser"
        )


def refuse_promoting_oneself(state: State, old: Json, new: Json) -> None:
    """Roles and teams are given by servers only: assumed for the text."""
    user = client(state)
    if user and any(old.get(field) != new.get(field) for field in ("role", "teams", "teams_role")):
        raise not_allowed("role and teams can only be changed server side")
