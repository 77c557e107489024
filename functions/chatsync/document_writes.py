"""What a reconciliation writes to Firestore: missing documents, profiles, refused values."""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from typing import Any

from firebase_functions import logger
from google.cloud import firestore

from . import agreement, side_by_side, users
from .clients import Clients
from .clients.documents import Entry, WriteResult, delete_documents, write_documents
from .clients.entries import remember_agreement, remember_refused, withdraw
from .errors import FailedPrecondition, FirebaseUnavailable, Refusal, Temporary
from .ids import Key
from .record import Record
from .users import FirebaseState

_MAX_REMEMBERED = 20


class DocumentWrites:
    """Writes users' documents, and enters the results into their records."""

    def __init__(self, records: Mapping[Key, Record], clients: Clients, deadline: float) -> None:
        self._records = records
        self._clients = clients
        self._deadline = deadline

    def begin(
        self, documents: Mapping[Key, FirebaseState], undecided: Collection[Key]
    ) -> Future[WriteResult]:
        """Begin to create missing documents and to update profiles that must follow.

        Of the ``undecided`` accounts it writes down what they are: wait for that before anything is
        created in Stream. So two repairs that read different documents never create two Stream
        users of one account.
        """
        entries = {key: self._entry(key) for key in undecided}
        arguments = documents, entries, self._clients, self._deadline
        return side_by_side.begin(write_documents, *arguments)

    def note(
        self,
        writing: Future[WriteResult],
        documents: Mapping[Key, FirebaseState],
        undecided: Collection[Key],
    ) -> set[Key]:
        """Note what was created, or may have been; returns the keys to try again.

        If Firestore refuses a profile's update, the profile stays as it is; if it refuses a missing
        document, that is the user's error.
        """
        try:
            result = side_by_side.result(writing, self._deadline)
        except FirebaseUnavailable as error:
            result = WriteResult({}, error, undecided=frozenset(undecided))
        for key, created in result.created.items():
            self._records[key].documents += created
        for key in result.followed:
            self._records[key].profile_followed = True
        for key, message in result.refused.items():
            record, state = self._records[key], documents[key]
            record.log(
                f"Firestore refuses documents of {key.kind} {key.id}: {message}", logger.warn
            )
            config = self._clients.settings.config
            if update := users.profile_update(state, config):
                record.refused.add(users.refusal("profile", update))
            if users.lacking(state, config):
                record.error = FailedPrecondition([key.id], Refusal.REJECTED, message)
        failed = {*documents, *result.undecided} if result.failure else set()
        for key in failed:
            self._records[key].error = result.failure
        return failed | result.undecided

    def _entry(self, key: Key) -> Entry:
        record = self._records[key]
        return Entry(record.kind or "user", record.stream_id)

    def remember_refused(self, keys: Iterable[Key], was_tried_again: bool, deadline: float) -> None:
        """Save refused values, so that they are not sent again until they change.

        If saving fails, they are sent and refused once more next time. Values that were saved
        before are forgotten if they ``was_tried_again`` without a refusal.
        """
        changed = {}
        for key in keys:
            record = self._records[key]
            before = record.remembered or frozenset()
            is_over = was_tried_again and not isinstance(record.error, Temporary)
            kept = frozenset() if is_over else before
            if record.refused | kept != before:
                # New values replace old ones.
                hashes = [*sorted(record.refused), *sorted(kept - record.refused)]
                record.remembered = frozenset(hashes[:_MAX_REMEMBERED])
                changed[key] = record.remembered
        try:
            entries = {key: self._entry(key) for key in changed}
            written = remember_refused(changed, entries, self._clients, deadline)
        except FirebaseUnavailable as error:
            logger.warn(f"Refused values could not be saved: {error}")
            return
        for key, document in written.items():
            if key.kind == "company":
                self._records[key].documents.append(document)

    def remember_agreement(self, deadline: float) -> None:
        """Write into ``stream_users`` who agrees, and withdraw the entries of who did not.

        Whose account came back is not said to be deleted, and does not expire, even if it cannot
        agree: what the account is would be decided anew.

        If that fails, Stream is asked again next time.
        """
        fields: dict[Key, dict[str, Any]] = {}
        versions: dict[Key, datetime | None] = {}
        for key, record in self._records.items():
            update = self._agreement(record)
            if record.has_returned or (update and record.is_said_gone):
                update |= dict.fromkeys(("deletedAt", "chatsyncExpireAt"), firestore.DELETE_FIELD)
            version = record.entry.version if record.entry else record.entry_created_at
            if update and (version or key.kind == "company"):
                fields[key], versions[key] = update, version
        entries = {key: self._entry(key) for key in fields}
        doubtful = [key for key, one in self._records.items() if one.is_to_be_withdrawn]
        try:
            remember_agreement(fields, entries, versions, self._clients, deadline)
            withdraw(doubtful, self._clients, deadline)
        except FirebaseUnavailable as error:
            logger.warn(f"What agrees could not be remembered: {error}")

    def _agreement(self, record: Record) -> dict[str, Any]:
        """What to write into a user's entry: when the sides agreed, and what the repair did."""
        change = _change(record)
        if not record.is_agreed or not record.entry_is_certain:
            if not change or (record.is_said_gone and not record.has_returned):
                return {}
            return {"history": agreement.with_change(record.history or (), change)}
        config = self._clients.settings.config
        state = record.agreed or FirebaseState()
        if state.refused != record.known_refused:
            state = replace(state, refused=record.known_refused)
        return agreement.update_of_entry(
            record.entry and replace(record.entry, history=record.history or ()),
            agreement.fingerprint(record.key, record.stream_id, state, config),
            record.stream_user or {},
            change,
            config,
            auth_was_asked=record.key.kind == "company" or state.account is not None,
        )

    def delete(
        self, record: Record, deadline: float, only_certain: bool = False
    ) -> FirebaseUnavailable | None:
        """Delete the documents that were created here; returns the error if that failed.

        With ``only_certain``, documents stay of which the answer to their creation was lost, and
        so does what says of which kind the account is.
        """
        created = [
            one
            for one in record.documents
            if not only_certain or (one.update_time and not one.is_entry)
        ]
        try:
            delete_documents(created, self._clients.firestore, deadline)
        except FirebaseUnavailable as error:
            return error
        if created:
            key = record.key
            record.log(f"Deleted the documents again that were created for {key.kind} {key.id}")
        record.documents = [one for one in record.documents if one not in created]
        return None


def _change(record: Record) -> dict[str, Any] | None:
    """What this repair did in Stream, or else in Firestore, for the history; None if nothing.

    None, too, if the history could not be read: it would be replaced.
    """
    if record.entry and record.history is None:
        return None
    if record.status not in (None, "ok"):
        return agreement.change_of(record.status, record.patched_fields)
    collections = {one.reference.parent.id for one in record.documents if not one.is_entry}
    if collections:
        return agreement.change_of("documents", collections)
    return agreement.change_of("profile updated") if record.profile_followed else None
