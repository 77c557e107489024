"""The functions that an app's own sources declare, as far as a text tells."""

import re
from collections.abc import Mapping
from pathlib import Path
from posixpath import normpath

from . import firebase_json
from .files import walk

_SUFFIXES = (".js", ".cjs", ".mjs", ".ts", ".mts", ".cts", ".py")
_IN_JAVASCRIPT = (
    re.compile(r"\bexports\s*\.\s*(\w+)\s*=(?!=)"),
    re.compile(r"\bexports\s*\[\s*['\"](\w+)['\"]\s*\]\s*=(?!=)"),
    re.compile(r"\bdefineProperty\(\s*exports\s*,\s*['\"](\w+)['\"]"),
    re.compile(r"\bexport\s+(?:const|let|var|(?:async\s+)?function\s*\*?)\s*(\w+)"),
)
_LIST = re.compile(r"\bexport\s*(?:(?:const|let|var)\s*)?\{|\bmodule\.exports\s*=\s*\{")
_IN_PYTHON = (
    re.compile(r"^(?:async )?def (\w+)\(", re.MULTILINE),
    re.compile(r"^(\w+)\s*(?::[^=\n]*)?=(?!=)", re.MULTILINE),
)
_IMPORTS = re.compile(r"^from\s+\S+\s+import\s+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_TEXT_OR_COMMENT = re.compile(
    r"""('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|//[^\n]*|/\*.*?(?:\*/|\Z)""",
    re.DOTALL,
)


def ours(main: bytes) -> frozenset[str]:
    """The names of our functions: in ``main.py`` these alone have a capital letter."""
    return frozenset(re.findall(r"^def ([a-z]+[A-Z]\w*)\(", main.decode(), re.MULTILINE))


def same_names(root: Path, firebase: str, names: frozenset[str]) -> Mapping[str, str]:
    """The file that declares it, by name of a function of theirs that is one of ``names`` too.

    It finds what is exported by name, as ``exports.x =``, ``export const x``, ``export {x}``,
    ``module.exports = {x}`` or Python's ``def x``, ``x =`` and ``import x``; not what ``export *``
    or code puts together. Compiled files count as well. A codebase with a prefix deploys other
    names.
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
        names = {name for one in _IN_PYTHON for name in one.findall(text)}
        return frozenset(names.union(*(_listed(found) for found in _IMPORTS.findall(text))))
    text = _TEXT_OR_COMMENT.sub(lambda found: found[1] or "", text)
    names = {name for one in _IN_JAVASCRIPT for name in one.findall(text)}
    lists = (_inside(text, found.end()) for found in _LIST.finditer(text))
    return frozenset(names.union(*map(_listed, lists)))


def _inside(text: str, start: int) -> str:
    """What stands in a pair of braces, without what is in further brackets."""
    depth, kept = 1, []
    for character in text[start:]:
        depth += (character in "{([") - (character in "})]")
        if depth == 0:
            break
        if depth == 1:
            kept.append(character)
    return "".join(kept)


def _listed(names: str) -> set[str]:
    """The names in ``x``, ``y as x`` or ``x: y``, with commas between them."""
    words = [re.findall(r"\w+", item.split(":")[0]) for item in names.split(",")]
    return {some[-1] for some in words if some}
