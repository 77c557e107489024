"""While writing to Stream is paused nothing arrives there, and after it nothing is lost."""

from __future__ import annotations

import inspect
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import InternalServerError

from chatsync import audit as audits
from chatsync import clients as clients_module
from chatsync import outbox
from chatsync.audit import pages
from chatsync.audit.steps import RECONCILED
from chatsync.clients import pause as pause_module
from chatsync.clients.pause import COUNTS_FOR_SECONDS, Switch
from chatsync.clients.stream import Stream
from chatsync.conversations.create import create_conversation
from chatsync.entry import callables, webhooks
from chatsync.entry.events import (
    reconcile_after_event,
    reconcile_after_sign_up,
    remove_after_event,
)
from chatsync.entry.tokens import issue_token, revoke_tokens
from chatsync.errors import FirebaseUnavailable, Paused, Postponed, Temporary
from chatsync.ids import Key
from chatsync.operator import command, options, terminal
from chatsync.operator.stream_requests import StreamRequests
from chatsync.outbox import drain as drain_module
from chatsync.outbox.drain import drain, wake_if_due
from chatsync.outcome import NotRepaired, Outcome, Waiting
from chatsync.reconcile import new_deadline
from tests.fast.failures import fails_with
from tests.fast.outbox import drain_until_settled, entries

ANN = Key("user", "ann")

READS = {
    *("calls", "leaving", "app_settings", "limits_used"),
    *("query_users", "list_users", "query_channels", "list_channels", "query_members"),
}
"""Methods of the client that change nothing in Stream."""

WRITES: dict[str, tuple[Any, ...]] = {
    "upsert_users": ([{"id": "ann"}],),
    "update_users_partial": ([{"id": "ann", "set": {"name": "Ann"}}],),
    "restore_users": (["ann"],),
    "delete_users": (["ann"],),
    "remove_user": ("ann", "soft"),
    "revoke_tokens": ("ann", datetime.now(UTC)),
    "get_or_create_channel": ("messaging:a", {"created_by_id": "ann"}),
    "add_members": ("messaging:a", ["ann"]),
    "remove_members": ("messaging:a", ["ann"]),
    "update_channel_partial": ("messaging:a", {"name": "A"}),
    "delete_channel": ("messaging:a", False),
    "set_event_hooks": ([],),
}
"""All others, each with what it may be called with."""


@pytest.fixture
def paused(clients) -> Switch:
    clients.pause.pause()
    return clients.pause


@pytest.fixture
def people(accounts, clients) -> None:
    for uid in ("ann", "bob"):
        accounts.sign_up(uid, displayName=uid.title())
        reconcile_after_sign_up(uid, clients)


@pytest.fixture
def written(stream):
    """What was sent to Stream since the test began, or since it was asked last, without reads."""
    since = stream.last_request()

    def written() -> list[str]:
        nonlocal since
        operations = stream.operations(since)
        since = stream.last_request()
        reads = ("QueryUsers", "QueryChannels", "QueryMembers", "GetApp")
        return [one for one in operations if one not in reads]

    return written


def as_seen_later(switch: Switch, seconds: float) -> None:
    """As if so much time had passed since the switch was read."""
    switch._read_at -= seconds


# Every write


@pytest.mark.parametrize("name", WRITES)
def test_no_write_is_sent(name, clients, paused, stream):
    since = stream.last_request()
    with pytest.raises(Paused):
        getattr(clients.stream, name)(*WRITES[name], new_deadline())
    assert stream.operations(since) == []


def test_every_method_of_the_client_is_known_to_write_or_not():
    methods = {name for name, _ in inspect.getmembers(Stream, inspect.isfunction)}
    assert {name for name in methods if not name.startswith("_")} == READS | WRITES.keys()


def test_every_policy_of_removal_is_refused(clients, paused, stream):
    since = stream.last_request()
    for policy in ("soft", "hard", "deactivate", "keep"):
        with pytest.raises(Paused):
            clients.stream.remove_user("ann", policy, new_deadline())
    assert stream.operations(since) == []


