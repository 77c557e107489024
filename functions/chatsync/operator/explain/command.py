"""The command ``explain``: it reads one subject on all sides, and says what is wrong."""

import shutil
from collections.abc import Sequence
from typing import Annotated

import typer

from ...as_json import json_value
from ...errors import Paused
from .. import options
from ..options import FAILED, FINDINGS, IN_SYNC, AsJson, Refused
from ..terminal import print_json
from .explanation import Explanation, verdict_of
from .lines import NARROWEST, WIDEST, lines_of, plain, wrapped
from .reading import Reader
from .subjects import explain_one, explain_pair


def explain(
    subject: Annotated[
        str, typer.Argument(help="A uid, company:ID, a conversation's id, or a channel, type:id.")
    ],
    other: Annotated[
        str, typer.Argument(help="Another person: why can these two not chat?", show_default=False)
    ] = "",
    personal: Annotated[
        bool,
        typer.Option(
            "--personal",
            help="With --json: also e-mail, phone, and the app's own fields, all that is held of a"
            " person.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Tell what is known of a user, a conversation, or two people, and what to do."""
    if personal and not as_json:
        raise Refused("--personal goes with --json.")
    if not subject:
        raise Refused("Of whom? The subject is empty.")
    clients = options.connect()
    since = clients.pause.since(0)
    reader = Reader(clients, personal)
    found = [explain_pair(subject, other, reader)] if other else explain_one(subject, reader)
    notes = [str(Paused(since))] if since else []
    if reader.stream_failure:
        notes.append(f"Stream's side is unknown. {reader.stream_failure}")
    if len(found) > 1:
        named = " and ".join(one.title for one in found)
        notes.append(f"{plain(subject)} names {len(found)} things: {named}.")
    if as_json:
        report = {
            "subject": [one for one in (subject, other) if one],
            "pausedSince": since,
            "streamFailure": reader.stream_failure or None,
            "found": [one.data for one in found],
        }
        print_json(json_value(report))
    else:
        # Not by rich, which would wrap a line anew.
        print("\n".join(_text(found, notes, reader, bool(other))).rstrip())
    if any(one.problems for one in found):
        return FINDINGS
    return FAILED if reader.stream_failure else IN_SYNC


def _text(
    found: Sequence[Explanation], notes: Sequence[str], reader: Reader, is_two: bool
) -> list[str]:
    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
    lines = [line for note in notes for line in [*wrapped(note, width), ""]]
    for one in found:
        lines += wrapped(_headline(one, bool(reader.stream_failure), is_two), width)
        lines += ["", *lines_of(one, width), ""]
    if any("`" in problem.sentence.do for one in found for problem in one.problems):
        command = f"`chatsync --project {reader.clients.firestore.project}`"
        lines += wrapped(f"Commands go after {command}.", width)
    return lines


def _headline(one: Explanation, is_unsure: bool, is_two: bool) -> str:
    seen = ", as far as it can be seen" if is_unsure and not one.problems else ""
    if not is_two:
        return f"{one.title}: {verdict_of(one.problems)}{seen}."
    if not one.problems:
        return f"{one.title} can chat{seen}."
    return f"{one.title} cannot chat: {verdict_of(one.problems, 'in the way')}."
