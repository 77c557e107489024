"""Keep within Stream's rate limits: calls per window and per second, shared among callers.

Stream counts an app's calls per endpoint in windows of a minute, and allows a thirtieth of that in
any second; every answer says what is left of the window (Stream documentation, "Rate Limits").
"""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ..errors import Postponed, StreamRateLimited

LEFT_BY_BACKGROUND = 0.2
"""The share of every window that outbox, audit and backfill leave to people who wait."""

LEFT_BY_CALLABLES = 0.1
"""Of callables other than getStreamUserToken, without which no app opens a chat. A tenth of a
minute's QueryUsers is 100 people who open the app, even while others use up the rest; nobody in
agreement needs it for a token, so more would lie idle."""

LEFT_BY_EVENTS = 0.5
"""Events repair one user per call, the outbox a hundred: this leaves room for the outbox."""

_BURSTS_PER_WINDOW = 30
"""A window's limit, divided by this, is what Stream takes in one second."""

_BURST_SECONDS = 1.1
"""A second, and the time by which calls may overtake each other on their way."""

_WITHOUT_LIMIT_SECONDS = 60.0
_UNKNOWN_SECONDS = 1.0


@dataclass(frozen=True)
class RateLimit:
    """An operation's window as Stream states it: calls in all, calls left, Unix time of its end."""

    limit: int
    remaining: int
    reset: float


@dataclass
class Pace:
    """The pace of one operation in this process; shared by all its threads.

    While nothing is known of the present window, one call goes first: if others have used the
    window up, the process gets one refusal and not many.
    """

    window: RateLimit | None = None
    in_flight: int = 0
    calls: int = 0
    sent: deque[float] = field(default_factory=deque)
    """When the latest calls began, in the time of ``time.monotonic()``."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def call(self, operation: str, left_to_others: float, deadline: float) -> Iterator[None]:
        """Wait for this call's turn, at most until ``deadline``, and count it.

        Raises StreamRateLimited if the window has no room for it, and Postponed at the deadline.
        """
        with self.changed:
            while wait := self._must_wait(operation, left_to_others):
                if time.monotonic() + min(wait, 0.01) >= deadline:
                    raise Postponed(f"{operation}: no room for it in time")
                self.changed.wait(min(wait, deadline - time.monotonic()))
            self.in_flight += 1
            self.calls += 1
            now = time.monotonic()
            while self.sent and self.sent[0] <= now - _BURST_SECONDS:
                self.sent.popleft()
            self.sent.append(now)
            known = self.window
        try:
            yield
        finally:
            with self.changed:
                self.in_flight -= 1
                is_over = self.window is None or self.window.reset <= time.time()
                if is_over and self.window is known:
                    # The answer states no limit: the call failed on its way.
                    self.window = _without_limit(_UNKNOWN_SECONDS)
                self.changed.notify_all()

    def note(self, answer: RateLimit | None) -> None:
        """Learn what is left from an answer's headers; None if they set no limit."""
        now = time.time()
        with self.changed:
            known = self.window
            if answer is None:
                if known and known.limit and known.reset > now:
                    return
                answer = _without_limit(_WITHOUT_LIMIT_SECONDS)
            elif known and known.limit and known.reset > now and known.reset >= answer.reset:
                # Answers overtake each other: of the same window, the smaller number is newer.
                same = known.reset == answer.reset
                remaining = min(known.remaining, answer.remaining) if same else known.remaining
                answer = replace(known, remaining=remaining)
            self.window = answer

    def refuse(self, answer: RateLimit | None, retry_after: float) -> None:
        """Learn from a 429, which holds until the reset.

        If calls are left in the window, Stream refused a burst within one second: background work
        then pauses until the reset, callers until the next second.
        """
        now = time.time()
        with self.changed:
            if answer and answer.remaining > 0:
                kept = math.ceil(answer.limit * LEFT_BY_BACKGROUND)
                self.window = replace(answer, remaining=min(answer.remaining, kept))
                self.sent.extend([time.monotonic()] * _in_one_second(answer.limit))
            else:
                self.window = RateLimit(max(1, answer.limit if answer else 1), 0, now + retry_after)

    def _must_wait(self, operation: str, left_to_others: float) -> float:
        """For how many seconds, or until an answer comes in, this call must wait."""
        window = self.window
        if window is None or window.reset <= time.time():
            return _UNKNOWN_SECONDS if self.in_flight else 0.0
        if not window.limit:
            return 0.0
        kept = math.ceil(window.limit * left_to_others)
        if window.remaining <= kept:
            raise StreamRateLimited(
                f"{operation}: {window.remaining} of {window.limit} calls are left in this window",
                max(1, math.ceil(window.reset - time.time())),
            )
        one_by_one = left_to_others >= LEFT_BY_BACKGROUND
        if window.remaining - self.in_flight <= kept or (one_by_one and self.in_flight):
            # Background calls go one by one, so that one of them is refused and not all at once.
            return _UNKNOWN_SECONDS
        return self._until_burst_allows(window.limit * (1 - left_to_others))

    def _until_burst_allows(self, limit: float) -> float:
        allowed = _in_one_second(limit)
        if len(self.sent) < allowed:
            return 0.0
        return max(0.0, self.sent[-allowed] + _BURST_SECONDS - time.monotonic())


def _without_limit(seconds: float) -> RateLimit:
    """A window of unknown limit for ``seconds``; a ``limit`` of 0 means unknown."""
    return RateLimit(0, 0, time.time() + seconds)


def _in_one_second(limit: float) -> int:
    return max(1, int(limit / _BURSTS_PER_WINDOW))
