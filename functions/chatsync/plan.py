"""How a user differs between Firebase and Stream, and what to do about it. Pure.

The repair executes a plan and the audit reports it: so the two cannot disagree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import users
from .config import DEFAULTS, Config
from .errors import Refusal
from .ids import Key
from .users import Account, FirebaseState

Payload = dict[str, Any]
"""A Stream user, or a partial update of one: ``{id, set, unset}``."""


@dataclass(frozen=True)
class Policy:
    """What the settings say."""

    config: Config = DEFAULTS
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
    kind_is_recorded: bool = True
    """Whether ``stream_users`` says what the account is; of companies it need not."""

    other_identity: str = ""
    """The Stream id of a second Stream user that the account must not have, if one is known."""

    is_account: bool = False
    """Of a company: whether ``stream_users`` knows an account of its id. It may be deleted."""

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

    instead: Key | None = None
    """Reconcile this key: an account that is a company has the key of its account, and a company
    without account may be named by its plain id."""

    documents: bool = False
    """Documents are missing, or the profile must follow a change."""

    entry: bool = False
    """The kind of the account is decided now, and not written down yet."""

    create: Payload | None = None
    """The Stream user that is missing."""

    patch: Payload | None = None
    """The partial update that brings the Stream user to what Firebase states."""

    obstacle: Refusal | None = None
    """Why the user cannot chat although the sides agree: a FailedPrecondition's reason."""

    @property
    def writes(self) -> bool:
        return bool(self.documents or self.entry or self.create or self.patch)


def plan(observed: Observed, policy: Policy) -> Plan:
    """What to do about one user. Auth decides who exists, and is asked before any write."""
    is_company = observed.key.kind == "company"
    if is_company and observed.is_account and not observed.account_is_known:
        return Plan(ask_auth=True)
    if is_company and observed.is_account and observed.state.account:
        return Plan(instead=Key("user", observed.key.id))
    if not (observed.account_is_known or is_company):
        if users.needs_claims(policy.config):
            return Plan(ask_auth=True)
        presumed = _plan_of_existing(observed, policy)
        is_named = users.names_user(observed.state, policy.config)
        return Plan(ask_auth=True) if presumed.writes or not is_named else presumed
    if not users.exists(observed.key, observed.state):
        return Plan(exists=False, instead=_namesake(observed))
    return _plan_of_existing(observed, policy)


def patch_of(observed: Observed, policy: Policy) -> Payload | None:
    """What brings the Stream user to what Firebase states, if the user exists."""
    return _plan_of_existing(observed, policy).patch


def _namesake(observed: Observed) -> Key | None:
    """Of an id that is nobody's: the company that a plain id may mean, or the account that is a
    company though it has no document in ``companies``."""
    if observed.key.kind == "company":
        return Key("user", observed.key.id)
    return Key("company", observed.key.id) if observed.state.company is not None else None


def _plan_of_existing(observed: Observed, policy: Policy) -> Plan:
    state, account = observed.state, observed.state.account
    if account and account.anonymous and not policy.config.stream.provision_anonymous_users:
        return Plan(obstacle=Refusal.ANONYMOUS)
    kind = users.kind_of(observed.key, state, policy.config)
    if kind is None:
        return Plan(obstacle=Refusal.UNDECIDED)
    in_stream = Plan()
    if observed.stream_is_known:
        in_stream = _plan_for_stream(observed, policy, users.default_role(kind, policy.config))
    if observed.key.kind == "company":
        return in_stream
    differ = users.documents_differ(state, policy.config)
    return replace(in_stream, documents=differ, entry=not observed.kind_is_recorded)


def _plan_for_stream(observed: Observed, policy: Policy, role: str) -> Plan:
    state, stream_user = observed.state, observed.stream_user
    is_disabled = bool(state.account and state.account.disabled)
    owned = users.owned_fields(state, policy.config)
    wanted = users.without_refused(owned, state.refused)
    obstacle = None
    create = patch = None
    if stream_user is None and is_disabled:
        obstacle = Refusal.DISABLED
    elif stream_user is None:
        create = users.new_stream_user(observed.stream_id, wanted, role)
    elif stream_user.get("deactivated_at"):
        obstacle = Refusal.DEACTIVATED
    else:
        patch = users.drift(stream_user, wanted, role)
        if stream_user.get("banned"):
            obstacle = Refusal.BANNED
        elif is_disabled and not policy.serves_disabled:
            obstacle = Refusal.DISABLED
    if (create or patch) and users.refusal_of_the_rest(owned, role) in state.refused:
        return Plan(obstacle=Refusal.REJECTED)
    return Plan(create=create, patch=patch, obstacle=obstacle)
