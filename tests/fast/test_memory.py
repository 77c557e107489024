"""A process lives through as many hostile requests at once as it may get, in the memory it has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.events.cloud.firestore import DocumentEventData

from chatsync.entry.callables import MAX_BYTES
from tests.fast.large_body import SIZE
from tests.fast.test_functions import id_token, user_document_event
from tests.fast.test_webhooks import signed
from tests.limited_memory import MB, Limited, deployed, start

NOWHERE = {
    "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:1",  # takes unsigned tokens, and is never called
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
    "STREAM_BASE_URL": "http://127.0.0.1:1",
}
NOBODY = {"Content-Type": "application/json"}
SIGNED_IN = {**NOBODY, "Authorization": f"Bearer {id_token('caller')}"}


def nested_lists(size: int, depth: int) -> bytes:
    """A call of so many bytes. Parsed it takes twenty times as much, and forty if it is deep."""
    item = b"[" * depth + b"]" * depth
    begin, end = b'{"data":[' + item, b"]}"
    return begin + (b"," + item) * ((size - len(begin + end)) // (len(item) + 1)) + end


LARGE = nested_lists(SIZE, 1)


@pytest.fixture(scope="module")
def a_callable() -> Iterator[Limited]:
    with start("ensureStreamUser", limit_mb("ensureStreamUser"), NOWHERE) as process:
        yield process


@pytest.fixture(scope="module")
def the_webhook() -> Iterator[Limited]:
    with start("streamWebhook", limit_mb("streamWebhook"), NOWHERE) as process:
        yield process


def limit_mb(function: str) -> int:
    return deployed()[function].memory_mb


def answers(process: Limited, body: bytes, headers: dict[str, str], chunked: bool) -> set[int]:
    """The HTTP statuses of sixteen at once; raises if the connection of one is reset."""

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(body), MB):
            yield body[at : at + MB]

    def post(_: int) -> int:
        data = pieces() if chunked else body
        return requests.post(process.url, data=data, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(16) as pool:
        return set(pool.map(post, range(16)))


@pytest.mark.parametrize(
    ("body", "headers", "chunked", "status"),
    [
        pytest.param(LARGE, NOBODY, False, 401, id="32 MB, of nobody"),
        pytest.param(LARGE, NOBODY, True, 401, id="32 MB in chunks, of nobody"),
        pytest.param(LARGE, SIGNED_IN, False, 400, id="32 MB"),
        pytest.param(LARGE, SIGNED_IN, True, 400, id="32 MB in chunks"),
        pytest.param(nested_lists(MAX_BYTES, 1), SIGNED_IN, False, 400, id="empty lists"),
        pytest.param(nested_lists(MAX_BYTES, 17), SIGNED_IN, False, 400, id="deep lists"),
    ],
)
def test_a_callable_lives_through_hostile_bodies(a_callable, body, headers, chunked, status):
    assert answers(a_callable, body, headers, chunked) == {status}
    assert a_callable.is_alive()
    assert a_callable.peak_mb() < limit_mb("ensureStreamUser")
    call = {"data": {"userId": "a/b"}}
    honest = requests.post(a_callable.url, json=call, headers=SIGNED_IN, timeout=10)
    assert honest.json()["error"]["details"] == {"field": "userId"}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"X-Signature": "0" * 64}, 413)],
    ids=["unsigned", "signed wrongly"],
)
def test_the_webhook_lives_through_hostile_bodies(the_webhook, headers, status, chunked):
    assert answers(the_webhook, LARGE, headers, chunked) == {status}
    assert the_webhook.is_alive()
    assert the_webhook.peak_mb() < limit_mb("streamWebhook")
    event = json.dumps({"type": "health.check"}).encode()
    headers = {"X-Signature": signed(event)}
    assert requests.post(the_webhook.url, data=event, headers=headers, timeout=10).ok


# Documents that somebody filled up to Firestore's limit, before and after a change


def full_document(fill: str) -> Any:
    """A document with an honest name, and more small values than Firestore's 40,000 index entries
    allow where no index exemption was made."""
    document = DocumentEventData.pb()().value
    document.name = "projects/demo-chatsync/databases/(default)/documents/users/ann"
    document.fields["displayName"].string_value = "Ann"
    filled = document.fields["preferences"]
    match fill:
        case "numbers":
            for number in range(60_000):
                filled.map_value.fields[f"{number:05}"].integer_value = number
        case "nulls":
            null = type(filled)(null_value=0)
            filled.array_value.values.extend([null] * 200_000)
        case "maps":
            empty = type(filled)()
            empty.map_value.SetInParent()
            filled.array_value.values.extend([empty] * 100_000)
    return document


@pytest.mark.parametrize("fill", ["numbers", "nulls", "maps"])
def test_an_event_function_lives_through_sixteen_full_documents(fill):
    document = full_document(fill)
    event = DocumentEventData.pb()(value=document, old_value=document).SerializeToString()
    headers = user_document_event("ann", {})["headers"]
    headers["ce-type"] = "google.cloud.firestore.document.v1.updated"
    with start("syncUserProfile", limit_mb("syncUserProfile"), NOWHERE) as process:
        assert answers(process, event, headers, chunked=False) == {200}
        assert process.is_alive()
        assert process.peak_mb() < limit_mb("syncUserProfile")
