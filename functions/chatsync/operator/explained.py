"""What ``explain`` says of a subject, from what was read of it; pure."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size

from .. import agreement, users
from ..audit.steps import Finding, judge, name_of
from ..conversations import Conversation
from ..errors import Refusal
from ..ids import Key
from ..outcome import Parked, Waiting
from ..plan import Observed, Plan, Policy, plan
from ..settings import Settings
from ..users import Document, FirebaseState
from .sentences import (
    DELETED,
    FAILED,
    FINDINGS,
    NO_CONVERSATION,
    NOT_FOUND,
    OBSTACLES,
    PARKED,
    WAITING,
    WITHOUT_EVENT,
    Sentence,
)

SHOWN = ("name", "image", "role", "teams")
"""The fields of a Stream user whose values are shown; others are the app's own."""

MOST_MEMBERS = 20

Facts = list[tuple[str, Sequence[str]]]
"""Labels, with what is told under each."""

_ABSENT = "-"
_UNKNOWN = "unknown"
_INDENT = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    name: str
    sentence: Sentence
    detail: str = ""
    """In a few words."""

    error: str = ""
    """What Stream or Firebase said."""


@dataclass(frozen=True)
class Row:
    """One line of the sides beside each other."""

    label: str
    cells: tuple[str, ...]
    differs: bool = False


@dataclass(frozen=True)
class Explanation:
    """All that is said of one subject."""

    title: str
    problems: list[Problem]
    heads: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    facts: Facts = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    """For ``--json``."""


