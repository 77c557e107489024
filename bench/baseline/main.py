"""What the functions are measured against: the same calls, and nothing else.

As one would write it by hand with the SDKs: no repair, no second look, no outbox, no limits kept,
no error told from another. The SDKs' modules are those of which the real functions have triggers.
"""

# ruff: noqa: N802 (deployed names)

import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import firebase_admin
import functions_framework
from cloudevents.http import CloudEvent
from firebase_admin import auth, functions  # noqa: F401
from firebase_functions import (  # noqa: F401
    firestore_fn,
    identity_fn,
    scheduler_fn,
    tasks_fn,
)
from firebase_functions.https_fn import CallableRequest, on_call
from google.cloud import firestore
from stream_chat import StreamChat

TOKEN_LIFETIME_SECONDS = 3600
CONSISTENCY_SECONDS = 0.5
"""Folklore: Stream's users can be read as soon as they are written."""

firebase_admin.initialize_app(options={"projectId": os.environ["GCLOUD_PROJECT"]})
threads = ThreadPoolExecutor(max_workers=16)


@functools.cache
def documents() -> firestore.Client:
    return firestore.Client(project=os.environ["GCLOUD_PROJECT"])


@functools.cache
def chat() -> StreamChat:
    settings = ("STREAM_API_KEY", "STREAM_API_SECRET", "STREAM_BASE_URL")
    key, secret, base_url = (os.environ[name] for name in settings)
    return StreamChat(key, secret, base_url=base_url)


@on_call()
def ensureStreamUser(request: CallableRequest[Any]) -> dict[str, Any]:
    uids = request.data.get("userIds") or [request.data["userId"]]
    references = [documents().document("users", uid) for uid in uids]
    reading = begin(lambda: list(documents().get_all(references)))
    found = {user["id"] for user in query_users(uids)}
    reading.result()
    missing = [uid for uid in uids if uid not in found]
    if missing:
        accounts = auth.get_users([auth.UidIdentifier(uid) for uid in missing]).users
        chat().upsert_users([stream_user(account) for account in accounts])
    return {"created": missing}


@on_call()
def getStreamUserToken(request: CallableRequest[Any]) -> dict[str, Any]:
    uid = caller(request)
    lookup = begin(lambda: auth.get_user(uid))
    query_users([uid])
    lookup.result()
    now = int(time.time())
    return {"token": chat().create_token(uid, exp=now + TOKEN_LIFETIME_SECONDS, iat=now)}


@functions_framework.cloud_event
def createStreamUser(event: CloudEvent) -> None:
    data: Any = event.get_data()
    uid = data["value"]["uid"]
    account = auth.get_user(uid)
    documents().document("users", uid).create({"displayName": account.display_name})
    if not query_users([uid]):
        chat().upsert_user(stream_user(account))


@on_call()
def createConversation(request: CallableRequest[Any]) -> dict[str, Any]:
    """The way of the app that this project began with."""
    members = [caller(request), *request.data["participantIds"]]
    references = [documents().document("users", uid) for uid in members]
    users = [lookup.result() for lookup in [begin(one.get) for one in references]]
    stream_users = [
        {"id": user.id, "name": (user.to_dict() or {}).get("displayName") or "User"}
        for user in users
    ]
    for start in range(0, len(stream_users), 100):
        chat().upsert_users(stream_users[start : start + 100])
    time.sleep(CONSISTENCY_SECONDS)
    channel = chat().channel("messaging", request.data["name"], {"members": members[:100]})
    channel.create(members[0])
    for start in range(100, len(members), 100):
        channel.add_members(members[start : start + 100])
    return {"cid": channel.cid}


def caller(request: CallableRequest[Any]) -> str:
    assert request.auth
    assert request.auth.uid
    return request.auth.uid


def begin(call: Callable[[], Any]) -> Future[Any]:
    return threads.submit(call)


def query_users(uids: list[str]) -> list[dict[str, Any]]:
    users: list[dict[str, Any]] = chat().query_users({"id": {"$in": uids}}, limit=100)["users"]
    return users


def stream_user(account: auth.UserRecord) -> dict[str, Any]:
    return {"id": account.uid, "name": account.display_name or "User"}
