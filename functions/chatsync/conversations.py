"""Conversations: a document in Firestore and a channel in Stream that agree.

``conversations/{id}`` says what the app asked for until its ``status`` is ``ready``; from then on
Stream has the last word on name and members, and the document follows:

    Firestore         Stream     what reconcile_conversations does
    pending, failed   any        Firestore wins: users, channel, members, then ``ready``
    ready             present    name and members are written back; another team is a finding
    ready             absent     ``deleted``
    absent, deleted   present    recorded from what Stream says
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from firebase_functions import logger
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from . import firebase, ids, repairs
from .clients import Clients
from .errors import (
    ChatsyncError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Postponed,
    Refusal,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
    Temporary,
    Unsettled,
)
from .ids import Key
from .outcome import Outcome
from .reconcile import GRACE_SECONDS, PendingReads, reconcile_users
from .settings import Settings
from .side_by_side import BATCH, batches
from .stream import CHANNELS

COLLECTION = "conversations"
DEADLINE_SECONDS = 25.0
"""Callers wait for it, and the function ends after 60, with what the outbox may take."""
PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8)
"""Between attempts at a channel whose answer was lost, or whose members Stream didn't know yet."""

_STATUSES = ("pending", "ready", "failed", "deleted")

_NO_OBSTACLES = (Refusal.BANNED,)
"""Reasons of a member that don't keep a conversation from opening."""


@dataclass(frozen=True)
class Conversation:
    """``conversations/{id}`` as it was read; ``status`` is empty where there is no document.

    A document without a status of ours, which somebody else wrote, claims to be ``ready``.
    """

    id: str
    status: str = ""
    cid: str = ""
    """Of its channel, as it was written down."""

    member_ids: tuple[str, ...] = ()
    """Stream ids; the documents' ``participantIds`` are the uids among them, who may read."""

    name: str | None = None
    team: str | None = None
    created_by: str = ""
    """A uid, or the Stream id of who is none of ours."""

    created_at: datetime | None = None
    conversation_type: str = ""
    arguments: str = ""
    """A hash of what was asked for, by which a repeated request is told from another."""

    version: datetime | None = None
    """Firestore's update time."""


@dataclass(frozen=True)
class ConversationOutcome(Outcome):
    """``stream_id`` is the channel's cid, ``status`` the document's."""

    document: Conversation = field(default_factory=lambda: Conversation(""))
    """As it is now."""

    healed: tuple[Key, ...] = ()
    """The members that had to be repaired."""


