"""The last events of channels, for clients that missed them; see sync.py.

An event is kept as JSON, as it was told, by its time, its channel and its only reader, if it has
one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from . import timestamps
from .state import Json, State

MAX_EVENTS = 5_000
NOTIFICATIONS = ("notification.added_to_channel", "notification.removed_from_channel")


def remember(state: State, event: Json, readers: Iterable[str | None] = (None,)) -> None:
    text = json.dumps(event)
    for reader in readers:
        time = event["created_at"]
        while (time, event["cid"], reader) in state.events:
            time = timestamps.just_after(time)
        state.events[time, event["cid"], reader] = text
    while len(state.events) > MAX_EVENTS:
        oldest = next(iter(state.events))
        state.forgotten_events["until"] = oldest[0]
        del state.events[oldest]


def is_complete(state: State, since: str) -> bool:
    return state.forgotten_events.get("until", "") <= since


def missed(state: State, cids: set[str], user_id: str, since: str) -> Iterator[Json]:
    for (time, cid, reader), text in state.events.items():
        if time > since and cid in cids and reader in (None, user_id):
            yield json.loads(text)
