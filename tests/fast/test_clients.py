"""The clients of a process: one set, made when somebody first asks for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.cloud import firestore

from chatsync import clients

THREADS = 16


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in {
        "GCLOUD_PROJECT": "demo-chatsync",
        "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:1",
        "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
        "STREAM_API_KEY": "local-key",
        "STREAM_API_SECRET": f"secret-of-{time.monotonic_ns()}",  # no other test's clients
    }.items():
        monkeypatch.setenv(name, value)


def test_threads_that_ask_at_once_share_one_set(monkeypatch):
    made = []
    all_ask, another = threading.Barrier(THREADS), threading.Event()

    def make_slowly(**options: object) -> firestore.Client:
        made.append(options)
        if len(made) > 1:
            another.set()
        another.wait(0.2)  # time enough for another thread to come here too
        return make(**options)

    def ask(_: int) -> clients.Clients:
        all_ask.wait()
        return clients.connect()

    make = firestore.Client
    monkeypatch.setattr(firestore, "Client", make_slowly)
    with ThreadPoolExecutor(THREADS) as pool:
        sets = list(pool.map(ask, range(THREADS)))
    assert len(made) == 1
    assert {id(one.stream) for one in sets} == {id(sets[0].stream)}


def test_a_failure_is_not_kept(monkeypatch):
    def fail(**_: object) -> None:
        raise OSError("no credentials yet")

    with monkeypatch.context() as broken:
        broken.setattr(firestore, "Client", fail)
        with pytest.raises(OSError, match="no credentials yet"):
            clients.connect()
    assert clients.connect() is clients.connect()
