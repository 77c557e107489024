"""``conversations/{id}``: what Firestore holds of a conversation, and under which id."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.field_path import FieldPath

from .. import ids
from ..clients import Clients
from ..clients.documents import (
    add_write,
    commit,
    list_snapshots,
    read_documents,
    temporary_failures_named,
    until,
)
from ..errors import ChatsyncError, Unsettled
from ..ids import Key
from ..outcome import Outcome
from ..reconcile import GRACE_SECONDS
from ..settings import Settings
from ..side_by_side import batches
from ..users import FirebaseState

DEADLINE_SECONDS = 25.0
"""Callers wait for it; the function, which may still write to the outbox, ends after 60."""

FAILED_KEPT_FOR = timedelta(days=7)
"""How long a ``failed`` document is kept, by Firestore's TTL policy. An operator has a week to
look into it, and the app may call again at any time."""

_NOT_FAILED = dict.fromkeys(("failedReason", "chatsyncExpireAt"), firestore.DELETE_FIELD)

_STATUSES = ("pending", "ready", "failed", "deleted")

FIELDS = (
    *("status", "cid", "channelType", "channelId", "conversationType", "origin", "arguments"),
    *("name", "team", "createdBy", "createdAt", "memberIds", "participantIds", "left", "leaving"),
)
"""What is read of a document. The client raises for a reference to another database (see
``clients.documents``), which may stand in the others of a document that an app's backend wrote."""


@dataclass(frozen=True)
class Conversation:
    """``conversations/{id}`` as it was read; ``status`` is empty if there is no document.

    A document that somebody else wrote, without one of our statuses, counts as ``ready``.
    """

    id: str
    status: str = ""
    cid: str = ""
    """Of its channel, as the document says."""

    member_ids: tuple[str, ...] = ()
    """Stream ids."""

    participant_ids: tuple[str, ...] = ()
    """The uids among the members, who may read the document."""

    name: str | None = None
    team: str | None = None
    left: Mapping[str, datetime] = field(default_factory=dict)
    """When members left, or were removed by a moderator, by Stream id. None is a member now."""

    leaving: Mapping[str, datetime] = field(default_factory=dict)
    """The same as events told, before Stream was asked whether they are still absent."""

    created_by: str = ""
    """A uid, or the Stream id of a user without uid."""

    created_at: datetime | None = None
    conversation_type: str = ""
    origin: str = ""
    """``app``, or how it was recorded: ``webhook`` or ``operator``; empty if it isn't ours."""

    arguments: str = ""
    """A hash of the call's arguments: the same call again has the same hash."""

    version: datetime | None = None
    """Firestore's update time."""

    @property
    def is_foreign(self) -> bool:
        """Whether the app's backend wrote it: chatsync never changes such a document."""
        return bool(self.status) and not self.origin

    @property
    def is_recorded(self) -> bool:
        """Whether chatsync found its channel in Stream: a webhook, an audit or an operator did."""
        return self.origin in ("webhook", "operator")


@dataclass(frozen=True)
class ConversationOutcome(Outcome):
    """``stream_id`` is the channel's cid, ``status`` the document's."""

    document: Conversation = field(default_factory=lambda: Conversation(""))
    """As it is now."""

    healed: tuple[Key, ...] = ()
    """The members who had to be repaired."""


def collection_of(clients: Clients) -> firestore.CollectionReference:
    return clients.firestore.collection(clients.settings.config.conversations.collection)


def reference_of(conversation_id: str, clients: Clients) -> firestore.DocumentReference:
    return collection_of(clients).document(conversation_id)


def read(conversation_id: str, clients: Clients, deadline: float) -> Conversation:
    return read_all([conversation_id], clients, deadline)[conversation_id]


def read_all(
    conversation_ids: Sequence[str], clients: Clients, deadline: float
) -> dict[str, Conversation]:
    """The conversations by id, absent ones included, in one call (BatchGetDocuments)."""
    references = [reference_of(one, clients) for one in conversation_ids]
    with temporary_failures_named():
        snapshots = clients.firestore.get_all(references, FIELDS, **until(deadline))
        return {snapshot.id: _conversation(snapshot) for snapshot in snapshots}


def list_page(
    after: str, size: int, clients: Clients, deadline: float
) -> tuple[list[Conversation], str]:
    """Conversations in the order of their ids, and the last id, which is empty at the end."""
    collection = clients.settings.config.conversations.collection
    snapshots = list_snapshots(collection, after, size, clients.firestore, deadline, FIELDS)
    last = snapshots[-1].id if len(snapshots) == size else ""
    return conversations_in(snapshots), last


def conversations_in(snapshots: Iterable[Any]) -> list[Conversation]:
    return [_conversation(snapshot) for snapshot in snapshots]


