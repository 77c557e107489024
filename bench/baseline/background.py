"""What the work in the background is measured against: the same reads, and bare writes.

As one would write it by hand with the SDKs, in one process that goes by the hundred: no rate limit
kept, no failure expected, nothing written down of what was found. It prints how many it found or
made, and the seconds from when the modules were imported and the clients made.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import firebase_admin
from firebase_admin import auth
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from stream_chat import StreamChat

COLLECTIONS = ("users", "user_profiles", "user_stats")

firebase_admin.initialize_app(options={"projectId": os.environ["GCLOUD_PROJECT"]})
documents = firestore.Client(project=os.environ["GCLOUD_PROJECT"])
chat = StreamChat(
    os.environ["STREAM_API_KEY"],
    os.environ["STREAM_API_SECRET"],
    base_url=os.environ["STREAM_BASE_URL"],
)
threads = ThreadPoolExecutor(max_workers=2)


def backfill() -> int:
    """List all accounts, and look who is missing; look again, create, look once more."""
    created = 0
    page = auth.list_users()
    while page:
        for uids in hundreds([user.uid for user in page.users]):
            _, found = read(uids)
            missing = [uid for uid in uids if uid not in found]
            if missing:
                created += repair(missing)
        page = page.get_next_page()
    return created


def drain() -> int:
    """Work off the entries that are due."""
    created = 0
    collection = documents.collection("repairs")
    while True:
        due = collection.where(filter=FieldFilter("nextAttemptAt", "<=", datetime.now(UTC)))
        entries = due.order_by("nextAttemptAt").limit(100).get()
        if not entries:
            return created
        created += repair([entry.get("key") for entry in entries])
        batch = documents.batch()
        for entry in entries:
            batch.delete(entry.reference)
        batch.commit()


def audit() -> int:
    """Compare all accounts with documents and Stream; then is there an account behind those?"""
    disagreeing = 0
    page = auth.list_users()
    while page:
        names = {user.uid: user.display_name for user in page.users}
        for uids in hundreds(list(names)):
            held, found = read(uids)
            disagreeing += sum(
                found.get(uid, {}).get("name") != names[uid] or len(held.get(uid, ())) != 3
                for uid in uids
            )
        page = page.get_next_page()
    for uids in listed_in_stream():
        disagreeing += len(uids) - len(accounts_of(uids))
    for collection in COLLECTIONS:
        for page_of in listed_in_firestore(collection):
            for uids in hundreds(page_of):
                disagreeing += len(uids) - len(accounts_of(uids))
    return disagreeing


def repair(uids: Sequence[str]) -> int:
    _, found = read(uids)
    accounts = [account for account in accounts_of(uids) if account.uid not in found]
    chat.upsert_users([{"id": one.uid, "name": one.display_name} for one in accounts])
    looking = threads.submit(documents_of, uids)
    accounts_of(uids)
    looking.result()
    return len(accounts)


def read(uids: Sequence[str]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Documents and Stream users, read side by side."""
    reading = threads.submit(documents_of, uids)
    answer = chat.query_users({"id": {"$in": list(uids)}}, limit=100)
    return reading.result(), {user["id"]: user for user in answer["users"]}


def documents_of(uids: Sequence[str]) -> dict[str, list[Any]]:
    references = [documents.document(name, uid) for uid in uids for name in COLLECTIONS]
    found: dict[str, list[Any]] = {}
    for snapshot in documents.get_all(references):
        if snapshot.exists:
            found.setdefault(snapshot.id, []).append(snapshot.to_dict())
    return found


def accounts_of(uids: Sequence[str]) -> list[auth.UserRecord]:
    return list(auth.get_users([auth.UidIdentifier(uid) for uid in uids]).users)


def listed_in_stream() -> Iterator[list[str]]:
    after = ""
    while True:
        query = {"id": {"$gt": after}} if after else {}
        sort = [{"field": "id", "direction": 1}]
        uids = [user["id"] for user in chat.query_users(query, sort, limit=100)["users"]]
        yield uids
        if len(uids) < 100:
            return
        after = uids[-1]


def listed_in_firestore(collection: str) -> Iterator[list[str]]:
    listing = documents.collection(collection).order_by("__name__").select([]).limit(1000)
    query = listing
    while True:
        page = query.get()
        yield [snapshot.id for snapshot in page]
        if len(page) < 1000:
            return
        query = listing.start_after(page[-1])


def hundreds(uids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(uids), 100):
        yield uids[start : start + 100]


WORK: dict[str, Callable[[], int]] = {"backfill": backfill, "drain": drain, "audit": audit}

if __name__ == "__main__":
    began = time.perf_counter()
    count = WORK[sys.argv[1]]()
    print(json.dumps({"count": count, "seconds": time.perf_counter() - began}))
