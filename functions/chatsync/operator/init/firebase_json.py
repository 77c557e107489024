"""``firebase.json`` and the indexes, with our part in them or without it. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from posixpath import normpath
from typing import Any

from ...config import Config
from ...errors import ChatsyncError
from . import json_text
from .json_text import Node

CODEBASE = "chatsync"
RUNTIME = "python313"
RECORD = ".chatsync.json"
IGNORED = (
    *("venv", "**/__pycache__/**", "**/.*_cache/**", ".env.local", ".env.example"),
    *(".secret.local", ".gitignore", RECORD, "*-debug.log"),
)
"""Files of the folder that no deployment uploads."""


_EXPIRES = "chatsyncExpireAt"
_EXPIRE = {
    "audits": "expireAt",
    "budgets": _EXPIRES,
    "counted_messages": "expireAt",
    "findings": "expireAt",
    "stream_users": _EXPIRES,
}


class ProjectRefused(ChatsyncError):
    """The project is of a shape into which we cannot install; the message says what to do."""


@dataclass(frozen=True)
class Named:
    """The files that ``firebase.json`` names for a database."""

    rules: str = ""
    indexes: str = ""


def parsed(text: str, name: str = "firebase.json") -> Node:
    """Raises ProjectRefused, for what the Firebase CLI refuses too."""
    try:
        root = json_text.parse(text)
    except ValueError as error:
        raise ProjectRefused(f"{name} cannot be read: {error}") from None
    if not isinstance(root.items, dict):
        raise ProjectRefused(f"{name} is no object of JSON")
    return root


def codebases(root: Node) -> list[dict[str, Any]]:
    """What stands in ``functions``, as a list. Raises ProjectRefused."""
    found = [node.value for node in _entries(root, "functions")]
    for one in found:
        for key in ("source", "codebase"):
            if not isinstance(one.get(key, ""), str):
                raise ProjectRefused(f"firebase.json: the {key} of functions must be a text")
    return found


def source_of(text: str) -> str:
    """The folder of our codebase; empty if there is none."""
    found = [one for one in codebases(parsed(text)) if one.get("codebase") == CODEBASE]
    return normpath(found[0].get("source", "")) if found else ""


def emulator_address(text: str, name: str, port: int) -> str:
    """Where the file puts an emulator, as host:port; ``port`` if it says none."""
    stated = parsed(text).value.get("emulators")
    one = stated.get(name) if isinstance(stated, dict) else None
    one = one if isinstance(one, dict) else {}
    return f"{one.get('host') or '127.0.0.1'}:{one.get('port') or port}"


def databases(text: str) -> list[str]:
    """The Firestore databases that are named; ``(default)`` among them where none is said."""
    entries = [node.value for node in _entries(parsed(text), "firestore")]
    return [one.get("database") or "(default)" for one in entries if "target" not in one]


def paths(text: str) -> list[str]:
    """All files of rules and indexes that are named."""
    entries = [node.value for node in _entries(parsed(text), "firestore")]
    return [normpath(one[key]) for one in entries for key in ("rules", "indexes") if one.get(key)]


def named(text: str, database: str) -> Named:
    entry = _of_database(parsed(text), database)
    stated = entry.value if entry else {}
    rules, indexes = (stated.get(key) or "" for key in ("rules", "indexes"))
    return Named(rules and normpath(rules), indexes and normpath(indexes))


def with_codebase(text: str, source: str) -> str:
    """With our functions as the last codebase. Raises ProjectRefused."""
    root = parsed(text)
    for other in codebases(root):
        if other.get("codebase") == CODEBASE:
            raise ProjectRefused(
                "firebase.json has a codebase `chatsync` that `chatsync init` did not make"
            )
        theirs = normpath(other.get("source") or "functions")
        if theirs == "." or f"{source}/".startswith(f"{theirs}/"):
            raise ProjectRefused(
                f"{source} would be within {theirs}, the source of other functions, and uploaded"
                " with them: name another folder with --source"
            )
    ours = {"source": source, "codebase": CODEBASE, "runtime": RUNTIME, "ignore": list(IGNORED)}
    return _with_entry(text, "functions", ours)


def with_firestore(text: str, database: str, rules: str, indexes: str) -> str:
    """With a file of rules and one of indexes for a database, where it names none."""
    root = parsed(text)
    if _of_database(root, database) is None:
        files = {"rules": rules, "indexes": indexes}
        if "firestore" not in root.value and database == "(default)":
            return json_text.append(text, root, files, "firestore")
        for node in _entries(root, "firestore"):
            if "database" not in node.value and "target" not in node.value:
                text = json_text.append(text, node, "(default)", "database")
        return _with_entry(text, "firestore", {"database": database, **files})
    for key, path in (("rules", rules), ("indexes", indexes)):
        entry = _of_database(parsed(text), database)
        if entry and not entry.value.get(key):
            text = json_text.append(text, entry, path, key)
    return text


def without(text: str, gone: Collection[str], before: str) -> str:
    """Without our codebase, and without the names of files that are gone. What was a single
    object ``before``, and still is the only one, is so again."""
    root = parsed(text)
    for node in _entries(root, "functions"):
        if node.value.get("codebase") == CODEBASE:
            text = _without_entry(text, root, "functions", node)
    for path in gone:
        root = parsed(text)
        for node in _entries(root, "firestore"):
            named = [one for key in ("rules", "indexes") if (one := _members(node).get(key))]
            ours = [one for one in named if normpath(one.value) == path]
            if ours and len(named) > 1:
                text = json_text.remove(text, node, ours[0])
            elif ours:
                text = _without_entry(text, root, "firestore", node)
    for key in ("functions", "firestore"):
        was, now = (_members(parsed(one)).get(key) for one in (before, text))
        if was and now and now.value == [was.value]:
            text = text[: now.start] + before[was.start : was.end] + text[now.end :]
    return text


def policies(config: Config) -> list[dict[str, Any]]:
    """What Firestore is to know of our fields that expire."""
    conversations = config.conversations.collection.rpartition("/")[2]
    return [
        {"collectionGroup": name, "fieldPath": path, "ttl": True, "indexes": []}
        for name, path in sorted({**_EXPIRE, conversations: _EXPIRES}.items())
    ]


def with_policies(text: str, name: str, config: Config) -> tuple[str, list[str]]:
    """Indexes with our TTL policies; and the fields for which theirs says something else."""
    differing = []
    for policy in policies(config):
        root = parsed(text, name)
        if not isinstance(root.value.get("fieldOverrides", []), list):
            raise ProjectRefused(f"{name}: fieldOverrides must be a list")
        if "fieldOverrides" not in root.value:
            text = json_text.append(text, root, [policy], "fieldOverrides")
            continue
        same = [one for one in root.value["fieldOverrides"] if _field(one) == _field(policy)]
        if not same:
            overrides = _members(root)["fieldOverrides"]
            text = json_text.append(text, overrides, policy)
        elif not same[0].get("ttl"):
            differing.append(".".join(_field(policy)))
    return text, differing


def without_policies(text: str, name: str, before: str) -> str:
    """Without the policies of ours that ``before`` did not have."""
    had = [_field(one) for one in parsed(before, name).value.get("fieldOverrides", [])]
    while True:
        overrides = _members(parsed(text, name)).get("fieldOverrides")
        ours = [
            node
            for node in (overrides.children if overrides else [])
            if node.value.get("ttl") and _field(node.value) not in had and _is_ours(node.value)
        ]
        if not overrides or not ours:
            return text
        text = json_text.remove(text, overrides, ours[0])


def _is_ours(override: dict[str, Any]) -> bool:
    return override["fieldPath"] == _EXPIRES or _field(override) in _EXPIRE.items()


def _field(override: dict[str, Any]) -> tuple[str, str]:
    return str(override.get("collectionGroup")), str(override.get("fieldPath"))


def _members(node: Node) -> dict[str, Node]:
    return node.items if isinstance(node.items, dict) else {}


def _entries(root: Node, key: str) -> list[Node]:
    """What stands under a key, which may be one object or a list of them."""
    stated = _members(root).get(key)
    if stated is None:
        return []
    entries = stated.children if isinstance(stated.value, list) else [stated]
    if not all(isinstance(one.value, dict) for one in entries):
        raise ProjectRefused(f"`{key}` in firebase.json is neither an object nor a list of objects")
    return entries


def _of_database(root: Node, database: str) -> Node | None:
    for node in _entries(root, "firestore"):
        if "target" not in node.value and (node.value.get("database") or "(default)") == database:
            return node
    return None


def _with_entry(text: str, key: str, entry: dict[str, Any]) -> str:
    """With one more entry under a key; of a single object it makes a list."""
    root = parsed(text)
    stated = _members(root).get(key)
    if stated is None:
        return json_text.append(text, root, [entry], key)
    if isinstance(stated.value, dict):
        text = json_text.in_list(text, stated)
        stated = _members(parsed(text))[key]
    return json_text.append(text, stated, entry)


def _without_entry(text: str, root: Node, key: str, node: Node) -> str:
    stated = _members(root)[key]
    if isinstance(stated.value, list) and len(stated.children) > 1:
        return json_text.remove(text, stated, node)
    return json_text.remove(text, root, stated)
