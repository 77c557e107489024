"""What a reconciliation reads of users on all sides, and its plan for each."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from . import side_by_side
from .clients import Clients
from .clients.accounts import read_accounts
from .clients.documents import WITH_HISTORY, read_documents
from .errors import Temporary
from .ids import Key
from .plan import Observed, Payload, Plan, Policy, plan
from .record import Record
from .users import Account, FirebaseState, UserKind, kind_of


@dataclass(frozen=True)
class PendingReads:
    """Reads of up to 100 users that are under way."""

    keys: frozenset[Key]
    documents: Future[dict[Key, FirebaseState]]
    stream_users: Future[dict[str, Payload]]
    accounts: Mapping[Key, Account] | None
    """None if Auth has not been asked."""

    begun: float
    """In the time of ``time.monotonic()``."""


def begin_reads(
    keys: Collection[Key],
    clients: Clients,
    deadline: float,
    accounts: Mapping[Key, Account] | None = None,
) -> PendingReads:
    """Begin to read these users; ``accounts`` is what Auth has just said of them, if it was asked.

    Reconcile soon after: a user who is missing in Stream now could be created meanwhile, and the
    reconciliation would replace them.
    """
    stream_ids = [clients.settings.id_format.stream_id(key) for key in keys]
    begun = time.monotonic()
    return PendingReads(
        frozenset(keys),
        side_by_side.begin(read_documents, keys, clients, deadline),
        side_by_side.begin(clients.stream.query_users, stream_ids, deadline),
        accounts,
        begun,
    )


def observed_of(
    reads: PendingReads, clients: Clients, deadline: float, *, decides: bool = False
) -> tuple[dict[Key, Observed], Temporary | None]:
    """What was read of each user, and why Stream could not be read. Auth's part is still missing.

    With ``decides``, an account of which nothing has told yet what it is counts as a person. Raises
    Temporary if Firestore cannot be read.
    """
    failure = None
    found: dict[str, Payload] = {}
    try:
        found = side_by_side.result(reads.stream_users, deadline)
    except Temporary as error:
        failure = error
    settings = clients.settings
    read = side_by_side.result(reads.documents, deadline)
    otherwise: UserKind | None = "user" if decides else None
    # Of a company, what was read is the kind of the account with its id.
    states = {
        key: replace(state, kind=kind_of(key, state, settings.config) or otherwise)
        for key, state in read.items()
    }
    stream_ids = {key: settings.stream_id(key, state) for key, state in states.items()}
    presumed_ids = {key: settings.id_format.stream_id(key) for key in states}
    # An account that is a company was asked for under the id of a person.
    others = [
        stream_ids[key] for key, state in states.items() if state.kind not in (None, key.kind)
    ]
    try:
        found |= clients.stream.query_users(others, deadline) if failure is None else {}
    except Temporary as error:
        failure = error
    observed = {
        key: Observed(
            key,
            stream_ids[key],
            state,
            found.get(stream_ids[key]),
            account_is_known=False,
            stream_is_known=failure is None,
            kind_is_recorded=read[key].kind is not None,
            other_identity=(
                presumed_ids[key]
                if presumed_ids[key] != stream_ids[key] and presumed_ids[key] in found
                else ""
            ),
            is_account=key.kind == "company" and read[key].kind is not None,
        )
        for key, state in states.items()
    }
    return observed, failure


@dataclass(frozen=True)
class Planned:
    """One user as it was read, and what to do about it."""

    observed: Observed
    plan: Plan


AskAuth = Literal["if_needed", "at_once", "decides"]
"""Whether Auth is asked only of those whose plan needs it; or of everybody, side by side with the
other sides; or so, and what it says decides: a disabled account is refused even if Stream has the
user, and one of which nothing has told yet what it is counts as a person."""


class Observer:
    """Reads users, plans, and enters what it reads of Stream into their records.

    With ``retry_refused`` values that were refused before are planned again.
    """

    def __init__(
        self,
        records: Mapping[Key, Record],
        clients: Clients,
        ask_auth: AskAuth,
        retry_refused: bool,
    ) -> None:
        self._records = records
        self._clients = clients
        self._ask_auth = ask_auth
        self._retry_refused = retry_refused

    def observe(
        self, keys: Collection[Key], deadline: float, prefetched: PendingReads | None
    ) -> dict[Key, Planned]:
        """Read these users, and plan. Raises Temporary if Firestore or Auth cannot be read.

        If Stream cannot be read, documents are planned all the same, and the users get that error.
        """
        asking = self._begin_asking(keys) if self._ask_auth != "if_needed" else None
        reads = prefetched or begin_reads(keys, self._clients, deadline)
        observed = self._read(reads, deadline)
        accounts = prefetched.accounts if prefetched else None
        planned: dict[Key, Planned] = {}
        if asking:
            accounts = side_by_side.result(asking, deadline)
        else:
            planned = {key: Planned(one, self._plan(one)) for key, one in observed.items()}
        to_ask = [key for key in observed if not planned or self._must_ask(planned[key])]
        if to_ask and accounts is None:
            accounts = side_by_side.result(self._begin_asking(to_ask), deadline)
        for key in to_ask:
            account = (accounts or {}).get(Key("user", key.id))
            with_account = observed[key].with_account(account)
            planned[key] = Planned(with_account, self._plan(with_account))
        return planned

    def _read(self, reads: PendingReads, deadline: float) -> dict[Key, Observed]:
        """What Firestore and Stream say of the users."""
        decides = self._ask_auth == "decides"
        observed, failure = observed_of(reads, self._clients, deadline, decides=decides)
        for key, one in observed.items():
            record = self._records[key]
            record.error = failure
            record.stream_id, record.stream_user = one.stream_id, one.stream_user
            record.kind = one.state.kind
            if record.remembered is None:
                record.remembered = one.state.refused
            elapsed = timedelta(seconds=time.monotonic() - reads.begun)
            record.note_entry(one.state.remembered, elapsed)
            observed[key] = replace(one, state=self._with_refused(one.state, record))
        return observed

    def _must_ask(self, planned: Planned) -> bool:
        """Whether Auth decides: something would be written, or was, or no document has a name."""
        return self._records[planned.observed.key].is_written or planned.plan.ask_auth

    def _plan(self, observed: Observed) -> Plan:
        serves_disabled = self._ask_auth != "decides"
        return plan(observed, Policy(self._clients.settings.config, serves_disabled))

    def read_again(
        self, keys: Collection[Key], deadline: float
    ) -> tuple[dict[Key, FirebaseState], set[Key]]:
        """What Firebase says of these users now, and the users who are of another kind by now.

        The kind is read again where it matters: where one was written down, or a Stream user was
        created. Raises Temporary.
        """
        records = [self._records[key] for key in keys]
        fields = ["user", "profile", "stats"]
        if any(one.is_decided_here or one.is_created or one.kind == "company" for one in records):
            fields += ["company", "entry", "account_entry"]
        elif any(one.status or one.documents or one.profile_followed for one in records):
            fields.append("entry")
        reading = side_by_side.begin(
            read_documents, keys, self._clients, deadline, of=fields, whole=WITH_HISTORY
        )
        asking = self._begin_asking([key for key in keys if key.kind == "user"])
        states = side_by_side.result(reading, deadline)
        accounts = side_by_side.result(asking, deadline)
        now = {}
        otherwise = set()
        for key, state in states.items():
            record = self._records[key]
            if "entry" in fields:
                record.history = state.remembered.history if state.remembered else ()
            if self._is_of_another_kind(record, state):
                otherwise.add(key)
            known = self._with_refused(replace(state, kind=record.kind), record)
            now[key] = replace(known, account=accounts.get(key))
        return now, otherwise

    def _is_of_another_kind(self, record: Record, state: FirebaseState) -> bool:
        """Whether somebody decided otherwise since, or a company came while we decided "user"."""
        if record.key.kind == "company":
            return record.is_created and state.kind == "user"
        by_documents = kind_of(record.key, replace(state, kind=None), self._clients.settings.config)
        came_too_late = record.kind == "user" and by_documents == "company"
        is_changed = state.kind not in (None, record.kind)
        return is_changed or (record.is_decided_here and came_too_late)

    def _with_refused(self, state: FirebaseState, record: Record) -> FirebaseState:
        """``state``, with the refused values that are not to be sent again."""
        remembered = frozenset() if self._retry_refused else record.remembered or frozenset()
        return replace(state, refused=remembered | record.refused)

    def _begin_asking(self, keys: Collection[Key]) -> Future[dict[Key, Account]]:
        """Of a company, whether an account has its id."""
        ids = {Key("user", key.id) for key in keys}
        return side_by_side.begin(read_accounts, ids, self._clients.auth)
