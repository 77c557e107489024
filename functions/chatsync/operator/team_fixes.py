"""Corrections of channels' teams in Stream: of one, or of all whose sides leave no doubt."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from firebase_functions import logger
from rich import progress as bar

from .. import conversations, users
from ..audit.steps import list_channels
from ..clients import Clients
from ..clients.accounts import read_accounts
from ..clients.documents import read_documents
from ..clients.stream import CHANNELS
from ..errors import StreamRejected
from ..side_by_side import batches
from .options import FINDINGS, IN_SYNC, SECONDS, Refused
from .terminal import patiently, print_line, print_table, stderr

PAUSES_SECONDS = (0.5, 1.0, 1.5, 3.0)
"""Between queries of a channel that was just changed."""

_MOST_NAMED = 5

Progress = Callable[[int], None]
Wait = Callable[[int], None]


class Fix(NamedTuple):
    """A channel of a wrong team."""

    cid: str
    actual: str | None
    """In Stream."""

    team: str | None
    """By its custom field."""

    obstacle: str
    """Why a person has to decide; empty if all sides agree on ``team``."""


def fix_all(clients: Clients, apply: bool) -> int:
    """Show all channels of a wrong team; with ``apply``, correct those that leave no doubt."""
    if not clients.settings.config.teams.channel_field:
        raise Refused("--all needs `channel_field` under [teams], which tells the right team.")
    fixes: list[Fix] = []
    with _shown("comparing channels") as (advance, wait):
        cursor = ""
        while True:
            listed, cursor = patiently(partial(list_channels, cursor, None, clients), wait)
            fixes += patiently(partial(_fixes, listed, clients), wait)
            advance(len(listed))
            if not cursor:
                break
    clear = [one for one in fixes if not one.obstacle]
    _print_fixes(fixes)
    if not apply:
        print_line(f"--apply would correct {len(clear)} of {len(fixes)} channels of a wrong team.")
        return FINDINGS if fixes else IN_SYNC
    corrected = 0
    with _shown("correcting teams", len(clear)) as (advance, wait):
        for some in batches([one.cid for one in clear], CHANNELS):
            corrected += _correct(some, clients, wait)
            advance(len(some))
    left = len(fixes) - corrected
    print_line(f"Corrected {corrected} of {len(fixes)} channels; {left} are left to a person.")
    return FINDINGS if left else IN_SYNC


def _correct(cids: Sequence[str], clients: Clients, wait: Wait) -> int:
    """Correct those that still leave no doubt; returns how many."""
    query = partial(clients.stream.query_channels, cids, time.monotonic() + SECONDS)
    listed = [state["channel"] for state in patiently(query, wait).values()]
    corrected = 0
    for fix in patiently(partial(_fixes, listed, clients), wait):
        if fix.obstacle or not fix.team:
            continue
        try:
            patiently(partial(set_in_stream, fix.cid, fix.actual, fix.team, clients), wait)
            corrected += 1
        except (Refused, StreamRejected) as error:
            stderr.print(f"{fix.cid}: {error}", style="yellow", soft_wrap=True)
    return corrected


def set_in_stream(cid: str, present: str | None, team: str, clients: Clients) -> None:
    """Correct a channel's team, and wait until Stream reports it, which may take seconds."""
    deadline = time.monotonic() + SECONDS
    clients.stream.update_channel_partial(cid, {"team": team}, deadline)
    for pause in (0.0, *PAUSES_SECONDS):
        time.sleep(pause)
        state = clients.stream.query_channels([cid], deadline).get(cid)
        if state and state["channel"].get("team") == team:
            conversation = conversations.conversation_id_of(cid, clients.settings)
            message = f"Team of {cid} corrected in Stream: it was {present or 'none'}"
            logger.info(message, conversation=conversation, team=team)
            return
    raise Refused(f"Stream accepted the change of {cid}, but still reports another team.")


