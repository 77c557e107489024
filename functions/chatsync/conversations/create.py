"""The callable that starts or continues a conversation: it repairs all members, then opens it."""

import math
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from firebase_functions import logger
from google.cloud import firestore

from .. import budgets, ids, outbox, proof, users
from ..agreement import is_fresh
from ..as_json import json_value
from ..clients import Clients
from ..clients.accounts import check_signed_in, existing_keys, read_accounts
from ..clients.documents import (
    CreatedDocument,
    add_write,
    commit,
    delete_documents,
    log_created,
    read_documents,
    stats_of,
)
from ..errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Refusal,
    Temporary,
    Unsettled,
)
from ..ids import Key
from ..observe import PendingReads, begin_reads
from ..outbox import Entry
from ..outcome import NotRepaired, Outcome
from ..plan import Observed, Policy, plan
from ..reconcile import GRACE_SECONDS
from ..settings import Settings
from ..side_by_side import BATCH, batches, begin, result
from ..users import Account, Document, FirebaseState
from . import document as document_store
from . import pairs
from .channel import refuse_obstacles
from .document import (
    DEADLINE_SECONDS,
    Conversation,
    ConversationOutcome,
    document_fields,
    reference_of,
)
from .pairs import Pair
from .patterns import field_value_of
from .reconcile import finish, open_ready, reconcile_conversations

MAX_TEXT_LENGTH = 256
MAX_TEAM_LENGTH = 100
TYPES = ("direct", "group")

UNFINISHED_SECONDS = 50.0
"""After this time the outbox finishes a conversation that the callable did not."""

CHECK_SECONDS = 5.0
"""A conversation begins after this time at the latest, though Stream hasn't answered yet."""

_MAX_CONFLICTS = 3


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
            return pairs.unkeyed_hash("key", self.caller, self.idempotency_key)
        return self.random_id

    def legacy_id(self) -> str:
        """Of a direct conversation from before there were pairs."""
        return pairs.legacy_id(self.team, self.members, self.service_users)

    def arguments(self) -> str:
        members = sorted(self.members)
        named = (self.conversation_type, self.name, self.team, members)
        return pairs.unkeyed_hash(*named, *self.service_users)


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
    presumed = (*map(clients.settings.id_format.stream_id, request.members), *request.service_users)
    # Only a caller who may start a conversation leads to the key of pairs, which is made once.
    is_early = not request.is_direct or pairs.knows_key(clients)
    finding = begin(_find, request, presumed, clients, deadline) if is_early else None
    stated_team = request.team
    request, states = _with_members(request, clients, deadline)
    _check_caller(request, states, signed_in_at)
    request, states = _with_team(request, states, clients, deadline)
    _check_members(request, states, clients.settings)
    members = Members.of(request, states, clients.settings)
    known = _known_to_agree(request, states, clients)
    if finding:
        document, pair = result(finding, deadline)
    else:
        document, pair = _find(request, presumed, clients, deadline)
    shared_team = request.team
    may_lack_team = not clients.settings.config.teams.required
    if request.is_direct and document.status == "ready" and may_lack_team:
        request = replace(request, team=stated_team)  # the two talked before they had a team
    # A company was named by its plain id, or the members share a team that was not named.
    if (members.all, request.team) != (presumed, stated_team):
        document, pair = _find(request, members.all, clients, deadline)
    _check_arguments(request, document)

    while True:
        if document.leaving:
            [looked] = reconcile_conversations([document.id], clients, deadline=deadline)
            if isinstance(looked.error, Temporary):
                raise NotRepaired(outbox.enqueue_unfinished([looked], clients)[0])
            document, pair = _find(request, members.all, clients, deadline)
        _refuse_left(request, document, members, clients, deadline)
        existed, outcome = True, None
        while document.status == "ready" and _is_of(request, document, members):
            outcome = open_ready(
                document, members.stream_ids, members.all, known, clients, deadline
            )
            if outcome:
                break
            if document.is_recorded or request.team != shared_team:
                # There may be another channel of the two; what is new is of their team.
                request = replace(request, team=shared_team)
                document, pair = _find(request, members.all, clients, deadline)
            else:
                document = replace(document, status="deleted")  # like its channel
        if outcome is None:
            outcome, existed = _begin_and_finish(
                document, pair, request, members, states, known, is_anonymous, clients, deadline
            )
        elif isinstance(outcome.error, Temporary):
            [outcome] = outbox.enqueue_unfinished([outcome], clients)
        elif pair and not outcome.error:
            pair.keep(document.id, clients, deadline)
        if not _is_taken(outcome):
            break
        request = replace(request, team=shared_team, taken=request.taken | {outcome.key.id})
        document, pair = _find(request, members.all, clients, deadline)
    if outcome.error:
        raise NotRepaired(outcome)
    document = outcome.document
    return {
        "id": document.id,
        "cid": outcome.stream_id,
        "conversationType": document.conversation_type,
        "participantIds": [members.name_of(one, clients.settings) for one in document.member_ids],
        "name": document.name,
        "team": document.team,
        "createdAt": json_value(document.created_at),
        "existed": existed,
        "healed": [ids.named(key) for key in outcome.healed],
    }


