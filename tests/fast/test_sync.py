"""The repair, against the local Stream server and Firebase in memory."""

import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from firebase_admin.exceptions import (
    DeadlineExceededError,
    InternalError,
    ResourceExhaustedError,
    UnavailableError,
    UnknownError,
)
from google.api_core.exceptions import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.auth.exceptions import TransportError
from google.rpc import code_pb2

from chatsync import reconcile as reconcile_module
from chatsync.clients import Clients
from chatsync.clients.stream import Stream
from chatsync.entry.events import reconcile_after_event
from chatsync.errors import (
    FailedPrecondition,
    FirebaseUnavailable,
    InvalidArgument,
    NotFound,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamUnavailable,
    Temporary,
    Unsettled,
)
from chatsync.ids import Key
from chatsync.outcome import Outcome
from chatsync.reconcile import reconcile_users
from tests.fast.firebase_in_memory import MemoryAuth, MemoryFirestoreApi

TOO_MANY_BYTES = "https://p/" + "\N{WHALE}" * 2000
"""A picture that is short enough, in characters, for us to send it, and too large for Stream."""


@pytest.fixture
def reconcile(clients) -> Callable[..., list[Outcome]]:
    def reconcile(*uids: str, clients: Clients = clients) -> list[Outcome]:
        return reconcile_users([Key("user", uid) for uid in uids], clients)

    return reconcile


def stream_user(chat, uid):
    users = chat.query_users({"id": uid}, include_deactivated_users=True)["users"]
    return users[0] if users else None


def test_a_new_account_gets_its_stream_user(accounts, reconcile, chat):
    accounts.sign_up("ann", displayName="Ann", photoUrl="https://p/a.png")
    [outcome] = reconcile("ann")
    assert outcome == Outcome(Key("user", "ann"), "ann", "created", None)
    user = stream_user(chat, "ann")
    assert (user["name"], user["image"], user["role"]) == ("Ann", "https://p/a.png", "user")


def test_a_new_account_gets_its_documents(accounts, reconcile, firestore):
    accounts.sign_up("ann", displayName="Ann", created_ms=1_700_000_000_000)
    reconcile("ann")
    user = firestore.document("users/ann").get().to_dict()
    assert (user["displayName"], user["createdAt"].timestamp()) == ("Ann", 1_700_000_000)
    assert firestore.document("user_profiles/ann").get().get("displayName") == "Ann"
    assert firestore.document("user_stats/ann").get().get("messagesSent") == 0


def test_existing_documents_are_left_as_they_are(accounts, reconcile, firestore):
    accounts.sign_up("ann")
    firestore.document("user_profiles/ann").set({"displayName": "Annie", "hobby": "chess"})
    reconcile("ann")
    assert firestore.document("user_profiles/ann").get().to_dict() == {
        "displayName": "Annie",
        "hobby": "chess",
    }


def test_missing_and_drifted_users_cost_one_write_of_each_kind(
    accounts, reconcile, firestore, firestore_api, stream
):
    present = [f"present-{n}" for n in range(60)]
    missing = [f"missing-{n}" for n in range(40)]
    for uid in present + missing:
        accounts.sign_up(uid, displayName=uid)
    reconcile(*present)
    for uid in present[:10]:
        firestore.document(f"users/{uid}").update({"displayName": "Renamed"})
    firestore_api.age()
    since = stream.last_request()
    firestore_api.calls.clear()
    accounts.calls.clear()

    outcomes = reconcile(*present, *missing)

    statuses = [outcome.status for outcome in outcomes]
    assert statuses == ["updated"] * 10 + ["ok"] * 50 + ["created"] * 40
    operations = sorted(stream.operations(since))
    assert operations == ["QueryUsers", "UpdateUsers", "UpdateUsersPartial"]
    # The look afterwards is the second read of documents and accounts; then what agrees is written.
    read, write = "batch_get_documents", "batch_write"
    assert firestore_api.calls == [read, write, read, write]
    assert accounts.calls == ["get_users", "get_users"]


def test_more_than_a_hundred_users_are_repaired_by_the_hundred(accounts, reconcile, stream):
    uids = [f"user-{n}" for n in range(250)]
    for uid in uids:
        accounts.sign_up(uid)
    outcomes = reconcile(*uids)
    assert {outcome.status for outcome in outcomes} == {"created"}
    assert stream.operations() == ["QueryUsers", "UpdateUsers"] * 3


