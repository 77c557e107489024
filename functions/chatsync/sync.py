"""The repair: bring Firebase Auth, Firestore and Stream into agreement about users.

Every door ends in :func:`reconcile_users`. It takes keys only and reads each side afresh: an event
is a hint that something changed, never the truth to be copied, since events arrive late, twice and
out of order.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from firebase_functions import logger

from . import firebase, ids, side_by_side, stream, users
from .clients import Clients
from .errors import (
    ChatsyncError,
    FailedPrecondition,
    FirebaseUnavailable,
    InvalidArgument,
    NotFound,
    Postponed,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
    Temporary,
    TooManyRefusals,
    Unsettled,
)
from .firebase import Made, Written
from .ids import Key
from .users import Account, Held

Status = Literal["ok", "created", "updated", "restored"]
Payload = dict[str, Any]
"""A Stream user, or a partial update of one."""

Item = TypeVar("Item")

DEADLINE_SECONDS = 20.0
"""For one batch. Callers wait for it, and the functions end after 60."""

MAX_ROUNDS = 4
"""The first attempt and three repetitions; what is not settled then is left for later."""

GRACE_SECONDS = 5.0
"""For looking again, and taking back, after the deadline."""

MAX_REFUSALS = 60
"""Refused calls after which a repair stops halving: Stream allows 300 in a minute."""

_REFUSALS_TO_FIND = 40
"""Of these, how many may go into finding who is refused; the others find out what of them."""

_TRIED_ONE_BY_ONE = 8
"""Halving so few would take as many calls, and more refusals where several are bad."""

_MAX_REMEMBERED = 20

PAUSE_SECONDS = 0.2
_MAX_RESTORE_TRIES = 2


def new_deadline() -> float:
    """When what begins now must be done, in the time of ``time.monotonic()``."""
    return time.monotonic() + DEADLINE_SECONDS


@dataclass(frozen=True)
class Outcome:
    """What became of one key: a status, or the error that stands in its way."""

    key: Key
    stream_id: str
    """What Stream knows them by; empty if the key cannot be known there."""

    status: str | None
    error: ChatsyncError | None
    stream_user: Payload = field(default_factory=dict)
    """As it was found in Stream; empty where it was missing."""

    recheck: bool = False
    """Whether the answer to a write was lost: Stream may still apply it, later than all others."""

    removal: bool = False
    """Whether the repair may have left a Stream user who has to go if the account is gone."""


@dataclass(frozen=True)
class Reading:
    """What is being read of up to 100 users."""

    keys: frozenset[Key]
    documents: Future[dict[Key, Held]]
    stream_users: Future[dict[str, Payload]]
    accounts: Mapping[Key, Account] | None
    """None if Auth has not been asked."""


def begin_reading(
    keys: Collection[Key],
    clients: Clients,
    deadline: float,
    accounts: Mapping[Key, Account] | None = None,
) -> Reading:
    """Begin to read these users, with what Auth has just said of them, if it was asked.

    For a repair that follows soon: who is missing in Stream by now could be created meanwhile, and
    would be replaced.
    """
    stream_ids = [clients.settings.id_format.stream_id(key) for key in keys]
    return Reading(
        frozenset(keys),
        side_by_side.begin(
            firebase.read_documents, keys, clients.firestore, deadline, with_refused=True
        ),
        side_by_side.begin(clients.stream.query_users, stream_ids, deadline),
        accounts,
    )


def reconcile_users(
    keys: Sequence[Key],
    clients: Clients,
    *,
    check_accounts: bool = False,
    retry_refused: bool = False,
    deadline: float = math.inf,
    begun: Reading | None = None,
) -> list[Outcome]:
    """Bring these users into agreement on all sides; one outcome per key, in the same order.

    Documents and Stream user of a living account are created where missing, and the Stream user is
    patched where it differs in a field that Firebase states. An account that is gone is never
    brought back. One user's error never concerns another. With ``check_accounts`` Auth is asked
    about everybody, and who is disabled gets an error even if Stream has them. What was refused of
    a user before is not sent again until it changes, unless ``retry_refused``. Every hundred has 20
    seconds, all together until ``deadline``. Their first reading may have ``begun`` already.

    Raises what concerns everybody: StreamCredentialsRejected, StreamRejected if Stream refuses to
    be queried, and errors of Firestore and Auth that won't pass.
    """
    outcomes: dict[Key, Outcome] = {}
    for batch in side_by_side.batches(list(dict.fromkeys(keys))):
        repair = _Repair(batch, clients, check_accounts, retry_refused, deadline, begun)
        outcomes.update(repair.run())
    return [outcomes[key] for key in keys]


class _Repair:
    """The repair of up to 100 users, in rounds of reading, writing, and looking again.

    The look is what makes it safe: two repairs of one user can write in the reverse order of their
    reading, and an account can be deleted between the check and the write. What it cannot see is
    a call that timed out here and is applied by Stream after the look.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        clients: Clients,
        check_accounts: bool,
        retry_refused: bool,
        deadline: float,
        begun: Reading | None,
    ) -> None:
        self.keys = keys
        self.clients = clients
        self.settings = clients.settings
        self.check_accounts = check_accounts
        self.retry_refused = retry_refused
        self.deadline = min(new_deadline(), deadline)
        self.begun = begun
        self.stream_ids: dict[Key, str] = {}
        self.stream_users: dict[Key, Payload] = {}
        self.statuses: dict[Key, Status] = {}
        self.errors: dict[Key, ChatsyncError] = {}
        self.touched: set[Key] = set()
        """Whom a write concerned: from then on Auth is asked whether they still exist."""
        self.made: set[Key] = set()
        """Whose Stream user this repair made, or may have made, and takes back if need be."""
        self.made_documents: dict[Key, list[Made]] = {}
        self.restore_tries: Counter[Key] = Counter()
        self.update_refused: set[Key] = set()
        self.unanswered_creations: set[Key] = set()
        self.unanswered_updates: set[Key] = set()
        """Stream may still apply these, later than all that this repair sees."""
        self.nothing_to_send: set[Key] = set()
        """Whose update was nothing but what Stream refuses."""
        self.remembered: dict[Key, frozenset[str]] = {}
        """What was refused before this repair, as it is written down."""
        self.refused: dict[Key, set[str]] = {}
        """What was refused in this repair."""
        self.rests: dict[Key, str] = {}
        """What is refused if Stream refuses more than name and picture."""
        self.refusals = 0
        self.limited: dict[str, StreamRateLimited] = {}
        """By operation: what is not tried again in this repair."""

    def run(self) -> dict[Key, Outcome]:
        for key in self.keys:
            try:
                ids.check_key(key.id, f"{key.kind}Id", key.kind, self.settings.id_format)
            except InvalidArgument as error:
                self.errors[key] = error
            else:
                self.stream_ids[key] = self.settings.id_format.stream_id(key)

        pending = set(self.stream_ids)
        for attempt in range(MAX_ROUNDS):
            if not pending or not self.pause(pending, attempt):
                break
            pending = self.round(pending)
        for key in pending - self.errors.keys():
            if time.monotonic() >= self.deadline:
                self.errors[key] = Postponed(f"no time left for {key.kind} {key.id}")
                continue
            self.errors[key] = Unsettled(f"{key.kind} {key.id} kept changing while repaired")
        self.remember()
        return {key: self.outcome(key) for key in self.keys}

    def remember(self) -> None:
        """Write down what was refused, so that it is not sent again until it changes.

        Where that fails it is refused once more, the next time.
        """
        changed = {}
        for key, remembered in self.remembered.items():
            error = self.errors.get(key)
            refused = self.refused.get(key, set())
            is_tried_again = self.retry_refused and not isinstance(error, Temporary)
            kept = set() if is_tried_again else remembered
            if (refused | kept) != remembered and not isinstance(error, NotFound):
                # Values of long ago give way.
                changed[key] = [*sorted(refused), *sorted(kept - refused)][:_MAX_REMEMBERED]
        try:
            firebase.remember_refused(
                changed, self.settings.id_format, self.clients.firestore, self.deadline
            )
        except FirebaseUnavailable as error:
            logger.warn(f"What was refused is not remembered: {error}")

    def pause(self, pending: set[Key], attempt: int) -> bool:
        """Wait a little if a failure led here, as opposed to a change; False if time is up."""
        if any(isinstance(self.errors.get(key), Temporary) for key in pending):
            time.sleep(PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.5))
        return time.monotonic() < self.deadline

    def outcome(self, key: Key) -> Outcome:
        error = self.errors.get(key)
        status = None if error else self.statuses.get(key, "ok")
        stream_user = self.stream_users.get(key, {})
        late_creation = key in self.unanswered_creations
        recheck = late_creation or key in self.unanswered_updates
        removal = late_creation or (key in self.made and isinstance(error, Temporary))
        stream_id = self.stream_ids.get(key, "")
        return Outcome(key, stream_id, status, error, stream_user, recheck, removal)

    def round(self, keys: set[Key]) -> set[Key]:
        """Repair ``keys`` once; returns those that need another round."""
        for key in keys:
            self.errors.pop(key, None)
        try:
            held = self.read(keys)
        except Temporary as error:
            self.errors.update(dict.fromkeys(keys, error))
            return keys
        again = self.take_back(keys - held.keys())

        creates: dict[Key, Payload] = {}
        updates: dict[Key, Payload] = {}
        documents: dict[Key, Held] = {}
        for key, state in held.items():
            if self.left_alone(state):
                self.errors[key] = FailedPrecondition([key.id], "anonymous")
                continue
            if self.documents_differ(key, state):
                documents[key] = state
            if key in self.errors:
                continue  # Stream could not be read.
            if key in self.made and key in self.stream_users:
                self.note_creation(key)
            self.rests[key] = users.refusal_of_the_rest(self.owned(state))
            if self.would_be_refused(key, state):
                self.errors[key] = FailedPrecondition([key.id], "rejected")
                continue
            if key not in self.stream_users and (new := self.planned_creation(key, state)):
                creates[key] = new
            if key in self.stream_users and (patch := self.planned_update(key, state)):
                updates[key] = patch
        written = creates.keys() | updates.keys() | documents.keys()
        if not written:
            return again

        self.touched |= written
        writing = side_by_side.begin(
            firebase.write_documents, documents, self.clients.firestore, self.deadline
        )
        try:
            again |= self.create(creates) | self.update(updates)
        finally:
            # Whatever was refused or broke: what was written is looked at.
            again |= self.note_documents(writing, documents)
            again |= self.look_again(held, written)
        return again

    def read(self, keys: set[Key]) -> dict[Key, Held]:
        """What Firebase holds for those of ``keys`` that exist; notes their Stream users.

        Documents are healed even while Stream cannot be read; that is then the keys' error.
        """
        reading, self.begun = self.begun, None
        if reading is None or reading.keys != keys:
            reading = begin_reading(keys, self.clients, self.deadline)
        accounts = self.reading_accounts(keys) if self.check_accounts else None
        try:
            found = side_by_side.result(reading.stream_users, self.deadline)
        except Temporary as error:
            found = {}
            self.errors.update(dict.fromkeys(keys, error))
        for key in keys:
            self.stream_users.pop(key, None)
            if stream_user := found.get(self.stream_ids[key]):
                self.stream_users[key] = stream_user
        held = side_by_side.result(reading.documents, self.deadline)
        for key, state in held.items():
            self.remembered.setdefault(key, state.refused)
        held = self.with_refused(held)
        if accounts is not None:
            all_accounts = side_by_side.result(accounts, self.deadline)
            return _with_accounts(held, keys, all_accounts)
        asked = {key for key, state in held.items() if self.needs_account(key, state)}
        if reading.accounts is not None:
            return _with_accounts(held, asked, reading.accounts)
        found_accounts = side_by_side.result(self.reading_accounts(asked), self.deadline)
        return _with_accounts(held, asked, found_accounts)

    def with_refused(self, held: Mapping[Key, Held]) -> dict[Key, Held]:
        """``held``, with what is not to be sent again in this repair."""
        return {
            key: replace(
                state,
                refused=(frozenset() if self.retry_refused else self.remembered[key])
                | self.refused.get(key, set()),
            )
            for key, state in held.items()
        }

    def note_documents(self, writing: Future[Written], documents: Mapping[Key, Held]) -> set[Key]:
        """Enter into the ledger what was created, or may have been; returns whom to try again."""
        try:
            written = side_by_side.result(writing, self.deadline)
        except FirebaseUnavailable as error:
            written = Written({}, error)
        for key, made in written.made.items():
            self.made_documents.setdefault(key, []).extend(made)
        for key, told in written.refused.items():
            self.note_refused_documents(key, documents[key], told)
        if written.failure:
            self.errors.update(dict.fromkeys(documents, written.failure))
        return set(documents) if written.failure else set()

    def note_refused_documents(self, key: Key, state: Held, told: str) -> None:
        """A profile without room does not follow any more; a missing document is an error."""
        _warn(f"Firestore refuses documents of {key.kind} {key.id}: {told}", key)
        if update := users.profile_update(state):
            self.refused.setdefault(key, set()).add(users.refusal("profile", update))
        if None in (state.user, state.profile, state.stats):
            self.errors[key] = FailedPrecondition([key.id], "rejected", told)

    def needs_account(self, key: Key, state: Held) -> bool:
        """Auth decides who exists, and knows names that no event tells.

        It need not be asked where nothing is to be written and the documents have a name.
        """
        return (
            key in self.touched
            or key not in self.stream_users
            or self.documents_differ(key, state)
            or not users.names_user(state)
            or self.drift(key, state) is not None
        )

    def reading_documents(self, keys: Collection[Key], deadline: float) -> Future[dict[Key, Held]]:
        return side_by_side.begin(firebase.read_documents, keys, self.clients.firestore, deadline)

    def reading_accounts(self, keys: Collection[Key]) -> Future[dict[Key, Account]]:
        return side_by_side.begin(firebase.read_accounts, keys, self.clients.auth)

    def left_alone(self, state: Held) -> bool:
        account = state.account
        return bool(account and account.anonymous and not self.settings.provision_anonymous_users)

    def documents_differ(self, key: Key, state: Held) -> bool:
        return key.kind == "user" and users.documents_differ(state)

    def planned_creation(self, key: Key, state: Held) -> Payload | None:
        if state.account and state.account.disabled:
            self.errors[key] = FailedPrecondition([key.id], "disabled")
            return None
        _log(f"User {key.id} not found in Stream Chat, attempting to create...", key)
        return users.new_stream_user(self.stream_ids[key], self.wanted(state), self.role(key))

    def planned_update(self, key: Key, state: Held) -> Payload | None:
        stream_user = self.stream_users[key]
        if stream_user.get("deactivated_at"):
            self.errors[key] = FailedPrecondition([key.id], "deactivated")
            return None
        if stream_user.get("banned"):
            self.errors[key] = FailedPrecondition([key.id], "banned")
        elif self.check_accounts and state.account and state.account.disabled:
            self.errors[key] = FailedPrecondition([key.id], "disabled")
        return self.drift(key, state)

    def create(self, creates: Mapping[Key, Payload]) -> set[Key]:
        """Send the missing users; returns the keys that need another round."""
        failed = self.send_users(self.clients.stream.upsert_users, creates)
        refused = {key for key, error in failed.items() if isinstance(error, StreamRejected)}
        self.unanswered_creations |= _unanswered(failed)
        self.made |= (creates.keys() - failed.keys()) | _unanswered(failed)
        for key in creates.keys() - failed.keys():
            self.note_creation(key)
        # A query can't tell "deleted" from "never existed"; only this refusal does.
        deleted = {key for key in refused if _does_not_exist(failed[key])}
        return self.restore(deleted) | self.report(failed, except_for=deleted)

    def note_creation(self, key: Key) -> None:
        if key not in self.statuses:
            self.statuses[key] = "created"
            _log(f"Successfully repaired/created user {key.id} via Cloud Function", key)

    def restore(self, deleted: set[Key]) -> set[Key]:
        """Bring back who is deleted in Stream though alive in Firebase, to be read again.

        A refusal to create that follows is final if the restoration was refused, which may mean
        that somebody was faster, or if it was granted twice: once may mean that a late removal
        of the account's former life came in between.
        """
        beyond = {key for key in deleted if self.restore_tries[key] >= _MAX_RESTORE_TRIES}
        for key in beyond:
            self.errors[key] = FailedPrecondition([key.id], "deleted")
        restorable = {key: self.stream_ids[key] for key in deleted - beyond}
        failed = self.send(self.clients.stream.restore_users, restorable)
        refused = {key for key, error in failed.items() if isinstance(error, StreamRejected)}
        restored = restorable.keys() - failed.keys()
        self.restore_tries.update(restored)
        self.restore_tries.update(dict.fromkeys(refused, _MAX_RESTORE_TRIES))
        self.unanswered_creations |= _unanswered(failed)
        self.made |= restored | _unanswered(failed)
        for key in restored:
            self.statuses[key] = "restored"
            _log(f"Restored soft-deleted Stream user {key.id}", key)
        return restored | refused | self.report(failed, except_for=refused)

    def update(self, updates: Mapping[Key, Payload]) -> set[Key]:
        """Patch the drifted users; returns the keys that need another round.

        A first refusal may mean that the user went away since it was read.
        """
        failed = self.send_users(self.clients.stream.update_users_partial, updates)
        self.unanswered_updates |= _unanswered(failed)
        for key in updates.keys() - failed.keys() - self.nothing_to_send:
            self.statuses.setdefault(key, "updated")
            _log(f"Updated Stream user {key.id}", key)
        refused = {key for key, error in failed.items() if isinstance(error, StreamRejected)}
        refused_at_first = refused - self.update_refused
        self.update_refused |= refused
        return refused_at_first | self.report(failed, except_for=refused_at_first)

    def report(
        self, failed: Mapping[Key, ChatsyncError], except_for: Collection[Key] = ()
    ) -> set[Key]:
        """Keep the errors; returns the keys worth another round."""
        again = set()
        for key in failed.keys() - set(except_for):
            error = failed[key]
            if isinstance(error, StreamRejected):
                logger.error(f"Stream rejected user {key.id}: {error}", **{key.kind: key.id})
                if error.code in stream.CODES_OF_BAD_DATA:
                    self.refused.setdefault(key, set()).add(self.rests[key])
                error = FailedPrecondition([key.id], "rejected", str(error))
            elif not isinstance(error, StreamRateLimited | TooManyRefusals):
                again.add(key)
            self.errors[key] = error
        return again

    def look_again(self, before: Mapping[Key, Held], written: Collection[Key]) -> set[Key]:
        """Take back what is no longer wanted; returns those of whom Firebase says something new."""
        deadline = self.deadline + GRACE_SECONDS
        documents = self.reading_documents(written, deadline)
        accounts = self.reading_accounts(written)
        try:
            held, found_accounts = (
                side_by_side.result(documents, deadline),
                side_by_side.result(accounts, deadline),
            )
            now = _with_accounts(self.with_refused(held), written, found_accounts)
        except Temporary as error:
            self.errors.update(dict.fromkeys(written, error))
            return set(written)
        unwanted = {
            key
            for key in written
            if key not in now
            or (key in self.made and (account := now[key].account) and account.disabled)
        }
        outdated = {key for key in now if self.outdated(key, before[key], now[key])}
        self.errors.update(self.remove_documents(outdated, only_certain=True))
        changed = {key for key in now if self.owned(now[key]) != self.owned(before[key])}
        differing = {key for key in now if self.documents_differ(key, now[key])}
        return self.take_back(unwanted) | outdated | changed | differing

    def outdated(self, key: Key, before: Held, now: Held) -> bool:
        """Whether documents were made from what Auth no longer says: they would hide the change."""
        return key in self.made_documents and before.account != now.account

    def take_back(self, gone: Collection[Key]) -> set[Key]:
        """Remove what this repair made for those who don't exist, and nothing else.

        Returns those who were removed: a removal is a write, and asks for another look.
        """
        for key in gone:
            self.errors[key] = NotFound([key.id])
        mine = self.made.intersection(gone)
        failed: dict[Key, ChatsyncError] = {}
        for key in mine:
            failed |= self.send(self.remove_stream_user, {key: self.stream_ids[key]})
        self.unanswered_updates |= _unanswered(failed)
        failed |= self.remove_documents(gone)
        for key in mine - failed.keys():
            self.made.discard(key)
            del self.restore_tries[key]
            self.statuses.pop(key, None)
            _log(f"Removed what was made for {key.id}, who doesn't exist", key)
        for key, failure in failed.items():
            message = f"Could not remove what was made for {key.id}: {failure}"
            logger.error(message, **{key.kind: key.id})
        self.errors.update(failed)
        limited = {key for key, error in failed.items() if isinstance(error, StreamRateLimited)}
        return (mine | failed.keys()) - limited

    def remove_stream_user(self, stream_ids: list[str], deadline: float) -> None:
        """Softly, whatever the policy: should the account come back, so can its Stream user."""
        for stream_id in stream_ids:
            self.clients.stream.remove_user(stream_id, "soft", deadline + GRACE_SECONDS)

    def remove_documents(
        self, keys: Collection[Key], only_certain: bool = False
    ) -> dict[Key, ChatsyncError]:
        """Delete the documents that this repair made for ``keys``; returns the failures.

        Those that it may have made go only where nobody exists whose they could be.
        """
        failed: dict[Key, ChatsyncError] = {}
        deadline = self.deadline + GRACE_SECONDS
        for key in self.made_documents.keys() & set(keys):
            try:
                made = self.made_documents[key]
                if only_certain:
                    made = [document for document in made if document.update_time]
                firebase.delete_documents(made, self.clients.firestore, deadline)
            except Temporary as error:
                failed[key] = error
            else:
                del self.made_documents[key]
        return failed

    def drift(self, key: Key, state: Held) -> Payload | None:
        return users.drift(self.stream_users[key], self.wanted(state), self.role(key))

    def would_be_refused(self, key: Key, state: Held) -> bool:
        """Whether Stream refused before what would be sent, apart from name and picture."""
        if self.rests[key] not in state.refused:
            return False
        return key not in self.stream_users or self.drift(key, state) is not None

    def wanted(self, state: Held) -> dict[str, Any]:
        return users.without_refused(self.owned(state), state.refused)

    def owned(self, state: Held) -> dict[str, Any]:
        return users.owned_fields(state, self.settings.extra_fields)

    def role(self, key: Key) -> str:
        return self.settings.user_role if key.kind == "user" else self.settings.company_role

    def send_users(
        self,
        send: Callable[[list[Payload], float], None],
        payloads: Mapping[Key, Payload],
    ) -> dict[Key, ChatsyncError]:
        """Send users, without the name or picture that Stream refuses; returns what failed.

        Those of whom something was refused before are sent apart from the others, and after them.
        """
        failed: dict[Key, ChatsyncError] = {}
        suspects = {key for key in payloads if self.remembered.get(key) or key in self.refused}
        for group in (payloads.keys() - suspects, suspects):
            failed |= self.send(
                send, {key: payloads[key] for key in payloads if key in group}, _REFUSALS_TO_FIND
            )
        for left_out in (("image",), ("name",), ("image", "name")):
            failed |= self.send_without(left_out, send, payloads, failed)
        return failed

    def send_without(
        self,
        left_out: Sequence[str],
        send: Callable[[list[Payload], float], None],
        payloads: Mapping[Key, Payload],
        failed: dict[Key, ChatsyncError],
    ) -> dict[Key, ChatsyncError]:
        """Send those who were refused without some fields; returns what fails still.

        Those whom Stream accepts now are taken from ``failed``.
        A user of whom name or picture is sent, but not both, is only tried without either, which
        is the last try. That one has a call left, whatever the others took: it gets nearly
        everybody through.
        """
        is_last = len(left_out) == 2
        reduced: dict[Key, Payload] = {}
        for key, error in failed.items():
            has_both = users.has(payloads[key], ("image", "name"))
            is_bad = isinstance(error, StreamRejected) and error.code in stream.CODES_OF_BAD_DATA
            fields = [field for field in left_out if users.has(payloads[key], [field])]
            if is_bad and fields and (has_both or is_last):
                reduced[key] = users.without(payloads[key], fields)
        empty = {key for key, payload in reduced.items() if users.changes_nothing(payload)}
        self.nothing_to_send |= empty
        to_send = {key: payload for key, payload in reduced.items() if key not in empty}
        still_failing = self.send(send, to_send, MAX_REFUSALS + is_last)
        for key in reduced.keys() - still_failing.keys():
            refused = users.difference(payloads[key], reduced[key])
            _warn(f"Left out {' and '.join(refused)} of user {key.id}: {failed.pop(key)}", key)
            hashes = {users.refusal(field, value) for field, value in refused.items()}
            self.refused.setdefault(key, set()).update(hashes)
        return {
            key: error
            for key, error in still_failing.items()
            if is_last or not isinstance(error, TooManyRefusals)
        }

    def send(
        self,
        send: Callable[[list[Item], float], None],
        payloads: Mapping[Key, Item],
        most_refusals: int = MAX_REFUSALS,
    ) -> dict[Key, ChatsyncError]:
        """Send all in one call, and by halves where Stream refuses, until the refused stand alone.

        Stream's batches are all or nothing: so a bad user blocks nobody, and costs two calls for
        each halving. Where most are bad, a repair stops before it uses up Stream's limit, and
        leaves the rest for later. Returns the error of each key that was not served.
        """
        if not payloads:
            return {}
        operation = send.__name__
        if operation in self.limited:
            return dict.fromkeys(payloads, self.limited[operation])
        if self.refusals >= most_refusals:
            return dict.fromkeys(payloads, TooManyRefusals("Stream refused too many at once"))
        try:
            send(list(payloads.values()), self.deadline)
        except Temporary as error:
            if isinstance(error, StreamRateLimited):
                self.limited[operation] = error
            return dict.fromkeys(payloads, error)
        except StreamRejected as error:
            self.refusals += 1
            if len(payloads) == 1:
                return dict.fromkeys(payloads, error)
            items = list(payloads.items())
            size = 1 if len(items) <= _TRIED_ONE_BY_ONE else math.ceil(len(items) / 2)
            parts = side_by_side.batches(items, size)
            return {
                key: error
                for part in parts
                for key, error in self.send(send, dict(part), most_refusals).items()
            }
        return {}


def _with_accounts(
    held: Mapping[Key, Held], asked: Collection[Key], accounts: Mapping[Key, Account]
) -> dict[Key, Held]:
    """``held`` with the accounts filled in, and without the keys that don't exist.

    A company exists if its document does; a user, if Auth was asked, if the account does.
    """
    return {
        key: replace(state, account=accounts.get(key) if key in asked else None)
        for key, state in held.items()
        if (
            state.user is not None if key.kind == "company" else key in accounts or key not in asked
        )
    }


def _unanswered(failed: Mapping[Key, ChatsyncError]) -> set[Key]:
    """Those whose write may have been applied, or may still be."""
    return {key for key, error in failed.items() if isinstance(error, StreamUnavailable)}


def _does_not_exist(error: ChatsyncError) -> bool:
    return isinstance(error, StreamRejected) and error.code == stream.CODE_DOES_NOT_EXIST


def _log(message: str, key: Key) -> None:
    logger.info(message, **{key.kind: key.id})


def _warn(message: str, key: Key) -> None:
    logger.warn(message, **{key.kind: key.id})
