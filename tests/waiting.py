"""Waiting for what the emulators do in their own time."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

Found = TypeVar("Found")

DEADLINE_SECONDS = 60


def wait_for(look: Callable[[], Found | None]) -> Found:
    """What ``look`` finds, as soon as it is something; the test fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    pytest.fail(f"did not happen within {DEADLINE_SECONDS} s")