def test_both_sides_are_read_side_by_side(accounts, reconcile, firestore_api, stream):
    accounts.sign_up("ann", displayName="Ann")
    reconcile("ann")
    since = stream.last_request()
    stream.fault("QueryUsers", "delay", delay_ms=300)
    seen_by_firestore = []

    def wait_for_query(_: str) -> None:
        deadline = time.monotonic() + 10
        while not seen_by_firestore and time.monotonic() < deadline:
            seen_by_firestore.extend(stream.requests(since))
            time.sleep(0.005)

    firestore_api.before_call = wait_for_query
    reconcile("ann")
    # Stream's answer was still under way when the documents were read.
    assert [request["status"] for request in seen_by_firestore] == [None]


def test_outcomes_come_in_the_order_asked_one_for_each(accounts, reconcile):
    accounts.sign_up("ann")
    accounts.sign_up("bob")
    outcomes = reconcile("bob", "nobody", "ann", "bob")
    assert [outcome.key.id for outcome in outcomes] == ["bob", "nobody", "ann", "bob"]
    assert [outcome.status for outcome in outcomes] == ["created", None, "created", "created"]


def test_an_id_without_account_is_not_found_and_leaves_nothing(reconcile, firestore_api, stream):
    [outcome] = reconcile("nobody")
    assert isinstance(outcome.error, NotFound)
    assert firestore_api.documents == {}
    assert stream.operations() == ["QueryUsers"]


def test_a_name_set_after_sign_up_reaches_stream_and_custom_fields_survive(
    accounts, reconcile, chat
):
    accounts.sign_up("ann")
    reconcile("ann")
    chat.update_user_partial({"id": "ann", "set": {"hobby": "chess"}})
    accounts.sign_up("ann", displayName="Ann")
    [outcome] = reconcile("ann")
    assert outcome.status == "updated"
    user = stream_user(chat, "ann")
    assert (user["name"], user["hobby"]) == ("Ann", "chess")


def test_what_firebase_does_not_state_stays_in_stream(accounts, reconcile, chat):
    accounts.sign_up("ann")
    chat.upsert_user({"id": "ann", "name": "Boss", "role": "moderator", "teams": ["red"]})
    [outcome] = reconcile("ann")
    assert outcome.status == "ok"
    user = stream_user(chat, "ann")
    assert (user["name"], user["role"], user["teams"]) == ("Boss", "moderator", ["red"])


def test_a_disabled_account_is_not_created_in_stream(accounts, reconcile, chat):
    accounts.sign_up("ann", disabled=True)
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, FailedPrecondition)
    assert outcome.error.reason == "disabled"
    assert stream_user(chat, "ann") is None


def test_a_deactivated_stream_user_stays_so(accounts, reconcile, chat):
    accounts.sign_up("ann")
    reconcile("ann")
    chat.deactivate_user("ann")
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, FailedPrecondition)
    assert outcome.error.reason == "deactivated"
    assert stream_user(chat, "ann")["deactivated_at"]


def test_a_soft_deleted_stream_user_of_a_living_account_is_restored_and_updated(
    accounts, reconcile, chat
):
    accounts.sign_up("ann", displayName="Ann")
    chat.upsert_user({"id": "ann", "name": "Old", "hobby": "chess"})
    chat.delete_user("ann")
    [outcome] = reconcile("ann")
    assert outcome.status == "restored"
    user = stream_user(chat, "ann")
    assert (user["name"], user["hobby"]) == ("Ann", "chess")


def test_a_stream_user_that_cannot_be_restored_is_reported(accounts, reconcile, chat):
    accounts.sign_up("ann")
    reconcile("ann")
    chat.delete_user("ann", hard_delete=True, mark_messages_deleted=True)
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, FailedPrecondition)
    assert outcome.error.reason == "deleted"


def bad_role(firestore, chat):
    firestore.document("users/bad").set({"chat": {"role": "no-such-role"}})


def bad_team(firestore, chat):
    firestore.document("users/bad").set({"chat": {"teams": ["x" * 101]}})


def too_much_data(firestore, chat):
    firestore.document("users/bad").set({"chat": {"teams": [f"team-{n}" for n in range(251)]}})


def deleted_for_good(firestore, chat):
    chat.upsert_user({"id": "bad"})
    chat.delete_user("bad", hard_delete=True, mark_messages_deleted=True)


