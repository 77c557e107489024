"""Conversations: a document in Firestore and a channel in Stream that agree.

``document`` reads and writes the document, ``channel`` the channel, ``reconcile`` brings them into
agreement, and ``create`` is the callable that starts a conversation.
"""

from .channel import healed_keys, members_of, query, refuse_obstacles
from .document import (
    COLLECTION,
    DEADLINE_SECONDS,
    Conversation,
    ConversationOutcome,
    cid_of,
    conversation_id_of,
    document_fields,
    documents_of,
    is_cid,
    list_page,
    name_of,
    read,
    read_all,
    reference_of,
    set_team,
    text_of,
)
from .reconcile import finish, open_ready, reconcile_conversations

__all__ = [
    "COLLECTION",
    "DEADLINE_SECONDS",
    "Conversation",
    "ConversationOutcome",
    "cid_of",
    "conversation_id_of",
    "document_fields",
    "documents_of",
    "finish",
    "healed_keys",
    "is_cid",
    "list_page",
    "members_of",
    "name_of",
    "open_ready",
    "query",
    "read",
    "read_all",
    "reconcile_conversations",
    "reference_of",
    "refuse_obstacles",
    "set_team",
    "text_of",
]
