"""``audits/{id}`` and its ``findings``: what Firestore holds of an audit."""

import hashlib
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from firebase_functions import logger
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch

from .. import ids
from ..clients import Clients
from ..clients.documents import add_write, commit, temporary_failures_named, until
from ..errors import Temporary
from ..side_by_side import batches
from .steps import CHANNEL_STEPS, USER_STEPS, Finding, Page

COLLECTION = "audits"

LAST_STEP = "parked"
"""The last step: parked entries are tried once more."""

KEPT_FOR = timedelta(days=90)
"""How long audits and findings are kept, by Firestore's TTL policy on ``expireAt``."""

MAX_FINDINGS = 10_000
"""Findings that are saved; all are counted."""

CALL_SECONDS = 40.0

_MAX_ID_BYTES = 1_400
"""Firestore takes 1,500."""


@dataclass(frozen=True)
class Audit:
    """``audits/{id}``, as it was read."""

    id: str
    mode: str
    """``nightly``, ``operator``, ``backfill`` or ``setup``."""

    steps: tuple[str, ...]
    repair: tuple[str, ...] = ()
    team: str | None = None
    state: str = "running"
    """``running``, ``stopped`` by its operator, ``done``, ``failed`` if it was given up, or
    ``unsafe``."""

    reason: str = ""
    """Why it is unsafe."""

    ids_are_checked: bool = False
    """Whether it may create users: a sample of Stream's, or the operator, says so."""

    step: int = 0
    cursor: str = ""
    page: int = 0
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By ``users`` and ``channels``: ``records``, ``agreeing``, and each kind of finding."""

    teams: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    findings: int = 0
    repaired: int = 0
    """Of the findings."""

    failed: int = 0
    """Repairs, of users or conversations, that failed for now."""

    seen: int = 0
    """Accounts, users, documents, channels and conversations that were compared."""

    stream_calls: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: datetime | None = None
    """Firestore's update time: when its last page ended."""

    @property
    def sync_rate(self) -> float | None:
        """Records that agree, divided by all records that we own; None if there are none."""
        records = sum(counts.get("records", 0) for counts in self.counts.values())
        agreeing = sum(counts.get("agreeing", 0) for counts in self.counts.values())
        return agreeing / records if records else None


_RENAMED = {
    "ids_are_checked": "idsAreChecked",
    "stream_calls": "streamCalls",
    "started_at": "startedAt",
    "finished_at": "finishedAt",
}
_STORED_AS = {
    one.name: _RENAMED.get(one.name, one.name)
    for one in fields(Audit)
    if one.name not in ("id", "version")
}
"""The fields of the document, by attribute of :class:`Audit`."""


def start(
    mode: str,
    clients: Clients,
    *,
    steps: Sequence[str] = (*USER_STEPS, *CHANNEL_STEPS, LAST_STEP),
    repair: Iterable[str] = (),
    team: str | None = None,
    ids_are_checked: bool = False,
) -> Audit:
    """Save a new audit, without running it. Several audits may run at once."""
    now = datetime.now(UTC)
    audit_id = f"{now:%Y-%m-%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    audit = Audit(
        audit_id,
        mode,
        tuple(steps),
        tuple(repair),
        team,
        ids_are_checked=ids_are_checked,
        started_at=now,
    )
    saved = save(audit, clients)
    if saved is None:
        raise Temporary(f"audit {audit_id} exists already")
    return saved


def read(audit_id: str, clients: Clients) -> Audit | None:
    deadline = time.monotonic() + CALL_SECONDS
    with temporary_failures_named():
        snapshot = _reference(audit_id, clients).get(**until(deadline))
    return _audit(snapshot) if snapshot.exists else None


def recent(clients: Clients, since: datetime | None = None) -> list[Audit]:
    """The audits and backfills that began after ``since``, else all that are kept; newest first.

    For people: a document with fields of other types is left out, and told in the log.
    """
    query = clients.firestore.collection(COLLECTION).order_by(
        "startedAt", direction=firestore.Query.DESCENDING
    )
    if since:
        query = query.where(filter=FieldFilter("startedAt", ">=", since))
    with temporary_failures_named():
        found = query.get(**until(time.monotonic() + CALL_SECONDS))
    return [audit for one in found if (audit := _audit_if_sound(one))]


