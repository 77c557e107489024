"""What a channel is by its id (``[[channels]]``), and which team is its own (``[teams]``); pure."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from ..config import ChannelPattern, Teams

_PART = re.compile(r"\{(\w+)\}|\*")

_MAX_NUMBER = 2**53
"""Larger numbers are written as texts: a client in JavaScript would round them."""


class Match(NamedTuple):
    """The entry of ``[[channels]]`` that a channel's id matches first."""

    pattern: ChannelPattern
    values: Mapping[str, str]
    """Of the placeholders, by name."""

    @property
    def owner(self) -> str:
        """The path of the document without which the channel is an orphan; empty if none is."""
        return _PART.sub(lambda part: self.values.get(part[1], part[0]), self.pattern.owner)


def match_of(channel_id: str, patterns: Sequence[ChannelPattern]) -> Match | None:
    for pattern in patterns:
        if found := _compiled(pattern.id).fullmatch(channel_id):
            names = [part[1] for part in _PART.finditer(pattern.id) if part[1]]
            return Match(pattern, dict(zip(names, found.groups(), strict=True)))
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """``{name}`` is one part without ``_``, ``*`` anything; all else stands for itself."""
    regex, end = "", 0
    for part in _PART.finditer(pattern):
        regex += re.escape(pattern[end : part.start()]) + ("([^_]+)" if part[1] else ".*")
        end = part.end()
    return re.compile(regex + re.escape(pattern[end:]), re.DOTALL)


def team_by_field(channel: Mapping[str, Any], teams: Teams) -> str | None:
    """The team that a channel's custom field states, as text or number; None if it states none."""
    value = channel.get(teams.channel_field) if teams.channel_field else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        return None
    return teams.format.replace("{value}", str(value).strip())


def field_value_of(team: str, teams: Teams) -> str | int | None:
    """The value of the custom field from which ``team`` is made, the inverse of team_by_field.

    A number where it is written as one. None if the format makes no such team.
    """
    before, _, after = teams.format.partition("{value}")
    value = team.removeprefix(before).removesuffix(after)
    if not value.strip() or value != value.strip() or before + value + after != team:
        return None
    is_number = re.fullmatch(r"0|[1-9][0-9]*", value) and int(value) <= _MAX_NUMBER
    return int(value) if is_number else value


class WrongTeam(NamedTuple):
    """A channel and its document don't have the team that they should have."""

    team: str | None
    """That they should have: by the custom field, or else by the document."""

    actual: str | None
    """That the channel has, or else the document."""

    detail: str


def wrong_team_of(
    channel: Mapping[str, Any], document_team: str | None, teams: Teams
) -> WrongTeam | None:
    """How the teams of a channel, of its custom field and of its document disagree, if they do."""
    by_field = team_by_field(channel, teams)
    in_stream = channel.get("team") or None
    team = by_field or document_team
    if in_stream == team == document_team:
        return None
    told = [f"{in_stream or 'no team'} in Stream"] if in_stream != team else []
    told += [f"{document_team or 'no team'} in Firestore"] if document_team != team else []
    told += [f"{by_field} by {teams.channel_field}"] if by_field else []
    return WrongTeam(team, in_stream if in_stream != team else document_team, ", ".join(told))
