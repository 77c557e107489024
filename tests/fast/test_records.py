"""Statistics and profiles: read, and healed from Firebase alone where they are missing."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from firebase_admin.exceptions import UnavailableError
from google.cloud import firestore as google_firestore

from chatsync.entry.events import (
    reconcile_after_creation,
    reconcile_after_sign_up,
    remove_after_event,
)
from chatsync.entry.records import ensure_profile, read_stats
from chatsync.errors import FailedPrecondition, FirebaseUnavailable, NotFound
from tests.fast.failures import fails_with
from tests.fast.firebase_in_memory import no_hook
from tests.fast.outbox import drain_until_settled, entries

COMPANIES = {"field": "type", "values": ["company"]}


@pytest.fixture
def ann(accounts, clients) -> None:
    """Ann has an account, and is in agreement everywhere."""
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)


@pytest.fixture(params=["stats", "profile"])
def read(request):
    """Either reading, of somebody by themselves."""
    if request.param == "profile":
        return ensure_profile
    return lambda uid, clients: read_stats(uid, uid, clients)


def test_whatever_an_app_keeps_in_its_preferences_can_be_told(ann, clients, firestore):
    firestore.document("user_profiles/ann").update(
        {
            "preferences": {
                "home": google_firestore.GeoPoint(1, 2),
                "key": b"\x00",
                "since": datetime(2026, 1, 2, tzinfo=UTC),
                "ratio": float("nan"),
                "friend": firestore.document("users/bob"),
                "themes": ["dark", None, True, 1.5],
            }
        }
    )
    told = ensure_profile("ann", clients)["preferences"]
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        "home": {"latitude": 1, "longitude": 2},
        "key": "AA==",
        "since": "2026-01-02T00:00:00Z",
        "ratio": None,
        "friend": "users/bob",
        "themes": ["dark", None, True, 1.5],
    }


@pytest.mark.parametrize(
    ("in_user", "in_profile", "told"),
    [
        ({"theme": "dark"}, {"theme": "light"}, {"theme": "dark"}),
        ({}, {"theme": "light"}, {}),
        (None, {"theme": "light"}, {"theme": "light"}),
        ("dark", {"theme": "light"}, {"theme": "light"}),
        (None, None, {}),
        ("dark", "light", {}),
    ],
)
def test_preferences_are_those_of_the_user_document_or_else_of_an_old_profile(
    ann, clients, firestore, in_user, in_profile, told
):
    firestore.document("users/ann").update({"preferences": in_user})
    firestore.document("user_profiles/ann").update({"preferences": in_profile})
    assert ensure_profile("ann", clients)["preferences"] == told
    assert firestore.document("user_profiles/ann").get().get("preferences") == in_profile


def test_a_new_profile_which_everybody_reads_has_no_preferences(accounts, clients, firestore):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"preferences": {"theme": "dark"}})
    told = ensure_profile("ann", clients)
    assert (told["created"], told["preferences"]) == (True, {"theme": "dark"})
    assert "preferences" not in firestore.document("user_profiles/ann").get().to_dict()


def test_a_profile_of_nobody_is_not_found(clients):
    with fails_with(NotFound):
        ensure_profile("nobody", clients)


def test_a_record_that_cannot_be_made_now_is_made_by_the_outbox(accounts, clients, firestore):
    accounts.sign_up("ann")

    def fail(call: str) -> None:
        raise UnavailableError("down")

    accounts.before_call = fail
    with fails_with(FirebaseUnavailable) as failure:
        read_stats("ann", "ann", clients)
    assert failure.is_queued
    accounts.before_call = no_hook
    drain_until_settled(clients)
    assert firestore.document("user_stats/ann").get().exists


def test_stats_of_a_missing_record_start_at_zero_with_the_accounts_creation(
    accounts, clients, capsys
):
    accounts.sign_up("ann", created_ms=1_700_000_000_000)
    stats = read_stats("ann", "ann", clients)
    assert stats.pop("updatedAt").endswith("Z")
    assert stats == {
        "userId": "ann",
        "createdAt": "2023-11-14T22:13:20Z",
        "conversationsStarted": 0,
        "messagesSent": 0,
        "lastActiveAt": None,
    }
    assert "Self-healing triggered for user ann" in capsys.readouterr().out


def test_stats_that_exist_cost_one_read(ann, clients, firestore_api, stream):
    since = stream.last_request()
    firestore_api.calls.clear()
    read_stats("ann", "ann", clients)
    assert firestore_api.calls == ["batch_get_documents"]
    assert stream.requests(since) == []


def test_stats_of_nobody_are_not_found_and_leave_no_record(clients, firestore_api):
    with fails_with(NotFound):
        read_stats("nobody", "ann", clients)
    assert firestore_api.documents == {}


def test_stats_are_healed_while_stream_is_down(accounts, clients, stream):
    accounts.sign_up("ann")
    stream.fault("*", "status", status=503, rate=1)
    assert read_stats("ann", "ann", clients)["messagesSent"] == 0


@pytest.mark.parametrize("read", [read_stats, lambda uid, _, *rest: ensure_profile(uid, *rest)])
def test_fifty_readers_at_once_heal_one_record_and_agree(accounts, clients, firestore_api, read):
    accounts.sign_up("ann", displayName="Ann")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: read("ann", "ann", clients), range(50)))
    for answer in answers:
        answer.pop("created", None)
    assert all(answer == answers[0] for answer in answers)
    for document in firestore_api.documents.values():
        assert document.create_time == document.update_time


def test_a_profile_is_told_as_it_is(ann, clients):
    profile = ensure_profile("ann", clients)
    assert profile["createdAt"].endswith("Z")
    assert (profile["displayName"], profile["preferences"], profile["created"]) == (
        "Ann",
        {},
        False,
    )


def test_a_missing_profile_is_created(accounts, clients):
    accounts.sign_up("ann", displayName="Ann")
    profile = ensure_profile("ann", clients)
    assert (profile["displayName"], profile["created"]) == ("Ann", True)


# Without Stream


def test_while_stream_hangs_records_are_healed_within_a_second(accounts, clients, stream, read):
    accounts.sign_up("ann", displayName="Ann")
    stream.fault("*", "timeout", rate=1)
    since, began = stream.last_request(), time.monotonic()
    read("ann", clients)
    assert time.monotonic() - began < 1
    assert stream.requests(since) == []


def test_stream_follows_by_the_outbox(accounts, clients, chat, read):
    accounts.sign_up("ann", displayName="Ann")
    read("ann", clients)
    assert chat.query_users({"id": "ann"})["users"] == []
    drain_until_settled(clients)
    assert chat.query_users({"id": "ann"})["users"][0]["name"] == "Ann"
    assert entries(clients) == {}


def test_the_first_reading_asks_auth_once_and_the_next_never(accounts, clients, stream, read):
    accounts.sign_up("ann")
    read("ann", clients)
    assert accounts.calls == ["get_users"]
    read("ann", clients)
    assert accounts.calls == ["get_users"]
    assert stream.requests() == []


def test_reading_makes_whatever_the_user_lacks_and_tells_the_log(
    accounts, clients, firestore, read, capsys
):
    accounts.sign_up("ann")
    read("ann", clients)
    for path in ("users/ann", "user_profiles/ann", "user_stats/ann", "stream_users/user_ann"):
        assert firestore.document(path).get().exists
    [told] = [line for line in capsys.readouterr().out.splitlines() if "Created documents" in line]
    assert json.loads(told)["user"] == "ann"


def test_reading_leaves_documents_of_the_app_as_they_are(accounts, clients, firestore):
    accounts.sign_up("ann")
    own = {"full_name": "Ann Lee", "avatar_url": "https://p/1.png"}
    firestore.document("user_profiles/ann").set(own)
    read_stats("ann", "ann", clients)
    assert firestore.document("user_profiles/ann").get().to_dict() == own


def test_a_profile_that_was_there_first_leads_to_a_repair_of_what_else_is_missing(
    accounts, clients, firestore, chat
):
    accounts.sign_up("ann")
    firestore.document("user_profiles/ann").set({"full_name": "Ann"})
    answer = ensure_profile("ann", clients)
    assert (answer["displayName"], answer["created"]) == ("Ann", False)
    for path in ("users/ann", "user_stats/ann", "stream_users/user_ann"):
        assert firestore.document(path).get().exists
    assert set(entries(clients)) == {"user_ann"}
    drain_until_settled(clients)
    assert chat.query_users({"id": "ann"})["users"][0]["name"] == "Ann"


def test_a_profile_is_told_while_auth_cannot_say_what_else_is_missing(accounts, clients, firestore):
    accounts.sign_up("ann")
    firestore.document("user_profiles/ann").set({"full_name": "Ann"})

    def fail(call: str) -> None:
        raise UnavailableError("down")

    accounts.before_call = fail
    assert ensure_profile("ann", clients)["displayName"] == "Ann"
    assert set(entries(clients)) == {"user_ann"}


def test_a_profile_of_an_undecided_account_is_told_again_without_a_write(
    accounts, with_settings, firestore_api
):
    clients = with_settings(users={"company": COMPANIES})
    accounts.sign_up("acme")
    ensure_profile("acme", clients)
    drain_until_settled(clients)
    before = dict(firestore_api.documents)
    assert ensure_profile("acme", clients)["created"] is False
    assert firestore_api.documents == before


def test_an_account_deleted_while_its_records_are_made_keeps_none(
    accounts, clients, firestore_api, chat, read
):
    accounts.sign_up("ann")

    def delete(call: str) -> None:
        if call == "commit":
            firestore_api.before_call = no_hook
            accounts.delete("ann")
            remove_after_event("ann", clients)

    firestore_api.before_call = delete
    read("ann", clients)
    drain_until_settled(clients)
    assert firestore_api.left_documents() == set()
    assert chat.query_users({"id": "ann"})["users"] == []


# What the app itself keeps there


def test_fields_of_the_app_are_kept_and_passed_on(ann, with_settings, firestore):
    clients = with_settings(stats={"public_fields": ["xp", "levels", "since", "friend-count"]})
    since = datetime(2026, 1, 2, tzinfo=UTC)
    fields = {"xp": 5, "levels": {"chess": [1, 2.5]}, "since": since, "secret": 1}
    firestore.document("user_stats/ann").update(fields)
    stats = read_stats("ann", "bob", clients)
    assert stats["xp"] == 5
    assert stats["levels"] == {"chess": [1, 2.5]}
    assert stats["since"] == "2026-01-02T00:00:00Z"
    assert stats["friend-count"] is None
    assert "secret" not in stats


def test_a_record_that_only_the_app_wrote_is_told(with_settings, firestore):
    clients = with_settings(stats={"public_fields": ["xp"]})
    firestore.document("user_stats/ann").set({"xp": 5})
    stats = read_stats("ann", "ann", clients)
    assert (stats["xp"], stats["messagesSent"], stats["createdAt"]) == (5, 0, None)
    assert firestore.document("user_stats/ann").get().to_dict() == {"xp": 5}


def test_a_new_profile_has_the_defaults_of_the_app(accounts, with_settings, firestore):
    defaults = {"preferences": {"theme": "dark"}, "plan": "free"}
    clients = with_settings(profiles={"defaults": defaults})
    accounts.sign_up("ann")
    assert ensure_profile("ann", clients)["preferences"] == {"theme": "dark"}
    assert firestore.document("user_profiles/ann").get().get("plan") == "free"


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ({"full_name": "Ann Lee", "avatar_url": "https://p/1"}, ("Ann Lee", "https://p/1")),
        ({"displayName": "Ann", "full_name": "Ann Lee"}, ("Ann", None)),
        ({"displayName": " ", "full_name": "Ann Lee"}, ("Ann Lee", None)),
        ({"displayName": None, "mirrored": {}, "full_name": "Ann Lee"}, (None, None)),
        ({"avatar_url": "javascript:alert(1)"}, (None, None)),
    ],
)
def test_a_profile_that_was_there_first_is_told_by_the_names_of_the_app(
    firestore, clients, profile, told
):
    firestore.document("user_profiles/ann").set(profile)
    answer = ensure_profile("ann", clients)
    assert (answer["displayName"], answer["photoURL"]) == told
    assert answer["created"] is False


# Accounts of which Firebase says more


def test_an_account_without_user_document_may_still_become_a_company(
    accounts, with_settings, firestore, chat
):
    clients = with_settings(users={"company": COMPANIES})
    accounts.sign_up("acme")
    read_stats("acme", "acme", clients)
    ensure_profile("acme", clients)
    drain_until_settled(clients)
    assert not firestore.document("users/acme").get().exists
    firestore.document("users/acme").set({"type": "company"})
    reconcile_after_creation("acme", clients)
    assert chat.query_users({"id": "acme"})["users"] == []
    assert chat.query_users({"id": "company_acme"})["users"]


def test_a_company_is_written_down_as_one(accounts, with_settings, firestore, chat, read):
    clients = with_settings(users={"company": COMPANIES})
    accounts.sign_up("acme")
    firestore.document("users/acme").set({"type": "company", "name": "Acme"})
    read("acme", clients)
    written = firestore.document("stream_users/user_acme").get().to_dict()
    assert (written["kind"], written["streamUserId"]) == ("company", "company_acme")
    drain_until_settled(clients)
    assert chat.query_users({"id": "company_acme"})["users"][0]["name"] == "Acme"


def test_an_anonymous_account_that_is_not_provisioned_has_no_records(
    accounts, with_settings, firestore_api, read
):
    clients = with_settings(stream={"provision_anonymous_users": False})
    accounts.sign_up("ann")
    with fails_with(FailedPrecondition):
        read("ann", clients)
    assert firestore_api.documents == {}
