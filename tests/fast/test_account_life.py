"""The life of an account: changes, deletion, return, tokens, and records healed on reading."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from firebase_admin.exceptions import UnavailableError

from chatsync import audit, outbox
from chatsync.config import DELETE_POLICIES
from chatsync.conversations.create import create_conversation
from chatsync.entry import tokens
from chatsync.entry.events import (
    reconcile_after_change,
    reconcile_after_creation,
    reconcile_after_event,
    reconcile_after_sign_up,
    remove_after_event,
)
from chatsync.entry.records import ensure_profile, read_stats
from chatsync.errors import (
    FailedPrecondition,
    FirebaseUnavailable,
    NotFound,
    Postponed,
    StreamUnavailable,
)
from chatsync.ids import Key
from chatsync.reconcile import reconcile_users
from chatsync.users import FirebaseState
from tests.fast.failures import fails_with
from tests.fast.firebase_in_memory import no_hook
from tests.fast.outbox import drain_until_settled, entries


def stream_user(chat, uid="ann"):
    users = chat.query_users({"id": uid}, include_deactivated_users=True)["users"]
    return users[0] if users else None


@pytest.fixture
def ann(accounts, clients) -> None:
    """Ann has an account, and is in agreement everywhere."""
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)


# Changes


def test_the_profile_follows_the_user_document(ann, clients, firestore):
    firestore.document("users/ann").update({"displayName": "Anna", "photoURL": "https://p/a.png"})
    reconcile_after_event("ann", clients)
    profile = firestore.document("user_profiles/ann").get().to_dict()
    assert (profile["displayName"], profile["photoURL"]) == ("Anna", "https://p/a.png")
    assert profile["mirrored"] == {"displayName": "Anna", "photoURL": "https://p/a.png"}


def test_a_profile_follows_field_by_field(ann, clients, firestore):
    firestore.document("users/ann").update({"displayName": "Anna", "photoURL": "https://p/a.png"})
    reconcile_after_event("ann", clients)
    firestore.document("users/ann").update({"displayName": "Anne"})
    reconcile_after_event("ann", clients)
    profile = firestore.document("user_profiles/ann").get().to_dict()
    assert profile["mirrored"] == {"displayName": "Anne", "photoURL": "https://p/a.png"}


def test_a_field_that_its_owner_edited_in_the_profile_no_longer_follows(
    ann, clients, firestore, chat
):
    firestore.document("user_profiles/ann").update({"displayName": "Annie"})
    firestore.document("users/ann").update({"displayName": "Anna", "photoURL": "https://p/a.png"})
    reconcile_after_event("ann", clients)
    profile = firestore.document("user_profiles/ann").get().to_dict()
    assert (profile["displayName"], profile["photoURL"]) == ("Annie", "https://p/a.png")
    assert stream_user(chat)["name"] == "Annie"


def test_a_profile_edited_while_it_was_to_follow_keeps_the_edit(
    ann, clients, firestore, firestore_api, chat
):
    firestore.document("users/ann").update({"displayName": "Anna"})

    def edit(call: str) -> None:
        if call == "batch_write":
            firestore_api.before_call = lambda _: None
            firestore.document("user_profiles/ann").update({"displayName": "Annie"})

    firestore_api.before_call = edit
    reconcile_after_event("ann", clients)
    assert firestore.document("user_profiles/ann").get().get("displayName") == "Annie"
    assert stream_user(chat)["name"] == "Annie"


def test_a_profile_that_was_never_mirrored_is_left_alone(ann, clients, firestore):
    own = {"displayName": "Annie"}
    firestore.document("user_profiles/ann").set(own)
    firestore.document("users/ann").update({"displayName": "Anna"})
    reconcile_after_event("ann", clients)
    assert firestore.document("user_profiles/ann").get().to_dict() == own


def test_a_changed_user_document_reaches_stream(ann, clients, firestore, chat):
    document = firestore.document("users/ann")
    before = document.get().to_dict()
    document.update({"displayName": "Anna"})
    after = document.get().to_dict()
    reconcile_after_change("ann", FirebaseState(user=before), FirebaseState(user=after), clients)
    assert stream_user(chat)["name"] == "Anna"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            FirebaseState(user={"displayName": "Ann"}),
            FirebaseState(user={"displayName": "Ann", "lastSeen": 7}),
        ),
        (
            FirebaseState(user={"email": "old@example.com"}),
            FirebaseState(user={"email": "new@example.com"}),
        ),
        (FirebaseState(user={"name": "Ann"}), FirebaseState(user={"displayName": "Ann"})),
        (
            FirebaseState(profile={"displayName": "Ann", "mirrored": {"displayName": "Ann"}}),
            FirebaseState(profile={"displayName": "Anna", "mirrored": {"displayName": "Anna"}}),
        ),
        (
            FirebaseState(),
            FirebaseState(profile={"displayName": "Ann", "mirrored": {"displayName": "Ann"}}),
        ),
    ],
    ids=["another field", "e-mail", "spelling", "the repair's own copy", "the profile's creation"],
)
def test_a_change_that_does_not_concern_stream_costs_no_call(
    ann, clients, firestore_api, stream, before, after
):
    since = stream.last_request()
    firestore_api.calls.clear()
    reconcile_after_change("ann", before, after, clients)
    assert stream.requests(since) == []
    assert firestore_api.calls == []


def test_an_extra_field_that_changed_reaches_stream(ann, with_settings, firestore, chat):
    firestore.document("users/ann").update({"email": "new@example.com"})
    before, after = (
        FirebaseState(user={"email": "old@example.com"}),
        FirebaseState(user={"email": "new@example.com"}),
    )
    reconcile_after_change(
        "ann", before, after, with_settings(users={"stream_fields": {"email": "email"}})
    )
    assert stream_user(chat)["email"] == "new@example.com"


def test_a_profile_follows_to_null_and_says_when(ann, clients, firestore):
    profile = firestore.document("user_profiles/ann")
    firestore.document("users/ann").update({"photoURL": "https://p/a.png"})
    reconcile_after_event("ann", clients)
    first = profile.get().get("updatedAt")
    firestore.document("users/ann").update({"photoURL": None})
    reconcile_after_event("ann", clients)
    assert profile.get().get("photoURL") is None
    assert profile.get().get("updatedAt") > first


def test_a_user_document_that_an_app_creates_reaches_stream(accounts, clients, firestore, chat):
    accounts.sign_up("ann", displayName="Old")
    chat.upsert_user({"id": "ann", "name": "Old"})
    firestore.document("users/ann").set({"displayName": "New"})
    reconcile_after_creation("ann", clients)
    assert stream_user(chat)["name"] == "New"
    assert firestore.document("user_profiles/ann").get().get("displayName") == "New"


def test_a_user_document_that_is_created_anew_reaches_stream_and_profile(
    ann, clients, firestore, chat
):
    firestore.document("users/ann").delete()
    firestore.document("users/ann").set({"displayName": "New"})
    reconcile_after_creation("ann", clients)
    assert stream_user(chat)["name"] == "New"
    assert firestore.document("user_profiles/ann").get().get("displayName") == "New"


def test_a_user_document_that_the_repair_made_costs_no_call_of_stream(ann, clients, stream):
    since = stream.last_request()
    reconcile_after_creation("ann", clients)
    assert stream.requests(since) == []


# Deletion


def delete_account(accounts) -> None:
    accounts.accounts.pop("ann", None)


@pytest.mark.parametrize("policy", DELETE_POLICIES)
def test_a_deleted_account_leaves_stream_by_policy(ann, accounts, with_settings, chat, policy):
    delete_account(accounts)
    remove_after_event("ann", with_settings(stream={"delete_policy": policy}))
    user = stream_user(chat)
    left = "deactivated" if user and user.get("deactivated_at") else "there" if user else "gone"
    assert (
        left
        == {
            "soft": "gone",
            "hard": "gone",
            "deactivate": "deactivated",
            "keep": "there",
        }[policy]
    )


def test_a_soft_deleted_user_can_be_restored(ann, accounts, clients, chat):
    delete_account(accounts)
    remove_after_event("ann", clients)
    chat.restore_users(["ann"])
    assert stream_user(chat)["name"] == "Ann"


def test_a_deleted_account_leaves_no_documents(ann, accounts, clients, firestore_api):
    delete_account(accounts)
    remove_after_event("ann", clients)
    assert firestore_api.left_documents() == set()


@pytest.mark.parametrize("policy", DELETE_POLICIES)
def test_a_deletion_delivered_twice_is_no_error(ann, accounts, with_settings, policy):
    delete_account(accounts)
    clients = with_settings(stream={"delete_policy": policy})
    remove_after_event("ann", clients)
    remove_after_event("ann", clients)


def test_a_deletion_of_somebody_stream_never_had_is_no_error(clients):
    remove_after_event("nobody", clients)


def test_a_created_event_after_the_deletion_resurrects_nobody(
    ann, accounts, clients, chat, firestore_api
):
    delete_account(accounts)
    remove_after_event("ann", clients)
    reconcile_after_sign_up("ann", clients)
    assert stream_user(chat) is None
    assert firestore_api.left_documents() == set()


def test_a_deletion_event_that_comes_first_leaves_nobody(clients, chat):
    remove_after_event("ann", clients)
    reconcile_after_sign_up("ann", clients)
    assert stream_user(chat) is None


def test_a_late_deletion_event_of_an_account_that_is_back_removes_nothing(
    ann, clients, chat, firestore, firestore_api
):
    firestore.document("users/ann").update({"note": "the app's"})
    before = dict(firestore_api.documents)
    chat.update_user_partial({"id": "ann", "set": {"hobby": "chess"}})
    remove_after_event("ann", clients)
    assert stream_user(chat)["hobby"] == "chess"
    assert firestore_api.documents == before


def test_a_kept_user_has_no_tokens_left(ann, accounts, clients, with_settings, chat):
    earlier = claims(tokens.issue_token("ann", clients)["token"])["iat"]
    delete_account(accounts)
    remove_after_event("ann", with_settings(stream={"delete_policy": "keep"}))
    before = datetime.fromisoformat(stream_user(chat)["revoke_tokens_issued_before"])
    assert earlier < before.timestamp()


def test_an_impossible_uid_is_parked_and_not_retried(clients, stream):
    remove_after_event("a/b", clients)
    [(document_id, entry)] = entries(clients).items()
    assert document_id == "user_a%2Fb"
    assert (entry["key"], entry["state"], entry["reason"]) == ("a/b", "parked", "invalid_id")
    assert stream.requests() == []


def test_what_a_failed_sign_up_left_of_a_deleted_account_is_removed_by_the_outbox(
    accounts, clients, chat, stream, firestore_api
):
    """The sign-up's call to Stream arrived, its answer was lost, and then the account went."""
    accounts.sign_up("ann")
    stream.fault("UpdateUsers", "reset", when="after", times=1)
    stream.fault("DeleteUser", "status", status=503, times=10)

    def delete_before_look(call: str) -> None:
        if call == "batch_write":
            delete_account(accounts)

    firestore_api.before_call = delete_before_look
    reconcile_after_sign_up("ann", clients)
    assert stream_user(chat)
    stream.clear_faults()
    drain_until_settled(clients)
    assert stream_user(chat) is None


