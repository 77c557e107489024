"""A conversation begins: it is found or made, and written as pending in one commit."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from google.cloud import firestore

from .. import budgets, outbox, users
from ..clients import Clients
from ..clients.documents import (
    CreatedDocument,
    add_write,
    commit,
    log_created,
    read_documents,
    stats_of,
    tell_stats_created,
)
from ..errors import AlreadyExists, FailedPrecondition, PermissionDenied, Refusal, Unsettled
from ..ids import Key
from ..outbox import Entry
from ..side_by_side import result
from ..users import Document
from . import document as document_store
from . import pairs
from .asked import Members
from .document import Conversation, document_fields, reference_of
from .pairs import Pair
from .request import Request

UNFINISHED_SECONDS = 50.0
"""After this time the outbox finishes a conversation that the callable did not."""

_MAX_CONFLICTS = 3


def find(
    request: Request,
    member_ids: Sequence[str],
    clients: Clients,
    deadline: float,
    *,
    makes_key: bool = True,
) -> tuple[Conversation, Pair | None]:
    """The conversation to continue or to begin, and the pair of a direct one."""
    if request.is_direct:
        return pairs.find(request, member_ids, clients, deadline, makes_key=makes_key)
    group_id = request.id_prefix(clients.settings) + request.group_id()
    return document_store.read(group_id, clients, deadline), None


class Begun(NamedTuple):
    document: Conversation
    entry: Entry
    existed: bool
    created: list[CreatedDocument]
    """The caller's stats, if they were missing."""


def begin_conversation(
    document: Conversation,
    pair: Pair | None,
    request: Request,
    members: Members,
    clients: Clients,
    deadline: float,
    day: Future[budgets.Day] | None,
) -> Begun:
    """Write in one commit the document as pending, its entry in the outbox, and the caller's count
    of started conversations: whatever happens afterwards, the outbox finishes the conversation."""
    outbox.try_to_wake(time.time() + UNFINISHED_SECONDS, clients)
    stats = members.states[request.caller].stats
    for _ in range(_MAX_CONFLICTS):
        pending = replace(_pending(document, request, members), origin="app")
        batch = clients.firestore.batch()
        fields = document_fields(pending, clients.settings) | {"arguments": pending.arguments}
        reference = reference_of(document.id, clients)
        add_write(batch, reference, fields, pending.version, clients.firestore)
        entry = outbox.begin_entry(
            Key("conversation", document.id), batch, clients, UNFINISHED_SECONDS
        )
        if is_new := not document.version:
            _add_to_stats(batch, request.caller, stats, members, clients)
        if pair:
            pair.add_to(batch, document.id, clients)
        if is_new and stats is None:
            tell_stats_created(request.caller, batch, clients, deadline)
        if is_new and day:
            result(day, deadline).add_to(batch)
        if written_at := commit(batch, deadline):
            # In the order of the batch; the caller's stats come third.
            document_at, entry_at, *others_at = written_at
            created = []
            if is_new and stats is None:
                created = [CreatedDocument(stats_of(request.caller.id, clients), others_at[0])]
                log_created(request.caller, [created[0].reference])
            existed = document.status not in ("", "deleted")
            pending = replace(pending, version=document_at)
            return Begun(pending, replace(entry, version=entry_at), existed, created)
        # Somebody else wrote one of these first.
        document, pair = find(request, members.all, clients, deadline)
        check_arguments(request, document)
        refuse_left(request, document, pair, members, clients, deadline)
        if pairs.is_open_to(document, members.all):
            break  # it was recorded meanwhile, and is not to be begun but opened
        read = read_documents([request.caller], clients, deadline, of=["stats"])
        stats = read[request.caller].stats
    raise Unsettled(f"conversation {document.id} kept changing")


def check_arguments(request: Request, document: Conversation) -> None:
    by_key = request.conversation_type == "group" and request.idempotency_key
    if by_key and document.version and document.arguments != request.arguments():
        raise AlreadyExists("idempotencyKey was used before, with other arguments")


def refuse_left(
    request: Request,
    document: Conversation,
    pair: Pair | None,
    members: Members,
    clients: Clients,
    deadline: float,
) -> None:
    """Raise FailedPrecondition if the other has left a direct conversation, and PermissionDenied if
    the caller has left a group: nobody but themselves brings them back, and not into a group."""
    left = [key for key, one in members.stream_ids.items() if one in document.left]
    others = [key.id for key in left if key != request.caller]
    if not request.is_direct:
        if request.caller in left:
            raise PermissionDenied("the caller is no member of this conversation any more", [])
    elif others:
        if request.caller in left and pair:
            # They want to be back: then the other's own call opens it for both. It may be the
            # pair's last conversation that they left.
            mine = members.stream_ids[request.caller]
            named = pair.conversation_id or document.id
            pair.keep(named, clients, deadline)
            for one in document_store.read_all([*{document.id, named}], clients, deadline).values():
                if mine in one.left:
                    still = {other: at for other, at in one.left.items() if other != mine}
                    document_store.update(replace(one, left=still), ["left"], clients, deadline)
        raise FailedPrecondition(others, Refusal.LEFT)


def _add_to_stats(
    batch: firestore.WriteBatch,
    caller: Key,
    stats: Document | None,
    members: Members,
    clients: Clients,
) -> None:
    """Count a started conversation in the caller's stats, which are created if missing."""
    reference = stats_of(caller.id, clients)
    now = firestore.SERVER_TIMESTAMP
    if stats is None:
        account = members.states[caller].account
        created_at = (account and account.created_at) or now
        batch.create(reference, {**users.new_stats(created_at, now), "conversationsStarted": 1})
    else:
        more = {"conversationsStarted": firestore.Increment(1), "updatedAt": now}
        batch.update(reference, more)


def _pending(document: Conversation, request: Request, members: Members) -> Conversation:
    """``document`` as pending. A continued conversation keeps the arguments of its first call."""
    document = replace(document, created_at=document.created_at or datetime.now(UTC))
    if document.status not in ("", "deleted") and is_of(request, document, members):
        return replace(document, status="pending")
    # Into a direct conversation the caller comes back; the other has not left it.
    stay_away = () if request.is_direct else document.left
    member_ids = tuple(one for one in members.all if one not in stay_away)
    uids = [
        key.id
        for key, one in members.stream_ids.items()
        if key.kind == "user" and one not in stay_away
    ]
    return replace(
        document,
        status="pending",
        member_ids=member_ids,
        participant_ids=tuple(uids),
        left={one: at for one, at in document.left.items() if one not in member_ids},
        name=request.name,
        team=request.team,
        created_by=request.caller.id,
        conversation_type=request.conversation_type,
        arguments=request.arguments(),
    )


def is_of(request: Request, document: Conversation, members: Members) -> bool:
    """Whether the document, if a direct conversation is asked for, has just its two members.

    A client can compute the id, and may have created a channel under it with more members.
    """
    if not request.is_direct or pairs.is_open_to(document, members.all):
        return True
    is_direct = document.conversation_type == "direct"
    return is_direct and set(document.member_ids) == set(members.all)
