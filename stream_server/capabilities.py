"""A channel's ``own_capabilities``: what its reader may do there, in Stream's words.

Each is listed exactly if the call for it exists here and would not be refused. Who may do what is
simplified as in permissions.py. Known from Stream: that a frozen channel takes messages and
reactions away, that its moderators skip slow mode, and that a banned user sees they can't send.
"""

from __future__ import annotations

from .channel_config import config
from .permissions import is_manager, is_moderator, is_participant
from .restrictions import is_banned
from .state import Json, State

# By what the channel's config must allow for it; None: always.
READING: dict[str, str | None] = {
    "connect-events": "connect_events",
    "delivery-events": "delivery_events",
    "flag-message": None,
    "mute-channel": "mutes",
    "read-events": "read_events",
    "search-messages": "search",
    "typing-events": "typing_events",
}
SENDING: dict[str, str | None] = {
    "create-attachment": None,
    "create-mention": None,
    "quote-message": "quotes",
    "send-links": None,
    "send-message": None,
    "send-reaction": "reactions",
    "send-reply": "replies",
    "upload-file": "uploads",
}
# Neither banned users' nor stopped by freezing.
CHANGING: dict[str, str | None] = {
    "delete-own-message": None,
    "pin-message": None,
    "send-custom-events": "custom_events",
    "send-typing-events": "typing_events",
    "update-own-message": None,
}
MANAGING = (
    "delete-channel",
    "freeze-channel",
    "set-channel-cooldown",
    "update-channel",
    "update-channel-members",
)
MODERATING = (
    "ban-channel-members",
    "delete-any-message",
    "skip-slow-mode",
    "update-any-message",
)


def own_capabilities(state: State, user: Json, record: Json) -> list[str]:
    own = record["channel"]
    if own["disabled"] or not is_participant(state, user, record):
        return []
    features = config(record)
    by_feature = dict(READING)
    is_out = is_banned(user, record)
    if not is_out:
        by_feature |= CHANGING
        by_feature |= {} if own["frozen"] else SENDING
    found = [name for name, feature in by_feature.items() if not feature or features[feature]]
    if user["id"] in record["members"]:
        found.append("leave-channel")
    if own.get("cooldown"):
        found.append("slow-mode")  # Stream's word for that it is on, and no ability.
    if is_manager(user, record):
        found += MANAGING
    if is_moderator(user, record) and not is_out:
        found += MODERATING
    return sorted(found)
