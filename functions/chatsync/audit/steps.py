"""Find what disagrees: accounts with documents and Stream users, channels with documents.

Each step works page by page, from a cursor on: memory holds one page, whatever their number.
Nothing is written here.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from firebase_functions import logger

from .. import conversations, ids, users
from ..clients import Clients
from ..clients.accounts import count_accounts, existing_keys, list_accounts, read_accounts
from ..clients.documents import count_documents, list_ids
from ..clients.stream import CHANNELS, MAX_OFFSET
from ..config import Config
from ..errors import FirebaseUnavailable, InvalidArgument, Refusal
from ..ids import Key
from ..observe import begin_reads, observed_of
from ..plan import Observed, Plan, Policy, plan
from ..settings import Settings
from ..side_by_side import BATCH, batches, begin, result
from ..users import FirebaseState

USER_STEPS = ("accounts", "companies", "stream_users", "documents")
CHANNEL_STEPS = ("conversations", "channels")
"""In this order: what an audit records is not compared by it once more."""

RECONCILED = ("missing_documents", "missing_stream_user", "drifted_stream_user")
REMOVED = ("orphan_stream_user",)
DELETED = ("orphan_documents",)
FOLLOWED = ("only_in_stream", "member_mismatch")
CLOSED = ("only_in_firestore",)
BY_HAND = ("wrong_kind", "wrong_team", "orphan_channel", "foreign_document", "taken_channel")
"""A person decides: with ``repair --kind``, with ``fix-team``, with ``delete-orphan``, or in the
app's own backend."""

KINDS_OF_USERS = (*RECONCILED, *REMOVED, *DELETED, "wrong_kind")
KINDS_OF_CHANNELS = (
    *(*FOLLOWED, *CLOSED),
    *("wrong_team", "orphan_channel", "foreign_document", "taken_channel"),
)
KINDS = (*KINDS_OF_USERS, *KINDS_OF_CHANNELS)
DESTROYING = (*REMOVED, *DELETED, *CLOSED)

PAGE_SECONDS = 40.0

# A page is a thousand accounts, users or documents, as many as Auth lists in a call. It ends with a
# write of the audit's document, of which Firestore recommends one per second at most.
_LISTS_PER_PAGE = 10
_DOCUMENTS_PER_PAGE = 1000


class Finding(NamedTuple):
    kind: str
    key: str
    """``user:{uid}``, ``company:{id}``, or a channel's cid."""

    team: str | None = None
    detail: str = ""
    actual: str | None = None
    """Of a wrong team: the other team, under which the finding counts too."""

    @property
    def teams(self) -> tuple[str | None, ...]:
        """Those under which it counts."""
        return (self.team,) if self.actual in (None, self.team) else (self.team, self.actual)


@dataclass
class Page:
    """What a page found; ``cursor`` is empty when the step is at its end."""

    cursor: str = ""
    findings: list[Finding] = field(default_factory=list)
    records: list[tuple[str, str | None, bool]] = field(default_factory=list)
    """Of each record that we own: section, team, and whether it agrees."""

    seen: int = 0


def _collections_of_users(settings: Settings) -> list[str]:
    return [settings.collection_of(field) for field in ("user", "profile", "stats")]


def expected(steps: Sequence[str], clients: Clients) -> int | None:
    """About how many items these steps will compare, for a progress bar.

    None if there are too many accounts to count them first.
    """
    counts = dict.fromkeys(STEPS, 0)
    if {"accounts", "stream_users"} & set(steps):
        accounts = count_accounts(clients.auth)
        if accounts is None:
            return None
        counts["accounts"] = counts["stream_users"] = accounts
    if "companies" in steps:
        counts["companies"] = count_documents(
            clients.settings.config.companies.collection, clients.firestore
        )
    if "documents" in steps:
        counts["documents"] = sum(
            count_documents(collection, clients.firestore)
            for collection in _collections_of_users(clients.settings)
        )
    if {"channels", "conversations"} & set(steps):
        conversation_count = count_documents(
            clients.settings.config.conversations.collection, clients.firestore
        )
        counts["channels"] = counts["conversations"] = conversation_count
    return sum(counts.get(step, 0) for step in steps)


