"""The functions that an app's own sources declare, as far as a text tells."""

import re
from collections.abc import Mapping
from pathlib import Path
from posixpath import normpath

from . import firebase_json
from .files import walk

_SUFFIXES = (".js", ".cjs", ".mjs", ".ts", ".mts", ".cts", ".py")
_IN_JAVASCRIPT = (
    re.compile(r"\bexports\.(\w+)\s*="),
    re.compile(r"\bexport\s+(?:const|let|var|(?:async\s+)?function)\s+(\w+)"),
)
_LISTS = re.compile(r"\bexport\s*\{([^}]*)\}|\bmodule\.exports\s*=\s*\{([^{}]*)\}")
_IN_PYTHON = (re.compile(r"^(?:async )?def (\w+)\(", re.MULTILINE),)
_COMMENT = re.compile(r"/\*.*?\*/|(?<![:'\"])//[^\n]*", re.DOTALL)


def ours(main: bytes) -> frozenset[str]:
    """The names of our functions: in ``main.py`` these alone have a capital letter."""
    return frozenset(re.findall(r"^def ([a-z]+[A-Z]\w*)\(", main.decode(), re.MULTILINE))


def same_names(root: Path, firebase: str, names: frozenset[str]) -> Mapping[str, str]:
    """The file that declares it, by name of a function of theirs that is one of ``names`` too.

    It finds what is exported by name, as ``exports.x =``, ``export const x``, ``export {x}`` or
    Python's ``def x``; not what code puts together. Compiled files count as well. A codebase with
    a prefix deploys other names.
    """
    found: dict[str, str] = {}
    for codebase in firebase_json.codebases(firebase_json.parsed(firebase)):
        if codebase.get("codebase") == firebase_json.CODEBASE or codebase.get("prefix"):
            continue
        for file in walk(root / normpath(codebase.get("source") or "functions")):
            text = file.read_text(errors="replace") if file.suffix in _SUFFIXES else ""
            for name in sorted(declared(text, file.suffix) & names):
                found.setdefault(name, str(file.relative_to(root)))
    return found


def declared(text: str, suffix: str) -> frozenset[str]:
    """What a source exports, by its text."""
    if suffix == ".py":
        return frozenset(name for one in _IN_PYTHON for name in one.findall(text))
    text = _COMMENT.sub("", text)
    found = {name for one in _IN_JAVASCRIPT for name in one.findall(text)}
    for lists in _LISTS.findall(text):
        for item in "".join(lists).split(","):
            words = re.findall(r"\w+", item.split(":")[0])  # `x`, `y as x`, or `x: y`
            found |= set(words[-1:])
    return frozenset(found)
