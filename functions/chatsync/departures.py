"""A deleted account leaves the conversations that it was in."""

import time
from collections.abc import Iterator
from typing import Any

from firebase_functions import logger
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch
from google.cloud.firestore_v1.field_path import FieldPath
from google.rpc import code_pb2

from .clients import Clients
from .clients.documents import CHANGED, temporary_failures_named, until
from .errors import FirebaseUnavailable
from .side_by_side import BATCH


def leave_conversations(uid: str, stream_id: str, clients: Clients, deadline: float) -> None:
    """Take an account out of ``participantIds``, ``memberIds``, ``left`` and ``createdBy``.

    Only of conversations that chatsync wrote (they have an ``origin``). Safe to repeat. Raises
    FirebaseUnavailable, also if no time is left: call it again then.
    """
    for snapshots in _pages(uid, stream_id, clients, deadline):
        batch = BulkWriteBatch(clients.firestore)
        for snapshot in snapshots:
            stored = snapshot.to_dict()
            fields = {
                "participantIds": firestore.ArrayRemove([uid]),
                "memberIds": firestore.ArrayRemove([stream_id]),
                "updatedAt": firestore.SERVER_TIMESTAMP,
            }
            if stored.get("createdBy") == uid:
                fields["createdBy"] = None
            for name in ("left", "leaving"):
                if stream_id in (stored.get(name) or {}):
                    fields[FieldPath(name, stream_id).to_api_repr()] = firestore.DELETE_FIELD
            batch.update(snapshot.reference, fields)
        with temporary_failures_named():
            statuses = batch.commit(**until(deadline)).status
        if any(status.code not in (code_pb2.OK, *CHANGED) for status in statuses):
            raise FirebaseUnavailable("a conversation could not be written")
        for snapshot in snapshots:
            message = f"User {uid}, whose account is deleted, left conversation {snapshot.id}"
            logger.info(message, user=uid, conversation=snapshot.id)


def _pages(uid: str, stream_id: str, clients: Clients, deadline: float) -> Iterator[list[Any]]:
    """The account's conversations, as far as they are ours, a hundred at a time."""
    for query in conversations_of(uid, stream_id, clients):
        page = query.limit(BATCH).select(["origin", "createdBy", "left", "leaving"])
        while True:
            with temporary_failures_named():
                found = list(page.get(**until(deadline)))
            if ours := [one for one in found if (one.to_dict() or {}).get("origin")]:
                yield ours
            if len(found) < BATCH:
                break
            if time.monotonic() >= deadline:
                raise FirebaseUnavailable(f"no time left for the conversations of user {uid}")
            page = page.start_after(found[-1])


def conversations_of(uid: str, stream_id: str, clients: Clients) -> list[firestore.Query]:
    """What finds all conversations that name an account; some find the same."""
    collection = clients.firestore.collection(clients.settings.config.conversations.collection)
    queries = [
        collection.where(filter=condition).order_by("__name__")
        for condition in (
            FieldFilter("participantIds", "array_contains", uid),
            FieldFilter("memberIds", "array_contains", stream_id),
            FieldFilter("createdBy", "==", uid),
        )
    ]
    # Those that have the field.
    return [*queries, collection.order_by(FieldPath("left", stream_id).to_api_repr())]