def deactivated(firestore, chat):
    chat.upsert_user({"id": "bad"})
    chat.deactivate_user("bad")


@pytest.mark.parametrize(
    ("make_bad", "reason"),
    [
        (bad_role, "rejected"),
        (bad_team, "rejected"),
        (too_much_data, "rejected"),
        (deleted_for_good, "deleted"),
        (deactivated, "deactivated"),
    ],
)
def test_ninety_nine_are_healed_and_the_bad_one_is_named(
    accounts, reconcile, firestore, chat, stream, make_bad, reason
):
    uids = [f"user-{n}" for n in range(99)] + ["bad"]
    for uid in uids:
        accounts.sign_up(uid)
    make_bad(firestore, chat)
    since = stream.last_request()
    outcomes = reconcile(*uids)
    assert [outcome.key.id for outcome in outcomes if outcome.error] == ["bad"]
    assert outcomes[-1].error.reason == reason
    # One of 100 is alone after seven halvings of two calls each.
    assert len(stream.requests(since)) <= 25


def test_a_drifted_user_whom_stream_refuses_blocks_nobody(accounts, reconcile, firestore, chat):
    for uid in ("ann", "bad", "bob"):
        accounts.sign_up(uid)
    reconcile("ann", "bad", "bob")
    firestore.document("users/bad").update({"chat": {"role": "no-such-role"}})
    firestore.document("users/ann").update({"displayName": "Ann"})
    ann, bad, bob = reconcile("ann", "bad", "bob")
    assert (ann.status, bob.status) == ("updated", "ok")
    assert bad.error.reason == "rejected"


def test_a_picture_that_stream_refuses_is_left_out(accounts, reconcile, chat, capsys):
    accounts.sign_up("ann", displayName="Ann", photoUrl=TOO_MANY_BYTES)
    [outcome] = reconcile("ann")
    assert outcome.status == "created"
    user = stream_user(chat, "ann")
    assert user["name"] == "Ann"
    assert "image" not in user
    assert "Left out image of user ann" in capsys.readouterr().out


def test_a_picture_that_stream_refuses_does_not_keep_a_new_name_out(accounts, reconcile, firestore):
    accounts.sign_up("ann")
    reconcile("ann")
    firestore.document("users/ann").update({"displayName": "Ann", "photoURL": TOO_MANY_BYTES})
    [outcome] = reconcile("ann")
    assert outcome.status == "updated"


def test_a_name_that_stream_refuses_is_left_out(accounts, reconcile, chat, stream):
    stream.switch(enforce_unique_usernames="app")
    chat.upsert_user({"id": "other", "name": "Ann"})
    accounts.sign_up("ann", displayName="Ann", photoUrl="https://p/a.png")
    [outcome] = reconcile("ann")
    assert outcome.status == "created"
    user = stream_user(chat, "ann")
    assert (user.get("name"), user["image"]) == (None, "https://p/a.png")


def test_nameless_people_get_into_an_app_with_unique_names(accounts, reconcile, stream):
    stream.switch(enforce_unique_usernames="app")
    accounts.sign_up("ann")
    accounts.sign_up("bob")
    assert [outcome.status for outcome in reconcile("ann", "bob")] == ["created", "created"]


def test_a_key_that_cannot_be_a_stream_id_is_refused_alone(accounts, reconcile):
    long = "ü" * 100
    accounts.sign_up(long)
    accounts.sign_up("a/b")
    accounts.sign_up("ann")
    too_long, slash, ann = reconcile(long, "a/b", "ann")
    assert isinstance(too_long.error, InvalidArgument)
    assert isinstance(slash.error, InvalidArgument)
    assert ann.status == "created"


def test_a_null_in_the_user_document_unsets_the_picture(accounts, reconcile, firestore, chat):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"photoURL": "https://p/a.png"})
    reconcile("ann")
    firestore.document("users/ann").set({"photoURL": None})
    assert reconcile("ann")[0].status == "updated"
    assert "image" not in stream_user(chat, "ann")


def test_a_null_in_place_of_the_map_unsets_all_that_it_held(accounts, reconcile, firestore, chat):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"chat": {"role": "admin", "teams": ["x"]}})
    reconcile("ann")
    firestore.document("users/ann").update({"chat": None})
    assert reconcile("ann")[0].status == "updated"
    user = stream_user(chat, "ann")
    assert (user["role"], user["teams"]) == ("user", [])


