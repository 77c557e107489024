"""The calls that our functions make, with the same SDKs and the same data, and nothing decided.

What ours take beside these is ours alone: see ``bench/processor.py``.
"""

# ruff: noqa: N802 (deployed names)

import functools
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import firebase_admin
import functions_framework
from cloudevents.http import CloudEvent
from firebase_admin import auth
from firebase_functions.https_fn import CallableRequest, on_call, on_request
from flask import Request, Response
from google.cloud import firestore
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch
from stream_chat import StreamChat

TOKEN_LIFETIME_SECONDS = 3600

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
    uid = request.data["userId"]
    reading = begin(lambda: read(uid))
    query_users(uid)
    reading.result()
    return {"userId": uid, "streamUserId": uid, "status": "ok"}


@on_call()
def getStreamUserToken(request: CallableRequest[Any]) -> dict[str, Any]:
    assert request.auth
    assert request.auth.uid
    uid = request.auth.uid
    asking = begin(lambda: ask_auth(uid))
    read(uid)
    asking.result()
    now = int(time.time())
    return {"token": chat().create_token(uid, exp=now + TOKEN_LIFETIME_SECONDS, iat=now)}


@functions_framework.cloud_event
def createStreamUser(event: CloudEvent) -> None:
    data: Any = event.get_data()
    uid = data["value"]["uid"]
    asking, reading = begin(lambda: ask_auth(uid)), begin(lambda: read(uid))
    query_users(uid)
    reading.result()
    name = asking.result().display_name
    begin(lambda: create_documents(uid, name)).result()
    chat().upsert_users([{"id": uid, "name": name, "role": "user", "teams": []}])
    asking, reading = begin(lambda: ask_auth(uid)), begin(lambda: read(uid))
    asking.result()
    reading.result()
    remember(uid)


@on_request()
def streamWebhook(request: Request) -> Response:
    secret = os.environ["STREAM_API_SECRET"].encode()
    signature = hmac.new(secret, request.get_data(), hashlib.sha256).hexdigest()
    assert hmac.compare_digest(signature, request.headers["X-Signature"])
    read(request.get_json()["user"]["id"], ("users", "user_profiles", "companies", "stream_users"))
    return Response("{}", content_type="application/json")


def begin(call: Callable[[], Any]) -> Future[Any]:
    return threads.submit(call)


def ask_auth(uid: str) -> auth.UserRecord:
    return auth.get_users([auth.UidIdentifier(uid)]).users[0]


def query_users(uid: str) -> None:
    chat().query_users({"id": {"$in": [uid]}}, limit=100, include_deactivated_users=True)


def read(
    uid: str,
    collections: Sequence[str] = (
        *("users", "user_profiles", "user_stats", "companies", "stream_users"),
    ),
) -> None:
    references = [documents().collection(name).document(uid) for name in collections]
    list(documents().get_all(references))


def create_documents(uid: str, name: str) -> None:
    now = firestore.SERVER_TIMESTAMP
    shown = {"displayName": name, "photoURL": None}
    stats = {"conversationsStarted": 0, "messagesSent": 0, "lastActiveAt": None}
    fields: dict[str, dict[str, Any]] = {
        "users": {"displayName": name, "email": f"{uid}@example.com"},
        "user_profiles": {**shown, "preferences": {}, "mirrored": shown},
        "user_stats": stats,
    }
    batch = BulkWriteBatch(documents())
    for collection, document in fields.items():
        dated = {**document, "createdAt": now, "updatedAt": now}
        batch.create(documents().document(collection, uid), dated)
    batch.create(documents().document("stream_users", uid), {"kind": "user", "streamUserId": uid})
    batch.commit()


def remember(uid: str) -> None:
    fields = {"fingerprint": uid, "verifiedAt": firestore.SERVER_TIMESTAMP, "revokedBefore": 0}
    batch = BulkWriteBatch(documents())
    batch.update(documents().document("stream_users", uid), fields)
    batch.commit()
