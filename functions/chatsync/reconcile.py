"""The repair: bring Firebase Auth, Firestore and Stream into agreement about users.

Every entry point ends in :func:`reconcile_users`. It takes keys only and reads each side anew: an
event is only a hint that something changed, and its data is never copied, since events arrive late,
twice and out of order.
"""

import math
import random
import time
from collections.abc import Iterable, Mapping, Sequence

from firebase_functions import logger

from . import ids, side_by_side, users
from .clients import Clients
from .document_writes import DocumentWrites
from .errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Paused,
    Postponed,
    StreamRateLimited,
    Temporary,
    Unsettled,
)
from .ids import Key
from .observe import AskAuth, Observer, PendingReads, Planned
from .outcome import Outcome
from .record import Record
from .stream_writes import StreamWrites

DEADLINE_SECONDS = 20.0
"""For one batch. Callers wait for it; the functions end after 60."""

MAX_ROUNDS = 4
"""The first attempt and three repetitions; a user who is not settled then is left for later."""

GRACE_SECONDS = 5.0
"""For verifying and removing after the deadline."""

PAUSE_SECONDS = 0.2


def new_deadline() -> float:
    """The deadline of a batch that begins now, in the time of ``time.monotonic()``."""
    return time.monotonic() + DEADLINE_SECONDS


def reconcile_users(
    keys: Sequence[Key],
    clients: Clients,
    *,
    ask_auth: AskAuth = "if_needed",
    retry_refused: bool = False,
    deadline: float = math.inf,
    prefetched: PendingReads | None = None,
) -> list[Outcome]:
    """Bring these users into agreement on all sides; one outcome per key, in the same order.

    Missing documents and a missing Stream user of an existing account are created, and the Stream
    user is patched in the fields that Firebase states. A deleted account is never brought back. One
    user's error never concerns another. Without ``retry_refused``, values that were refused before
    are not sent again until they change. Every hundred has 20 seconds, and all end at ``deadline``.
    ``prefetched`` are reads of the first hundred keys.

    Raises errors that concern everybody: StreamCredentialsRejected, StreamRejected if Stream
    refuses a query, permanent errors of Firestore and Auth, and ValueError if ``prefetched`` is of
    other keys.
    """
    outcomes: dict[Key, Outcome] = {}
    instead: dict[Key, Key] = {}
    left = list(dict.fromkeys(keys))
    while left:
        for batch in side_by_side.batches(left):
            reconciliation = Reconciliation(batch, clients, ask_auth, retry_refused, deadline)
            outcomes |= reconciliation.run(prefetched)
            instead |= reconciliation.instead()
            prefetched = None
        left = list({key for key in instead.values() if key not in outcomes})
    id_format = clients.settings.id_format
    for key in keys:
        # A company without document may be an account that is a company, but is no person.
        is_other = outcomes[instead.get(key, key)].stream_id != id_format.stream_id(key)
        if key.kind == "company" and isinstance(outcomes[key].error, NotFound) and is_other:
            instead.pop(key, None)
    return [outcomes[instead.get(key, key)] for key in keys]


