"""Stream's webhook: signed events, each a hint that something changed.

Stream repeats an event that is not answered within seconds, sends some twice, and in any order;
``X-Webhook-Id`` is not signed. So only the signature is trusted, and every effect is idempotent by
content (Stream documentation, "Webhooks").
"""

import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac
from typing import Any

from firebase_functions import logger
from flask import Request, Response
from google.cloud import firestore
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from .. import ids, outbox, proof
from ..clients import Clients
from ..clients.accounts import read_accounts
from ..clients.documents import (
    commit,
    log_created,
    read_documents,
    stats_of,
    tell_stats_created,
    temporary_failures_named,
    until,
)
from ..conversations import (
    Conversation,
    conversation_id_of,
    is_cid,
    is_one_of_pair,
    name_of,
    note_leaving,
    participants_of,
    read,
    reconcile_conversations,
    text_of,
)
from ..errors import (
    InvalidArgument,
    Postponed,
    StreamCredentialsRejected,
    Temporary,
    Unauthenticated,
    Unsettled,
)
from ..ids import Key
from ..log_events import LogEvent
from ..outbox import retry
from ..outcome import Outcome
from ..settings import Settings
from ..side_by_side import begin, result
from ..users import Account, Document, new_stats
from . import bodies, user_events
from .failures import log_unexpected
from .user_events import REPORT_SECONDS

MAX_BYTES = 1_000_000
"""Of an unpacked body. Stream's largest object, a message, has 5 KB and 50 members at most."""

INLINE_SECONDS = 2.0
"""After this time the outbox goes on: Stream waits six seconds for an answer."""

COUNTED_FOR = timedelta(days=7)
"""How long a counted message is remembered; older messages are not counted."""

_COUNTED = "counted_messages"
_MAX_CONFLICTS = 3
_MAX_ID_LENGTH = 255


def _verified_event(request: Request, settings: Settings) -> dict[str, Any]:
    """The event in a request. Raises Unauthenticated if Stream did not sign it.

    The signature covers the unpacked body. Raises InvalidArgument if the body is no gzip, too large
    when unpacked, or signed but no JSON object, and what :func:`bodies.read` raises.
    """
    signature = request.headers.get("X-Signature", "").strip().encode(errors="replace")
    if not signature:
        raise Unauthenticated("the body is not signed by Stream")
    body = bodies.read(request, MAX_BYTES)
    if request.headers.get("Content-Encoding", "").strip().lower() == "gzip":
        body = _unpacked(body)
    expected = hmac(settings.stream_api_secret.encode(), body, sha256).hexdigest()
    if not compare_digest(expected.encode(), signature):
        raise Unauthenticated("the body is not signed by Stream")
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise InvalidArgument("body", "must be a JSON object")
    return event


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(body, MAX_BYTES)
    except zlib.error:
        raise InvalidArgument("body", "is not gzip") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise InvalidArgument("body", "is too large" if unpacker.unconsumed_tail else "is cut off")
    return unpacked


def handle(event: Mapping[str, Any], clients: Clients) -> None:
    """Reconcile the conversation that an event names, and count its message.

    An event of a user ends trust in what is remembered of them (:mod:`chatsync.entry.user_events`).

    If Stream or Firestore doesn't answer in time, the outbox goes on. Raises Temporary if the
    outbox cannot be written: Stream should then send the event again. Events of other kinds, or
    without the fields they need, are ignored.
    """
    deadline = time.monotonic() + INLINE_SECONDS
    kind, cid = text_of(event.get("type")), _cid(event)
    if kind.startswith("user."):
        if not cid:
            told_at = _time(event.get("created_at"))
            user_events.handle(kind, _object(event.get("user")), told_at, clients, deadline)
        proof.note_user_event(clients)
        return
    if not cid or not (kind.startswith(("channel.", "member.")) or kind == "message.new"):
        return
    has_entry = kind == "message.new" and _count(event, clients, deadline)
    document = read(conversation_id_of(cid, clients.settings), clients, deadline)
    has_left = kind == "member.removed" and _has_left(document, event, clients, deadline)
    if has_left:
        # Written before Stream is asked: so it isn't forgotten, whatever fails.
        at = min(_time(event.get("created_at")) or datetime.now(UTC), datetime.now(UTC))
        note_leaving(document, _member(event), at, clients, deadline)
    settled = document.is_foreign or (not has_left and _agrees(document, kind, event))
    was_woken = not settled and _reconcile(document, clients, deadline)
    if has_entry and not was_woken:
        outbox.try_to_wake(time.time() + retry.FIRST_ATTEMPT_SECONDS, clients)


def _reconcile(document: Conversation, clients: Clients, deadline: float) -> bool:
    """Reconcile the conversation now, or enter it into the outbox; returns whether it was entered.

    One that ``createConversation`` is about to open always goes to the outbox, for a later check.
    """
    outcome = Outcome(Key("conversation", document.id), "", None, Postponed("it is being made"))
    if document.status not in ("pending", "failed"):
        try:
            [outcome] = reconcile_conversations([document.id], clients, deadline=deadline)
        except (Temporary, StreamCredentialsRejected) as error:
            outcome = replace(outcome, error=error)
    if outcome.is_done:
        return False
    outbox.write_entries([outcome], clients, REPORT_SECONDS)
    return True


