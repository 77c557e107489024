"""The clients of a process: one set, made when somebody first asks for it."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.cloud import firestore

from chatsync import clients
from chatsync.errors import Paused

THREADS = 16


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    clients._connected.cache_clear()
    for name, value in {
        "GCLOUD_PROJECT": "demo-chatsync",
        "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:1",
        "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
        "STREAM_API_KEY": "local-key",
        "STREAM_API_SECRET": "local-secret",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    clients._connected.cache_clear()


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


def test_their_stream_asks_their_switch_before_it_writes(monkeypatch):
    made = clients.connect()
    monkeypatch.setattr(made.pause, "_since", datetime.now(UTC))
    monkeypatch.setattr(made.pause, "_read_at", math.inf)
    with pytest.raises(Paused):
        made.stream.upsert_users([{"id": "ann"}], math.inf)


def test_a_failure_is_not_kept(monkeypatch):
    def fail(**_: object) -> None:
        raise OSError("no credentials yet")

    with monkeypatch.context() as broken:
        broken.setattr(firestore, "Client", fail)
        with pytest.raises(OSError, match="no credentials yet"):
            clients.connect()
    assert clients.connect() is clients.connect()


def test_stream_s_sdk_is_imported_for_the_first_call_only():
    """It brings a quarter of what a process imports: a token of who agrees must not wait for it."""
    script = """
import main, sys
from chatsync.clients import connect
connect()
assert not {"stream_chat", "aiohttp"} & sys.modules.keys(), "imported too early"
"""
    functions = Path(clients.__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], cwd=functions, check=True)


def test_proxies_and_certificates_are_looked_for_once(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:3")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/our-authorities.pem")
    monkeypatch.setenv("STREAM_BASE_URL", "http://127.0.0.1:2")
    made = clients.connect()
    with made.stream._calls.client() as chat:
        for session in (made.auth._user_manager.http_client.session, chat.session):
            assert session.proxies["http"] == "http://127.0.0.1:3"
            assert session.verify == "/etc/our-authorities.pem"
            assert not session.trust_env


def test_a_host_without_proxy_stays_without(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:3")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert not clients.connect().auth._user_manager.http_client.session.proxies
