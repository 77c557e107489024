"""The state before ``chatsync.toml`` and today's, side by side: an upgrade, and the way back.

Processes of both, as instances during a deployment, have one project, one Stream app and one task
queue. Project and Stream server are this module's own, so nothing is left in the others'.
``data/chatsync-before.tar.xz`` is the earlier state without the operator's command:

    git archive 02b513a functions/main.py functions/chatsync ':!functions/chatsync/operator' \
        ':!functions/chatsync/__main__.py' | xz -9e

What CHANGELOG.md says of an upgrade, and of the way back, is asserted here; so are its exceptions.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import firebase_admin
import pytest
import requests
from firebase_admin import auth
from google.cloud import firestore as google_firestore
from google.cloud.firestore_v1._helpers import encode_dict
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.types import Document
from google.events.cloud.firestore import DocumentEventData
from stream_chat import StreamChat

from chatsync import proof
from dev import emulators as local
from stream_server.control_client import LocalStream
from tests.fast.test_functions import id_token
from tests.limited_memory import Limited, deployed, start
from tests.waiting import wait_for

PROJECT = "demo-upgrade"
ARCHIVE = Path(__file__).parent / "data" / "chatsync-before.tar.xz"
CHANGELOG = local.ROOT / "CHANGELOG.md"

BEFORE = {
    "STREAM_USER_ID_FORMAT": "app_{uid}",
    "STREAM_COMPANY_ID_FORMAT": "firm_{id}",
    "STREAM_CHANNEL_ID_FORMAT": "chat_{id}",
    "STREAM_CHANNEL_TYPE": "team",
    "STREAM_USER_ROLE": "guest",
    "STREAM_COMPANY_ROLE": "admin",
    "STREAM_SERVICE_USERS": "helper,bot",
    "STREAM_DELETE_POLICY": "deactivate",
    "STREAM_TOKEN_LIFETIME_SECONDS": "1800",
    "PROVISION_ANONYMOUS_USERS": "false",
    "STREAM_EXTRA_FIELDS": "email",
}
"""What a project of the earlier state has in ``.env``: nothing is the default."""

AFTER = """
[stream]
user_id = "app_{uid}"
company_id = "firm_{id}"
channel_id = "chat_{id}"
channel_type = "team"
user_role = "guest"
company_role = "admin"
service_users = ["helper", "bot"]
delete_policy = "deactivate"
token_lifetime_seconds = 1800
provision_anonymous_users = false

