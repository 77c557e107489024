"""The audit: every account against its documents and its Stream user, every channel against its
``conversations`` document, page by page.

``audits/{id}`` holds the plan, how far it got, and what was counted; its ``findings`` what
disagrees. A page begins where the document says, and ends with one write of it that only succeeds
if nobody else ended the same page: so a page can be lost, repeated or run twice at once, and counts
once. Memory holds one page, however many users there are.
"""

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from firebase_functions import logger
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch

from . import conversations, firebase, ids, repairs, users
from .clients import Clients
from .errors import InvalidArgument, StreamRateLimited, Temporary
from .ids import Key
from .removal import remove_users
from .settings import Settings
from .side_by_side import begin, result
from .stream import BATCH, CHANNELS, MAX_OFFSET, batches
from .sync import Outcome, reconcile_users
from .users import Document, Held

COLLECTION = "audits"
SWEEP = "runSweep"
"""The task function that runs the pages."""

USER_STEPS = ("accounts", "companies", "stream_users", "documents")
CHANNEL_STEPS = ("channels", "conversations")
LAST_STEP = "parked"

RECONCILED = ("missing_documents", "missing_stream_user", "drifted_stream_user")
REMOVED = ("orphan_stream_user",)
DELETED = ("orphan_documents",)
FOLLOWED = ("only_in_stream", "member_mismatch")
CLOSED = ("only_in_firestore",)
BY_HAND = ("wrong_team",)
"""A person says which side is right, with ``fix-team``."""

KINDS_OF_USERS = (*RECONCILED, *REMOVED, *DELETED)
KINDS_OF_CHANNELS = (*FOLLOWED, *CLOSED, *BY_HAND)
KINDS = (*KINDS_OF_USERS, *KINDS_OF_CHANNELS)
DESTROYING = (*REMOVED, *DELETED, *CLOSED)
CREATING = (*RECONCILED, *FOLLOWED)
"""What the nightly audit repairs: it creates and patches, and never deletes, moves or closes."""

PAGE_SECONDS = 40.0
BUDGET_SECONDS = 45.0
STALLED_AFTER = timedelta(hours=6)
"""Without an end of a page: something is in the way, and the next night begins anew."""

KEPT_FOR = timedelta(days=90)
"""Audits and their findings, by Firestore's TTL policy on ``expireAt``."""

MAX_FINDINGS = 10_000
"""Kept in detail; all are counted."""

MAX_TEAMS = 1_000
"""Counted apart: the audit's document has room for so many, in its mebibyte."""

# A page is a thousand of what is looked at, as many as Auth lists: it ends with a write of the
# audit's document, and Firestore is at ease with one write of a document per second.
_LISTS_PER_PAGE = 10
_DOCUMENTS_PER_PAGE = 1000
_COLLECTIONS_OF_USERS = ("users", "user_profiles", "user_stats")
_NO_TEAM = "(none)"
_OTHER_TEAMS = "(others)"
_MAX_ID_BYTES = 1_400
"""Firestore takes 1,500."""


class Finding(NamedTuple):
    kind: str
    key: str
    """``user:{uid}``, ``company:{id}``, or a channel's cid."""

    team: str | None
    detail: str


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
    """Repairs, of users or conversations, that were left to the outbox."""

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


@dataclass
class Page:
    """What a page found; ``cursor`` is empty when the step is at its end."""

    cursor: str = ""
    findings: list[Finding] = field(default_factory=list)
    records: list[tuple[str, str | None, bool]] = field(default_factory=list)
    """Of each record of ours: section, team, and whether it agrees."""

    seen: int = 0
    repaired: int = 0
    failed: int = 0


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
    deadline = time.monotonic() + PAGE_SECONDS
    with firebase.temporary_failures_named():
        snapshot = _reference(audit_id, clients).get(**firebase.until(deadline))
    return _audit(snapshot) if snapshot.exists else None


