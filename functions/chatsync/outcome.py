"""What became of a repair, and what comes next: nothing, another attempt, or a person.

Every door looks it up here: what a callable answers, and what the outbox keeps.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from .errors import (
    ChatsyncError,
    FailedPrecondition,
    FirebaseUnavailable,
    InvalidArgument,
    NotFound,
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

Status = Literal["ok", "created", "updated", "restored"]


class Disposition(StrEnum):
    """What comes next."""

    DONE = "done"
    """Nothing: the sides agree, nobody is there, or a state that no repair changes."""

    RETRY = "retry"
    """The outbox tries it again by itself."""

    PARK = "park"
    """A person has to change something first."""


class Waiting(StrEnum):
    """Why an entry of the outbox waits, in one word for queries and logs; as it is stored."""

    BEGUN = "begun"
    STREAM_UNAVAILABLE = "stream_unavailable"
    RATE_LIMIT = "rate_limit"
    ANSWER_LOST = "answer_lost"
    POSTPONED = "postponed"
    FIREBASE_UNAVAILABLE = "firebase_unavailable"
    CREDENTIALS = "credentials"
    INTERNAL = "internal"


class Parked(StrEnum):
    """Why an entry of the outbox is parked, in the same way."""

    REJECTED = "rejected"
    DELETED = "deleted"
    INVALID_ID = "invalid_id"
    DISABLED = "disabled"
    ANONYMOUS = "anonymous"
    DEACTIVATED = "deactivated"
    NOT_FOUND = "not_found"
    WRONG_TEAM = "wrong_team"


_WAITING = (
    (StreamRateLimited, Waiting.RATE_LIMIT),
    (StreamUnavailable, Waiting.STREAM_UNAVAILABLE),
    (FirebaseUnavailable, Waiting.FIREBASE_UNAVAILABLE),
    (Postponed, Waiting.POSTPONED),
    (Unsettled, Waiting.POSTPONED),
    (Temporary, Waiting.INTERNAL),
    (StreamCredentialsRejected, Waiting.CREDENTIALS),
)
"""By the class of the error, the first that fits."""

_PARKED_OF_USERS = {Refusal.DELETED: Parked.DELETED, Refusal.REJECTED: Parked.REJECTED}
"""A user who is disabled or deactivated needs nothing."""

_PARKED_OF_CONVERSATIONS = {
    **_PARKED_OF_USERS,
    Refusal.DISABLED: Parked.DISABLED,
    Refusal.ANONYMOUS: Parked.ANONYMOUS,
    Refusal.DEACTIVATED: Parked.DEACTIVATED,
    Refusal.WRONG_TEAM: Parked.WRONG_TEAM,
}
"""With such a member, it cannot open."""


@dataclass(frozen=True)
class Outcome:
    """What became of one key: a status, or the error that stands in its way."""

    key: Key
    stream_id: str
    """What Stream knows them by; empty if the key cannot be known there."""

    status: str | None
    error: ChatsyncError | None
    stream_user: dict[str, Any] = field(default_factory=dict)
    """As it was found in Stream; empty where it was missing."""

    recheck: bool = False
    """Whether the answer to a write was lost: Stream may still apply it, later than all others."""

    removal: bool = False
    """Whether the repair may have left a Stream user who has to go if the account is gone."""

    is_queued: bool = False
    """Whether the outbox holds what could not be done, and tries it again."""

    @property
    def disposition(self) -> Disposition:
        """What comes next. Nothing is final as long as a call may still come late."""
        match self.reason:
            case Waiting():
                return Disposition.RETRY
            case Parked():
                return Disposition.PARK
        return Disposition.DONE

    @property
    def reason(self) -> Waiting | Parked | None:
        """Why the outbox is to have it; None if it is done."""
        if self.recheck:
            return self._waiting or Waiting.ANSWER_LOST
        return self._waiting or self._parked

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
        is_conversation = self.key.kind == "conversation"
        match self.error:
            case FailedPrecondition(reason=refusal):
                parked = _PARKED_OF_CONVERSATIONS if is_conversation else _PARKED_OF_USERS
                return parked.get(refusal)
            case NotFound():
                return Parked.NOT_FOUND if is_conversation else None
            case InvalidArgument():
                return Parked.INVALID_ID
            case StreamRejected():
                return Parked.REJECTED
        return None


class NotRepaired(ChatsyncError):
    """A repair that failed, to be told to whoever asked for it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome.error))
        self.outcome = outcome
