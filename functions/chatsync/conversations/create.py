"""The callable that starts or continues a conversation: it repairs all members, then opens it."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import budgets, ids, outbox
from ..as_json import json_value
from ..clients import Clients
from ..clients.documents import delete_documents
from ..errors import (
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Refusal,
    Temporary,
)
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
from .document import (
    DEADLINE_SECONDS,
    Conversation,
    ConversationOutcome,
)
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
    presumed = _presumed_ids(request, clients.settings)
    # Only a caller who may start a conversation leads to the key of pairs, which is made once.
    is_early = not request.is_direct or pairs.knows_key(clients)
    finding = begin(find, request, presumed, clients, deadline) if is_early else None
    stated_team = request.team
    request, states = with_members(request, clients, deadline)
    check_caller(request, states, signed_in_at)
    request, states = with_team(request, states, clients, deadline)
    check_members(request, states, clients.settings)
    members = Members.of(request, states, clients)
    if finding:
        document, pair = result(finding, deadline)
    else:
        document, pair = find(request, presumed, clients, deadline)
    shared_team = request.team
    may_lack_team = not clients.settings.config.teams.required
    if request.is_direct and document.status == "ready" and may_lack_team:
        request = replace(request, team=stated_team)  # the two talked before they had a team
    # A company was named by its plain id, or the members share a team that was not named.
    if (members.all, request.team) != (presumed, stated_team):
        document, pair = find(request, members.all, clients, deadline)
    check_arguments(request, document)

    while True:
        if document.leaving:
            [looked] = reconcile_conversations([document.id], clients, deadline=deadline)
            if isinstance(looked.error, Temporary):
                raise NotRepaired(outbox.enqueue_unfinished([looked], clients)[0])
            document, pair = find(request, members.all, clients, deadline)
        refuse_left(request, document, pair, members, clients, deadline)
        existed, outcome = True, None
        while document.status == "ready" and is_of(request, document, members):
            outcome = open_ready(
                document, members.stream_ids, members.all, members.known, clients, deadline
            )
            if outcome:
                break
            if document.is_recorded or request.team != shared_team:
                # There may be another channel of the two; what is new is of their team.
                request = replace(request, team=shared_team)
                document, pair = find(request, members.all, clients, deadline)
            else:
                document = replace(document, status="deleted")  # like its channel
        if outcome is None:
            outcome, existed = _begin_and_finish(
                document, pair, request, members, is_anonymous, clients, deadline
            )
        elif isinstance(outcome.error, Temporary):
            [outcome] = outbox.enqueue_unfinished([outcome], clients)
        elif pair and not outcome.error:
            pair.keep(document.id, clients, deadline)
        if not _is_taken(outcome):
            break
        request = replace(request, team=shared_team, taken=request.taken | {outcome.key.id})
        document, pair = find(request, members.all, clients, deadline)
    if outcome.error:
        raise NotRepaired(outcome)
    return _answer(outcome, existed, members, clients.settings)


def would_open(caller: Key, other: Key, clients: Clients, deadline: float) -> Conversation:
    """The direct conversation that a call would open, or begin if it has no status.

    Nothing is written, and Stream is not asked. Raises what create_conversation raises before.
    """
    fields = {"participantIds": [ids.named(other)]}
    asked = parse(caller.id, fields, clients.settings)
    request, states = with_members(asked, clients, deadline)
    check_caller(request, states, math.inf)
    request, states = with_team(request, states, clients, deadline)
    check_members(request, states, clients.settings)
    members = Members.of(request, states, clients)
    presumed = _presumed_ids(asked, clients.settings)
    document, _ = find(asked, presumed, clients, deadline, makes_key=False)
    if document.status == "ready" and not clients.settings.config.teams.required:
        request = replace(request, team=None)  # as above
    if (members.all, request.team) != (presumed, None):
        document, _ = find(request, members.all, clients, deadline, makes_key=False)
    return document


def _presumed_ids(request: Request, settings: Settings) -> tuple[str, ...]:
    """The Stream ids of the members, if each is of the kind that the caller names."""
    return (*map(settings.id_format.stream_id, request.members), *request.service_users)


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
    document: Conversation,
    pair: Pair | None,
    request: Request,
    members: Members,
    is_anonymous: bool,
    clients: Clients,
    deadline: float,
) -> tuple[ConversationOutcome, bool]:
    """The outcome, and whether the conversation existed before."""
    reads = begin_reads_of(members, clients, deadline)
    caller, day = request.caller, None
    if not document.version:
        day = begin(budgets.day_of, caller.id, is_anonymous, clients, deadline)
    if reads:
        check_reads(reads, caller, members, clients, deadline)
    begun = begin_conversation(document, pair, request, members, clients, deadline, day)
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
