"""What survives the server's process: its state in a file, given with ``--data``.

The file is an SQLite database of one row per user, channel, message, setting and so on. After each
call that may change something, the whole state is compared with what was written before, and what
differs is written in one transaction, before anybody hears of the call: neither its answer nor its
events come first. So what a kill interrupts has happened as a whole or not at all.

Not kept: what is about this process (connections, the logs of calls and deliveries, the use of
rate limits) and what makes it misbehave on purpose (faults, changed limits, the options of
webhooks). Switches are kept, because some are settings of Stream's app.
"""

from __future__ import annotations

import json
import sqlite3
from copy import deepcopy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .state import State

APPLICATION_ID = 0x53747265  # "Stre"
VERSION = 1
"""Of the shapes of what is kept: raise it when one of them changes."""

NOT_KEPT = {
    "limits",
    "webhooks",
    "connections",
    "caller",
    "unknown_to_channels_until",
    "faults",
    "requests",
    "bodies",
    "request_count",
    "resets",
    "data",
}
NEW = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE entries (part TEXT, key TEXT, value TEXT, PRIMARY KEY (part, key));
    PRAGMA application_id = {APPLICATION_ID};
    PRAGMA user_version = {VERSION};
    COMMIT;
"""
MESSAGES_OF = "messages of "
MISSING = object()

Entries = dict[Any, Any]


class DataError(Exception):
    """The file cannot be used; the message says why. It is as it was."""


class Data:
    def __init__(self, path: str) -> None:
        """Raises DataError if the file is in use, or holds anything else than such data."""
        self._path = path
        self._written: dict[str, Entries] = {}
        """By part, what is in the file."""
        try:
            # No other process can use the file until this one ends, however it ends.
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            is_new = self._is_new()
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            if is_new:
                self._database.executescript(NEW)
        except sqlite3.Error as error:
            raise DataError(f"{path} {explained(error)}") from None

    def _is_new(self) -> bool:
        """Raises DataError if it is neither new nor such data."""
        application = self._value("PRAGMA application_id")
        version = self._value("PRAGMA user_version")
        if (
            not application
            and not version
            and not self._value("SELECT count(*) FROM sqlite_schema")
        ):
            return True
        if application != APPLICATION_ID:
            raise DataError(f"{self._path} holds no data of a local Stream server")
        if version != VERSION:
            raise DataError(
                f"{self._path} is of version {version}, this server reads version {VERSION} only"
            )
        if (problem := self._value("PRAGMA quick_check(1)")) != "ok":
            raise DataError(f"{self._path} is broken: {' '.join(problem.split())}")
        return False

    def _value(self, query: str) -> Any:
        return self._database.execute(query).fetchone()[0]

    def load(self, state: State) -> None:
        """Fills a state that is as new. Raises DataError if what is there can't be understood."""
        # The channels before their messages.
        query = "SELECT part, key, value FROM entries ORDER BY part LIKE ?, rowid"
        try:
            for part, key, value in self._database.execute(query, (f"{MESSAGES_OF}%",)):
                put(state, part, key_of(key), json.loads(value))
        except (sqlite3.Error, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"{self._path} is broken: {reason}") from None
        self._written = deepcopy(parts(state))
        for user in state.users.values():
            user["online"] = False

    def save(self, state: State) -> None:
        """Writes what is not as it was written last. Raises DataError, with nothing written."""
        found = parts(state)
        gone, changed = [], []
        for part in {**found, **self._written}:
            old, new = self._written.get(part, {}), found.get(part, {})
            if old == new:
                continue  # This looks at most of the state, and is much faster than what follows.
            gone += [(part, key) for key in old.keys() - new.keys()]
            changed += [
                (part, key, value) for key, value in new.items() if old.get(key, MISSING) != value
            ]
        if not gone and not changed:
            return
        try:
            self._write(gone, changed)
        except sqlite3.Error as error:
            raise DataError(f"{self._path} cannot be written: {error}") from None
        for part, key in gone:
            del self._written[part][key]
        for part, key, value in changed:
            self._written.setdefault(part, {})[key] = deepcopy(value)

    def _write(self, gone: list[tuple[str, Any]], changed: list[tuple[str, Any, Any]]) -> None:
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "DELETE FROM entries WHERE part = ? AND key = ?",
                [(part, json.dumps(key)) for part, key in gone],
            )
            # A changed row keeps its place, as a changed entry of a dict does.
            self._database.executemany(
                "INSERT INTO entries VALUES (?, ?, ?)"
                " ON CONFLICT (part, key) DO UPDATE SET value = excluded.value",
                [(part, json.dumps(key), json.dumps(value)) for part, key, value in changed],
            )

    def close(self) -> None:
        self._database.close()


def parts(state: State) -> dict[str, Entries]:
    """All that is kept: the fields of the state, and beside them the messages of each channel.

    A part of their own, because otherwise every message would write all of its channel.
    """
    found: dict[str, Any] = {
        field.name: getattr(state, field.name)
        for field in fields(state)
        if field.name not in NOT_KEPT
    }
    for name, part in found.items():
        if isinstance(part, set):
            found[name] = dict.fromkeys(part)
    # As text, because to Python 1 equals True. Else there is a time of the last change, too.
    found["app"] = {name: json.dumps(value) for name, value in state.app.items()}
    found["channels"] = {cid: {**one, "messages": {}} for cid, one in state.channels.items()}
    for cid, record in state.channels.items():
        found[MESSAGES_OF + cid] = record["messages"]
    return found


def put(state: State, part: str, key: Any, value: Any) -> None:
    if part.startswith(MESSAGES_OF):
        state.channels[part.removeprefix(MESSAGES_OF)]["messages"][key] = value
    elif part == "app":
        state.app[key] = json.loads(value)
    elif isinstance(target := getattr(state, part), set):
        target.add(key)
    else:
        target[key] = value


def key_of(text: str) -> Any:
    key = json.loads(text)
    return tuple(key) if isinstance(key, list) else key


def explained(error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return "is in use by another process"
    return f"cannot be used: {error}"
