"""The outbox: what cannot be repaired now is repaired later, once, and never lost."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import InternalServerError

from chatsync import outbox
from chatsync.clients.stream import Stream
from chatsync.entry.events import reconcile_after_event, remove_after_event
from chatsync.errors import (
    FirebaseUnavailable,
    Postponed,
    StreamCredentialsRejected,
    StreamUnavailable,
)
from chatsync.ids import Key
from chatsync.outbox import drain as drain_module
from chatsync.outbox import retry
from chatsync.outbox.drain import drain
from chatsync.outbox.wakes import SLOT_SECONDS
from chatsync.outcome import Outcome
from chatsync.removal import remove_users
from tests.fast.failures import fails_with
from tests.fast.interrupted import dies_before
from tests.fast.outbox import drain_until_settled, entries

ANN = Key("user", "ann")


@pytest.fixture
def entry(clients):
    """Ann's entry, or None."""
    return lambda: entries(clients).get("user_ann")


@pytest.fixture
def down(stream):
    """Stream is down, until faults are cleared."""
    stream.fault("*", "status", status=503, rate=1)


@pytest.fixture
def half_minute(monkeypatch, clients):
    """As in production; returns how to let that time pass."""
    monkeypatch.setattr(retry, "RECHECK_SECONDS", 30.0)

    def pass_by() -> None:
        change_entry(clients, nextAttemptAt=datetime.now(UTC), recheckAt=datetime.now(UTC))

    return pass_by


def queue(clients, *uids: str, removal: bool = False) -> None:
    outcomes = [
        Outcome(Key("user", uid), uid, None, StreamUnavailable("down"), removal=removal)
        for uid in uids
    ]
    outbox.write_entries(outcomes, clients)


def change_entry(clients, **fields) -> None:
    clients.firestore.document("repairs/user_ann").update(fields)


def names(chat) -> set[str]:
    return {user["id"] for user in chat.query_users({}, limit=100)["users"]}


# One entry for whatever failed


def test_a_failed_repair_becomes_an_entry_that_says_who_and_why(accounts, clients, entry, down):
    accounts.sign_up("ann")
    [outcome] = outbox.reconcile([ANN], clients)
    assert outcome.is_queued
    kept = entry()
    assert (kept["kind"], kept["key"], kept["state"]) == ("user", "ann", "waiting")
    assert (kept["reason"], kept["attempts"]) == ("stream_unavailable", 0)
    assert "503" in kept["lastError"]
    assert kept["firstFailedAt"] <= kept["nextAttemptAt"] + timedelta(seconds=1)


def test_many_failures_of_one_user_are_one_entry(accounts, clients, entry, down):
    accounts.sign_up("ann")
    outbox.reconcile([ANN], clients)
    first = entry()["firstFailedAt"]
    for _ in range(5):
        reconcile_after_event("ann", clients)
    assert len(entries(clients)) == 1
    assert entry()["firstFailedAt"] == first


def test_an_entry_tells_what_stream_said_but_not_what_it_quoted(
    accounts, clients, entry, firestore
):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"chat": {"role": "zoe-private"}})
    outbox.reconcile([ANN], clients)
    assert "code 4: UpdateUsers failed" in entry()["lastError"]
    assert "zoe-private" not in str(entry())


def test_agreement_writes_nothing_into_the_outbox(accounts, clients, entry, tasks):
    accounts.sign_up("ann")
    outbox.reconcile([ANN], clients)
    assert entry() is None
    assert tasks.waiting == []


def test_nobody_hides_that_the_outbox_cannot_be_written(
    accounts, clients, firestore_api, stream, capsys
):
    accounts.sign_up("ann")
    stream.fault("*", "status", status=503, rate=1)

    def fail(call: str) -> None:
        if call == "commit":
            raise InternalServerError("down")

    firestore_api.before_call = fail
    [outcome] = outbox.reconcile([ANN], clients)
    assert not outcome.is_queued
    assert "The outbox cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("uid", ["a/b", "a%b", "ü" * 128, "😀" * 128, "\ud800", ".", "__x__"])
