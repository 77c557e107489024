"""Rate limits: so many calls of an operation per window."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass
class Limit:
    """A fixed window that opens with the first call in it."""

    limit: int
    window_s: float
    used: int = 0
    closes_at: float = 0.0

    def restart(self) -> None:
        self.used = 0
        self.closes_at = time.time() + self.window_s

    def spend(self) -> bool:
        """Counts one call; False if the window has no room for it."""
        if time.time() >= self.closes_at:
            self.restart()
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

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