def test_a_single_request_that_may_write_is_refused(clients, paused, stream):
    since = stream.last_request()
    for method in ("POST", "PATCH", "PUT", "DELETE"):
        with pytest.raises(Paused):
            StreamRequests(clients).ask(method, "/users", {"users": {"ann": {"id": "ann"}}})
    assert stream.operations(since) == []


def test_reads_go_on(clients, paused):
    assert StreamRequests(clients).ask("GET", "/app").is_ok
    assert clients.stream.query_users(["ann"], new_deadline()) == {}


def test_a_write_that_waited_for_its_turn_while_a_pause_began_is_not_sent(stream):
    asked = iter([None, Paused(datetime.now(UTC))])

    def before_write() -> None:
        if error := next(asked):
            raise error

    client = Stream(stream.key, stream.secret, stream.url, before_write)
    since = stream.last_request()
    with pytest.raises(Paused):
        client.upsert_users([{"id": "ann"}], new_deadline())
    assert stream.operations(since) == []


# The switch


def test_the_switch_is_read_every_twenty_seconds_at_most(firestore, firestore_api):
    switch = Switch(firestore)
    firestore_api.calls.clear()
    switch.refuse_if_paused()
    Switch(firestore).pause()  # by another process
    as_seen_later(switch, COUNTS_FOR_SECONDS - 1)
    firestore_api.calls.clear()
    switch.refuse_if_paused()
    assert firestore_api.calls == []
    as_seen_later(switch, 2)
    with pytest.raises(Paused):
        switch.refuse_if_paused()


def test_threads_that_ask_at_once_share_one_read(firestore, firestore_api):
    switch = Switch(firestore)
    everybody_asks = threading.Barrier(8)
    firestore_api.before_call = lambda call: time.sleep(0.2)

    def ask(_: int) -> datetime | None:
        everybody_asks.wait()
        return switch.since()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [None] * 8
    assert firestore_api.calls == ["batch_get_documents"]


def test_threads_that_ask_at_once_share_one_failure(firestore, firestore_api, monkeypatch):
    monkeypatch.setattr(pause_module, "READ_SECONDS", 0.3)
    switch = Switch(firestore)
    everybody_asks, attempts = threading.Barrier(8), Counter[str]()

    def fail(call: str) -> None:
        attempts[call] += 1
        time.sleep(0.2)
        raise InternalServerError("down")

    firestore_api.before_call = fail

    def ask(_: int) -> bool:
        everybody_asks.wait()
        with pytest.raises(FirebaseUnavailable):
            switch.since()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(8)))
    assert attempts["batch_get_documents"] == 1


def test_without_an_answer_that_counts_nothing_is_written(clients, firestore_api, stream):
    clients.pause.since()

    def fail(call: str) -> None:
        raise InternalServerError("down")

    firestore_api.before_call = fail
    clients.pause.refuse_if_paused()  # the last answer counts
    as_seen_later(clients.pause, COUNTS_FOR_SECONDS + 1)
    since = stream.last_request()
    with pytest.raises(FirebaseUnavailable):
        clients.stream.upsert_users([{"id": "ann"}], new_deadline())
    assert stream.operations(since) == []


def test_a_switch_that_hangs_delays_a_write_for_two_seconds_at_most(
    clients, firestore_api, monkeypatch
):
    monkeypatch.setattr(pause_module, "READ_SECONDS", 0.2)
    firestore_api.before_call = lambda call: time.sleep(5)
    started = time.monotonic()
    with pytest.raises(Temporary):
        clients.stream.upsert_users([{"id": "ann"}], new_deadline())
    assert time.monotonic() - started < 2


def test_a_document_that_a_person_made_by_hand_pauses_too(firestore):
    firestore.document("chatsync/pause").set({})
    since = Switch(firestore).since()
    assert since is not None
    assert datetime.now(UTC) - since < timedelta(minutes=1)


