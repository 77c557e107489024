"""The audit: looks for findings page by page, counts them, and repairs what it was asked to.

``audits/{id}`` holds the plan, how far it got, and what was counted; its ``findings`` what
disagrees. A page begins where the document says, and ends with one write of it that only succeeds
if nobody else ended the same page: so a page can be lost, repeated or run twice at once, and counts
once.
"""

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from firebase_functions import logger
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch

from . import conversations, firebase, ids, repairs
from .clients import Clients
from .errors import Postponed, StreamRateLimited, Temporary
from .findings import (
    CHANNEL_STEPS,
    CLOSED,
    DELETED,
    FOLLOWED,
    KINDS_OF_USERS,
    RECONCILED,
    REMOVED,
    STEPS,
    USER_STEPS,
    Finding,
    Page,
    subject,
)
from .ids import Key
from .outcome import Outcome
from .reconcile import reconcile_users
from .removal import remove_users
from .side_by_side import BATCH, batches, two_at_once
from .stream import CHANNELS

COLLECTION = "audits"
SWEEP = "runSweep"
"""The task function that runs the pages."""

LAST_STEP = "parked"
"""After the steps that find: parked entries are tried once more."""

CREATING = (*RECONCILED, *FOLLOWED)
"""What the nightly audit repairs: it creates and patches, and never deletes, moves or closes."""

BUDGET_SECONDS = 45.0
STALLED_AFTER = timedelta(hours=6)
"""Without an end of a page: something is in the way, and the next night begins anew."""

KEPT_FOR = timedelta(days=90)
"""Audits and their findings, by Firestore's TTL policy on ``expireAt``."""

MAX_FINDINGS = 10_000
"""Kept in detail; all are counted."""

MAX_TEAMS = 1_000
"""Counted apart: the audit's document has room for so many, in its mebibyte."""

_CALL_SECONDS = 40.0
_NO_TEAM = "(none)"
_OTHER_TEAMS = "(others)"
_MAX_ID_BYTES = 1_400
"""Firestore takes 1,500."""


Wait = Callable[[int], None] | None
"""Waits for so many seconds, until Stream's limit is open again."""


@dataclass(frozen=True)
class Audit:
    """``audits/{id}``, as it was read."""

    id: str
    mode: str
    """``nightly``, ``operator`` or ``backfill``."""

    steps: tuple[str, ...]
    repair: tuple[str, ...] = ()
    team: str | None = None
    state: str = "running"
    """``running``, ``stopped`` by its operator, ``done``, or ``failed``: given up."""

    step: int = 0
    cursor: str = ""
    page: int = 0
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By ``users`` and ``channels``: records, agreeing, and of each kind of finding."""

    teams: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    findings: int = 0
    repaired: int = 0
    """Of the findings."""

    failed: int = 0
    """Repairs, of users or conversations, that failed for now."""

    seen: int = 0
    """Accounts, users, documents, channels and conversations that were looked at."""

    stream_calls: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: datetime | None = None
    """Firestore's update time: when its last page ended."""

    @property
    def sync_rate(self) -> float | None:
        """Records that agree / our records; None where there are none."""
        records = sum(counts.get("records", 0) for counts in self.counts.values())
        agreeing = sum(counts.get("agreeing", 0) for counts in self.counts.values())
        return agreeing / records if records else None


def start(
    mode: str,
    clients: Clients,
    *,
    steps: Sequence[str] = (*USER_STEPS, *CHANNEL_STEPS, LAST_STEP),
    repair: Iterable[str] = (),
    team: str | None = None,
) -> Audit:
    """Write down a new audit, without running it. One beside another does no harm."""
    now = datetime.now(UTC)
    audit_id = f"{now:%Y-%m-%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    audit = Audit(audit_id, mode, tuple(steps), tuple(repair), team, started_at=now)
    saved = _save(audit, clients)
    if saved is None:
        raise Temporary(f"audit {audit_id} exists already")
    return saved


def read(audit_id: str, clients: Clients) -> Audit | None:
    deadline = time.monotonic() + _CALL_SECONDS
    with firebase.temporary_failures_named():
        snapshot = _reference(audit_id, clients).get(**firebase.until(deadline))
    return _audit(snapshot) if snapshot.exists else None