class Reconciliation:
    """The repair of up to 100 users, in rounds of reading, writing, and verifying.

    Verifying makes it safe: two repairs of one user can write in the reverse order of their reads,
    and an account can be deleted between the check and the write. It cannot see a call that timed
    out here and that Stream applies afterwards.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        clients: Clients,
        ask_auth: AskAuth,
        retry_refused: bool,
        deadline: float,
    ) -> None:
        self._keys = keys
        self._clients = clients
        self._ask_auth = ask_auth
        self._retry_refused = retry_refused
        self._deadline = min(new_deadline(), deadline)
        self._records = {key: Record(key, "") for key in keys}
        self._observer = Observer(self._records, clients, ask_auth, retry_refused)
        self._in_stream = StreamWrites(self._records, clients.stream, self._deadline)
        self._documents = DocumentWrites(self._records, clients, self._deadline)

    def run(self, prefetched: PendingReads | None) -> dict[Key, Outcome]:
        pending = {key for key in self._keys if self._has_possible_id(self._records[key])}
        if prefetched and prefetched.keys != pending:
            raise ValueError("other users were read than those to be reconciled")
        for attempt in range(MAX_ROUNDS):
            if not pending or not self._pause(pending, attempt):
                break
            pending = self._round(pending, prefetched)
            prefetched = None
        is_over = time.monotonic() >= self._deadline
        for record in self._of(pending):
            if record.error is None and is_over:
                record.error = Postponed(f"no time left for {record.key.kind} {record.key.id}")
            elif record.error is None:
                message = f"{record.key.kind} {record.key.id} kept changing while repaired"
                record.error = Unsettled(message)
        self._documents.remember_agreement(self._deadline + GRACE_SECONDS)
        return {key: _outcome(record) for key, record in self._records.items()}

    def instead(self) -> dict[Key, Key]:
        """The keys in whose place others are to be reconciled."""
        records = self._records.values()
        return {record.key: record.instead for record in records if record.instead}

    def _has_possible_id(self, record: Record) -> bool:
        key, id_format = record.key, self._clients.settings.id_format
        try:
            ids.check_key(key.id, f"{key.kind}Id", key.kind, id_format)
        except InvalidArgument as error:
            record.error = error
            return False
        record.stream_id = id_format.stream_id(key)
        return True

    def _of(self, keys: Iterable[Key]) -> list[Record]:
        return [self._records[key] for key in keys]

    def _pause(self, pending: set[Key], attempt: int) -> bool:
        """After a failure, wait a little; False if no time is left."""
        if any(isinstance(record.error, Temporary) for record in self._of(pending)):
            time.sleep(PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.5))
        return time.monotonic() < self._deadline

    def _round(self, keys: set[Key], prefetched: PendingReads | None) -> set[Key]:
        """Repair ``keys`` once; returns those that need another round."""
        for record in self._of(keys):
            record.error = None
        try:
            planned = self._observer.observe(keys, self._deadline, prefetched)
        except Temporary as error:
            self._fail(keys, error)
            return keys
        again = self._take_back({key for key in keys if not planned[key].plan.exists})
        for key in keys - again:
            if self._ask_auth != "decides" or planned[key].plan.exists:
                self._records[key].instead = planned[key].plan.instead
        for one in planned.values():
            if one.plan.exists:
                self._note_plan(one)
        written = {key: one for key, one in planned.items() if one.plan.writes}
        if not written:
            return again

        for record in self._of(written):
            record.is_written = True
        documents = {key: one.observed.state for key, one in written.items() if one.plan.documents}
        undecided = {key for key, one in written.items() if one.plan.entry}
        writing = self._documents.begin(documents, undecided)
        noted = self._documents.note(writing, documents, undecided) if undecided else set()
        for record in self._of(undecided - noted):
            record.is_decided_here = True
        decided = {key: one.plan for key, one in written.items() if key not in undecided & noted}
        try:
            again |= self._in_stream.create(
                {key: plan.create for key, plan in decided.items() if plan.create}
            )
            again |= self._in_stream.patch(
                {key: plan.patch for key, plan in decided.items() if plan.patch}
            )
        finally:
            # Whatever was refused or broke, every write is verified.
            again |= noted if undecided else self._documents.note(writing, documents, undecided)
            after = self._deadline + GRACE_SECONDS
            self._documents.remember_refused(written, self._retry_refused, after)
            again |= self._verify_after_write(written)
        return again

    def _note_plan(self, planned: Planned) -> None:
        """Enter into the record what the plan says of the user."""
        observed = planned.observed
        record = self._records[observed.key]
        record.agreed = observed.state
        if observed.stream_is_known:
            record.differed |= bool(
                planned.plan.create or planned.plan.patch or planned.plan.obstacle
            )
        if planned.plan.obstacle:
            record.error = FailedPrecondition([record.key.id], planned.plan.obstacle)
        if record.is_created and record.stream_user:
            record.note_creation()
        if planned.plan.create:
            record.log(f"User {record.key.id} not found in Stream Chat, attempting to create...")
        config = self._clients.settings.config
        owned = users.owned_fields(observed.state, config)
        role = users.default_role(record.kind or "user", config)
        record.refusal_of_the_rest = users.refusal_of_the_rest(owned, role)
        refused = users.refused_role(observed.state, config)
        if refused and planned.plan.writes:
            message = f"Role {refused} of user {record.key.id} is not among stream.allowed_roles"
            record.log(message, logger.warn)

    def _fail(self, keys: Iterable[Key], error: Temporary) -> None:
        for record in self._of(keys):
            record.error = error

    def _verify_after_write(self, before: Mapping[Key, Planned]) -> set[Key]:
        """Take back what is no longer wanted; returns those of whom Firebase says something new."""
        deadline = self._deadline + GRACE_SECONDS
        try:
            states, of_another_kind = self._observer.read_again(before.keys(), deadline)
        except Temporary as error:
            self._fail(before, error)
            return set(before)
        unwanted, outdated, differing = set(of_another_kind), set(), set()
        for key, now in states.items():
            record = self._records[key]
            was = before[key].observed.state
            if key in of_another_kind:
                continue
            if not users.exists(key, now):
                unwanted.add(key)
                continue
            if record.is_created and now.account and now.account.disabled:
                unwanted.add(key)
            # Documents created from old values of Auth would hide the change.
            if record.documents and was.account != now.account:
                outdated.add(key)
            config = self._clients.settings.config
            if users.owned_fields(now, config) != users.owned_fields(was, config) or (
                key.kind == "user" and users.documents_differ(now, config)
            ):
                differing.add(key)
        for record in self._of(outdated):
            record.error = (
                self._documents.delete(record, deadline, only_certain=True) or record.error
            )
        return self._take_back(unwanted) | of_another_kind | outdated | differing

    def _take_back(self, gone: Iterable[Key]) -> set[Key]:
        """Remove what was created here for users who don't exist, and nothing else.

        Returns the removed users: a removal is a write, and needs another verification.
        """
        again = set()
        deadline = self._deadline + GRACE_SECONDS
        for record in self._of(gone):
            key = record.key
            record.error = NotFound([key.id])
            failure = self._in_stream.take_back(key, deadline) if record.is_created else None
            failure = self._documents.delete(record, deadline) or failure
            if failure:
                message = f"Could not remove what was created for {key.id}: {failure}"
                record.log(message, logger.error)
                record.error = failure
            elif record.is_created:
                record.is_created, record.restorations, record.status = False, 0, None
                record.log(f"Removed what was created for {key.id}, and must not be")
                again.add(key)
            if failure and not isinstance(failure, StreamRateLimited | Paused):
                again.add(key)
        return again


def _outcome(record: Record) -> Outcome:
    error = record.error
    return Outcome(
        record.key,
        record.stream_id,
        status=None if error else record.status or "ok",
        error=error,
        stream_user=dict(record.stream_user or {}),
        account=record.agreed.account if record.agreed else None,
        recheck=record.creation_unanswered or record.patch_unanswered,
        removal=record.creation_unanswered or (record.is_created and isinstance(error, Temporary)),
    )