def test_a_second_pause_keeps_the_time_of_the_first(firestore):
    first = Switch(firestore).pause()
    assert Switch(firestore).pause() == first
    assert Switch(firestore).resume() == first
    assert Switch(firestore).resume() is None


# Events and the outbox


def test_a_sign_up_waits_in_the_outbox_and_is_repaired_after_the_pause(
    accounts, clients, paused, written, chat
):
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)
    entry = entries(clients)["user_ann"]
    assert (entry["reason"], entry["state"], entry["attempts"]) == (Waiting.PAUSED, "waiting", 0)
    assert clients.firestore.document("user_profiles/ann").get().exists
    assert written() == []
    paused.resume()
    drain(0, clients)
    assert entries(clients) == {}
    assert len(chat.query_users({"id": "ann"})["users"]) == 1


def test_a_repair_that_is_paused_is_not_repeated_at_once(accounts, clients, paused, stream):
    accounts.sign_up("ann", displayName="Ann")
    since = stream.last_request()
    reconcile_after_event("ann", clients)
    assert stream.operations(since) == ["QueryUsers"]


def test_a_deletion_waits_in_the_outbox_and_is_done_after_the_pause(
    people, accounts, clients, written, chat
):
    clients.pause.pause()
    accounts.delete("bob")
    remove_after_event("bob", clients)
    entry = entries(clients)["user_bob"]
    assert (entry["reason"], entry["removal"], entry["attempts"]) == ("paused", True, 0)
    clients.pause.resume()
    assert "DeleteUser" not in written()
    drain(0, clients)
    assert entries(clients) == {}
    assert chat.query_users({"id": "bob"})["users"] == []


def test_a_company_that_was_deleted_in_a_pause_of_weeks_is_removed_after_it(
    accounts, with_settings, firestore, chat
):
    """Only its tombstone says under which id it is in Stream, and tombstones expire."""
    clients = with_settings(users={"company": {"field": "type", "values": ["company"]}})
    accounts.sign_up("shop")
    firestore.document("users/shop").set({"type": "company"})
    reconcile_after_event("shop", clients)
    assert [user["id"] for user in chat.query_users({})["users"]] == ["company_shop"]
    clients.pause.pause()
    accounts.delete("shop")
    remove_after_event("shop", clients)
    for one in firestore.collection("stream_users").get():
        if "chatsyncExpireAt" in one.to_dict():
            one.reference.delete()
    clients.pause.resume()
    drain(0, clients)
    assert (entries(clients), chat.query_users({})["users"]) == ({}, [])
    [tombstone] = firestore.collection("stream_users").get()
    assert "chatsyncExpireAt" in tombstone.to_dict()


def test_an_event_of_stream_is_answered_and_its_repair_waits(people, clients, paused, written):
    user = {"id": "ann", "name": "Overwritten"}
    webhooks.handle({"type": "user.updated", "user": user}, clients)
    drain(0, clients)
    assert "user_ann" in entries(clients)
    assert written() == []


def test_while_paused_the_drain_tries_nothing_and_arranges_no_wake(
    accounts, clients, paused, stream, tasks
):
    accounts.sign_up("ann")
    reconcile_after_event("ann", clients)
    tasks.waiting.clear()
    before, since = entries(clients), stream.last_request()
    drain(0, clients)
    assert (entries(clients), stream.operations(since), tasks.waiting) == (before, [], [])


def test_a_wake_that_comes_too_early_is_kept_while_paused(clients, paused):
    """`resume` may arrange the same one, and find that it exists."""
    with pytest.raises(Postponed):
        drain(time.time() + 30, clients)


def test_the_drain_asks_the_switch_anew(accounts, clients, paused, firestore):
    accounts.sign_up("ann")
    reconcile_after_event("ann", clients)
    Switch(firestore).resume()  # by another process, a moment ago
    drain(0, clients)
    assert entries(clients) == {}