def latest(clients: Clients) -> Audit | None:
    """The audit that began last; a backfill is none."""
    query = clients.firestore.collection(COLLECTION).order_by(
        "startedAt", direction=firestore.Query.DESCENDING
    )
    with firebase.temporary_failures_named():
        found = query.limit(100).get(**firebase.until(time.monotonic() + PAGE_SECONDS))
    return next((audit for one in found if (audit := _audit(one)).mode != "backfill"), None)


def unfinished(mode: str, clients: Clients) -> Audit | None:
    """The audit of this mode that began last, among those that are running or stopped."""
    collection = clients.firestore.collection(COLLECTION)
    query = collection.where(filter=FieldFilter("mode", "==", mode))
    query = query.where(filter=FieldFilter("state", "in", ["running", "stopped"]))
    with firebase.temporary_failures_named():
        found = query.get(**firebase.until(time.monotonic() + PAGE_SECONDS))
    audits = [_audit(one) for one in found]
    return max(audits, key=lambda audit: audit.id, default=None)


def set_state(audit: Audit, state: str, clients: Clients) -> Audit | None:
    """Stop an audit, give it up, or let it run again; None if somebody else is at it."""
    return _save(replace(audit, state=state), clients)


def begin_nightly(clients: Clients) -> None:
    """Begin the nightly audit, or go on with the last one, if that is still getting on."""
    audit = unfinished("nightly", clients)
    if audit and datetime.now(UTC) - _last_progress(audit) > STALLED_AFTER:
        set_state(audit, "failed", clients)
        logger.error(f"Audit {audit.id} is given up", audit=audit.id, page=audit.page)
        audit = None
    if audit is None:
        audit = start("nightly", clients, repair=CREATING)
        logger.info(f"Audit {audit.id} begins", audit=audit.id)
    else:
        logger.warn(f"Audit {audit.id} goes on", audit=audit.id, page=audit.page)
    _call_again(audit, clients, time.time())


def _last_progress(audit: Audit) -> datetime:
    return audit.version or datetime.now(UTC)


def run(audit_id: str, clients: Clients, settings: Settings) -> None:
    """Run pages for three quarters of a minute, then have the function called for the next.

    Raises Temporary if a page could not be run: the queue calls again.
    """
    ends = time.monotonic() + BUDGET_SECONDS
    audit = read(audit_id, clients)
    while audit and audit.state == "running":
        try:
            audit = run_page(audit, clients, settings)
        except StreamRateLimited as limited:
            _call_again(audit, clients, time.time() + limited.retry_after)
            return
        if time.monotonic() >= ends:
            break
    if audit and audit.state == "running":
        _call_again(audit, clients, time.time())
    elif audit:
        rate = "nothing to compare" if audit.sync_rate is None else f"{audit.sync_rate:.1%} in sync"
        logger.info(f"Audit {audit.id} is done: {rate}", audit=audit.id, findings=audit.findings)


def _call_again(audit: Audit, clients: Clients, at: float) -> None:
    """The task's name tells page and time: a page that is waited for has another than before."""
    clients.tasks.enqueue(SWEEP, {"auditId": audit.id}, f"{audit.id}-{audit.page}-{int(at)}", at)


def run_page(audit: Audit, clients: Clients, settings: Settings) -> Audit:
    """Run the page at which ``audit`` stands; returns it as it stands then.

    Raises StreamRateLimited and other Temporary errors with nothing counted: run it again later.
    """
    calls = clients.stream.calls()
    page = _STEPS[audit.steps[audit.step]](audit, clients, settings)
    if audit.team:
        page.findings = [one for one in page.findings if one.team == audit.team]
        page.records = [one for one in page.records if one[1] == audit.team]
    _repair(page, audit, clients, settings)
    _write_findings(page, audit, clients)
    advanced = _advanced(audit, page, clients.stream.calls() - calls)
    saved = _save(advanced, clients)
    if saved is None:  # Somebody else ran the same page, and was faster: theirs counts.
        saved = read(audit.id, clients)
    if saved is None:
        raise Temporary(f"audit {audit.id} has vanished")
    return saved