def _find(
    request: Request, member_ids: Sequence[str], clients: Clients, deadline: float
) -> tuple[Conversation, Pair | None]:
    """The conversation to continue or to begin, and the pair of a direct one."""
    prefix = request.id_prefix(clients.settings)
    if request.is_direct:
        legacy_id = prefix + request.legacy_id()
        taken = request.taken
        return pairs.find(request.team, member_ids, legacy_id, prefix, taken, clients, deadline)
    return document_store.read(prefix + request.group_id(), clients, deadline), None


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
    if conversation_type not in TYPES:
        raise InvalidArgument("conversationType", f"must be one of {', '.join(TYPES)}")
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


def _with_members(
    request: Request, clients: Clients, deadline: float
) -> tuple[Request, dict[Key, FirebaseState]]:
    """The request with the keys that its members have, and their accounts and documents.

    A plain id without account may be a company's, and a company may be an account. Members who
    don't exist have no state.
    """
    of_caller = ("user", "stats", "company", "entry", "account_entry")
    of_others = ("company", "entry", "account_entry", *(["user"] if request.team else []))
    caller = begin(read_documents, [request.caller], clients, deadline, of=of_caller)
    others = [
        begin(read_documents, batch, clients, deadline, of=of_others)
        for batch in batches(request.members[1:])
    ]
    # Companies are looked up as well: one may be an account.
    people = list(dict.fromkeys(Key("user", key.id) for key in request.members))
    lookups = [begin(read_accounts, batch, clients.auth) for batch in batches(people)]
    read: dict[Key, FirebaseState] = {}
    for reading in (caller, *others):
        found = result(reading, deadline)
        read |= found
    accounts: dict[Key, Account] = {}
    for lookup in lookups:
        of_batch = result(lookup, deadline)
        accounts |= of_batch
    keys, states = [], {}
    for asked in request.members:
        state = replace(read[asked], account=accounts.get(Key("user", asked.id)))
        key = actual_key(asked, state)
        keys.append(key)
        if users.exists(key, state):
            states[key] = state
    return replace(request, members=tuple(dict.fromkeys(keys))), states


def _with_team(
    request: Request, states: dict[Key, FirebaseState], clients: Clients, deadline: float
) -> tuple[Request, dict[Key, FirebaseState]]:
    """Give the request of a caller who has teams, and names none, the one that all members share.

    The members' user documents are then among the states. Raises PermissionDenied if they share
    none or several, or if teams are required and the caller has none.
    """
    config = clients.settings.config
    if request.team or any(key not in states for key in request.members):
        return request, states
    shared = users.teams_of(states[request.caller], config)
    if not shared:
        if config.teams.required:
            raise PermissionDenied("a conversation needs a team, and the caller has none", [])
        return request, states
    for batch in batches(request.members[1:]):
        read = read_documents(batch, clients, deadline, of=["user"])
        states = states | {key: replace(states[key], user=read[key].user) for key in batch}
    for key in request.members[1:]:
        theirs = users.teams_of(states[key], config)
        shared = [team for team in shared if team in theirs]
    if len(shared) != 1:
        which = f"several teams: {', '.join(shared)}" if shared else "no team"
        raise PermissionDenied(f"name a team: the members share {which}", [])
    return replace(request, team=shared[0]), states


