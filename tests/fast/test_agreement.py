"""The entries of ``stream_users``: what a repair remembers, and when that counts."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest

from chatsync import agreement, observe, outbox
from chatsync.agreement import fingerprint, is_fresh, still_agrees, update_of_entry
from chatsync.clients import entries as entries_module
from chatsync.clients.entries import withdraw
from chatsync.config import DEFAULTS
from chatsync.entry.events import reconcile_after_sign_up, remove_after_event
from chatsync.errors import FirebaseUnavailable
from chatsync.ids import Key
from chatsync.observe import Observer
from chatsync.reconcile import reconcile_users
from chatsync.settings import Settings
from chatsync.users import Account, FirebaseState, Remembered
from tests.fast.firebase_in_memory import no_hook
from tests.settings import settings_with

ANN = Key("user", "ann")
NO_SETTINGS = Settings("", "")
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
STATE = FirebaseState(
    account=Account("ann"),
    user={"displayName": "Ann", "chat": {"teams": ["a", "b"]}},
    profile={},
    stats={},
    kind="user",
)


def seen(hours_ago: float | None, fingerprint: str = "", **fields) -> Remembered:
    verified_at = None if hours_ago is None else NOW - timedelta(hours=hours_ago)
    return Remembered("ann", fingerprint, verified_at, **fields)


# What an entry is worth: pure


@pytest.mark.parametrize(
    ("remembered", "hours", "fresh"),
    [
        (None, 24, False),
        (seen(None), 24, False),
        (seen(1), 24, True),
        (seen(23.9), 24, True),
        (seen(24), 24, False),
        (seen(1), 1, False),
        (seen(0), 0, False),
    ],
)
def test_an_entry_is_fresh_until_trust_hours_are_over(remembered, hours, fresh):
    config = settings_with(NO_SETTINGS, stream={"trust_hours": hours}).config
    assert is_fresh(replace(STATE, remembered=remembered), config, NOW) is fresh


@pytest.mark.parametrize(
    "change",
    [
        {"user": {"displayName": "Anna", "chat": {"teams": ["a", "b"]}}},
        {"user": {"displayName": "Ann", "chat": {"teams": ["a"]}}},
        {"user": {"displayName": "Ann", "chat": {"teams": ["a", "b"], "role": "admin"}}},
        {"user": {"displayName": None, "chat": {"teams": ["a", "b"]}}},
        {"profile": None},
        {"kind": "company"},
    ],
)
def test_an_entry_counts_only_for_what_firebase_said_then(change):
    then = fingerprint(ANN, "ann", STATE, DEFAULTS)
    state = replace(STATE, remembered=seen(1, then))
    assert still_agrees(ANN, "ann", state, DEFAULTS, NOW)
    assert not still_agrees(ANN, "ann", replace(state, **change), DEFAULTS, NOW)
    assert not still_agrees(ANN, "other", state, DEFAULTS, NOW)


def test_a_setting_that_changes_what_is_copied_changes_the_fingerprint():
    renamed = settings_with(NO_SETTINGS, users={"name": ["nickname"]}).config
    other_role = settings_with(NO_SETTINGS, stream={"user_role": "member"}).config
    state = replace(STATE, user={**STATE.user, "nickname": "Nan", "chat": {"role": None}})
    prints = {fingerprint(ANN, "ann", state, one) for one in (DEFAULTS, renamed, other_role)}
    assert len(prints) == 3


def test_the_order_of_teams_does_not_change_the_fingerprint():
    swapped = replace(STATE, user={"displayName": "Ann", "chat": {"teams": ["b", "a"]}})
    assert fingerprint(ANN, "ann", STATE, DEFAULTS) == fingerprint(ANN, "ann", swapped, DEFAULTS)


@pytest.mark.parametrize(
    ("remembered", "change", "is_written"),
    [
        (None, None, True),
        (seen(1, "same"), None, False),
        (seen(11.9, "same"), None, False),
        (seen(12.1, "same"), None, True),
        (seen(1, "other"), None, True),
        (seen(None, "same"), None, True),
        (seen(1, "same"), {"by": "x", "did": "updated", "fields": ["name"]}, True),
    ],
)
def test_an_entry_is_written_if_it_is_absent_different_or_half_as_old_as_it_counts(
    remembered, change, is_written, monkeypatch
):
    monkeypatch.setattr(agreement, "datetime", Clock)
    assert bool(update_of_entry(remembered, "same", {}, change, DEFAULTS)) is is_written


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def test_nobody_trusts_for_0_hours_so_an_entry_is_not_written_again():
    config = settings_with(NO_SETTINGS, stream={"trust_hours": 0}).config
    assert update_of_entry(seen(100, "same"), "same", {}, None, config) == {}


@pytest.mark.parametrize(("hours_ago", "is_written"), [(1, False), (13, True), (None, True)])
def test_without_auth_a_young_entry_is_not_replaced(hours_ago, is_written, monkeypatch):
    monkeypatch.setattr(agreement, "datetime", Clock)
    remembered = seen(hours_ago, "with the picture of Auth")
    update = update_of_entry(remembered, "without", {}, None, DEFAULTS, auth_was_asked=False)
    assert bool(update) is is_written


def test_the_history_holds_the_last_ten_changes():
    history = tuple({"at": NOW, "by": str(n), "did": "updated", "fields": []} for n in range(10))
    change = {"by": "new", "did": "updated", "fields": ["name"]}
    fields = update_of_entry(seen(1, history=history), "same", {}, change, DEFAULTS)
    assert [one["by"] for one in fields["history"]] == [*map(str, range(1, 10)), "new"]


def test_the_time_of_a_read_is_taken_from_the_age_of_an_entry():
    at = NOW - timedelta(seconds=1)
    entry = Remembered(version=at, read_at=NOW)
    assert entry.was_there_before(timedelta(seconds=0.9))
    assert not entry.was_there_before(timedelta(seconds=1))


# What a repair writes


@pytest.fixture
def entry(firestore):
    def entry(name: str = "user_ann") -> dict:
        return firestore.document(f"stream_users/{name}").get().to_dict() or {}

    return entry


@pytest.fixture
def ann(accounts, clients, firestore_api):
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)
    firestore_api.age()


def told(history: list[dict]) -> list[tuple]:
    return [(one["by"], one["did"], one["fields"]) for one in history]


def test_a_sign_up_leaves_an_entry_that_is_verified(ann, entry):
    fields = entry()
    assert datetime.now(UTC) - fields["verifiedAt"] < timedelta(minutes=1)
    assert (fields["kind"], fields["streamUserId"]) == ("user", "ann")
    assert told(fields["history"]) == [("operator", "created", [])]


def test_a_wrong_clock_does_not_lengthen_trust(accounts, clients, entry, monkeypatch):
    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=300)

    monkeypatch.setattr(agreement, "datetime", Ahead)
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)
    assert entry()["verifiedAt"] < datetime.now(UTC) + timedelta(minutes=1)


def test_a_repair_tells_the_history_what_it_changed(ann, clients, chat, entry):
    chat.update_user_partial({"id": "ann", "set": {"name": "x"}})
    assert reconcile_users([ANN], clients)[0].status == "updated"
    assert told(entry()["history"])[1:] == [("operator", "updated", ["name"])]
    assert entry()["verifiedAt"]


def test_a_history_that_could_not_be_read_is_not_lost(ann, clients, chat, entry, monkeypatch):
    read_again, failures = Observer.read_again, iter([FirebaseUnavailable("down")])

    def fail_once(*arguments):
        if failure := next(failures, None):
            raise failure
        return read_again(*arguments)

    monkeypatch.setattr(Observer, "read_again", fail_once)
    chat.update_user_partial({"id": "ann", "set": {"name": "x"}})
    assert reconcile_users([ANN], clients)[0].status == "updated"
    assert told(entry()["history"]) == [("operator", "created", [])]


def test_a_company_has_an_entry_too(clients, firestore, entry):
    firestore.document("companies/acme").set({"name": "Acme"})
    reconcile_users([Key("company", "acme")], clients)
    fields = entry("company_acme")
    assert (fields["kind"], fields["streamUserId"]) == ("company", "company_acme")
    assert fields["verifiedAt"]


@pytest.mark.parametrize("moment", ["stream", "batch_write"])
def test_an_entry_withdrawn_while_a_repair_runs_stays_withdrawn(
    ann, clients, entry, firestore, firestore_api, monkeypatch, moment
):
    """An event tells of something that the repair has not seen."""
    old = datetime.now(UTC) - timedelta(hours=13)
    firestore.document("stream_users/user_ann").update({"verifiedAt": old})
    firestore_api.age()
    query_users = clients.stream.query_users

    def then_withdraw(*arguments):
        found = query_users(*arguments)
        withdraw([ANN], clients, time.monotonic() + 60)
        return found

    def withdraw_first(call: str) -> None:
        if call == "batch_write":
            firestore_api.before_call = no_hook
            withdraw([ANN], clients, time.monotonic() + 60)

    if moment == "stream":
        monkeypatch.setattr(clients.stream, "query_users", then_withdraw)
    else:
        firestore_api.before_call = withdraw_first
    assert reconcile_users([ANN], clients)[0].status == "ok"
    assert entry()["verifiedAt"] is None


def test_an_entry_withdrawn_between_stream_and_firestore_stays_withdrawn(
    ann, clients, entry, monkeypatch
):
    """Stream was read before the event, and the entry after it."""
    query_users, read_documents = clients.stream.query_users, observe.read_documents
    was_queried = Event()

    def then_tell(*arguments):
        found = query_users(*arguments)
        was_queried.set()
        return found

    def withdraw_first(*arguments, **options):
        assert was_queried.wait(10)
        withdraw([ANN], clients, time.monotonic() + 60)
        return read_documents(*arguments, **options)

    monkeypatch.setattr(clients.stream, "query_users", then_tell)
    monkeypatch.setattr(observe, "read_documents", withdraw_first)
    assert reconcile_users([ANN], clients)[0].status == "ok"
    assert entry()["verifiedAt"] is None


def test_a_repair_that_sees_something_else_withdraws_the_entry(ann, clients, chat, entry):
    chat.deactivate_user("ann")
    assert reconcile_users([ANN], clients)[0].error
    assert entry()["verifiedAt"] is None
    assert entry()["history"]


def test_an_unread_stream_withdraws_nothing(ann, clients, stream, entry):
    stream.fault("QueryUsers", "status", status=503, rate=1)
    assert outbox.reconcile([ANN], clients)[0].error
    assert entry()["verifiedAt"]


def test_an_entry_that_cannot_be_written_fails_no_repair(accounts, clients, monkeypatch, capsys):
    accounts.sign_up("ann")

    def down(*_: object) -> None:
        raise FirebaseUnavailable("down")

    monkeypatch.setattr(entries_module, "_commit_changes", down)
    assert reconcile_users([ANN], clients)[0].status == "created"
    assert "could not be remembered" in capsys.readouterr().out


# Deleted accounts


def test_a_deleted_account_leaves_a_tombstone_that_expires(ann, accounts, clients, entry):
    accounts.delete("ann")
    remove_after_event("ann", clients)
    fields = entry()
    assert set(fields) == {"kind", "streamUserId", "history", "deletedAt", "chatsyncExpireAt"}
    assert (fields["kind"], fields["streamUserId"]) == ("user", "ann")
    week = fields["chatsyncExpireAt"] - fields["deletedAt"]
    assert timedelta(days=6.9) < week < timedelta(days=7.1)


def test_an_account_that_returns_replaces_its_tombstone(
    ann, accounts, clients, firestore_api, entry
):
    accounts.delete("ann")
    remove_after_event("ann", clients)
    firestore_api.age()
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)
    fields = entry()
    assert not {"deletedAt", "chatsyncExpireAt"} & set(fields)
    assert (fields["kind"], bool(fields["verifiedAt"])) == ("user", True)


def test_an_account_that_returns_to_a_deactivated_user_keeps_its_kind(
    ann, accounts, with_settings, entry
):
    clients = with_settings(stream={"delete_policy": "deactivate"})
    accounts.delete("ann")
    remove_after_event("ann", clients)
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)
    fields = entry()
    assert [one["did"] for one in fields.pop("history")][:2] == ["created", "deleted"]
    assert fields == {"kind": "user", "streamUserId": "ann"}
