"""What is said of a conversation and its channel, from what was read of them; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...audit.steps import Finding
from ...conversations import Conversation
from ...settings import Settings
from ...users import Document
from ..sentences import FAILED, FINDINGS, NO_CONVERSATION
from .explanation import (
    ABSENT,
    UNKNOWN,
    Explanation,
    Facts,
    Problem,
    Row,
    day,
    is_there,
    only,
    outbox_fact,
    problem_of_entry,
    problems_as_json,
    when,
)
from .lines import plain

MOST_MEMBERS = 20


@dataclass(frozen=True)
class ConversationRead:
    """A conversation and its channel, as they were read."""

    cid: str
    document: Conversation
    fields: Document
    """Of the document, as it stands in Firestore; empty if there is none."""

    state: Mapping[str, Any] | None
    """Of the channel, as Stream says; None if there is none, or Stream could not be asked."""

    members: Sequence[str]
    """Of the channel, by their Stream ids."""

    findings: Sequence[Finding]
    exist: Mapping[str, bool | None]
    """Of each member whether there is an account or company; None of a service user."""

    outbox: Document | None
    pair_names: str | None
    """The conversation that the pair of its two members names; None if it is not of two."""

    is_left_out: bool
    stream_failure: str
    is_personal: bool


def explain_conversation(read: ConversationRead, settings: Settings) -> Explanation:
    """Document and channel beside each other, their members, and what is wrong."""
    document = read.document
    problems = _problems_of(read)
    facts: Facts = [("channel", [read.cid]), ("kind", [origin_of(read)])]
    if read.is_left_out:
        facts.append(("note", ["the settings say `record = false`: it is not compared"]))
    if expires := read.fields.get("chatsyncExpireAt"):
        facts.append(("expires", [when(expires)]))
    if read.pair_names is not None:
        facts.append(("pair", [_pair(read)]))
    facts += [outbox_fact(read.outbox), ("members", members_of(read))]
    heads, rows = ("", "document", "channel"), _both(read, settings)
    data = _data_of(read, problems)
    if [one.name for one in problems] == ["not_found"]:
        rows, facts = [], facts[:1]
    return Explanation(f"conversation {plain(document.id)}", problems, heads, rows, facts, data)


def _problems_of(read: ConversationRead) -> list[Problem]:
    document = read.document
    problems = [Problem(one.kind, FINDINGS[one.kind], one.detail) for one in read.findings]
    if document.status == "failed":
        reason = str(read.fields.get("failedReason"))
        problems.append(Problem(f"failed, {reason}", FAILED.get(reason, FAILED["rejected"])))
    problems += problem_of_entry(read.outbox)
    if not document.status and not read.state and not read.stream_failure and not problems:
        problems.append(Problem("not_found", NO_CONVERSATION))
    return [replace(one, sentence=one.sentence.of_channel(read.cid)) for one in problems]


def _both(read: ConversationRead, settings: Settings) -> list[Row]:
    document, channel = read.document, (read.state or {}).get("channel") or {}
    kinds = {one.kind for one in read.findings}
    is_name = any(one.detail == "the name differs" for one in read.findings)
    missing = UNKNOWN if read.stream_failure else ABSENT
    creator = (channel.get("created_by") or {}).get("id")
    rows = [
        Row(
            "exists",
            (document.status or "no", is_there(channel, read.stream_failure)),
            bool(kinds & {"only_in_stream", "only_in_firestore"}),
        ),
        Row("name", (document.name or ABSENT, str(channel.get("name") or missing)), is_name),
        Row(
            "team",
            (document.team or ABSENT, channel.get("team") or missing),
            "wrong_team" in kinds,
        ),
        Row(
            "members",
            (str(len(document.member_ids)), str(len(read.members)) if channel else missing),
            "member_mismatch" in kinds and not is_name,
        ),
        Row(
            "made by",
            (document.created_by or ABSENT, creator or missing),
            "taken_channel" in kinds,
        ),
        Row("made on", (day(document.created_at), day(channel.get("created_at")))),
    ]
    if by := settings.config.teams.channel_field:
        rows.insert(3, Row(by, (ABSENT, str(channel.get(by, missing)))))
    return rows


def origin_of(read: ConversationRead) -> str:
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


def members_of(read: ConversationRead) -> list[str]:
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


_OF_DOCUMENT = (
    *("cid", "channelType", "channelId", "conversationType", "name", "participantIds"),
    *("memberIds", "team", "createdBy", "createdAt", "updatedAt", "status", "origin"),
    *("left", "leaving", "failedReason", "chatsyncExpireAt"),
)


_OF_CHANNEL = (
    *("cid", "name", "team", "created_at", "updated_at", "last_message_at"),
    *("member_count", "frozen", "disabled"),
)


def _data_of(read: ConversationRead, problems: Sequence[Problem]) -> dict[str, Any]:
    channel = (read.state or {}).get("channel") or {}
    document_fields = read.fields if read.is_personal else _OF_DOCUMENT
    return {
        "what": "conversation",
        "id": read.document.id,
        "cid": read.cid,
        "document": only(document_fields, read.fields),
        "streamIsKnown": not read.stream_failure,
        "channel": only(channel if read.is_personal else _OF_CHANNEL, channel),
        "createdBy": (channel.get("created_by") or {}).get("id"),
        "members": list(read.members),
        "exist": dict(read.exist),
        "outbox": read.outbox,
        "pairNames": read.pair_names,
        "problems": problems_as_json(problems),
        "personal": None,
    }