def test_a_pause_that_begins_during_a_drain_costs_no_attempt(accounts, clients, monkeypatch):
    clients.pause.pause()
    for number in range(3):
        accounts.sign_up(f"user-{number}")
        reconcile_after_event(f"user-{number}", clients)
    clients.pause.resume()
    create, drains = Stream.upsert_users, iter([True])

    def pause_before(client: Stream, *args: Any) -> None:
        if next(drains, False):
            clients.pause.pause()
        create(client, *args)

    monkeypatch.setattr(Stream, "upsert_users", pause_before)
    drain(0, clients)
    left = entries(clients)
    assert {(one["reason"], one["attempts"]) for one in left.values()} == {("paused", 0)}
    assert len(left) == 3
    clients.pause.resume()
    drain(0, clients)
    assert entries(clients) == {}


def test_a_drain_that_is_paused_ends_even_if_some_entries_are_done():
    done = Outcome(Key("user", "bob"), "bob", "ok", None)
    held = Outcome(ANN, "ann", None, Paused(datetime.now(UTC)))
    assert drain_module._pause_until([done]) == 0
    assert drain_module._pause_until([done, held]) > 0


def test_who_was_created_just_before_a_pause_and_is_gone_is_removed_after_it(
    accounts, clients, chat, stream, monkeypatch
):
    accounts.sign_up("ann")
    create = Stream.upsert_users

    def vanish_after(client: Stream, *args: Any) -> None:
        create(client, *args)
        accounts.delete("ann")
        clients.pause.pause()

    with monkeypatch.context() as patched:
        patched.setattr(Stream, "upsert_users", vanish_after)
        since = stream.last_request()
        reconcile_after_event("ann", clients)
    assert stream.operations(since) == ["QueryUsers", "UpdateUsers"]
    assert entries(clients)["user_ann"]["removal"]
    clients.pause.resume()
    drain(0, clients)
    assert (entries(clients), chat.query_users({"id": "ann"})["users"]) == ({}, [])


def test_the_look_every_five_minutes_only_tells_that_writing_is_paused(
    accounts, clients, paused, tasks, capsys
):
    accounts.sign_up("ann")
    reconcile_after_event("ann", clients)
    tasks.waiting.clear()
    tasks.used_ids.clear()
    capsys.readouterr()
    wake_if_due(clients)
    [line] = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["event"], json.loads(line)["minutes"]) == ("chatsync.paused", 0)
    assert tasks.waiting == []
    paused.resume()
    wake_if_due(clients)
    assert len(tasks.waiting) == 1


# Callables


def test_who_is_in_agreement_notices_nothing(people, clients, paused, proven, stream):
    since = stream.last_request()
    assert issue_token("ann", clients)["streamUserId"] == "ann"
    assert stream.operations(since) == []
    [outcome] = outbox.reconcile([ANN], clients)
    assert outcome.status == "ok"


@pytest.mark.usefixtures("paused")
def test_somebody_missing_is_told_that_the_repair_follows(accounts, clients, capsys):
    accounts.sign_up("ann")
    for ask in (lambda: issue_token("ann", clients), lambda: raise_of(ANN, clients)):
        with pytest.raises(NotRepaired) as failure:
            ask()
        answer = callables.https_error(failure.value)
        assert (answer.code.value, answer.details) == (
            "unavailable",
            {"reason": "paused", "repairQueued": True},
        )
        assert "resume" not in answer.message
    told = capsys.readouterr()
    assert "ERROR" not in {json.loads(line)["severity"] for line in told.err.splitlines()}


def raise_of(key: Key, clients) -> None:
    [outcome] = outbox.reconcile([key], clients)
    raise NotRepaired(outcome)


def test_a_revocation_is_refused_and_not_queued(people, clients, paused, written):
    with pytest.raises(Paused) as failure:
        revoke_tokens("ann", clients)
    assert callables.https_error(failure.value).details == {
        "reason": "paused",
        "repairQueued": False,
    }
    assert entries(clients) == {}