def actual_key(asked: Key, state: FirebaseState) -> Key:
    """The key of the user or company that a caller names."""
    if asked.kind == "user":
        is_company = state.account is None and state.company is not None
        return Key("company", asked.id) if is_company else asked
    is_known = state.kind is not None or state.company is not None
    return Key("user", asked.id) if state.account is not None and is_known else asked


@dataclass(frozen=True)
class Members:
    """The members of a new conversation, by their Stream ids."""

    stream_ids: dict[Key, str]
    service_users: tuple[str, ...]

    @classmethod
    def of(
        cls, request: Request, states: Mapping[Key, FirebaseState], settings: Settings
    ) -> "Members":
        stream_ids = {key: settings.stream_id(key, states[key]) for key in request.members}
        return cls(stream_ids, request.service_users)

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.stream_ids.values(), *self.service_users)

    def name_of(self, stream_id: str, settings: Settings) -> str | dict[str, str]:
        """How the caller names a member; one whom only Stream knows has the id there."""
        by_id = {one: key for key, one in self.stream_ids.items()}
        key = by_id.get(stream_id) or settings.key(stream_id)
        return ids.named(key) if key else stream_id


def _known_to_agree(
    request: Request, states: Mapping[Key, FirebaseState], clients: Clients
) -> set[Key]:
    """The members whose entries are fresh, and count: they are taken as present in Stream.

    Of a company that is an account, the entry of the account was not read.
    """
    now, config = datetime.now(UTC), clients.settings.config
    if not proof.is_proven(clients, now):
        return set()
    known = set()
    for key in request.members:
        state, stream_id = states[key], clients.settings.stream_id(key, states[key])
        if is_fresh(state, config, now) and state.remembered_id == stream_id:
            known.add(key)
    return known


def _begin_reads(
    doubtful: Sequence[Key],
    states: Mapping[Key, FirebaseState],
    clients: Clients,
    deadline: float,
) -> PendingReads | None:
    """Begin to read the first hundred of these members while the conversation is written."""
    if not doubtful:
        return None
    keys = doubtful[:BATCH]
    accounts = {key: account for key in keys if (account := states[key].account)}
    return begin_reads(keys, clients, deadline, accounts)


def _check_reads(
    reads: PendingReads,
    caller: Key,
    states: Mapping[Key, FirebaseState],
    clients: Clients,
    deadline: float,
) -> None:
    """Raise the FailedPrecondition that was just read of a member or the caller, if any.

    What could not be read, or not soon, is left to :func:`finish`, and so is an account that is a
    company: it was asked for under another id.
    """
    reading = reads.stream_users
    wait([reading], min(CHECK_SECONDS, deadline - time.monotonic()))
    if not reading.done() or reading.exception():
        return
    in_stream, settings = reading.result(), clients.settings
    outcomes = []
    for key in [one for one in states if one in reads.keys]:
        stream_id = settings.stream_id(key, states[key])
        is_asked = stream_id == settings.id_format.stream_id(key)
        user = in_stream.get(stream_id)
        observed = Observed(key, stream_id, states[key], user, stream_is_known=is_asked)
        if obstacle := plan(observed, Policy(settings.config)).obstacle:
            error = FailedPrecondition([key.id], obstacle)
            outcomes.append(Outcome(key, stream_id, None, error))
    # A deleted account that Stream has as deactivated is gone, and not an obstacle.
    existing = existing_keys([outcome.key for outcome in outcomes], clients, deadline)
    if gone := [outcome.key.id for outcome in outcomes if outcome.key not in existing]:
        raise NotFound(gone)
    refuse_obstacles(outcomes, caller)


