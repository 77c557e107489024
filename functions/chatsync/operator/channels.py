"""The commands ``fix-team``, ``delete-orphan`` and ``sync-channel``: about one channel."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from firebase_functions import logger

from .. import conversations
from ..audit.steps import compare
from ..clients import Clients
from ..errors import InvalidArgument
from . import options, team_fixes
from .options import FINDINGS, IN_SYNC, SECONDS, Apply, Refused, Yes
from .terminal import confirm, print_line

MAX_TEAM_BYTES = 100
"""Of a team's name, in Stream."""

CHANNEL = "A cid (type:id), or the id of a channel of the configured type."
Channel = Annotated[str, typer.Argument(help=CHANNEL)]


def fix_team(
    channel: Annotated[str, typer.Argument(help=CHANNEL, show_default=False)] = "",
    team: Annotated[str, typer.Option(help="The team it belongs to.")] = "",
    everywhere: Annotated[
        bool, typer.Option("--all", help="All channels whose sides leave no doubt.")
    ] = False,
    apply: Apply = False,
) -> int:
    """Correct a channel's team in Stream, keeping its history and other fields."""
    if everywhere == bool(channel) or (everywhere and team):
        raise Refused("fix-team takes a channel and --team, or --all.")
    if everywhere:
        return team_fixes.fix_all(options.connect_to(apply), apply)
    if not 1 <= len(team.encode()) <= MAX_TEAM_BYTES:
        raise InvalidArgument("team", f"must have 1 to {MAX_TEAM_BYTES} bytes")
    clients = options.connect_to(apply)
    cid, state, document = _both_sides(channel, clients)
    present = state["channel"].get("team") or None
    recorded = _named(document.team) if document.status else "no document"
    print_line(f"{cid}: {_named(present)} in Stream, {recorded} in Firestore.")
    teams = clients.settings.config.teams
    by_field = conversations.team_by_field(state["channel"], teams)
    if by_field and by_field != team:
        raise Refused(f"{cid}: its field {teams.channel_field} says {by_field}.")
    if document.is_foreign and document.team != team:
        raise Refused(f"{cid}: the app's backend wrote its document, and has to correct it first.")
    if present == team and (document.team == team or not document.status):
        print_line("Nothing to correct.")
        return IN_SYNC
    if not apply:
        print_line(f"--apply would change it to {team}.")
        return FINDINGS
    deadline = time.monotonic() + SECONDS
    if present != team:
        team_fixes.set_in_stream(cid, present, team, clients)
    if document.status and document.team != team:
        conversations.set_team(document, team, clients, deadline)
        message = f"Team of {document.id} corrected from {document.team} in Firestore"
        logger.info(message, conversation=document.id, team=team)
    print_line(f"{cid} belongs to {team} now.")
    return IN_SYNC


def _named(team: str | None) -> str:
    return f"team {team}" if team else "no team"


def delete_orphan(
    channel: Channel,
    hard: Annotated[bool, typer.Option("--hard", help="Delete it permanently.")] = False,
    apply: Apply = False,
    yes: Yes = False,
) -> int:
    """Delete a channel without document, or one that was only recorded and whose owner is gone."""
    clients = options.connect_to(apply)
    cid, state, document = _orphan(channel, clients)
    members = state["channel"].get("member_count", len(state["members"]))
    last = state["channel"].get("last_message_at") or "never"
    recorded = f"recorded by {document.origin}" if document.status == "ready" else "no document"
    print_line(f"{cid}: {members} members, last message {last}, {recorded}.")
    what = cid if document.status != "ready" else f"{cid} and its document"
    if not apply:
        print_line(f"--apply would delete {what}{' permanently' if hard else ''}.")
        return FINDINGS
    confirm(f"Delete {what}{' permanently' if hard else ''}?", yes)
    _, state, document = _orphan(channel, clients)  # it may have changed before the answer
    deadline = time.monotonic() + SECONDS
    # The document first: a channel without document can be deleted by the same command again.
    if document.status == "ready":
        conversations.delete(document, clients, deadline)
    clients.stream.delete_channel(cid, hard, deadline)
    fields = conversations.fields_of(document, team=state["channel"].get("team"))
    logger.info(f"Orphan {what} deleted{' permanently' if hard else ''}", **fields)
    print_line(f"{what}: deleted.")
    return IN_SYNC


