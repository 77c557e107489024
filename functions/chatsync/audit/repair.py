"""Repair the findings of an audit: only the kinds that it was asked to."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from .. import conversations, ids, outbox
from ..clients import Clients
from ..clients.entries import withdraw
from ..clients.stream import CHANNELS
from ..errors import Paused, StreamRateLimited
from ..ids import Key
from ..outcome import Outcome
from ..reconcile import reconcile_users
from ..removal import remove_users
from ..side_by_side import BATCH, batches, two_at_once
from .steps import CLOSED, DELETED, FOLLOWED, KINDS_OF_USERS, RECONCILED, REMOVED, Finding, subject
from .store import Audit, save

CREATING = (*RECONCILED, *FOLLOWED)
"""What the nightly audit repairs: it creates and patches, and never deletes, moves or closes."""

WITHDRAWAL_SECONDS = 10.0

_HELD = (StreamRateLimited, Paused)
"""After these a page is run again: nothing is wrong with those who are on it."""

Wait = Callable[[int], None] | None
"""Waits for a number of seconds, until Stream's rate limit allows calls again."""


def repair_findings(
    audit: Audit, findings: Sequence[Finding], clients: Clients, wait: Wait
) -> Audit:
    """Repair these findings of an audit that is done, and nothing else."""
    kinds = {finding.kind for finding in findings}
    counts = repair_page(findings, kinds, clients, wait, retry_refused=True)
    repaired, failed = audit.repaired + counts["repaired"], audit.failed + counts["failed"]
    return save(replace(audit, repaired=repaired, failed=failed), clients) or audit


def withdraw_doubtful(findings: Sequence[Finding], clients: Clients) -> None:
    """Trust the entries no longer of users whom an audit found to disagree.

    A repair that follows writes them anew. Raises FirebaseUnavailable.
    """
    subjects = {subject(one, clients.settings) for one in findings if one.kind in KINDS_OF_USERS}
    # A document's id may be longer than that of any account, and a uid may hold a slash.
    possible = sorted(key for key in subjects if ids.is_possible(key, clients.settings.id_format))
    for batch in batches(possible):
        withdraw(batch, clients, time.monotonic() + WITHDRAWAL_SECONDS)


def repair_page(
    findings: Sequence[Finding],
    asked: Collection[str],
    clients: Clients,
    wait: Wait,
    retry_refused: bool,
) -> Mapping[str, int]:
    """Repair findings of the kinds ``asked`` for, a hundred users or thirty channels at a time.

    Returns the number of findings that are ``repaired``, and of repairs that ``failed``.
    """
    counts = Counter[str]()

    def repair(
        kinds: Sequence[str], size: int, call: Callable[[Sequence[Key]], Sequence[Outcome]]
    ) -> None:
        found = [
            (one.kind, subject(one, clients.settings)) for one in findings if one.kind in kinds
        ]
        chunks = [*batches(sorted({key for kind, key in found if kind in asked}), size)]
        # Two chunks at once: one is read while the other is written, since Stream is far away.
        for outcomes in two_at_once(lambda chunk: _patiently(call, chunk, wait), chunks):
            failed = {one.key for one in outcomes if one.error and not one.is_done}
            repaired = {one.key for one in outcomes} - failed
            counts["failed"] += len(failed)
            counts["repaired"] += sum(key in repaired for _, key in found)

    def reconcile(keys: Sequence[Key]) -> Sequence[Outcome]:
        return _enqueue(reconcile_users(keys, clients, retry_refused=retry_refused), clients)

    def follow(keys: Sequence[Key], may_close: bool = False) -> Sequence[Outcome]:
        outcomes = conversations.reconcile_conversations(
            [key.id for key in keys], clients, origin="operator", may_close=may_close
        )
        return _enqueue(outcomes, clients)

    # Removals of one side only don't go to the outbox, which would remove both.
    repair(RECONCILED, BATCH, reconcile)
    repair(REMOVED, BATCH, partial(remove_users, clients=clients, documents=False))
    repair(DELETED, BATCH, partial(remove_users, clients=clients, from_stream=False))
    repair(FOLLOWED, CHANNELS, follow)
    repair(CLOSED, CHANNELS, partial(follow, may_close=True))
    return counts


def _patiently(
    call: Callable[[Sequence[Key]], Sequence[Outcome]], keys: Sequence[Key], wait: Wait
) -> Sequence[Outcome]:
    """The outcomes of ``call``, repeated after each wait for a rate limit.

    Raises StreamRateLimited if ``wait`` is None, and Paused.
    """
    while True:
        outcomes = call(keys)
        errors = (one.error for one in outcomes)
        held = next((error for error in errors if isinstance(error, _HELD)), None)
        if held is None:
            return outcomes
        if wait is None or isinstance(held, Paused):
            raise held
        wait(held.retry_after)


def _enqueue(outcomes: Sequence[Outcome], clients: Clients) -> Sequence[Outcome]:
    """Enter what is not done into the outbox; of a page to run again only what needs a recheck."""
    is_held = any(isinstance(one.error, _HELD) for one in outcomes)
    left = [one for one in outcomes if (one.recheck if is_held else not one.is_done)]
    if left:
        outbox.write_entries(left, clients)
    return outcomes
