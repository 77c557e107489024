"""Looks up the members that a call asks for, and refuses those that may not talk."""

import time
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from firebase_functions import logger

from .. import ids, proof, users
from ..agreement import is_fresh
from ..clients import Clients
from ..clients.accounts import check_signed_in, existing_keys, read_accounts
from ..clients.documents import read_documents
from ..errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Refusal
from ..ids import Key
from ..observe import PendingReads, begin_reads
from ..outcome import Outcome
from ..plan import Observed, Policy, plan
from ..settings import Settings
from ..side_by_side import BATCH, batches, begin, joined
from ..users import FirebaseState
from .channel import refuse_obstacles
from .request import Request

CHECK_SECONDS = 5.0
"""A conversation begins after this time at the latest, though Stream hasn't answered yet."""


def with_members(
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
    read = joined([caller, *others], deadline)
    accounts = joined(lookups, deadline)
    keys, states = [], {}
    for asked in request.members:
        state = replace(read[asked], account=accounts.get(Key("user", asked.id)))
        key = actual_key(asked, state)
        keys.append(key)
        if users.exists(key, state):
            states[key] = state
    return replace(request, members=tuple(dict.fromkeys(keys))), states


def with_team(
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
        several = f"name one of the teams that all members share: {', '.join(shared)}"
        raise PermissionDenied(several if shared else "the members share no team", [])
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
    """The members of a new conversation: their accounts and documents, and their Stream ids."""

    states: Mapping[Key, FirebaseState]
    stream_ids: Mapping[Key, str]
    service_users: tuple[str, ...]
    known: frozenset[Key]
    """Those whose entries are fresh, and count: they are taken as present in Stream."""

    @classmethod
    def of(
        cls, request: Request, states: Mapping[Key, FirebaseState], clients: Clients
    ) -> "Members":
        stream_ids = {key: clients.settings.stream_id(key, states[key]) for key in request.members}
        known = _known_to_agree(stream_ids, states, clients)
        return cls(states, stream_ids, request.service_users, known)

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.stream_ids.values(), *self.service_users)

    @property
    def doubtful(self) -> list[Key]:
        """Those of whom Stream is asked."""
        return [key for key in self.stream_ids if key not in self.known]

    def name_of(self, stream_id: str, settings: Settings) -> str | dict[str, str]:
        """How the caller names a member; one whom only Stream knows has the id there."""
        by_id = {one: key for key, one in self.stream_ids.items()}
        key = by_id.get(stream_id) or settings.key(stream_id)
        return ids.named(key) if key else stream_id


def _known_to_agree(
    stream_ids: Mapping[Key, str], states: Mapping[Key, FirebaseState], clients: Clients
) -> frozenset[Key]:
    """Of a company that is an account, the entry of the account was not read."""
    now, config = datetime.now(UTC), clients.settings.config
    if not proof.is_proven(clients, now):
        return frozenset()
    return frozenset(
        key
        for key, stream_id in stream_ids.items()
        if is_fresh(states[key], config, now) and states[key].remembered_id == stream_id
    )


def begin_reads_of(members: Members, clients: Clients, deadline: float) -> PendingReads | None:
    """Begin to read the first hundred doubtful members while the conversation is written."""
    keys = members.doubtful[:BATCH]
    accounts = {key: account for key in keys if (account := members.states[key].account)}
    return begin_reads(keys, clients, deadline, accounts) if keys else None


def check_reads(
    reads: PendingReads, caller: Key, members: Members, clients: Clients, deadline: float
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
    for key, stream_id in members.stream_ids.items():
        if key not in reads.keys:
            continue
        is_asked = stream_id == settings.id_format.stream_id(key)
        state, user = members.states[key], in_stream.get(stream_id)
        observed = Observed(key, stream_id, state, user, stream_is_known=is_asked)
        if obstacle := plan(observed, Policy(settings.config)).obstacle:
            error = FailedPrecondition([key.id], obstacle)
            outcomes.append(Outcome(key, stream_id, None, error))
    # A deleted account that Stream has as deactivated is gone, and not an obstacle.
    existing = existing_keys([outcome.key for outcome in outcomes], clients, deadline)
    if gone := [outcome.key.id for outcome in outcomes if outcome.key not in existing]:
        raise NotFound(gone)
    refuse_obstacles(outcomes, caller)


def check_caller(
    request: Request, states: Mapping[Key, FirebaseState], signed_in_at: float
) -> None:
    """Raises Unauthenticated and FailedPrecondition, by what Auth says of the caller."""
    account = states[request.caller].account if request.caller in states else None
    check_signed_in(account, signed_in_at)
    if account and account.disabled:
        raise FailedPrecondition([request.caller.id], Refusal.DISABLED)


def check_members(
    request: Request, states: Mapping[Key, FirebaseState], settings: Settings
) -> None:
    """Raises NotFound with all members who don't exist, FailedPrecondition, PermissionDenied."""
    unknown = [key.id for key in request.members if key not in states]
    if unknown:
        raise NotFound(unknown)
    if len(request.members) + len(request.service_users) < 2:
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
