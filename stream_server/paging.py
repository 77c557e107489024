"""Which of a list's messages a page shows, by the cursors that Stream has for it.

A cursor is the id of a message or a point in time. As the pages of Stream's JS SDK need it: a page
is in order of time, oldest first; without a cursor, or before one, it holds the newest that fit;
after a cursor, the oldest that fit; and around one, the cursor's message is in the middle, unless
the list ends first and the other side makes up for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from operator import ge, gt, itemgetter, le, lt

from . import timestamps
from .errors import bad_input
from .filters import whole_number
from .state import Json

DEFAULT_MESSAGES = 100
MAX_MESSAGES = 300
MAX_OFFSET = 1000

OLDER = {
    "id_lt": lt,
    "id_lte": le,
    "created_at_before": lt,
    "created_at_before_or_equal": le,
}
NEWER = {
    "id_gt": gt,
    "id_gte": ge,
    "created_at_after": gt,
    "created_at_after_or_equal": ge,
}
AROUND = ("id_around", "created_at_around")


@dataclass(frozen=True)
class Page:
    limit: int
    offset: int = 0
    bounds: tuple[tuple[Callable[[str, str], bool], str], ...] = ()
    """What a message's time must be in comparison with which point in time."""
    is_forward: bool = False
    around: str | None = None


def asked_page(given: Json, messages: dict[str, Json], *, is_forward: bool = False) -> Page:
    """The page that a call asks for; a message as a cursor stands for the time it was sent.

    Without a cursor it has the newest messages, or the oldest if ``is_forward``.
    """
    limit = whole_number(given, "limit", MAX_MESSAGES) or DEFAULT_MESSAGES
    offset = whole_number(given, "offset", MAX_OFFSET)
    named = {
        name: cursor_time(name, given[name], messages)
        for name in (*OLDER, *NEWER, *AROUND)
        if given.get(name)
    }
    around = [named[name] for name in AROUND if name in named]
    if around and len(named) > 1:
        raise bad_input(f"use no other cursor with one of [{' '.join(AROUND)}]")
    bounds = tuple((is_in, named[name]) for name, is_in in (OLDER | NEWER).items() if name in named)
    if named:
        is_forward = bool(named.keys() & NEWER.keys()) and not named.keys() & OLDER.keys()
    return Page(limit, offset, bounds, is_forward, around[0] if around else None)


def cursor_time(name: str, value: object, messages: dict[str, Json]) -> str:
    if not name.startswith("id_"):
        return timestamps.parse(value, name)
    if not isinstance(value, str):
        raise bad_input(f"{name} must be a string")
    if value not in messages:
        raise bad_input(f"Message with id {value} doesn't exist")
    time: str = messages[value]["created_at"]
    return time


def page_of(messages: list[Json], page: Page) -> list[Json]:
    """``messages`` have different times, and are in their order."""
    if page.around:
        middle = bisect_left(messages, page.around, key=itemgetter("created_at"))
        start = max(0, min(middle - page.limit // 2, len(messages) - page.limit))
        return messages[start : start + page.limit]
    found = [
        message
        for message in messages
        if all(is_in(message["created_at"], time) for is_in, time in page.bounds)
    ]
    if page.is_forward:
        return found[page.offset : page.offset + page.limit]
    end = max(0, len(found) - page.offset)
    return found[max(0, end - page.limit) : end]
