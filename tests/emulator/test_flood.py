"""Somebody calls every callable in loops, and nobody else notices.

Several processes of each callable, as production runs them, and Stream with its documented limits,
50 ms away. In a project of its own, whose documents no trigger listens to.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import firebase_admin
import pytest
import requests
from firebase_admin import auth
from stream_chat import StreamChat

from chatsync.side_by_side import batches
from stream_server.control_client import LocalStream
from tests.fast.test_functions import id_token
from tests.limited_memory import Limited, deployed, start

PROJECT = "demo-flood"
ENVIRONMENT = {"GCLOUD_PROJECT": PROJECT, "GOOGLE_CLOUD_PROJECT": PROJECT}
CALLABLES = (
    *("ensureStreamUser", "getStreamUserToken"),
    *("createConversation", "revokeStreamUserTokens"),
)
PROCESSES = 2
"""Of each callable."""

LOOPS = 8
"""At once, of each callable."""

SECONDS = 15.0
MOST_SECONDS = 45.0
"""On a busy machine the flood goes on until each callable has refused a call, within one window."""

NETWORK_SECONDS = 0.05
"""Between a person and the functions."""

SECONDS_BETWEEN_CHATS = 4.0
MOST_OF_A_LIMIT = 0.2

VICTIMS = [f"victim-{number:03}" for number in range(200)]
MISSING = VICTIMS[:40]
"""In Stream. Each of them costs an UpdateUsers call once, whoever asks first."""

HONEST = [f"honest-{number}" for number in range(4)]
ONE = [("flooder", {})]
TEN_ANONYMOUS = [
    (f"flooder-anonymous-{number}", {"firebase": {"sign_in_provider": "anonymous"}})
    for number in range(10)
]


@pytest.fixture(scope="module")
def functions(
    emulators: dict[str, str], stream: LocalStream, chat: StreamChat
) -> Iterator[dict[str, list[Limited]]]:
    """The processes of each callable. Stream has its limits, and calls nobody back."""
    app = firebase_admin.initialize_app(options={"projectId": PROJECT}, name=PROJECT)
    uids = [*VICTIMS, *HONEST, *(uid for uid, _ in ONE + TEN_ANONYMOUS)]
    auth.import_users([auth.ImportUserRecord(uid=uid) for uid in uids], app=app)
    for some in batches(VICTIMS[len(MISSING) :]):
        chat.upsert_users([{"id": uid} for uid in some])
    webhook = {key: value for key, value in stream.state()["webhook"].items() if value is not None}
    stream.webhook(None)
    stream.restore_limits()
    stream.switch(burst_guard=True)
    stream.fault("*", "delay", rate=1, delay_ms=50)
    try:
        with contextlib.ExitStack() as running:

            def started(name: str) -> Limited:
                return running.enter_context(start(name, deployed()[name].memory_mb, ENVIRONMENT))

            processes = {name: [started(name) for _ in range(PROCESSES)] for name in CALLABLES}
            for uid, other in zip(HONEST, reversed(HONEST), strict=True):
                for name, data in opening_a_chat(other):
                    for process in processes[name]:
                        assert call(process, name, data, uid) == "OK"
            yield processes
    finally:
        stream.clear_faults()
        stream.switch(burst_guard=False)
        stream.webhook(webhook.pop("url", None), **webhook)
        firebase_admin.delete_app(app)


def what_a_flooder_sends(name: str) -> dict[str, Any]:
    """People who exist and who don't, one and a hundred; groups and pairs."""
    nobody = [f"nobody-{uuid.uuid4().hex}" for _ in range(100)]
    match name:
        case "ensureStreamUser":
            # With a hundred each time, the budget of people would end before that of calls.
            count = 100 if random.random() < 0.1 else 1
            return {"userIds": random.choice([random.sample(VICTIMS, count), nobody[:count]])}
        case "createConversation":
            some = random.choice(
                [random.sample(VICTIMS, 19), random.sample(VICTIMS, 1), nobody[1:]]
            )
            return {"participantIds": some, "name": uuid.uuid4().hex}
    return {}


def call(process: Limited, name: str, data: object, uid: str, **claims: object) -> str:
    """The status of the answer."""
    time.sleep(NETWORK_SECONDS)
    headers = {"Authorization": f"Bearer {id_token(uid, PROJECT, auth_time=time.time(), **claims)}"}
    answer = requests.post(process.url, json={"data": data}, headers=headers, timeout=60).json()
    return str(answer["error"]["status"]) if "error" in answer else "OK"


def opening_a_chat(other: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("getStreamUserToken", {}),
        ("ensureStreamUser", {"userId": other}),
        ("createConversation", {"participantIds": [other]}),
    ]


@pytest.mark.parametrize("flooders", [ONE, TEN_ANONYMOUS], ids=["one", "ten anonymous"])
def test_a_flood_leaves_the_others_all_they_need(flooders, functions, stream):
    started = time.monotonic()
    refused: set[str] = set()

    def goes_on() -> bool:
        has_all = refused.issuperset(CALLABLES)
        return time.monotonic() - started < (SECONDS if has_all else MOST_SECONDS)

    def flood(name: str) -> Counter[tuple[str, str]]:
        answers: Counter[tuple[str, str]] = Counter()
        while goes_on():
            uid, claims = random.choice(flooders)
            process = random.choice(functions[name])
            status = call(process, name, what_a_flooder_sends(name), uid, **claims)
            answers[name, status] += 1
            if status == "RESOURCE_EXHAUSTED":
                refused.add(name)
        return answers

    def live(uid: str, other: str) -> Counter[tuple[str, str]]:
        answers: Counter[tuple[str, str]] = Counter()
        while goes_on():
            for name, data in opening_a_chat(other):
                answers[name, call(random.choice(functions[name]), name, data, uid)] += 1
            time.sleep(SECONDS_BETWEEN_CHATS)
        return answers

    since = stream.last_request()
    with ThreadPoolExecutor(LOOPS * len(CALLABLES) + len(HONEST)) as threads:
        flooding = [threads.submit(flood, name) for name in CALLABLES for _ in range(LOOPS)]
        living = [threads.submit(live, uid, HONEST[n - 1]) for n, uid in enumerate(HONEST)]
    flooded = sum((one.result() for one in flooding), Counter())
    lived = sum((one.result() for one in living), Counter())
    made = stream.requests(since)
    used = Counter(
        one["operation"]
        for one in made
        if one["status"] != 429 and not any(uid.startswith("honest") for uid in one["ids"])
    )
    limits = {name: limit["limit"] for name, limit in stream.state()["limits"].items()}
    print(f"answers to the flood: {dict(flooded)}, to the others: {dict(lived)}")
    print("Stream's limits:", {name: f"{count} of {limits[name]}" for name, count in used.items()})
    print("refused by Stream:", sum(one["status"] == 429 for one in made))
    assert {status for _, status in lived} == {"OK"}
    assert refused == set(CALLABLES)
    for name, count in used.items():
        assert count <= limits[name] * MOST_OF_A_LIMIT, (name, count)