def judge_users(keys: Sequence[Key], clients: Clients) -> list[Finding]:
    """The findings about up to 100 users and companies; ``not_found`` for an unknown id."""
    deadline = time.monotonic() + PAGE_SECONDS
    asking = begin(read_accounts, [Key("user", key.id) for key in keys], clients.auth)
    read = _read_users(keys, clients)
    accounts = result(asking, deadline)
    known = (one.with_account(accounts.get(Key("user", one.key.id))) for one in read)
    return [finding for one in known for finding in judge(one, clients.settings)]


def judge(observed: Observed, settings: Settings) -> list[Finding]:
    """The findings about a user or company, of whom Auth was asked; pure."""
    page = Page()
    key, state, stream_user = observed.key, observed.state, observed.stream_user
    if users.exists(key, state):
        _judge(observed, page, None, settings)
        return page.findings
    detail = "no such account or company"
    page.findings.append(Finding("not_found", name_of(key), detail=detail))
    # A company's plain id: the Stream user is the company's.
    is_companys = key.kind == "user" and state.company is not None
    if stream_user and not is_companys and _is_orphan(stream_user, settings):
        page.findings.append(Finding("orphan_stream_user", name_of(key)))
    if (state.user, state.profile, state.stats) != (None, None, None):
        page.findings.append(Finding("orphan_documents", name_of(key)))
    return page.findings


def _read_users(keys: Sequence[Key], clients: Clients) -> list[Observed]:
    """Read documents and Stream users of up to 100 users and companies; Auth is not asked."""
    deadline = time.monotonic() + PAGE_SECONDS
    observed, failure = observed_of(begin_reads(keys, clients, deadline), clients, deadline)
    if failure:
        raise failure
    return list(observed.values())


def _accounts(cursor: str, team: str | None, clients: Clients) -> Page:
    """Compare a thousand accounts, as Auth lists them, with their documents and Stream users."""
    accounts, next_cursor = list_accounts(cursor, clients.auth)
    page = Page(next_cursor, seen=len(accounts))
    for batch in batches(_with_possible_id(accounts, page, clients.settings)):
        for one in _read_users(batch, clients):
            _judge(one.with_account(accounts[one.key]), page, team, clients.settings)
    return page


def _team_among(teams: object, wanted: str | None) -> str | None:
    """The team under which a user of several teams counts: ``wanted``, else the first."""
    names = [one for one in teams if isinstance(one, str)] if isinstance(teams, list) else []
    return wanted if wanted in names else next(iter(names), None)


def _with_possible_id(keys: Iterable[Key], page: Page, settings: Settings) -> list[Key]:
    """The keys that are possible ids in Firestore and Stream; each other key becomes a finding."""
    possible = []
    for key in keys:
        try:
            possible.append(ids.check_key(key.id, "id", key.kind, settings.id_format))
        except InvalidArgument as error:
            page.findings.append(Finding("missing_stream_user", name_of(key), detail=str(error)))
            page.records.append(("users", None, False))
    return possible


def _companies(cursor: str, team: str | None, clients: Clients) -> Page:
    """Compare a hundred companies with their Stream users."""
    collection = clients.settings.config.companies.collection
    listed, next_cursor = list_ids(collection, cursor, BATCH, clients.firestore)
    page = Page(next_cursor, seen=len(listed))
    keys = [Key("company", company_id) for company_id in listed]
    read = _read_users(_with_possible_id(keys, page, clients.settings), clients)
    accounts = read_accounts(
        [Key("user", one.key.id) for one in read if one.is_account], clients.auth
    )
    for one in read:
        if one.state.company is not None:
            account = accounts.get(Key("user", one.key.id))
            _judge(one.with_account(account), page, team, clients.settings)
    return page


def _judge(observed: Observed, page: Page, wanted_team: str | None, settings: Settings) -> None:
    """Add to ``page`` whether an existing user or company agrees, and what does not.

    A user of several teams counts for ``wanted_team``, else for the first.
    """
    key, config = observed.key, settings.config
    state = replace(observed.state, refused=frozenset())  # what is refused disagrees all the same
    its_plan = plan(replace(observed, account_is_known=True, state=state), Policy(config))
    if its_plan.obstacle in (Refusal.ANONYMOUS, Refusal.UNDECIDED) or its_plan.instead:
        return
    disagreements = disagreements_of(its_plan, state, config)
    if wrong := _wrong_kind(observed, config):
        disagreements.append(("wrong_kind", wrong))
    team = _team_among(users.teams_of(state, config), wanted_team)
    for kind, detail in disagreements:
        page.findings.append(Finding(kind, name_of(key), team, detail))
    page.records.append(("users", team, not disagreements))