def _fixes(listed: Sequence[Mapping[str, Any]], clients: Clients) -> list[Fix]:
    """What to do about up to 30 channels, as Stream listed them; none for those in agreement."""
    settings, deadline = clients.settings, time.monotonic() + SECONDS
    channels = {channel["cid"]: channel for channel in listed}
    documents = conversations.documents_of(list(channels), clients, deadline) if channels else {}
    stated = {cid: {one.team for one in about} for cid, about in documents.items()}
    wrong = [
        cid
        for cid, channel in channels.items()
        if not _is_left_out(cid, documents[cid], clients)
        and any(
            conversations.wrong_team_of(channel, team, settings.config.teams)
            for team in stated[cid] or {channel.get("team") or None}
        )
    ]
    if not wrong:
        return []
    members = {
        cid: conversations.members_of(state, clients, deadline)
        for cid, state in clients.stream.query_channels(wrong, deadline).items()
    }
    teams = _teams_of({one for some in members.values() for one in some}, clients, deadline)
    fixes = []
    for cid in wrong:
        by_field = conversations.team_by_field(channels[cid], settings.config.teams)
        obstacle = obstacle_of(
            by_field, stated[cid], {one: teams[one] for one in members.get(cid, []) if one in teams}
        )
        fixes.append(Fix(cid, channels[cid].get("team") or None, by_field, obstacle))
    return fixes


def _is_left_out(
    cid: str, documents: Sequence[conversations.Conversation], clients: Clients
) -> bool:
    conversation_id = conversations.conversation_id_of(cid, clients.settings)
    about = documents or [conversations.Conversation(conversation_id)]
    return all(conversations.is_left_out(one, clients.settings) for one in about)


def obstacle_of(
    team: str | None,
    of_documents: Collection[str | None],
    of_members: Mapping[str, Collection[str]],
) -> str:
    """Why it is not clear that a channel is of ``team``, which its custom field states."""
    if team is None:
        return "the channel's field is missing"
    if others := sorted(other or "no team" for other in of_documents if other != team):
        return f"its document says {', '.join(others)}"
    if not of_members:
        return "it has no members"
    outside = [member for member, teams in of_members.items() if team not in teams]
    more = f" and {len(outside) - _MOST_NAMED} more" if len(outside) > _MOST_NAMED else ""
    return f"not of {team}: {', '.join(outside[:_MOST_NAMED])}{more}" if outside else ""


def _teams_of(
    stream_ids: Collection[str], clients: Clients, deadline: float
) -> dict[str, list[str]]:
    """The teams that Firebase states, by Stream id. Service users are left out: they have none."""
    settings = clients.settings
    people = set(stream_ids) - set(settings.config.stream.service_users)
    keys = {one: key for one in people if (key := settings.key(one))}
    teams: dict[str, list[str]] = {one: [] for one in people}
    for batch in batches(sorted(keys)):
        some = [keys[one] for one in batch]
        states = read_documents(some, clients, deadline, of=("user", "company", "entry"))
        accounts = read_accounts(some, clients.auth)
        for one in batch:
            state = replace(states[keys[one]], account=accounts.get(keys[one]))
            teams[one] = users.teams_of(state, settings.config)
    return teams


def _print_fixes(fixes: Sequence[Fix]) -> None:
    if fixes:
        columns = ("channel", "in Stream", "by its field", "verdict")
        rows = (
            (one.cid, one.actual or "", one.team or "", one.obstacle or "clear") for one in fixes
        )
        print_table(columns, rows)


@contextmanager
def _shown(what: str, total: int | None = None) -> Iterator[tuple[Progress, Wait]]:
    """A progress bar: what advances it, and what waits for a rate limit meanwhile."""
    columns = (bar.SpinnerColumn(), bar.TextColumn("{task.description}"), bar.MofNCompleteColumn())
    with bar.Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(what, total=total)

        def advance(count: int) -> None:
            progress.update(task, advance=count)

        def wait(seconds: int) -> None:
            progress.update(task, description=f"waiting {seconds} s for Stream's rate limit")
            time.sleep(seconds)
            progress.update(task, description=what)

        yield advance, wait