def test_a_null_takes_a_user_out_of_all_teams(accounts, reconcile, firestore, chat):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"chat": {"teams": ["red"], "role": "moderator"}})
    reconcile("ann")
    firestore.document("users/ann").set({"chat": {"teams": None, "role": None}})
    reconcile("ann")
    user = stream_user(chat, "ann")
    assert (user["teams"], user["role"]) == ([], "user")


def test_a_repair_deletes_nothing_of_somebody_without_account(
    reconcile, firestore, firestore_api, chat
):
    for collection in ("users", "user_profiles", "user_stats"):
        firestore.document(f"{collection}/orphan").set({"displayName": "In the app"})
    chat.upsert_user({"id": "orphan", "name": "In Stream"})
    [outcome] = reconcile("orphan")
    assert isinstance(outcome.error, NotFound)
    assert stream_user(chat, "orphan")["name"] == "In Stream"
    assert len(firestore_api.documents) == 3


def test_extra_fields_reach_stream_at_sign_up_in_one_write(
    accounts, reconcile, chat, stream, with_settings
):
    accounts.sign_up("ann", email="ann@example.com")
    reconcile("ann", clients=with_settings(users={"stream_fields": {"email": "email"}}))
    assert stream_user(chat, "ann")["email"] == "ann@example.com"
    assert stream.operations()[:2] == ["QueryUsers", "UpdateUsers"]
    assert "UpdateUsersPartial" not in stream.operations()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fullName", "Ann Lee"),
        ("avatarUrl", "https://a.b/c.png"),
        ("name.short", "Annie"),
        ("image_url.small", "https://a.b/s.png"),
    ],
)
def test_an_extra_field_may_be_one_of_the_paths_of_names_or_pictures_or_in_one(
    accounts, reconcile, with_settings, firestore, chat, path, value
):
    accounts.sign_up("ann")
    field, _, inner = path.partition(".")
    own = {field: {inner: value} if inner else value}
    stated = {"displayName": "Ann", "photoURL": "https://a.b/1.png", **own}
    firestore.document("users/ann").set(stated)
    reconcile("ann", clients=with_settings(users={"stream_fields": {"extra": path}}))
    user = stream_user(chat, "ann")
    assert (user["name"], user["image"]) == ("Ann", "https://a.b/1.png")
    assert user.get("extra") == value


def test_a_picture_that_is_an_extra_field_too_keeps_its_length(
    accounts, reconcile, with_settings, firestore, chat
):
    accounts.sign_up("ann")
    long = f"https://a.b/{'c' * 1_500}.png"
    firestore.document("users/ann").set({"avatarUrl": long})
    reconcile("ann", clients=with_settings(users={"stream_fields": {"extra": "avatarUrl"}}))
    user = stream_user(chat, "ann")
    assert (user["image"], user.get("extra")) == (long, None)


def test_a_null_before_any_name_unsets_the_name_in_stream(accounts, reconcile, firestore, chat):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"name": None, "fullName": "Ann"})
    chat.upsert_user({"id": "ann", "name": "Before"})
    reconcile("ann")
    assert not stream_user(chat, "ann").get("name")


def test_an_account_with_a_senseless_creation_time_is_repaired_too(accounts, reconcile):
    accounts.sign_up("ann", created_ms=1_700_000_000_000_000)
    accounts.sign_up("bob", displayName="\ud800")
    assert [outcome.status for outcome in reconcile("ann", "bob")] == ["created", "created"]


def test_stream_being_down_is_a_temporary_error_of_each_user(accounts, reconcile, stream):
    accounts.sign_up("ann")
    stream.fault("QueryUsers", "status", status=503, times=3)
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, StreamUnavailable)


def test_a_rate_limit_says_when_to_come_back(accounts, reconcile, stream):
    accounts.sign_up("ann")
    stream.limit("UpdateUsers", 0, window_s=60)
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, StreamRateLimited)
    assert 1 <= outcome.error.retry_after <= 61


def test_wrong_credentials_concern_everybody(accounts, clients, stream):
    accounts.sign_up("ann")
    clients = replace(clients, stream=Stream("local-key", "wrong-secret", stream.url))
    with pytest.raises(StreamCredentialsRejected):
        reconcile_users([Key("user", "ann")], clients)


