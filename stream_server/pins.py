"""Pinned messages. Every participant may pin, as members of Stream's messaging channels."""

from __future__ import annotations

from . import timestamps
from .membership import existing_channel
from .message_shapes import message_shapes, pinned_messages
from .paging import asked_page, page_of
from .payloads import json_object
from .permissions import refuse_unless_participant
from .reader import sees
from .state import Json, State

# Cursors of pinned messages have their own names in Stream.
CURSORS = {
    f"pinned_at_{name}": f"created_at_{name}"
    for name in ("before", "before_or_equal", "after", "after_or_equal", "around")
}


def changed_pin(pin: Json | None, fields: Json, user_id: str) -> Json | None:
    """The pin of a message after a call that says ``fields`` of it."""
    if "pinned" not in fields:
        return pin
    if not fields["pinned"]:
        return None
    old = pin or {"by": user_id, "at": timestamps.now(), "expires": None}
    times = {
        key: timestamps.parse(fields[name], name)
        for key, name in (("at", "pinned_at"), ("expires", "pin_expires"))
        if fields.get(name)
    }
    return {**old, **times}


def get_pinned_messages(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "ReadChannel")
    payload = json_object(params.get("payload") or "{}")
    by_pin = {CURSORS.get(name, name): value for name, value in payload.items()}
    seen = [one for one in pinned_messages(record) if sees(record, one, state.caller.user_id)]
    dated = [{**one, "created_at": one["pin"]["at"]} for one in seen]
    page = asked_page(by_pin, {one["id"]: one for one in dated})
    shown = [record["messages"][one["id"]] for one in page_of(dated, page)]
    return {"messages": message_shapes(state, shown)}
