"""A process that is killed between two of its outside calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fast.firebase_in_memory import no_hook


class Killed(BaseException):
    """The process is gone."""


def dies_before(number: int, work: Callable[[], object], *sides: Any) -> bool:
    """Whether ``work`` made so many calls of these sides, and died before the last of them."""
    calls = 0

    def before_call(_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise Killed

    for side in sides:
        side.before_call = before_call
    try:
        work()
    except Killed:
        return True
    finally:
        for side in sides:
            side.before_call = no_hook
    return False