def test_any_key_has_an_entry_of_its_own(uid):
    document_id = outbox.document_id(Key("user", uid))
    assert "/" not in document_id
    assert len(document_id.encode()) <= 1500
    assert document_id != outbox.document_id(Key("user", uid.replace("/", "%2F") + "x"))
    assert outbox.document_id(Key("user", "a/b")) != outbox.document_id(Key("user", "a%2Fb"))


# The drain


def test_a_user_repaired_elsewhere_is_found_in_agreement(accounts, clients, stream, entry):
    accounts.sign_up("ann")
    queue(clients, "ann")
    outbox.reconcile([ANN], clients)
    since = stream.last_request()
    drain(0, clients)
    assert stream.operations(since) == ["QueryUsers"]
    assert entry() is None


def test_an_entry_can_be_followed_from_event_to_repair_by_its_uid(
    accounts, clients, stream, capsys
):
    accounts.sign_up("ann")
    stream.fault("*", "status", status=503, rate=1)
    reconcile_after_event("ann", clients)
    drain(0, clients)
    stream.clear_faults()
    drain(0, clients)
    output = capsys.readouterr()
    lines = [json.loads(line) for line in (output.out + output.err).splitlines()]
    told = [line["message"] for line in lines if line.get("user") == "ann"]
    for message in (
        "Repair of user ann queued: stream_unavailable",
        "Queued repair of user ann put off: stream_unavailable",
        "Queued repair of user ann done: created",
    ):
        assert message in told


def test_a_due_entry_is_tried_and_another_is_not(accounts, clients, stream, entry):
    accounts.sign_up("ann")
    queue(clients, "ann")
    change_entry(clients, nextAttemptAt=datetime.now(UTC) + timedelta(minutes=5))
    drain(0, clients)
    assert entry()
    assert stream.requests() == []


def test_attempts_are_further_and_further_apart(accounts, clients, entry, down, monkeypatch):
    monkeypatch.setattr(retry, "SHORTEST_PAUSE_SECONDS", 5.0)
    accounts.sign_up("ann")
    queue(clients, "ann")
    pauses = []
    for attempt in range(1, 11):
        change_entry(clients, nextAttemptAt=datetime.now(UTC))
        drain(0, clients)
        assert entry()["attempts"] == attempt
        pauses.append((entry()["nextAttemptAt"] - datetime.now(UTC)).total_seconds())
    for n, pause in enumerate(pauses):
        longest = min(600, 5 * 2**n)
        assert longest / 2 - 1 < pause <= longest


def test_who_fails_again_in_the_same_way_while_tried_is_tried_again(clients, entry):
    queue(clients, "ann")
    change_entry(clients, attempts=1)
    [found] = outbox.due(clients, time.monotonic() + 20)
    queue(clients, "ann")
    agreement = Outcome(ANN, "ann", "ok", None)
    outbox.apply_outcomes({found: agreement}, clients, time.monotonic() + 20)
    assert entry()


def test_what_there_was_no_time_for_costs_no_attempt(accounts, clients, entry, monkeypatch):
    monkeypatch.setattr(drain_module, "BATCH_SECONDS", 0.0)
    accounts.sign_up("ann")
    queue(clients, "ann")
    drain(0, clients)
    assert (entry()["reason"], entry()["attempts"]) == ("postponed", 0)


def test_a_rate_limit_costs_no_attempt_and_pauses_the_drain(accounts, clients, stream, entry):
    for n in range(150):
        accounts.sign_up(f"user-{n}")
    queue(clients, *(f"user-{n}" for n in range(100)))
    queue(clients, *(f"user-{n}" for n in range(100, 150)))
    stream.limit("UpdateUsers", 0, window_s=40)
    drain(0, clients)
    assert stream.operations().count("UpdateUsers") == 1
    assert all(entry["attempts"] == 0 for entry in entries(clients).values())


def test_after_a_rate_limit_the_next_wake_is_at_the_reset(accounts, clients, stream, tasks):
    accounts.sign_up("ann")
    queue(clients, "ann")
    tasks.waiting.clear()
    stream.limit("UpdateUsers", 0, window_s=40)
    drain(0, clients)
    [wake] = tasks.waiting
    assert 38 <= wake["at"] - time.time() <= 42 + SLOT_SECONDS