def _conversation(snapshot: Any) -> Conversation:
    fields = snapshot.to_dict() or {}
    status = fields.get("status")
    members = fields.get("memberIds")
    created_at = fields.get("createdAt")
    members = [one for one in members if text_of(one)] if isinstance(members, list) else []
    participants = fields.get("participantIds")
    participants = participants if isinstance(participants, list) else []
    return Conversation(
        id=snapshot.id,
        status=status if status in _STATUSES else "ready" if snapshot.exists else "",
        cid=text_of(fields.get("cid")),
        member_ids=tuple(dict.fromkeys(members)),
        participant_ids=tuple(one for one in participants if text_of(one)),
        name=text_of(fields.get("name")) or None,
        team=text_of(fields.get("team")) or None,
        left=_times_of(fields.get("left")),
        leaving=_times_of(fields.get("leaving")),
        created_by=text_of(fields.get("createdBy")),
        created_at=created_at if isinstance(created_at, datetime) else None,
        conversation_type=text_of(fields.get("conversationType")),
        origin=text_of(fields.get("origin")),
        arguments=text_of(fields.get("arguments")),
        version=snapshot.update_time,
    )


def _times_of(value: object) -> dict[str, datetime]:
    items = value.items() if isinstance(value, dict) else ()
    return {one: at for one, at in items if isinstance(at, datetime)}


def participants_of(
    member_ids: Sequence[str], clients: Clients, deadline: float
) -> tuple[str, ...]:
    """The uids among these Stream ids; a company's may be an account's."""
    keys = [key for one in member_ids if (key := clients.settings.key(one))]
    companies = [Key("user", key.id) for key in keys if key.kind == "company"]
    states: dict[Key, FirebaseState] = {}
    for batch in batches(companies):
        states |= read_documents(batch, clients, deadline, of=["entry"])
    accounts = {key.id for key, state in states.items() if state.kind == "company"}
    return tuple(key.id for key in keys if key.kind == "user" or key.id in accounts)


def text_of(value: object) -> str:
    """``value`` if it is text, else an empty text: anybody may have written it."""
    return value if isinstance(value, str) else ""


def name_of(channel: Mapping[str, Any]) -> str | None:
    return text_of(channel.get("name")) or None


def document_fields(conversation: Conversation, settings: Settings) -> dict[str, Any]:
    """The document of a ``conversation`` that hasn't failed, but for its arguments."""
    cid = cid_of(conversation.id, settings)
    channel_type, _, channel_id = cid.partition(":")
    return {
        "cid": cid,
        "channelType": channel_type,
        "channelId": channel_id,
        "conversationType": conversation.conversation_type,
        "name": conversation.name,
        "participantIds": list(conversation.participant_ids),
        "memberIds": list(conversation.member_ids),
        "team": conversation.team,
        "createdBy": conversation.created_by,
        "createdAt": conversation.created_at,
        "origin": conversation.origin,
        "status": conversation.status,
        "left": dict(conversation.left) or firestore.DELETE_FIELD,
        "leaving": dict(conversation.leaving) or firestore.DELETE_FIELD,
        **_NOT_FAILED,
    }


def cid_of(conversation_id: str, settings: Settings) -> str:
    """``type:id`` of the channel: the conversation's id is a cid itself, or has our own format."""
    if ":" in conversation_id:
        return conversation_id
    return f"{settings.channel_type}:{settings.channel_id_prefix}{conversation_id}"


def conversation_id_of(cid: str, settings: Settings) -> str:
    """The id of a channel's document: the channel's id if that has our format, else its cid."""
    channel_type, _, channel_id = cid.partition(":")
    own = channel_id.removeprefix(settings.channel_id_prefix)
    is_ours = (
        channel_type == settings.channel_type
        and channel_id.startswith(settings.channel_id_prefix)
        and own
        and not own.startswith(("!", "__"))
    )
    return own if is_ours else cid


_CHANNEL_TYPE = re.compile(r"[\w-]{1,64}", re.ASCII)

_CHANNEL_ID = re.compile(r"[\w!-]{1,100}", re.ASCII)
"""With a ``!`` in the ids that Stream makes of members."""


def is_cid(text: str) -> bool:
    channel_type, _, channel_id = text.partition(":")
    return bool(_CHANNEL_TYPE.fullmatch(channel_type) and _CHANNEL_ID.fullmatch(channel_id))


def documents_of(
    cids: Sequence[str], clients: Clients, deadline: float
) -> dict[str, list[Conversation]]:
    """The documents about each of up to 30 channels, under any id, except ``deleted`` ones."""
    collection = collection_of(clients)
    options = until(deadline)
    channel_ids = {cid: cid.partition(":")[2] for cid in cids}
    names = {ids.document_id(one) for pair in channel_ids.items() for one in pair}
    with temporary_failures_named():
        references = [*map(collection.document, names)]
        snapshots = list(clients.firestore.get_all(references, FIELDS, **options))
        for field, values in (("cid", cids), ("channelId", channel_ids.values())):
            condition = FieldFilter(field, "in", list(dict.fromkeys(values)))
            snapshots += collection.where(filter=condition).select(FIELDS).get(**options)
    about: dict[str, list[Conversation]] = {cid: [] for cid in cids}
    for snapshot in {one.id: one for one in snapshots if one.exists}.values():
        document = _conversation(snapshot)
        for cid, channel_id in channel_ids.items():
            if document.status != "deleted" and _is_about(snapshot, cid, channel_id):
                about[cid].append(document)
    return about


