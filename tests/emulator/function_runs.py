"""What the emulators' log tells of functions that ran."""

import re
import time

from dev.start import LOG
from tests.waiting import wait_for

SETTLED_SECONDS = 1.5


def runs(word: str = "Finished") -> int:
    """How many function runs the emulator has finished."""
    return LOG.read_text().count(f"{word} ")


def has_run(word: str, times: int) -> bool:
    return runs(word) >= times


def events_of(uid: str) -> list[str]:
    """The user's documents about whose changes functions ran or run: one path for each run."""
    return re.findall(rf"Event of (\w+/{re.escape(uid)})$", LOG.read_text(), re.MULTILINE)


def settle() -> None:
    """Wait until no function has run for a while, nor is one under way."""
    last, since = runs(), time.monotonic()

    def has_settled() -> bool:
        nonlocal last, since
        if runs() != last or runs("Beginning execution of") != last:
            last, since = runs(), time.monotonic()
        return time.monotonic() - since >= SETTLED_SECONDS

    wait_for(has_settled)
