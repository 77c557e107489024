"""Muting users and channels, for good or for a time.

What is muted still comes; it only doesn't count as unread, and brings no hidden channel back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from . import timestamps
from .channel_config import refuse_feature_off
from .channel_data import strings_in
from .errors import bad_input, not_found
from .events import own_event, webhook_event
from .filters import whole_number
from .membership import refuse_unusable_users
from .message_checks import acting_user
from .own_user import channel_mutes, full_shape, user_mutes
from .payloads import MAX_ITEMS, given_fields, refuse_wrong_types
from .permissions import refuse_unless_participant
from .state import Json, State
from .user_checks import existing_user, is_deleted
from .user_shapes import short_shape

MAX_MINUTES = 10**7  # assumed, as the next one
MAX_MILLISECONDS = 10**12


def mute_users(state: State, params: Json, body: Json) -> Json:
    """``timeout`` is in minutes."""
    given = given_fields(body)
    user_id = muting_user(state, given)
    targets = named(given, "target_id", "target_ids")
    minutes = whole_number(given, "timeout", MAX_MINUTES)
    if user_id in targets:
        raise bad_input("you cannot mute yourself")
    known = [one for one in targets if one in state.users and not is_deleted(state, one)]
    if not known:
        existing_user(state, targets[0])
    mute(state.user_mutes, user_id, known, timedelta(minutes=minutes))
    tell_user_mutes(state, "user.muted", user_id, known)
    mutes = [one for one in user_mutes(state, user_id) if one["target"]["id"] in known]
    unknown = [one for one in targets if one not in known]
    return {
        **singly("mute", "mutes", mutes),
        "own_user": full_shape(state, state.users[user_id]),
        **({"non_existing_users": unknown} if unknown else {}),
    }


def unmute_users(state: State, params: Json, body: Json) -> Json:
    """Whom the user hasn't muted need not be unmuted: assumed."""
    given = given_fields(body)
    user_id = muting_user(state, given)
    targets = named(given, "target_id", "target_ids")
    for target in targets:
        state.user_mutes.get(user_id, {}).pop(target, None)
    tell_user_mutes(state, "user.unmuted", user_id, targets)
    unknown = [one for one in targets if one not in state.users]
    return {"non_existing_users": unknown} if unknown else {}


def mute_channels(state: State, params: Json, body: Json) -> Json:
    """``expiration`` is in milliseconds."""
    given = given_fields(body)
    user_id = muting_user(state, given)
    cids = named(given, "channel_cid", "channel_cids")
    milliseconds = whole_number(given, "expiration", MAX_MILLISECONDS)
    for cid in cids:
        if cid not in state.channels:
            raise not_found(f"Can't find channel with id {cid}")
        refuse_unless_participant(state, state.channels[cid], "MuteChannel")
        refuse_feature_off(state.channels[cid], "mutes")
    mute(state.channel_mutes, user_id, cids, timedelta(milliseconds=milliseconds))
    mutes = [one for one in channel_mutes(state, user_id) if one["channel"]["cid"] in cids]
    tell_channel_mutes(state, "channel.muted", user_id, mutes)
    own_user = full_shape(state, state.users[user_id])
    return {**singly("channel_mute", "channel_mutes", mutes), "own_user": own_user}


def unmute_channels(state: State, params: Json, body: Json) -> Json:
    given = given_fields(body)
    user_id = muting_user(state, given)
    cids = named(given, "channel_cid", "channel_cids")
    mutes = [one for one in channel_mutes(state, user_id) if one["channel"]["cid"] in cids]
    for cid in cids:
        state.channel_mutes.get(user_id, {}).pop(cid, None)
    tell_channel_mutes(state, "channel.unmuted", user_id, mutes)
    return {}


def muting_user(state: State, given: Json) -> str:
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], "mute")
    return user_id


def named(given: Json, one: str, several: str) -> list[str]:
    """What a call names under one or both of two fields."""
    refuse_wrong_types(given, {one: str, several: list}, "mute")
    found = strings_in([*given.get(several, []), *([given[one]] if one in given else [])], several)
    if not found:
        raise bad_input(f"{several} is a required field")
    if len(found) > MAX_ITEMS:
        raise bad_input(f"{several} must contain at most {MAX_ITEMS} items")
    return found


def mute(
    mutes: dict[str, dict[str, Json]], user_id: str, targets: list[str], duration: timedelta
) -> None:
    """For no time means for good; a repetition counts from now."""
    now = timestamps.now()
    own = mutes.setdefault(user_id, {})
    expires = {"expires": timestamps.text(datetime.now(UTC) + duration)} if duration else {}
    for target in targets:
        created_at = own.get(target, {}).get("created_at", now)
        own[target] = {"created_at": created_at, "updated_at": now, **expires}


def singly(one: str, several: str, mutes: list[Json]) -> Json:
    """Stream has a field of its own for a single one."""
    return {**({one: mutes[0]} if len(mutes) == 1 else {}), several: mutes}


def tell_user_mutes(state: State, event_type: str, user_id: str, targets: list[str]) -> None:
    """To webhooks who is muted, to the user's own clients all that they mute."""
    shapes = [short_shape(state, one) for one in targets]
    user = short_shape(state, user_id)
    webhook_event(state, event_type, user=user, target_users=shapes, target_user=shapes[0])
    me = full_shape(state, state.users[user_id])
    own_event(state, "notification.mutes_updated", user_id, me=me)


def tell_channel_mutes(state: State, event_type: str, user_id: str, mutes: list[Json]) -> None:
    """What wasn't muted is not told as unmuted."""
    if mutes:
        fields = {"user": short_shape(state, user_id), "mute": mutes[0], "mutes": mutes}
        webhook_event(state, event_type, **fields)
        own_event(state, event_type, user_id, **fields)
    me = full_shape(state, state.users[user_id])
    own_event(state, "notification.channel_mutes_updated", user_id, me=me)