def test_a_conversation_is_pending_and_opens_after_the_pause(people, clients, paused, written):
    with fails_with(Paused) as failure:
        create_conversation("ann", {"participantIds": ["bob"]}, clients)
    assert failure.is_queued
    assert "GetOrCreateChannel" not in written()
    [found] = clients.firestore.collection("conversations").get()
    assert found.get("status") == "pending"
    [entry] = entries(clients).values()
    assert (entry["reason"], entry["attempts"]) == ("paused", 0)
    paused.resume()
    drain_until_settled(clients)
    assert found.reference.get().get("status") == "ready"


# Audits


@pytest.fixture
def missing(accounts) -> list[str]:
    """More accounts than a batch has, missing everywhere."""
    uids = [f"user-{number:03}" for number in range(120)]
    for uid in uids:
        accounts.sign_up(uid)
    return uids


def sweeps(tasks) -> list[dict[str, Any]]:
    return [task for task in tasks.waiting if task["function"] == "runSweep"]


def test_an_audit_that_repairs_waits_and_goes_on_after_the_pause(
    missing, clients, paused, tasks, written, monkeypatch
):
    audit = audits.start("nightly", clients, repair=audits.CREATING)
    now = time.time() // 60 * 60 + 10
    monkeypatch.setattr(pages.time, "time", lambda: now)
    audits.run(audit.id, clients)
    [task] = sweeps(tasks)
    assert task["at"] == now + 50
    with pytest.raises(Postponed):  # the emulator calls at once: the queue calls again
        audits.run(audit.id, clients)
    now += 60
    audits.run(audit.id, clients)
    assert [task["at"] for task in sweeps(tasks)] == [now - 10, now + 50]
    assert (entries(clients), written()) == ({}, [])
    held = audits.read(audit.id, clients)
    assert (held.page, held.state) == (0, "running")
    paused.resume()
    audits.run(audit.id, clients)
    done = audits.read(audit.id, clients)
    assert (done.state, done.failed) == ("done", 0)
    assert len(clients.stream.query_users(missing, new_deadline())) == len(missing)


def test_an_audit_that_repairs_nothing_goes_on(missing, clients, paused):
    audit = audits.start("operator", clients)
    audits.run(audit.id, clients)
    assert audits.read(audit.id, clients).state == "done"


def test_a_pause_in_the_middle_of_a_page_enters_nobody_into_the_outbox(
    missing, clients, tasks, monkeypatch
):
    audit = audits.start("backfill", clients, steps=("accounts",), repair=RECONCILED)
    create = Stream.upsert_users

    def pause_before(client: Stream, *args: Any) -> None:
        clients.pause.pause()
        create(client, *args)

    monkeypatch.setattr(Stream, "upsert_users", pause_before)
    audits.run(audit.id, clients)
    assert entries(clients) == {}
    held = audits.read(audit.id, clients)
    assert (held.page, held.failed, held.state) == (0, 0, "running")
    assert len(sweeps(tasks)) == 1


def test_a_paused_nightly_audit_is_not_given_up(clients, paused, monkeypatch):
    audit = audits.start("nightly", clients, repair=audits.CREATING)
    monkeypatch.setattr(pages, "STALLED_AFTER", timedelta(0))
    audits.begin_nightly(clients)
    assert audits.read(audit.id, clients).state == "running"
    paused.resume()
    audits.begin_nightly(clients)
    assert audits.read(audit.id, clients).state == "failed"


# Operators


def test_pause_and_resume_say_what_they_did_and_wake_the_drain(run, clients, tasks):
    assert "Nothing was paused" in run("resume").out
    assert tasks.waiting == []
    ran = run("pause")
    assert (ran.status, "Paused since" in ran.out, "resume" in ran.out) == (0, True, True)
    assert clients.firestore.document("chatsync/pause").get().exists
    assert run("pause").out == ran.out
    assert run("resume").out.startswith("Resumed")
    assert not clients.firestore.document("chatsync/pause").get().exists
    assert [task["function"] for task in tasks.waiting] == ["drainRepairs"]


