"""What Stream refuses is remembered, and not sent again until it changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chatsync import audit, outbox
from chatsync.batch_sender import MAX_REFUSALS
from chatsync.errors import Postponed, TooManyRefusals
from chatsync.ids import Key
from chatsync.outbox import drain, retry
from chatsync.outcome import Outcome
from chatsync.reconcile import reconcile_users
from tests.fast.outbox import drain_until_settled, entries
from tests.settings import settings_with

ANN = Key("user", "ann")


@pytest.fixture
def ensure(clients) -> Callable[..., list[Outcome]]:
    return lambda *uids, **options: outbox.reconcile(
        [Key("user", uid) for uid in uids], clients, **options
    )


@pytest.fixture
def writes(stream) -> Callable[[int], int]:
    """How many writes of users Stream was sent since a request."""

    def writes(since: int) -> int:
        sent = stream.operations(since)
        return sum(operation.startswith("UpdateUsers") for operation in sent)

    return writes


@pytest.fixture
def taken_name(accounts, ensure, firestore, stream, chat) -> None:
    """Ann is in Stream, and wants a name that the app lets nobody have twice."""
    stream.switch(enforce_unique_usernames="app")
    chat.upsert_user({"id": "other", "name": "Zoe"})
    accounts.sign_up("ann", displayName="Ann")
    ensure("ann")
    firestore.document("users/ann").update({"displayName": "Zoe"})


@pytest.fixture
def wrong_role(accounts, ensure, firestore) -> None:
    """Ann is in Stream, and has a role that Stream doesn't know."""
    accounts.sign_up("ann", displayName="Ann")
    ensure("ann")
    firestore.document("users/ann").update({"chat": {"role": "no-such-role"}})


def name_of(chat: Any, uid: str) -> str | None:
    return chat.query_users({"id": uid})["users"][0].get("name")


def remembered(firestore: Any, uid: str) -> list[str]:
    return (firestore.document(f"stream_users/user_{uid}").get().to_dict() or {}).get("refused")


def test_a_refused_name_is_not_sent_again(taken_name, ensure, stream, writes, firestore):
    assert ensure("ann")[0].error is None
    assert len(remembered(firestore, "ann")) == 1
    since = stream.last_request()
    assert ensure("ann")[0].error is None
    assert writes(since) == 0


def test_another_name_is_sent(taken_name, ensure, firestore, chat):
    ensure("ann")
    firestore.document("users/ann").update({"displayName": "Anna"})
    assert ensure("ann")[0].status == "updated"
    assert name_of(chat, "ann") == "Anna"


def test_a_picture_arrives_though_the_name_was_refused_before(taken_name, ensure, firestore, chat):
    ensure("ann")
    firestore.document("users/ann").update({"photoURL": "https://p/ann.png"})
    assert ensure("ann")[0].status == "updated"
    assert chat.query_users({"id": "ann"})["users"][0]["image"] == "https://p/ann.png"


def test_a_refused_role_is_not_sent_again(wrong_role, ensure, stream, writes, clients):
    assert ensure("ann")[0].error.reason == "rejected"
    told = entries(clients)["user_ann"]["lastError"]
    since = stream.last_request()
    assert ensure("ann")[0].error.reason == "rejected"
    assert writes(since) == 0
    entry = entries(clients)["user_ann"]
    assert (entry["state"], entry["lastError"]) == ("parked", told)
    assert "code 4" in told


def test_a_mended_role_is_sent(wrong_role, ensure, firestore):
    ensure("ann")
    firestore.document("users/ann").update({"chat": {"role": "admin"}})
    assert ensure("ann")[0].status == "updated"


def test_who_was_refused_for_the_default_role_is_sent_when_that_is_another(accounts, clients):
    accounts.sign_up("ann", displayName="Ann")
    wrong = replace(
        clients, settings=settings_with(clients.settings, stream={"user_role": "no-such-role"})
    )
    [outcome] = outbox.reconcile([ANN], wrong)
    assert outcome.error.reason == "rejected"
    assert outbox.reconcile([ANN], clients)[0].status == "created"


def test_what_was_refused_is_remembered_though_no_time_is_left(
    wrong_role, clients, firestore, firestore_api
):
    """Refusals take the time that a repair has, and writing takes a moment too."""
    deadline = time.monotonic() + 3

    def end_after_the_deadline(call: str) -> None:
        if call == "batch_write":
            time.sleep(max(0.0, deadline + 1.5 - time.monotonic()))

    firestore_api.before_call = end_after_the_deadline
    reconcile_users([ANN], clients, deadline=deadline)
    assert len(remembered(firestore, "ann") or []) == 1


