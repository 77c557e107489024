"""Run an audit page by page: find, count, and repair what it was asked to.

``audits/{id}`` holds the steps, the position and the counts, its ``findings`` what disagrees. A
page begins where the document says, and ends with one write of it, which succeeds only if nobody
else has ended the same page. So a page that is lost, repeated or run twice at once counts once.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from firebase_functions import logger
from google.api_core.exceptions import GoogleAPICallError

from .. import outbox
from ..clients import Clients
from ..errors import ChatsyncError, Paused, Postponed, StreamRateLimited, Temporary, Unsafe
from ..log_events import LogEvent
from ..proof import note_hooks
from .repair import CREATING, Wait, repair_page, withdraw_doubtful
from .safeguard import refuse_wrong_ids
from .steps import KINDS_OF_USERS, RECONCILED, STEPS, Page
from .store import LAST_STEP, Audit, read, save, set_state, start, unfinished, write_findings

SWEEP = "runSweep"
"""The task function that runs the pages."""

BUDGET_SECONDS = 45.0

STALLED_AFTER = timedelta(hours=6)
"""If no page ended for so long, something blocks the audit, and the next night begins a new one."""

MAX_TEAMS = 1_000
"""Teams that are counted apart: the audit's document, of 1 MiB at most, has room for so many."""

_NO_TEAM = "(none)"

_OTHER_TEAMS = "(others)"
_MAX_TEAM_LENGTH = 100
"""In characters. Stream takes no longer name, but a document may hold any."""


def begin_nightly(clients: Clients) -> None:
    """Begin the nightly audit, or go on with the last one unless it has stalled.

    Every night, Stream's settings are read too (:mod:`chatsync.proof`).
    """
    try:
        note_hooks(clients)
    except (ChatsyncError, GoogleAPICallError) as error:
        logger.error(f"Stream's webhook could not be checked: {error}")
    audit = unfinished("nightly", clients)
    is_stalled = audit and audit.version and datetime.now(UTC) - audit.version > STALLED_AFTER
    if audit and is_stalled and not clients.pause.since():
        set_state(audit, "failed", clients)
        logger.error(f"Audit {audit.id} is given up", audit=audit.id, page=audit.page)
        audit = None
    if audit is None:
        audit = start("nightly", clients, repair=CREATING)
        logger.info(f"Audit {audit.id} begins", audit=audit.id)
    else:
        logger.warn(f"Audit {audit.id} goes on", audit=audit.id, page=audit.page)
    run_in_background(audit, clients)


