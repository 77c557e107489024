"""How a repair ended, and what comes next: nothing, another attempt, or a person.

Callables, events and the outbox all decide by it.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from .errors import (
    ChatsyncError,
    FailedPrecondition,
    FirebaseUnavailable,
    InvalidArgument,
    Paused,
    Postponed,
    Refusal,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
    Temporary,
    Unsettled,
)
from .ids import Key
from .users import Account

Status = Literal["ok", "created", "updated", "restored"]


class Disposition(StrEnum):
    """What comes next."""

    DONE = "done"
    """Nothing: the sides agree, the user doesn't exist, or no repair changes their state."""

    RETRY = "retry"
    """The outbox tries it again."""

    PARK = "park"
    """A person has to change something first."""


class Waiting(StrEnum):
    """Why an entry of the outbox waits. The value is stored, queried and logged."""

    BEGUN = "begun"
    STREAM_UNAVAILABLE = "stream_unavailable"
    RATE_LIMIT = "rate_limit"
    ANSWER_LOST = "answer_lost"
    POSTPONED = "postponed"
    PAUSED = "paused"
    FIREBASE_UNAVAILABLE = "firebase_unavailable"
    CREDENTIALS = "credentials"
    INTERNAL = "internal"


class Parked(StrEnum):
    """Why an entry of the outbox is parked; its value is used in the same way."""

    REJECTED = "rejected"
    DELETED = "deleted"
    INVALID_ID = "invalid_id"


_WAITING = (
    (StreamRateLimited, Waiting.RATE_LIMIT),
    (StreamUnavailable, Waiting.STREAM_UNAVAILABLE),
    (FirebaseUnavailable, Waiting.FIREBASE_UNAVAILABLE),
    (Postponed, Waiting.POSTPONED),
    (Paused, Waiting.PAUSED),
    (Unsettled, Waiting.POSTPONED),
    (Temporary, Waiting.INTERNAL),
    (StreamCredentialsRejected, Waiting.CREDENTIALS),
)
"""By class of the error; the first that fits counts."""

_PARKED = {Refusal.DELETED: Parked.DELETED, Refusal.REJECTED: Parked.REJECTED}
"""Nothing has to be done about a user who is disabled or deactivated."""


@dataclass(frozen=True)
class Outcome:
    """How the repair of one key ended: with a status, or with an error."""

    key: Key
    stream_id: str
    """The user's id in Stream; empty if the key is no possible id there."""

    status: str | None
    error: ChatsyncError | None
    stream_user: dict[str, Any] = field(default_factory=dict)
    """As it was read from Stream; empty if it was missing."""

    account: Account | None = field(default=None, compare=False, repr=False)
    """As Auth said last; None if it was not asked."""

    recheck: bool = False
    """Whether the answer to a write was lost: Stream may still apply it, after all other calls."""

    removal: bool = False
    """Whether the Stream user, which this repair may have created, is removed with the account."""

    is_queued: bool = False
    """Whether the outbox has an entry for it, and tries it again."""

    @property
    def reason(self) -> Waiting | Parked | None:
        """Why the outbox must have an entry; None if the repair is done.

        While Stream may still apply a call whose answer was lost, the entry always waits.
        """
        if self.recheck:
            return self._waiting or Waiting.ANSWER_LOST
        return self._waiting or self._parked

    @property
    def disposition(self) -> Disposition:
        """What comes next."""
        match self.reason:
            case Waiting():
                return Disposition.RETRY
            case Parked():
                return Disposition.PARK
        return Disposition.DONE

    @property
    def is_done(self) -> bool:
        return self.disposition == Disposition.DONE

    @property
    def is_parked(self) -> bool:
        return self.disposition == Disposition.PARK

    @property
    def may_pass(self) -> bool:
        """Whether the same attempt may succeed later."""
        return self._waiting is not None

    @property
    def _waiting(self) -> Waiting | None:
        return next((reason for kind, reason in _WAITING if isinstance(self.error, kind)), None)

    @property
    def _parked(self) -> Parked | None:
        match self.error:
            case FailedPrecondition(reason=refusal) if self.key.kind != "conversation":
                return _PARKED.get(refusal)  # of a conversation, its document says it
            case InvalidArgument():
                return Parked.INVALID_ID
            case StreamRejected():
                return Parked.REJECTED
        return None


class NotRepaired(ChatsyncError):
    """A repair failed; raised to the caller who asked for it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome.error))
        self.outcome = outcome
