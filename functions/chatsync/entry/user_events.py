"""Events of Stream about users: they end trust in what ``stream_users`` remembers of a user.

An event never creates a user, and its data is never copied: a Stream user without account, such as
a bot, leads to nothing.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from firebase_functions import logger

from .. import outbox, users
from ..agreement import change_of
from ..clients import Clients
from ..clients.accounts import read_accounts
from ..clients.documents import read_documents
from ..clients.entries import withdraw
from ..config import Config
from ..conversations import text_of
from ..errors import Postponed
from ..ids import Key
from ..outcome import Outcome
from ..plan import Observed, Policy, patch_of
from ..side_by_side import begin, result
from ..users import FirebaseState, Remembered

WITHDRAWING = (
    *("user.deleted", "user.deactivated", "user.reactivated"),
    *("user.banned", "user.unbanned"),
)

REPORT_SECONDS = 1.0
"""For writing an entry of the outbox. Waking the drain, twice at most, takes more time."""

WITHDRAW_SECONDS = 0.5

ONCE_IN = timedelta(minutes=1)
"""A Stream user who is overwritten again within this time is left to the audit: two writers would
go on forever."""


def handle(
    kind: str,
    user: Mapping[str, Any],
    told_at: datetime | None,
    clients: Clients,
    deadline: float,
) -> None:
    """Withdraw what is remembered of the user, if the event tells something new.

    An update that Firebase disagrees with is repaired by the outbox, too, within seconds. Raises
    Temporary: Stream should then send the event again.
    """
    key = clients.settings.key(text_of(user.get("id")))
    if key is None:
        return
    if kind in WITHDRAWING:
        withdraw([key], clients, deadline, change=change_of(kind))
        about = {key.kind: key.id, "event": kind}
        logger.info(f"Stream tells something new of {key.kind} {key.id}: {kind}", **about)
    elif kind == "user.updated":
        _compare(key, user, told_at, clients, deadline)


def _compare(
    named: Key,
    user: Mapping[str, Any],
    told_at: datetime | None,
    clients: Clients,
    deadline: float,
) -> None:
    """Most updates echo our own: they agree, and cost one read."""
    key, state = _read(named, clients, deadline)
    fields = _overwritten(key, state, user, clients, deadline)
    if not fields:
        return
    about = {key.kind: key.id, "fields": fields}
    name = f"Stream user {user['id']}"
    acted_at = _last_action(state.remembered, fields)
    if acted_at is None or datetime.now(UTC) - acted_at > ONCE_IN:
        logger.info(f"{name} was overwritten: {', '.join(fields)}", **about)
        repair = Outcome(key, "", None, Postponed("the Stream user was overwritten"))
        outbox.write_entries([repair], clients, REPORT_SECONDS)
    elif told_at is None or told_at > acted_at:  # else the event is from before
        logger.warn(f"{name} was overwritten twice within a minute: left to the audit", **about)
    # Last: a failed event comes again, and must not look like a second one.
    until = max(deadline, time.monotonic() + WITHDRAW_SECONDS)
    told = change_of("user.updated", fields)
    withdraw([named], clients, until, change=told, overwritten=True)


def _read(key: Key, clients: Clients, deadline: float) -> tuple[Key, FirebaseState]:
    """What Firestore says of a Stream user; an account that is a company has the account's key."""
    of = ("user", "profile", "company", "entry", "account_entry")
    whole = {"entry": ("history", "overwrittenAt")}
    state = read_documents([key], clients, deadline, of=of, whole=whole)[key]
    if key.kind == "company" and state.kind:
        return _read(Key("user", key.id), clients, deadline)
    return key, state


def _overwritten(
    key: Key,
    state: FirebaseState,
    user: Mapping[str, Any],
    clients: Clients,
    deadline: float,
) -> list[str]:
    """The fields in which this Stream user differs from what Firebase states."""
    settings = clients.settings
    is_unknown = state.user is state.profile is state.company is None
    if is_unknown or settings.stream_id(key, state) != user["id"]:
        return []
    if key.kind == "user" and _must_ask_auth(state, user, settings.config):
        asking = begin(read_accounts, [key], clients.auth)
        account = result(asking, deadline).get(key)
        if account is None:
            return []
        state = replace(state, account=account)
    observed = Observed(key, user["id"], state, user)
    patch = patch_of(observed, Policy(settings.config)) or {}
    return sorted({*patch.get("set", ()), *patch.get("unset", ())})


def _must_ask_auth(state: FirebaseState, user: Mapping[str, Any], config: Config) -> bool:
    """Whether Auth may state a field that the documents don't: an echo costs no call otherwise."""
    if users.needs_claims(config) or not users.names_user(state, config):
        return True
    stated = users.owned_fields(state, config)
    in_auth = ("name", "image", *config.users.stream_fields)
    return any(user.get(field) for field in in_auth if field not in stated)


def _last_action(remembered: Remembered | None, fields: Iterable[str]) -> datetime | None:
    """When one of these fields was last repaired, or an event last told that the user was
    overwritten: a repair that is under way has no history yet."""
    if remembered is None:
        return None
    times = [
        change.get("at")
        for change in remembered.history
        if change.get("did") == "updated" and not set(fields).isdisjoint(change.get("fields") or ())
    ]
    known = [one for one in (*times, remembered.overwritten_at) if isinstance(one, datetime)]
    return max(known, default=None)