def test_an_account_deleted_while_it_is_created_is_not_left_in_stream(
    accounts: MemoryAuth, reconcile, firestore_api: MemoryFirestoreApi, chat
):
    accounts.sign_up("ann")

    def delete_account(call: str) -> None:
        if call == "batch_write" and "ann" in accounts.accounts:
            accounts.delete("ann")

    firestore_api.before_call = delete_account
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, NotFound)
    assert stream_user(chat, "ann") is None
    assert firestore_api.documents == {}


def test_a_name_changed_while_the_user_is_created_reaches_stream(
    accounts, reconcile, firestore, firestore_api, chat
):
    accounts.sign_up("ann", displayName="Old")

    def rename(call: str) -> None:
        if call == "batch_write":
            firestore_api.before_call = lambda _: None
            firestore.document("users/ann").set({"displayName": "New"})

    firestore_api.before_call = rename
    [outcome] = reconcile("ann")
    assert outcome.status == "created"
    assert stream_user(chat, "ann")["name"] == "New"


def test_a_user_who_never_settles_is_left_for_later(accounts, reconcile, firestore, firestore_api):
    accounts.sign_up("ann")
    names = iter(range(1000))

    def rename(call: str) -> None:
        if call == "batch_get_documents":
            firestore.document("users/ann").set({"displayName": f"Ann {next(names)}"})

    firestore_api.before_call = rename
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, Unsettled)


def test_companies_are_users_of_stream_too(clients, firestore, chat):
    firestore.document("companies/7").set({"company_name": "Gym", "logo_url": "https://l"})
    [outcome] = reconcile_users([Key("company", "7")], clients)
    assert (outcome.stream_id, outcome.status) == ("company_7", "created")
    assert stream_user(chat, "company_7")["name"] == "Gym"


def test_a_repair_tells_the_operator_what_it_found_and_did(accounts, reconcile, capsys):
    accounts.sign_up("ann")
    reconcile("ann")
    log = capsys.readouterr().out
    assert "User ann not found in Stream Chat, attempting to create..." in log
    assert "Successfully repaired/created user ann via Cloud Function" in log


def test_an_event_of_an_account_that_is_gone_is_done_with(clients, capsys):
    reconcile_after_event("gone", clients)
    assert "Nothing to reconcile: account gone is gone" in capsys.readouterr().out


def test_an_event_of_a_disabled_account_is_done_with(accounts, clients, capsys):
    accounts.sign_up("ann", disabled=True)
    reconcile_after_event("ann", clients)
    assert "Left user ann as it is" in capsys.readouterr().out


def test_an_event_of_a_user_that_cannot_be_repaired_is_an_error_in_the_log(
    accounts, clients, firestore, capsys
):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"chat": {"role": "no-such-role"}})
    reconcile_after_event("ann", clients)
    assert "User ann cannot be reconciled" in capsys.readouterr().err


def test_a_role_that_stream_does_not_know_does_not_use_up_its_limit(
    accounts, reconcile, stream, with_settings
):
    uids = [f"user-{n}" for n in range(100)]
    for uid in uids:
        accounts.sign_up(uid)
    outcomes = reconcile(*uids, clients=with_settings(stream={"user_role": "not-defined"}))
    assert all(outcome.error for outcome in outcomes)
    assert len(stream.requests()) < 100


def test_a_rate_limit_is_kept_and_not_argued_with(accounts, reconcile, firestore, stream):
    uids = [f"user-{n}" for n in range(100)]
    for uid in uids:
        accounts.sign_up(uid)
    firestore.document("users/user-42").set({"chat": {"role": "no-such-role"}})
    stream.limit("UpdateUsers", 3)
    outcomes = reconcile(*uids)
    assert [request["status"] for request in stream.requests()].count(429) == 0
    calls = stream.operations()
    assert calls.count("UpdateUsers") == 3
    assert all(outcome.error or outcome.status == "created" for outcome in outcomes)


def test_a_restore_that_fails_once_is_no_verdict(accounts, reconcile, chat, stream):
    accounts.sign_up("ann", displayName="Ann")
    chat.upsert_user({"id": "ann"})
    chat.delete_user("ann")
    stream.fault("RestoreUsers", "status", status=503, times=1)
    assert reconcile("ann")[0].status == "restored"