def latest(clients: Clients) -> Audit | None:
    """The audit that began last; a backfill is none."""
    query = clients.firestore.collection(COLLECTION).order_by(
        "startedAt", direction=firestore.Query.DESCENDING
    )
    with firebase.temporary_failures_named():
        found = query.limit(100).get(**firebase.until(time.monotonic() + _CALL_SECONDS))
    return next((audit for one in found if (audit := _audit(one)).mode != "backfill"), None)


def unfinished(mode: str, clients: Clients) -> Audit | None:
    """The audit of this mode that began last, among those that are running or stopped."""
    collection = clients.firestore.collection(COLLECTION)
    query = collection.where(filter=FieldFilter("mode", "==", mode))
    query = query.where(filter=FieldFilter("state", "in", ["running", "stopped"]))
    with firebase.temporary_failures_named():
        found = query.get(**firebase.until(time.monotonic() + _CALL_SECONDS))
    audits = [_audit(one) for one in found]
    return max(audits, key=lambda audit: audit.id, default=None)


def set_state(audit: Audit, state: str, clients: Clients) -> Audit | None:
    """Stop an audit, give it up, or let it run again; None if somebody else is at it."""
    return _save(replace(audit, state=state), clients)


def begin_nightly(clients: Clients) -> None:
    """Begin the nightly audit, or go on with the last one, if that is still getting on."""
    audit = unfinished("nightly", clients)
    if audit and audit.version and datetime.now(UTC) - audit.version > STALLED_AFTER:
        set_state(audit, "failed", clients)
        logger.error(f"Audit {audit.id} is given up", audit=audit.id, page=audit.page)
        audit = None
    if audit is None:
        audit = start("nightly", clients, repair=CREATING)
        logger.info(f"Audit {audit.id} begins", audit=audit.id)
    else:
        logger.warn(f"Audit {audit.id} goes on", audit=audit.id, page=audit.page)
    _call_again(audit, clients, time.time())


def run(audit_id: str, clients: Clients) -> None:
    """Run pages for three quarters of a minute, then have the function called for the next.

    Raises Temporary if a page could not be run, or nobody would go on: the queue calls again.
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
        if time.monotonic() >= ends:
            break
    if audit and audit.state == "running":
        if not _call_again(audit, clients, max(resume_at, time.time())):
            # A task of this name was there: it may be the one that runs now.
            raise Postponed(f"audit {audit.id} is to go on")
    elif audit and audit.state == "done":
        rate = "nothing to compare" if audit.sync_rate is None else f"{audit.sync_rate:.1%} in sync"
        logger.info(f"Audit {audit.id} is done: {rate}", audit=audit.id, findings=audit.findings)


def _call_again(audit: Audit, clients: Clients, at: float) -> bool:
    """The task's name tells page and time: a page that is waited for has another than before."""
    name = f"{audit.id}-{audit.page}-{int(at)}"
    return clients.tasks.enqueue(SWEEP, {"auditId": audit.id}, name, at)


def run_page(audit: Audit, clients: Clients, wait: Wait = None) -> Audit:
    """Run the page at which ``audit`` stands; returns it as it stands then.

    Raises StreamRateLimited and other Temporary errors with nothing counted: run it again later.
    Who has repairs ``wait`` at a rate limit instead counts those too that came before it.
    """
    calls = clients.stream.calls()
    page = _page(audit, clients)
    if audit.team:
        page.findings = [one for one in page.findings if one.team == audit.team]
        page.records = [one for one in page.records if one[1] == audit.team]
    # The night tries once what was refused before; a backfill would for everybody, again and again.
    retry_refused = audit.mode != "backfill"
    repairs_made = _repair(page.findings, audit.repair, clients, wait, retry_refused)
    _write_findings(page, audit, clients)
    advanced = _advanced(audit, page, repairs_made, clients.stream.calls() - calls)
    saved = _save(advanced, clients)
    if saved is None:  # Somebody else ran the same page, and was faster: theirs counts.
        saved = read(audit.id, clients)
    if saved is None:
        raise Temporary(f"audit {audit.id} has vanished")
    return saved