@dataclass(frozen=True)
class PersonRead:
    """A user or company, as it was read on all sides."""

    key: Key
    observed: Observed | None
    """None if the id is impossible: then no document can have it."""

    has_account: bool
    outbox: Document | None = None
    entry: Document | None = None
    """The document in ``stream_users``."""

    doubt: str = ""
    """Why no entry counts now."""

    stream_failure: str = ""
    personal: Mapping[str, Any] = field(default_factory=dict)
    """Documents, claims and the Stream user as a whole, if they were asked for."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConversationRead:
    """A conversation and its channel, as they were read."""

    cid: str
    document: Conversation
    fields: Document
    """Of the document, as it stands in Firestore; empty if there is none."""

    state: Mapping[str, Any] | None
    """Of the channel, as Stream says; None if there is none, or Stream could not be asked."""

    members: tuple[str, ...] = ()
    """Of the channel, by their Stream ids."""

    findings: tuple[Finding, ...] = ()
    exist: Mapping[str, bool | None] = field(default_factory=dict)
    """Of each member whether there is an account or company; None of a service user."""

    outbox: Document | None = None
    pair_names: str | None = None
    """The conversation that the pair of its two members names; None if it is not of two."""

    is_left_out: bool = False
    stream_failure: str = ""
    is_personal: bool = False


# A user or company


def explain_person(read: PersonRead, settings: Settings, now: datetime) -> Explanation:
    """The three sides of a user or company, what is wrong, and what a repair would do."""
    title = f"{read.key.kind} {plain(read.key.id)}"
    problems = _problems_of(read, settings)
    facts: Facts = [("note", [one]) for one in read.notes]
    observed = read.observed
    if [one.name for one in problems] == ["not_found"]:
        return Explanation(title, problems, facts=facts, data=_data_of(read, None, problems))
    if observed is None:
        facts += [("account", ["exists" if read.has_account else "none"]), _outbox(read.outbox)]
        return Explanation(title, problems, facts=facts, data=_data_of(read, None, problems))
    planned = plan(observed, Policy(settings.config))
    facts += [
        ("Stream id", [observed.stream_id]),
        ("kind", [_kind(observed, settings)]),
        ("trust", [trust(read, settings, now)]),
        _outbox(read.outbox),
        _history((read.entry or {}).get("history")),
        ("a repair", repairs(observed, settings)),
    ]
    if silent := _without_event(read, planned):
        facts.append(("perhaps", [f"Firebase sends no event for {' or for '.join(silent)}"]))
    heads = ("", "Auth", "documents", "Stream")
    rows = _sides(observed, settings, read.stream_failure)
    if not planned.exists and not _is_left(observed):
        rows = []
    return Explanation(title, problems, heads, rows, facts, _data_of(read, planned, problems))


def _without_event(read: PersonRead, planned: Plan) -> list[str]:
    """What may have happened to an account of which nobody was told."""
    remembered = read.observed.state.remembered if read.observed else None
    if read.has_account:
        is_new = read.entry is None and planned.writes
        return [one for one in WITHOUT_EVENT if "deleted" not in one] if is_new else []
    is_left = read.observed is not None and _is_left(read.observed)
    if read.key.kind == "company" or not is_left or (remembered and remembered.deleted_at):
        return []
    return [one for one in WITHOUT_EVENT if "deleted" in one]


def repairs(observed: Observed, settings: Settings) -> list[str]:
    """What a repair would do, and why, by the plan that it would follow."""
    by_itself = plan(observed, Policy(settings.config))
    asked = plan(_retried(observed), Policy(settings.config))
    lines = _planned(by_itself, observed, settings)
    if asked != by_itself:
        lines.append("by itself nothing else: what was refused is not sent again until it changes")
        lines += [f"by `repair --apply`: {one}" for one in _planned(asked, observed, settings)]
    return lines


def _retried(observed: Observed) -> Observed:
    """As ``repair`` by a person sees it: refused values are tried again."""
    return replace(observed, state=replace(observed.state, refused=frozenset()))


def _planned(planned: Plan, observed: Observed, settings: Settings) -> list[str]:
    state = observed.state
    if planned.instead:
        return [f"nothing here: {name_of(planned.instead)} is repaired in its place"]
    if not planned.exists:
        return ["nothing: there is no account, and nobody is brought back"]
    lines = []
    if planned.entry:
        kind = users.kind_of(observed.key, state, settings.config)
        lines.append(f"note that the account is a {_WORD_OF[kind]}, since nothing says it yet")
    if planned.documents:
        fields = ("user", "profile", "stats")
        lacking = [settings.collection_of(one) for one in fields if getattr(state, one) is None]
        if lacking:
            lines.append(f"create {', '.join(lacking)}, since the account lacks them")
        if update := users.profile_update(state, settings.config):
            names = ", ".join(name for name in update if not name.startswith("mirrored"))
            lines.append(f"update {names} in the profile, whose owner did not edit it")
    if planned.create:
        names = ", ".join(name for name in planned.create if name != "id")
        lines.append(f"create {observed.stream_id} in Stream with {names}, since it is missing")
    if planned.patch:
        if to_set := ", ".join(planned.patch["set"]):
            lines.append(f"set {to_set} in Stream, since Firebase states something else")
        if to_unset := ", ".join(planned.patch["unset"]):
            lines.append(f"unset {to_unset} in Stream, since Firebase says null")
    if not observed.stream_is_known:
        lines.append("in Stream: unknown")
    if planned.obstacle == Refusal.REJECTED:
        return lines
    if planned.obstacle:
        lines.append(f"leave this: {OBSTACLES[planned.obstacle].why}")
    return lines or ["nothing: the sides agree"]


def trust(read: PersonRead, settings: Settings, now: datetime) -> str:
    """Whether tokens and conversations ask Stream about the user, and why."""
    observed = read.observed
    remembered = observed.state.remembered if observed else None
    if observed is None or remembered is None:
        return "not trusted: no repair has ended in agreement yet"
    if remembered.deleted_at and not read.has_account:
        expires = (read.entry or {}).get("chatsyncExpireAt")
        until = f"until {when(expires)}" if expires else "while Stream has the user"
        return f"the account was deleted {when(remembered.deleted_at)}; this is kept {until}"
    if remembered.verified_at is None:
        withdrawn = (read.entry or {}).get("invalidatedAt")
        if isinstance(withdrawn, datetime):
            return f"not trusted: withdrawn {when(withdrawn)}; nobody saw agreement since"
        return "not trusted: nobody saw agreement yet"
    seen, hours = f"seen in agreement {when(remembered.verified_at)}", settings.config.stream
    if not agreement.is_fresh(observed.state, settings.config, now):
        return f"not trusted: {seen}, which counts for {hours.trust_hours:g} hours"
    now_stated = (observed.key, observed.stream_id, observed.state, settings.config, now)
    if observed.key.kind == "user" and not agreement.still_agrees(*now_stated):
        return f"not trusted: {seen}, and Firebase states something else since"
    return f"not trusted: {seen}, but {read.doubt}" if read.doubt else f"trusted: {seen}"


_WORD_OF = {"user": "person", "company": "company", None: "person or a company"}


def _kind(observed: Observed, settings: Settings) -> str:
    if observed.key.kind == "company":
        return "a company"
    kind = users.kind_of(observed.key, observed.state, settings.config)
    if kind is None:
        return "not decided: neither a person nor a company yet"
    if observed.state.account is None:
        return f"of a {_WORD_OF[kind]}, whose account is gone"
    noted = "" if observed.kind_is_recorded else ", which is not noted yet"
    return f"an account that is a {_WORD_OF[kind]}{noted}"


def _problems_of(read: PersonRead, settings: Settings) -> list[Problem]:
    """The gravest first: what the nightly audit corrects comes last."""
    observed, problems = read.observed, list[Problem]()
    if observed is not None:
        asked = plan(_retried(observed), Policy(settings.config))
        if asked.obstacle:
            problems.append(Problem(asked.obstacle, OBSTACLES[asked.obstacle]))
        problems += _problem_of_entry(read.outbox)
        remembered = observed.state.remembered
        was_deleted = bool(remembered and remembered.deleted_at and not read.has_account)
        for kind, _, _, detail, _ in judge(observed, settings):
            if kind != "not_found":
                problems.append(Problem(kind, FINDINGS[kind], detail))
            elif not _is_other(observed) and not was_deleted and not _is_left(observed):
                problems.append(Problem(kind, NOT_FOUND))
    elif read.outbox:
        problems += _problem_of_entry(read.outbox)
    elif read.has_account:
        problems.append(Problem(Parked.INVALID_ID, PARKED[Parked.INVALID_ID]))
    else:
        problems.append(Problem("not_found", NOT_FOUND))
    return [replace(one, sentence=one.sentence.of_user(read.key)) for one in problems]


def _is_other(observed: Observed) -> bool:
    """Whether the id names somebody of the other kind, who is repaired in its place."""
    state = observed.state
    return state.company is not None or (observed.key.kind == "company" and bool(state.account))


def _is_left(observed: Observed) -> bool:
    """Whether something is left of an account: then that is what is wrong."""
    state = observed.state
    return bool(observed.stream_user) or (state.user, state.profile, state.stats) != (None,) * 3


_BY_REASON: Mapping[str, Sentence] = {
    str(reason): sentence for table in (WAITING, PARKED) for reason, sentence in table.items()
}


def _problem_of_entry(entry: Document | None) -> list[Problem]:
    if not entry:
        return []
    reason, error = str(entry.get("reason")), str(entry.get("lastError") or "")
    state = "parked" if entry.get("state") == "parked" else "waiting"
    sentence = _BY_REASON.get(reason, WAITING[Waiting.INTERNAL])
    return [Problem(f"{state}, {reason}", sentence, error=error)]


def _outbox(entry: Document | None) -> tuple[str, Sequence[str]]:
    if not entry:
        return "outbox", ["no entry"]
    count = entry.get("attempts", 0)
    tried = f"first failed {when(entry.get('firstFailedAt'))}, {count} attempts since"
    if entry.get("state") == "parked":
        lines = [f"parked, {entry.get('reason')}: {tried}"]
    else:
        lines = [f"waiting, {entry.get('reason')}: {tried}"]
        lines.append(f"next attempt {when(entry.get('nextAttemptAt'))}")
    if entry.get("removal") is True:
        lines.append("if the account is gone, its Stream user is removed")
    return "outbox", lines


def _history(history: object) -> tuple[str, Sequence[str]]:
    changes = [one for one in history if isinstance(one, dict)] if isinstance(history, list) else []
    lines = []
    for one in changes:
        names = ", ".join(map(str, one.get("fields") or ()))
        did = f"{one.get('did')} {names}".rstrip()
        lines.append(f"{when(one.get('at'))}  {did}, by {one.get('by')}")
    return "history", lines or ["none"]


def _sides(observed: Observed, settings: Settings, failure: str) -> list[Row]:
    """What each side says of each field, and where Stream differs."""
    state, config, in_stream = observed.state, settings.config, observed.stream_user or {}
    is_company = observed.key.kind == "company"
    account = None if is_company else state.account
    missing = _UNKNOWN if failure else _ABSENT
    stated = [FirebaseState(account=account), replace(state, account=None)]
    sides = [users.owned_fields(one, config) for one in stated]
    patch = plan(_retried(observed), Policy(config)).patch or {}
    differing = {*patch.get("set", ()), *patch.get("unset", ())}

    def row(name: str) -> Row:
        is_shown = name in SHOWN

        def cell(side: Mapping[str, Any]) -> str:
            return (_shown(side[name]) if is_shown else "stated") if name in side else _ABSENT

        there = cell(in_stream) if in_stream else missing
        return Row(name, (*map(cell, sides), there), name in differing)

    in_auth = _ABSENT if is_company else _is_there(account)
    exist = (in_auth, _documents(observed), _is_there(in_stream, failure))
    # Accounts of custom tokens have no provider either.
    words = ["disabled"] if account and account.disabled else []
    words += ["no provider"] if account and account.anonymous else []
    told = {"deactivated": "deactivated_at", "banned": "banned"}
    there = ", ".join(word for word, name in told.items() if in_stream.get(name))
    times = (
        account.created_at if account else None,
        (state.user or {}).get("createdAt"),
        in_stream.get("created_at"),
    )
    return [
        Row("exists", exist),
        *map(row, dict.fromkeys((*SHOWN, *config.users.stream_fields))),
        Row("state", (", ".join(words) or _ABSENT, _ABSENT, there or missing)),
        Row("made on", tuple(map(_day, times))),
    ]


def _is_there(side: object, failure: str = "") -> str:
    return "yes" if side else _UNKNOWN if failure else "no"


def _documents(observed: Observed) -> str:
    state = observed.state
    if observed.key.kind == "company":
        return "yes" if state.company is not None else "no"
    fields = {"user": state.user, "profile": state.profile, "stats": state.stats}
    lacking = [name for name, document in fields.items() if document is None]
    return {0: "all three", 3: "none"}.get(len(lacking), f"no {', no '.join(lacking)}")


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _day(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}"
    return value[:10] if isinstance(value, str) else _ABSENT


def when(at: object) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if isinstance(at, datetime) else "at an unknown time"


# Conversations


def explain_conversation(read: ConversationRead, settings: Settings) -> Explanation:
    """Document and channel beside each other, their members, and what is wrong."""
    document = read.document
    problems = _problems_of_conversation(read)
    facts: Facts = [("channel", [read.cid]), ("kind", [_origin(read)])]
    if read.is_left_out:
        facts.append(("note", ["the settings say `record = false`: it is not compared"]))
    if expires := read.fields.get("chatsyncExpireAt"):
        facts.append(("expires", [when(expires)]))
    if read.pair_names is not None:
        facts.append(("pair", [_pair(read)]))
    facts += [_outbox(read.outbox), ("members", _members(read))]
    heads, rows = ("", "document", "channel"), _both(read, settings)
    data = _data_of_conversation(read, problems)
    if [one.name for one in problems] == ["not_found"]:
        rows, facts = [], facts[:1]
    return Explanation(f"conversation {plain(document.id)}", problems, heads, rows, facts, data)


def _problems_of_conversation(read: ConversationRead) -> list[Problem]:
    document = read.document
    problems = [Problem(one.kind, FINDINGS[one.kind], one.detail) for one in read.findings]
    if document.status == "failed":
        reason = str(read.fields.get("failedReason"))
        problems.append(Problem(f"failed, {reason}", FAILED.get(reason, FAILED["rejected"])))
    problems += _problem_of_entry(read.outbox)
    if not document.status and not read.state and not read.stream_failure and not problems:
        problems.append(Problem("not_found", NO_CONVERSATION))
    return [replace(one, sentence=one.sentence.of_channel(read.cid)) for one in problems]


def _both(read: ConversationRead, settings: Settings) -> list[Row]:
    document, channel = read.document, (read.state or {}).get("channel") or {}
    kinds = {one.kind for one in read.findings}
    is_name = any(one.detail == "the name differs" for one in read.findings)
    missing = _UNKNOWN if read.stream_failure else _ABSENT
    creator = (channel.get("created_by") or {}).get("id")
    rows = [
        Row(
            "exists",
            (document.status or "no", _is_there(channel, read.stream_failure)),
            bool(kinds & {"only_in_stream", "only_in_firestore"}),
        ),
        Row("name", (document.name or _ABSENT, str(channel.get("name") or missing)), is_name),
        Row(
            "team",
            (document.team or _ABSENT, channel.get("team") or missing),
            "wrong_team" in kinds,
        ),
        Row(
            "members",
            (str(len(document.member_ids)), str(len(read.members)) if channel else missing),
            "member_mismatch" in kinds and not is_name,
        ),
        Row(
            "made by",
            (document.created_by or _ABSENT, creator or missing),
            "taken_channel" in kinds,
        ),
        Row("made on", (_day(document.created_at), _day(channel.get("created_at")))),
    ]
    if by := settings.config.teams.channel_field:
        rows.insert(3, Row(by, (_ABSENT, str(channel.get(by, missing)))))
    return rows


def _origin(read: ConversationRead) -> str:
    document = read.document
    if not document.status:
        return "no document"
    made = {"app": "made by `createConversation`", "": "written by the app's backend"}
    origin = made.get(document.origin, f"recorded from Stream ({document.origin})")
    return f"{document.conversation_type or 'conversation'}, {origin}"


def _pair(read: ConversationRead) -> str:
    if not read.pair_names:
        return "none: neither of the two has asked for their conversation yet"
    if read.pair_names == read.document.id:
        return "this is the conversation of the two"
    return f"the two have another conversation: {read.pair_names}"


def _members(read: ConversationRead) -> list[str]:
    """Each member, and where; those with something to be told first."""
    document, left = read.document, {**read.document.left, **read.document.leaving}
    lines = []
    for one in dict.fromkeys([*document.member_ids, *read.members, *left]):
        told = []
        if one in left:
            told.append(f"left {when(left[one])}")
        elif one not in document.member_ids and document.status:
            told.append("not in the document")
        if read.state is not None and one not in read.members and one not in left:
            told.append("not in the channel")
        exists = read.exist.get(one, False)
        told += ["a service user"] if exists is None else [] if exists else ["has no account"]
        lines.append((not told, f"{one}{': ' if told else ''}{', '.join(told)}"))
    lines.sort(key=lambda line: line[0])
    shown = [line for _, line in lines[:MOST_MEMBERS]]
    if rest := lines[MOST_MEMBERS:]:
        untold = ", of whom nothing is to be told" if rest[0][0] else ""
        shown.append(f"and {len(rest)} more{untold}: --json has all")
    return shown or ["nobody"]


# Two people


def explain_two(
    people: Sequence[PersonRead],
    answers: Mapping[str, str],
    refusals: Sequence[Problem],
    conversation: ConversationRead | None,
    settings: Settings,
    now: datetime,
) -> Explanation:
    """Why these two cannot chat.

    ``answers`` is what createConversation would answer, by the uid of the caller; ``refusals`` are
    the problems in it that neither has alone.
    """
    each = [explain_person(one, settings, now) for one in people]
    problems = [
        replace(problem, name=f"{plain(read.key.id)}: {problem.name}")
        for read, one in zip(people, each, strict=True)
        for problem in _obstacles(read, one, settings)
    ]
    problems += refusals
    facts: Facts = [(f"if {plain(uid)} calls", [answer]) for uid, answer in answers.items()]
    about = None
    if conversation is not None:
        about = explain_conversation(conversation, settings)
        problems += about.problems
        problems += [
            Problem(f"{plain(one)}: {Refusal.LEFT}", OBSTACLES[Refusal.LEFT])
            for one in conversation.document.left
        ]
        facts.append(("conversation", [conversation.document.id, _origin(conversation)]))
        facts.append(("members", _members(conversation)))
    columns = [_of_one(read, settings) for read in people]
    rows = [Row(name, tuple(one[name] for one in columns)) for name in columns[0]]
    data = {
        "what": "two",
        "people": [one.data for one in each],
        "conversation": about.data if about else None,
        "createConversation": dict(answers),
        "problems": _as_json(problems),
    }
    names = [plain(one.key.id) for one in people]
    return Explanation(" and ".join(names), problems, ("", *names), rows, facts, data)


def _obstacles(read: PersonRead, explanation: Explanation, settings: Settings) -> list[Problem]:
    """What keeps one of two from chatting: documents that lag behind don't."""
    if not read.has_account and read.key.id in settings.config.stream.service_users:
        return []
    harmless = ("missing_documents", "drifted_stream_user", "orphan_documents", "wrong_kind")
    problems = [one for one in explanation.problems if one.name not in harmless]
    observed = read.observed
    if observed and not problems and not users.exists(observed.key, observed.state):
        return [Problem("deleted account", DELETED)]
    account = observed.state.account if observed else None
    if account and account.disabled and Refusal.DISABLED not in [one.name for one in problems]:
        problems.append(Problem(Refusal.DISABLED, OBSTACLES[Refusal.DISABLED]))
    return problems


