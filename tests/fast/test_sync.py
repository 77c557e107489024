"""The repair, against the local Stream server and Firebase in memory."""

from collections.abc import Callable

import pytest

from chatsync.clients import Clients
from chatsync.errors import (
    FailedPrecondition,
    NotFound,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamUnavailable,
    Unsettled,
)
from chatsync.ids import Key
from chatsync.settings import Settings
from chatsync.stream import Stream
from chatsync.sync import Outcome, reconcile_after_event, reconcile_users
from tests.fast.firebase_in_memory import MemoryAuth, MemoryFirestoreApi

SETTINGS = Settings("local-key", "local-secret")


@pytest.fixture
def reconcile(clients) -> Callable[..., list[Outcome]]:
    def reconcile(*uids: str, settings: Settings = SETTINGS) -> list[Outcome]:
        return reconcile_users([Key("user", uid) for uid in uids], clients, settings)

    return reconcile


def operations(stream) -> list[str]:
    return [request["operation"] for request in stream.requests()]


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


def test_a_user_in_agreement_costs_one_read_of_each_side(
    accounts, reconcile, firestore_api, stream
):
    accounts.sign_up("ann", displayName="Ann")
    reconcile("ann")
    since = stream.last_request()
    firestore_api.calls.clear()
    accounts.calls.clear()
    [outcome] = reconcile("ann")
    assert outcome.status == "ok"
    assert [request["operation"] for request in stream.requests(since)] == ["QueryUsers"]
    assert firestore_api.calls == ["batch_get_documents"]
    assert accounts.calls == []


def test_a_hundred_missing_users_cost_two_stream_calls(accounts, reconcile, firestore_api, stream):
    uids = [f"user-{n}" for n in range(100)]
    for uid in uids:
        accounts.sign_up(uid, displayName=uid)
    outcomes = reconcile(*uids)
    assert {outcome.status for outcome in outcomes} == {"created"}
    assert operations(stream) == ["QueryUsers", "UpdateUsers"]
    assert firestore_api.calls == ["batch_get_documents", "batch_write", "batch_get_documents"]
    assert accounts.calls == ["get_users", "get_users"]


def test_outcomes_come_in_the_order_asked_one_for_each(accounts, reconcile):
    accounts.sign_up("ann")
    accounts.sign_up("bob")
    outcomes = reconcile("bob", "nobody", "ann", "bob")
    assert [outcome.key.id for outcome in outcomes] == ["bob", "nobody", "ann", "bob"]
    assert [outcome.status for outcome in outcomes] == ["created", None, "created", "created"]


def test_an_id_without_account_is_not_found_and_leaves_nothing(
    reconcile, chat, firestore_api, stream
):
    [outcome] = reconcile("nobody")
    assert isinstance(outcome.error, NotFound)
    assert firestore_api.documents == {}
    assert operations(stream) == ["QueryUsers"]


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


def test_one_bad_user_blocks_nobody_else(accounts, reconcile, firestore, stream):
    uids = [f"user-{n}" for n in range(100)]
    for uid in uids:
        accounts.sign_up(uid)
    firestore.document("users/user-42").set({"chat": {"role": "no-such-role"}})
    outcomes = reconcile(*uids)
    assert [outcome.key.id for outcome in outcomes if outcome.error] == ["user-42"]
    assert outcomes[42].error.reason == "rejected"
    # Halving a hundred down to one takes seven steps of two calls.
    assert operations(stream).count("UpdateUsers") <= 15


def test_stream_being_down_is_a_temporary_error_of_each_user(accounts, reconcile, stream):
    accounts.sign_up("ann")
    stream.fault("QueryUsers", "status", status=503, times=1)
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, StreamUnavailable)


def test_a_rate_limit_says_when_to_come_back(accounts, reconcile, stream):
    accounts.sign_up("ann")
    stream.limit("UpdateUsers", 0, window_s=60)
    [outcome] = reconcile("ann")
    assert isinstance(outcome.error, StreamRateLimited)
    assert 1 <= outcome.error.retry_after <= 61


def test_wrong_credentials_concern_everybody(accounts, firestore, stream):
    accounts.sign_up("ann")
    clients = Clients(firestore, accounts, Stream("local-key", "wrong-secret", stream.url))
    with pytest.raises(StreamCredentialsRejected):
        reconcile_users([Key("user", "ann")], clients, SETTINGS)


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
    [outcome] = reconcile_users([Key("company", "7")], clients, SETTINGS)
    assert (outcome.stream_user_id, outcome.status) == ("company_7", "created")
    assert stream_user(chat, "company_7")["name"] == "Gym"


def test_a_repair_tells_the_operator_what_it_found_and_did(accounts, reconcile, capsys):
    accounts.sign_up("ann")
    reconcile("ann")
    log = capsys.readouterr().out
    assert "User ann not found in Stream Chat, attempting to create..." in log
    assert "Successfully repaired/created user ann via Cloud Function" in log


def test_an_event_is_delivered_again_after_a_temporary_error(accounts, clients, stream):
    accounts.sign_up("ann")
    stream.fault("UpdateUsers", "reset", times=1)
    with pytest.raises(StreamUnavailable):
        reconcile_after_event("ann", clients, SETTINGS)
    reconcile_after_event("ann", clients, SETTINGS)
    assert stream.state()["counts"]["users"] == 1


def test_an_event_of_an_account_that_is_gone_is_done_with(clients):
    reconcile_after_event("gone", clients, SETTINGS)


def test_an_event_of_a_user_that_cannot_be_repaired_is_logged_not_repeated(
    accounts, clients, capsys
):
    accounts.sign_up("ann", disabled=True)
    reconcile_after_event("ann", clients, SETTINGS)
    assert "User ann cannot be reconciled" in capsys.readouterr().err
