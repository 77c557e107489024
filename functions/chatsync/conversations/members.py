"""The people in a conversation: which of them belong there, and which are repaired."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import outbox
from ..clients import Clients
from ..clients.accounts import existing_keys
from ..clients.documents import read_documents
from ..errors import NotFound, Postponed
from ..ids import Key
from ..outcome import Outcome
from ..settings import Settings
from ..side_by_side import batches
from ..users import lacking
from .channel import is_strangers
from .document import Conversation, participants_of


def participants_with_profile(
    member_ids: Sequence[str], known: Collection[str], clients: Clients, deadline: float
) -> tuple[str, ...]:
    """The uids among these Stream ids, without those who have no account and lack a document.

    Who has an account and lacks a document is entered into the outbox: no conversation names people
    without profile for long. Uids that are ``known`` to be complete are not looked up. Call it
    before the conversation is written: after a failure it is then recorded once more. Raises
    FirebaseUnavailable.
    """
    participants = participants_of(member_ids, clients, deadline)
    nobody: set[str] = set()
    for batch in batches([Key("user", uid) for uid in participants if uid not in known]):
        found = read_documents(batch, clients, deadline, of=("user", "profile", "stats"))
        config = clients.settings.config
        incomplete = [key for key, state in found.items() if lacking(state, config)]
        existing = existing_keys(incomplete, clients, deadline)
        nobody |= {key.id for key in incomplete if key not in existing}
        waiting = Postponed("a conversation names them")
        if repairable := [Outcome(key, "", None, waiting) for key in incomplete if key in existing]:
            outbox.write_entries(repairable, clients)
    return tuple(uid for uid in participants if uid not in nobody)


def names_all_people(document: Conversation, settings: Settings) -> bool:
    """Whether ``participantIds`` has all members, except companies and service users."""
    keys = [key for one in document.member_ids if (key := settings.key(one))]
    return {key.id for key in keys if key.kind == "user"} <= set(document.participant_ids)


def without_deleted(
    members: Sequence[str], known: Collection[str], clients: Clients, deadline: float
) -> tuple[str, ...]:
    """These Stream ids, without those of deleted accounts that Stream still lists as members.

    It does so by the policies ``deactivate`` and ``keep``; by the others Stream takes them out of
    its channels itself. Those ``known`` to belong there are not looked up. Raises
    FirebaseUnavailable.
    """
    if clients.settings.config.stream.delete_policy not in ("deactivate", "keep"):
        return tuple(members)
    keys = {one: key for one in members if one not in known and (key := clients.settings.key(one))}
    existing = existing_keys(list(keys.values()), clients, deadline)
    return tuple(one for one in members if one not in keys or keys[one] in existing)


def refuse_gone(existing: Collection[Key], document: Conversation) -> None:
    """Raise NotFound with the participants who are not among the ``existing``."""
    gone = [uid for uid in document.participant_ids if Key("user", uid) not in existing]
    if gone:
        raise NotFound(gone)


def refuse_abandoned(document: Conversation) -> None:
    """Raise NotFound for a conversation without members, or half a pair: the other is deleted."""
    people = {*document.member_ids, *document.left}
    is_half = document.conversation_type == "direct" and len(people) < 2
    if is_half or not document.member_ids:
        raise NotFound([])


def with_left(
    document: Conversation, channel: Mapping[str, Any], present: Collection[str], settings: Settings
) -> Conversation:
    """``document`` after a look at who is ``present`` in its channel, by Stream ids; pure.

    A member who is absent, and whose leaving an event told, has left; one who is present has not.
    The app brings back its service users, and nobody has left a pair's channel that somebody else
    made.
    """
    left = {**document.left, **document.leaving}
    is_direct = document.conversation_type == "direct"
    if is_direct and is_strangers(channel, {*document.member_ids, *left}, settings):
        left = dict(document.left)
    here = {*present, *settings.config.stream.service_users}
    left = {one: at for one, at in left.items() if one not in here}
    return replace(document, left=left, leaving={})
