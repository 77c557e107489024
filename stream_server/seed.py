"""What an empty server is filled with: a JSON file, given with ``--seed``.

    {
      "users": [{"id": "ann", "name": "Ann"}, {"id": "bob"}],
      "channels": [
        {
          "type": "messaging",
          "id": "general",
          "created_by_id": "ann",
          "members": ["ann", "bob"],
          "name": "General",
          "messages": [{"user_id": "ann", "text": "Hello"}]
        }
      ]
    }

Each user is what UpdateUsers takes, each channel the ``data`` of GetOrCreateChannel with its type
and id, each message what SendMessage takes: they are made by these operations, so that nothing can
be here that Stream could not have. ``users``, ``channels`` and ``messages`` can be left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .channel_creation import get_or_create_channel
from .errors import StreamError
from .messages import send_message
from .payloads import json_object
from .state import Caller, Json, State
from .users import update_users


class SeedError(Exception):
    """The message says what in the file is wrong, and why."""


def seed(state: State, path: str) -> None:
    """Fills a state without users. Raises SeedError; what came before the error is there then."""
    try:
        given = json_object(Path(path).read_bytes())
    except OSError as error:
        raise SeedError(f"{path}: {error.strerror}") from None
    except StreamError:
        raise SeedError(f"{path}: must be a JSON object") from None
    state.caller = Caller()
    try:
        refuse_unknown_fields(given, ("users", "channels"))
        for label, user in items(given, "users", ""):
            if not isinstance(user.get("id"), str):
                raise SeedError(f"{label}.id: is required")
            do(label, update_users, state, {}, {"users": {user["id"]: user}})
        for label, channel in items(given, "channels", ""):
            add_channel(state, label, channel)
    except SeedError as error:
        raise SeedError(f"{path}: {error}") from None


def add_channel(state: State, label: str, channel: Json) -> None:
    place = {}
    for name in ("type", "id"):
        if not isinstance(channel.get(name), str):
            raise SeedError(f"{label}.{name}: is required")
        place[name] = channel[name]
    if ":".join(place.values()) in state.channels:
        raise SeedError(f"{label}: this channel was there before")
    data = {key: value for key, value in channel.items() if key not in (*place, "messages")}
    do(label, get_or_create_channel, state, place, {"data": data})
    for message_label, message in items(channel, "messages", f"{label}."):
        do(message_label, send_message, state, place, {"message": message})


def items(given: Json, name: str, prefix: str) -> list[tuple[str, Json]]:
    """Each object of an array, with what to call it."""
    found = given.get(name, [])
    if not isinstance(found, list):
        raise SeedError(f"{prefix}{name}: must be an array")
    labelled = [(f"{prefix}{name}[{index}]", item) for index, item in enumerate(found)]
    for label, item in labelled:
        if not isinstance(item, dict):
            raise SeedError(f"{label}: must be an object")
    return labelled


def refuse_unknown_fields(given: Json, known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise SeedError(f"{name}: unknown field; known are {', '.join(known)}")


def do(label: str, operation: Any, state: State, params: Json, body: Json) -> None:
    try:
        operation(state, params, body)
    except StreamError as error:
        raise SeedError(f"{label}: {error.detail}") from None