def test_while_stream_is_down_one_batch_finds_out_for_all(accounts, clients, stream, monkeypatch):
    monkeypatch.setattr(drain_module, "PAUSE_SECONDS", 5.0)
    for n in range(250):
        accounts.sign_up(f"user-{n}")
    for start in range(0, 250, 50):
        queue(clients, *(f"user-{n}" for n in range(start, start + 50)))
    stream.fault("*", "status", status=503, rate=1)
    drain(0, clients)
    assert set(stream.operations()) == {"QueryUsers"}
    assert len(stream.requests()) <= 12
    assert len(entries(clients)) == 250


def test_one_bad_user_never_blocks_the_others(accounts, clients, firestore, chat, capsys):
    for n in range(30):
        accounts.sign_up(f"user-{n}")
    firestore.document("users/user-7").set({"chat": {"role": "no-such-role"}})
    queue(clients, *(f"user-{n}" for n in range(30)))
    drain(0, clients)
    [(document_id, entry)] = entries(clients).items()
    assert document_id == "user_user-7"
    assert (entry["state"], entry["reason"]) == ("parked", "rejected")
    assert "nextAttemptAt" not in entry
    assert "Repair of user user-7 parked: " in capsys.readouterr().err
    assert len(names(chat)) == 29


def test_a_bug_that_one_user_meets_does_not_stop_the_others(
    accounts, clients, chat, monkeypatch, capsys
):
    for n in range(10):
        accounts.sign_up(f"user-{n}")
    queue(clients, *(f"user-{n}" for n in range(10)))
    reconcile_users = drain_module.reconcile_users

    def stumble(keys, *args, **options):
        if any(key.id == "user-3" for key in keys):
            raise TypeError("a bug")
        return reconcile_users(keys, *args, **options)

    monkeypatch.setattr(drain_module, "reconcile_users", stumble)
    monkeypatch.setattr(retry, "SHORTEST_PAUSE_SECONDS", 60.0)
    drain(0, clients)
    assert len(names(chat)) == 9
    [(document_id, entry)] = entries(clients).items()
    assert (document_id, entry["state"], entry["reason"]) == ("user_user-3", "waiting", "internal")
    assert "Traceback" in capsys.readouterr().err


def test_a_drain_that_dies_in_the_middle_has_lost_nobody(
    accounts, clients, chat, firestore_api, stream
):
    """Before each of its outside calls in turn."""
    for operation in ("QueryUsers", "UpdateUsers"):
        stream.remove_limit(operation)
    at = 0
    while True:
        at += 1
        stream.reset()
        firestore_api.documents.clear()
        accounts.accounts.clear()
        for n in range(3):
            accounts.sign_up(f"user-{n}")
        queue(clients, *(f"user-{n}" for n in range(3)))
        if not dies_before(at, lambda: drain(0, clients), firestore_api, accounts):
            break
        drain_until_settled(clients)
        assert len(names(chat)) == 3, f"killed before call {at}"
        assert len(firestore_api.documents) == 12, f"killed before call {at}"
    assert at > 6


def test_who_is_reported_while_drained_stays_in_the_outbox(accounts, clients, entry, firestore_api):
    accounts.sign_up("ann")
    queue(clients, "ann")

    def report(call: str) -> None:
        if call == "batch_write":
            firestore_api.before_call = lambda _: None
            queue(clients, "ann")

    firestore_api.before_call = report
    drain_once(clients)
    assert entry()
    drain_until_settled(clients)
    assert entry() is None