def test_an_account_that_comes_back_while_it_is_removed_is_there(
    ann, accounts, clients, chat, firestore, firestore_api
):
    delete_account(accounts)

    def come_back(call: str) -> None:
        if call == "commit":
            firestore_api.before_call = lambda _: None
            accounts.sign_up("ann", displayName="Anna")

    firestore_api.before_call = come_back
    remove_after_event("ann", clients)
    assert stream_user(chat)["name"] == "Anna"
    assert firestore.document("users/ann").get().get("displayName") == "Anna"


def test_a_removal_that_stream_does_not_answer_is_repeated(ann, accounts, clients, chat, stream):
    delete_account(accounts)
    stream.fault("DeleteUser", "status", status=503, times=1)
    remove_after_event("ann", clients)
    assert stream_user(chat)
    drain_until_settled(clients)
    assert stream_user(chat) is None


def test_a_removal_while_auth_is_down_is_left_to_the_outbox(ann, accounts, clients, chat):
    delete_account(accounts)

    def fail(_: str) -> None:
        raise UnavailableError("down")

    accounts.before_call = fail
    remove_after_event("ann", clients)
    assert entries(clients)["user_ann"]["removal"]
    assert stream_user(chat)
    accounts.before_call = lambda _: None
    drain_until_settled(clients)
    assert stream_user(chat) is None


