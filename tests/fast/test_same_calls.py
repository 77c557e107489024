"""What the bench compares the functions' CPU time with makes the same calls as they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import firebase_admin
import pytest
from firebase_admin import auth
from functions_framework import create_app
from google.cloud import firestore as google_firestore

import bench
from bench import processor
from bench.processes import call_of
from bench.serving import created_event
from chatsync import clients as clients_module
from chatsync.entry.events import reconcile_after_sign_up
from tests.fast.test_costs import MeteredFirestoreApi
from tests.fast.test_functions import MAIN, environment, id_token  # noqa: F401 (the fixture)
from tests.settings import settings_with

SAME_CALLS = Path(bench.__file__).parent / "same_calls" / "main.py"
ANN = call_of({"userId": "ann"}, id_token("ann"))
OURS = SimpleNamespace(source=MAIN)
REQUESTS = {
    "createStreamUser": lambda uid: created_event(OURS, uid),
    "getStreamUserToken": lambda _: ANN,
    "ensureStreamUser": lambda _: ANN,
    "streamWebhook": lambda _: processor._echo("ann"),
}


@pytest.fixture
def firestore_api() -> MeteredFirestoreApi:
    return MeteredFirestoreApi()


@pytest.fixture(autouse=True)
def both_in_memory(clients, stream, accounts, firestore, monkeypatch, environment, proven):  # noqa: F811
    """As the bench starts both, but with Firebase in memory."""
    roomy = settings_with(clients.settings, limits={"token_per_minute": 1_000_000})
    roomy_clients = replace(clients, settings=roomy)
    monkeypatch.setattr(clients_module, "_connected", lambda load: roomy_clients)
    monkeypatch.setattr(processor, "STREAM", stream)
    monkeypatch.setenv("STREAM_BASE_URL", stream.url)
    monkeypatch.setattr(google_firestore, "Client", lambda **_: firestore)
    monkeypatch.setattr(auth, "get_users", accounts.get_users)
    accounts.sign_up("ann", displayName="Person ann")
    reconcile_after_sign_up("ann", clients)


@pytest.fixture
def cost(firestore_api, stream, accounts, monkeypatch) -> Callable[..., object]:
    """Of a function's second request: its calls, and the documents it reads and writes."""

    def cost(name: str, source: Path, uids: list[str]) -> object:
        monkeypatch.setattr(firebase_admin, "_apps", {})
        kind = "cloudevent" if name == "createStreamUser" else "http"
        app = create_app(name, str(source), kind).test_client()
        for uid in uids:
            accounts.sign_up(uid, displayName=f"Person {uid}")
            body, headers = REQUESTS[name](uid)
            since = stream.last_request()
            firestore_api.calls.clear()
            accounts.calls.clear()
            firestore_api.reads = firestore_api.writes = 0
            assert app.post("/", data=body, headers=headers).status_code == 200
        in_firebase = Counter([*firestore_api.calls, *accounts.calls])
        in_stream = [one["operation"] for one in stream.requests(since)]
        return in_stream, in_firebase, firestore_api.reads, firestore_api.writes

    return cost


@pytest.mark.parametrize("name", REQUESTS)
def test_both_make_the_same_calls(name, cost):
    assert cost(name, SAME_CALLS, ["bob", "eve"]) == cost(name, MAIN, ["joe", "kim"])
