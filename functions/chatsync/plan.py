"""How a user differs between Firebase and Stream, and what to do about it. Pure.

The repair executes a plan and the audit reports it: so the two cannot disagree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import users
from .errors import Refusal
from .ids import Key
from .users import Account, FirebaseState

Payload = dict[str, Any]
"""A Stream user, or a partial update of one: ``{id, set, unset}``."""


@dataclass(frozen=True)
class Policy:
    """What the settings say of users of one kind."""

    default_role: str = "user"
    extra_fields: tuple[str, ...] = ()
    provision_anonymous: bool = True
    serves_disabled: bool = True
    """Whether a disabled account that is in Stream counts as in agreement."""


@dataclass(frozen=True)
class Observed:
    """One user, as it was read on all sides."""

    key: Key
    stream_id: str
    state: FirebaseState
    stream_user: Mapping[str, Any] | None
    """None if Stream has no such user, or could not be read."""

    account_is_known: bool = True
    """Whether Auth was asked; for a company it never is."""

    stream_is_known: bool = True

    def with_account(self, account: Account | None) -> "Observed":
        """The same user after Auth was asked."""
        return replace(self, state=replace(self.state, account=account), account_is_known=True)


@dataclass(frozen=True)
class Plan:
    """What to write for one user. If it is empty, the sides agree."""

    ask_auth: bool = False
    """Ask Auth first: there is something to write, or no document has a name."""

    exists: bool = True
    """False if neither an account nor a company exists: what was created is removed."""

    documents: bool = False
    """Documents are missing, or the profile must follow a change."""

    create: Payload | None = None
    """The Stream user that is missing."""

    patch: Payload | None = None
    """The partial update that brings the Stream user to what Firebase states."""

    obstacle: Refusal | None = None
    """Why the user cannot chat although the sides agree: a FailedPrecondition's reason."""

    @property
    def writes(self) -> bool:
        return bool(self.documents or self.create or self.patch)


def plan(observed: Observed, policy: Policy) -> Plan:
    """What to do about one user. Auth decides who exists, and is asked before any write."""
    is_company = observed.key.kind == "company"
    if not (observed.account_is_known or is_company):
        presumed = _plan_of_existing(observed, policy)
        if presumed.writes or not users.names_user(observed.state):
            return Plan(ask_auth=True)
        return presumed
    if not users.exists(observed.key, observed.state):
        return Plan(exists=False)
    return _plan_of_existing(observed, policy)


def _plan_of_existing(observed: Observed, policy: Policy) -> Plan:
    state, account = observed.state, observed.state.account
    if account and account.anonymous and not policy.provision_anonymous:
        return Plan(obstacle=Refusal.ANONYMOUS)
    documents = observed.key.kind == "user" and users.documents_differ(state)
    if not observed.stream_is_known:
        return Plan(documents=documents)
    in_stream = _plan_for_stream(observed, policy)
    return replace(in_stream, documents=documents)


def _plan_for_stream(observed: Observed, policy: Policy) -> Plan:
    state, stream_user = observed.state, observed.stream_user
    is_disabled = bool(state.account and state.account.disabled)
    owned = users.owned_fields(state, policy.extra_fields)
    wanted = users.without_refused(owned, state.refused)
    obstacle = None
    create = patch = None
    if stream_user is None and is_disabled:
        obstacle = Refusal.DISABLED
    elif stream_user is None:
        create = users.new_stream_user(observed.stream_id, wanted, policy.default_role)
    elif stream_user.get("deactivated_at"):
        obstacle = Refusal.DEACTIVATED
    else:
        patch = users.drift(stream_user, wanted, policy.default_role)
        if stream_user.get("banned"):
            obstacle = Refusal.BANNED
        elif is_disabled and not policy.serves_disabled:
            obstacle = Refusal.DISABLED
    if (create or patch) and users.refusal_of_the_rest(owned, policy.default_role) in state.refused:
        return Plan(obstacle=Refusal.REJECTED)
    return Plan(create=create, patch=patch, obstacle=obstacle)
