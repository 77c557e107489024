"""The audit: every account against its documents and its Stream user, every channel against its
``conversations`` document, page by page.

``audits/{id}`` holds the plan, how far it got, and what was counted; its ``findings`` what
disagrees. A page begins where the document says, and ends with one write of it that only succeeds
if nobody else ended the same page: so a page can be lost, repeated or run twice at once, and counts
once. Memory holds one page, however many users there are.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from firebase_functions import logger
from google.cloud import firestore
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch

from . import conversations, firebase, ids, repairs, users
from .clients import Clients
from .errors import StreamRateLimited, Temporary
from .ids import Key
from .removal import remove_users
from .settings import Settings
from .side_by_side import begin, result
from .stream import BATCH, CHANNELS, batches
from .sync import Outcome, reconcile_users
from .users import Document, Held

COLLECTION = "audits"
SWEEP = "runSweep"
"""The task function that runs the pages."""

USER_STEPS = ("accounts", "companies", "stream_users", "documents")
CHANNEL_STEPS = ("channels", "conversations")
LAST_STEP = "parked"

RECONCILED = ("missing_documents", "missing_stream_user", "drifted_stream_user")
REMOVED = ("orphan_stream_user", "orphan_documents")
FOLLOWED = ("only_in_stream", "member_mismatch")
CLOSED = ("only_in_firestore",)
BY_HAND = ("wrong_team",)
"""A person says which side is right, with ``fix-team``."""

KINDS = (*RECONCILED, *REMOVED, *FOLLOWED, *CLOSED, *BY_HAND)
CREATING = (*RECONCILED, *FOLLOWED)
"""What the nightly audit repairs: it creates and patches, and never deletes, moves or closes."""

PAGE_SECONDS = 40.0
BUDGET_SECONDS = 45.0
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
    step: int = 0
    cursor: str = ""
    page: int = 0
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By ``users`` and ``channels``: records, agreeing, and of each kind of finding."""

    teams: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    repaired: int = 0
    failed: int = 0
    findings: int = 0
    seen: int = 0
    """Accounts, users, documents, channels and conversations that were looked at."""

    stream_calls: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    version: datetime | None = None

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
    return _save(audit, clients) or _lost(audit)


def read(audit_id: str, clients: Clients) -> Audit | None:
    deadline = time.monotonic() + PAGE_SECONDS
    with firebase.temporary_failures_named():
        snapshot = _reference(audit_id, clients).get(**firebase.until(deadline))
    return _audit(snapshot) if snapshot.exists else None


def latest(clients: Clients, mode: str | None = None, state: str | None = None) -> Audit | None:
    """The audit that began last; of a mode and a state, if these are given."""
    query = clients.firestore.collection(COLLECTION).order_by(
        "startedAt", direction=firestore.Query.DESCENDING
    )
    with firebase.temporary_failures_named():
        for snapshot in query.limit(100).stream(**firebase.until(time.monotonic() + PAGE_SECONDS)):
            audit = _audit(snapshot)
            if mode in (None, audit.mode) and state in (None, audit.state):
                return audit
    return None


def begin_nightly(clients: Clients) -> None:
    """Begin the nightly audit, or go on with one that a failure has left unfinished."""
    audit = latest(clients, "nightly", "running")
    if audit is None:
        audit = start("nightly", clients, repair=CREATING)
        logger.info(f"Audit {audit.id} begins", audit=audit.id)
    else:
        logger.warn(f"Audit {audit.id} goes on", audit=audit.id, page=audit.page)
    _call_again(audit, clients, time.time())


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
    # Somebody else ran the same page, and was faster: theirs counts.
    return saved or read(audit.id, clients) or _lost(audit)


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
        counts.setdefault(section_of(finding.kind), Counter())[finding.kind] += 1
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