def test_a_late_call_is_not_forgotten_because_somebody_reported_the_user_meanwhile(
    accounts, clients, entry, stream, chat, firestore_api, half_minute
):
    """The drain made the user, the answer was lost, the account went, and Stream is late."""
    accounts.sign_up("ann")
    queue(clients, "ann")
    stream.fault("UpdateUsers", "reset", times=1)

    def delete_before_look(call: str) -> None:
        if call == "batch_write":
            firestore_api.before_call = lambda _: None
            accounts.accounts.clear()

    firestore_api.before_call = delete_before_look
    found = outbox.due(clients, time.monotonic() + 20)
    outcomes = drain_module._try_users(found, clients)
    queue(clients, "ann")
    outbox.apply_outcomes(outcomes, clients, time.monotonic() + 20)
    chat.upsert_user({"id": "ann"})
    assert entry()["removal"]
    half_minute()
    drain_until_settled(clients)
    assert names(chat) == set()


def test_a_lost_answer_is_looked_at_even_if_the_repair_ends_for_good(
    accounts, clients, chat, stream, firestore, entry, half_minute
):
    """The restoration timed out, the rest was refused; the restoration comes late."""
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"chat": {"role": "no-such-role"}})
    chat.upsert_user({"id": "ann"})
    chat.delete_user("ann")
    stream.fault("RestoreUsers", "reset", times=1)
    outbox.reconcile([ANN], clients)
    assert entry()["state"] == "waiting"
    accounts.accounts.clear()
    remove_after_event("ann", clients)
    chat.restore_users(["ann"])
    half_minute()
    drain_until_settled(clients)
    assert names(chat) == set()


def test_a_removal_that_stream_applies_late_is_made_good(
    accounts, clients, chat, stream, entry, half_minute
):
    """The deletion timed out, the account came back, and then the deletion came."""
    chat.upsert_user({"id": "ann"})
    stream.fault("DeleteUser", "reset", times=1)
    remove_after_event("ann", clients)
    accounts.sign_up("ann", displayName="Ann")
    change_entry(clients, nextAttemptAt=datetime.now(UTC))
    drain(0, clients)
    assert entry(), "the late call may be still to come"
    chat.delete_user("ann")
    half_minute()
    drain_until_settled(clients)
    assert names(chat) == {"ann"}
    assert entry() is None


@pytest.mark.parametrize("call", ["commit", "get_users"])
def test_a_lost_answer_to_a_removal_is_remembered_though_firebase_fails_too(
    accounts, clients, chat, stream, firestore_api, call
):
    """While the documents are deleted, or when it is looked again who exists."""
    chat.upsert_user({"id": "ann"})
    stream.fault("DeleteUser", "reset", rate=1)
    looks = []

    def fail(name: str) -> None:
        looks.append(name)
        if name == call and (call == "commit" or looks.count(call) == 2):
            raise InternalServerError("no")

    (firestore_api if call == "commit" else accounts).before_call = fail
    [outcome] = remove_users([ANN], clients)
    assert (outcome.recheck, outcome.removal) == (True, True)
    assert looks.count(call) == (1 if call == "commit" else 2)


def test_a_success_before_the_late_call_is_not_the_end(
    accounts, clients, chat, stream, entry, half_minute
):
    accounts.sign_up("ann", displayName="Ann")
    stream.fault("UpdateUsers", "reset", times=9)
    outbox.reconcile([ANN], clients)
    stream.clear_faults()
    change_entry(clients, nextAttemptAt=datetime.now(UTC))
    drain(0, clients)
    assert names(chat) == {"ann"}
    chat.upsert_user({"id": "ann", "name": "Old"})
    half_minute()
    drain_until_settled(clients)
    assert chat.query_users({"id": "ann"})["users"][0]["name"] == "Ann"


def test_an_entry_that_cannot_be_written_ends_the_drain(accounts, clients, firestore_api, entry):
    accounts.sign_up("ann")
    queue(clients, "ann")
    batch_write = firestore_api.batch_write

    def refuse_deletions(request, **options):
        response = batch_write(request=request, **options)
        if any(write.delete for write in request["writes"]):
            for status in response.status:
                status.code = 14
        return response

    firestore_api.batch_write = refuse_deletions
    with pytest.raises(FirebaseUnavailable):
        drain(0, clients)


