"""Somebody signs up, and is ready to chat without anyone doing anything."""

from dev import app_client
from tests.waiting import wait_for


def test_a_sign_up_becomes_a_stream_user(stream_user):
    ann = app_client.sign_up("ann@example.com", "Ann")
    assert wait_for(lambda: stream_user(ann.uid))["name"] == "Ann"


def test_a_burst_of_sign_ups_leaves_nobody_out(stream_user):
    users = [app_client.sign_up(f"burst-{n}@example.com", f"Burst {n}") for n in range(20)]
    for user in users:
        wait_for(lambda uid=user.uid: stream_user(uid))


def test_a_user_document_gets_profile_and_stats(firestore):
    """Whoever wrote it."""
    firestore.document("users/paul").set({"full_name": "Paul", "avatarUrl": "https://p/paul.png"})
    profile = firestore.document("user_profiles/paul")
    wait_for(lambda: profile.get().exists and firestore.document("user_stats/paul").get().exists)
    assert profile.get().get("displayName") == "Paul"
    assert profile.get().get("photoURL") == "https://p/paul.png"
