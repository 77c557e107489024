"""What a door of the bundle raises, seen through the repair that failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from chatsync.errors import ChatsyncError
from chatsync.outcome import NotRepaired

Kinds = type[ChatsyncError] | tuple[type[ChatsyncError], ...]


@dataclass
class Failure:
    value: Any = None
    """The error."""

    is_queued: bool = False


@contextmanager
def fails_with(kinds: Kinds, match: str | None = None) -> Iterator[Failure]:
    """As ``pytest.raises``, for an error that may be that of a repair."""
    failure = Failure()
    with pytest.raises(ChatsyncError, match=match) as caught:
        yield failure
    failure.value = caught.value
    if isinstance(caught.value, NotRepaired):
        failure.value = caught.value.outcome.error
        failure.is_queued = caught.value.outcome.is_queued
    assert isinstance(failure.value, kinds)
