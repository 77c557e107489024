"""Invites: memberships that wait for the user's answer.

Who is invited is a member at once, as Stream's maintainers say; only nothing counts as unread.
"""

from __future__ import annotations

from . import timestamps
from .channel_shapes import channel_shape, member_shape
from .errors import bad_input
from .events import channel_event, notification
from .membership import memberships
from .message_checks import acting_user
from .payloads import given_fields
from .state import Json, State

# By what a call says.
ANSWERS = {"accept_invite": "accepted", "reject_invite": "rejected"}


def invitations(invited: list[object], label: str) -> dict[str, Json]:
    found = memberships(invited, label)
    return {
        user_id: {**membership, "invited": True, "status": "pending"}
        for user_id, membership in found.items()
    }


def asked_answer(state: State, record: Json, body: Json) -> tuple[str, str] | None:
    """Whose answer a call gives, and which. That another one than before counts is assumed."""
    asked = [status for name, status in ANSWERS.items() if body.get(name)]
    if not asked:
        return None
    if len(asked) > 1:
        raise bad_input("cannot accept and reject an invite at once")
    user_id = acting_user(state, given_fields(body))
    if not record["members"].get(user_id, {}).get("invited"):
        raise bad_input(f"user {user_id} is not invited to the channel")
    return user_id, asked[0]


def answer_invite(state: State, record: Json, user_id: str, status: str) -> None:
    """The same answer again is none.

    That all members hear of it is assumed: who invited did, and nobody else was asked.
    """
    if record["members"][user_id]["status"] == status:
        return
    now = timestamps.now()
    membership = record["members"][user_id]
    for other in ANSWERS.values():
        membership.pop(f"invite_{other}_at", None)
    membership |= {"status": status, f"invite_{status}_at": now, "updated_at": now}
    member = member_shape(state, record, user_id)
    fields = {"member": member, "user": member["user"]}
    channel_event(state, "member.updated", record, [user_id], **fields)
    notification(
        state,
        f"notification.invite_{status}",
        record,
        record["members"],
        also_watching=True,
        channel=channel_shape(state, record),
        **fields,
    )
