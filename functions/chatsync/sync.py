"""The repair: bring Firebase Auth, Firestore and Stream into agreement about users.

Every door ends in :func:`reconcile_users`. It takes keys only and reads each side afresh: an event
is a hint that something changed, never the truth to be copied, since events arrive late, twice and
out of order.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from firebase_functions import logger

from . import firebase, stream, users
from .clients import Clients
from .errors import (
    ChatsyncError,
    FailedPrecondition,
    NotFound,
    StreamRejected,
    Temporary,
    Unsettled,
)
from .ids import Key
from .settings import Settings
from .users import Account, Firebase

Status = Literal["ok", "created", "updated", "restored"]
StreamUser = dict[str, Any]
Payload = TypeVar("Payload")

MAX_ROUNDS = 4
"""The first attempt and three repetitions; what still changes then is left for later."""

_side_by_side = ThreadPoolExecutor(max_workers=16, thread_name_prefix="chatsync")


@dataclass(frozen=True)
class Outcome:
    """What became of one key: a status, or the error that stands in its way."""

    key: Key
    stream_user_id: str
    status: Status | None
    error: ChatsyncError | None


def reconcile_users(keys: Sequence[Key], clients: Clients, settings: Settings) -> list[Outcome]:
    """Bring these users into agreement on all sides; one outcome per key, in the same order.

    Documents and Stream user of a living account are created where missing, and the Stream user is
    patched where it differs in a field that Firebase states. An account that is gone is never
    brought back. One user's error never concerns another.

    Raises only what concerns everybody: errors of Firestore and Auth, StreamCredentialsRejected.
    """
    outcomes: dict[Key, Outcome] = {}
    for batch in stream.batches(list(dict.fromkeys(keys))):
        outcomes.update(_Repair(batch, clients, settings).run())
    return [outcomes[key] for key in keys]


def reconcile_after_event(uid: str, clients: Clients, settings: Settings) -> None:
    """Reconcile the user an event hints at.

    Raises what is temporary, so that the platform delivers the event again; what is permanent is
    logged, since it would be so again for as long as the platform retries.
    """
    [outcome] = reconcile_users([Key("user", uid)], clients, settings)
    match outcome.error:
        case None:
            _log(f"Reconciled user {uid}: {outcome.status}", outcome.key)
        case NotFound():
            _log(f"Nothing to reconcile: account {uid} is gone", outcome.key)
        case Temporary():
            raise outcome.error
        case _:
            logger.error(f"User {uid} cannot be reconciled: {outcome.error}", user=uid)


class _Repair:
    """The repair of up to 100 users, in rounds of reading, writing, and looking again.

    The look is what makes it safe: two repairs of one user can write in the reverse order of their
    reading, and an account can be deleted between the check and the write.
    """

    def __init__(self, keys: Sequence[Key], clients: Clients, settings: Settings) -> None:
        self.keys = keys
        self.clients = clients
        self.settings = settings
        self.stream_ids = {key: settings.id_format.stream_id(key) for key in keys}
        self.statuses: dict[Key, Status] = {}
        self.errors: dict[Key, ChatsyncError] = {}
        self.written: set[Key] = set()
        """Keys for which a write was sent, whether or not its answer arrived."""

    def run(self) -> dict[Key, Outcome]:
        pending = set(self.keys)
        for _ in range(MAX_ROUNDS):
            pending = self.round(pending)
            if not pending:
                break
        for key in pending:
            self.errors[key] = Unsettled(f"{key.kind} {key.id} kept changing while repaired")
        return {key: self.outcome(key) for key in self.keys}

    def outcome(self, key: Key) -> Outcome:
        error = self.errors.get(key)
        status = None if error else self.statuses.get(key, "ok")
        return Outcome(key, self.stream_ids[key], status, error)

    def round(self, pending: set[Key]) -> set[Key]:
        """Repair ``pending`` once; returns the keys that need another round."""
        for key in pending:
            self.errors.pop(key, None)
        try:
            held, stream_users = self.read(pending)
        except Temporary as error:
            self.errors.update(dict.fromkeys(pending, error))
            return set()
        removed = self.remove(pending - held.keys())

        creates: dict[Key, StreamUser] = {}
        updates: dict[Key, StreamUser] = {}
        for key, state in held.items():
            stream_user = stream_users.get(self.stream_ids[key])
            if stream_user is None and (new := self.planned_creation(key, state)):
                creates[key] = new
            if stream_user is not None and (patch := self.planned_update(key, state, stream_user)):
                updates[key] = patch
        lacking = {key: state for key, state in held.items() if _lacks_documents(key, state)}
        written = creates.keys() | updates.keys() | lacking.keys()
        if not written:
            return removed

        self.written |= written
        documents = _side_by_side.submit(
            firebase.create_missing_documents, lacking, self.clients.firestore
        )
        unsettled = self.create(creates) | self.update(updates)
        documents.result()
        return removed | unsettled | self.look_again(held, written)

    def read(self, keys: set[Key]) -> tuple[dict[Key, Firebase], dict[str, StreamUser]]:
        """What Firebase holds for those of ``keys`` that exist, and their Stream users by id."""
        documents = _side_by_side.submit(firebase.read_documents, keys, self.clients.firestore)
        stream_users = self.clients.stream.query_users([self.stream_ids[key] for key in keys])
        held = documents.result()
        # Auth decides who may be created, and knows names that no event tells. Where nothing
        # hangs on either, it need not be asked.
        asked = {
            key
            for key, state in held.items()
            if key in self.written
            or self.stream_ids[key] not in stream_users
            or _lacks_documents(key, state)
            or not users.names_user(state)
        }
        accounts = firebase.read_accounts(_users(asked), self.clients.auth)
        return _existing(held, asked, accounts), stream_users

    def planned_creation(self, key: Key, state: Firebase) -> StreamUser | None:
        if state.account and state.account.disabled:
            self.errors[key] = FailedPrecondition([key.id], "disabled")
            return None
        _log(f"User {key.id} not found in Stream Chat, attempting to create...", key)
        role = self.settings.user_role if key.kind == "user" else self.settings.company_role
        return users.new_stream_user(self.stream_ids[key], self.owned(state), role)

    def planned_update(
        self, key: Key, state: Firebase, stream_user: StreamUser
    ) -> StreamUser | None:
        if stream_user.get("deactivated_at"):
            self.errors[key] = FailedPrecondition([key.id], "deactivated")
            return None
        if stream_user.get("banned"):
            self.errors[key] = FailedPrecondition([key.id], "banned")
        return users.drift(stream_user, self.owned(state))

    def create(self, creates: Mapping[Key, StreamUser]) -> set[Key]:
        """Send the missing users; returns those that were restored instead, to be read again."""
        refused = _send(self.clients.stream.upsert_users, creates)
        for key in creates.keys() - refused.keys():
            self.statuses[key] = "created"
            _log(f"Successfully repaired/created user {key.id} via Cloud Function", key)
        # A query can't tell "deleted" from "never existed"; only this refusal does.
        deleted = {key for key, error in refused.items() if _does_not_exist(error)}
        self.report({key: error for key, error in refused.items() if key not in deleted})
        return self.restore(deleted)

    def restore(self, deleted: set[Key]) -> set[Key]:
        """Bring back who is deleted in Stream though alive in Firebase; returns the restored."""
        hopeless = {key for key in deleted if self.statuses.get(key) == "restored"}
        refused = _send(
            self.clients.stream.restore_users,
            {key: self.stream_ids[key] for key in deleted - hopeless},
        )
        self.report({key: error for key, error in refused.items() if isinstance(error, Temporary)})
        hopeless |= {key for key, error in refused.items() if not isinstance(error, Temporary)}
        for key in hopeless:
            self.errors[key] = FailedPrecondition([key.id], "deleted")
        restored = deleted - hopeless - refused.keys()
        for key in restored:
            self.statuses[key] = "restored"
            _log(f"Restored soft-deleted Stream user {key.id}", key)
        return restored

    def update(self, updates: Mapping[Key, StreamUser]) -> set[Key]:
        """Patch the drifted users; returns those that went away since they were read."""
        refused = _send(self.clients.stream.update_users_partial, updates)
        for key in updates.keys() - refused.keys():
            self.statuses.setdefault(key, "updated")
            _log(f"Updated Stream user {key.id}", key)
        vanished = {key for key, error in refused.items() if _does_not_exist(error)}
        self.report({key: error for key, error in refused.items() if key not in vanished})
        return vanished

    def report(self, refused: Mapping[Key, ChatsyncError]) -> None:
        for key, error in refused.items():
            if isinstance(error, StreamRejected):
                logger.error(f"Stream rejected user {key.id}: {error}", **{key.kind: key.id})
                error = FailedPrecondition([key.id], "rejected")
            self.errors[key] = error

    def look_again(self, before: Mapping[Key, Firebase], written: Collection[Key]) -> set[Key]:
        """Those of ``written`` of whom Firebase says something else by now."""
        documents = _side_by_side.submit(firebase.read_documents, written, self.clients.firestore)
        accounts = firebase.read_accounts(_users(written), self.clients.auth)
        now = _existing(documents.result(), written, accounts)
        return {
            key for key in written if key not in now or self.differs(key, before[key], now[key])
        }

    def differs(self, key: Key, before: Firebase, now: Firebase) -> bool:
        # What Auth says counts only where it was asked the first time, too.
        comparable = now if before.account else replace(now, account=None)
        return _lacks_documents(key, now) or self.owned(comparable) != self.owned(before)

    def remove(self, gone: Collection[Key]) -> set[Key]:
        """Take back what was written for those who are gone; returns whom to look at again."""
        for key in gone:
            self.errors[key] = NotFound([key.id])
        mine = self.written.intersection(gone)
        if not mine:
            return set()
        firebase.delete_documents(_users(mine), self.clients.firestore)
        refused = _send(
            self.clients.stream.delete_users, {key: self.stream_ids[key] for key in mine}
        )
        self.report(refused)
        for key in mine - refused.keys():
            _log(f"Removed what was written for {key.id}, whose account is gone", key)
        self.written -= mine
        return mine - refused.keys()

    def owned(self, state: Firebase) -> dict[str, Any]:
        return users.owned_fields(state, self.settings.extra_fields)


def _users(keys: Collection[Key]) -> list[Key]:
    return [key for key in keys if key.kind == "user"]


def _existing(
    held: Mapping[Key, Firebase], asked: Collection[Key], accounts: Mapping[Key, Account]
) -> dict[Key, Firebase]:
    """``held`` with the accounts filled in, and without the keys that don't exist.

    A company exists if its document does; a user, if Auth was asked, if the account does.
    """
    return {
        key: replace(state, account=accounts.get(key))
        for key, state in held.items()
        if (state.user if key.kind == "company" else key in accounts or key not in asked)
    }


def _lacks_documents(key: Key, state: Firebase) -> bool:
    return key.kind == "user" and None in (state.user, state.profile, state.stats)


def _send(
    send: Callable[[list[Payload]], None], payloads: Mapping[Key, Payload]
) -> dict[Key, ChatsyncError]:
    """Send all in one call, and by halves where Stream refuses, until the refused stand alone.

    Stream's batches are all or nothing: so one bad user costs a logarithmic number of calls and
    blocks nobody. Returns the error of each key that was not served.
    """
    if not payloads:
        return {}
    try:
        send(list(payloads.values()))
    except Temporary as error:
        return dict.fromkeys(payloads, error)
    except StreamRejected as error:
        if len(payloads) == 1:
            return dict.fromkeys(payloads, error)
        items = list(payloads.items())
        middle = len(items) // 2
        return _send(send, dict(items[:middle])) | _send(send, dict(items[middle:]))
    return {}


def _does_not_exist(error: ChatsyncError) -> bool:
    return isinstance(error, StreamRejected) and error.code == stream.CODE_DOES_NOT_EXIST


def _log(message: str, key: Key, **fields: object) -> None:
    logger.info(message, **{key.kind: key.id}, **fields)