def test_status_says_first_that_it_is_paused(run, clients):
    assert run("status", "--json").json()["pausedSince"] is None
    since = clients.pause.pause()
    ran = run("status")
    assert (ran.status, ran.out.splitlines()[2].startswith("paused (since")) == (1, True)
    told = run("status", "--json").json()
    assert (told["problems"][0]["name"], told["pausedSince"]) == ("paused", since.isoformat())


@pytest.mark.parametrize(
    "typed",
    [
        ("audit", "--repair", "missing_stream_user", "--apply"),
        ("audit", "--repair", "orphan_stream_user", "--apply", "--yes"),
        ("repair", "ann", "--apply"),
        ("repair", "ann", "--kind", "company", "--apply", "--yes"),
        ("backfill", "--apply"),
        ("fix-team", "a", "--team", "gym", "--apply"),
        ("fix-team", "--all", "--apply"),
        ("delete-orphan", "a", "--apply", "--yes"),
        ("sync-channel", "a", "--apply"),
    ],
)
def test_a_command_that_writes_is_refused_at_once(typed, run, clients, paused, stream):
    since = stream.last_request()
    ran = run(*typed)
    assert (ran.status, ran.out) == (2, "")
    assert "paused since" in ran.err
    assert "resume" in ran.err
    assert stream.operations(since) == []
    assert not list(clients.firestore.collection("audits").get())


def test_a_backfill_that_is_paused_in_the_middle_continues_after_the_pause(
    run, accounts, clients, monkeypatch
):
    for number in range(1, 4):
        accounts.sign_up(f"user-{number}")
    listed, one_by_one = [], audits.run_page

    def pause_after_a_page(*args: Any) -> Any:
        done = one_by_one(*args)
        if not listed:
            listed.append(done)
            clients.pause.pause()
        return done

    monkeypatch.setattr(audits, "run_page", pause_after_a_page)
    ran = run("backfill", "--apply")
    assert (ran.status, "paused since" in ran.err) == (2, True)
    assert audits.unfinished("backfill", clients).page == 1
    clients.pause.resume()
    ran = run("backfill", "--apply")
    assert (ran.status, "Continuing" in ran.err) == (0, True)
    assert entries(clients) == {}


def test_a_backfill_that_is_paused_in_the_middle_of_a_page_stops(
    run, missing, clients, monkeypatch
):
    create = Stream.upsert_users

    def pause_before(client: Stream, *args: Any) -> None:
        clients.pause.pause()
        create(client, *args)

    monkeypatch.setattr(Stream, "upsert_users", pause_before)
    ran = run("backfill", "--apply")
    assert (ran.status, "paused since" in ran.err) == (2, True)
    assert audits.unfinished("backfill", clients).page == 0


def test_who_watches_a_backfill_of_the_functions_that_is_paused_does_not_stop_it(
    run, clients, monkeypatch
):
    begun = audits.start("backfill", clients, steps=("accounts",), repair=RECONCILED)

    def dies(*_: object) -> bool:
        clients.pause.pause()
        return True

    monkeypatch.setattr(command, "is_dead", dies)
    ran = run("backfill", "--apply")
    assert (ran.status, "paused since" in ran.err) == (2, True)
    assert audits.read(begun.id, clients).state == "running"


def test_a_pause_is_not_outwaited(paused):
    attempts = []

    def attempt() -> None:
        attempts.append(1)
        paused.refuse_if_paused()

    with pytest.raises(Paused):
        terminal.patiently(attempt, lambda seconds: None)
    assert len(attempts) == 1


def test_a_command_without_apply_works_while_paused(run, people, paused):
    assert run("audit", "--users").status == 0
    assert run("backfill").status == 0
    assert run("repair", "ann").status == 0


def test_the_switch_needs_neither_key_nor_secret_of_stream(command, clients, monkeypatch):
    """Before the first deployment there may be none."""
    monkeypatch.setattr(options, "use_project", lambda: None)
    monkeypatch.setattr(clients_module, "_connected", lambda load: load() and clients)
    for name in ("STREAM_API_KEY", "STREAM_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    assert [command(name).status for name in ("pause", "resume")] == [0, 0]
