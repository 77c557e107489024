"""What a channel is to one of its users: hidden, blocked, muted, or without older messages.

A channel's record keeps for it "hidden": user id -> time, and "cleared": user id -> time up to
which the user sees no messages.
"""

from __future__ import annotations

from . import timestamps
from .state import Json, State


def is_hidden(state: State, record: Json, user_id: str) -> bool:
    return user_id in record["hidden"] or is_blocked(state, record, user_id)


def is_blocked(state: State, record: Json, user_id: str) -> bool:
    """A distinct channel of two whose other one the user blocked."""
    blocked = state.blocks.get(user_id)
    pair = record["distinct"]
    if not blocked or not pair or len(pair) != 2 or user_id not in pair:
        return False
    return any(one in blocked for one in pair)


def sees(record: Json, message: Json, user_id: str | None) -> bool:
    """In lists: that a message is still found by its own id is assumed. A server sees all."""
    return user_id is None or message["created_at"] > history_start(record, user_id)


def history_start(record: Json, user_id: str) -> str:
    start: str = record["cleared"].get(user_id, "")
    return start


def valid_mutes(mutes: dict[str, dict[str, Json]], user_id: str) -> dict[str, Json]:
    """The user's, without those whose time is over."""
    now = timestamps.now()
    found = mutes.get(user_id, {})
    return {key: one for key, one in found.items() if one.get("expires", now) >= now}


def mute_of_channel(state: State, record: Json, user_id: str) -> Json | None:
    if user_id not in state.channel_mutes:
        return None
    return valid_mutes(state.channel_mutes, user_id).get(record["channel"]["cid"])


def is_muted(state: State, record: Json, user_id: str) -> bool:
    return mute_of_channel(state, record, user_id) is not None


def counts(state: State, record: Json, user_id: str) -> bool:
    """Whether anything counts as unread: not before an invite is accepted."""
    status = record["members"].get(user_id, {}).get("status")
    is_quiet = is_muted(state, record, user_id) or is_blocked(state, record, user_id)
    return not is_quiet and status not in ("pending", "rejected")


def reader_fields(state: State, record: Json, user_id: str) -> Json:
    """Of a channel, as the answer to its reader shows it."""
    mute = mute_of_channel(state, record, user_id)
    fields: Json = {"hidden": is_hidden(state, record, user_id), "muted": mute is not None}
    if start := history_start(record, user_id):
        fields["hide_messages_before"] = start
    if is_blocked(state, record, user_id):
        fields["blocked"] = True
    if mute and "expires" in mute:
        fields["mute_expires_at"] = mute["expires"]
    return fields


def forget_channel(state: State, cid: str) -> None:
    for mutes in state.channel_mutes.values():
        mutes.pop(cid, None)


def forget_user(state: State, user_id: str) -> None:
    state.channel_mutes.pop(user_id, None)
    state.user_mutes.pop(user_id, None)
    state.blocks.pop(user_id, None)
    state.devices.pop(user_id, None)
    for mutes in state.user_mutes.values():
        mutes.pop(user_id, None)
    for blocker, blocks in state.blocks.items():
        if blocks.pop(user_id, None):
            state.users[blocker]["blocked_user_ids"] = list(blocks)
