"""Hiding a channel from one's own lists until a new message comes, and showing it again."""

from __future__ import annotations

from . import timestamps
from .errors import bad_input, not_allowed
from .events import personal_event
from .membership import existing_channel, refuse_unusable_users
from .message_checks import acting_user
from .payloads import given_fields, refuse_wrong_types
from .permissions import refuse_unless_participant
from .reader import is_muted
from .state import Json, State


def hide_channel(state: State, params: Json, body: Json) -> Json:
    """With ``clear_history``, its messages up to now are gone for the user, too."""
    given = given_fields(body)
    refuse_wrong_types(given, {"clear_history": bool}, "hide")
    record, user_id = own_channel(state, params, given, "hide")
    record["hidden"][user_id] = timestamps.now()
    clears = given.get("clear_history", False)
    if clears:
        record["cleared"][user_id] = end_of_history(record)
    personal_event(state, "channel.hidden", record, user_id, clear_history=clears)
    return {}


def show_channel(state: State, params: Json, body: Json) -> Json:
    """Messages that were cleared stay so."""
    record, user_id = own_channel(state, params, given_fields(body), "show")
    record["hidden"].pop(user_id, None)
    personal_event(state, "channel.visible", record, user_id)
    return {}


def own_channel(state: State, params: Json, given: Json, action: str) -> tuple[Json, str]:
    """The channel and its member who acts on it; the refusal of others is assumed."""
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "ReadChannel")
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], f"channel {action}")
    if user_id not in record["members"]:
        raise not_allowed(f"only members can {action} a channel")
    return record, user_id


def asked_history(record: Json, body: Json) -> str | None:
    """Up to which time a call hides the messages from the members that it adds; None: none."""
    given = given_fields(body)
    refuse_wrong_types(given, {"hide_history": bool, "hide_history_before": str}, "channel")
    if "hide_history_before" in given:
        before = timestamps.parse(given["hide_history_before"], "hide_history_before")
        if before > timestamps.now():
            raise bad_input("hide_history_before must be in the past")
        return timestamps.just_before(before)
    return end_of_history(record) if given.get("hide_history") else None


def end_of_history(record: Json) -> str:
    """Now, but not before the last message, which may be a moment ahead."""
    last = next(reversed(record["messages"].values()), None)
    return max(timestamps.now(), last["created_at"]) if last else timestamps.now()


def unhide(state: State, record: Json, message: Json) -> None:
    """A new message shows the channel again, without an event: Stream's SDKs know by themselves."""
    for user_id in list(record["hidden"]):
        if not message["shadowed"] and not is_muted(state, record, user_id):
            del record["hidden"][user_id]