def _advanced(audit: Audit, page: Page, stream_calls: int) -> Audit:
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
        repaired=audit.repaired + page.repaired,
        failed=audit.failed + page.failed,
        findings=audit.findings + len(page.findings),
        seen=audit.seen + page.seen,
        stream_calls=audit.stream_calls + stream_calls,
        finished_at=datetime.now(UTC) if done else None,
    )


# The steps. Each runs one page from audit.cursor on.


def expected(steps: Sequence[str], clients: Clients) -> int | None:
    """About how many things an audit of these steps will look at, for telling how far it is.

    None if there are too many accounts to be counted before.
    """
    counts = dict.fromkeys(_STEPS, 0)
    if {"accounts", "stream_users"} & set(steps):
        accounts = firebase.count_accounts(clients.auth)
        if accounts is None:
            return None
        counts["accounts"] = counts["stream_users"] = accounts
    if "companies" in steps:
        counts["companies"] = firebase.count_documents("companies", clients.firestore)
    if "documents" in steps:
        counts["documents"] = sum(
            firebase.count_documents(collection, clients.firestore)
            for collection in _COLLECTIONS_OF_USERS
        )
    if {"channels", "conversations"} & set(steps):
        rooms = firebase.count_documents(conversations.COLLECTION, clients.firestore)
        counts["channels"] = counts["conversations"] = rooms
    return sum(counts[step] for step in steps)


def judge_users(keys: Sequence[Key], clients: Clients, settings: Settings) -> list[Finding]:
    """What disagrees about up to 100 users and companies; ``not_found``: nobody of that id."""
    deadline = time.monotonic() + PAGE_SECONDS
    accounts = begin(firebase.read_accounts, _users(keys), clients.auth)
    documents = begin(firebase.read_documents, keys, clients.firestore, deadline)
    found = clients.stream.query_users(
        [settings.id_format.stream_id(key) for key in keys], deadline
    )
    known = result(accounts, deadline)
    page = Page()
    for key, held in result(documents, deadline).items():
        if key in known or (key.kind == "company" and held.user is not None):
            _judge(key, replace(held, account=known.get(key)), found, page, None, settings)
            continue
        page.findings.append(Finding("not_found", name_of(key), None, "no such account or company"))
        stream_user = found.get(settings.id_format.stream_id(key))
        if stream_user and _is_orphan(stream_user, settings):
            page.findings.append(Finding("orphan_stream_user", name_of(key), None, ""))
        if (held.user, held.profile, held.stats) != (None, None, None):
            page.findings.append(Finding("orphan_documents", name_of(key), None, ""))
    return page.findings