def test_a_drain_works_two_hundred_off_at_once_and_sends_nobody_twice(accounts, clients, stream):
    for n in range(250):
        accounts.sign_up(f"user-{n}")
    for start in range(0, 250, 50):
        queue(clients, *(f"user-{n}" for n in range(start, start + 50)))
    since = stream.last_request()
    drain(0, clients)
    assert not entries(clients)
    updates = [one for one in stream.requests(since) if one["operation"] == "UpdateUsers"]
    sent = [stream_id for one in updates for stream_id in one["ids"]]
    assert len(sent) == len(set(sent)) == 250
    assert len(updates) == stream.operations(since).count("QueryUsers") == 3
    assert stream.state()["counts"]["users"] == 250


def test_more_than_a_hundred_removals_are_drained(clients):
    for start in range(0, 150, 50):
        queue(clients, *(f"gone-{n}" for n in range(start, start + 50)), removal=True)
    drain(0, clients)
    assert not entries(clients)


def test_a_drain_begins_no_batch_after_its_budget(accounts, clients, monkeypatch):
    for n in range(250):
        accounts.sign_up(f"user-{n}")
    for start in range(0, 250, 50):
        queue(clients, *(f"user-{n}" for n in range(start, start + 50)))
    monkeypatch.setattr(drain_module, "BUDGET_SECONDS", 0.001)
    drain(0, clients)
    assert len(entries(clients)) >= 50


def test_asking_again_and_again_does_not_bring_an_attempt_forward(
    accounts, clients, entry, down, monkeypatch
):
    monkeypatch.setattr(retry, "SHORTEST_PAUSE_SECONDS", 100.0)
    accounts.sign_up("ann")
    queue(clients, "ann")
    drain(0, clients)
    next_attempt = entry()["nextAttemptAt"]
    assert next_attempt > datetime.now(UTC) + timedelta(seconds=40)
    outbox.reconcile([ANN], clients)
    assert entry()["nextAttemptAt"] == next_attempt


def drain_once(clients) -> None:
    """One batch only."""
    found = outbox.due(clients, time.monotonic() + 20)
    outbox.apply_outcomes(drain_module._try_users(found, clients), clients, time.monotonic() + 20)


def test_wrong_credentials_are_left_to_the_outbox_until_they_are_right(
    accounts, clients, stream, entry, chat, capsys
):
    accounts.sign_up("ann")
    wrong = replace(clients, stream=Stream("local-key", "wrong-secret", stream.url))
    with fails_with(StreamCredentialsRejected):
        outbox.reconcile([ANN], wrong)
    assert entry()["reason"] == "credentials"
    drain(0, wrong)
    assert entry()["attempts"] == 1
    told = capsys.readouterr().out
    assert "Repair of user ann queued: credentials" in told
    assert "Queued repair of user ann put off: credentials" in told
    reconcile_after_event("ann", wrong)
    drain_until_settled(clients)
    assert names(chat) == {"ann"}


# Parked entries


def test_what_fails_for_good_is_parked_by_the_event_that_met_it(
    accounts, clients, entry, firestore, stream, capsys
):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"chat": {"role": "no-such-role"}})
    reconcile_after_event("ann", clients)
    assert entry()["state"] == "parked"
    assert "Repair of user ann parked: " in capsys.readouterr().err
    since = stream.last_request()
    drain(0, clients)
    assert stream.operations(since) == []


def test_a_new_failure_brings_a_parked_entry_back(accounts, clients, entry, firestore, stream):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"chat": {"role": "no-such-role"}})
    reconcile_after_event("ann", clients)
    firestore.document("users/ann").set({"chat": {"role": "user"}})
    stream.fault("*", "status", status=503, rate=1)
    reconcile_after_event("ann", clients)
    assert entry()["state"] == "waiting"
    stream.clear_faults()
    drain_until_settled(clients)
    assert entry() is None


def test_who_is_left_alone_on_purpose_is_not_in_the_outbox(accounts, clients, entry):
    accounts.sign_up("ann", disabled=True)
    reconcile_after_event("ann", clients)
    assert entry() is None
    queue(clients, "ann")
    drain(0, clients)
    assert entry() is None