def test_a_hundred_sign_ups_and_deletions_at_once_leave_nobody(
    accounts, clients, stream, firestore_api
):
    stream.remove_limit("DeleteUser")
    stream.remove_limit("UpdateUsers")
    stream.remove_limit("QueryUsers")
    uids = [f"user-{n}" for n in range(100)]

    def live_and_die(uid: str) -> None:
        accounts.sign_up(uid)
        with ThreadPoolExecutor(2) as both:
            created = both.submit(reconcile_after_sign_up, uid, clients)
            accounts.delete(uid)
            deleted = both.submit(remove_after_event, uid, clients)
            created.result()
            deleted.result()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live_and_die, uids))
    assert stream.state()["counts"]["users"] == 0
    assert firestore_api.left_documents() == set()


# Return


def test_a_hard_deleted_id_is_reported_and_not_retried(
    ann, accounts, clients, with_settings, capsys
):
    delete_account(accounts)
    remove_after_event("ann", with_settings(stream={"delete_policy": "hard"}))
    accounts.sign_up("ann")
    reconcile_after_sign_up("ann", clients)
    assert "User ann cannot be reconciled: user is deleted" in capsys.readouterr().err


# Tokens


def claims(token: str) -> dict:
    return jwt.decode(
        token,
        "local-secret",
        algorithms=["HS256"],
        options={"verify_exp": False, "verify_iat": False},
    )