def _page(audit: Audit, clients: Clients) -> Page:
    step = audit.steps[audit.step]
    if step != LAST_STEP:
        return STEPS[step](audit.cursor, audit.team, clients)
    if audit.repair:
        repairs.retry_parked(clients)
    return Page()


def _advanced(
    audit: Audit, page: Page, repairs_made: Mapping[str, int], stream_calls: int
) -> Audit:
    counts = {section: Counter(numbers) for section, numbers in audit.counts.items()}
    teams = {team: Counter(numbers) for team, numbers in audit.teams.items()}

    def of_team(team: str | None) -> Counter[str]:
        name = team or _NO_TEAM
        has_room = name in teams or len(teams) < MAX_TEAMS
        return teams.setdefault(name if has_room else _OTHER_TEAMS, Counter())

    for section, team, agrees in page.records:
        for numbers in (counts.setdefault(section, Counter()), of_team(team)):
            numbers["records"] += 1
            numbers["agreeing"] += agrees
    for finding in page.findings:
        section = "users" if finding.kind in KINDS_OF_USERS else "channels"
        counts.setdefault(section, Counter())[finding.kind] += 1
        of_team(finding.team)[finding.kind] += 1
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


# Repairs


def repair_findings(
    audit: Audit,
    findings: Sequence[Finding],
    clients: Clients,
    wait: Wait,
) -> Audit:
    """Repair these findings of an audit that is done, and nothing else."""
    kinds = {finding.kind for finding in findings}
    made = _repair(findings, kinds, clients, wait, retry_refused=True)
    repaired, failed = audit.repaired + made["repaired"], audit.failed + made["failed"]
    return _save(replace(audit, repaired=repaired, failed=failed), clients) or audit


def _repair(
    findings: Sequence[Finding],
    asked: Collection[str],
    clients: Clients,
    wait: Wait,
    retry_refused: bool,
) -> Mapping[str, int]:
    """Repair findings of the kinds ``asked`` for, a hundred users or thirty channels at a time.

    Returns the number of findings that are ``repaired``, and of repairs that ``failed``.
    """
    made = Counter[str]()

    def repair(
        kinds: Sequence[str], size: int, call: Callable[[Sequence[Key]], Sequence[Outcome]]
    ) -> None:
        found = [
            (one.kind, subject(one, clients.settings)) for one in findings if one.kind in kinds
        ]
        chunks = [*batches(sorted({key for kind, key in found if kind in asked}), size)]
        # While one is written the next is read: Stream is far away.
        for outcomes in two_at_once(lambda chunk: _patiently(call, chunk, wait), chunks):
            failed = {one.key for one in outcomes if one.error and not one.is_done}
            repaired = {one.key for one in outcomes} - failed
            made["failed"] += len(failed)
            made["repaired"] += sum(key in repaired for _, key in found)

    def reconcile(keys: Sequence[Key]) -> Sequence[Outcome]:
        return _kept(reconcile_users(keys, clients, retry_refused=retry_refused), clients)

    def follow(keys: Sequence[Key], may_close: bool = False) -> Sequence[Outcome]:
        outcomes = conversations.reconcile_conversations(
            [key.id for key in keys], clients, origin="operator", may_close=may_close
        )
        return _kept(outcomes, clients)

    # What is left of one side only is nothing for the outbox, which would remove both.
    repair(RECONCILED, BATCH, reconcile)
    repair(REMOVED, BATCH, partial(remove_users, clients=clients, documents=False))
    repair(DELETED, BATCH, partial(remove_users, clients=clients, from_stream=False))
    repair(FOLLOWED, CHANNELS, follow)
    repair(CLOSED, CHANNELS, partial(follow, may_close=True))
    return made


def _patiently(
    call: Callable[[Sequence[Key]], Sequence[Outcome]], keys: Sequence[Key], wait: Wait
) -> Sequence[Outcome]:
    """The outcomes, once no rate limit stands in the way.

    Raises StreamRateLimited where nobody waits.
    """
    while True:
        outcomes = call(keys)
        limited = next(
            (one.error for one in outcomes if isinstance(one.error, StreamRateLimited)), None
        )
        if limited is None:
            return outcomes
        if wait is None:
            raise limited
        wait(limited.retry_after)


