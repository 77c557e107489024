"""Conversations: a document in Firestore and a channel in Stream that agree.

``document`` reads and writes the document, ``channel`` the channel, ``pairs`` finds the one of two
members, ``patterns`` reads ``[[channels]]``, ``members`` says who belongs there, and ``reconcile``
brings them into agreement. ``create`` is the callable that starts a conversation: ``request`` says
what is asked, ``asked`` of whom, and ``beginning`` writes it.
"""

from .channel import channel_of as channel_of
from .channel import is_left_out as is_left_out
from .channel import members_of as members_of
from .channel import missing_owners as missing_owners
from .channel import owner_of as owner_of
from .channel import query as query
from .document import Conversation as Conversation
from .document import cid_of as cid_of
from .document import conversation_id_of as conversation_id_of
from .document import delete as delete
from .document import documents_of as documents_of
from .document import is_cid as is_cid
from .document import list_page as list_page
from .document import name_of as name_of
from .document import note_leaving as note_leaving
from .document import participants_of as participants_of
from .document import read as read
from .document import read_all as read_all
from .document import set_team as set_team
from .document import text_of as text_of
from .members import without_deleted as without_deleted
from .pairs import conversation_of_pair as conversation_of_pair
from .pairs import is_one_of_pair as is_one_of_pair
from .pairs import is_taken as is_taken
from .patterns import WrongTeam as WrongTeam
from .patterns import team_by_field as team_by_field
from .patterns import wrong_team_of as wrong_team_of
from .reconcile import fields_of as fields_of
from .reconcile import reconcile_conversations as reconcile_conversations