def test_a_token_names_the_stream_user_and_ends(ann, with_settings):
    issued = tokens.issue_token("ann", with_settings(stream={"user_id": "crew_{uid}"}))
    assert (issued["userId"], issued["streamUserId"], issued["apiKey"]) == (
        "ann",
        "crew_ann",
        "local-key",
    )
    said = claims(issued["token"])
    assert (said["user_id"], said["exp"]) == ("crew_ann", issued["expiresAt"])
    assert abs(issued["expiresAt"] - time.time() - 3600) < 5


def test_a_token_is_what_stream_s_sdk_makes(ann, clients, chat):
    ours = tokens.issue_token("ann", clients)["token"]
    theirs = chat.create_token("ann", exp=claims(ours)["exp"], iat=claims(ours)["iat"])
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(theirs)
    assert claims(ours) == claims(theirs)


def test_a_token_lives_as_long_as_the_settings_say(ann, with_settings):
    clients = with_settings(stream={"token_lifetime_seconds": 120})
    said = claims(tokens.issue_token("ann", clients)["token"])
    assert abs(said["exp"] - time.time() - 120) < 5


def test_a_token_respects_a_revocation_within_a_second(ann, clients, chat):
    before = datetime.now(UTC).replace(microsecond=500_000) - timedelta(seconds=3)
    chat.revoke_user_token("ann", before)
    assert claims(tokens.issue_token("ann", clients)["token"])["iat"] > before.timestamp()


@pytest.mark.parametrize("change", ["deleted", "disabled"])
def test_no_token_after_a_long_repair_in_which_the_account_went(
    ann, accounts, clients, monkeypatch, change
):
    monkeypatch.setattr(tokens, "STALE_AFTER_SECONDS", 0)
    reconcile = outbox.reconcile

    def reconcile_and_go(*args, **options):
        outcomes = reconcile(*args, **options)
        delete_account(accounts)
        if change == "disabled":
            accounts.sign_up("ann", displayName="Ann", disabled=True)
        return outcomes

    monkeypatch.setattr(outbox, "reconcile", reconcile_and_go)
    with fails_with((NotFound, FailedPrecondition)):
        tokens.issue_token("ann", clients)


def test_a_token_allows_for_a_clock_that_is_ahead_of_streams(ann, clients):
    issued = tokens.issue_token("ann", clients)
    assert claims(issued["token"])["iat"] <= time.time() - tokens.CLOCK_SKEW_SECONDS


def test_a_caller_who_is_missing_in_stream_is_healed_first(accounts, clients, chat):
    accounts.sign_up("ann")
    tokens.issue_token("ann", clients)
    assert stream_user(chat)


@pytest.mark.parametrize("in_stream", [True, False])
def test_a_deleted_account_gets_no_token(accounts, clients, chat, in_stream):
    accounts.sign_up("ann", displayName="Ann")
    if in_stream:
        reconcile_users([Key("user", "ann")], clients)
    delete_account(accounts)
    with fails_with(NotFound):
        tokens.issue_token("ann", clients)
    assert bool(stream_user(chat)) == in_stream