[users]
stream_fields = {email = "email"}
"""
"""The same in ``chatsync.toml``, by the table of the CHANGELOG."""

READS = {"QueryUsers", "QueryChannels", "QueryMembers", "GetApp"}

NOT_COMPARED = ("audits", "budgets", "chatsync")
"""Collections that tell of a run, a minute, or the place."""

JSON = "application/json"
AT = "2026-01-01T02:00:00Z"
"""Of events, and of the night."""


@dataclass
class Version:
    """The processes of one state, each of which starts when it is needed."""

    source: Path
    environment: Mapping[str, str]
    running: contextlib.ExitStack
    started: dict[str, Limited] = field(default_factory=dict)

    def url(self, name: str) -> str:
        if name not in self.started:
            memory = deployed()[name].memory_mb
            process = start(name, memory, self.environment, self.source)
            self.started[name] = self.running.enter_context(process)
        return self.started[name].url

    def send(self, name: str, body: bytes, kind: str = JSON, **headers: str) -> None:
        headers["Content-Type"] = kind
        answer = requests.post(self.url(name), body, headers=headers, timeout=60)
        assert answer.ok, answer.text

    def call(self, name: str, uid: str, data: object) -> dict[str, Any]:
        """The answer of a callable: ``result`` or ``error``."""
        headers = {"Authorization": f"Bearer {id_token(uid, PROJECT, auth_time=time.time())}"}
        answer = requests.post(self.url(name), json={"data": data}, headers=headers, timeout=60)
        return answer.json()

    def result(self, name: str, uid: str, data: object) -> Any:
        answer = self.call(name, uid, data)
        assert "result" in answer, answer
        return answer["result"]

    def auth_event(self, change: str, uid: str) -> None:
        body = {"value" if change == "created" else "oldValue": {"uid": uid, "metadata": {}}}
        event = {
            "type": f"google.firebase.auth.user.v2.{change}",
            "source": f"//firebaseauth.googleapis.com/projects/{PROJECT}",
            "subject": f"users/{uid}",
        }
        name = "createStreamUser" if change == "created" else "deleteStreamUser"
        self._deliver(name, event, json.dumps(body).encode(), JSON)

    def document_event(
        self, name: str, path: str, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> None:
        change = "created" if before is None else "updated"
        root = f"projects/{PROJECT}/databases/(default)"
        event = {
            "type": f"google.cloud.firestore.document.v1.{change}",
            "source": f"//firestore.googleapis.com/{root}",
            "subject": f"documents/{path}",
            "location": local.REGION,
            "project": PROJECT,
            "database": "(default)",
            "namespace": "(default)",
            "document": path,
        }
        data = DocumentEventData()
        for attribute, fields in (("old_value", before), ("value", after)):
            if fields is not None:
                named = Document(name=f"{root}/documents/{path}", fields=encode_dict(fields))
                of_event = type(data.value).deserialize(Document.serialize(named))
                setattr(data, attribute, of_event)
        body = DocumentEventData.serialize(data)
        self._deliver(name, event, body, "application/protobuf")

    def _deliver(self, name: str, event: Mapping[str, str], body: bytes, kind: str) -> None:
        event = {**event, "specversion": "1.0", "id": uuid.uuid4().hex, "time": AT}
        self.send(name, body, kind, **{f"ce-{key}": value for key, value in event.items()})

    def webhook(self, event: object, stream: LocalStream) -> None:
        """An event as Stream signs it."""
        body = json.dumps(event).encode()
        signature = hmac.digest(stream.secret.encode(), body, "sha256").hex()
        self.send("streamWebhook", body, **{"X-Signature": signature})

    def takes_tasks(self, name: str) -> None:
        """From now on the queue calls this version's function."""
        queues = f"{local.url('tasks')}/projects/{PROJECT}/locations/{local.REGION}/queues"
        queue = {**(deployed()[name].queue or {}), "defaultUri": self.url(name)}
        requests.post(f"{queues}/{name}", json=queue, timeout=60).raise_for_status()


@pytest.fixture(scope="module")
def environment(emulators: dict[str, str], own_stream_server: LocalStream) -> dict[str, str]:
    return {
        "GCLOUD_PROJECT": PROJECT,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "STREAM_BASE_URL": own_stream_server.url,
    }


@pytest.fixture(scope="module")
def old(environment: dict[str, str], tmp_path_factory: Any) -> Iterator[Version]:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    with contextlib.ExitStack() as running:
        yield Version(folder / "functions", environment | BEFORE, running)


@pytest.fixture(scope="module")
def new(environment: dict[str, str], tmp_path_factory: Any) -> Iterator[Version]:
    folder = tmp_path_factory.mktemp("new")
    shutil.copy(local.ROOT / "functions" / "main.py", folder)
    shutil.copytree(local.ROOT / "functions" / "chatsync", folder / "chatsync")
    (folder / "chatsync.toml").write_text(AFTER)
    with contextlib.ExitStack() as running:
        yield Version(folder, environment, running)


@pytest.fixture(params=["upgrade", "way back"])
def versions(request: Any, old: Version, new: Version) -> tuple[Version, Version]:
    """The one that was there first, and the one that goes on."""
    return (old, new) if request.param == "upgrade" else (new, old)


@pytest.fixture(scope="module")
def stream(own_stream_server: LocalStream) -> LocalStream:
    return own_stream_server


@pytest.fixture(scope="module")
def chat(stream: LocalStream) -> StreamChat:
    return StreamChat(stream.key, stream.secret, base_url=stream.url)


@pytest.fixture(scope="module")
def project(emulators: dict[str, str]) -> Iterator[firebase_admin.App]:
    app = firebase_admin.initialize_app(options={"projectId": PROJECT}, name=PROJECT)
    yield app
    firebase_admin.delete_app(app)


@pytest.fixture(scope="module")
def documents(emulators: dict[str, str]) -> google_firestore.Client:
    return google_firestore.Client(project=PROJECT)