def _wrong_kind(observed: Observed, config: Config) -> str:
    """Why it is doubtful what an account is; empty if it is not."""
    state = observed.state
    by_documents = users.kind_of(observed.key, replace(state, kind=None), config)
    if observed.kind_is_recorded and by_documents not in (None, state.kind):
        return f"it is a {state.kind}, and by its documents a {by_documents}"
    second = observed.other_identity
    return f"{second} is in Stream too" if second else ""


def disagreements_of(its_plan: Plan, state: FirebaseState, config: Config) -> list[tuple[str, str]]:
    """The kinds of findings about one user, each with a detail: what the repair would write."""
    disagreements = []
    if its_plan.documents:
        missing = ", ".join(users.lacking(state, config))
        disagreements.append(("missing_documents", missing or "the profile lags behind"))
    if its_plan.create:
        disagreements.append(("missing_stream_user", ""))
    if its_plan.patch:
        differing = [*its_plan.patch["set"], *its_plan.patch["unset"]]
        disagreements.append(("drifted_stream_user", ", ".join(differing)))
    return disagreements


def _stream_users(cursor: str, team: str | None, clients: Clients) -> Page:
    """Look for Stream users without account or company, a thousand in the order of ids."""
    settings = clients.settings
    if settings.config.stream.delete_policy == "keep":
        return Page()
    page = Page(cursor)
    present: dict[Key, dict[str, Any]] = {}
    for _ in range(_LISTS_PER_PAGE):
        listed = clients.stream.list_users(page.cursor, time.monotonic() + PAGE_SECONDS)
        page.seen += len(listed)
        for user in listed:
            if _is_orphan(user, settings) and (key := settings.key(user["id"])):
                present[key] = user
        page.cursor = listed[-1]["id"] if len(listed) == BATCH else ""
        if not page.cursor:
            break
    deadline = time.monotonic() + PAGE_SECONDS
    existing = existing_keys(list(present), clients, deadline)
    for key, user in present.items():
        if key not in existing:
            its_team = _team_among(user.get("teams"), team)
            page.findings.append(Finding("orphan_stream_user", name_of(key), its_team))
    return page