@pytest.mark.parametrize("in_stream", [True, False])
def test_a_disabled_account_gets_no_token(accounts, clients, chat, in_stream):
    accounts.sign_up("ann", displayName="Ann")
    if in_stream:
        reconcile_users([Key("user", "ann")], clients)
    accounts.sign_up("ann", displayName="Ann", disabled=True)
    with fails_with(FailedPrecondition, match="disabled"):
        tokens.issue_token("ann", clients)
    assert bool(stream_user(chat)) == in_stream


def test_no_token_is_handed_out_while_stream_does_not_answer(ann, clients, stream):
    stream.fault("QueryUsers", "reset", times=3)
    with fails_with(StreamUnavailable):
        tokens.issue_token("ann", clients)


def test_a_deactivated_user_gets_no_token(ann, clients, chat):
    chat.deactivate_user("ann")
    with fails_with(FailedPrecondition, match="deactivated"):
        tokens.issue_token("ann", clients)


def test_revocation_hits_every_token_until_now_and_none_after(ann, with_settings, chat):
    clients = with_settings(stream={"user_id": "crew_{uid}"})
    for _ in range(3):
        earlier = claims(tokens.issue_token("ann", clients)["token"])["iat"]
        tokens.revoke_tokens("ann", clients)
        before = datetime.fromisoformat(
            stream_user(chat, "crew_ann")["revoke_tokens_issued_before"]
        )
        later = claims(tokens.issue_token("ann", clients)["token"])["iat"]
        assert earlier < before.timestamp() <= later <= time.time()


def test_a_revocation_that_could_not_hit_every_token_is_not_called_done(ann, clients):
    refused = 0
    for _ in range(12):
        earlier = claims(tokens.issue_token("ann", clients)["token"])["iat"]
        try:
            tokens.revoke_tokens("ann", clients)
        except Postponed:
            refused += 1
            continue
        later = claims(tokens.issue_token("ann", clients)["token"])["iat"]
        assert earlier < later <= time.time()
    assert refused


# Anonymous accounts


def test_anonymous_accounts_are_provisioned_by_default(accounts, clients, chat):
    accounts.sign_up("ann")
    reconcile_after_sign_up("ann", clients)
    assert stream_user(chat)


def test_anonymous_accounts_are_skipped_where_the_setting_says_so(
    accounts, with_settings, chat, firestore_api
):
    clients = with_settings(stream={"provision_anonymous_users": False})
    accounts.sign_up("ann")
    accounts.sign_up("bob", email="bob@example.com")
    accounts.sign_up("eve", providerUserInfo=[{"providerId": "google.com", "rawId": "1"}])
    for uid in ("ann", "bob", "eve"):
        reconcile_after_sign_up(uid, clients)
    assert stream_user(chat, "ann") is None
    assert stream_user(chat, "bob")
    assert stream_user(chat, "eve")
    assert not any(name.endswith("/ann") for name in firestore_api.documents)


def test_a_caller_hears_why_an_anonymous_account_is_skipped(accounts, with_settings):
    accounts.sign_up("ann")
    clients = with_settings(stream={"provision_anonymous_users": False})
    [outcome] = reconcile_users([Key("user", "ann")], clients)
    assert outcome.error.reason == "anonymous"


# What Firebase sends no event of: imports, first sign-ins by custom tokens, batch deletions


@pytest.mark.parametrize(
    "heal",
    [
        lambda clients: tokens.issue_token("ann", clients),
        lambda clients: outbox.reconcile([Key("user", "ann")], clients),
        lambda clients: create_conversation("bob", {"participantIds": ["ann"]}, clients),
        lambda clients: read_stats("ann", "bob", clients),
        lambda clients: ensure_profile("ann", clients),
        lambda clients: night(clients),
    ],
    ids=["token", "ensure", "conversation", "stats", "profile", "night"],
)
def test_an_account_of_which_no_event_told_is_healed_by_whoever_asks(
    heal, accounts, clients, chat, firestore
):
    accounts.sign_up("ann", displayName="Ann")
    accounts.sign_up("bob")
    heal(clients)
    drain_until_settled(clients)
    assert stream_user(chat)["name"] == "Ann"
    for collection in ("users", "user_profiles", "user_stats"):
        assert firestore.document(f"{collection}/ann").get().exists


