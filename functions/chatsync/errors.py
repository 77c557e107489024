"""What can go wrong, by what happens next. Standard library only."""

from enum import StrEnum


class Refusal(StrEnum):
    """Why somebody, or a conversation, cannot be made usable in Stream; as apps are told."""

    DISABLED = "disabled"
    """In Firebase Auth, as is ``anonymous``; the others are in Stream."""

    ANONYMOUS = "anonymous"
    DEACTIVATED = "deactivated"
    BANNED = "banned"
    DELETED = "deleted"
    """Beyond restore."""

    REJECTED = "rejected"
    """What Firebase states is refused."""

    WRONG_TEAM = "wrong_team"
    """Of a conversation: a channel of its id belongs to another team."""


class ChatsyncError(Exception):
    """Root of what this package raises on purpose; anything else is a bug."""


class InvalidArgument(ChatsyncError):
    """The caller sent something unusable; nothing was done. ``field`` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class Unauthenticated(ChatsyncError):
    """The caller is not signed in."""


class PermissionDenied(ChatsyncError):
    """The caller may not do this; ``ids`` names the members in the way, if it is them."""

    def __init__(self, message: str, ids: list[str]) -> None:
        super().__init__(message)
        self.ids = ids


class AlreadyExists(ChatsyncError):
    """The idempotency key was used before, with other arguments."""


class NotFound(ChatsyncError):
    """Neither an account nor a company exists under these ids."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(f"no such account: {', '.join(ids)}")
        self.ids = ids


class FailedPrecondition(ChatsyncError):
    """The user exists but must not, or can never, be made usable in Stream.

    With no ids, it is a conversation. ``detail`` is what Stream said, for operators.
    """

    def __init__(self, ids: list[str], reason: Refusal, detail: str = "") -> None:
        who = f"user is {reason}: {', '.join(ids)}" if ids else f"conversation is {reason}"
        super().__init__(who)
        self.ids = ids
        self.reason = reason
        self.detail = detail


class Temporary(ChatsyncError):
    """Not possible now; the same attempt later may succeed."""


class FirebaseUnavailable(Temporary):
    """Firestore or Firebase Auth could not be reached, or did not answer in time."""


class StreamUnavailable(Temporary):
    """Stream could not be reached, did not answer in time, or failed on its side (5xx)."""


class StreamRateLimited(Temporary):
    """Stream answered 429: no calls of this operation before ``retry_after`` seconds are over."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Postponed(Temporary):
    """Not tried, for want of time or for fear of using up Stream's limit."""


class TooManyRefusals(Postponed):
    """Not tried, since Stream refused too many of the same batch. It counts as an attempt."""


class Unsettled(Temporary):
    """The account kept changing while it was repaired."""


class Unexpected(Temporary):
    """Something nobody foresaw; the log has its traceback."""


class StreamRejected(ChatsyncError):
    """Stream refuses this request for good (4xx). ``code`` is Stream's error code.

    ``words`` are those of its whole message, for recognizing ids in it; they belong in no log.
    """

    def __init__(
        self, message: str, status: int, code: int, words: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.words = words


class StreamCredentialsRejected(ChatsyncError):
    """Stream does not accept the API key or secret (401), or the app may not do this (403)."""


class SettingInvalid(ChatsyncError):
    """A setting is missing or unusable; the message names it and says what to do."""