def _kept(outcomes: Sequence[Outcome], clients: Clients) -> Sequence[Outcome]:
    """Leaves to the outbox what is not done: of what a rate limit puts off, late answers only."""
    limited = any(isinstance(one.error, StreamRateLimited) for one in outcomes)
    left = [one for one in outcomes if (one.recheck if limited else not one.is_done)]
    if left:
        repairs.write_entries(left, clients)
    return outcomes


# Documents


def _write_findings(page: Page, audit: Audit, clients: Clients) -> None:
    """Under names made of what they say, so that a page which is run again writes them again."""
    room = max(0, MAX_FINDINGS - audit.findings)
    findings = _reference(audit.id, clients).collection("findings")
    deadline = time.monotonic() + _CALL_SECONDS
    for batch_of in batches(page.findings[:room]):
        batch = BulkWriteBatch(clients.firestore)
        for finding in batch_of:
            fields = {**finding._asdict(), "expireAt": _expires_at(audit)}
            batch.set(findings.document(_finding_id(finding)), fields)
        with firebase.temporary_failures_named():
            batch.commit(**firebase.until(deadline))


def _finding_id(finding: Finding) -> str:
    name = ids.document_id(f"{finding.kind} {finding.key}")
    if len(name.encode()) <= _MAX_ID_BYTES:
        return name
    return f"{finding.kind} {hashlib.sha256(name.encode()).hexdigest()}"


def findings_of(audit: Audit, clients: Clients) -> Iterable[Finding]:
    """What was kept of its findings, by kind and key."""
    query = _reference(audit.id, clients).collection("findings").order_by("__name__")
    for snapshot in query.stream():
        fields = snapshot.to_dict()
        yield Finding(fields["kind"], fields["key"], fields["team"], fields["detail"])


def _expires_at(audit: Audit) -> datetime | None:
    return audit.started_at and audit.started_at + KEPT_FOR


def _reference(audit_id: str, clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document(COLLECTION, audit_id)


def _save(audit: Audit, clients: Clients) -> Audit | None:
    """Write the document; None if somebody else did since it was read."""
    reference = _reference(audit.id, clients)
    fields = {
        "mode": audit.mode,
        "state": audit.state,
        "steps": list(audit.steps),
        "step": audit.step,
        "cursor": audit.cursor,
        "page": audit.page,
        "repair": list(audit.repair),
        "team": audit.team,
        "counts": {section: dict(numbers) for section, numbers in audit.counts.items()},
        # A list: a team's name need not be a possible name of a field.
        "teams": [{"team": team, **numbers} for team, numbers in audit.teams.items()],
        "syncRate": audit.sync_rate,
        "repaired": audit.repaired,
        "failed": audit.failed,
        "findings": audit.findings,
        "seen": audit.seen,
        "streamCalls": audit.stream_calls,
        "startedAt": audit.started_at,
        "finishedAt": audit.finished_at,
        "expireAt": _expires_at(audit),
    }
    batch = clients.firestore.batch()
    firebase.add_write(batch, reference, fields, audit.version, clients.firestore)
    written_at = firebase.commit(batch, time.monotonic() + _CALL_SECONDS)
    return replace(audit, version=written_at[0]) if written_at else None


def _audit(snapshot: Any) -> Audit:
    fields = snapshot.to_dict()
    teams = {
        one["team"]: {name: value for name, value in one.items() if name != "team"}
        for one in fields["teams"]
    }
    return Audit(
        id=snapshot.id,
        mode=fields["mode"],
        steps=tuple(fields["steps"]),
        repair=tuple(fields["repair"]),
        team=fields["team"],
        state=fields["state"],
        step=fields["step"],
        cursor=fields["cursor"],
        page=fields["page"],
        counts=fields["counts"],
        teams=teams,
        repaired=fields["repaired"],
        failed=fields["failed"],
        findings=fields["findings"],
        seen=fields["seen"],
        stream_calls=fields["streamCalls"],
        started_at=fields["startedAt"],
        finished_at=fields["finishedAt"],
        version=snapshot.update_time,
    )
