"""Somebody signs up, and is ready to chat without anyone doing anything."""

from dev import app_client
from tests.waiting import wait_for


def test_a_sign_up_becomes_a_stream_user(stream_user):
    ann = app_client.sign_up("ann@example.com", "Ann")
    assert wait_for(lambda: stream_user(ann.uid))["name"] == "Ann"


def test_a_sign_up_gets_all_its_documents(firestore):
    bob = app_client.sign_up("bob@example.com", "Bob")
    for collection in ("users", "user_profiles", "user_stats"):
        wait_for(lambda path=f"{collection}/{bob.uid}": firestore.document(path).get().exists)
    assert firestore.document(f"users/{bob.uid}").get().get("email") == "bob@example.com"


def test_an_address_does_not_reach_stream(stream_user):
    eve = app_client.sign_up("eve@example.com", "Eve")
    assert "eve@example.com" not in str(wait_for(lambda: stream_user(eve.uid)))


def test_a_burst_of_sign_ups_leaves_nobody_out(stream_user):
    users = [app_client.sign_up(f"burst-{n}@example.com", f"Burst {n}") for n in range(20)]
    for user in users:
        wait_for(lambda uid=user.uid: stream_user(uid))


def test_what_was_done_at_a_sign_up_is_remembered_with_the_function_that_did_it(firestore):
    zoe = app_client.sign_up("zoe@example.com", "Zoe")
    entry = firestore.document(f"stream_users/user_{zoe.uid}")
    history = wait_for(lambda: (entry.get().to_dict() or {}).get("history"))
    [created] = history
    assert created["did"] == "created"
    assert created["by"] in ("createStreamUser", "drainRepairs")  # where Stream was busy
