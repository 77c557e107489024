"""Waiting for what the emulators do in their own time."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

Found = TypeVar("Found")

DEADLINE_SECONDS = 60


def wait_for(look: Callable[[], Found | None], seconds: float = DEADLINE_SECONDS) -> Found:
    """What ``look`` finds, as soon as it is something; the test fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    pytest.fail(f"did not happen within {seconds} s")
