"""Fair share: how much one caller may ask for, so that Stream's limits are left to the others.

The budgets are those of ``[limits]``, for each caller, in a window of a minute that opens with the
caller's first call. An instance counts in memory. A call with which it has counted more than a
tenth of a budget is counted in ``budgets/{uid}`` too: so instances don't multiply a budget. If
Firestore fails there, the instance's own count decides.

The document:

    endsAt              when the caller's window is over
    used                by key of ``[limits]``, what was asked for in it
    newConversations    by day (UTC), how many began
    chatsyncExpireAt    for a TTL policy
"""

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from firebase_functions import logger
from google.api_core.exceptions import NotFound
from google.cloud import firestore

from . import ids
from .clients import Clients
from .clients.documents import add_write, commit, temporary_failures_named, until
from .config import Limits
from .errors import BudgetUsedUp, FirebaseUnavailable
from .log_events import LogEvent

COLLECTION = "budgets"

WINDOW_SECONDS = 60

NOT_SHARED = 0.1
"""The part of a budget that an instance counts in its memory only."""

MAX_CALLERS = 10_000
"""Windows in memory, some 600 bytes each. One more, and the one that opened first is forgotten."""

_SHARING_SECONDS = 2.0
_MAX_CONFLICTS = 3
_KEPT = timedelta(days=2)
_PER_DAY = "new_conversations_per_day"

clock = time.time


@dataclass(slots=True)
class Window:
    """What a caller has asked for, by key of ``[limits]``."""

    ends_at: float
    used: Counter[str] = field(default_factory=Counter)
    """By all instances together, as far as this one knows."""

    not_shared: Counter[str] = field(default_factory=Counter)
    """What ``budgets/{uid}`` was not told yet."""

    is_shared: bool = False
    """Whether the window in ``budgets/{uid}`` is this one."""


class Budgets:
    """The windows of this instance's callers. Safe to share between threads."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, Window] = OrderedDict()
        """By uid, in the order in which they opened."""
        self._lock = threading.Lock()

    def spend(
        self, uid: str, is_anonymous: bool, asked: Mapping[str, int], clients: Clients
    ) -> None:
        """Count a call that asks for so much of each budget, by key of ``[limits]``.

        Raises BudgetUsedUp, after which the caller's call must do nothing.
        """
        limits = {key: limit_of(key, is_anonymous, clients.settings.config.limits) for key in asked}
        with self._lock:
            window = self._window_of(uid)
            _refuse_too_much(uid, window.used, asked, limits, window.ends_at)
            window.used.update(asked)
            window.not_shared.update(asked)
            if all(window.used[key] <= limit * NOT_SHARED for key, limit in limits.items()):
                return
            to_share, window.not_shared = window.not_shared, Counter()
        try:
            ends_at, used = _share(uid, window, to_share, clients)
        except FirebaseUnavailable:
            return
        with self._lock:
            window.ends_at, window.is_shared = ends_at, True
            window.used |= used  # the larger one of each
        _refuse_too_much(uid, used - Counter(asked), asked, limits, ends_at)

    def _window_of(self, uid: str) -> Window:
        """The caller's window, opened if there is none."""
        window = self._windows.get(uid)
        if window is None or not _is_open(window.ends_at):
            self._windows.pop(uid, None)
            if len(self._windows) >= MAX_CALLERS:
                self._windows.popitem(last=False)
            window = self._windows[uid] = Window(clock() + WINDOW_SECONDS)
        return window


def limit_of(key: str, is_anonymous: bool, limits: Limits) -> int:
    """A budget, of which an anonymous account has a part, rounded up."""
    limit: int = getattr(limits, key)
    return math.ceil(limit * limits.anonymous_factor) if is_anonymous else limit


def is_too_much(used: int, asked: int, limit: int) -> bool:
    """Whether a budget is exceeded. A call that is larger than it passes if nothing is used yet."""
    return used > 0 and used + asked > limit


