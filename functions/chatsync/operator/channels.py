"""The commands ``fix-team``, ``delete-orphan`` and ``sync-channel``: about one channel."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from .. import conversations
from ..audit.steps import compare
from ..clients import Clients
from ..errors import InvalidArgument
from . import options
from .options import FINDINGS, IN_SYNC, SECONDS, Apply, Refused, Yes
from .terminal import confirm, print_line

PAUSES_SECONDS = (0.5, 1.0, 1.5, 3.0)
"""Between queries of a channel that was just changed."""

MAX_TEAM_BYTES = 100
"""Of a team's name, in Stream."""

Channel = Annotated[
    str, typer.Argument(help="A cid (type:id), or the id of a channel of the configured type.")
]


def fix_team(
    channel: Channel,
    team: Annotated[str, typer.Option(help="The team it belongs to.")],
    apply: Apply = False,
) -> int:
    """Correct a channel's team in Stream, keeping its history and other fields."""
    if not 1 <= len(team.encode()) <= MAX_TEAM_BYTES:
        raise InvalidArgument("team", f"must have 1 to {MAX_TEAM_BYTES} bytes")
    clients = options.connect()
    cid, state, document = _both_sides(channel, clients)
    present = state["channel"].get("team") or None
    recorded = _named(document.team) if document.status else "no document"
    print_line(f"{cid}: {_named(present)} in Stream, {recorded} in Firestore.")
    if present == team and (document.team == team or not document.status):
        print_line("Nothing to correct.")
        return IN_SYNC
    if not apply:
        print_line(f"--apply would change it to {team}.")
        return FINDINGS
    deadline = time.monotonic() + SECONDS
    if present != team:
        clients.stream.update_channel_partial(cid, {"team": team}, deadline)
        _wait_for_team(team, cid, clients, deadline)
    if document.status and document.team != team:
        conversations.set_team(document, team, clients, deadline)
    print_line(f"{cid} belongs to {team} now.")
    return IN_SYNC


def _named(team: str | None) -> str:
    return f"team {team}" if team else "no team"


def _wait_for_team(team: str, cid: str, clients: Clients, deadline: float) -> None:
    """Wait until Stream reports the new team, which may take a few seconds."""
    for pause in (0.0, *PAUSES_SECONDS):
        time.sleep(pause)
        state = clients.stream.query_channels([cid], deadline).get(cid)
        if state and state["channel"].get("team") == team:
            return
    raise Refused(f"Stream accepted the change of {cid}, but still reports another team.")


def delete_orphan(
    channel: Channel,
    hard: Annotated[bool, typer.Option("--hard", help="Delete it permanently.")] = False,
    apply: Apply = False,
    yes: Yes = False,
) -> int:
    """Delete a channel without document; refuses every other channel."""
    clients = options.connect()
    cid, state = _orphan(channel, clients)
    members = state["channel"].get("member_count", len(state["members"]))
    last = state["channel"].get("last_message_at") or "never"
    print_line(f"{cid}: {members} members, last message {last}, no document.")
    if not apply:
        print_line(f"--apply would delete it{' permanently' if hard else ''}.")
        return FINDINGS
    confirm(f"Delete {cid}{' permanently' if hard else ''}?", yes)
    _orphan(channel, clients)  # it may have changed before the answer
    clients.stream.delete_channel(cid, hard, time.monotonic() + SECONDS)
    print_line(f"{cid} is deleted.")
    return IN_SYNC


def _orphan(channel: str, clients: Clients) -> tuple[str, dict[str, Any]]:
    """The cid of a channel without document, and its state in Stream; refuses every other."""
    cid, state, document = _both_sides(channel, clients)
    if document.status not in ("", "deleted"):
        raise Refused(f"{cid} is no orphan: its document is {document.status}.")
    if others := conversations.documents_of(cid, clients):
        raise Refused(f"{cid} is no orphan: it has the document {', '.join(others)}.")
    return cid, state


def sync_channel(channel: Channel, apply: Apply = False) -> int:
    """Record one channel in Firestore, as Stream has it."""
    clients = options.connect()
    cid, state, document = _both_sides(channel, clients)
    if document.status in ("pending", "failed"):
        raise Refused(f"{cid}: its document is {document.status}, and the outbox finishes it.")
    difference = _difference(document, state, clients)
    print_line(f"{cid}: document {document.status or 'absent'}{difference}.")
    if not apply:
        if document.status == "ready" and not difference:
            return IN_SYNC
        print_line("--apply would record it from Stream.")
        return FINDINGS
    [outcome] = conversations.reconcile_conversations(
        [document.id], clients, origin="operator", may_close=False
    )
    if outcome.error:
        raise outcome.error
    difference = _difference(outcome.document, state, clients)
    print_line(f"{cid}: document {outcome.status}{difference}.")
    return FINDINGS if difference else IN_SYNC


def _difference(
    document: conversations.Conversation, state: Mapping[str, Any], clients: Clients
) -> str:
    if document.status != "ready":
        return ""
    kind, detail = compare(document, state, clients)
    return f", {kind}: {detail}" if kind else ""


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
