"""The names of what alerts look for in the log. Standard library only.

A line of the log that an alert depends on has such a name in its field ``event``. They are stable,
as its message is not. ``dev/alerts.py`` says which alert looks for which.
"""

from enum import StrEnum


class LogEvent(StrEnum):
    """The prefix tells them from events of an app that logs into the same project."""

    PARKED = "chatsync.parked"
    """A repair needs a person; ``reason`` says why."""

    CREDENTIALS = "chatsync.credentials"
    """Stream refuses key or secret, or the app may not do this."""

    OUTBOX_DUE = "chatsync.outbox_due"
    """An entry is due that should have been tried: told every five minutes."""

    OUTBOX_DOWN = "chatsync.outbox_down"
    """The outbox cannot be written, or its drain not be called."""

    PAUSED = "chatsync.paused"
    """Entries are due while writing is paused, for ``minutes`` by now: told every five minutes."""

    BUG = "chatsync.bug"
    """An error that nobody expects; the message is its traceback."""

    WEBHOOK_FAILED = "chatsync.webhook_failed"
    """Stream is asked to send an event again."""

    EVENTS_MISSING = "chatsync.events_missing"
    """Stream does not send all events to ``streamWebhook``."""

    HOOK_LOST = "chatsync.hook_lost"
    """Stream's settings lack an event hook that was there before ``setUp``."""

    NOT_SET_UP = "chatsync.not_set_up"
    """``setUp`` could not complete the deployment, and is called again."""

    AUDIT_DONE = "chatsync.audit_done"
    """An audit is at its end; ``findings`` is how many it has."""

    AUDIT_UNSAFE = "chatsync.audit_unsafe"
    """The safeguard stopped an audit or backfill."""

    BUDGET_USED_UP = "chatsync.budget_used_up"
    """``user`` asks for more than [limits] allows: told once a minute."""
