"""What the whole stack holds, to see what a test leaves behind."""

from __future__ import annotations

import firebase_admin
from firebase_admin import auth
from google.cloud import firestore as google_firestore
from stream_chat import StreamChat

from stream_server.control_client import LocalStream
from tests.waiting import wait_for

Snapshot = dict[str, set[str]]

STAYS = {
    # Made once, by whatever conversation of the project is the first.
    "chatsync/keys",
    # That an event of a user came from Stream is true.
    "chatsync/webhook",
}


def snapshot_of(
    firebase: firebase_admin.App,
    firestore: google_firestore.Client,
    chat: StreamChat,
    stream: LocalStream,
) -> Snapshot:
    """All that there is, by side, when all events of Stream have been answered."""
    wait_for(lambda: all(one["status"] is not None for one in stream.deliveries()))
    collections = firestore.collections()
    paths = {one.path for each in collections for one in each.list_documents()}
    users = chat.query_users({}, include_deactivated_users=True, limit=100)["users"]
    counts = stream.state()["counts"]
    numbers = ("users", "deactivated_users", "deleted_users", "channels")
    return {
        "accounts": {one.uid for one in auth.list_users(app=firebase).iterate_all()},
        "documents": paths - STAYS,
        "Stream": {one["id"] for one in users},
        # Each one more is an item more: of channels and of deleted users no names are listed.
        "counts": {f"{name} {n}" for name in numbers for n in range(counts[name])},
    }


def left(before: Snapshot, after: Snapshot) -> Snapshot:
    """What came in between and is still there; what else ran may have removed something."""
    new = {side: after[side] - before[side] for side in after}
    return {side: found for side, found in new.items() if found}
