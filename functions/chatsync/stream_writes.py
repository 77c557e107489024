"""What a reconciliation writes to Stream: it creates, restores, patches and removes users."""

from collections.abc import Collection, Mapping, Sequence

from firebase_functions import logger

from . import users
from .batch_sender import MAX_REFUSALS, BatchSender, Send
from .clients import stream
from .clients.stream import Stream
from .errors import (
    ChatsyncError,
    FailedPrecondition,
    Paused,
    Refusal,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
    TooManyRefusals,
)
from .ids import Key
from .plan import Payload
from .record import Record

_REFUSALS_TO_FIND = 40
"""How many of MAX_REFUSALS may find which users are refused; the others find which fields."""

_MAX_RESTORATIONS = 2


class StreamWrites:
    """Writes users to Stream, and enters the results into their records.

    The methods return the keys that need another round.
    """

    def __init__(self, records: Mapping[Key, Record], chat: Stream, deadline: float) -> None:
        self._records = records
        self._stream = chat
        self._sender = BatchSender(deadline)

    def create(self, payloads: Mapping[Key, Payload]) -> set[Key]:
        """Create missing users; restore those that are deleted in Stream."""
        failed, _ = self._send_users(self._stream.upsert_users, payloads)
        for key in payloads:
            record = self._records[key]
            if key not in failed:
                record.is_created = True
                record.note_creation()
            elif isinstance(failed[key], StreamUnavailable):
                record.is_created = record.creation_unanswered = True
        # A query can't tell "deleted" from "never existed"; only this refusal does.
        deleted = {key for key, error in failed.items() if _does_not_exist(error)}
        return self._restore(deleted) | self._note_failures(failed, except_for=deleted)

    def _restore(self, deleted: set[Key]) -> set[Key]:
        """Restore users who are deleted in Stream but exist in Firebase; they are then read again.

        If creating is refused again, that is final after a refused restoration (another process
        may have restored the user first) or after two successful ones (a late removal from before
        the account's return may have followed the first).
        """
        restorable: dict[Key, str] = {}
        for key in deleted:
            record = self._records[key]
            if record.restorations >= _MAX_RESTORATIONS:
                record.error = FailedPrecondition([key.id], Refusal.DELETED)
            else:
                restorable[key] = record.stream_id
        failed = self._sender.send(self._stream.restore_users, restorable)
        refused = {key for key, error in failed.items() if isinstance(error, StreamRejected)}
        for key in restorable:
            record = self._records[key]
            if key in refused:
                record.restorations = _MAX_RESTORATIONS
            elif key not in failed:
                record.restorations += 1
                record.is_created = True
                record.status = "restored"
                record.log(f"Restored soft-deleted Stream user {key.id}")
            elif isinstance(failed[key], StreamUnavailable):
                record.is_created = record.creation_unanswered = True
        again = (restorable.keys() - failed.keys()) | refused
        return again | self._note_failures(failed, except_for=refused)

    def patch(self, payloads: Mapping[Key, Payload]) -> set[Key]:
        """Patch the users that differ.

        A first refusal is tried again: the user may have been deleted since it was read.
        """
        failed, emptied = self._send_users(self._stream.update_users_partial, payloads)
        refused_at_first = set()
        for key in payloads:
            record, error = self._records[key], failed.get(key)
            if error is None and key not in emptied:
                record.status = record.status or "updated"
                record.patched_fields |= {*payloads[key]["set"], *payloads[key]["unset"]}
                record.log(f"Updated Stream user {key.id}")
            elif isinstance(error, StreamUnavailable):
                record.patch_unanswered = True
            elif isinstance(error, StreamRejected) and not record.patch_was_refused:
                record.patch_was_refused = True
                refused_at_first.add(key)
        return refused_at_first | self._note_failures(failed, except_for=refused_at_first)

    def _note_failures(
        self, failed: Mapping[Key, ChatsyncError], except_for: Collection[Key]
    ) -> set[Key]:
        again = set()
        for key in failed.keys() - set(except_for):
            record, error = self._records[key], failed[key]
            if isinstance(error, StreamRejected):
                record.log(f"Stream rejected user {key.id}: {error}", logger.error)
                if error.code in stream.CODES_OF_BAD_DATA:
                    record.refused.add(record.refusal_of_the_rest)
                error = FailedPrecondition([key.id], Refusal.REJECTED, str(error))
            elif not isinstance(error, StreamRateLimited | Paused | TooManyRefusals):
                again.add(key)
            record.error = error
        return again

    def take_back(self, key: Key, deadline: float) -> ChatsyncError | None:
        """Remove a Stream user that was created here; returns the error if that failed.

        Softly, whatever the policy: if the account comes back, its Stream user can be restored.
        """

        def remove(stream_ids: list[str], _: float) -> None:
            self._stream.remove_user(stream_ids[0], "soft", deadline)

        record = self._records[key]
        failure = self._sender.send(remove, {key: record.stream_id}).get(key)
        if isinstance(failure, StreamUnavailable):
            record.patch_unanswered = True
        return failure

    def _send_users(
        self, send: Send[Payload], payloads: Mapping[Key, Payload]
    ) -> tuple[dict[Key, ChatsyncError], set[Key]]:
        """Send users, without the name or picture that Stream refuses.

        Users with refused values, now or before, are sent after the others, in batches of their
        own. Returns the errors, and the users of whose patch Stream refused everything.
        """
        failed: dict[Key, ChatsyncError] = {}
        emptied: set[Key] = set()
        for is_suspect in (False, True):
            group = {
                key: payload
                for key, payload in payloads.items()
                if is_suspect == bool(self._records[key].remembered or self._records[key].refused)
            }
            failed |= self._sender.send(send, group, _REFUSALS_TO_FIND)
        for left_out in (("image",), ("name",), ("image", "name")):
            emptied |= self._send_without(left_out, send, payloads, failed)
        return failed, emptied

    def _send_without(
        self,
        left_out: Sequence[str],
        send: Send[Payload],
        payloads: Mapping[Key, Payload],
        failed: dict[Key, ChatsyncError],
    ) -> set[Key]:
        """Send refused users again without some fields, and bring ``failed`` up to date.

        A user with only a name or only a picture is tried just once, in the last try, without
        either. The last try always has a call left: with it nearly everybody succeeds. Returns the
        users whose patch has nothing left in it.
        """
        is_last = len(left_out) == 2
        reduced: dict[Key, Payload] = {}
        for key, error in failed.items():
            has_both = users.has(payloads[key], ("image", "name"))
            is_bad = isinstance(error, StreamRejected) and error.code in stream.CODES_OF_BAD_DATA
            fields = [name for name in left_out if users.has(payloads[key], [name])]
            if is_bad and fields and (has_both or is_last):
                reduced[key] = users.without(payloads[key], fields)
        emptied = {key for key, payload in reduced.items() if users.changes_nothing(payload)}
        to_send = {key: payload for key, payload in reduced.items() if key not in emptied}
        still_failing = self._sender.send(send, to_send, MAX_REFUSALS + is_last)
        for key in reduced.keys() - still_failing.keys():
            refused = users.difference(payloads[key], reduced[key])
            message = f"Left out {' and '.join(refused)} of user {key.id}: {failed.pop(key)}"
            self._records[key].log(message, logger.warn)
            self._records[key].refused |= {users.refusal(*value) for value in refused.items()}
        for key, error in still_failing.items():
            if is_last or not isinstance(error, TooManyRefusals):
                failed[key] = error
        return emptied


def _does_not_exist(error: ChatsyncError) -> bool:
    return isinstance(error, StreamRejected) and error.code == stream.CODE_DOES_NOT_EXIST
