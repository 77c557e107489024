"""What each thing that users wait for may cost: calls to all sides, exactly.

Counts, not times: these are the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from chatsync import outbox, proof
from chatsync.conversations.create import create_conversation
from chatsync.entry import tokens
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.entry.records import ensure_profile, read_stats
from chatsync.ids import Key


@pytest.fixture
def cost(accounts, firestore_api, stream, clients):
    """The calls that something made: to Stream in their order, to Firebase counted.

    Without the reading of whether Stream's events arrive, once a minute, and of whether writing is
    paused, every 20 seconds.
    """

    def cost(work) -> tuple[list[str], dict[str, int]]:
        proof.is_proven(clients, datetime.now(UTC))
        clients.pause.since()
        since = stream.last_request()
        accounts.calls.clear()
        firestore_api.calls.clear()
        work()
        in_stream = stream.operations(since)
        return in_stream, dict(Counter(accounts.calls + firestore_api.calls))

    return cost


@pytest.fixture
def people(accounts):
    def people(count: int) -> list[str]:
        uids = [f"p{n:03}" for n in range(count)]
        for uid in uids:
            accounts.sign_up(uid, displayName=uid.upper())
        return uids

    return people


@pytest.fixture
def ensure(clients):
    def ensure(*uids: str) -> None:
        outcomes = outbox.reconcile([Key("user", uid) for uid in uids], clients)
        assert all(outcome.error is None for outcome in outcomes)

    return ensure


@pytest.mark.parametrize("count", [1, 100])
def test_people_in_agreement_cost_a_read_of_each_side(cost, ensure, people, count):
    uids = people(count)
    ensure(*uids)
    assert cost(lambda: ensure(*uids)) == (["QueryUsers"], {"batch_get_documents": 1})


@pytest.mark.parametrize("count", [1, 100])
def test_missing_people_cost_a_read_two_writes_and_the_look_afterwards(cost, ensure, people, count):
    """Documents, and in the end what agrees."""
    uids = people(count)
    assert cost(lambda: ensure(*uids)) == (
        ["QueryUsers", "UpdateUsers"],
        {"batch_get_documents": 2, "get_users": 2, "batch_write": 2},
    )


def test_a_token_costs_a_read_of_each_side(cost, ensure, people, clients):
    [ann] = people(1)
    ensure(ann)
    assert cost(lambda: tokens.issue_token(ann, clients)) == (
        ["QueryUsers"],
        {"batch_get_documents": 1, "get_users": 1},
    )


def test_a_sign_up_costs_one_read_and_one_write_of_stream(cost, people, clients):
    [ann] = people(1)
    assert cost(lambda: reconcile_after_sign_up(ann, clients)) == (
        ["QueryUsers", "UpdateUsers"],
        {"batch_get_documents": 2, "get_users": 2, "batch_write": 2},
    )


def test_an_event_that_comes_twice_costs_a_read_of_each_side(cost, people, clients):
    [ann] = people(1)
    reconcile_after_sign_up(ann, clients)
    assert cost(lambda: reconcile_after_sign_up(ann, clients)) == (
        ["QueryUsers"],
        {"batch_get_documents": 1, "get_users": 1},
    )


@pytest.mark.parametrize(
    "read", [ensure_profile, lambda uid, clients: read_stats(uid, "", clients)]
)
def test_a_record_costs_no_call_to_stream_and_auth_is_asked_once(cost, people, clients, read):
    """Of a missing one: it is looked for, then all that may be missing, and what was made is told;
    documents and the entry in the outbox are one commit."""
    [ann] = people(1)
    healing = {"batch_get_documents": 3, "get_users": 1, "commit": 1}
    assert cost(lambda: read(ann, clients)) == ([], healing)
    assert cost(lambda: read(ann, clients)) == ([], {"batch_get_documents": 1})


def test_a_token_of_who_is_known_to_agree_costs_no_call_to_stream(
    cost, ensure, people, clients, proven
):
    [ann] = people(1)
    ensure(ann)
    assert cost(lambda: tokens.issue_token(ann, clients)) == (
        [],
        {"batch_get_documents": 1, "get_users": 1},
    )


@pytest.mark.parametrize("count", [2, 100])
def test_a_conversation_of_people_known_to_agree_costs_one_call_to_stream(
    cost, ensure, people, clients, proven, count
):
    caller, *others = people(count)
    ensure(caller, *others)
    asked = {"participantIds": others, "conversationType": "group"}
    in_stream, in_firebase = cost(lambda: create_conversation(caller, asked, clients))
    assert in_stream == ["GetOrCreateChannel"]
    # The conversation, the caller, the others, how many the caller began; nobody's documents.
    assert in_firebase == {"get_users": 2, "batch_get_documents": 4, "batch_write": 1, "commit": 2}


@pytest.mark.parametrize("count", [10, 100])
def test_a_conversation_costs_three_calls_to_stream(cost, ensure, people, clients, tasks, count):
    """Half of the members are missing. Everybody is looked up in Auth before anything is written
    and once the conversation names them, and those who were written once more."""
    caller, *others = people(count)
    ensure(caller, *others[: count // 2 - 1])
    asked = {"participantIds": others, "conversationType": "group"}
    assert cost(lambda: create_conversation(caller, asked, clients)) == (
        ["QueryUsers", "UpdateUsers", "GetOrCreateChannel"],
        {
            "get_users": 3,
            # The conversation, the caller, the others; the members, and the look afterwards; how
            # many the caller began today.
            "batch_get_documents": 6,
            # Documents of the missing members, and what agrees; the entry of the outbox goes.
            "batch_write": 3,
            # What is to be; that it is.
            "commit": 2,
        },
    )
    assert len(tasks.waiting) == 1
