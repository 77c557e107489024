"""Sends batches that Stream takes or refuses as a whole, so that a bad item blocks no other."""

import math
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from .errors import ChatsyncError, StreamRateLimited, StreamRejected, Temporary, TooManyRefusals
from .side_by_side import batches

MAX_REFUSALS = 60
"""Nothing more is sent after so many refused calls: Stream allows 300 calls in a minute."""

_TRIED_ONE_BY_ONE = 8
"""Halving so few items would take as many calls, and more refusals if several are bad."""

Id = TypeVar("Id", bound=Hashable)
Item = TypeVar("Item")
Send = Callable[[list[Item], float], None]


class BatchSender:
    """Sends batches until ``deadline``, in the time of ``time.monotonic()``.

    It counts the refusals of all its calls. After a rate limit it does not call the same operation
    again.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._refusals = 0
        self._limited: dict[str, StreamRateLimited] = {}
        """By the name of the operation."""

    def send(
        self, send: Send[Item], items: Mapping[Id, Item], most_refusals: int = MAX_REFUSALS
    ) -> dict[Id, ChatsyncError]:
        """Send all in one call; if Stream refuses, by halves, until each refused item is alone.

        Returns the error of each item that Stream did not take: StreamRejected if it was refused
        alone, TooManyRefusals if it was not tried for that reason, or a Temporary error.
        """
        if not items:
            return {}
        operation = send.__name__
        if operation in self._limited:
            return dict.fromkeys(items, self._limited[operation])
        if self._refusals >= most_refusals:
            return dict.fromkeys(items, TooManyRefusals("Stream refused too many at once"))
        try:
            send(list(items.values()), self._deadline)
        except Temporary as error:
            if isinstance(error, StreamRateLimited):
                self._limited[operation] = error
            return dict.fromkeys(items, error)
        except StreamRejected as error:
            self._refusals += 1
            if len(items) == 1:
                return dict.fromkeys(items, error)
            size = 1 if len(items) <= _TRIED_ONE_BY_ONE else math.ceil(len(items) / 2)
            failed: dict[Id, ChatsyncError] = {}
            for part in batches(list(items.items()), size):
                failed |= self.send(send, dict(part), most_refusals)
            return failed
        return {}
