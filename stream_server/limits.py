"""Rate limits: so many calls of an operation per window, and per second of it."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Limit:
    """A fixed window that opens with the first call in it, and a guard against bursts.

    The guard is Stream's documented thirtieth of a minute's limit in any one second: double of
    what the window allows on average.
    """

    limit: int
    window_s: float
    used: int = 0
    closes_at: float = 0.0
    recent: deque[float] = field(default_factory=deque)
    """When the calls of the last second came, in the time of ``time.monotonic()``."""

    def restart(self) -> None:
        self.used = 0
        self.closes_at = time.time() + self.window_s
        self.recent.clear()

    def spend(self, burst_guard: bool) -> bool:
        """Counts one call; False if the window, or this second of it, has no room for it."""
        if time.time() >= self.closes_at:
            self.used = 0
            self.closes_at = time.time() + self.window_s
        if self.used >= self.limit or (burst_guard and self.is_burst()):
            return False
        self.used += 1
        self.recent.append(time.monotonic())
        return True

    def is_burst(self) -> bool:
        while self.recent and self.recent[0] <= time.monotonic() - 1:
            self.recent.popleft()
        return len(self.recent) >= self.per_second

    @property
    def per_second(self) -> int:
        return max(1, int(2 * self.limit / self.window_s))

    def status(self) -> dict[str, int]:
        is_open = time.time() < self.closes_at
        return {
            "limit": self.limit,
            "remaining": self.limit - self.used if is_open else self.limit,
            # Whole seconds, rounded up: a client that waits until then finds a new window.
            "reset": math.ceil(self.closes_at if is_open else time.time() + self.window_s),
        }

    def headers(self) -> dict[str, str]:
        return {f"x-ratelimit-{name}": str(value) for name, value in self.status().items()}
