"""What the last calls asked and were answered, for the inspector. Never who proved to be whom:
of the headers, none is kept."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CALLS = 300
MAX_BYTES = 64 * 1024


@dataclass
class Body:
    """The beginning of a body, and the size of all of it."""

    start: bytes
    size: int


@dataclass
class Exchange:
    query: str
    """As it stands in the URL."""
    asked: Body
    answered: Body | None = None
    caller: str = ""
    """ "server", or the id of the user whose client called; "" if the call was not let in."""


class Bodies:
    def __init__(self) -> None:
        self._by_number: dict[int, Exchange] = {}

    def keep(self, number: int, query: str, asked: bytes) -> Exchange:
        """For the answer to be put in later; the oldest goes if there are too many."""
        exchange = Exchange(query[:MAX_BYTES], body_of(asked))
        self._by_number[number] = exchange
        if len(self._by_number) > MAX_CALLS:
            del self._by_number[next(iter(self._by_number))]
        return exchange

    def of(self, number: int) -> Exchange | None:
        return self._by_number.get(number)


def body_of(content: bytes) -> Body:
    return Body(content[:MAX_BYTES], len(content))
