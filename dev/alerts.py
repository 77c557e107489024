"""Which alerts there are, and for which events of the log each looks.

docs/operations.md and monitoring/ say the same: ``make monitoring`` writes the latter.
"""

import re
from dataclasses import dataclass
from typing import Literal

from chatsync.log_events import LogEvent

SLOW_SECONDS = 3
ABSENT_HOURS = 26


@dataclass(frozen=True)
class Alert:
    """By default: one line with such an event is enough."""

    name: str
    events: tuple[LogEvent, ...]
    """Empty if it is about the latency of the callables."""

    severity: Literal["CRITICAL", "ERROR", "WARNING"]
    means: str
    """Sentences for whoever is told."""

    read: str
    """Where to go on: a link from docs/operations.md."""

    chart: str
    """The chart of the dashboard that it is in."""

    where: str = ""
    """What a field of the line must say besides."""

    count: int = 1
    minutes: int = 10
    is_absence: bool = False
    """It is told if there was no such line for ABSENT_HOURS."""

    by: str = ""
    """Lines are counted apart by this field of theirs, or by ``service``, which is the function.
    Never by ``user``: metrics are kept for two years, longer than accounts and log."""

    @property
    def id(self) -> str:
        return self.name.removeprefix("a ").replace(" ", "_")

    @property
    def metric(self) -> str:
        """The log-based metric that counts its lines."""
        return f"chatsync_{self.id}"

    @property
    def log_filter(self) -> str:
        """Of the lines, for Cloud Logging."""
        names = " OR ".join(f'"{event}"' for event in self.events)
        event = f"jsonPayload.event={names if len(self.events) == 1 else f'({names})'}"
        where = f" AND jsonPayload.{self.where}" if self.where else ""
        return f'resource.type="cloud_run_revision" AND {event}{where}'

    @property
    def condition(self) -> str:
        """For people."""
        if not self.events:
            return f"latency of the callables, 95th percentile, over {SLOW_SECONDS} s"
        where = f" with `{self.where}`" if self.where else ""
        if self.is_absence:
            return f"none{where} for {ABSENT_HOURS} hours"
        window = f"{self.minutes // 60} hours" if self.minutes >= 120 else f"{self.minutes} minutes"
        return f"{self.count}{where} in {window}"

    @property
    def document(self) -> str:
        """Where to go on: the path of a document, and its heading."""
        return "docs/" + self.read if self.read[0] != "#" else "docs/operations.md" + self.read

    @property
    def row(self) -> str:
        """Its line in docs/operations.md."""
        events = ", ".join(f"`{event}`" for event in self.events) or "-"
        [heading] = re.findall(r"#(.*)", self.read)
        link = f"[{heading.replace('-', ' ')}]({self.read})"
        return f"| {self.name} | {events} | {self.condition} | {self.means} See {link} |"


ALERTS = (
    Alert(
        "parked",
        (LogEvent.PARKED,),
        "ERROR",
        "A user or conversation is not repaired until a person acts.",
        "#what-is-parked",
        "Parked, by reason",
        by="reason",
    ),
    Alert(
        "credentials",
        (LogEvent.CREDENTIALS,),
        "CRITICAL",
        "Stream refuses key or secret: nothing is repaired.",
        "#secrets",
        "Outbox",
    ),
    Alert(
        "outbox stuck",
        (LogEvent.OUTBOX_DUE,),
        "ERROR",
        "The drain doesn't run or doesn't succeed.",
        "#what-waits",
        "Outbox",
        count=3,
        minutes=20,
    ),
    Alert(
        "outbox down",
        (LogEvent.OUTBOX_DOWN,),
        "ERROR",
        "Firestore or Cloud Tasks fail, or a role is missing.",
        "#what-waits",
        "Outbox",
    ),
    Alert(
        "paused",
        (LogEvent.PAUSED,),
        "WARNING",
        "Somebody has paused all writing to Stream an hour ago or longer, and repairs wait for it.",
        "#pause",
        "Outbox",
        where="minutes>=60",
    ),
    Alert(
        "a bug",
        (LogEvent.BUG,),
        "ERROR",
        "The line has the traceback; a user whose repair met it waits in the outbox as `internal`.",
        "#what-waits",
        "Bugs, by function",
        by="service",
    ),
    Alert(
        "webhook",
        (LogEvent.WEBHOOK_FAILED,),
        "ERROR",
        "Events of Stream cannot be handled, and Stream gives each up after a few attempts.",
        "#after-an-outage",
        "Stream's events",
        count=5,
    ),
    Alert(
        "events missing",
        (LogEvent.EVENTS_MISSING,),
        "WARNING",
        "Stream does not send all events: set those of step 4 in its dashboard.",
        "install.md#steps",
        "Stream's events",
    ),
    Alert(
        "hook lost",
        (LogEvent.HOOK_LOST,),
        "ERROR",
        "An event hook of another system is gone from Stream's settings since a deployment: add it"
        " again.",
        "install.md#steps",
        "Stream's events",
    ),
    Alert(
        "not set up",
        (LogEvent.NOT_SET_UP,),
        "ERROR",
        "After a deployment `setUp` fails again and again: `doctor` says what is missing.",
        "install.md#steps",
        "Audits and set-up",
        count=10,
        minutes=30,
    ),
    Alert(
        "no audit",
        (LogEvent.AUDIT_DONE,),
        "ERROR",
        "See `status` and the log. The next night gives up an audit without progress for 6 hours,"
        " and begins a new one.",
        "#runbook",
        "Audits and set-up",
        is_absence=True,
    ),
    Alert(
        "out of sync",
        (LogEvent.AUDIT_DONE,),
        "WARNING",
        "Night after night an audit has findings, which it may not repair without a person.",
        "#findings",
        "Audits and set-up",
        where="findings>0",
        count=2,
        minutes=25 * 60,
    ),
    Alert(
        "audit stopped",
        (LogEvent.AUDIT_UNSAFE,),
        "ERROR",
        "The safeguard stopped an audit or backfill, since a setting seems wrong.",
        "settings.md#safety",
        "Audits and set-up",
    ),
    Alert(
        "a flood",
        (LogEvent.BUDGET_USED_UP,),
        "WARNING",
        "An account asks for more than its budget: the field `user` says which. The others notice"
        " nothing. If it is honest, raise the budget; else disable the account in Firebase Auth.",
        "settings.md#limits",
        "Floods",
        count=10,
    ),
    Alert(
        "slow",
        (),
        "WARNING",
        "Stream is slow, or instances start.",
        "#what-waits",
        "Latency of the callables, 95th percentile",
    ),
)
