"""Channels as filters and sorts see them: what they are, and what they are to a reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import bad_input
from .reader import is_hidden, is_muted
from .state import Json, State
from .unread import unread_messages

# About the reader, whom a server must name.
OF_READER: dict[str, Callable[[State, Json, str], Any]] = {
    "has_unread": lambda state, record, user_id: bool(unread_messages(state, record, user_id)),
    "hidden": is_hidden,
    "archived": lambda state, record, user_id: bool(time_of(record, user_id, "archived_at")),
    "pinned": lambda state, record, user_id: bool(time_of(record, user_id, "pinned_at")),
    "pinned_at": lambda state, record, user_id: time_of(record, user_id, "pinned_at"),
    "invite": lambda state, record, user_id: invite_of(record, user_id),
    "joined": lambda state, record, user_id: has_joined(record, user_id),
    "muted": is_muted,
    "unread_count": lambda state, record, user_id: len(unread_messages(state, record, user_id)),
}


@dataclass(frozen=True)
class ChannelView:
    state: State
    record: Json
    reader: str | None

    def get(self, field: str, default: Any = None) -> Any:
        own = self.record["channel"]
        match field:
            case "members":
                return list(self.record["members"])
            case "member.user.name":
                return [self.state.users[one].get("name") for one in self.record["members"]]
            case "member_count":
                return len(self.record["members"])
            case "created_by_id":
                return self.record["created_by_id"]
            case "distinct":
                return self.record["distinct"] is not None
            case "last_updated":
                return own.get("last_message_at") or own["created_at"]
        if field in OF_READER:
            return OF_READER[field](self.state, self.record, self.reader) if self.reader else None
        return own.get(field, default)


def time_of(record: Json, user_id: str, field: str) -> str | None:
    """When the user pinned or archived the channel."""
    time: str | None = record["members"].get(user_id, {}).get(field)
    return time


def invite_of(record: Json, user_id: str) -> str | None:
    """How the user answered it; None for who was not invited."""
    membership = record["members"].get(user_id, {})
    return membership["status"] if membership.get("invited") else None


def has_joined(record: Json, user_id: str) -> bool:
    return user_id in record["members"] and invite_of(record, user_id) in (None, "accepted")


def named_fields(conditions: object) -> set[str]:
    """All fields that a filter asks for, in its logic too."""
    found: set[str] = set()
    if isinstance(conditions, dict):
        for field, condition in conditions.items():
            parts = condition if field.startswith("$") and isinstance(condition, list) else []
            found |= {field}.union(*(named_fields(part) for part in parts))
    return found


def refuse_unanswerable(fields: set[str], reader: str | None) -> None:
    for field in sorted(fields & OF_READER.keys()):
        if not reader:
            raise bad_input(f"{field} requires a valid user")
