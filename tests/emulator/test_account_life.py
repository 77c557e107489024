"""Changes, deletion and return of an account, as the triggers bring them about."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from firebase_admin import auth
from google.cloud import firestore as google_firestore

from dev import app_client
from tests.emulator.function_runs import events_of, runs, settle
from tests.waiting import wait_for


@pytest.fixture
def ann(firestore, stream_user, request) -> app_client.AppUser:
    """Somebody who signed up, and has everything by now."""
    user = app_client.sign_up(f"{request.node.name}@example.com".lower(), "Ann")
    wait_for(lambda: stream_user(user.uid))
    wait_for(lambda: firestore.document(f"user_stats/{user.uid}").get().exists)
    made = {f"users/{user.uid}", f"user_profiles/{user.uid}"}
    wait_for(lambda: made <= set(events_of(user.uid)))
    settle()
    return user


def test_a_changed_user_document_reaches_stream_and_profile(ann, firestore, stream_user):
    firestore.document(f"users/{ann.uid}").update({"displayName": "Anna"})
    wait_for(lambda: stream_user(ann.uid)["name"] == "Anna")
    profile = firestore.document(f"user_profiles/{ann.uid}")
    wait_for(lambda: profile.get().get("displayName") == "Anna")
    assert profile.get().get("mirrored")["displayName"] == "Anna"


def test_an_edited_profile_reaches_stream_and_stays(ann, firestore, stream_user):
    profile = firestore.document(f"user_profiles/{ann.uid}")
    profile.update({"displayName": "Annie"})
    wait_for(lambda: stream_user(ann.uid)["name"] == "Annie")
    firestore.document(f"users/{ann.uid}").update({"displayName": "Anna", "photoURL": "https://p"})
    wait_for(lambda: stream_user(ann.uid).get("image") == "https://p")
    assert stream_user(ann.uid)["name"] == "Annie"
    assert profile.get().get("displayName") == "Annie"


@pytest.mark.parametrize(
    ("collection", "most_runs"),
    # The user document's change makes its own run and, by the profile that follows, one more.
    [("users", 2), ("user_profiles", 1)],
)
def test_one_edit_causes_few_runs_and_no_echo(ann, firestore, stream_user, collection, most_runs):
    before = len(events_of(ann.uid))
    firestore.document(f"{collection}/{ann.uid}").update({"displayName": "Anna"})
    wait_for(lambda: stream_user(ann.uid)["name"] == "Anna")
    wait_for(lambda: len(events_of(ann.uid)) - before >= most_runs)
    settle()
    assert len(events_of(ann.uid)) - before <= most_runs


def test_a_change_that_does_not_concern_stream_makes_no_call(ann, firestore, stream):
    since = stream.last_request()
    before = len(events_of(ann.uid))
    firestore.document(f"users/{ann.uid}").update({"lastSeen": google_firestore.SERVER_TIMESTAMP})
    wait_for(lambda: len(events_of(ann.uid)) > before)
    settle()
    assert stream.requests(since) == []


def test_a_deleted_account_leaves_stream_and_firestore(ann, firebase, firestore, stream_user):
    auth.delete_user(ann.uid, app=firebase)
    wait_for(lambda: stream_user(ann.uid) is None)
    for collection in ("users", "user_profiles", "user_stats"):
        reference = firestore.document(f"{collection}/{ann.uid}")
        wait_for(lambda reference=reference: not reference.get().exists)


def test_an_account_that_returns_under_its_uid_is_restored(ann, firebase, stream_user):
    auth.delete_user(ann.uid, app=firebase)
    wait_for(lambda: stream_user(ann.uid) is None)
    auth.create_user(uid=ann.uid, display_name="Ann again", app=firebase)
    assert wait_for(lambda: stream_user(ann.uid))["id"] == ann.uid
    wait_for(lambda: stream_user(ann.uid)["name"] == "Ann again")


def test_sign_ups_that_are_deleted_at_once_leave_nobody(firebase, firestore, stream, stream_user):
    stream.remove_limit("DeleteUser")  # 60 a minute
    uids = [f"short-lived-{n}" for n in range(8)]

    def live_and_die(uid: str) -> None:
        auth.create_user(uid=uid, display_name="Short", app=firebase)
        auth.delete_user(uid, app=firebase)

    # The emulator has a process for each event under way, which takes a second to start, and loses
    # those whose process is not up in time.
    before = runs()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(live_and_die, uids))
    wait_for(lambda: runs() - before >= 2 * len(uids), seconds=120)
    settle()
    # Where Auth was too busy to answer, the outbox follows.
    documents = [firestore.document(f"users/{uid}") for uid in uids]
    wait_for(lambda: not any(stream_user(uid) for uid in uids))
    wait_for(lambda: not any(found.exists for found in firestore.get_all(documents)))
