"""Conversations: a document in Firestore and a channel in Stream that agree.

Until its ``status`` is ``ready``, ``conversations/{id}`` says what the app asked for. From then on
Stream decides on name and members, and the document follows:

    Firestore         Stream     what reconcile_conversations does
    pending, failed   any        Firestore wins: users, channel, members, then ``ready``
    ready             present    Stream's name and members are copied; another team is a finding
    ready             absent     ``deleted``
    absent, deleted   present    recorded from what Stream says

A document without ``origin`` is foreign, the app's own: it stays as it is, and nothing is recorded
beside it. Nor is a channel recorded whose owner (``[[channels]]``) is gone.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from firebase_functions import logger

from .. import outbox
from ..clients import Clients
from ..clients.accounts import read_accounts
from ..clients.stream import CHANNELS
from ..errors import (
    ChatsyncError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Postponed,
    Refusal,
    StreamRateLimited,
    StreamRejected,
    Temporary,
    Unsettled,
)
from ..ids import Key
from ..observe import PendingReads
from ..reconcile import reconcile_users
from ..side_by_side import batches, begin, joined
from .asked import Members
from .channel import (
    creator_of,
    healed_keys,
    is_left_out,
    make_channel,
    members_of,
    missing_owners,
    pattern_of,
    query,
    refuse_obstacles,
    refuse_taken,
)
from .document import (
    DEADLINE_SECONDS,
    Conversation,
    ConversationOutcome,
    cid_of,
    documents_of,
    name_of,
    outcome_of,
    participants_of,
    read_all,
    record,
    set_failed,
    set_ready,
    update,
)
from .members import (
    names_all_people,
    participants_with_profile,
    refuse_abandoned,
    refuse_gone,
    with_left,
    without_deleted,
)
from .pairs import is_taken
from .patterns import team_by_field, wrong_team_of


def reconcile_conversations(
    ids: Sequence[str],
    clients: Clients,
    *,
    origin: str = "webhook",
    may_close: bool = True,
    take_over: bool = False,
    deadline: float | None = None,
) -> list[ConversationOutcome]:
    """Bring these conversations into agreement; one outcome per id, in the same order.

    ``origin`` is written into documents that are created. Without ``may_close`` a conversation
    whose channel is gone stays as it is. With ``take_over``, foreign documents are recorded anew,
    and no longer foreign. Raises StreamCredentialsRejected and FirebaseUnavailable, which concern
    all.
    """
    deadline = deadline or time.monotonic() + DEADLINE_SECONDS
    documents = read_all(list(dict.fromkeys(ids)), clients, deadline)
    if take_over:
        documents |= {
            one.id: replace(one, status="deleted") for one in documents.values() if one.is_foreign
        }
    outcomes: dict[str, ConversationOutcome] = {}
    unfinished, others = [], []
    for document in documents.values():
        is_foreign = document.is_foreign and not take_over
        if is_foreign or is_left_out(document, clients.settings):
            outcomes[document.id] = outcome_of(document, clients.settings)
        elif document.status in ("pending", "failed"):
            unfinished.append(document)
        else:
            others.append(document)
    outcomes |= _finish_all(unfinished, clients, deadline)
    for batch in batches(others, CHANNELS):
        outcomes |= _follow_all(batch, origin, may_close, clients, deadline)
    return [outcomes[one] for one in ids]


def _finish_all(
    documents: Sequence[Conversation], clients: Clients, deadline: float
) -> dict[str, ConversationOutcome]:
    outcomes: dict[str, ConversationOutcome] = {}
    limited: StreamRateLimited | None = None
    for document in documents:
        # Its channel cannot be created now: repairing members would only use up another limit.
        if limited:
            outcomes[document.id] = outcome_of(document, clients.settings, limited)
            continue
        try:
            document = _without_who_left(document, clients, deadline)
            outcome = finish(document, clients, deadline)
        except (Temporary, StreamRejected) as refusal:
            outcome = outcome_of(document, clients.settings, refusal)
        outcomes[document.id] = outcome
        if isinstance(outcome.error, StreamRateLimited):
            limited = outcome.error
    return outcomes


def _follow_all(
    documents: Sequence[Conversation],
    origin: str,
    may_close: bool,
    clients: Clients,
    deadline: float,
) -> dict[str, ConversationOutcome]:
    """Of up to 30 conversations that Stream decides about."""
    settings = clients.settings
    try:
        channels = query(documents, clients, deadline)
        new = [one for one in documents if one.id in channels and one.status != "ready"]
        unrecorded = _not_to_be_recorded(new, clients, deadline)
    except (Temporary, StreamRejected) as refusal:
        return {one.id: outcome_of(one, settings, refusal) for one in documents}
    outcomes = {}
    for document in documents:
        error: ChatsyncError | None = None
        state = channels.get(document.id)
        try:
            if document.id in unrecorded:
                logger.warn(
                    f"Channel of {document.id} is not recorded: {unrecorded[document.id]}",
                    **fields_of(document),
                )
            elif state and document.status == "ready":
                document = follow(document, state, clients, deadline)
            elif state:
                document = _record(document, state, origin, clients, deadline)
            elif may_close and (document.status == "ready" or document.leaving):
                document = close(document, clients, deadline)
        except (Temporary, StreamRejected) as refusal:
            error = refusal
        outcomes[document.id] = outcome_of(document, settings, error)
    return outcomes


def _not_to_be_recorded(
    documents: Sequence[Conversation], clients: Clients, deadline: float
) -> dict[str, str]:
    """Of channels without document, by conversation id: why they get none."""
    if not documents:
        return {}
    cids = {one.id: cid_of(one.id, clients.settings) for one in documents}
    gone = missing_owners(documents, clients, deadline)
    reasons = {one: f"{owner} is gone" for one, owner in gone.items()}
    about = documents_of(list(cids.values()), clients, deadline)
    for conversation_id, cid in cids.items():
        if others := [one.id for one in about[cid] if one.id != conversation_id]:
            reasons[conversation_id] = f"it has the document {', '.join(others)}"
    return reasons


def _without_who_left(document: Conversation, clients: Clients, deadline: float) -> Conversation:
    """An unfinished document, after a look into its channel if events told that members left it."""
    if not document.leaving:
        return document
    state = query([document], clients, deadline).get(document.id, {"channel": {}, "members": []})
    present = members_of(state, clients, deadline)
    document = with_left(document, state["channel"], present, clients.settings)
    members = tuple(one for one in document.member_ids if one not in document.left)
    uids = participants_of(members, clients, deadline)
    people = tuple(one for one in document.participant_ids if one in uids)
    document = replace(document, member_ids=members, participant_ids=people)
    names = ["memberIds", "participantIds", "left", "leaving"]
    return update(document, names, clients, deadline)


def finish(
    document: Conversation,
    clients: Clients,
    deadline: float,
    keys: Sequence[Key] | None = None,
    prefetched: PendingReads | None = None,
    caller: Key | None = None,
) -> ConversationOutcome:
    """Repair the members, create the channel as the document says, and set the document ``ready``.

    With ``keys`` only these members are repaired: the others are known to agree. It fails for a
    ``caller``, by default who created the document, who is banned or disabled. Safe to repeat after
    a crash at any point, and to run twice at once.
    """
    if time.monotonic() >= deadline:
        return outcome_of(document, clients.settings, Postponed(f"no time left for {document.id}"))
    if keys is None:
        keys = [key for one in document.member_ids if (key := clients.settings.key(one))]
    people = [Key("user", uid) for uid in document.participant_ids]
    caller = caller or Key("user", document.created_by)
    try:
        refuse_abandoned(document)
        if clients.settings.config.teams.required and not document.team:
            raise FailedPrecondition([], Refusal.WRONG_TEAM)
        # Asked after the document was written: an account that is deleted later leaves it by its
        # event.
        lookups = [begin(read_accounts, batch, clients.auth) for batch in batches(people)]
        # Not by outbox.reconcile: the conversation's own entry covers all members.
        outcomes = reconcile_users(keys, clients, deadline=deadline, prefetched=prefetched)
        outbox.enqueue_unfinished([one for one in outcomes if one.recheck], clients)
        # First: a deleted account that Stream has as deactivated is gone, and not an obstacle.
        accounts = joined(lookups, deadline)
        refuse_gone(accounts.keys(), document)
        if caller in accounts and accounts[caller].disabled:
            raise FailedPrecondition([caller.id], Refusal.DISABLED)
        refuse_obstacles(outcomes, caller)
        outcomes += make_channel(document, clients, deadline)
    except (FailedPrecondition, NotFound, StreamRejected) as error:
        logger.error(f"Conversation {document.id} cannot open: {error}", conversation=document.id)
        gone = error.ids if isinstance(error, NotFound) else ()
        failed = set_failed(document, _reason_of(error), gone, clients, deadline)
        refusal: ChatsyncError = error
        if failed is None:
            refusal = Unsettled(f"conversation {document.id} changed meanwhile")
        elif isinstance(error, StreamRejected):
            refusal = FailedPrecondition([], Refusal.REJECTED, str(error))
        return outcome_of(failed or document, clients.settings, refusal)
    except Temporary as error:
        return outcome_of(document, clients.settings, error)
    ready = set_ready(document, clients, deadline)
    if ready is None:
        return outcome_of(
            document, clients.settings, Unsettled(f"conversation {document.id} has vanished")
        )
    logger.info(f"Conversation {document.id} is ready", conversation=document.id)
    return replace(outcome_of(ready, clients.settings), healed=healed_keys(outcomes))


def _reason_of(error: FailedPrecondition | NotFound | StreamRejected) -> str:
    """The ``failedReason`` of a document."""
    match error:
        case FailedPrecondition():
            return error.reason
        case NotFound():
            return "not_found"
    return Refusal.REJECTED


def open_ready(
    document: Conversation, members: Members, clients: Clients, deadline: float
) -> ConversationOutcome | None:
    """Open a conversation that was ready before, for ``members``; None if its channel is gone.

    A direct conversation gets its two members back, even after one left or was deleted from Stream,
    and has nobody else. A recorded one with others is theirs no longer: its document follows, and
    there is no outcome. The members of a group are those in Stream: only these are repaired, and a
    caller, the first of ``members``, who is not among them gets PermissionDenied, and one who is
    banned or deactivated FailedPrecondition, before anything is changed. Members ``known`` to agree
    are not repaired, unless Stream says that they don't exist.
    """
    try:
        state = query([document], clients, deadline).get(document.id)
        if state is None:
            if document.is_recorded:
                close(document, clients, deadline)
            return None
        is_direct = document.conversation_type == "direct"
        refuse_taken(document, state["channel"], members.all, clients.settings)
        if not is_direct:
            document = follow(document, state, clients, deadline)
        elif document.is_recorded:
            present = members_of(state, clients, deadline)
            if set(without_deleted(present, members.all, clients, deadline)) - set(members.all):
                follow(document, state, clients, deadline)
                return None
        stream_ids = members.stream_ids
        wanted = [key for key, one in stream_ids.items() if is_direct or one in document.member_ids]
        if wanted[:1] != list(stream_ids)[:1]:
            raise PermissionDenied("the caller is no member of this conversation any more", [])
        doubtful = [key for key in wanted if key not in members.known]
        outcomes = outbox.reconcile(doubtful, clients, deadline=deadline)
        refuse_obstacles(outcomes, wanted[0])
        if is_direct and set(document.member_ids) != set(members.all):
            uids = tuple(key.id for key in stream_ids if key.kind == "user")
            left = {one: at for one, at in document.left.items() if one not in members.all}
            document = replace(document, member_ids=members.all, participant_ids=uids, left=left)
            names = ["memberIds", "participantIds", "left"]
            document = update(document, names, clients, deadline)
        in_channel = {member["user_id"] for member in state["members"]}
        if is_direct and (in_channel != set(document.member_ids) or healed_keys(outcomes)):
            outcomes += make_channel(document, clients, deadline)
    except StreamRejected as error:
        logger.error(f"Conversation {document.id} cannot open: {error}", conversation=document.id)
        return outcome_of(document, clients.settings, FailedPrecondition([], Refusal.REJECTED))
    except (FailedPrecondition, NotFound, PermissionDenied, Temporary) as error:
        return outcome_of(document, clients.settings, error)
    return replace(outcome_of(document, clients.settings), healed=healed_keys(outcomes))


def follow(
    document: Conversation, state: Mapping[str, Any], clients: Clients, deadline: float
) -> Conversation:
    """Copy what Stream says of a channel into its document, which is ``ready``."""
    if document.is_foreign:
        return document
    seen = _seen(document, state, document.member_ids, document.team, clients, deadline)
    agrees = seen.name == document.name and set(seen.member_ids) == set(document.member_ids)
    agrees = agrees and seen.left == document.left and not document.leaving
    if agrees and names_all_people(document, clients.settings):
        return document
    complete = document.participant_ids
    participants = participants_with_profile(seen.member_ids, complete, clients, deadline)
    if agrees and set(participants) == set(complete):
        return document
    changing = ["name", "memberIds", "participantIds", "status", "left", "leaving"]
    followed = replace(seen, participant_ids=participants)
    followed = update(followed, changing, clients, deadline)
    _log_changes(document, followed)
    return followed


def _seen(
    document: Conversation,
    state: Mapping[str, Any],
    known: Collection[str],
    team: str | None,
    clients: Clients,
    deadline: float,
) -> Conversation:
    """``document`` with its channel's name and members; another team than ``team`` is logged."""
    channel, teams = state["channel"], clients.settings.config.teams
    present = members_of(state, clients, deadline)
    seen = replace(
        with_left(document, channel, present, clients.settings),
        name=name_of(channel),
        member_ids=without_deleted(present, known, clients, deadline),
    )
    if wrong_team_of(channel, team, teams):
        in_stream, by_field = channel.get("team") or None, team_by_field(channel, teams)
        logger.error(
            f"Conversation {document.id} is of team {team} in Firestore, of {in_stream} in"
            f" Stream" + (f", of {by_field} by {teams.channel_field}" if by_field else ""),
            **fields_of(document, team=in_stream),
        )
    return seen


