"""What a call of ``createConversation`` asks for: checked, before anything is read."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import ids, users
from ..config import CONVERSATION_TYPES
from ..errors import InvalidArgument
from ..ids import Key
from ..settings import Settings
from .patterns import field_value_of

MAX_TEXT_LENGTH = 256
MAX_TEAM_LENGTH = 100


@dataclass(frozen=True)
class Request:
    """The checked arguments of a call; ``members`` begins with the caller."""

    members: tuple[Key, ...]
    service_users: tuple[str, ...]
    """Stream ids of bots and the like, who are members too."""

    conversation_type: str
    name: str | None
    team: str | None
    idempotency_key: str | None
    taken: frozenset[str] = frozenset()
    """Conversations whose channels turned out to be somebody else's."""

    random_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def caller(self) -> Key:
        return self.members[0]

    @property
    def is_direct(self) -> bool:
        return self.conversation_type == "direct"

    def id_prefix(self, settings: Settings) -> str:
        """What the id begins with: it is the cid if the channel is of another type than most."""
        channel_type = settings.channel_type_of(self.conversation_type)
        is_usual = channel_type == settings.channel_type
        return "" if is_usual else f"{channel_type}:{settings.channel_id_prefix}"

    def group_id(self) -> str:
        """The same for the same caller and key; else random."""
        if self.idempotency_key:
            return _hash("key", self.caller, self.idempotency_key)
        return self.random_id

    def legacy_id(self) -> str:
        return legacy_id(self.team, self.members, self.service_users)

    def arguments(self) -> str:
        members = sorted(self.members)
        named = (self.conversation_type, self.name, self.team, members)
        return _hash(*named, *self.service_users)


def legacy_id(team: str | None, keys: Iterable[Key], service_users: Iterable[str]) -> str:
    """The id of a direct conversation from before there were pairs: anybody can compute it."""
    return _hash("direct", team, sorted(keys), *service_users)


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def parse(uid: str, fields: Mapping[str, Any], settings: Settings) -> Request:
    """The request. Raises InvalidArgument, which names the field."""
    caller = ids.check_key(uid, "userId", "user", settings.id_format)
    wanted = fields.get("participantIds")
    most = settings.config.conversations.max_members
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= most:
        raise InvalidArgument("participantIds", f"must be a list of 1 to {most} members")
    bots = settings.config.stream.service_users
    service_users = sorted({one for one in wanted if isinstance(one, str) and one in bots})
    named = [
        ids.check_member(value, f"participantIds[{place}]", settings.id_format)
        for place, value in enumerate(wanted)
        if value not in service_users
    ]
    members = tuple(dict.fromkeys([caller, *named]))
    count = len(members) + len(service_users)
    if not 2 <= count <= most:
        raise InvalidArgument("participantIds", f"must name 1 to {most - 1} others")
    conversation_type = fields.get("conversationType")
    if conversation_type is None:
        conversation_type = "direct" if count == 2 else "group"
    if conversation_type not in CONVERSATION_TYPES:
        raise InvalidArgument("conversationType", f"must be one of {', '.join(CONVERSATION_TYPES)}")
    if conversation_type == "direct" and count != 2:
        raise InvalidArgument("participantIds", "must name one other for a direct conversation")
    team = _text(fields, "team", MAX_TEAM_LENGTH)
    teams = settings.config.teams
    if team and teams.channel_field and field_value_of(team, teams) is None:
        raise InvalidArgument("team", f"must be made as {teams.format!r} says")
    return Request(
        members,
        tuple(service_users),
        conversation_type,
        name=_text(fields, "name", MAX_TEXT_LENGTH),
        team=team,
        idempotency_key=_text(fields, "idempotencyKey", MAX_TEXT_LENGTH),
    )


def _text(fields: Mapping[str, Any], field: str, longest: int) -> str | None:
    """A text of up to ``longest`` UTF-8 bytes, as Stream and Firestore count; None if not given."""
    value = fields.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidArgument(field, "must be a string")
    if not value.strip():
        raise InvalidArgument(field, "must not be empty")
    if ids.is_unprintable(value) or users.CONTROL.search(value):
        problem = "must not contain control characters, text directions or lone surrogates"
        raise InvalidArgument(field, problem)
    if len(value.encode()) > longest:
        raise InvalidArgument(field, f"must not be longer than {longest} bytes")
    return value
