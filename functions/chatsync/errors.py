"""All errors of this package, by what happens next. Standard library only."""

from datetime import datetime
from enum import StrEnum


class Refusal(StrEnum):
    """Why a user or a conversation cannot be used in Stream; apps get it as ``reason``."""

    DISABLED = "disabled"
    """In Firebase Auth, like ``anonymous``."""

    ANONYMOUS = "anonymous"
    UNDECIDED = "undecided"
    """Neither a user document nor a token has told yet whether the account is a company."""

    DEACTIVATED = "deactivated"
    BANNED = "banned"
    DELETED = "deleted"
    """Beyond restore."""

    REJECTED = "rejected"
    """Stream refuses what Firebase states."""

    WRONG_TEAM = "wrong_team"
    """Of a conversation: a channel of its id belongs to another team."""

    LEFT = "left"
    """Of a direct conversation: the user left it, and comes back by their own call only."""

    TAKEN = "taken"
    """Of a direct conversation: somebody else created a channel of its id."""


class ChatsyncError(Exception):
    """Base of all errors that this package raises on purpose; any other error is a bug."""


class InvalidArgument(ChatsyncError):
    """The caller sent something unusable; nothing was done. ``field`` names it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class Unauthenticated(ChatsyncError):
    """The caller is not signed in."""


class PermissionDenied(ChatsyncError):
    """The caller may not do this; ``ids`` names the members who are the reason, if any."""

    def __init__(self, message: str, ids: list[str]) -> None:
        super().__init__(message)
        self.ids = ids


class AlreadyExists(ChatsyncError):
    """The idempotency key was used before, with other arguments."""


class BudgetUsedUp(ChatsyncError):
    """The caller asked for more than their share; nothing was done. Not before ``retry_after``."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many calls by this account")
        self.retry_after = retry_after
        """In seconds."""


class NotFound(ChatsyncError):
    """Neither an account nor a company exists under these ids."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(f"no such account: {', '.join(ids)}")
        self.ids = ids


class FailedPrecondition(ChatsyncError):
    """The user exists but must not or cannot be used in Stream.

    Without ids, it is about a conversation. ``detail`` is what Stream said, for operators.
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
    """Stream answered 429: call this operation again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Postponed(Temporary):
    """Not tried: no time was left, or it would use up Stream's rate limit."""


class Paused(Temporary):
    """Not sent to Stream: an operator paused all writing at ``since``."""

    def __init__(self, since: datetime) -> None:
        super().__init__(
            f"Nothing is written to Stream: paused since {since:%Y-%m-%d %H:%M} UTC, until"
            " `chatsync resume`."
        )
        self.since = since


class TooManyRefusals(Postponed):
    """Not tried: Stream refused too many of the same batch. It counts as an attempt."""


class Unsettled(Temporary):
    """The account kept changing while it was repaired."""


class Unexpected(Temporary):
    """A bug; the log has its traceback."""


class StreamRejected(ChatsyncError):
    """Stream refuses this request, and would refuse it again (4xx). ``code`` is its error code.

    ``words`` are all words of its message, to find ids among them; never log them.
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


class Unsafe(ChatsyncError):
    """So much would be created, removed or closed that a setting is probably wrong. Nothing was
    done."""


class SettingInvalid(ChatsyncError):
    """A setting is missing or unusable; the message names it and says what to do."""