@pytest.fixture
def sign_up(project: firebase_admin.App) -> Callable[..., str]:
    """An account's uid; with a version, which has handled the sign-up."""

    def sign_up(name: str, handled_by: Version | None = None) -> str:
        uid = f"{name}-{uuid.uuid4().hex[:8]}"
        record = auth.ImportUserRecord(uid, display_name=f" {name} ", email=f"{uid}@example.com")
        auth.import_users([record], app=project)
        if handled_by:
            handled_by.auth_event("created", uid)
        return uid

    return sign_up


@pytest.fixture
def in_stream(chat: StreamChat) -> Callable[[str], dict[str, Any] | None]:
    def in_stream(uid: str) -> dict[str, Any] | None:
        return next(iter(chat.query_users({"id": f"app_{uid}"})["users"]), None)

    return in_stream


@pytest.fixture
def everything(documents: google_firestore.Client) -> Callable[[], dict[str, Any]]:
    """When each document was written last."""

    def everything() -> dict[str, Any]:
        collections = [one for one in documents.collections() if one.id not in NOT_COMPARED]
        return {
            one.reference.path: one.update_time for each in collections for one in each.stream()
        }

    return everything


def deliver_creation(version: Version, uid: str, documents: google_firestore.Client) -> None:
    """Firestore's events of an account's new documents."""
    for name, path in (
        ("createUserProfile", f"users/{uid}"),
        ("syncProfileToStream", f"user_profiles/{uid}"),
    ):
        version.document_event(name, path, None, documents.document(path).get().to_dict())


def conversations_of(uid: str, documents: google_firestore.Client) -> list[dict[str, Any]]:
    members = FieldFilter("participantIds", "array_contains", uid)
    return [
        one.to_dict() for one in documents.collection("conversations").where(filter=members).get()
    ]


def test_the_table_of_the_changelog_names_the_key_of_each_variable():
    rows = re.findall(r"^ +\| `([A-Z_]+)` \| `(\w+)\.(\w+)`", CHANGELOG.read_text(), re.M)
    stated = tomllib.loads(AFTER)
    assert {name for name, *_ in rows} == set(BEFORE)
    assert {(section, key) for _, section, key in rows} == {
        (section, key) for section, keys in stated.items() for key in keys
    }


def test_a_sign_up_that_one_handled_is_at_rest_with_both(
    versions, old, new, sign_up, documents, in_stream, stream, everything
):
    first, second = versions
    ann, bea, cleo = (sign_up(name, first) for name in ("ann", "bea", "cleo"))
    for uid in (ann, bea, cleo):
        deliver_creation(second, uid, documents)
    user = in_stream(ann)
    assert (user["name"], user["role"], user["email"]) == ("ann", "guest", f"{ann}@example.com")
    direct = first.result("createConversation", ann, {"participantIds": [bea]})
    group = {"participantIds": [bea, cleo], "name": "three", "idempotencyKey": uuid.uuid4().hex}
    in_group = first.result("createConversation", ann, group)

    def look(version: Version) -> list[Any]:
        """What an app does that opens a chat; returns the ids of the conversations."""
        deliver_creation(version, ann, documents)
        token = version.result("getStreamUserToken", ann, {})
        assert 1700 < token["expiresAt"] - time.time() <= 1800
        asked = version.result("ensureStreamUser", ann, {"userIds": [ann, bea]})
        assert [one["status"] for one in asked["results"]] == ["ok", "ok"]
        calls = ({"participantIds": [bea]}, group)
        return [version.result("createConversation", ann, data)["cid"] for data in calls]

    opened = {version is new: look(version) for version in (second, first)}
    assert all(cids[1] == in_group["cid"] for cids in opened.values())
    # Direct conversations that began in the new state have ids that the old one can't compute.
    assert opened[first is new][0] == direct["cid"]
    assert (opened[second is new][0] == direct["cid"]) == (second is new)
    before, since = everything(), stream.last_request()
    for version in (first, second):
        assert look(version) == opened[version is new]
    assert everything() == before
    assert not set(stream.operations(since)) - READS