def _is_about(snapshot: Any, cid: str, channel_id: str) -> bool:
    fields = snapshot.to_dict()
    if stated := text_of(fields.get("cid")):
        return stated == cid
    stated_type = fields.get("channelType")
    is_of_type = not isinstance(stated_type, str) or stated_type == cid.partition(":")[0]
    named = snapshot.id in (ids.document_id(cid), ids.document_id(channel_id))
    return is_of_type and (named or fields.get("channelId") == channel_id)


def set_team(document: Conversation, team: str, clients: Clients, deadline: float) -> None:
    """Change a conversation's team. Raises Unsettled if the document changed since it was read."""
    update(replace(document, team=team), ["team"], clients, deadline)


def delete(document: Conversation, clients: Clients, deadline: float) -> None:
    """Delete a document. Raises Unsettled if it changed since it was read."""
    batch = clients.firestore.batch()
    unchanged = clients.firestore.write_option(last_update_time=document.version)
    batch.delete(reference_of(document.id, clients), unchanged)
    if not commit(batch, deadline):
        raise Unsettled(f"conversation {document.id} changed meanwhile")


def outcome_of(
    document: Conversation, settings: Settings, error: ChatsyncError | None = None
) -> ConversationOutcome:
    cid = cid_of(document.id, settings)
    status = None if error else document.status
    return ConversationOutcome(
        Key("conversation", document.id), cid, status, error, document=document
    )


def note_leaving(
    document: Conversation, stream_id: str, at: datetime, clients: Clients, deadline: float
) -> None:
    """Write that an event told of a member who left, whatever else changed."""
    path = FieldPath("leaving", stream_id).to_api_repr()
    batch = clients.firestore.batch()
    batch.update(reference_of(document.id, clients), {path: at})
    commit(batch, deadline)


def set_ready(document: Conversation, clients: Clients, deadline: float) -> Conversation | None:
    """Write ``ready``, whatever else changed; None if the document has vanished."""
    ready = replace(document, status="ready")
    return _set_status(ready, _NOT_FAILED, None, clients, deadline)


def set_failed(
    document: Conversation, reason: str, gone: Collection[str], clients: Clients, deadline: float
) -> Conversation | None:
    """Write ``failed``, and why, if the document is as it was read, else None.

    It then expires, unless it is begun again. Participants who are ``gone`` (uids) leave it: their
    deletion may have been handled before the conversation was written.
    """
    uids = [uid for uid in document.participant_ids if uid in gone]
    keys = {one: clients.settings.key(one) for one in document.member_ids}
    left = [one for one, key in keys.items() if key and key.id in uids]
    failed = replace(
        document,
        status="failed",
        participant_ids=tuple(one for one in document.participant_ids if one not in uids),
        member_ids=tuple(one for one in document.member_ids if one not in left),
        created_by="" if document.created_by in uids else document.created_by,
    )
    expires_at = datetime.now(UTC) + FAILED_KEPT_FOR
    fields: dict[str, Any] = {
        "failedReason": reason,
        # Else it would be forgotten who left.
        "chatsyncExpireAt": firestore.DELETE_FIELD if document.left else expires_at,
    }
    if uids:
        fields |= {
            "participantIds": list(failed.participant_ids),
            "memberIds": list(failed.member_ids),
            "createdBy": failed.created_by or None,
        }
    unchanged = clients.firestore.write_option(last_update_time=document.version)
    return _set_status(failed, fields, unchanged, clients, deadline)


def _set_status(
    document: Conversation,
    fields: Mapping[str, Any],
    option: Any,
    clients: Clients,
    deadline: float,
) -> Conversation | None:
    fields = {**fields, "status": document.status, "updatedAt": firestore.SERVER_TIMESTAMP}
    batch = clients.firestore.batch()
    batch.update(reference_of(document.id, clients), fields, option)
    written_at = commit(batch, deadline + GRACE_SECONDS)
    return replace(document, version=written_at[0]) if written_at else None


def record(document: Conversation, clients: Clients, deadline: float) -> Conversation:
    """Write the whole document, new or ``deleted`` before. Raises Unsettled."""
    return _write(document_fields(document, clients.settings), document, clients, deadline)


def update(
    document: Conversation, names: Sequence[str], clients: Clients, deadline: float
) -> Conversation:
    """Write some fields of a document, and leave all others as they are. Raises Unsettled."""
    fields = document_fields(document, clients.settings)
    return _write({name: fields[name] for name in names}, document, clients, deadline)


def _write(
    fields: Mapping[str, Any], document: Conversation, clients: Clients, deadline: float
) -> Conversation:
    """Raises Unsettled if somebody else wrote the document since it was read."""
    batch = clients.firestore.batch()
    reference = reference_of(document.id, clients)
    add_write(batch, reference, fields, document.version, clients.firestore)
    written_at = commit(batch, deadline)
    if not written_at:
        raise Unsettled(f"conversation {document.id} changed meanwhile")
    return replace(document, version=written_at[0])
