"""``audit --users --all``: every account, with its state on every side."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import NamedTuple

from .. import ids, users
from ..clients import Clients
from ..clients.accounts import list_accounts, read_accounts
from ..errors import Refusal
from ..ids import Key
from ..observe import begin_reads, observed_of
from ..plan import Observed, Policy, plan
from ..settings import Settings
from ..side_by_side import batches, begin, result
from .options import FINDINGS, IN_SYNC, SECONDS
from .terminal import patiently, print_line, stderr

MOST_SORTED = 100_000
"""Accounts that are sorted together: Auth lists them by uid, and all could be millions."""

_SIDES = ("users", "profile", "stats", "stream")

_WIDTHS = {"created": 16, "users": 8, "profile": 8, "stats": 8, "stream": 11, "uid": 0}


class Row(NamedTuple):
    """One account; the states are words such as ``exists``, ``missing`` and ``differs``."""

    uid: str
    created_at: datetime | None
    users: str
    profile: str
    stats: str
    stream: str
    stream_user_id: str = ""

    @property
    def states(self) -> tuple[str, ...]:
        return self.users, self.profile, self.stats, self.stream

    @property
    def agrees(self) -> bool:
        return not {"missing", "differs"} & set(self.states)


def list_all(only_issues: bool, as_json: bool, clients: Clients) -> int:
    """Print every account; the exit status says whether all agree."""
    total = agreeing = printed = 0
    missing = Counter(dict.fromkeys(_SIDES, 0))
    if not as_json:
        print_line(_line(list(_WIDTHS)))
    for row in _all_rows(clients):
        total, agreeing = total + 1, agreeing + row.agrees
        missing.update(side for side in _SIDES if getattr(row, side) == "missing")
        if only_issues and row.agrees:
            continue
        if as_json:
            # One by one: memory holds a page, whatever their number.
            print(",\n " if printed else "[", json.dumps(_as_json(row)), sep="", end="")
        else:
            at = row.created_at
            created = f"{at:%Y-%m-%d %H:%M}" if at else "unknown"
            print_line(_line([created, *row.states, row.uid]))
        printed += 1
    if as_json:
        print("]" if printed else "[]")
    else:
        lacking = ", ".join(f"{count} {side}" for side, count in missing.items())
        print_line(f"{total} accounts, {agreeing} of them in agreement. Missing: {lacking}.")
    return IN_SYNC if total == agreeing else FINDINGS


def _all_rows(clients: Clients) -> Iterator[Row]:
    with stderr.status("Listing accounts ...") as shown:

        def wait(seconds: int) -> None:
            shown.update(f"Waiting {seconds} s for Stream's rate limit ...")
            time.sleep(seconds)

        for keys in _newest_first(clients, shown.update):
            shown.update("Comparing accounts ...")
            yield from patiently(partial(_rows, keys, clients), wait)


def _line(cells: Sequence[str]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, _WIDTHS.values(), strict=True))


def _as_json(row: Row) -> dict[str, str | None]:
    return {
        "uid": row.uid,
        "createdAt": row.created_at.isoformat() if row.created_at else None,
        **dict(zip(_SIDES, row.states, strict=True)),
        "streamUserId": row.stream_user_id,
    }


def _newest_first(clients: Clients, tell: Callable[[str], None]) -> Iterator[Sequence[Key]]:
    """All accounts, a hundred at a time; of more than MOST_SORTED, each so many apart."""
    token, listed = "", list[tuple[float, str]]()
    while True:
        accounts, token = list_accounts(token, clients.auth)
        for key, account in accounts.items():
            listed.append((account.created_at.timestamp() if account.created_at else 0.0, key.id))
        tell(f"Listing accounts: {len(listed)} ...")
        if not token or len(listed) >= MOST_SORTED:
            listed.sort(key=lambda one: (-one[0], one[1]))
            yield from batches([Key("user", uid) for _, uid in listed])
            listed.clear()
        if not token:
            return


def _rows(keys: Sequence[Key], clients: Clients) -> list[Row]:
    """What all sides say of up to 100 accounts, without those that are gone by now."""
    possible = [key for key in keys if ids.is_possible(key, clients.settings.id_format)]
    deadline = time.monotonic() + SECONDS
    asking = begin(read_accounts, keys, clients.auth)
    observed, failure = observed_of(begin_reads(possible, clients, deadline), clients, deadline)
    if failure:
        raise failure
    rows = []
    for key, account in result(asking, deadline).items():
        if key in observed:
            rows.append(_row(observed[key].with_account(account), clients.settings))
        else:
            rows.append(Row(key.id, account.created_at, "-", "-", "-", "impossible"))
    places = {key.id: place for place, key in enumerate(keys)}
    return sorted(rows, key=lambda row: places[row.uid])


def _row(observed: Observed, settings: Settings) -> Row:
    """What is missing, what differs, and why somebody is not to be in Stream."""
    state = replace(observed.state, refused=frozenset())  # what is refused differs all the same
    its_plan = plan(replace(observed, state=state), Policy(settings.config))
    # An account that is not provisioned needs no documents.
    is_left = its_plan.obstacle in (Refusal.ANONYMOUS, Refusal.UNDECIDED)
    lacking = [] if is_left else users.lacking(state, settings.config)

    def document(field: str) -> str:
        is_there = getattr(state, field) is not None
        return "exists" if is_there else "missing" if field in lacking else "-"

    if its_plan.create:
        stream = "missing"
    elif its_plan.patch:
        stream = "differs"
    else:
        stream = str(its_plan.obstacle or "exists")
    follows = state.profile is not None and users.profile_update(state, settings.config)
    return Row(
        observed.key.id,
        state.account.created_at if state.account else None,
        users=document("user"),
        profile="differs" if follows else document("profile"),
        stats=document("stats"),
        stream=stream,
        stream_user_id=observed.stream_id,
    )
