"""A conversation's channel in Stream: looked up, created with its members, and described."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from firebase_functions import logger

from .. import outbox
from ..clients import Clients
from ..clients.documents import temporary_failures_named, until
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
from .document import Conversation, cid_of, is_cid, text_of
from .patterns import Match, field_value_of, match_of

PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8)
"""Between attempts to create a channel: an answer was lost, or Stream didn't know a member yet."""

_PLACEHOLDER = "delete-user-"

_NO_OBSTACLES = (Refusal.BANNED,)
"""Refusals of a member with which a conversation opens all the same."""


def channel_of(document: Conversation, settings: Settings) -> str:
    """The cid of a conversation's channel. A foreign document may have any id, and name its cid."""
    if document.is_foreign and is_cid(document.cid):
        return document.cid
    return cid_of(document.id, settings)


def pattern_of(document: Conversation, settings: Settings) -> Match | None:
    """The entry of ``[[channels]]`` for a conversation; none for what createConversation made."""
    if document.origin == "app":
        return None
    channel_id = channel_of(document, settings).partition(":")[2]
    return match_of(channel_id, settings.config.channels)


def is_left_out(document: Conversation, settings: Settings) -> bool:
    """Whether the settings say that such channels are neither recorded nor compared."""
    match = pattern_of(document, settings)
    return match is not None and not match.pattern.record


def owner_of(document: Conversation, settings: Settings) -> str:
    """The path of the document without which the channel is an orphan; empty if none is."""
    match = pattern_of(document, settings)
    return match.owner if match else ""


def missing_owners(
    documents: Iterable[Conversation], clients: Clients, deadline: float
) -> dict[str, str]:
    """The paths of owners that are certainly gone, by conversation id.

    Raises FirebaseUnavailable if that cannot be told now.
    """
    named = {one.id: owner_of(one, clients.settings) for one in documents}
    owners = {one: owner for one, owner in named.items() if owner}
    references = [clients.firestore.document(path) for path in dict.fromkeys(owners.values())]
    with temporary_failures_named():
        snapshots = clients.firestore.get_all(references, ["__name__"], **until(deadline))
        gone = {one.reference.path for one in snapshots if not one.exists} if owners else set()
    return {one: owner for one, owner in owners.items() if owner in gone}


def query(
    documents: Sequence[Conversation], clients: Clients, deadline: float
) -> dict[str, dict[str, Any]]:
    """Stream's state of the channels of up to 30 conversations, by conversation id."""
    cids = {document.id: channel_of(document, clients.settings) for document in documents}
    found = clients.stream.query_channels(list(dict.fromkeys(cids.values())), deadline)
    return {one: found[cid] for one, cid in cids.items() if cid in found}


def refuse_obstacles(outcomes: Sequence[Outcome], caller: Key | None = None) -> None:
    """Raise the error of the first user who cannot be a member, naming all of the same kind.

    Who is banned can be a member, but is no ``caller``.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error]
    refusals = [
        outcome.error
        for outcome in outcomes
        if isinstance(outcome.error, FailedPrecondition)
        and (outcome.error.reason not in _NO_OBSTACLES or outcome.key == caller)
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


def is_strangers(channel: Mapping[str, Any], members: Collection[str], settings: Settings) -> bool:
    """Whether somebody else than these members or a service user created a channel.

    They could come back into it, even if they are no member now: not so a deleted user, whose
    channels pass to a placeholder (Stream documentation, "Deleting Many Users").
    """
    creator = str((channel.get("created_by") or {}).get("id") or "")
    return not creator.startswith(_PLACEHOLDER) and creator not in {
        "",
        *members,
        *settings.config.stream.service_users,
    }


def refuse_taken(
    document: Conversation, channel: Mapping[str, Any], members: Collection[str], settings: Settings
) -> None:
    """Raise FailedPrecondition for a direct conversation whose channel is somebody else's."""
    theirs = {*members, *document.left}
    if document.conversation_type == "direct" and is_strangers(channel, theirs, settings):
        logger.warn(
            f"Channel {channel['cid']} of a pair was created by somebody else: not adopted",
            conversation=document.id,
        )
        raise FailedPrecondition([], Refusal.TAKEN)


def healed_keys(outcomes: Sequence[Outcome]) -> tuple[Key, ...]:
    return tuple(dict.fromkeys(one.key for one in outcomes if one.status not in ("ok", None)))


def make_channel(document: Conversation, clients: Clients, deadline: float) -> list[Outcome]:
    """Get or create the channel, until it has the members and the name of the document.

    Stream may say that users don't exist although they were just written, or were known to agree:
    exactly those are then repaired, and the call is repeated. Where it names deleted ones, it names
    one at a time: if it names more after a repair, all members are repaired. Returns the outcomes.
    """
    outcomes: list[Outcome] = []
    for pause in PAUSES_SECONDS:
        try:
            _make_channel_once(document, clients, deadline)
            return outcomes
        except StreamRejected as error:
            named = [member for member in document.member_ids if member in error.words]
            if not named:
                raise
            logger.warn(
                f"Stream doesn't know {len(named)} members of {document.id} yet: {error}",
                conversation=document.id,
            )
            doubted = document.member_ids if healed_keys(outcomes) else named
            keys = [key for one in doubted if (key := clients.settings.key(one))]
            repaired = outbox.reconcile(keys, clients, deadline=deadline)
            refuse_obstacles(repaired)
            outcomes += repaired
            if healed_keys(repaired):
                continue
        except StreamUnavailable:
            pass  # asked again
        if time.monotonic() + pause >= deadline:
            raise Postponed(f"no time left for conversation {document.id}")
        time.sleep(pause)
    _make_channel_once(document, clients, deadline)
    return outcomes


def _make_channel_once(document: Conversation, clients: Clients, deadline: float) -> None:
    cid = cid_of(document.id, clients.settings)
    wanted = document.member_ids
    teams = clients.settings.config.teams
    fields: dict[str, Any] = {"team": document.team, "name": document.name}
    if document.team and teams.channel_field:
        fields[teams.channel_field] = field_value_of(document.team, teams)
    creator = clients.settings.id_format.stream_id(Key("user", document.created_by))
    data = {
        "created_by_id": creator if creator in wanted else wanted[0],
        "members": wanted[:BATCH],
        **{field: value for field, value in fields.items() if value not in (None, "")},
    }
    state = clients.stream.get_or_create_channel(cid, data, deadline)
    channel = state["channel"]
    refuse_taken(document, channel, wanted, clients.settings)
    if (channel.get("team") or None) != document.team:
        raise FailedPrecondition([], Refusal.WRONG_TEAM)
    present = {member["user_id"] for member in state["members"]}
    if missing := [member for member in wanted if member not in present]:
        clients.stream.add_members(cid, missing, deadline)
    # A channel that was only recorded is not ours: Stream decides who else is in it.
    if not document.is_recorded and channel.get("member_count", 0) + len(missing) > len(wanted):
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
