"""Conversations: a document in Firestore and a channel in Stream that agree.

``document`` reads and writes the document, ``channel`` the channel, ``pairs`` finds the one of two
members, ``patterns`` reads ``[[channels]]``, ``members`` says who belongs there, and ``reconcile``
brings them into agreement. ``create`` is the callable that starts a conversation: ``request`` says
what is asked, ``asked`` of whom, and ``beginning`` writes it.
"""

from .channel import (
    channel_of,
    is_left_out,
    members_of,
    missing_owners,
    owner_of,
    query,
)
from .document import (
    DEADLINE_SECONDS,
    Conversation,
    cid_of,
    conversation_id_of,
    delete,
    documents_of,
    is_cid,
    list_page,
    name_of,
    note_leaving,
    participants_of,
    read,
    read_all,
    set_team,
    text_of,
)
from .members import without_deleted
from .pairs import conversation_of_pair, is_one_of_pair, is_taken
from .patterns import WrongTeam, field_value_of, match_of, team_by_field, wrong_team_of
from .reconcile import fields_of, reconcile_conversations

__all__ = [
    "DEADLINE_SECONDS",
    "Conversation",
    "WrongTeam",
    "channel_of",
    "cid_of",
    "conversation_id_of",
    "conversation_of_pair",
    "delete",
    "documents_of",
    "field_value_of",
    "fields_of",
    "is_cid",
    "is_left_out",
    "is_one_of_pair",
    "is_taken",
    "list_page",
    "match_of",
    "members_of",
    "missing_owners",
    "name_of",
    "note_leaving",
    "owner_of",
    "participants_of",
    "query",
    "read",
    "read_all",
    "reconcile_conversations",
    "set_team",
    "team_by_field",
    "text_of",
    "without_deleted",
    "wrong_team_of",
]
