"""Processes with the deployed memory live through people who filled their documents.

In a project of its own, whose documents no trigger listens to.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import firebase_admin
import pytest
import requests
from firebase_admin import auth
from google.cloud import firestore as google_firestore

from chatsync.config import DEFAULTS
from dev.emulators import url
from tests.fast.test_functions import id_token
from tests.limited_memory import Limited, deployed, start

PROJECT = "demo-hostile"
ENVIRONMENT = {"GCLOUD_PROJECT": PROJECT, "GOOGLE_CLOUD_PROJECT": PROJECT}
OWNER = {"Authorization": "Bearer owner"}

UIDS = [f"hostile-{number:03}" for number in range(200)]
FULL = 1_000_000
"""Bytes; Firestore's limit is 48,576 more."""

WIDE = "\N{WHALE}" * 4_000
"""Of 16 KB. Python takes four bytes for each character of a text that has one of these."""

WIDE_TEXTS = dict.fromkeys(
    (*DEFAULTS.users.name, *DEFAULTS.users.image, "email", "phoneNumber"), WIDE
)
FILLS: list[dict[str, Any]] = [
    {"displayName": "x" * FULL},
    {"displayName": b"x" * FULL},
    {**WIDE_TEXTS, "padding": "x" * 700_000},
    {"displayName": "x", "chat": {"teams": [b"x" * 10_000] * 90}},
]


@pytest.fixture(scope="module")
def hostile(emulators: dict[str, str]) -> Iterator[google_firestore.Client]:
    """Two hundred accounts with a full user document and a full profile each."""
    app = firebase_admin.initialize_app(options={"projectId": PROJECT}, name=PROJECT)
    client = google_firestore.Client(project=PROJECT)
    auth.import_users([auth.ImportUserRecord(uid=uid) for uid in UIDS], app=app)

    def fill(number: int) -> None:
        fields = FILLS[number % len(FILLS)]
        client.document("users", UIDS[number]).set(fields)
        client.document("user_profiles", UIDS[number]).set(fields)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(len(UIDS))))
    yield client
    # They are half of the emulator's memory.
    documents = f"/emulator/v1/projects/{PROJECT}/databases/(default)/documents"
    requests.delete(url("firestore") + documents, headers=OWNER, timeout=60).raise_for_status()
    firebase_admin.delete_app(app)


def test_the_drain_lives_through_two_hundred_full_documents(hostile):
    now = datetime.now(UTC)
    batch = hostile.batch()
    for uid in UIDS:
        waiting = {"kind": "user", "key": uid, "attempts": 0, "state": "waiting"}
        batch.set(hostile.document("repairs", f"user_{uid}"), {**waiting, "nextAttemptAt": now})
    batch.commit()
    with start("drainRepairs", deployed()["drainRepairs"].memory_mb, ENVIRONMENT) as process:
        answer = requests.post(process.url, json={"data": {"notBefore": 0}}, timeout=100)
        assert answer.status_code == 200, answer.text
        assert_within_memory(process, "drainRepairs")
    assert list(hostile.collection("repairs").get()) == []


def test_ensure_stream_user_lives_through_sixteen_calls_for_a_hundred(hostile):
    call = {"data": {"userIds": UIDS[:100]}}

    def ask(number: int) -> int:
        headers = {"Authorization": f"Bearer {id_token(UIDS[number], PROJECT)}"}
        return requests.post(process.url, json=call, headers=headers, timeout=100).status_code

    name = "ensureStreamUser"
    with start(name, deployed()[name].memory_mb, ENVIRONMENT) as process:
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(ask, range(16))) == {200}
        assert_within_memory(process, name)


def assert_within_memory(process: Limited, function: str) -> None:
    assert process.is_alive()
    print(f"{function}: peak {process.peak_mb():.0f} MB")
    assert process.peak_mb() < deployed()[function].memory_mb