def _orphan(
    channel: str, clients: Clients
) -> tuple[str, dict[str, Any], conversations.Conversation]:
    """The cid of an orphan, its state in Stream, and its document; refuses every other channel."""
    cid, state, document = _both_sides(channel, clients)
    deadline = time.monotonic() + SECONDS
    if conversations.is_left_out(document, clients.settings):
        raise Refused(f"{cid} is no orphan: the settings say `record = false` of such channels.")
    owner_is_gone = bool(conversations.missing_owners([document], clients, deadline))
    if document.status not in ("", "deleted") or document.is_foreign:
        is_recorded = document.status == "ready" and document.is_recorded
        if not is_recorded or not owner_is_gone:
            raise Refused(f"{cid} is no orphan: its document is {document.status}.")
    elif not owner_is_gone and (owner := conversations.owner_of(document, clients.settings)):
        raise Refused(f"{cid} is no orphan: {owner} exists. sync-channel records it.")
    about = conversations.documents_of([cid], clients, deadline)[cid]
    if others := [one.id for one in about if one.id != document.id]:
        raise Refused(f"{cid} is no orphan: it has the document {', '.join(others)}.")
    return cid, state, document


def sync_channel(
    channel: Channel,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Also a document that the app's backend wrote.")
    ] = False,
    apply: Apply = False,
) -> int:
    """Record one channel in Firestore, as Stream has it."""
    clients = options.connect_to(apply)
    cid, state, document = _both_sides(channel, clients)
    _refuse_unless_recordable(cid, document, take_over, clients)
    difference = _difference(document, state, clients)
    print_line(f"{cid}: document {document.status or 'absent'}{difference}.")
    if not apply:
        if document.status == "ready" and not difference:
            return IN_SYNC
        print_line("--apply would record it from Stream.")
        return FINDINGS
    [outcome] = conversations.reconcile_conversations(
        [document.id], clients, origin="operator", may_close=False, take_over=take_over
    )
    if outcome.error:
        raise outcome.error
    difference = _difference(outcome.document, state, clients)
    print_line(f"{cid}: document {outcome.status}{difference}.")
    return FINDINGS if difference else IN_SYNC


def _refuse_unless_recordable(
    cid: str, document: conversations.Conversation, take_over: bool, clients: Clients
) -> None:
    if conversations.is_left_out(document, clients.settings):
        raise Refused(f"{cid}: the settings say `record = false` of such channels.")
    if document.is_foreign:
        if not take_over:
            raise Refused(
                f"{cid}: the app's backend wrote its document, and keeps it. --take-over makes it"
                " chatsync's: it is recorded anew, and follows Stream from then on."
            )
        return
    if document.status in ("pending", "failed"):
        raise Refused(f"{cid}: its document is {document.status}, and the outbox finishes it.")
    if document.status == "ready":
        return
    deadline = time.monotonic() + SECONDS
    if owner := conversations.missing_owners([document], clients, deadline).get(document.id):
        raise Refused(f"{cid} is an orphan, {owner} is gone: see delete-orphan.")
    about = conversations.documents_of([cid], clients, deadline)[cid]
    if others := [one.id for one in about if one.id != document.id]:
        raise Refused(f"{cid} has the document {', '.join(others)}.")


def _difference(
    document: conversations.Conversation, state: Mapping[str, Any], clients: Clients
) -> str:
    if document.status != "ready":
        return ""
    finding = compare(document, state, clients)
    return f", {finding.kind}: {finding.detail}" if finding else ""


def _both_sides(
    channel: str, clients: Clients
) -> tuple[str, dict[str, Any], conversations.Conversation]:
    """The cid of the named channel, its state in Stream, and its document."""
    cid = channel if ":" in channel else f"{clients.settings.channel_type}:{channel}"
    if not conversations.is_cid(cid):
        raise InvalidArgument("channel", "must be type:id, of A-Z a-z 0-9 _ -")
    deadline = time.monotonic() + SECONDS
    conversation_id = conversations.conversation_id_of(cid, clients.settings)
    document = conversations.read(conversation_id, clients, deadline)
    state = clients.stream.query_channels([cid], deadline).get(cid)
    if state is None:
        raise Refused(f"Stream has no channel {cid}.")
    return cid, state, document
