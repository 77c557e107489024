"""createConversation: whoever an app names, the chat opens, and there is one of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from google.cloud.firestore_v1.base_query import FieldFilter

from dev.app_client import AppUser, CallFailed
from tests.emulator.rules_client import Denied, Person, sign_in
from tests.waiting import wait_for

_numbers = count()


@pytest.fixture
def person(firebase) -> Callable[[str], AppUser]:
    """Somebody who is signed in, and whose account came with an import: it is missing everywhere
    but in Auth."""

    def person(name: str) -> AppUser:
        uid = f"conversing-{name}-{next(_numbers)}"
        return AppUser(uid, sign_in(uid, firebase).id_token)

    return person


@pytest.fixture
def ann(person) -> AppUser:
    return person("ann")


@pytest.fixture
def lena(person) -> AppUser:
    return person("lena")


@pytest.fixture
def documents_of(firestore) -> Callable[[AppUser], list[dict[str, Any]]]:
    """The conversations that somebody started."""

    def documents_of(person: AppUser) -> list[dict[str, Any]]:
        started = FieldFilter("createdBy", "==", person.uid)
        found = firestore.collection("conversations").where(filter=started).get()
        return [snapshot.to_dict() for snapshot in found]

    return documents_of


@pytest.fixture
def channels_of(chat) -> Callable[[AppUser], list[dict[str, Any]]]:
    def channels_of(person: AppUser) -> list[dict[str, Any]]:
        return chat.query_channels({"members": {"$in": [person.uid]}})["channels"]

    return channels_of


@pytest.fixture
def entry_of(firestore) -> Callable[[str], Any]:
    """What the outbox has of a conversation."""
    return lambda conversation_id: (
        firestore.document(f"repairs/conversation_{conversation_id}").get().to_dict()
    )


@pytest.fixture(autouse=True)
def stream_recovers(stream) -> Iterator[None]:
    yield
    stream.clear_faults()


def start(person: AppUser, *others: Any, **options: Any) -> dict[str, Any]:
    named = [other.uid if isinstance(other, AppUser) else other for other in others]
    return person.call("createConversation", {"participantIds": named, **options})


def members_of(channel: dict[str, Any]) -> set[str]:
    return {member["user_id"] for member in channel["members"]}


def test_a_chat_with_somebody_who_is_missing_everywhere_opens(
    ann, lena, firestore, channels_of, entry_of
):
    answer = start(ann, lena)

    assert sorted(answer["healed"]) == [ann.uid, lena.uid]
    assert (answer["conversationType"], answer["existed"]) == ("direct", False)
    [channel] = channels_of(lena)
    assert channel["channel"]["cid"] == answer["cid"]
    assert members_of(channel) == {ann.uid, lena.uid}
    document = firestore.document(f"conversations/{answer['id']}").get().to_dict()
    assert (document["status"], document["createdBy"]) == ("ready", ann.uid)
    assert sorted(document["participantIds"]) == [ann.uid, lena.uid]
    assert firestore.document(f"user_stats/{ann.uid}").get().get("conversationsStarted") == 1
    assert entry_of(answer["id"]) is None


def test_both_sides_at_once_get_the_same_conversation(ann, lena, documents_of, channels_of):
    with ThreadPoolExecutor() as pool:
        one, other = pool.map(start, [ann, lena], [lena, ann])

    assert one["id"] == other["id"]
    assert len(channels_of(ann)) == 1
    [document] = documents_of(ann) + documents_of(lena)
    assert document["status"] == "ready"


@pytest.mark.parametrize(
    "outage",
    [
        pytest.param({"operation": "*", "kind": "reset"}, id="all of Stream is down"),
        pytest.param(
            {"operation": "GetOrCreateChannel", "kind": "status", "status": 503},
            id="channels are down",
        ),
        pytest.param(
            {"operation": "GetOrCreateChannel", "kind": "reset", "when": "after"},
            id="the answers are lost",
        ),
    ],
)
def test_what_an_outage_interrupts_is_finished_by_itself(
    ann, lena, stream, outage, documents_of, channels_of, entry_of
):
    stream.fault(**outage, rate=1)
    started = time.monotonic()
    with pytest.raises(CallFailed) as refusal:
        start(ann, lena)
    assert time.monotonic() - started < 45
    assert (refusal.value.code, refusal.value.details) == ("unavailable", {"repairQueued": True})
    [document] = documents_of(ann)
    assert document["status"] == "pending"

    stream.clear_faults()

    wait_for(lambda: [one["status"] for one in documents_of(ann)] == ["ready"])
    [channel] = channels_of(ann)
    assert channel["channel"]["cid"] == document["cid"]
    assert members_of(channel) == {ann.uid, lena.uid}
    wait_for(lambda: entry_of(document["channelId"]) is None)
    assert start(ann, lena)["existed"]


def test_a_participant_reads_the_conversation_and_nobody_else_does(ann, lena, person):
    path = f"conversations/{start(ann, lena)['id']}"
    for participant in (ann, lena):
        assert Person(participant.uid, participant.id_token).exists(path)
    other = person("other")
    for stranger in (Person(other.uid, other.id_token), Person("stranger")):
        with pytest.raises(Denied):
            stranger.exists(path)