def unfinished(mode: str, clients: Clients) -> Audit | None:
    """The audit of this mode that began last, among those that are running or stopped."""
    collection = clients.firestore.collection(COLLECTION)
    query = collection.where(filter=FieldFilter("mode", "==", mode))
    query = query.where(filter=FieldFilter("state", "in", ["running", "stopped"]))
    with temporary_failures_named():
        found = query.get(**until(time.monotonic() + CALL_SECONDS))
    audits = [_audit(one) for one in found]
    return max(audits, key=lambda audit: audit.id, default=None)


def set_state(audit: Audit, state: str, clients: Clients) -> Audit | None:
    """Stop an audit, give it up, or let it run again; None if another run has written it."""
    return save(replace(audit, state=state), clients)


def write_findings(page: Page, audit: Audit, clients: Clients) -> None:
    """Save a page's findings. Their ids come from kind and key: a repeated page overwrites them."""
    room = max(0, MAX_FINDINGS - audit.findings)
    findings = _reference(audit.id, clients).collection("findings")
    deadline = time.monotonic() + CALL_SECONDS
    for batch_of in batches(page.findings[:room]):
        batch = BulkWriteBatch(clients.firestore)
        for finding in batch_of:
            stored = {**finding._asdict(), "expireAt": _expires_at(audit)}
            batch.set(findings.document(_finding_id(finding)), stored)
        with temporary_failures_named():
            batch.commit(**until(deadline))


def _finding_id(finding: Finding) -> str:
    name = ids.document_id(f"{finding.kind} {finding.key}")
    if len(name.encode()) <= _MAX_ID_BYTES:
        return name
    return f"{finding.kind} {hashlib.sha256(name.encode()).hexdigest()}"


def findings_of(audit: Audit, clients: Clients) -> Iterable[Finding]:
    """The saved findings, in the order of kind and key."""
    query = _reference(audit.id, clients).collection("findings").order_by("__name__")
    for snapshot in query.stream():
        stored = snapshot.to_dict()
        known = {name: stored[name] for name in Finding._fields if name in stored}
        yield Finding(**{"kind": "", "key": snapshot.id, **known})


def _expires_at(audit: Audit) -> datetime | None:
    return audit.started_at and audit.started_at + KEPT_FOR


def _reference(audit_id: str, clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document(COLLECTION, audit_id)


def save(audit: Audit, clients: Clients) -> Audit | None:
    """Write the document; None if somebody else wrote it since it was read."""
    stored = {name: getattr(audit, attribute) for attribute, name in _STORED_AS.items()}
    stored |= {
        # A list: a team's name need not be a possible name of a field.
        "teams": [{"team": team, **numbers} for team, numbers in audit.teams.items()],
        "syncRate": audit.sync_rate,
        "expireAt": _expires_at(audit),
    }
    batch = clients.firestore.batch()
    reference = _reference(audit.id, clients)
    add_write(batch, reference, stored, audit.version, clients.firestore)
    written_at = commit(batch, time.monotonic() + CALL_SECONDS)
    return replace(audit, version=written_at[0]) if written_at else None


def _audit_if_sound(snapshot: Any) -> Audit | None:
    try:
        audit = _audit(snapshot)
        tables = (*audit.counts.values(), *audit.teams.values())
        numbers = (audit.findings, audit.repaired, audit.failed, audit.seen)
        of_types = (
            (str, (audit.mode, audit.state, audit.reason, *audit.counts, *audit.teams)),
            (int, (*numbers, *(number for table in tables for number in table.values()))),
            (datetime, (audit.started_at,)),
            (datetime | None, (audit.finished_at,)),
        )
        if all(isinstance(value, one) for one, values in of_types for value in values):
            return audit
    except (KeyError, TypeError, AttributeError):
        pass
    logger.warn(f"{COLLECTION}/{snapshot.id} is no audit that can be read: it is left out")
    return None


def _audit(snapshot: Any) -> Audit:
    stored = snapshot.to_dict()
    # An audit of an older version lacks a field.
    read = {attribute: stored[name] for attribute, name in _STORED_AS.items() if name in stored}
    read |= {
        "steps": tuple(stored["steps"]),
        "repair": tuple(stored["repair"]),
        "teams": {numbers.pop("team"): numbers for numbers in stored["teams"]},
    }
    return Audit(snapshot.id, version=snapshot.update_time, **read)