def test_a_user_created_by_a_call_whose_answer_was_lost_counts_as_created(
    accounts, reconcile, stream, capsys
):
    accounts.sign_up("ann")
    stream.fault("UpdateUsers", "reset", when="after", times=1)
    assert reconcile("ann")[0].status == "created"
    assert "Successfully repaired/created user ann" in capsys.readouterr().out


def test_a_picture_that_is_always_refused_is_not_called_an_update(accounts, reconcile, firestore):
    accounts.sign_up("ann", displayName="Ann")
    reconcile("ann")
    firestore.document("users/ann").update({"photoURL": TOO_MANY_BYTES})
    assert reconcile("ann")[0].status == "ok"
    assert reconcile("ann")[0].status == "ok"


def test_a_user_whom_somebody_else_created_meanwhile_is_not_taken_back(
    accounts, reconcile, chat, stream, firestore, firestore_api
):
    """Our own call was refused for its rate, so the Stream user cannot be ours."""
    accounts.sign_up("ann")
    # Otherwise this would be written first, and Stream be called afterwards.
    firestore.document("stream_users/user_ann").set({"kind": "user"})
    stream.limit("UpdateUsers", 0)

    def somebody_else(call: str) -> None:
        if call == "batch_write":
            firestore_api.before_call = lambda _: None
            while "UpdateUsers" not in stream.operations():
                time.sleep(0.005)
            stream.remove_limit("UpdateUsers")
            chat.upsert_user({"id": "ann", "name": "Ours"})
            accounts.sign_up("ann", disabled=True)

    firestore_api.before_call = somebody_else
    reconcile("ann")
    assert stream_user(chat, "ann")["name"] == "Ours"


def test_documents_that_a_user_edited_survive_the_removal(
    accounts, reconcile, firestore, firestore_api
):
    accounts.sign_up("ann")

    def edit(call: str) -> None:
        if call == "batch_get_documents" and firestore_api.documents:
            firestore_api.before_call = lambda _: None
            firestore.document("users/ann").update({"note": "mine"})

    def delete(call: str) -> None:
        if firestore_api.documents and "ann" in accounts.accounts:
            accounts.delete("ann")

    firestore_api.before_call = edit
    accounts.before_call = delete
    assert isinstance(reconcile("ann")[0].error, NotFound)
    assert [path.split("/")[-2] for path in firestore_api.documents] == ["users"]


def test_a_company_without_document_gets_nobody_into_stream(clients, stream):
    [outcome] = reconcile_users([Key("company", "7")], clients)
    assert isinstance(outcome.error, NotFound)
    assert stream.state()["counts"]["users"] == 0


def test_an_empty_company_document_is_a_company(with_settings, firestore, chat, accounts):
    firestore.document("companies/7").set({})
    clients = with_settings(stream={"company_role": "moderator"})
    [outcome] = reconcile_users([Key("company", "7")], clients)
    assert outcome.status == "created"
    user = stream_user(chat, "company_7")
    assert (user["name"], user["role"]) == ("User", "moderator")
    assert accounts.calls == []


def test_a_banned_user_is_kept_up_to_date_and_a_deactivated_one_is_not(
    accounts, reconcile, chat, firestore
):
    for uid in ("banned", "deactivated"):
        accounts.sign_up(uid)
        reconcile(uid)
        firestore.document(f"users/{uid}").update({"displayName": "New"})
    chat.ban_user("banned", banned_by_id="deactivated")
    chat.deactivate_user("deactivated")
    banned, deactivated = reconcile("banned", "deactivated")
    assert (banned.error.reason, deactivated.error.reason) == ("banned", "deactivated")
    assert stream_user(chat, "banned")["name"] == "New"
    assert stream_user(chat, "banned")["banned"]
    assert stream_user(chat, "deactivated")["name"] == "User"


def test_a_repair_ends_in_time_though_nobody_answers(accounts, reconcile, stream, monkeypatch):
    monkeypatch.setattr(reconcile_module, "DEADLINE_SECONDS", 0.5)
    accounts.sign_up("ann")
    stream.fault("*", "timeout", times=100)
    started = time.monotonic()
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, Temporary)
    assert time.monotonic() - started < 3