def night(clients, repair=audit.CREATING) -> audit.Audit:
    began = audit.start("nightly", clients, repair=repair)
    audit.run(began.id, clients)
    return audit.read(began.id, clients)


def test_accounts_deleted_without_an_event_are_found_and_left_to_a_person(
    ann, accounts, clients, chat
):
    accounts.delete("ann")
    found = night(clients).counts["users"]
    assert (found["orphan_stream_user"], found["orphan_documents"]) == (1, 3)
    assert stream_user(chat)
    with fails_with(NotFound):
        tokens.issue_token("ann", clients)


# The deleted stay deleted: an ID token outlives its account


@pytest.fixture
def ann_was_deleted(accounts, clients):
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)
    accounts.delete("ann")
    remove_after_event("ann", clients)


def write_user(fields, clients) -> None:
    """The owner writes with an ID token of before; the functions hear of it."""
    document = clients.firestore.document("users/ann")
    before = document.get().to_dict()
    document.set(fields, merge=True)
    if before is None:
        reconcile_after_creation("ann", clients)
    else:
        states = FirebaseState(user=before), FirebaseState(user={**before, **fields})
        reconcile_after_change("ann", *states, clients)


def test_what_is_written_after_the_deletion_is_removed_and_makes_no_profile(
    ann_was_deleted, clients, firestore_api, chat
):
    made: list[set[str]] = []
    firestore_api.before_call = lambda _: made.append(firestore_api.left_documents())
    write_user({"displayName": "Ann is back"}, clients)
    firestore_api.before_call = no_hook
    assert set().union(*made) == {"users/ann"}
    assert firestore_api.left_documents() == set()
    assert chat.query_users({"id": "ann"})["users"] == []


def test_what_is_written_after_the_deletion_is_removed_also_if_auth_fails_meanwhile(
    ann_was_deleted, clients, firestore_api, monkeypatch
):
    def fail(*_: object) -> None:
        raise UnavailableError("down")

    with monkeypatch.context() as patch:
        patch.setattr(type(clients.auth), "get_users", fail)
        with fails_with(FirebaseUnavailable):  # the event is delivered again
            write_user({"displayName": "Ann is back"}, clients)
    drain_until_settled(clients)
    reconcile_after_creation("ann", clients)
    assert firestore_api.left_documents() == set()


def test_what_is_written_after_the_deletion_costs_no_deletion_in_stream(
    ann_was_deleted, clients, firestore_api, stream
):
    deletions = stream.operations().count("DeleteUser")
    for name in ("Ann", "Ann is back"):
        write_user({"displayName": name}, clients)
    assert stream.operations().count("DeleteUser") == deletions > 0
    assert firestore_api.left_documents() == set()


def test_an_event_of_a_document_that_is_gone_removes_nothing(
    ann_was_deleted, clients, firestore_api
):
    """The emulator sends one of each deletion, even of what does not exist."""
    firestore_api.calls.clear()
    reconcile_after_creation("ann", clients)
    assert {"batch_write", "commit"} & set(firestore_api.calls) == set()


def test_a_change_of_what_was_written_after_the_deletion_is_removed_too(
    ann_was_deleted, clients, firestore, firestore_api
):
    firestore.document("users/ann").set({"displayName": "Ann"})
    write_user({"displayName": "Ann is back"}, clients)
    assert firestore_api.left_documents() == set()


def test_an_account_that_is_back_keeps_what_it_writes(
    ann_was_deleted, accounts, clients, firestore_api, chat
):
    accounts.sign_up("ann", displayName="Ann")
    write_user({"displayName": "Ann is back"}, clients)
    assert {"users/ann", "user_profiles/ann", "user_stats/ann"} <= firestore_api.left_documents()
    assert chat.query_users({"id": "ann"})["users"][0]["name"] == "Ann is back"


@pytest.mark.parametrize("hours", [1.9, 2.1])
def test_after_two_hours_a_document_without_account_is_a_finding(
    ann_was_deleted, clients, firestore, firestore_api, hours
):
    deleted_at = datetime.now(UTC) - timedelta(hours=hours)
    firestore.document("stream_users/user_ann").update({"deletedAt": deleted_at})
    write_user({"displayName": "Ann is back"}, clients)
    assert ("users/ann" in firestore_api.left_documents()) is (hours > 2)