def _record(
    document: Conversation, state: Mapping[str, Any], origin: str, clients: Clients, deadline: float
) -> Conversation:
    """Write the document of a channel that has none, or a ``deleted`` one."""
    channel = state["channel"]
    team = channel.get("team") or None
    seen = replace(_seen(document, state, (), team, clients, deadline), team=team)
    logger.info(f"Recording channel {channel['cid']}", **fields_of(seen))
    match = pattern_of(seen, clients.settings)
    stated_type = match.pattern.conversation_type if match else ""
    is_pair = len(seen.member_ids) == 2 and not seen.name
    recorded = replace(
        seen,
        status="ready",
        origin=origin,
        participant_ids=participants_with_profile(seen.member_ids, (), clients, deadline),
        created_by=creator_of(channel, clients.settings),
        created_at=datetime.fromisoformat(channel["created_at"]),
        conversation_type=stated_type or ("direct" if is_pair else "group"),
    )
    recorded = record(recorded, clients, deadline)
    if is_taken(recorded, channel, clients.settings):
        logger.warn(
            f"Channel {channel['cid']} has the id of a pair, and somebody else created it",
            **fields_of(recorded),
        )
    return recorded


def _log_changes(before: Conversation, after: Conversation) -> None:
    if after.name != before.name:
        logger.info(f"Conversation {after.id} has another name", **fields_of(after))
    was, now = set(before.member_ids), set(after.member_ids)
    if was != now:
        logger.info(
            f"Conversation {after.id} has other members: {len(now - was)} came,"
            f" {len(was - now)} left",
            **fields_of(after),
        )


def fields_of(document: Conversation, **others: str | None) -> dict[str, str]:
    """What a line of the log says of a conversation, beside its message."""
    fields = {"conversation": document.id, "team": document.team, **others}
    return {name: value for name, value in fields.items() if value}


def close(document: Conversation, clients: Clients, deadline: float) -> Conversation:
    logger.info(f"Conversation {document.id} is gone from Stream", **fields_of(document))
    closed = with_left(replace(document, status="deleted"), {}, (), clients.settings)
    return update(closed, ["status", "left", "leaving"], clients, deadline)
