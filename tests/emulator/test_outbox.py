"""Stream fails, and what was to be done there happens later by itself."""

import pytest
import requests
from firebase_admin import auth

from dev import app_client
from dev.emulators import HOST, PORTS, PROJECT, REGION
from tests.waiting import wait_for


@pytest.fixture
def entries(firestore):
    """The entries of the outbox, by key."""
    return lambda: {
        snapshot.get("key"): snapshot.to_dict()
        for snapshot in firestore.collection("repairs").get()
    }


@pytest.fixture(autouse=True)
def stream_recovers(stream):
    yield
    stream.clear_faults()


def test_sign_ups_while_stream_is_down_all_appear(stream, stream_user, entries):
    stream.fault("*", "reset", rate=1)
    people = [app_client.sign_up(f"unlucky-{n}@example.com", f"Unlucky {n}") for n in range(8)]
    uids = {person.uid for person in people}
    wait_for(lambda: uids <= entries().keys())
    wait_for(lambda: any(entry["attempts"] for entry in entries().values()))
    stream.clear_faults()
    for uid in uids:
        wait_for(lambda uid=uid: stream_user(uid))
    wait_for(lambda: not uids & entries().keys())


def test_a_deletion_while_stream_is_down_happens_afterwards(firebase, stream, stream_user, entries):
    person = app_client.sign_up("leaving@example.com", "Leaving")
    wait_for(lambda: stream_user(person.uid))
    stream.fault("*", "status", status=503, rate=1)
    auth.delete_user(person.uid, app=firebase)
    assert wait_for(lambda: entries().get(person.uid))["removal"]
    stream.clear_faults()
    wait_for(lambda: not stream_user(person.uid))
    wait_for(lambda: person.uid not in entries())


def test_the_look_every_five_minutes_wakes_the_drain(firebase, firestore, stream_user, entries):
    """An entry whose wake was lost."""
    auth.import_users([auth.ImportUserRecord("forgotten")], app=firebase)
    entry = {"kind": "user", "key": "forgotten", "state": "waiting", "attempts": 0}
    now = firestore_now(firestore)
    firestore.document("repairs/user_forgotten").set({**entry, "nextAttemptAt": now})
    base = f"http://{HOST}:{PORTS['functions']}/functions/projects/{PROJECT}/triggers"
    answer = requests.post(f"{base}/{REGION}-wakeRepairs-0", json={}, timeout=60)
    assert answer.ok, answer.text
    wait_for(lambda: stream_user("forgotten"))
    wait_for(lambda: "forgotten" not in entries())


def firestore_now(firestore):
    return firestore.document("probes/now").set({}).update_time
