"""Direct conversations: the one channel of each pair, however it came to be.

``pairs/{hash}`` names the conversation of two members and a team. It is written when one of the two
asks for it. The hash is keyed, so that nobody can compute the id of a channel that doesn't exist
yet, and make that channel first.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.field_path import FieldPath

from ..clients import Clients
from ..clients.documents import add_write, commit, temporary_failures_named, until
from ..errors import SettingInvalid
from ..settings import Settings
from ..side_by_side import begin, result
from .channel import is_strangers
from .document import FIELDS, Conversation, collection_of, conversations_in, read, text_of
from .request import Request, legacy_id

COLLECTION = "pairs"

_MOST_CANDIDATES = 30

_keys: WeakKeyDictionary[firestore.Client, bytes] = WeakKeyDictionary()
"""By client, which is one per process."""


@dataclass(frozen=True)
class Pair:
    """``pairs/{hash}`` as it was read."""

    reference: firestore.DocumentReference
    conversation_id: str
    """Empty if the pair has none yet."""

    version: datetime | None

    def add_to(self, batch: firestore.WriteBatch, conversation_id: str, clients: Clients) -> None:
        """Add to ``batch`` that the pair has this conversation, if nobody else wrote it."""
        if conversation_id != self.conversation_id:
            fields = {"conversationId": conversation_id}
            add_write(batch, self.reference, fields, self.version, clients.firestore)

    def keep(self, conversation_id: str, clients: Clients, deadline: float) -> None:
        """Write that the pair has this conversation, unless another was written meanwhile."""
        batch = clients.firestore.batch()
        self.add_to(batch, conversation_id, clients)
        if len(batch):
            commit(batch, deadline)


def find(
    request: Request,
    member_ids: Sequence[str],
    clients: Clients,
    deadline: float,
    *,
    makes_key: bool = True,
) -> tuple[Conversation, Pair]:
    """The direct conversation of two members, by their Stream ids, and their pair.

    It is the pair's, unless that is gone; else the one that an app made before there were pairs;
    else the oldest that was recorded from Stream and belongs to the two; else one that doesn't
    exist yet. None of those whose channels are ``taken``, since somebody else created them.

    Without ``makes_key`` nothing is written: where there is no key yet, there is no pair.
    """
    key = _key(clients, deadline, makes=makes_key)
    members, team, taken = sorted(member_ids), request.team, request.taken
    id_prefix = request.id_prefix(clients.settings)
    own_id = id_prefix + _hash(key, "conversation", team, *members)
    reference = _reference(key, team, members, clients)
    reading = begin(_read_pair, reference, deadline)
    own = read(own_id, clients, deadline)
    pair = result(reading, deadline)
    left: Mapping[str, datetime] = {}
    if pair.conversation_id and pair.conversation_id not in (own_id, *taken):
        named = read(pair.conversation_id, clients, deadline)
        if is_alive(named) and _is_usable(named, members, clients.settings):
            return named, pair
        left = named.left
    if own_id in taken or (is_alive(own) and not _is_usable(own, members, clients.settings)):
        own = Conversation(id_prefix + secrets.token_hex(16))
    if pair.conversation_id or is_alive(own):
        # A new conversation does not bring back a member who left the pair's last one.
        return replace(own, left={**left, **own.left}), pair
    searching = begin(_candidates, team, members, clients, deadline)
    legacy = read(id_prefix + request.legacy_id(), clients, deadline)
    if is_alive(legacy) and legacy.origin == "app" and legacy.id not in taken:
        return legacy, pair
    candidates = [one for one in result(searching, deadline) if one.id not in taken]
    return (candidates[0] if candidates else own), pair


def knows_key(clients: Clients) -> bool:
    """Whether this process has read the key of pairs; else a look-up may have to make it."""
    return clients.firestore in _keys


def is_alive(conversation: Conversation) -> bool:
    return conversation.status not in ("", "deleted")


def is_open_to(document: Conversation, members: Collection[str]) -> bool:
    """Whether a recorded direct conversation has nobody but these members.

    One or both may have left it, or have been deleted and come back.
    """
    return (
        document.is_recorded
        and document.status == "ready"
        and document.conversation_type == "direct"
        and bool({*document.member_ids, *document.left} & {*members})
        and set(document.member_ids) <= set(members)
    )


def is_one_of_pair(
    document: Conversation, stream_id: str, clients: Clients, deadline: float
) -> bool:
    """Whether a direct conversation is that of its members and another user."""
    people = {*document.member_ids, *document.left, stream_id}
    if document.conversation_type != "direct" or len(people) != 2:
        return False
    named = conversation_of_pair(document.team, people, clients, deadline)
    return named == document.id


def conversation_of_pair(
    team: str | None, members: Collection[str], clients: Clients, deadline: float
) -> str:
    """The id of the conversation that a pair names, by Stream ids; empty if it names none."""
    key = _key(clients, deadline, makes=False)
    reference = _reference(key, team, sorted(members), clients)
    return _read_pair(reference, deadline).conversation_id


def _is_usable(document: Conversation, members: Collection[str], settings: Settings) -> bool:
    """Whether a conversation may be the pair's: it is ours, or was recorded and belongs to the two.

    One of them must have created a recorded channel, or a service user: a stranger who made it
    could come back. Whose account is deleted is not named any more; Stream then tells.
    """
    if document.origin == "app":
        return True
    keys = [settings.key(member) for member in members]
    creators = {key.id for key in keys if key} | {"", *members}
    creators |= {*settings.config.stream.service_users}
    return is_open_to(document, members) and document.created_by in creators


def is_taken(document: Conversation, channel: Mapping[str, Any], settings: Settings) -> bool:
    """Whether somebody else created the channel of a pair's conversation.

    It is ours, or was recorded under the id of before, which anybody could compute.
    """
    members = document.member_ids
    if document.conversation_type != "direct" or len(members) != 2:
        return False
    if not is_strangers(channel, members, settings):
        return False
    bots = sorted({*members} & {*settings.config.stream.service_users})
    keys = [key for one in members if one not in bots and (key := settings.key(one))]
    is_of_before = document.id.endswith(legacy_id(document.team, keys, bots))
    return document.origin == "app" or (document.is_recorded and is_of_before)


def _reference(
    key: bytes, team: str | None, members: Sequence[str], clients: Clients
) -> firestore.DocumentReference:
    return clients.firestore.document(COLLECTION, _hash(key, "pair", team, *members))


def _read_pair(reference: firestore.DocumentReference, deadline: float) -> Pair:
    with temporary_failures_named():
        snapshot: Any = reference.get(**until(deadline))
    fields = snapshot.to_dict() or {}
    return Pair(reference, text_of(fields.get("conversationId")), snapshot.update_time)


def _candidates(
    team: str | None, members: Sequence[str], clients: Clients, deadline: float
) -> list[Conversation]:
    """The direct conversations that were recorded of just these members, the oldest first.

    Those that one of them has left come last.
    """
    orders = [list(members), list(reversed(members))]
    collection = collection_of(clients)
    queries = [collection.where(filter=FieldFilter("memberIds", "in", orders))]
    # The one that a member left has the other only.
    queries += [collection.order_by(FieldPath("left", member).to_api_repr()) for member in members]
    searching = [begin(_documents_in, query, deadline) for query in queries]
    found = [
        one
        for search in searching
        for one in result(search, deadline)
        if one.is_recorded and one.created_by and one.team == team
        if {*one.member_ids, *one.left} == {*members}
        if is_open_to(one, members) and _is_usable(one, members, clients.settings)
    ]
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(found, key=lambda one: (bool(one.left), one.created_at or latest))


def _documents_in(query: firestore.Query, deadline: float) -> list[Conversation]:
    with temporary_failures_named():
        return conversations_in(query.limit(_MOST_CANDIDATES).select(FIELDS).get(**until(deadline)))


def _key(clients: Clients, deadline: float, *, makes: bool = True) -> bytes:
    """The random key of all pairs, kept in ``chatsync/keys``, and made at the first use.

    Unless it ``makes`` one, a missing key is random, and leads to no document.
    Raises SettingInvalid if it is missing while pairs exist: with a new key, every pair would get a
    second channel.
    """
    if key := _keys.get(clients.firestore):
        return key
    reference = clients.firestore.document("chatsync", "keys")
    for _ in range(2):
        with temporary_failures_named():
            snapshot: Any = reference.get(**until(deadline))
        if stated := text_of((snapshot.to_dict() or {}).get("pairs")):
            return _keys.setdefault(clients.firestore, bytes.fromhex(stated))
        pairs = clients.firestore.collection(COLLECTION).limit(1)
        with temporary_failures_named():
            has_pairs = bool(pairs.get(**until(deadline)))
        if has_pairs:
            raise SettingInvalid("chatsync/keys is missing, though there are pairs: restore it")
        if not makes:
            return secrets.token_bytes(32)
        batch = clients.firestore.batch()
        made = {"pairs": secrets.token_hex(32)}
        add_write(batch, reference, made, snapshot.update_time, clients.firestore)
        commit(batch, max(deadline, time.monotonic() + 1))  # the loser reads the winner's
    raise SettingInvalid("chatsync/keys could not be made")


def _hash(key: bytes, *parts: str | None) -> str:
    return hmac.new(key, json.dumps(parts).encode(), hashlib.sha256).hexdigest()[:32]
