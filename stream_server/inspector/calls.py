"""Which calls a page shows, and what of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..bodies import Exchange
from ..state import Json, State
from ..steering import is_number_text
from .texts import preview, query_preview, without_secrets

MAX_ROWS = 100
STATUSES = {
    "": "any status",
    "good": "succeeded (2xx)",
    "refused": "refused (4xx)",
    "failed": "failed (5xx)",
    "none": "not answered",
}


@dataclass(frozen=True)
class Filter:
    operation: str = ""
    status: str = ""
    """A key of STATUSES."""
    user: str = ""
    """The whole id of a user, or of a channel."""
    before: int | None = None

    def takes(self, entry: Json, exchange: Exchange | None) -> bool:
        return (
            (self.before is None or entry["n"] < self.before)
            and self.operation in ("", entry["operation"])
            and self.status in ("", kind_of_status(entry["status"]))
            and (
                not self.user
                or self.user in entry["ids"]
                or (exchange is not None and self.user == exchange.caller)
            )
        )


def kind_of_status(status: int | str | None) -> str:
    """A key of STATUSES. A delivery's status can be a word, which is how it failed."""
    if status is None:
        return "none"
    if isinstance(status, str) or status >= 500:
        return "failed"
    return "good" if status < 400 else "refused"


def rows(state: State, wanted: Filter) -> tuple[list[Json], int | None]:
    """The newest that are wanted, newest first, and before which number there may be more."""
    found: list[Json] = []
    for entry in reversed(state.requests):
        exchange = state.bodies.of(entry["n"])
        if not wanted.takes(entry, exchange):
            continue
        if len(found) == MAX_ROWS:
            return found, found[-1]["n"]
        found.append(row(entry, exchange))
    return found, None


def row(entry: Json, exchange: Exchange | None) -> Json:
    return {
        **entry,
        "path": without_secrets(entry["path"]),
        "caller": exchange.caller if exchange else "",
        "asked": (preview(exchange.asked) or query_preview(exchange.query)) if exchange else "",
        "answered": preview(exchange.answered) if exchange else "",
    }


def find(state: State, number: str) -> Json | None:
    if not is_number_text(number):
        return None
    return next((one for one in state.requests if one["n"] == int(number)), None)


def operations(requests: Iterable[Json]) -> list[str]:
    return sorted({entry["operation"] for entry in requests})


def neighbours(state: State, number: int) -> tuple[int | None, int | None]:
    """The numbers of the calls before and after, as far as the log goes back."""
    before = (one["n"] for one in reversed(state.requests) if one["n"] < number)
    after = (one["n"] for one in state.requests if one["n"] > number)
    return next(before, None), next(after, None)
