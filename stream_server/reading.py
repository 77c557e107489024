"""What users have read."""

from __future__ import annotations

from . import timestamps
from .membership import existing_channel, refuse_unusable_users
from .message_checks import acting_user
from .permissions import refuse_unless_participant
from .state import Json, State


def mark_read(state: State, params: Json, body: Json) -> Json:
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "ReadChannel")
    user_id = acting_user(state, body)
    refuse_unusable_users(state, [user_id], "channel read")
    record["last_reads"][user_id] = timestamps.now()
    event = {
        "type": "message.read",
        "cid": record["channel"]["cid"],
        "channel_type": record["channel"]["type"],
        "channel_id": record["channel"]["id"],
        "user": state.users[user_id],
        "created_at": record["last_reads"][user_id],
    }
    for connection in state.connections.watching(event["cid"]):
        connection.send(event)
    return {"event": event}
