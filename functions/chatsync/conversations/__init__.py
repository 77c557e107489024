"""Conversations: a document in Firestore and a channel in Stream that agree.

``document`` reads and writes the document, ``channel`` the channel, ``reconcile`` brings them into
agreement, and ``create`` is the callable that starts a conversation.
"""

from .channel import members_of, query
from .document import (
    DEADLINE_SECONDS,
    Conversation,
    cid_of,
    conversation_id_of,
    documents_of,
    is_cid,
    list_page,
    name_of,
    participants_of,
    read,
    read_all,
    set_team,
    text_of,
)
from .reconcile import reconcile_conversations

__all__ = [
    "DEADLINE_SECONDS",
    "Conversation",
    "cid_of",
    "conversation_id_of",
    "documents_of",
    "is_cid",
    "list_page",
    "members_of",
    "name_of",
    "participants_of",
    "query",
    "read",
    "read_all",
    "reconcile_conversations",
    "set_team",
    "text_of",
]