def run_in_background(audit: Audit, clients: Clients) -> None:
    """Let the task queue run the pages of an audit.

    One task in an hour: a schedule may call twice, as the emulator does when it starts a process.
    Raises FirebaseUnavailable.
    """
    _call_again(audit, clients, time.time() // 3600 * 3600)


def run(audit_id: str, clients: Clients) -> None:
    """Run pages for 45 seconds, then arrange the next call of the function.

    While writing to Stream is paused, an audit that repairs runs no page, and goes on in a minute.

    Raises Temporary if a page or that call failed: the queue then calls again.
    """
    ends = time.monotonic() + BUDGET_SECONDS
    audit = read(audit_id, clients)
    resume_at = time.time()
    while audit and audit.state == "running":
        try:
            audit = run_page(audit, clients)
        except StreamRateLimited as limited:
            resume_at = time.time() + limited.retry_after
            break
        except Paused:
            # One task in a minute: the emulator calls at once, and again until its time has come.
            resume_at = (time.time() // 60 + 1) * 60
            break
        if time.monotonic() >= ends:
            break
    if audit and audit.state == "running":
        if not _call_again(audit, clients, max(resume_at, time.time())):
            # A task of this name existed: it may be the one that runs now.
            raise Postponed(f"audit {audit.id} is to go on")
    elif audit and audit.state == "unsafe":
        message = f"Audit {audit.id} stops before it creates users: {audit.reason}"
        logger.error(message, audit=audit.id, event=LogEvent.AUDIT_UNSAFE)
    elif audit and audit.state == "done":
        rate = "nothing to compare" if audit.sync_rate is None else f"{audit.sync_rate:.1%} in sync"
        fields = {"audit": audit.id, "findings": audit.findings}
        logger.info(f"Audit {audit.id} is done: {rate}", **fields, event=LogEvent.AUDIT_DONE)


def _call_again(audit: Audit, clients: Clients, at: float) -> bool:
    """False if the task exists. Its name holds page and time, so a page's second task is new."""
    name = f"{audit.id}-{audit.page}-{int(at)}"
    return clients.tasks.enqueue(SWEEP, {"auditId": audit.id}, name, at)


def run_page(audit: Audit, clients: Clients, wait: Wait = None) -> Audit:
    """Run the next page of ``audit``; returns the audit after it.

    Raises StreamRateLimited, Paused and other Temporary errors with nothing counted: run the page
    again later. With ``wait``, repairs wait at a rate limit instead, and all of them are counted.
    """
    if audit.repair:
        clients.pause.refuse_if_paused()
    calls = clients.stream.calls()
    page = _page(audit, clients)
    if audit.team:
        page.findings = [one for one in page.findings if audit.team in one.teams]
        page.records = [one for one in page.records if one[1] == audit.team]
    if _creates(page, audit) and not audit.ids_are_checked:
        try:
            refuse_wrong_ids(clients)
        except Unsafe as error:
            return _saved(replace(audit, state="unsafe", reason=str(error)), clients)
        audit = replace(audit, ids_are_checked=True)
    # The nightly audit tries refused values once more; a backfill would at each of its runs.
    retry_refused = audit.mode != "backfill"
    withdraw_doubtful(page.findings, clients)
    repairs_made = repair_page(page.findings, audit.repair, clients, wait, retry_refused)
    write_findings(page, audit, clients)
    advanced = _advanced(audit, page, repairs_made, clients.stream.calls() - calls)
    return _saved(advanced, clients)


def _creates(page: Page, audit: Audit) -> bool:
    """Whether the repair of a page would create Stream users."""
    missing = any(one.kind == "missing_stream_user" for one in page.findings)
    return missing and not set(RECONCILED).isdisjoint(audit.repair)


def _saved(audit: Audit, clients: Clients) -> Audit:
    """The audit after this page. If another run of the page ended first, that one counts."""
    saved = save(audit, clients) or read(audit.id, clients)
    if saved is None:
        raise Temporary(f"audit {audit.id} has vanished")
    return saved


def _page(audit: Audit, clients: Clients) -> Page:
    step = audit.steps[audit.step]
    if step != LAST_STEP:
        return STEPS[step](audit.cursor, audit.team, clients)
    if audit.repair:
        outbox.retry_parked(clients)
    return Page()


def _advanced(
    audit: Audit, page: Page, repairs_made: Mapping[str, int], stream_calls: int
) -> Audit:
    counts = {section: Counter(numbers) for section, numbers in audit.counts.items()}
    teams = {team: Counter(numbers) for team, numbers in audit.teams.items()}

    def of_team(team: str | None) -> Counter[str]:
        name = (team or _NO_TEAM)[:_MAX_TEAM_LENGTH]
        has_room = name in teams or len(teams) < MAX_TEAMS
        return teams.setdefault(name if has_room else _OTHER_TEAMS, Counter())

    for section, team, agrees in page.records:
        for numbers in (counts.setdefault(section, Counter()), of_team(team)):
            numbers["records"] += 1
            numbers["agreeing"] += agrees
    for finding in page.findings:
        section = "users" if finding.kind in KINDS_OF_USERS else "channels"
        counts.setdefault(section, Counter())[finding.kind] += 1
        for team in finding.teams:
            of_team(team)[finding.kind] += 1
    step = audit.step if page.cursor else audit.step + 1
    done = step == len(audit.steps)
    return replace(
        audit,
        state="done" if done else "running",
        step=step,
        cursor=page.cursor,
        page=audit.page + 1,
        counts=counts,
        teams=teams,
        repaired=audit.repaired + repairs_made["repaired"],
        failed=audit.failed + repairs_made["failed"],
        findings=audit.findings + len(page.findings),
        seen=audit.seen + page.seen,
        stream_calls=audit.stream_calls + stream_calls,
        finished_at=datetime.now(UTC) if done else None,
    )