def _agrees(document: Conversation, kind: str, event: Mapping[str, Any]) -> bool:
    """Whether the document agrees with the event already: most events echo our own calls."""
    if kind == "channel.deleted":
        return document.status in ("", "deleted")
    if document.status not in ("ready", "pending", "failed"):
        return False
    members = set(document.member_ids)
    match kind:
        case "member.added":
            return _member(event) in members and _member(event) not in document.left
        case "member.removed":
            return _member(event) not in members
        case "channel.created" | "channel.updated":
            channel = event.get("channel")
            return (
                isinstance(channel, dict)
                and name_of(channel) == document.name
                and (channel.get("team") or None) == document.team
                and channel.get("member_count", len(members)) == len(members)
            )
    return True


def _has_left(
    document: Conversation, event: Mapping[str, Any], clients: Clients, deadline: float
) -> bool:
    """Whether an event tells that a member left, who may be gone from the document already.

    Whom our own repair removed was no member in the document. A group that was recorded is never
    begun again, and people may come and go in it without end.
    """
    member = _member(event)
    is_recorded_group = document.is_recorded and document.conversation_type == "group"
    if document.is_foreign or not document.status or is_recorded_group:
        return False
    if not member or member in document.left:
        return False
    return member in document.member_ids or is_one_of_pair(document, member, clients, deadline)


def _count(event: Mapping[str, Any], clients: Clients, deadline: float) -> bool:
    """Count a message for its sender, once, however often and late its event arrives.

    The commit that raises the count also stores the message's id. A sender without stats gets them
    in the same commit, with an entry in the outbox for what else may be missing; returns whether
    there is such an entry.
    """
    message = _object(event.get("message"))
    message_id, sender = text_of(message.get("id")), text_of(_object(message.get("user")).get("id"))
    sent_at = _time(message.get("created_at"))
    if not message_id or len(message_id) > _MAX_ID_LENGTH or not sent_at:
        return False
    uids = participants_of([sender], clients, deadline) if sender else ()
    if not uids:
        return False
    key = Key("user", uids[0])
    now = datetime.now(UTC)
    sent_at = min(sent_at, now)
    if now - sent_at > COUNTED_FOR:
        return False
    counted = clients.firestore.document(_COUNTED, ids.document_id(message_id))
    record = stats_of(key.id, clients)
    for _ in range(_MAX_CONFLICTS):
        stats = read_documents([key], clients, deadline, of=["stats"])[key].stats
        batch = clients.firestore.batch()
        batch.create(counted, {"expireAt": now + COUNTED_FOR + timedelta(days=1)})
        if stats is None:
            asking = begin(read_accounts, [key], clients.auth)
            account = result(asking, deadline).get(key)
            if account is None:
                return False  # a bot, or a deleted user
            batch.create(record, _first_sent(account, sent_at))
            outbox.begin_entry(key, batch, clients, retry.FIRST_ATTEMPT_SECONDS, removal=True)
            tell_stats_created(key, batch, clients, deadline)
        else:
            batch.update(record, _sent(stats, sent_at))
        if commit(batch, deadline) is not None:
            if stats is None:
                log_created(key, [record])
            return stats is None
        with temporary_failures_named():
            was_counted = counted.get(**until(deadline)).exists
        if was_counted:
            logger.info("A message was counted before", user=key.id)
            return False
    raise Unsettled(f"the record of {key.id} kept changing")


def _first_sent(account: Account, sent_at: datetime) -> dict[str, Any]:
    """New stats for a sender who had none, with this message counted."""
    now = firestore.SERVER_TIMESTAMP
    return {**new_stats(account.created_at or now, now), "messagesSent": 1, "lastActiveAt": sent_at}


def _sent(stats: Document, sent_at: datetime) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "messagesSent": firestore.Increment(1),
        "updatedAt": firestore.SERVER_TIMESTAMP,
    }
    last = stats.get("lastActiveAt")
    if not isinstance(last, datetime) or last < sent_at:
        fields["lastActiveAt"] = sent_at
    return fields


def _cid(event: Mapping[str, Any]) -> str:
    """The cid of an event's channel; empty if the event names no possible channel."""
    cid = text_of(event.get("cid")) or text_of(_object(event.get("channel")).get("cid"))
    return cid if is_cid(cid) else ""


def _member(event: Mapping[str, Any]) -> str:
    """The member who was added or removed; ``user`` is the actor in some payloads."""
    return text_of(_object(event.get("member")).get("user_id"))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text_of(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def answer(request: Request, connect: Callable[[], Clients]) -> Response:
    """200 for an event that was handled or ignored; 4xx for a request that Stream did not send.

    500 asks Stream to send the event again.
    """
    try:
        if request.method != "POST":
            return Response("POST only", 405, {"Allow": "POST"})
        clients = connect()
        handle(_verified_event(request, clients.settings), clients)
    except RequestEntityTooLarge:
        return Response("too large", 413)
    except ClientDisconnected:
        return Response("body is cut off", 400)
    except Unauthenticated as error:
        return Response(str(error), 401)
    except InvalidArgument as error:
        return Response(str(error), 400)
    except (Temporary, StreamCredentialsRejected) as error:
        message = f"An event is to be sent again: {error}"
        logger.error(message, event=LogEvent.WEBHOOK_FAILED)
        return Response("try again", 500)
    except Exception as error:  # noqa: BLE001 (a bug is logged, and Stream asked to send the event again)
        log_unexpected(error)
        return Response("try again", 500)
    finally:
        bodies.discard(request)
    return Response("", 200)
