"""The callable that starts or continues a conversation: it repairs all members, then opens it."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .. import budgets, ids, outbox
from ..as_json import json_value
from ..clients import Clients
from ..clients.documents import delete_documents
from ..errors import FailedPrecondition, NotFound, PermissionDenied, Refusal, Temporary
from ..ids import Key
from ..outcome import NotRepaired
from ..reconcile import GRACE_SECONDS
from ..settings import Settings
from ..side_by_side import begin, result
from . import pairs
from .asked import (
    Members,
    begin_reads_of,
    check_caller,
    check_members,
    check_reads,
    with_members,
    with_team,
)
from .beginning import begin_conversation, check_arguments, find, is_of, refuse_left
from .document import DEADLINE_SECONDS, Conversation, ConversationOutcome
from .pairs import Pair
from .reconcile import finish, open_ready, reconcile_conversations
from .request import Request, parse


def create_conversation(
    uid: str,
    fields: Mapping[str, Any],
    clients: Clients,
    *,
    is_anonymous: bool = False,
    signed_in_at: float = math.inf,
) -> dict[str, Any]:
    """``{id, cid, conversationType, participantIds, name, team, createdAt, existed, healed}``.

    ``participantIds`` and ``healed`` name members as the caller does: uids, and companies as
    ``{"companyId": id}``. ``signed_in_at`` (Unix seconds) is when the caller did. Raises
    InvalidArgument, Unauthenticated, NotFound, PermissionDenied, AlreadyExists, BudgetUsedUp, and
    FailedPrecondition for callers who may start nothing and members who cannot chat, with nothing
    written; later also NotFound and FailedPrecondition, after which the document is ``failed``, and
    Temporary, after which the outbox has an entry.
    """
    request = parse(uid, fields, clients.settings)
    groups_are_open = clients.settings.config.conversations.anonymous_may_start_groups
    if is_anonymous and not request.is_direct and not groups_are_open:
        raise PermissionDenied("anonymous accounts start no group: sign up first", [])
    deadline = time.monotonic() + DEADLINE_SECONDS
    asked = _look_up(request, signed_in_at, clients, deadline)
    check_arguments(asked.request, asked.document)
    while True:
        outcome, existed = _open_or_begin(asked, is_anonymous, clients, deadline)
        if not _is_taken(outcome):
            break
        taken = asked.request.taken | {outcome.key.id}
        asked = asked.again(clients, deadline, team=asked.team, taken=taken)
    if outcome.error:
        raise NotRepaired(outcome)
    return _answer(outcome, existed, asked.members, clients.settings)


def would_open(caller: Key, other: Key, clients: Clients, deadline: float) -> Conversation:
    """The direct conversation that a call would open, or begin if it has no status.

    Nothing is written, and Stream is not asked. Raises what create_conversation raises before.
    """
    request = parse(caller.id, {"participantIds": [ids.named(other)]}, clients.settings)
    return _look_up(request, math.inf, clients, deadline, makes_key=False).document


@dataclass(frozen=True)
class _Asked:
    """A checked call: its members, and the conversation to open or to begin."""

    request: Request
    members: Members
    document: Conversation
    pair: Pair | None
    team: str | None
    """Of a new conversation. The request has none if the two talked before they had a team."""

    def again(self, clients: Clients, deadline: float, **changes: Any) -> "_Asked":
        """The same, with the conversation that is found now."""
        request = replace(self.request, **changes)
        document, pair = find(request, self.members.all, clients, deadline)
        return replace(self, request=request, document=document, pair=pair)


def _look_up(
    stated: Request,
    signed_in_at: float,
    clients: Clients,
    deadline: float,
    *,
    makes_key: bool = True,
) -> _Asked:
    """Look up members and conversation, side by side, and check that the call is allowed."""
    settings = clients.settings
    # The Stream ids of the members, if each is of the kind that the caller names.
    presumed = (*map(settings.id_format.stream_id, stated.members), *stated.service_users)
    # Only a caller who may start a conversation leads to the key of pairs, which is made once.
    is_early = not stated.is_direct or pairs.knows_key(clients)
    finding = begin(find, stated, presumed, clients, deadline) if is_early else None
    request, states = with_members(stated, clients, deadline)
    check_caller(request, states, signed_in_at)
    request, states = with_team(request, states, clients, deadline)
    check_members(request, states, settings)
    members, team = Members.of(request, states, clients), request.team
    if finding:
        document, pair = result(finding, deadline)
    else:
        document, pair = find(stated, presumed, clients, deadline, makes_key=makes_key)
    if stated.is_direct and document.status == "ready" and not settings.config.teams.required:
        request = replace(request, team=stated.team)  # the two talked before they had a team
    # A company was named by its plain id, or the members share a team that was not named.
    if (members.all, request.team) != (presumed, stated.team):
        document, pair = find(request, members.all, clients, deadline, makes_key=makes_key)
    return _Asked(request, members, document, pair, team)


def _open_or_begin(
    asked: _Asked, is_anonymous: bool, clients: Clients, deadline: float
) -> tuple[ConversationOutcome, bool]:
    """The outcome, and whether the conversation existed before."""
    members = asked.members
    if asked.document.leaving:
        [looked] = reconcile_conversations([asked.document.id], clients, deadline=deadline)
        if isinstance(looked.error, Temporary):
            raise NotRepaired(outbox.enqueue_unfinished([looked], clients)[0])
        asked = asked.again(clients, deadline)
    refuse_left(asked.request, asked.document, asked.pair, members, clients, deadline)
    while asked.document.status == "ready" and is_of(asked.request, asked.document, members):
        document, pair = asked.document, asked.pair
        if outcome := open_ready(document, members, clients, deadline):
            if isinstance(outcome.error, Temporary):
                [outcome] = outbox.enqueue_unfinished([outcome], clients)
            elif pair and not outcome.error:
                pair.keep(document.id, clients, deadline)
            return outcome, True
        if document.is_recorded or asked.request.team != asked.team:
            # There may be another channel of the two; what is new is of their team.
            asked = asked.again(clients, deadline, team=asked.team)
        else:
            asked = replace(asked, document=replace(document, status="deleted"))  # as its channel
    return _begin_and_finish(asked, is_anonymous, clients, deadline)


def _answer(
    outcome: ConversationOutcome, existed: bool, members: Members, settings: Settings
) -> dict[str, Any]:
    document = outcome.document
    return {
        "id": document.id,
        "cid": outcome.stream_id,
        "conversationType": document.conversation_type,
        "participantIds": [members.name_of(one, settings) for one in document.member_ids],
        "name": document.name,
        "team": document.team,
        "createdAt": json_value(document.created_at),
        "existed": existed,
        "healed": [ids.named(key) for key in outcome.healed],
    }


def _begin_and_finish(
    asked: _Asked, is_anonymous: bool, clients: Clients, deadline: float
) -> tuple[ConversationOutcome, bool]:
    request, members, document = asked.request, asked.members, asked.document
    reads = begin_reads_of(members, clients, deadline)
    caller, day = request.caller, None
    if not document.version:
        day = begin(budgets.day_of, caller.id, is_anonymous, clients, deadline)
    if reads:
        check_reads(reads, caller, members, clients, deadline)
    begun = begin_conversation(document, asked.pair, request, members, clients, deadline, day)
    # A continued conversation may have other members than those of this call.
    is_as_asked = begun.document.member_ids == members.all
    prefetched = reads if is_as_asked else None
    keys = members.doubtful if is_as_asked else None
    outcome = finish(begun.document, clients, deadline, keys, prefetched, caller)
    outcome = outbox.complete(begun.entry, outcome, clients)
    if isinstance(outcome.error, NotFound) and caller.id in outcome.error.ids:
        delete_documents(begun.created, clients.firestore, deadline + GRACE_SECONDS)
    return outcome, begun.existed


def _is_taken(outcome: ConversationOutcome) -> bool:
    """Whether the channel is somebody else's: the two get another one."""
    error = outcome.error
    return isinstance(error, FailedPrecondition) and error.reason == Refusal.TAKEN