def _check_caller(
    request: Request, states: Mapping[Key, FirebaseState], signed_in_at: float
) -> None:
    """Raises Unauthenticated and FailedPrecondition, by what Auth says of the caller."""
    account = states[request.caller].account if request.caller in states else None
    check_signed_in(account, signed_in_at)
    if account and account.disabled:
        raise FailedPrecondition([request.caller.id], Refusal.DISABLED)


def _check_members(
    request: Request, states: Mapping[Key, FirebaseState], settings: Settings
) -> None:
    """Raises NotFound with all members who don't exist, FailedPrecondition, PermissionDenied."""
    unknown = [key.id for key in request.members if key not in states]
    if unknown:
        raise NotFound(unknown)
    if not len(request.members) + len(request.service_users) >= 2:
        raise InvalidArgument("participantIds", "must name somebody else")
    kinds = {key: users.kind_of(key, states[key], settings.config) for key in request.members}
    if undecided := [key.id for key, kind in kinds.items() if kind is None]:
        raise FailedPrecondition(undecided, Refusal.UNDECIDED)
    if not request.team:
        return
    teams = {key: users.teams_of(states[key], settings.config) for key in request.members}
    mine = teams[request.caller]
    if request.team not in mine:
        logger.warn(
            f"User {request.caller.id} of teams {', '.join(mine) or 'none'}"
            f" asked for a conversation of team {request.team}",
            user=request.caller.id,
        )
        raise PermissionDenied("the caller doesn't belong to this team", [])
    outside = [key.id for key in request.members if request.team not in teams[key]]
    if outside:
        logger.warn(
            f"User {request.caller.id} asked for a conversation of team {request.team}"
            f" with {len(outside)} outside of it",
            user=request.caller.id,
        )
        raise PermissionDenied(f"not in this team: {', '.join(outside)}", outside)


def _begin_and_finish(
    document: Conversation,
    pair: Pair | None,
    request: Request,
    members: Members,
    states: Mapping[Key, FirebaseState],
    known: Collection[Key],
    is_anonymous: bool,
    clients: Clients,
    deadline: float,
) -> tuple[ConversationOutcome, bool]:
    """The outcome, and whether the conversation existed before."""
    doubtful = [key for key in request.members if key not in known]
    reads = _begin_reads(doubtful, states, clients, deadline)
    caller, day = request.caller, None
    if not document.version:
        day = begin(budgets.day_of, caller.id, is_anonymous, clients, deadline)
    if reads:
        _check_reads(reads, caller, states, clients, deadline)
    begun = _begin(document, pair, request, members, states, clients, deadline, day)
    # A continued conversation may have other members than those of this call.
    is_as_asked = begun.document.member_ids == members.all
    prefetched = reads if is_as_asked else None
    keys = doubtful if is_as_asked else None
    outcome = finish(begun.document, clients, deadline, keys, prefetched, caller)
    outcome = outbox.complete(begun.entry, outcome, clients)
    if isinstance(outcome.error, NotFound) and caller.id in outcome.error.ids:
        delete_documents(begun.created, clients.firestore, deadline + GRACE_SECONDS)
    return outcome, begun.existed