def test_a_repair_ends_in_time_though_auth_does_not_answer(accounts, reconcile, monkeypatch):
    monkeypatch.setattr(reconcile_module, "DEADLINE_SECONDS", 0.5)
    accounts.sign_up("ann")
    answered = threading.Event()
    accounts.before_call = lambda _: answered.wait(10)
    started = time.monotonic()
    [outcome] = reconcile("ann")
    answered.set()
    assert isinstance(outcome.error, FirebaseUnavailable)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "error",
    [
        DeadlineExceededError("x"),
        InternalError("x"),
        ResourceExhaustedError("x"),
        UnavailableError("x"),
        UnknownError("x", None),
        TransportError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_in_auth_is_temporary(accounts, reconcile, error):
    def fail(_: str) -> None:
        raise error

    accounts.before_call = fail
    assert isinstance(reconcile("ann")[0].error, FirebaseUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        Aborted("x"),
        Cancelled("x"),
        DeadlineExceeded("x"),
        ResourceExhausted("x"),
        ServiceUnavailable("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_in_firestore_is_temporary(reconcile, firestore_api, monkeypatch, error):
    monkeypatch.setattr(
        reconcile_module, "DEADLINE_SECONDS", 0.5
    )  # some of it is tried again until then

    def fail(_: str) -> None:
        raise error

    firestore_api.before_call = fail
    assert isinstance(reconcile("ann")[0].error, FirebaseUnavailable)


def test_a_lack_of_rights_to_write_is_not_called_temporary(accounts, reconcile, firestore_api):
    batch_write = firestore_api.batch_write

    def refuse(**request: object) -> object:
        response = batch_write(**request)
        for status in response.status:
            status.code = code_pb2.PERMISSION_DENIED
        return response

    firestore_api.batch_write = refuse
    accounts.sign_up("ann")
    with pytest.raises(PermissionDenied):
        reconcile("ann")


def test_a_lack_of_rights_in_firestore_is_not_called_temporary(reconcile, firestore_api):
    def fail(call: str) -> None:
        raise PermissionDenied("rights are missing")

    firestore_api.before_call = fail
    with pytest.raises(PermissionDenied):
        reconcile("ann")


def test_an_account_disabled_while_it_is_created_is_not_left_in_stream(
    accounts, reconcile, firestore_api, chat
):
    accounts.sign_up("ann")

    def disable(call: str) -> None:
        if call == "batch_write":
            accounts.sign_up("ann", disabled=True)

    firestore_api.before_call = disable
    assert reconcile("ann")[0].error.reason == "disabled"
    assert stream_user(chat, "ann") is None


def test_a_document_that_cannot_be_taken_back_now_is_a_temporary_error(
    accounts, reconcile, firestore_api
):
    accounts.sign_up("ann")
    batch_write = firestore_api.batch_write

    def refuse_deletions(request: dict, **options: object) -> object:
        accounts.accounts.clear()
        response = batch_write(request=request, **options)
        for write, status in zip(request["writes"], response.status, strict=True):
            if write.delete:
                status.code = code_pb2.UNAVAILABLE
        return response

    firestore_api.batch_write = refuse_deletions
    assert isinstance(reconcile("ann")[0].error, FirebaseUnavailable)


def test_documents_whose_creation_was_not_answered_go_with_the_account(
    accounts, reconcile, firestore_api, monkeypatch
):
    accounts.sign_up("ann")
    batch_write = firestore_api.batch_write

    def lose_answer(**request) -> None:
        monkeypatch.setattr(firestore_api, "batch_write", batch_write)
        batch_write(**request)
        accounts.delete("ann")
        raise ServiceUnavailable("the answer is lost")

    monkeypatch.setattr(firestore_api, "batch_write", lose_answer)
    assert isinstance(reconcile("ann")[0].error, NotFound)
    assert firestore_api.documents == {}


class Dripping(socketserver.BaseRequestHandler):
    """Answers with a byte every tenth of a second: no single wait for it is long."""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        for _ in range(50):
            time.sleep(0.1)
            self.request.sendall(b" ")


def test_an_answer_that_drips_is_waited_for_until_the_deadline_only(clients, accounts):
    accounts.sign_up("ann")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True  # nobody waits for the rest of the answer
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        dripping = replace(clients, stream=Stream("local-key", "local-secret", url))
        began = time.monotonic()
        [outcome] = reconcile_users([Key("user", "ann")], dripping, deadline=began + 0.5)
        seconds = time.monotonic() - began
        server.shutdown()
    assert isinstance(outcome.error, Temporary)
    assert seconds < 3
