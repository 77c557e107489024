"""An app's ``firestore.rules`` with ours between markers in them. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...config import SERVER_ONLY, Config
from ...errors import ChatsyncError
from ..rules import SECTIONS, rules_for

BEGIN = "// chatsync begins: `chatsync init` writes what stands from here to `chatsync ends`."
END = "// chatsync ends"

_TEXT_OR_COMMENT = re.compile(
    r"""'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL
)
_SEGMENT = r"(?:\{[^{}]*\}|[^\s/{}]+)"
_SEGMENTS = re.compile(f"/({_SEGMENT})")
# A semicolon may be missing after a condition, and a map may be in it.
_TOKEN = re.compile(
    rf"\bmatch\s*(?P<path>(?:/\s*{_SEGMENT}\s*)+)\{{"
    r"|\bfunction\s+(?P<function>\w+)\s*\([^)]*\)\s*\{"
    r"|(?P<allow>\ballow\s+\w+(?:\s*,\s*\w+)*(?P<condition>\s*:.*?)?"
    r"(?=\s*(?:;|[{}]|\b(?:allow|match|function)\b)))"
    r"|(?P<close>\})|\{",
    re.DOTALL,
)
_DOCUMENTS = re.compile(r"/databases/([^/]+)/documents")
_NEVER = re.compile(r"\s*:\s*if\s*(?:\(\s*false\s*\)|\bfalse)\s*")
_FUNCTION = re.compile(r"\bfunction (\w+)")
_VERSION_2 = re.compile(r"""\brules_version\s*=\s*['"]2['"]""")
_OURS = re.compile(rf"\r?\n[ \t]*{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


class RulesRefused(ChatsyncError):
    """Ours cannot stand in these rules; the message says why, and what to do."""


@dataclass(frozen=True)
class Spliced:
    """Rules with ours in them."""

    text: str
    left_out: tuple[str, ...] = ()
    """Sections of the settings whose collections have a ``match`` of the app's own."""


@dataclass(frozen=True)
class _Match:
    """A ``match`` block in a database's documents."""

    path: tuple[str, ...]
    """Its segments, such as ``users`` and ``{uid}``; none for the documents themselves."""

    closes: int
    """The place of its last brace."""

    conditions: tuple[str, ...]
    """Of what it allows, not of what blocks in it allow; empty for "always"."""

    def covers(self, document: str) -> bool:
        """Whether it allows anything about a document."""
        opens = any(not _NEVER.fullmatch(condition) for condition in self.conditions)
        return opens and _fits(self.path, document.split("/"))

    @property
    def names_something(self) -> bool:
        """Whether it is of certain collections, not of all."""
        return not all(segment.startswith("{") for segment in self.path)


def _fits(pattern: Sequence[str], names: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0].endswith("=**}"):
        return any(_fits(pattern[1:], names[n:]) for n in range(len(names) + 1))
    if not names:
        return False
    return (pattern[0].startswith("{") or pattern[0] == names[0]) and _fits(pattern[1:], names[1:])


def without_ours(text: str) -> str:
    """The rules as they were before ours were spliced in."""
    return _OURS.sub("", text)


def with_ours(theirs: str, config: Config, trust_wildcards: bool = False) -> Spliced:
    """The app's rules with ours at the end of its documents. ``theirs`` has none of ours yet.

    Where a ``match`` of theirs allows something in a collection of ours, theirs stays, and ours is
    left out. Raises RulesRefused if the app's rules open what no app may read or write. With
    ``trust_wildcards`` somebody has looked at those that name no collection.
    """
    if "\r\n" in theirs:
        spliced = with_ours(theirs.replace("\r\n", "\n"), config, trust_wildcards)
        return replace(spliced, text=spliced.text.replace("\n", "\r\n"))
    if not _VERSION_2.search(masked(theirs, "//", "/*")):
        raise RulesRefused(
            "ours need `rules_version = '2';` in the first line. In version 1 a wildcard such as"
            " {document=**} matches less, so read your rules again before you change it"
        )
    matches, functions = _read(theirs, config.firestore.database)
    documents = next((one for one in matches if one.path == ()), None)
    if documents is None:
        raise RulesRefused("there is no `match /databases/{database}/documents`")
    _refuse_open(matches, trust_wildcards)
    collections = {section: getattr(config, section).collection for section in SECTIONS}
    left_out = tuple(
        section
        for section, collection in collections.items()
        if any(one.names_something and one.covers(f"{collection}/x") for one in matches)
    )
    body = _body(rules_for(config), [collections[section] for section in left_out])
    for name in functions & set(_FUNCTION.findall(body)):
        body = re.sub(rf"\b{name}\(", f"chatsync_{name}(", body)
    if not body:
        return Spliced(theirs, left_out)
    before = theirs[: documents.closes].rstrip()
    space = theirs[len(before) : documents.closes]
    block = f"\n    {BEGIN}\n{body}\n    {END}"
    space = space if "\n" in space else "\n  "  # else the brace would be in our comment
    return Spliced(before + block + space + theirs[documents.closes :], left_out)


def _refuse_open(matches: Iterable[_Match], trust_wildcards: bool) -> None:
    closed = [f"{collection}/x" for collection in SERVER_ONLY] + ["audits/x/findings/x"]
    for one in matches:
        opened = [path.split("/")[0] for path in closed if one.covers(path)]
        if not opened or (trust_wildcards and not one.names_something):
            continue
        path = "/" + "/".join(one.path)
        if one.names_something:
            raise RulesRefused(
                f"`match {path}` opens `{opened[0]}`, which is a collection of chatsync's own, and"
                " for no app: an app that has one of this name cannot install chatsync beside it"
            )
        raise RulesRefused(
            f"`match {path}` opens every collection to whom its condition lets in, also"
            f" `{'`, `'.join(dict.fromkeys(opened))}`. Name your collections instead; or, if only"
            " your administrators pass it, say --trust-wildcards"
        )


def _body(ours: str, left_out: Iterable[str]) -> str:
    """What stands within our documents, without some collections, and functions for these alone."""
    lines = ours.splitlines()
    first = next(n for n, line in enumerate(lines) if "/documents {" in line) + 1
    chunks, depth = [""], 0
    for line in lines[first:-2]:
        if not line and not depth:
            chunks.append("")
            continue
        code = masked(line)
        depth += code.count("{") - code.count("}")
        chunks[-1] += line + "\n"
    kept = [
        one for one in chunks if not any(f"\n    match /{c}/{{" in f"\n{one}" for c in left_out)
    ]
    while len(kept) < len(chunks) and any(_is_unused(one, kept) for one in kept):
        kept = [one for one in kept if not _is_unused(one, kept)]
    return "\n".join(kept).rstrip("\n")


def _is_unused(chunk: str, chunks: Iterable[str]) -> bool:
    name = re.search(r"^    function (\w+)\(", chunk, re.MULTILINE)
    if not name:
        return False
    return not any(re.search(rf"\b{name[1]}\(", one) for one in chunks if one != chunk)


def _read(text: str, name: str) -> tuple[list[_Match], set[str]]:
    """Every ``match`` in rules that concerns a database, and the names of all functions."""
    found: list[_Match] = []
    functions: set[str] = set()
    blocks: list[tuple[str, list[str]]] = []
    """Those around a token: what each adds to the path, and the conditions in it."""
    for token in _TOKEN.finditer(masked(text)):
        if token["allow"]:
            if blocks:
                blocks[-1][1].append(token["condition"] or "")
        elif token["close"]:
            path = "".join("".join(path for path, _ in blocks).split())
            added, conditions = blocks.pop() if blocks else ("", [])
            if added and (database := _DOCUMENTS.match(path)):
                segments = tuple(_SEGMENTS.findall(path[database.end() :]))
                if database[1].startswith("{") or database[1] == name:
                    found.append(_Match(segments, token.start(), tuple(conditions)))
        else:
            functions |= {token["function"]} - {None}
            blocks.append((token["path"] or "", []))
    return found, functions


def masked(rules: str, *kinds: str) -> str:
    """Rules with spaces in place of comments, and of texts unless ``kinds`` names only others."""

    def mask(found: re.Match[str]) -> str:
        if kinds and not found[0].startswith(kinds):
            return found[0]
        return re.sub(r"[^\n]", " ", found[0])

    return _TEXT_OR_COMMENT.sub(mask, rules)