def reference_of(conversation_id: str, clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document(COLLECTION, conversation_id)


def read(conversation_id: str, clients: Clients, deadline: float) -> Conversation:
    return read_all([conversation_id], clients, deadline)[conversation_id]


def read_all(
    conversation_ids: Sequence[str], clients: Clients, deadline: float
) -> dict[str, Conversation]:
    """The conversations by id, absent ones included, in one call (BatchGetDocuments)."""
    references = [reference_of(one, clients) for one in conversation_ids]
    with firebase.temporary_failures_named():
        snapshots = clients.firestore.get_all(references, **firebase.until(deadline))
        return {snapshot.id: _conversation(snapshot) for snapshot in snapshots}


def list_page(
    after: str, size: int, clients: Clients, deadline: float
) -> tuple[list[Conversation], str]:
    """Conversations in the order of their ids, and the last one's, or nothing at the end."""
    snapshots = firebase.list_snapshots(COLLECTION, after, size, clients.firestore, deadline)
    last = snapshots[-1].id if len(snapshots) == size else ""
    return [_conversation(snapshot) for snapshot in snapshots], last


def _conversation(snapshot: Any) -> Conversation:
    fields = snapshot.to_dict() or {}
    status = fields.get("status")
    members = fields.get("memberIds")
    created_at = fields.get("createdAt")
    members = [one for one in members if text_of(one)] if isinstance(members, list) else []
    return Conversation(
        id=snapshot.id,
        status=status if status in _STATUSES else "ready" if snapshot.exists else "",
        cid=text_of(fields.get("cid")),
        member_ids=tuple(dict.fromkeys(members)),
        name=text_of(fields.get("name")) or None,
        team=text_of(fields.get("team")) or None,
        created_by=text_of(fields.get("createdBy")),
        created_at=created_at if isinstance(created_at, datetime) else None,
        conversation_type=text_of(fields.get("conversationType")),
        arguments=text_of(fields.get("arguments")),
        version=snapshot.update_time,
    )


def text_of(value: object) -> str:
    """A value that anybody may have written, if it is text."""
    return value if isinstance(value, str) else ""


def name_of(channel: Mapping[str, Any]) -> str | None:
    return text_of(channel.get("name")) or None


def document_fields(conversation: Conversation, settings: Settings) -> dict[str, Any]:
    """The document of ``conversation``, but for its times, its origin and its arguments."""
    cid = cid_of(conversation.id, settings)
    channel_type, _, channel_id = cid.partition(":")
    keys = [settings.id_format.key(member) for member in conversation.member_ids]
    return {
        "cid": cid,
        "channelType": channel_type,
        "channelId": channel_id,
        "conversationType": conversation.conversation_type,
        "name": conversation.name,
        "participantIds": [key.id for key in keys if key and key.kind == "user"],
        "memberIds": list(conversation.member_ids),
        "team": conversation.team,
        "createdBy": conversation.created_by,
        "status": conversation.status,
    }


def cid_of(conversation_id: str, settings: Settings) -> str:
    """``type:id`` of the channel: the conversation's id is either that, or of our own format."""
    if ":" in conversation_id:
        return conversation_id
    return f"{settings.channel_type}:{settings.channel_id_prefix}{conversation_id}"


def conversation_id_of(cid: str, settings: Settings) -> str:
    """Where a channel is kept: under its own id if that has our format, else under its cid."""
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


def documents_of(cid: str, clients: Clients) -> list[str]:
    """The ids of documents about a channel, wherever they are kept, but for deleted ones."""
    channel_type, _, channel_id = cid.partition(":")
    collection = clients.firestore.collection(COLLECTION)
    deadline = time.monotonic() + DEADLINE_SECONDS
    options = firebase.until(deadline)
    with firebase.temporary_failures_named():
        by_cid = collection.where(filter=FieldFilter("cid", "==", cid)).get(**options)
        by_id = collection.where(filter=FieldFilter("channelId", "==", channel_id)).get(**options)
        names = {ids.document_id(cid), ids.document_id(channel_id)}
        named = clients.firestore.get_all([collection.document(one) for one in names], **options)
        about = [one for one in named if one.exists] + list(by_cid)
        about += [one for one in by_id if _is_of_type(one, channel_type)]
    return sorted({one.id for one in about if (one.to_dict() or {}).get("status") != "deleted"})


def _is_of_type(snapshot: Any, channel_type: str) -> bool:
    stated = (snapshot.to_dict() or {}).get("channelType")
    return not isinstance(stated, str) or stated == channel_type


def set_team(document: Conversation, team: str, clients: Clients, deadline: float) -> None:
    """File a conversation under another team. Raises Unsettled if it changed since it was read."""
    _update(replace(document, team=team), ["team"], clients, deadline)


def reconcile_conversations(
    ids: Sequence[str],
    clients: Clients,
    *,
    origin: str = "webhook",
    may_close: bool = True,
    deadline: float | None = None,
) -> list[ConversationOutcome]:
    """Bring these conversations into agreement; one outcome per id, in the same order.

    ``origin`` is noted in documents that are made. Without ``may_close`` a conversation whose
    channel is gone stays as it is. Raises StreamCredentialsRejected and FirebaseUnavailable, which
    concern all.
    """
    deadline = deadline or time.monotonic() + DEADLINE_SECONDS
    documents = read_all(list(dict.fromkeys(ids)), clients, deadline)
    outcomes: dict[str, ConversationOutcome] = {}
    unfinished = [one for one in documents.values() if one.status in ("pending", "failed")]
    others = [one for one in documents.values() if one.status not in ("pending", "failed")]
    limited: StreamRateLimited | None = None
    for document in unfinished:
        # Healing the members of a channel that cannot be made now would use up another limit.
        if limited:
            outcomes[document.id] = _outcome(document, clients.settings, limited)
            continue
        outcome = outcomes[document.id] = finish(document, clients, deadline)
        if isinstance(outcome.error, StreamRateLimited):
            limited = outcome.error
    for batch in batches(others, CHANNELS):
        try:
            channels = query(batch, clients, deadline)
        except (Temporary, StreamRejected) as refusal:
            outcomes |= {one.id: _outcome(one, clients.settings, refusal) for one in batch}
            continue
        for document in batch:
            error: ChatsyncError | None = None
            state = channels.get(document.id)
            try:
                if state:
                    document = _follow(document, state, origin, clients, deadline)
                elif document.status == "ready" and may_close:
                    document = _close(document, clients, deadline)
            except (Temporary, StreamRejected) as refusal:
                error = refusal
            outcomes[document.id] = _outcome(document, clients.settings, error)
    return [outcomes[one] for one in ids]


def finish(
    document: Conversation,
    clients: Clients,
    deadline: float,
    prefetched: PendingReads | None = None,
) -> ConversationOutcome:
    """Heal the members, make the channel as the document says, and call it ready.

    Safe to repeat after a death at any point, and beside another that does the same.
    """
    if time.monotonic() >= deadline:
        return _outcome(document, clients.settings, Postponed(f"no time left for {document.id}"))
    keys = [key for one in document.member_ids if (key := clients.settings.id_format.key(one))]
    try:
        # Not by repairs.reconcile: the conversation's own entry is there for all of them.
        outcomes = reconcile_users(keys, clients, deadline=deadline, prefetched=prefetched)
        repairs.enqueue_unfinished([one for one in outcomes if one.recheck], clients)
        refuse_obstacles(outcomes)
        _make_channel(document, clients, deadline)
    except (FailedPrecondition, NotFound, StreamRejected) as error:
        logger.error(f"Conversation {document.id} cannot open: {error}", conversation=document.id)
        failed = _set_status(document, "failed", clients, deadline)
        refusal: ChatsyncError = error
        if failed is None:
            refusal = Unsettled(f"conversation {document.id} changed meanwhile")
        elif isinstance(error, StreamRejected):
            refusal = FailedPrecondition([], Refusal.REJECTED, str(error))
        return _outcome(failed or document, clients.settings, refusal)
    except Temporary as error:
        return _outcome(document, clients.settings, error)
    ready = _set_status(document, "ready", clients, deadline)
    if ready is None:
        return _outcome(
            document, clients.settings, Unsettled(f"conversation {document.id} has vanished")
        )
    logger.info(f"Conversation {document.id} is ready", conversation=document.id)
    return replace(_outcome(ready, clients.settings), healed=healed_keys(outcomes))


def open_ready(
    document: Conversation,
    members: Sequence[Key],
    clients: Clients,
    deadline: float,
) -> ConversationOutcome | None:
    """Open a conversation that was ready before, for ``members``; None if its channel is gone.

    A direct conversation has its two members, even after one left, or lost it with their user, and
    nobody else. Of a group Stream says who is in it: only these are healed, and a caller who is
    not, ``members[0]``, gets PermissionDenied.
    """
    try:
        state = query([document], clients, deadline).get(document.id)
        if state is None:
            return None
        is_direct = document.conversation_type == "direct"
        if not is_direct:
            document = _follow(document, state, "app", clients, deadline)
        present = {clients.settings.id_format.key(one) for one in document.member_ids}
        if members[0] not in present:
            raise PermissionDenied("the caller is no member of this conversation any more", [])
        wanted = [key for key in members if key in present]
        outcomes = repairs.reconcile(wanted, clients, deadline=deadline)
        refuse_obstacles(outcomes)
        in_channel = {member["user_id"] for member in state["members"]}
        if is_direct and (in_channel != set(document.member_ids) or healed_keys(outcomes)):
            _make_channel(document, clients, deadline)
    except StreamRejected as error:
        logger.error(f"Conversation {document.id} cannot open: {error}", conversation=document.id)
        return _outcome(document, clients.settings, FailedPrecondition([], Refusal.REJECTED))
    except (FailedPrecondition, NotFound, PermissionDenied, Temporary) as error:
        return _outcome(document, clients.settings, error)
    return replace(_outcome(document, clients.settings), healed=healed_keys(outcomes))


def query(
    documents: Sequence[Conversation], clients: Clients, deadline: float
) -> dict[str, dict[str, Any]]:
    """What Stream says of the channels of up to 30 conversations, by conversation id."""
    cids = {cid_of(document.id, clients.settings): document.id for document in documents}
    found = clients.stream.query_channels(list(cids), deadline)
    return {cids[cid]: state for cid, state in found.items() if cid in cids}


def _outcome(
    document: Conversation, settings: Settings, error: ChatsyncError | None = None
) -> ConversationOutcome:
    cid = cid_of(document.id, settings)
    status = None if error else document.status
    return ConversationOutcome(
        Key("conversation", document.id), cid, status, error, document=document
    )


def refuse_obstacles(outcomes: Sequence[Outcome]) -> None:
    """Raise the error of the first who cannot be a member, naming all of the same kind."""
    errors = [outcome.error for outcome in outcomes if outcome.error]
    refusals = [
        error
        for error in errors
        if isinstance(error, FailedPrecondition) and error.reason not in _NO_OBSTACLES
    ]
    if refusals:
        reason = refusals[0].reason
        named = [one for error in refusals if error.reason == reason for one in error.ids]
        raise FailedPrecondition(named, reason, refusals[0].told)
    if unknown := [one for error in errors if isinstance(error, NotFound) for one in error.ids]:
        raise NotFound(unknown)
    for error in errors:
        if not isinstance(error, FailedPrecondition):
            raise error


def healed_keys(outcomes: Sequence[Outcome]) -> tuple[Key, ...]:
    return tuple(outcome.key for outcome in outcomes if outcome.status not in ("ok", None))


def _make_channel(document: Conversation, clients: Clients, deadline: float) -> None:
    """Get or create the channel, until it has the members, and the name, of the document.

    Stream may say that users don't exist although they were just written: those are looked at
    again, and the call is repeated.
    """
    for pause in PAUSES_SECONDS:
        try:
            _make_channel_once(document, clients, deadline)
            return
        except StreamRejected as error:
            named = [member for member in document.member_ids if member in error.words]
            if not named:
                raise
            logger.warn(
                f"Stream doesn't know {len(named)} members of {document.id} yet: {error}",
                conversation=document.id,
            )
            keys = [key for one in named if (key := clients.settings.id_format.key(one))]
            refuse_obstacles(repairs.reconcile(keys, clients, deadline=deadline))
        except StreamUnavailable:
            pass  # asked again
        if time.monotonic() + pause >= deadline:
            raise Postponed(f"no time left for conversation {document.id}")
        time.sleep(pause)
    _make_channel_once(document, clients, deadline)


def _make_channel_once(document: Conversation, clients: Clients, deadline: float) -> None:
    cid = cid_of(document.id, clients.settings)
    wanted = document.member_ids
    fields = {"team": document.team, "name": document.name}
    creator = clients.settings.id_format.stream_id(Key("user", document.created_by))
    data = {
        "created_by_id": creator if creator in wanted else wanted[0],
        "members": wanted[:BATCH],
        **{field: value for field, value in fields.items() if value},
    }
    state = clients.stream.get_or_create_channel(cid, data, deadline)
    channel = state["channel"]
    if (channel.get("team") or None) != document.team:
        raise FailedPrecondition([], Refusal.WRONG_TEAM)
    present = {member["user_id"] for member in state["members"]}
    if missing := [member for member in wanted if member not in present]:
        clients.stream.add_members(cid, missing, deadline)
    if channel.get("member_count", 0) + len(missing) > len(wanted):
        # A channel that was there before, with others in it: this conversation is not theirs.
        all_members = clients.stream.query_members(cid, deadline)
        extra = [member for member in all_members if member not in set(wanted)]
        clients.stream.remove_members(cid, extra, deadline)
    if document.name and channel.get("name") != document.name:
        clients.stream.update_channel_partial(cid, {"name": document.name}, deadline)


def _follow(
    document: Conversation,
    state: Mapping[str, Any],
    origin: str,
    clients: Clients,
    deadline: float,
) -> Conversation:
    """Write down what Stream says of an existing channel."""
    channel = state["channel"]
    members = tuple(members_of(state, clients, deadline))
    name = name_of(channel)
    team = channel.get("team") or None
    if document.status == "ready":
        if team != document.team:
            logger.error(
                f"Conversation {document.id} is of team {document.team} in Firestore,"
                f" of {team} in Stream",
                conversation=document.id,
            )
        if name == document.name and set(members) == set(document.member_ids):
            return document
        followed = replace(document, name=name, member_ids=members)
        changing = ["name", "memberIds", "participantIds", "status"]
        return _update(followed, changing, clients, deadline)
    logger.info(f"Recording channel {channel['cid']}", conversation=document.id)
    recorded = replace(
        document,
        status="ready",
        member_ids=members,
        name=name,
        team=team,
        created_by=_creator(channel, clients.settings),
        created_at=datetime.fromisoformat(channel["created_at"]),
        conversation_type="direct" if len(members) == 2 and not name else "group",
    )
    return _record(recorded, origin, clients, deadline)


def members_of(state: Mapping[str, Any], clients: Clients, deadline: float) -> list[str]:
    """The Stream ids of all members of a channel, asked for only where they are over a hundred."""
    channel = state["channel"]
    listed = state.get("members")
    members = [
        member["user_id"]
        for member in (listed if isinstance(listed, list) else [])
        if isinstance(member, dict) and text_of(member.get("user_id"))
    ]
    count = channel.get("member_count")
    if isinstance(count, int) and count > len(members):
        members = clients.stream.query_members(channel["cid"], deadline)
    return members


def _creator(channel: Mapping[str, Any], settings: Settings) -> str:
    creator = str((channel.get("created_by") or {}).get("id") or "")
    key = settings.id_format.key(creator)
    return key.id if key and key.kind == "user" else creator


def _close(document: Conversation, clients: Clients, deadline: float) -> Conversation:
    logger.info(f"Conversation {document.id} is gone from Stream", conversation=document.id)
    return _update(replace(document, status="deleted"), ["status"], clients, deadline)


def _set_status(
    document: Conversation, status: str, clients: Clients, deadline: float
) -> Conversation | None:
    """Note how it ended: well, whoever else is at it, or badly, unless somebody else is at it."""
    batch = clients.firestore.batch()
    reference = reference_of(document.id, clients)
    fields = {"status": status, "updatedAt": firestore.SERVER_TIMESTAMP}
    unchanged = clients.firestore.write_option(last_update_time=document.version)
    batch.update(reference, fields, None if status == "ready" else unchanged)
    written_at = firebase.commit(batch, deadline + GRACE_SECONDS)
    return replace(document, status=status, version=written_at[0]) if written_at else None


def _record(document: Conversation, origin: str, clients: Clients, deadline: float) -> Conversation:
    """Write the whole document, new or deleted before. Raises Unsettled."""
    fields = document_fields(document, clients.settings)
    fields |= {"origin": origin, "createdAt": document.created_at}
    return _write(fields, document, clients, deadline)


def _update(
    document: Conversation, names: Sequence[str], clients: Clients, deadline: float
) -> Conversation:
    """Write some fields of a document, which may hold more than we know of. Raises Unsettled."""
    fields = document_fields(document, clients.settings)
    return _write({name: fields[name] for name in names}, document, clients, deadline)


def _write(
    fields: Mapping[str, Any], document: Conversation, clients: Clients, deadline: float
) -> Conversation:
    """Raises Unsettled if somebody else wrote it since it was read: they may know better."""
    batch = clients.firestore.batch()
    reference = reference_of(document.id, clients)
    firebase.add_write(batch, reference, fields, document.version, clients.firestore)
    written_at = firebase.commit(batch, deadline)
    if not written_at:
        raise Unsettled(f"conversation {document.id} changed meanwhile")
    return replace(document, version=written_at[0])
