"""The command ``rules``, and what ``doctor`` says of ``firestore.rules``."""

from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer

from .. import config as config_module
from ..config import Config
from ..errors import ChatsyncError
from .init import firebase_json, rules_text
from .options import FINDINGS, IN_SYNC, Refused, writing
from .rules import rules_for
from .terminal import print_line, stderr

MOST_STREAM_FIELDS = 6
"""Fields for which rules have room however an app names things, as the tests show: Firestore
evaluates 1,000 expressions in a request, and denies what needs more."""

_NOT_SEEN = "what is deployed cannot be told from here"


class _Unreadable(ChatsyncError):
    """There is no file to compare with; the message says why."""


def rules(
    out: Annotated[
        Path | None, typer.Option(help="Write this file; with --check, read it.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only compare, with --out or else the file that firebase.json names."
        ),
    ] = False,
) -> int:
    """Print firestore.rules for the names in chatsync.toml. Needs no project and no network."""
    project = config_module.project_of()
    overlays = sorted(one.name for one in config_module.FOLDER.glob("chatsync.*.toml"))
    if overlays and not project:
        left_out = f"{', '.join(overlays)}: left out, since no --project is named."
        stderr.print(left_out, soft_wrap=True)
    config = config_module.load(project)
    fields = [one for one in config.users.stream_fields.values() if not one.startswith("claims:")]
    if len(fields) > MOST_STREAM_FIELDS:
        problem = f"users.stream_fields names {len(fields)} paths, {MOST_STREAM_FIELDS} are safe"
        todo = "try a document that has them all, as docs/install.md says of rules"
        stderr.print(f"{problem}: {todo}.", soft_wrap=True)
    text = rules_for(config)
    if check:
        return _check(out, text, config)
    if out:
        with writing(out):
            if out.is_file() and rules_text.END in _read(out):
                told = "has rules of your own: `chatsync init` writes ours beside them"
                raise Refused(f"{out} {told}.")
            out.write_text(text)
        print_line(f"Wrote {out}.")
    else:
        print(text, end="")
    return IN_SYNC


def _check(file: Path | None, text: str, config: Config) -> int:
    try:
        file = file or _file_of(config.firestore.database)
        found = _read(file)
        if rules_text.END in found:
            is_right, told = _of_spliced(found, str(file), config)
            print_line(f"{told}.")
            return IN_SYNC if is_right else FINDINGS
        difference = _difference(found, text)
    except _Unreadable as error:
        print_line(f"{error}.")
        return FINDINGS
    print_line(f"{file} {difference or 'is as chatsync.toml asks for'}.")
    return FINDINGS if difference else IN_SYNC


def verdict(config: Config) -> tuple[bool, str]:
    """Whether the local file of rules has what ``rules`` writes, and that in words."""
    try:
        text = rules_for(config)
        file = _file_of(config.firestore.database)
        found = _read(file)
    except ChatsyncError as error:
        return False, f"{error}; {_NOT_SEEN}"
    if rules_text.END in found:
        return _of_spliced(found, file.name, config)
    if found == text:
        return True, f"{file.name} is as chatsync.toml asks for; {_NOT_SEEN}"
    if _has(found, text):
        others = "among rules of your own, which may allow more"
        return True, f"{file.name} has what chatsync.toml asks for, {others}; {_NOT_SEEN}"
    return False, f"{file.name} {_difference(found, text)}; {_NOT_SEEN}"


def _of_spliced(found: str, name: str, config: Config) -> tuple[bool, str]:
    """The same of rules into which `chatsync init` put ours."""
    try:
        wanted = rules_text.with_ours(rules_text.without_ours(found), config, trust_wildcards=True)
    except ChatsyncError as error:
        return False, f"{name}: {error}; {_NOT_SEEN}"
    if wanted.text != found:
        return False, f"{name} is not as chatsync.toml asks for: run `chatsync init`; {_NOT_SEEN}"
    left_out = f", but for {', '.join(wanted.left_out)}, which have rules of your own"
    stands = f"{name} has what chatsync.toml asks for{left_out if wanted.left_out else ''}"
    return True, f"{stands}; {_NOT_SEEN}"


def _file_of(database: str) -> Path:
    """The file that firebase.json, above the functions' folder, names for a database."""
    above = config_module.FOLDER.parents
    root = next((one for one in above if (one / "firebase.json").exists()), above[0])
    if rules := firebase_json.named(_read(root / "firebase.json"), database).rules:
        return root / rules
    raise _Unreadable(f"{root / 'firebase.json'} names no rules for database {database}")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError) as error:
        raise _Unreadable(f"{file} cannot be read: {type(error).__name__}") from None


def _difference(found: str, wanted: str) -> str:
    """Where a file begins to differ, in words; empty if it doesn't."""
    if found == wanted:
        return ""
    pairs = zip_longest(found.splitlines(), wanted.splitlines())
    line = next(
        (number for number, (one, other) in enumerate(pairs, 1) if one != other), "the last"
    )
    return f"differs from line {line} on: `chatsync rules` prints what it should be"


def _has(found: str, text: str) -> bool:
    """Whether ``found`` has what ``text`` says of a database's documents, however indented."""
    ours, theirs = (
        [line.strip() for line in rules_text.masked(one, "//", "/*").splitlines()]
        for one in (text, found)
    )
    start = next(place for place, line in enumerate(ours) if "/databases/" in line) + 1
    inside = [line for line in ours[start:-2] if line]
    return "\n".join(["", *inside, ""]) in "\n".join(["", *filter(None, theirs), ""])
