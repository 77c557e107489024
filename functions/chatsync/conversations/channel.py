"""A conversation's channel in Stream: looked up, created with its members, and described."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from firebase_functions import logger

from .. import outbox
from ..clients import Clients
from ..errors import (
    FailedPrecondition,
    NotFound,
    Postponed,
    Refusal,
    StreamRejected,
    StreamUnavailable,
)
from ..ids import Key
from ..outcome import Outcome
from ..settings import Settings
from ..side_by_side import BATCH
from .document import Conversation, cid_of, text_of

PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8)
"""Between attempts to create a channel: an answer was lost, or Stream didn't know a member yet."""

_NO_OBSTACLES = (Refusal.BANNED,)
"""Refusals of a member with which a conversation opens all the same."""


def query(
    documents: Sequence[Conversation], clients: Clients, deadline: float
) -> dict[str, dict[str, Any]]:
    """Stream's state of the channels of up to 30 conversations, by conversation id."""
    cids = {cid_of(document.id, clients.settings): document.id for document in documents}
    found = clients.stream.query_channels(list(cids), deadline)
    return {cids[cid]: state for cid, state in found.items() if cid in cids}


def refuse_obstacles(outcomes: Sequence[Outcome]) -> None:
    """Raise the error of the first user who cannot be a member, naming all of the same kind."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    refusals = [
        error
        for error in errors
        if isinstance(error, FailedPrecondition) and error.reason not in _NO_OBSTACLES
    ]
    if refusals:
        reason = refusals[0].reason
        named = [one for error in refusals if error.reason == reason for one in error.ids]
        raise FailedPrecondition(named, reason, refusals[0].detail)
    if unknown := [one for error in errors if isinstance(error, NotFound) for one in error.ids]:
        raise NotFound(unknown)
    for error in errors:
        if not isinstance(error, FailedPrecondition):
            raise error


def healed_keys(outcomes: Sequence[Outcome]) -> tuple[Key, ...]:
    return tuple(outcome.key for outcome in outcomes if outcome.status not in ("ok", None))


def make_channel(document: Conversation, clients: Clients, deadline: float) -> None:
    """Get or create the channel, until it has the members and the name of the document.

    Stream may say that users don't exist although they were just written: they are then repaired
    once more, and the call is repeated.
    """
    for pause in PAUSES_SECONDS:
        try:
            _make_channel_once(document, clients, deadline)
            return
        except StreamRejected as error:
            named = [member for member in document.member_ids if member in error.words]
            if not named:
                raise
            logger.warn(
                f"Stream doesn't know {len(named)} members of {document.id} yet: {error}",
                conversation=document.id,
            )
            keys = [key for one in named if (key := clients.settings.key(one))]
            refuse_obstacles(outbox.reconcile(keys, clients, deadline=deadline))
        except StreamUnavailable:
            pass  # asked again
        if time.monotonic() + pause >= deadline:
            raise Postponed(f"no time left for conversation {document.id}")
        time.sleep(pause)
    _make_channel_once(document, clients, deadline)


def _make_channel_once(document: Conversation, clients: Clients, deadline: float) -> None:
    cid = cid_of(document.id, clients.settings)
    wanted = document.member_ids
    fields = {"team": document.team, "name": document.name}
    creator = clients.settings.id_format.stream_id(Key("user", document.created_by))
    data = {
        "created_by_id": creator if creator in wanted else wanted[0],
        "members": wanted[:BATCH],
        **{field: value for field, value in fields.items() if value},
    }
    state = clients.stream.get_or_create_channel(cid, data, deadline)
    channel = state["channel"]
    if (channel.get("team") or None) != document.team:
        raise FailedPrecondition([], Refusal.WRONG_TEAM)
    present = {member["user_id"] for member in state["members"]}
    if missing := [member for member in wanted if member not in present]:
        clients.stream.add_members(cid, missing, deadline)
    if channel.get("member_count", 0) + len(missing) > len(wanted):
        # The channel existed before, with users who are no members of this conversation.
        all_members = clients.stream.query_members(cid, deadline)
        extra = [member for member in all_members if member not in set(wanted)]
        clients.stream.remove_members(cid, extra, deadline)
    if document.name and channel.get("name") != document.name:
        clients.stream.update_channel_partial(cid, {"name": document.name}, deadline)


def members_of(state: Mapping[str, Any], clients: Clients, deadline: float) -> list[str]:
    """The Stream ids of all members of a channel; with over 100 members, Stream is asked again."""
    channel = state["channel"]
    listed = state.get("members")
    members = [
        member["user_id"]
        for member in (listed if isinstance(listed, list) else [])
        if isinstance(member, dict) and text_of(member.get("user_id"))
    ]
    count = channel.get("member_count")
    if isinstance(count, int) and count > len(members):
        members = clients.stream.query_members(channel["cid"], deadline)
    return members


def creator_of(channel: Mapping[str, Any], settings: Settings) -> str:
    creator = str((channel.get("created_by") or {}).get("id") or "")
    key = settings.key(creator)
    return key.id if key and key.kind == "user" else creator