def test_the_outbox_of_one_is_worked_off_by_the_other(
    versions, sign_up, documents, in_stream, stream, project
):
    first, second = versions
    second.takes_tasks("drainRepairs")
    ann, bea, leaving = sign_up("ann"), sign_up("bea"), sign_up("leaving", first)
    stream.fault("*", "status", status=503, rate=1)
    auth.delete_user(leaving, app=project)
    first.auth_event("deleted", leaving)
    first.auth_event("created", ann)
    refused = first.call("createConversation", ann, {"participantIds": [bea]})
    assert refused["error"]["status"] == "UNAVAILABLE"
    repairs = documents.collection("repairs")
    keys = {one.get("key") for one in repairs.get()}
    assert keys >= {ann, leaving}
    stream.clear_faults()
    wait_for(lambda: not {one.get("key") for one in repairs.get()} & (keys - {leaving}))
    wait_for(lambda: not in_stream(leaving))
    repairs.document(f"user_{leaving}").delete()  # it would be looked at again in half a minute
    assert not documents.document("users", leaving).get().exists
    assert in_stream(ann)
    assert in_stream(bea)
    [conversation] = conversations_of(ann, documents)
    assert conversation["status"] == "ready"


def test_a_change_and_a_deletion_are_handled_by_either(
    versions, new, sign_up, documents, in_stream, everything, stream, project
):
    first, second = versions
    ann, bea, cleo = (sign_up(name, first) for name in ("ann", "bea", "cleo"))
    first.result("createConversation", ann, {"participantIds": [bea, cleo]})
    for version, name in ((second, "Ann B."), (first, "Ann C.")):
        change_user(version, ann, {"displayName": name}, documents)
        assert in_stream(ann)["name"] == name
        profile = documents.document("user_profiles", ann).get().to_dict()
        assert profile["displayName"] == profile["mirrored"]["displayName"] == name
        since, at = stream.last_request(), everything()
        for one in versions:
            one.document_event("syncProfileToStream", f"user_profiles/{ann}", None, profile)
            one.result("ensureStreamUser", bea, {"userId": ann})
        assert not set(stream.operations(since)) - READS
        assert everything() == at
    auth.delete_user(ann, app=project)
    second.auth_event("deleted", ann)
    assert not in_stream(ann)
    for collection in ("users", "user_profiles", "user_stats"):
        assert not documents.document(collection, ann).get().exists
    # The earlier state leaves a deleted account in its conversations.
    [conversation] = conversations_of(bea, documents)
    assert (ann in conversation["participantIds"]) == (second is not new)


def change_user(
    version: Version, uid: str, fields: dict[str, Any], documents: google_firestore.Client
) -> None:
    """The app changes a user document, and a version gets the event."""
    reference = documents.document("users", uid)
    before = reference.get().to_dict() or {}
    reference.update(fields)
    version.document_event("syncUserProfile", f"users/{uid}", before, {**before, **fields})


def test_a_profile_of_before_chatsync_is_the_owners_for_the_new_state_only(
    old, new, sign_up, documents, in_stream
):
    ann = sign_up("ann")
    documents.document("users", ann).set({"displayName": "By the app"})
    documents.document("user_profiles", ann).set({"displayName": "By Ann"})
    for version, name in ((old, "By the app"), (new, "By Ann"), (old, "By the app")):
        version.result("ensureStreamUser", ann, {"userId": ann})
        assert in_stream(ann)["name"] == name
    documents.document("user_profiles", ann).delete()  # the two would never be at rest


def test_an_audit_that_one_began_goes_on_in_the_other(
    versions, old, new, sign_up, documents, in_stream, everything, stream, project
):
    first, second = versions
    second.takes_tasks("drainRepairs")
    ann, bea, gone = (sign_up(name, first) for name in ("ann", "bea", "gone"))
    imported = sign_up("imported")
    first.result("createConversation", ann, {"participantIds": [bea, gone]})
    auth.delete_user(gone, app=project)
    new.auth_event("deleted", gone)
    change_user(first, ann, {"chat": {"role": "no such role"}}, documents)
    parked = documents.document("repairs", f"user_{ann}")
    assert parked.get().get("state") == "parked"
    documents.document("users", ann).update({"chat": {"role": "admin"}})

    def night(runs: Version) -> set[str]:
        """The kinds of what is found and repaired by an audit that the other version began."""
        runs.takes_tasks("runSweep")
        known = {one.id for one in documents.collection("audits").get()}
        (old if runs is new else new).send(
            "auditSync", b"", **{"X-CloudScheduler-ScheduleTime": AT}
        )
        [audit] = [one for one in documents.collection("audits").get() if one.id not in known]
        wait_for(lambda: audit.reference.get().get("state") == "done")
        found = audit.reference.get()
        assert found.get("repaired") == found.get("findings")
        return {one.get("kind") for one in audit.reference.collection("findings").get()}

    assert night(second) >= {"missing_documents", "missing_stream_user"}
    assert in_stream(imported)
    wait_for(lambda: not parked.get().exists)
    assert in_stream(ann)["role"] == "admin"
    # By deactivate and keep, Stream's members are the conversation's for the earlier state.
    assert night(old) <= {"member_mismatch"}
    [conversation] = conversations_of(ann, documents)
    assert gone in conversation["participantIds"]
    since, at = stream.last_request(), everything()
    assert night(new) == night(old) == set()
    assert not set(stream.operations(since)) - READS
    assert everything() == at