# Removals


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ("soft", {}),
        ("hard", {}),
        ("deactivate", {"ann": "deactivated", "bob": "deactivated"}),
        ("keep", {"ann": "there", "bob": "there"}),
    ],
)
def test_removals_are_made_good_by_policy(accounts, with_settings, chat, stream, policy, left):
    clients = with_settings(stream={"delete_policy": policy})
    for uid in ("ann", "bob"):
        accounts.sign_up(uid)
        reconcile_after_event(uid, clients)
        accounts.delete(uid)
    stream.fault("*", "status", status=503, rate=1)
    for uid in ("ann", "bob"):
        remove_after_event(uid, clients)
    assert all(entry["removal"] for entry in entries(clients).values())
    stream.clear_faults()
    drain_until_settled(clients)
    users = chat.query_users({}, include_deactivated_users=True)["users"]
    assert left == {
        user["id"]: "deactivated" if user.get("deactivated_at") else "there" for user in users
    }


def test_many_removals_are_few_calls(clients, chat, stream):
    uids = [f"user-{n}" for n in range(50)]
    chat.upsert_users([{"id": uid} for uid in uids])
    queue(clients, *uids, removal=True)
    since = stream.last_request()
    drain(0, clients)
    assert stream.operations(since) == ["DeleteUsers"]
    assert names(chat) == set()
    assert entries(clients) == {}


def test_who_exists_again_is_reconciled_instead_of_removed(accounts, clients, chat, entry):
    accounts.sign_up("ann", displayName="Ann")
    queue(clients, "ann", removal=True)
    drain(0, clients)
    assert names(chat) == {"ann"}
    assert entry() is None


def test_a_stream_user_without_account_is_not_removed_because_somebody_asked_for_them(
    clients, chat, entry, stream
):
    """A bot that lives in Stream only, named by a caller while Stream was down."""
    chat.upsert_user({"id": "ann", "name": "A bot"})
    stream.fault("*", "status", status=503, rate=1)
    outbox.reconcile([ANN], clients)
    stream.clear_faults()
    drain_until_settled(clients)
    assert names(chat) == {"ann"}
    assert entry() is None


def test_a_removal_asked_for_once_stays_asked_for(clients, chat, entry):
    chat.upsert_user({"id": "ann"})
    queue(clients, "ann", removal=True)
    queue(clients, "ann")
    drain(0, clients)
    assert names(chat) == set()


def test_a_deletion_reaches_a_drain_that_dies_with_the_user_half_made(clients, chat, entry):
    """The drain had asked Auth, the account went, the drain wrote to Stream and died."""
    queue(clients, "ann")
    remove_after_event("ann", clients)
    assert entry()["removal"]
    chat.upsert_user({"id": "ann"})
    drain(0, clients)
    assert names(chat) == set()


def test_a_call_that_stream_applies_late_is_seen_by_a_later_look(
    accounts, clients, chat, stream, entry, firestore_api
):
    """The call timed out here, the account went, and then Stream applied it."""
    accounts.sign_up("ann")
    stream.fault("UpdateUsers", "reset", times=1)

    def delete_before_look(call: str) -> None:
        if call == "batch_write":
            accounts.accounts.clear()

    firestore_api.before_call = delete_before_look
    outbox.reconcile([ANN], clients)
    firestore_api.before_call = lambda _: None
    chat.upsert_user({"id": "ann"})
    assert entry()["reason"] == "answer_lost"
    drain_until_settled(clients)
    assert names(chat) == set()


def test_a_lost_answer_is_looked_at_again_after_a_while(
    accounts, clients, stream, entry, monkeypatch
):
    monkeypatch.setattr(retry, "RECHECK_SECONDS", 30.0)
    accounts.sign_up("ann")
    stream.fault("UpdateUsers", "reset", when="after", times=1)
    [outcome] = outbox.reconcile([ANN], clients)
    assert outcome.status == "created"
    wait = entry()["nextAttemptAt"] - datetime.now(UTC)
    assert 28 < wait.total_seconds() <= 30


# Wakes