def _refuse_too_much(
    uid: str,
    used: Mapping[str, int],
    asked: Mapping[str, int],
    limits: Mapping[str, int],
    ends_at: float,
) -> None:
    for key, limit in limits.items():
        if is_too_much(used[key], asked[key], limit):
            raise _refusal(uid, key, ends_at)


def _refusal(uid: str, key: str, ends_at: float) -> BudgetUsedUp:
    _warn(uid, key, int(clock() // 60))
    return BudgetUsedUp(max(1, math.ceil(ends_at - clock())))


@lru_cache(maxsize=MAX_CALLERS)
def _warn(uid: str, key: str, minute: int) -> None:
    """Cached: a caller's refusals are told once in a minute."""
    message = f"User {uid} has used up {key} of [limits]"
    logger.warn(message, user=uid, event=LogEvent.BUDGET_USED_UP)


def _is_open(ends_at: float) -> bool:
    """Whether a window is not over; one that ends later than it could is of a wrong clock."""
    return 0 < ends_at - clock() <= WINDOW_SECONDS


def _share(
    uid: str, window: Window, counted: Counter[str], clients: Clients
) -> tuple[float, Counter[str]]:
    """Add to what all instances have counted: when their window ends, and what is used of it.

    Raises FirebaseUnavailable.
    """
    reference = _document_of(uid, clients)
    deadline = time.monotonic() + _SHARING_SECONDS
    ends_at, is_known = window.ends_at, window.is_shared
    more = {f"used.{key}": firestore.Increment(count) for key, count in counted.items()}
    for _ in range(_MAX_CONFLICTS):
        with temporary_failures_named():
            if not is_known:
                snapshot = reference.get(["endsAt"], **until(deadline))
                stored = (snapshot.to_dict() or {}).get("endsAt")
                if not stored or not _is_open(stored.timestamp()):
                    opened = {"endsAt": _time(window.ends_at), "used": counted, **_expiry()}
                    batch = clients.firestore.batch()
                    add_write(batch, reference, opened, snapshot.update_time, clients.firestore)
                    if commit(batch, deadline):
                        return window.ends_at, counted
                    continue
                ends_at = stored.timestamp()
            try:
                written = reference.update(more, **until(deadline))
            except NotFound:
                is_known = False
                continue
        # In the order of their names, as the client sends them.
        totals = [result.integer_value for result in written.transform_results]
        return ends_at, Counter(dict(zip(sorted(counted), totals, strict=True)))
    raise FirebaseUnavailable(f"the budgets of {uid} kept changing")


@dataclass(frozen=True)
class Day:
    """How many conversations a caller began, by day, when it was read."""

    today: str
    counts: Mapping[str, int]
    reference: firestore.DocumentReference

    def add_to(self, batch: firestore.WriteBatch) -> None:
        """Count one more of today, and forget other days."""
        others = dict.fromkeys(self.counts.keys() - {self.today}, firestore.DELETE_FIELD)
        counts = {self.today: firestore.Increment(1), **others}
        batch.set(self.reference, {"newConversations": counts, **_expiry()}, merge=True)


def day_of(uid: str, is_anonymous: bool, clients: Clients, deadline: float) -> Day:
    """To be added to the commit that begins a conversation, whichever instance makes it.

    Raises BudgetUsedUp if today's budget is. Conversations that begin at the very same time all
    pass: at most as many as the budget of a minute.
    """
    now = _time(clock())
    reference = _document_of(uid, clients)
    with temporary_failures_named():
        snapshot = reference.get(["newConversations"], **until(deadline))
    counts = (snapshot.to_dict() or {}).get("newConversations", {})
    day = Day(now.date().isoformat(), counts, reference)
    limit = limit_of(_PER_DAY, is_anonymous, clients.settings.config.limits)
    if is_too_much(counts.get(day.today, 0), 1, limit):
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        raise _refusal(uid, _PER_DAY, midnight.timestamp())
    return day


def _document_of(uid: str, clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document(COLLECTION, ids.document_id(uid))


def _expiry() -> dict[str, datetime]:
    return {"chatsyncExpireAt": _time(clock()) + _KEPT}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