def section_of(kind: str) -> str:
    return "users" if kind in (*RECONCILED, *REMOVED) else "channels"


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
    """What disagrees about up to 100 users; ``orphan_documents`` of those without account."""
    deadline = time.monotonic() + PAGE_SECONDS
    accounts = begin(firebase.read_accounts, keys, clients.auth)
    documents = firebase.read_documents(keys, clients.firestore, deadline)
    found = clients.stream.query_users(
        [settings.id_format.stream_id(key) for key in keys], deadline
    )
    known = result(accounts, deadline)
    page = Page()
    for key, held in documents.items():
        if key in known:
            _judge(key, replace(held, account=known[key]), found, page, settings)
            continue
        name = f"user:{key.id}"
        if settings.id_format.stream_id(key) in found:
            page.findings.append(Finding("orphan_stream_user", name, None, ""))
        if (held.user, held.profile, held.stats) != (None, None, None):
            page.findings.append(Finding("orphan_documents", name, None, ""))
    return page.findings


def _accounts(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """A thousand accounts, as Auth lists them, each with its documents and its Stream user."""
    accounts, next_cursor = firebase.list_accounts(audit.cursor, clients.auth)
    page = Page(next_cursor, seen=len(accounts))
    for batch in batches(list(accounts)):
        deadline = time.monotonic() + PAGE_SECONDS
        reading = begin(firebase.read_documents, batch, clients.firestore, deadline)
        found = clients.stream.query_users(
            [settings.id_format.stream_id(key) for key in batch], deadline
        )
        for key, held in result(reading, deadline).items():
            _judge(key, replace(held, account=accounts[key]), found, page, settings)
    return page


def _companies(audit: Audit, clients: Clients, settings: Settings) -> Page:
    documents, next_cursor = firebase.list_documents(
        "companies", audit.cursor, BATCH, clients.firestore
    )
    page = Page(next_cursor, seen=len(documents))
    keys = {Key("company", document_id): Held(user=fields) for document_id, fields in documents}
    found = clients.stream.query_users(
        [settings.id_format.stream_id(key) for key in keys], time.monotonic() + PAGE_SECONDS
    )
    for key, held in keys.items():
        _judge(key, held, found, page, settings)
    return page


def _judge(
    key: Key, held: Held, found: Mapping[str, Document], page: Page, settings: Settings
) -> None:
    """Compare one of ours with what was found in Stream."""
    account = held.account
    if account and account.anonymous and not settings.provision_anonymous_users:
        return
    owned = users.owned_fields(held, settings.extra_fields)
    teams = owned.get("teams") or [None]
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
        page.findings.append(Finding(kind, f"{key.kind}:{key.id}", teams[0], detail))
    page.records.append(("users", teams[0], not disagreements))


def _stream_users(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """A thousand users as Stream lists them by id: whose account or company is gone?"""
    if settings.delete_policy == "keep":
        return Page()
    page = Page(audit.cursor)
    for _ in range(_LISTS_PER_PAGE):
        deadline = time.monotonic() + PAGE_SECONDS
        listed = clients.stream.list_users(page.cursor, deadline)
        page.seen += len(listed)
        page.findings += _orphans_among(listed, clients, settings, deadline)
        page.cursor = listed[-1]["id"] if len(listed) == BATCH else ""
        if not page.cursor:
            break
    return page


def _orphans_among(
    listed: Sequence[Document], clients: Clients, settings: Settings, deadline: float
) -> list[Finding]:
    """Of up to a hundred Stream users, those who are nobody's.

    Deactivated ones were removed already, in the way of a delete policy or of a moderator.
    """
    present = {
        key: user
        for user in listed
        if not user.get("deactivated_at") and (key := settings.id_format.key(user["id"]))
    }
    existing = firebase.existing_keys(list(present), clients.auth, clients.firestore, deadline)
    return [
        Finding("orphan_stream_user", f"{key.kind}:{key.id}", (user.get("teams") or [None])[0], "")
        for key, user in present.items()
        if key not in existing
    ]


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
    deadline = time.monotonic() + PAGE_SECONDS
    reading = [begin(firebase.read_accounts, batch, clients.auth) for batch in batches(keys)]
    existing = {key for accounts in reading for key in result(accounts, deadline)}
    for key in keys:
        if key not in existing:
            finding = Finding("orphan_documents", f"{collection}/{key.id}", None, "")
            page.findings.append(finding)
    return page


def _channels(audit: Audit, clients: Clients, settings: Settings) -> Page:
    """Thirty channels in the order of their creation: which does no document know?

    Several can share a time: the cursor is a time, and how many of that time were seen.
    """
    deadline = time.monotonic() + PAGE_SECONDS
    since, seen = json.loads(audit.cursor or '["", 0]')
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
        kind, detail = _compare(document, channels.get(document.id))
        if kind:
            cid = ":".join(conversations.address_of(document.id, settings))
            page.findings.append(Finding(kind, cid, document.team, detail))
        page.records.append(("channels", document.team, not kind))
    return page


def _compare(
    document: conversations.Conversation, state: Mapping[str, Any] | None
) -> tuple[str, str]:
    """The kind of disagreement, or nothing, and what a person may want to know of it."""
    if state is None:
        return "only_in_firestore", ""
    channel = state["channel"]
    team = channel.get("team") or None
    if team != document.team:
        return "wrong_team", f"{team} in Stream"
    members = {member["user_id"] for member in state["members"]}
    count = channel.get("member_count", len(members))
    if count != len(document.member_ids) or not members <= set(document.member_ids):
        return "member_mismatch", f"{len(document.member_ids)} here, {count} in Stream"
    if (channel.get("name") or None) != document.name:
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

    def named(kinds: Sequence[str]) -> list[str]:
        asked = {one.key for one in page.findings if one.kind in kinds and one.kind in audit.repair}
        return sorted(asked)

    for batch in batches([_key(name) for name in named(RECONCILED)]):
        _note(reconcile_users(batch, clients, settings), page, clients)
    for batch in batches(list(dict.fromkeys(_key(name) for name in named(REMOVED)))):
        _note(remove_users(batch, clients, settings), page, clients)
    for kinds, may_close in ((FOLLOWED, False), (CLOSED, True)):
        rooms = [conversations.conversation_id_of(cid, settings) for cid in named(kinds)]
        for start_at in range(0, len(rooms), CHANNELS):
            outcomes = conversations.reconcile_conversations(
                rooms[start_at : start_at + CHANNELS],
                clients,
                settings,
                origin="operator",
                may_close=may_close,
            )
            _note(outcomes, page, clients)


def _note(outcomes: Sequence[Outcome], page: Page, clients: Clients) -> None:
    """Count repairs; leave to the outbox what fails, but a rate limit, after which all goes on."""
    for outcome in outcomes:
        if isinstance(outcome.error, StreamRateLimited):
            raise outcome.error
    left = [outcome for outcome in outcomes if not repairs.is_done(outcome)]
    if left:
        repairs.report(left, clients)
    page.failed += len([outcome for outcome in left if outcome.error])
    page.repaired += len(outcomes) - len([outcome for outcome in left if outcome.error])


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
            name = ids.document_id(f"{finding.kind} {finding.key}")
            batch.set(findings.document(name), finding._asdict())
        with firebase.temporary_failures_named():
            batch.commit(**firebase.until(deadline))


def findings_of(audit: Audit, clients: Clients) -> Iterable[Finding]:
    """What was kept of its findings, by kind and key."""
    query = _reference(audit.id, clients).collection("findings").order_by("__name__")
    for snapshot in query.stream():
        fields = snapshot.to_dict()
        yield Finding(fields["kind"], fields["key"], fields["team"], fields["detail"])


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
    }
    batch = clients.firestore.batch()
    if audit.version is None:
        batch.create(reference, fields)
    else:
        unchanged = clients.firestore.write_option(last_update_time=audit.version)
        batch.update(reference, fields, unchanged)
    written_at = firebase.commit(batch, time.monotonic() + PAGE_SECONDS)
    return replace(audit, version=written_at[0]) if written_at else None


def _lost(audit: Audit) -> Audit:
    raise Temporary(f"audit {audit.id} has vanished")


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