def test_a_wake_is_arranged_before_the_entry_is_written(clients, tasks, entry, firestore_api):
    def die(call: str) -> None:
        if call == "commit":
            raise InternalServerError("down")

    firestore_api.before_call = die
    with pytest.raises(FirebaseUnavailable):
        queue(clients, "ann")
    assert entry() is None
    [wake] = tasks.waiting
    firestore_api.before_call = lambda _: None
    drain(wake["data"]["notBefore"] - 60, clients)
    assert [wake] == tasks.waiting


def test_many_failures_ask_for_one_wake(clients, tasks):
    for n in range(20):
        queue(clients, f"user-{n}")
    assert len(tasks.waiting) <= 2  # two, if the tens of seconds changed meanwhile
    assert all(task["function"] == "drainRepairs" for task in tasks.waiting)


def test_a_wake_comes_no_earlier_than_its_entry_is_due(clients, tasks, entry, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_ATTEMPT_SECONDS", 2.0)
    queue(clients, "ann")
    [wake] = tasks.waiting
    assert entry()["nextAttemptAt"].timestamp() <= wake["at"] + 1
    assert wake["data"]["notBefore"] == wake["at"]


def test_a_wake_that_was_arranged_is_not_over_before_its_time(clients, entry, accounts):
    """Else its id would be used up while reports still rely on it."""
    accounts.sign_up("ann")
    queue(clients, "ann")
    with pytest.raises(Postponed):
        drain(time.time() + 5, clients)
    assert entry() is None
    with pytest.raises(Postponed):
        drain(time.time() + 5, clients)


def test_a_drain_that_looked_before_its_time_is_too_early_though_it_ends_after_it(
    clients, firestore_api, monkeypatch
):
    now = time.time()
    clock = [now]
    monkeypatch.setattr(time, "time", lambda: clock[0])

    def take_long(call: str) -> None:
        if call == "run_query":
            clock[0] += 0.1

    firestore_api.before_call = take_long
    with pytest.raises(Postponed):
        drain(now + 0.15, clients)


@pytest.mark.parametrize("answer_lost", [False, True])
def test_a_report_that_took_too_long_asks_for_another_wake(
    clients, tasks, firestore_api, monkeypatch, answer_lost
):
    enqueue = tasks.enqueue

    def enqueue_unanswered(*task: object) -> bool:
        enqueue(*task)
        raise FirebaseUnavailable("no answer in time")

    if answer_lost:
        monkeypatch.setattr(tasks, "enqueue", enqueue_unanswered)
    now = time.time()
    clock = [now]
    monkeypatch.setattr(time, "time", lambda: clock[0])

    def take_long(call: str) -> None:
        if call == "commit":
            clock[0] += SLOT_SECONDS + 1

    firestore_api.before_call = take_long
    queue(clients, "ann")
    first, second = tasks.waiting
    assert first["at"] < clock[0] <= second["at"]


def test_an_entry_is_kept_though_nobody_can_be_woken(clients, entry, tasks, capsys):
    def fail(call: str) -> None:
        raise FirebaseUnavailable("no queue")

    tasks.before_call = fail
    queue(clients, "ann")
    assert entry()
    assert "The drain could not be woken" in capsys.readouterr().err


def test_with_an_empty_outbox_nothing_is_called(clients, tasks, stream):
    drain(0, clients)
    drain_module.wake_if_due(clients)
    assert tasks.waiting == []
    assert stream.requests() == []


def test_a_drain_arranges_the_wake_for_what_remains(clients, tasks):
    queue(clients, "ann")
    change_entry(clients, nextAttemptAt=datetime.now(UTC) + timedelta(seconds=42))
    tasks.waiting.clear()
    drain(0, clients)
    [wake] = tasks.waiting
    assert 42 - 1 <= wake["at"] - time.time() <= 42 + SLOT_SECONDS


def test_no_wake_is_further_off_than_a_minute(clients, tasks):
    """A queue that calls at once, as the emulator's, would go on calling until then."""
    queue(clients, "ann")
    change_entry(clients, nextAttemptAt=datetime.now(UTC) + timedelta(minutes=9))
    tasks.waiting.clear()
    drain(0, clients)
    [wake] = tasks.waiting
    assert wake["at"] - time.time() <= 60 + SLOT_SECONDS


def test_the_look_every_five_minutes_finds_a_lost_wake(clients, tasks, capsys):
    queue(clients, "ann")
    tasks.waiting.clear()
    tasks.used_ids.clear()
    drain_module.wake_if_due(clients)
    assert len(tasks.waiting) == 1
    assert "The outbox has entries that are due" in capsys.readouterr().out


def test_the_look_every_five_minutes_wakes_nobody_for_what_is_not_due(clients, tasks):
    queue(clients, "ann")
    change_entry(clients, nextAttemptAt=datetime.now(UTC) + timedelta(minutes=1))
    tasks.waiting.clear()
    tasks.used_ids.clear()
    drain_module.wake_if_due(clients)
    assert tasks.waiting == []


# People before conversations


def test_people_are_repaired_before_conversations(accounts, clients, stream):
    rooms = queue_rooms(clients, accounts, 230)
    for number in range(3):
        accounts.sign_up(f"late-{number}")
    queue(clients, *(f"late-{number}" for number in range(3)))
    since = stream.last_request()
    drain_until_settled(clients)
    operations = stream.operations(since)
    assert operations.index("UpdateUsers") < operations.index("GetOrCreateChannel")
    assert operations.count("GetOrCreateChannel") == len(rooms)


def test_rooms_whose_channels_are_limited_use_up_nobodys_limit(accounts, clients, stream):
    rooms = queue_rooms(clients, accounts, 30)
    stream.limit("GetOrCreateChannel", 1, window_s=100)
    since = stream.last_request()
    drain(0, clients)
    operations = stream.operations(since)
    assert operations.count("QueryUsers") <= 3
    reasons = [entry["reason"] for entry in entries(clients).values()]
    assert reasons == ["rate_limit"] * (len(rooms) - 1)


def test_rooms_have_their_turn_though_people_are_at_streams_limit(accounts, clients, stream, chat):
    queue_rooms(clients, accounts, 3)
    stream.limit("UpdateUsers", 1, window_s=100)
    chat.upsert_user({"id": "other"})
    for number in range(3):
        accounts.sign_up(f"late-{number}")
        queue(clients, f"late-{number}")
    drain(0, clients)
    assert [entry["kind"] for entry in entries(clients).values()] == ["user"] * 3


def test_rooms_are_tried_once_though_removals_are_at_streams_limit(accounts, clients, stream, chat):
    rooms = queue_rooms(clients, accounts, 3)
    stream.limit("DeleteUser", 0, window_s=100)
    chat.upsert_user({"id": "gone"})
    queue(clients, "gone", removal=True)
    accounts.sign_up("late")
    queue(clients, "late")
    since = stream.last_request()
    drain(0, clients)
    assert [entry["kind"] for entry in entries(clients).values()] == ["user"]
    operations = stream.operations(since)
    assert operations.count("GetOrCreateChannel") == len(rooms)
    assert "QueryChannels" not in operations


# Parked


def test_who_is_parked_again_keeps_nobody_waiting(accounts, clients):
    for number in range(200):
        queue(clients, f"{'x' * 200}-{number:03}")
    accounts.sign_up("ann")
    queue(clients, "ann")
    drain(0, clients)
    waiting = [one["key"] for one in entries(clients).values() if one["state"] == "waiting"]
    assert waiting == []


def queue_rooms(clients, accounts, count: int) -> list[str]:
    """Conversations that were begun and never finished."""
    accounts.sign_up("ann")
    accounts.sign_up("bob")
    outbox.reconcile([ANN, Key("user", "bob")], clients)
    rooms = [f"room-{number:03}" for number in range(count)]
    for room in rooms:
        document = {
            "status": "pending",
            "origin": "app",
            "memberIds": ["ann", "bob"],
            "createdBy": "ann",
        }
        clients.firestore.document("conversations", room).set(document)
    for start in range(0, count, 100):
        begun = [
            Outcome(Key("conversation", room), "", None, Postponed("begun"))
            for room in rooms[start : start + 100]
        ]
        outbox.write_entries(begun, clients)
    return rooms