def _of_one(read: PersonRead, settings: Settings) -> dict[str, str]:
    """One of two, by the labels of the lines."""
    observed, waits = read.observed, str((read.outbox or {}).get("state", _ABSENT))
    if observed is None:
        exists = _is_there(read.has_account)
        unknown = dict.fromkeys(("Stream id", "in Stream", "state", "teams"), _ABSENT)
        return {"exists": exists, **unknown, "outbox": waits}
    rows = {row.label: row.cells for row in _sides(observed, settings, read.stream_failure)}
    states = [one for one in rows["state"] if one not in (_ABSENT, _UNKNOWN)]
    return {
        "exists": _is_there(users.exists(observed.key, observed.state)),
        "Stream id": observed.stream_id,
        "in Stream": rows["exists"][2],
        "state": ", ".join(states) or _ABSENT,
        "teams": ", ".join(users.teams_of(observed.state, settings.config)) or "none",
        "outbox": waits,
    }


# JSON


def _as_json(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [
        {
            "name": one.name,
            "detail": one.detail,
            "error": one.error,
            "why": one.sentence.why,
            "do": one.sentence.do,
        }
        for one in problems
    ]


_OF_STREAM_USER = (
    *("id", *SHOWN, "banned", "deactivated_at"),
    *("created_at", "updated_at", "last_active", "revoke_tokens_issued_before"),
)

_OF_DOCUMENT = (
    *("cid", "channelType", "channelId", "conversationType", "name", "participantIds"),
    *("memberIds", "team", "createdBy", "createdAt", "updatedAt", "status", "origin"),
    *("left", "leaving", "failedReason", "chatsyncExpireAt"),
)

_OF_CHANNEL = (
    *("cid", "name", "team", "created_at", "updated_at", "last_message_at"),
    *("member_count", "frozen", "disabled"),
)


def _only(names: Iterable[str], fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """These of the fields; None if there are no fields at all."""
    return {one: fields[one] for one in names if one in fields} if fields else None


def _data_of(read: PersonRead, planned: Plan | None, problems: Sequence[Problem]) -> dict[str, Any]:
    """Everything that was read; what is personal only if it was asked for."""
    observed = read.observed
    state = observed.state if observed else FirebaseState()
    account, patch = state.account, planned.patch if planned and planned.patch else {}
    fields = ("user", "profile", "stats", "company")
    return {
        "what": read.key.kind,
        "id": read.key.id,
        "streamUserId": observed.stream_id if observed else None,
        "kind": state.kind,
        "hasAccount": read.has_account,
        "account": account
        and {
            "createdAt": account.created_at,
            "displayName": account.display_name,
            "photoURL": account.photo_url,
            "disabled": account.disabled,
            "anonymous": account.anonymous,
        },
        "documents": {name: getattr(state, name) is not None for name in fields},
        "streamIsKnown": not read.stream_failure,
        "streamUser": _only(_OF_STREAM_USER, observed.stream_user if observed else None),
        "entry": read.entry,
        "outbox": read.outbox,
        "plan": planned
        and {
            "exists": planned.exists,
            "instead": name_of(planned.instead) if planned.instead else None,
            "documents": planned.documents,
            "create": [*(planned.create or ())],
            "set": [*patch.get("set", ())],
            "unset": [*patch.get("unset", ())],
            "obstacle": planned.obstacle,
        },
        "problems": _as_json(problems),
        "personal": dict(read.personal) or None,
    }


def _data_of_conversation(read: ConversationRead, problems: Sequence[Problem]) -> dict[str, Any]:
    channel = (read.state or {}).get("channel") or {}
    document_fields = read.fields if read.is_personal else _OF_DOCUMENT
    return {
        "what": "conversation",
        "id": read.document.id,
        "cid": read.cid,
        "document": _only(document_fields, read.fields),
        "streamIsKnown": not read.stream_failure,
        "channel": _only(channel if read.is_personal else _OF_CHANNEL, channel),
        "createdBy": (channel.get("created_by") or {}).get("id"),
        "members": list(read.members),
        "exist": dict(read.exist),
        "outbox": read.outbox,
        "pairNames": read.pair_names,
        "problems": _as_json(problems),
        "personal": None,
    }


# Lines


def lines_of(explanation: Explanation, width: int) -> list[str]:
    """The explanation as lines of at most ``width`` cells."""
    lines = []
    for problem in explanation.problems:
        detail = f" ({problem.detail})" if problem.detail else ""
        lines += wrapped(f"{problem.name}{detail}: {problem.sentence.why}.", width)
        indent = " " * _INDENT
        if problem.error:
            lines += wrapped(f"Last error: {problem.error}", width, indent)
        lines += [*wrapped(f"To do: {problem.sentence.do}.", width, indent), ""]
    if explanation.rows:
        lines += [*_table(explanation, width), ""]
    longest = max((cell_len(label) for label, _ in explanation.facts), default=0)
    room = min(longest + _INDENT, width // 3)
    for label, texts in explanation.facts:
        shown = _cut(plain(label), room - _INDENT)
        for text in texts:
            for line in wrapped(text, width - room):
                lines.append(f"{set_cell_size(shown, room)}{line}")
                shown = ""
    return [line.rstrip() for line in lines]


_MARK = "  <- differs"


def _table(explanation: Explanation, width: int) -> list[str]:
    """Columns of one width each; a value that is longer is cut in its middle."""
    count = len(explanation.heads) - 1
    longest = max(cell_len(row.label) for row in explanation.rows)
    first = min(longest + _INDENT, width // 4)
    marks = len(_MARK) if any(row.differs for row in explanation.rows) else 0
    each = (width - first - marks) // count

    def line(label: str, cells: Sequence[str], mark: str = "") -> str:
        shown = (set_cell_size(_cut(plain(one), each - _INDENT), each) for one in cells)
        return f"{set_cell_size(_cut(label, first - _INDENT), first)}{''.join(shown)}{mark}"

    rows = (line(row.label, row.cells, _MARK if row.differs else "") for row in explanation.rows)
    return [line(explanation.heads[0], explanation.heads[1:]), *rows]


def _cut(text: str, width: int) -> str:
    """``text`` without its middle; ``width`` is 4 or more."""
    if len(text) <= width and cell_len(text) <= width:
        return text
    half = (width - 3) // 2
    end = text[-width:]
    while cell_len(end) > width - 3 - half:
        end = end[1:]
    return f"{set_cell_size(text[:half], half)}...{end}"


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """``text`` in lines of at most ``width`` cells; a wide character takes two."""
    room = width - len(indent)
    lines: list[str] = []
    for line in textwrap.wrap(plain(text), room, break_on_hyphens=False):
        while cell_len(line) > room:
            start = line
            while cell_len(start) > room:
                start = start[:-1]
            lines.append(start)
            line = line[len(start) :]
        lines.append(line)
    return [indent + line for line in lines]


_UNPRINTABLE = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    """``text`` without what a terminal could take for a command."""
    return _UNPRINTABLE.sub("?", users.CONTROL.sub("?", text))