OLD_EVENTS = [
    *("channel.created", "channel.updated", "channel.deleted"),
    *("member.added", "member.removed", "message.new"),
]


def test_what_stream_sent_to_one_is_taken_by_the_other(
    versions, new, sign_up, documents, in_stream, stream, chat
):
    first, second = versions
    second.takes_tasks("drainRepairs")
    ann, bea = (sign_up(name, first) for name in ("ann", "bea"))
    members = [f"app_{ann}", f"app_{bea}"]
    channel = chat.channel("team", f"chat_{uuid.uuid4().hex[:8]}", {"members": members})
    stats = documents.document("user_stats", ann)
    since = stream.last_delivery()

    def all_told() -> list[dict[str, Any]]:
        """The deliveries, once none is under way: a repair of the name leads to another."""
        made = stream.deliveries(since, body=True)
        is_over = all(one["status"] for one in made)
        return made if is_over and "user.updated" in {one["type"] for one in made} else []

    stream.webhook(
        f"{first.url('streamWebhook')}streamWebhook",
        [*proof.EVENTS],
        timeout_ms=20_000,
        total_ms=55_000,
    )
    try:
        channel.create(members[0])
        channel.send_message({"text": "hello"}, members[0])
        chat.update_user_partial({"id": members[0], "set": {"name": "overwritten"}})
        told = wait_for(all_told)
    finally:
        stream.webhook(None)
    for one in told:
        assert one["status"] == 200
        second.webhook(one["body"], stream)
    assert stats.get().get("messagesSent") == 1
    [conversation] = conversations_of(ann, documents)
    assert conversation["cid"] == channel.cid
    # Events of users are ignored by the earlier state; the new one brings the name back.
    wait_for(lambda: in_stream(ann)["name"] == "ann")


def test_a_variable_that_says_something_else_than_the_file_stops_the_start(new):
    variables = BEFORE | {"STREAM_TOKEN_LIFETIME_SECONDS": "900"}
    stopped = subprocess.run(
        [sys.executable, "-c", "import main"],
        cwd=new.source,
        env={**os.environ, **new.environment, **variables},
        capture_output=True,
        text=True,
    )
    assert stopped.returncode
    assert "STREAM_TOKEN_LIFETIME_SECONDS is '900'" in stopped.stderr
    assert "stream.token_lifetime_seconds in chatsync.toml is '1800'" in stopped.stderr


def test_a_pause_is_unknown_to_the_old_state(old, new, sign_up, documents, in_stream):
    ann = sign_up("ann")
    pause = documents.document("chatsync", "pause")
    pause.set({"since": google_firestore.SERVER_TIMESTAMP})
    try:
        old.auth_event("created", ann)
        assert in_stream(ann)
        refused = new.call("revokeStreamUserTokens", ann, {})
        assert refused["error"]["details"]["reason"] == "paused"
    finally:
        pause.delete()


def test_set_up_after_the_old_state_extends_its_webhook(new, old, chat, documents):
    address = f"https://{local.REGION}-{PROJECT}.cloudfunctions.net/streamWebhook"
    hook = {"hook_type": "webhook", "webhook_url": address, "enabled": True}
    chat.update_app_settings(event_hooks=[{**hook, "event_types": OLD_EVENTS}])
    try:
        old.takes_tasks("runSweep")
        new.send("setUp", b'{"data": {}}')
        [extended] = chat.get_app_settings()["app"]["event_hooks"]
        assert set(extended["event_types"]) == set(proof.EVENTS)
        done = documents.document("chatsync/setup").get().to_dict()
        audit = documents.document("audits", done["auditId"])
        wait_for(lambda: audit.get().get("state") == "done")
    finally:
        chat.update_app_settings(event_hooks=[])