def _is_orphan(stream_user: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a Stream user without account or company should be removed.

    A deactivated user counts as removed, by the delete policy or by a moderator.
    """
    stream = settings.config.stream
    stays = stream.delete_policy == "keep" or stream_user["id"] in stream.service_users
    return not (stays or stream_user.get("deactivated_at"))


def _documents(cursor: str, team: str | None, clients: Clients) -> Page:
    """Look for documents without account, a thousand of a collection."""
    collections = _collections_of_users(clients.settings)
    number, _, after = (cursor or "0").partition("/")
    collection = collections[int(number)]
    uids, last = list_ids(collection, after, _DOCUMENTS_PER_PAGE, clients.firestore)
    following = str(int(number) + 1) if int(number) + 1 < len(collections) else ""
    next_cursor = f"{number}/{last}" if last else following
    page = Page(next_cursor, seen=len(uids))
    keys = [Key("user", uid) for uid in uids]
    deadline = time.monotonic() + PAGE_SECONDS
    existing = existing_keys(keys, clients, deadline)
    for key in keys:
        if key not in existing:
            page.findings.append(Finding("orphan_documents", f"{collection}/{key.id}"))
    return page


def list_channels(
    cursor: str, team: str | None, clients: Clients
) -> tuple[list[dict[str, Any]], str]:
    """Thirty channels in the order of their creation, and the next cursor, empty at the end.

    The cursor is a time, and the number of channels of that time that were seen: several can share
    it. With a custom field for teams, those of all teams are listed: any may belong to ``team``.
    """
    deadline = time.monotonic() + PAGE_SECONDS
    since, seen = json.loads(cursor or '["", 0]')
    if seen > MAX_OFFSET:
        logger.warn(f"Over {MAX_OFFSET} channels were made at {since}: some are not looked at")
    if clients.settings.config.teams.channel_field:
        team = None
    listed = clients.stream.list_channels(since, seen, team, deadline)
    if len(listed) < CHANNELS:
        return listed, ""
    last = listed[-1]["created_at"]
    of_last = sum(channel["created_at"] == last for channel in listed)
    return listed, json.dumps([last, of_last + (seen if last == since else 0)])


def _channels(cursor: str, team: str | None, clients: Clients) -> Page:
    """Look for channels without document, thirty in the order of their creation."""
    deadline = time.monotonic() + PAGE_SECONDS
    listed, next_cursor = list_channels(cursor, team, clients)
    page = Page(next_cursor, seen=len(listed))
    by_id = {conversations.conversation_id_of(one["cid"], clients.settings): one for one in listed}
    documents = conversations.read_all(list(by_id), clients, deadline) if by_id else {}
    absent = {one.id: one for one in documents.values() if _is_absent(one, clients.settings)}
    channels = {one: by_id[one] for one in absent}
    page.findings += _unrecorded(absent, channels, clients, deadline)
    return page


def judge_conversation(
    document: conversations.Conversation, state: Mapping[str, Any] | None, clients: Clients
) -> list[Finding]:
    """The findings about one conversation; ``state`` is Stream's of its channel, if it exists.

    Raises Temporary if Firestore, or Stream of a channel with many members, cannot be asked.
    """
    deadline = time.monotonic() + PAGE_SECONDS
    settings = clients.settings
    if _is_compared(document, settings):
        owners = conversations.missing_owners([document], clients, deadline) if state else {}
        finding = compare(document, state, clients, owners.get(document.id, ""))
        return [finding] if finding else []
    if state is None or not _is_absent(document, settings):
        return []
    channels = {document.id: state["channel"]}
    return _unrecorded({document.id: document}, channels, clients, deadline)


def _is_absent(document: conversations.Conversation, settings: Settings) -> bool:
    """Whether a channel should have a document, and has none."""
    is_ours = not document.is_foreign and not conversations.is_left_out(document, settings)
    return is_ours and document.status in ("", "deleted")


def _unrecorded(
    absent: Mapping[str, conversations.Conversation],
    channels: Mapping[str, Mapping[str, Any]],
    clients: Clients,
    deadline: float,
) -> list[Finding]:
    """The findings about channels without document, by conversation id."""
    findings = []
    owners = _missing_owners(list(absent.values()), clients, deadline)
    cids = [channels[one]["cid"] for one in absent]
    known = conversations.documents_of(cids, clients, deadline) if cids else {}
    for conversation_id in absent:
        channel = channels[conversation_id]
        cid, its_team = channel["cid"], channel.get("team") or None
        if known[cid]:
            continue
        if owner := owners.get(conversation_id):
            findings.append(Finding("orphan_channel", cid, its_team, f"{owner} is gone"))
            continue
        findings.append(Finding("only_in_stream", cid, its_team))
        if wrong := conversations.wrong_team_of(channel, its_team, clients.settings.config.teams):
            findings.append(_wrong_team(cid, wrong))
    return findings


def _missing_owners(
    documents: Sequence[conversations.Conversation], clients: Clients, deadline: float
) -> dict[str, str]:
    """The owners that are certainly gone, by conversation id; none if that cannot be told now."""
    try:
        return conversations.missing_owners(documents, clients, deadline)
    except FirebaseUnavailable as error:
        logger.warn(f"The owners of channels cannot be looked up now: {error}")
        return {}


def _conversations(cursor: str, team: str | None, clients: Clients) -> Page:
    """Compare thirty conversations with their channels; unfinished ones belong to the outbox."""
    deadline = time.monotonic() + PAGE_SECONDS
    listed, next_cursor = conversations.list_page(cursor, CHANNELS, clients, deadline)
    page = Page(next_cursor, seen=len(listed))
    compared = [one for one in listed if _is_compared(one, clients.settings)]
    channels = conversations.query(compared, clients, deadline) if compared else {}
    present = [one for one in compared if one.id in channels]
    owners = _missing_owners(present, clients, deadline)
    for document in compared:
        state, owner = channels.get(document.id), owners.get(document.id, "")
        finding = compare(document, state, clients, owner)
        if finding:
            page.findings.append(finding)
        page.records.append(("channels", document.team, finding is None))
    return page


def _is_compared(document: conversations.Conversation, settings: Settings) -> bool:
    if conversations.is_left_out(document, settings):
        return False
    if document.is_foreign:
        return settings.config.conversations.foreign == "report"
    return document.status == "ready" and _is_at_home(document, settings)


def _is_at_home(document: conversations.Conversation, settings: Settings) -> bool:
    """Whether a document has the id that belongs to its channel; other documents are left alone."""
    cid = conversations.cid_of(document.id, settings)
    at_home = conversations.conversation_id_of(cid, settings) == document.id
    if at_home and document.cid in ("", cid):
        return True
    logger.warn(
        f"Conversation {document.id} is about {document.cid or cid}: left alone",
        conversation=document.id,
    )
    return False


def compare(
    document: conversations.Conversation,
    state: Mapping[str, Any] | None,
    clients: Clients,
    missing_owner: str = "",
) -> Finding | None:
    """What disagrees between a document and the state of its channel, if anything does.

    Of a foreign document it is only told: in the detail of a kind that no repair touches.
    """
    finding = _difference(document, state, clients, missing_owner)
    if finding is None or not document.is_foreign:
        return finding
    detail = _ONE_SIDED.get(finding.kind) or f"{finding.kind}: {finding.detail}"
    return finding._replace(kind="foreign_document", detail=detail)


_ONE_SIDED = {"only_in_firestore": "only in Firestore", "only_in_stream": "only in Stream"}


def _difference(
    document: conversations.Conversation,
    state: Mapping[str, Any] | None,
    clients: Clients,
    missing_owner: str,
) -> Finding | None:
    cid = conversations.channel_of(document, clients.settings)
    if document.is_foreign and document.status == "deleted":
        return Finding("only_in_stream", cid, document.team) if state else None
    if state is None:
        return Finding("only_in_firestore", cid, document.team)
    channel = state["channel"]
    if missing_owner:
        return Finding("orphan_channel", cid, document.team, f"{missing_owner} is gone")
    if conversations.is_taken(document, channel, clients.settings):
        detail = "the id of a pair, and somebody else created it"
        return Finding("taken_channel", cid, document.team, detail)
    teams = clients.settings.config.teams
    if wrong := conversations.wrong_team_of(channel, document.team, teams):
        return _wrong_team(cid, wrong)
    # What a foreign document leaves out, it says nothing about.
    deadline = time.monotonic() + PAGE_SECONDS
    members = conversations.members_of(state, clients, deadline)
    members = [*conversations.without_deleted(members, document.member_ids, clients, deadline)]
    states_members = document.member_ids or not document.is_foreign
    if states_members and set(members) != set(document.member_ids):
        detail = f"{len(document.member_ids)} here, {len(members)} in Stream"
        return Finding("member_mismatch", cid, document.team, detail)
    states_name = document.name or not document.is_foreign
    if states_name and conversations.name_of(channel) != document.name:
        return Finding("member_mismatch", cid, document.team, "the name differs")
    return None


def _wrong_team(cid: str, wrong: conversations.WrongTeam) -> Finding:
    return Finding("wrong_team", cid, wrong.team, wrong.detail, wrong.actual)


STEPS: Mapping[str, Callable[[str, str | None, Clients], Page]] = {
    "accounts": _accounts,
    "companies": _companies,
    "stream_users": _stream_users,
    "documents": _documents,
    "conversations": _conversations,
    "channels": _channels,
}
"""Each returns one page of findings, from a cursor on, for all teams or one."""


def subject(finding: Finding, settings: Settings) -> Key:
    """The key that a finding is about."""
    if finding.kind not in KINDS_OF_USERS:
        return Key("conversation", conversations.conversation_id_of(finding.key, settings))
    kind, separator, key_id = finding.key.partition(":")
    if separator and kind == "company":
        return Key("company", key_id)
    if separator and kind == "user":
        return Key("user", key_id)
    return Key("user", finding.key.partition("/")[2])


def name_of(key: Key) -> str:
    """How findings and operators name a user or company: ``kind:id``."""
    return f"{key.kind}:{key.id}".encode(errors="backslashreplace").decode()