def _accounts(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """A thousand accounts, as Auth lists them, each with its documents and its Stream user."""
    accounts, next_cursor = firebase.list_accounts(audit.cursor, clients.auth)
    page = Page(next_cursor, seen=len(accounts))
    for batch in batches(_possible(accounts, page, settings)):
        deadline = time.monotonic() + PAGE_SECONDS
        reading = begin(firebase.read_documents, batch, clients.firestore, deadline)
        found = clients.stream.query_users(
            [settings.id_format.stream_id(key) for key in batch], deadline
        )
        for key, held in result(reading, deadline).items():
            _judge(key, replace(held, account=accounts[key]), found, page, audit.team, settings)
    return page


def _possible(keys: Iterable[Key], page: Page, settings: Settings) -> list[Key]:
    """Those of whom there can be documents and a Stream user; the others are findings for good."""
    possible = []
    for key in keys:
        try:
            possible.append(ids.check_key(key.id, "id", key.kind, settings.id_format))
        except InvalidArgument as error:
            page.findings.append(Finding("missing_stream_user", name_of(key), None, str(error)))
            page.records.append(("users", None, False))
    return possible


def _companies(audit: Audit, clients: Clients, settings: Settings) -> Page:
    documents, next_cursor = firebase.list_documents(
        "companies", audit.cursor, BATCH, clients.firestore
    )
    page = Page(next_cursor, seen=len(documents))
    held = {Key("company", document_id): Held(user=fields) for document_id, fields in documents}
    keys = _possible(held, page, settings)
    found = clients.stream.query_users(
        [settings.id_format.stream_id(key) for key in keys], time.monotonic() + PAGE_SECONDS
    )
    for key in keys:
        _judge(key, held[key], found, page, audit.team, settings)
    return page


def _judge(
    key: Key,
    held: Held,
    found: Mapping[str, Document],
    page: Page,
    wanted_team: str | None,
    settings: Settings,
) -> None:
    """Compare one of ours with what was found in Stream.

    Who is in several teams counts for the first of them, or for the one that was asked for.
    """
    account = held.account
    if account and account.anonymous and not settings.provision_anonymous_users:
        return
    owned = users.owned_fields(held, settings.extra_fields)
    teams = owned.get("teams") or [None]
    team = wanted_team if wanted_team in teams else teams[0]
    stream_user = found.get(settings.id_format.stream_id(key))
    disagreements = []
    if key.kind == "user" and users.documents_differ(held):
        missing = [name for name in ("user", "profile", "stats") if getattr(held, name) is None]
        disagreements.append(("missing_documents", ", ".join(missing) or "the profile lags behind"))
    if stream_user is None:
        if not (account and account.disabled):
            disagreements.append(("missing_stream_user", ""))
    elif not stream_user.get("deactivated_at"):
        role = settings.user_role if key.kind == "user" else settings.company_role
        if difference := users.drift(stream_user, owned, role):
            differing = [*difference["set"], *difference["unset"]]
            disagreements.append(("drifted_stream_user", ", ".join(differing)))
    for kind, detail in disagreements:
        page.findings.append(Finding(kind, name_of(key), team, detail))
    page.records.append(("users", team, not disagreements))


def _stream_users(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """A thousand users as Stream lists them by id: whose account or company is gone?"""
    if settings.delete_policy == "keep":
        return Page()
    page = Page(audit.cursor)
    present: dict[Key, dict[str, Any]] = {}
    for _ in range(_LISTS_PER_PAGE):
        listed = clients.stream.list_users(page.cursor, time.monotonic() + PAGE_SECONDS)
        page.seen += len(listed)
        for user in listed:
            if _is_orphan(user, settings) and (key := _key_behind(user["id"], settings)):
                present[key] = user
        page.cursor = listed[-1]["id"] if len(listed) == BATCH else ""
        if not page.cursor:
            break
    existing = _existing(list(present), clients)
    for key, user in present.items():
        if key not in existing:
            team = (user.get("teams") or [None])[0]
            page.findings.append(Finding("orphan_stream_user", name_of(key), team, ""))
    return page


def _is_orphan(stream_user: Mapping[str, Any], settings: Settings) -> bool:
    """Whether someone without account or company should go.

    Who is deactivated was removed already, in the way of a delete policy or of a moderator.
    """
    removed = stream_user.get("deactivated_at")
    return not removed and stream_user["id"] not in settings.service_users


def _key_behind(stream_id: str, settings: Settings) -> Key | None:
    """None for an id that this project never made."""
    key = settings.id_format.key(stream_id)
    try:
        return key and ids.check_key(key.id, "id", key.kind, settings.id_format)
    except InvalidArgument:
        return None


def _users(keys: Iterable[Key]) -> list[Key]:
    return [key for key in keys if key.kind == "user"]


def _documents(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """A thousand documents of a collection: whose account is gone?"""
    collections = _COLLECTIONS_OF_USERS
    collection, _, after = (audit.cursor or collections[0]).partition("/")
    documents, last = firebase.list_documents(
        collection, after, _DOCUMENTS_PER_PAGE, clients.firestore, fields=()
    )
    following = collections[collections.index(collection) + 1 :]
    next_cursor = f"{collection}/{last}" if last else next(iter(following), "")
    page = Page(next_cursor, seen=len(documents))
    keys = [Key("user", document_id) for document_id, _ in documents]
    existing = _existing(keys, clients)
    for key in keys:
        if key not in existing:
            finding = Finding("orphan_documents", f"{collection}/{key.id}", None, "")
            page.findings.append(finding)
    return page


def _existing(keys: Sequence[Key], clients: Clients) -> set[Key]:
    """Those of a page's keys that exist, asked for a hundred at a time, side by side."""
    deadline = time.monotonic() + PAGE_SECONDS
    people = [key for key in keys if key.kind == "user"]
    companies = [key for key in keys if key.kind == "company"]
    accounts = [begin(firebase.read_accounts, batch, clients.auth) for batch in batches(people)]
    documents = [
        begin(firebase.read_documents, batch, clients.firestore, deadline)
        for batch in batches(companies)
    ]
    existing = {key for found in accounts for key in result(found, deadline)}
    for read in documents:
        existing |= {key for key, held in result(read, deadline).items() if held.user is not None}
    return existing


def _channels(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """Thirty channels in the order of their creation: which does no document know?

    Several can share a time: the cursor is a time, and how many of that time were seen.
    """
    deadline = time.monotonic() + PAGE_SECONDS
    since, seen = json.loads(audit.cursor or '["", 0]')
    if seen > MAX_OFFSET:
        logger.warn(f"Over {MAX_OFFSET} channels were made at {since}: some are not looked at")
    listed = clients.stream.list_channels(since, seen, audit.team, deadline)
    page = Page(seen=len(listed))
    if len(listed) == CHANNELS:
        last = listed[-1]["created_at"]
        of_last = sum(channel["created_at"] == last for channel in listed)
        page.cursor = json.dumps([last, of_last + (seen if last == since else 0)])
    by_id = {conversations.conversation_id_of(one["cid"], settings): one for one in listed}
    documents = conversations.read_all(list(by_id), clients, deadline) if by_id else {}
    for conversation_id, channel in by_id.items():
        if documents[conversation_id].status in ("", "deleted"):
            team = channel.get("team") or None
            page.findings.append(Finding("only_in_stream", channel["cid"], team, ""))
    return page


def _conversations(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """Thirty documents, each with its channel. What is being made is left to the outbox."""
    deadline = time.monotonic() + PAGE_SECONDS
    listed, next_cursor = conversations.list_page(audit.cursor, CHANNELS, clients, deadline)
    page = Page(next_cursor, seen=len(listed))
    ready = [document for document in listed if document.status == "ready"]
    channels = conversations.query(ready, clients, settings, deadline) if ready else {}
    for document in ready:
        kind, detail = compare(document, channels.get(document.id), clients)
        if kind:
            cid = ":".join(conversations.address_of(document.id, settings))
            page.findings.append(Finding(kind, cid, document.team, detail))
        page.records.append(("channels", document.team, not kind))
    return page


def compare(
    document: conversations.Conversation, state: Mapping[str, Any] | None, clients: Clients
) -> tuple[str, str]:
    """The kind of disagreement, or nothing, and what a person may want to know of it."""
    if state is None:
        return "only_in_firestore", ""
    channel = state["channel"]
    team = channel.get("team") or None
    if team != document.team:
        return "wrong_team", f"{team} in Stream"
    members = conversations.members_of(state, clients, time.monotonic() + PAGE_SECONDS)
    if set(members) != set(document.member_ids):
        return "member_mismatch", f"{len(document.member_ids)} here, {len(members)} in Stream"
    if conversations.name_of(channel) != document.name:
        return "member_mismatch", "the name differs"
    return "", ""


def _parked(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """Have the drain try parked entries once more, where this audit repairs anything."""
    if audit.repair:
        repairs.retry_parked(clients)
    return Page()


_STEPS: Mapping[str, Callable[[Audit, Clients, Settings], Page]] = {
    "accounts": _accounts,
    "companies": _companies,
    "stream_users": _stream_users,
    "documents": _documents,
    "channels": _channels,
    "conversations": _conversations,
    "parked": _parked,
}


# Repairs


def _repair(page: Page, audit: Audit, clients: Clients, settings: Settings) -> None:
    """Repair what was asked for, a hundred users or thirty channels at a time."""

    def found(kinds: Sequence[str]) -> list[str]:
        asked = {one.key for one in page.findings if one.kind in kinds and one.kind in audit.repair}
        return sorted(asked)

    def note(kinds: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        _note(kinds, outcomes, page, clients, settings)

    for batch in batches([_key(name) for name in found(RECONCILED)]):
        note(RECONCILED, reconcile_users(batch, clients, settings))
    for batch in batches([_key(name) for name in found(REMOVED)]):
        note(REMOVED, remove_users(batch, clients, settings, documents=False))
    for batch in batches(list(dict.fromkeys(_key(name) for name in found(DELETED)))):
        note(DELETED, remove_users(batch, clients, settings, from_stream=False))
    for kinds, may_close in ((FOLLOWED, False), (CLOSED, True)):
        rooms = [conversations.conversation_id_of(cid, settings) for cid in found(kinds)]
        for start_at in range(0, len(rooms), CHANNELS):
            outcomes = conversations.reconcile_conversations(
                rooms[start_at : start_at + CHANNELS],
                clients,
                settings,
                origin="operator",
                may_close=may_close,
            )
            note(kinds, outcomes)


def _note(
    kinds: Sequence[str],
    outcomes: Sequence[Outcome],
    page: Page,
    clients: Clients,
    settings: Settings,
) -> None:
    """Count the findings that are repaired, and leave to the outbox what fails.

    But for a rate limit, after which the page is run again: then only what is known of late
    answers goes there.
    """
    limited = next((one.error for one in outcomes if _is_limited(one)), None)
    left = [one for one in outcomes if (one.recheck if limited else not repairs.is_done(one))]
    if left:
        repairs.report(left, clients)
    if limited:
        raise limited
    failed = {outcome.key for outcome in left if outcome.error}
    repaired = {outcome.key for outcome in outcomes} - failed
    page.failed += len(failed)
    page.repaired += sum(
        finding.kind in kinds and _subject(finding, settings) in repaired
        for finding in page.findings
    )


def _is_limited(outcome: Outcome) -> bool:
    return isinstance(outcome.error, StreamRateLimited)


def _subject(finding: Finding, settings: Settings) -> Key:
    if finding.kind in KINDS_OF_USERS:
        return _key(finding.key)
    return Key("conversation", conversations.conversation_id_of(finding.key, settings))


def name_of(key: Key) -> str:
    """How a finding names somebody, and how the operator does."""
    return f"{key.kind}:{key.id}"


def _key(name: str) -> Key:
    """``user:x`` and ``company:x``, or the path of an orphaned document."""
    kind, separator, key_id = name.partition(":")
    if separator and kind == "company":
        return Key("company", key_id)
    return Key("user", key_id if separator and kind == "user" else name.partition("/")[2])


# Documents


def _write_findings(page: Page, audit: Audit, clients: Clients) -> None:
    """Under names made of what they say, so that a page which is run again writes them again."""
    room = max(0, MAX_FINDINGS - audit.findings)
    findings = _reference(audit.id, clients).collection("findings")
    deadline = time.monotonic() + PAGE_SECONDS
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
        "updatedAt": firestore.SERVER_TIMESTAMP,
        "expireAt": _expires_at(audit),
    }
    batch = clients.firestore.batch()
    if audit.version is None:
        batch.create(reference, fields)
    else:
        unchanged = clients.firestore.write_option(last_update_time=audit.version)
        batch.update(reference, fields, unchanged)
    written_at = firebase.commit(batch, time.monotonic() + PAGE_SECONDS)
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