def test_the_night_tries_once_what_was_refused(
    taken_name, ensure, stream, writes, clients, firestore
):
    ensure("ann")
    before = remembered(firestore, "ann")
    since = stream.last_request()
    night = audit.start("nightly", clients, steps=["accounts"], repair=audit.CREATING)
    audit.run_page(night, clients)
    assert writes(since) == 1
    assert remembered(firestore, "ann") == before
    stream.switch(enforce_unique_usernames="no")
    night = audit.start("nightly", clients, steps=["accounts"], repair=audit.CREATING)
    audit.run_page(night, clients)
    assert remembered(firestore, "ann") == []


def test_backfill_does_not_try_what_was_refused(taken_name, ensure, stream, writes, clients):
    ensure("ann")
    since = stream.last_request()
    backfill = audit.start("backfill", clients, steps=["accounts"], repair=audit.CREATING)
    audit.run_page(backfill, clients)
    assert writes(since) == 0


def test_a_person_who_repairs_has_it_tried_again(taken_name, ensure, stream, chat, firestore):
    ensure("ann")
    stream.switch(enforce_unique_usernames="no")
    assert ensure("ann")[0].status == "ok"
    assert ensure("ann", retry_refused=True)[0].status == "updated"
    assert name_of(chat, "ann") == "Zoe"
    assert remembered(firestore, "ann") == []


def test_what_is_remembered_goes_with_the_account(taken_name, ensure, accounts, clients, firestore):
    ensure("ann")
    accounts.delete("ann")
    outbox.remove([ANN], clients)
    assert remembered(firestore, "ann") is None


# Many at once


@pytest.fixture
def poisoned(accounts, ensure, firestore, stream, chat) -> Callable[[int], list[str]]:
    """People in Stream who then want a name that is taken."""

    def poisoned(count: int) -> list[str]:
        stream.switch(enforce_unique_usernames="app")
        chat.upsert_user({"id": "other", "name": "Zoe"})
        uids = [f"poisoned-{number:03}" for number in range(count)]
        for uid in uids:
            accounts.sign_up(uid, displayName=uid)
        for start in range(0, count, 100):
            ensure(*uids[start : start + 100])
        for uid in uids:
            firestore.document(f"users/{uid}").update({"displayName": "Zoe"})
        return uids

    return poisoned


def test_healthy_people_are_sent_apart_from_those_who_were_refused(
    poisoned, accounts, ensure, stream, firestore
):
    uids = poisoned(3)
    ensure(*uids)
    accounts.sign_up("ann", displayName="Ann")
    ensure("ann")
    for uid in ("ann", *uids):
        firestore.document(f"users/{uid}").update({"photoURL": "https://p/new.png"})
    since = stream.last_request()
    ensure(*uids, "ann")
    calls = [call for call in stream.requests(since) if call["operation"] == "UpdateUsersPartial"]
    assert [sorted(call["ids"]) for call in calls] == [["ann"], uids]


def test_a_hundred_refused_people_cost_few_refusals_each_time(poisoned, clients, stream):
    keys = [Key("user", uid) for uid in poisoned(100)]
    since = stream.last_request()
    outcomes = reconcile_users(keys, clients)
    refused = [call for call in stream.requests(since) if call["status"] == 400]
    assert len(refused) <= MAX_REFUSALS
    served = [outcome for outcome in outcomes if outcome.error is None]
    assert len(served) >= 20
    assert {type(outcome.error) for outcome in outcomes if outcome.error} == {TooManyRefusals}


def test_refusals_that_end_an_attempt_count_as_one(poisoned, clients, monkeypatch):
    monkeypatch.setattr(retry, "SHORTEST_PAUSE_SECONDS", 30.0)
    keys = [Key("user", uid) for uid in poisoned(100)]
    outbox.write_entries([Outcome(key, "", None, Postponed("later")) for key in keys], clients)
    drain.drain(0, clients)
    assert {entry["attempts"] for entry in entries(clients).values()} == {1}


def test_an_attack_ends_in_no_calls_and_hides_no_honest_edit(
    poisoned, accounts, ensure, clients, firestore, stream, writes, chat
):
    uids = poisoned(150)
    accounts.sign_up("honest", displayName="Honest")
    ensure("honest")
    firestore.document("users/honest").update({"displayName": "New name"})
    people = [*uids, "honest"]
    for some in (people[:100], people[100:]):
        later = [Outcome(Key("user", uid), "", None, Postponed("later")) for uid in some]
        outbox.write_entries(later, clients)
    drain_until_settled(clients)
    assert name_of(chat, "honest") == "New name"
    since = stream.last_request()
    for start in (0, 100):
        ensure(*people[start : start + 100])
    assert writes(since) == 0