def _refuse_left(
    request: Request,
    document: Conversation,
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
        if request.caller in left and document.version:
            # They want to be back: then the other's own call opens it for both.
            mine = members.stream_ids[request.caller]
            still = {one: at for one, at in document.left.items() if one != mine}
            document_store.update(replace(document, left=still), ["left"], clients, deadline)
        raise FailedPrecondition(others, Refusal.LEFT)


def _is_taken(outcome: ConversationOutcome) -> bool:
    """Whether the channel is somebody else's: the two get another one."""
    error = outcome.error
    return isinstance(error, FailedPrecondition) and error.reason == Refusal.TAKEN


class Begun(NamedTuple):
    document: Conversation
    entry: Entry
    existed: bool
    created: list[CreatedDocument]
    """The caller's stats, if they were missing."""


def _begin(
    document: Conversation,
    pair: Pair | None,
    request: Request,
    members: Members,
    states: Mapping[Key, FirebaseState],
    clients: Clients,
    deadline: float,
    day: Future[budgets.Day] | None,
) -> Begun:
    """Write in one commit the document as pending, its entry in the outbox, and the caller's count
    of started conversations: whatever happens afterwards, the outbox finishes the conversation."""
    outbox.try_to_wake(time.time() + UNFINISHED_SECONDS, clients)
    stats = states[request.caller].stats
    for _ in range(_MAX_CONFLICTS):
        pending = replace(_pending(document, request, members), origin="app")
        batch = clients.firestore.batch()
        fields = {
            **document_fields(pending, clients.settings),
            "arguments": pending.arguments,
            "origin": "app",
            "createdAt": pending.created_at,
        }
        reference = reference_of(document.id, clients)
        add_write(batch, reference, fields, pending.version, clients.firestore)
        entry = outbox.begin_entry(
            Key("conversation", document.id), batch, clients, UNFINISHED_SECONDS
        )
        if is_new := not document.version:
            _add_to_stats(batch, request.caller, stats, states, clients)
        if pair:
            pair.add_to(batch, document.id, clients)
        if is_new and day:
            result(day, deadline).add_to(batch)
        if written_at := commit(batch, deadline):
            # In the order of the batch; the caller's stats come third.
            document_at, entry_at, *others_at = written_at
            created = []
            if is_new and stats is None:
                log_created(request.caller, [stats_of(request.caller.id, clients)])
                created.append(CreatedDocument(stats_of(request.caller.id, clients), others_at[0]))
            existed = document.status not in ("", "deleted")
            pending = replace(pending, version=document_at)
            return Begun(pending, replace(entry, version=entry_at), existed, created)
        # Somebody else wrote one of these first.
        document, pair = _find(request, members.all, clients, deadline)
        _check_arguments(request, document)
        _refuse_left(request, document, members, clients, deadline)
        if pairs.is_open_to(document, members.all):
            break  # it was recorded meanwhile, and is not to be begun but opened
        read = read_documents([request.caller], clients, deadline, of=["stats"])
        stats = read[request.caller].stats
    raise Unsettled(f"conversation {document.id} kept changing")


def _check_arguments(request: Request, document: Conversation) -> None:
    by_key = request.conversation_type == "group" and request.idempotency_key
    if by_key and document.version and document.arguments != request.arguments():
        raise AlreadyExists("idempotencyKey was used before, with other arguments")


def _add_to_stats(
    batch: firestore.WriteBatch,
    caller: Key,
    stats: Document | None,
    states: Mapping[Key, FirebaseState],
    clients: Clients,
) -> None:
    """Count a started conversation in the caller's stats, which are created if missing."""
    reference = stats_of(caller.id, clients)
    now = firestore.SERVER_TIMESTAMP
    if stats is None:
        account = states[caller].account
        created_at = (account and account.created_at) or now
        batch.create(reference, {**users.new_stats(created_at, now), "conversationsStarted": 1})
    else:
        more = {"conversationsStarted": firestore.Increment(1), "updatedAt": now}
        batch.update(reference, more)


def _pending(document: Conversation, request: Request, members: Members) -> Conversation:
    """``document`` as pending. A continued conversation keeps the arguments of its first call."""
    document = replace(document, created_at=document.created_at or datetime.now(UTC))
    if document.status not in ("", "deleted") and _is_of(request, document, members):
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


def _is_of(request: Request, document: Conversation, members: Members) -> bool:
    """Whether the document, if a direct conversation is asked for, has just its two members.

    A client can compute the id, and may have created a channel under it with more members.
    """
    if not request.is_direct or pairs.is_open_to(document, members.all):
        return True
    is_direct = document.conversation_type == "direct"
    return is_direct and set(document.member_ids) == set(members.all)
