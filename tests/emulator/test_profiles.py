"""A user document appears, whoever wrote it, and gets its profile and stats."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chatsync.clients import Clients
from chatsync.clients.documents import create_profile
from chatsync.settings import Settings
from tests.waiting import wait_for


@pytest.fixture
def clients(firestore) -> Clients:
    """Only Firestore: nothing else is asked to create a profile."""
    return Clients(firestore, None, None, None, Settings("", ""), None)  # type: ignore[arg-type]


def test_a_user_document_gets_profile_and_stats(firestore):
    firestore.document("users/paul").set({"full_name": "Paul", "avatarUrl": "https://p/paul.png"})
    profile = firestore.document("user_profiles/paul")
    wait_for(lambda: profile.get().exists and firestore.document("user_stats/paul").get().exists)
    assert profile.get().get("displayName") == "Paul"
    assert profile.get().get("photoURL") == "https://p/paul.png"


def test_what_is_there_already_stays_untouched(firestore):
    edited = {"displayName": "Petra herself", "preferences": {"theme": "dark"}}
    firestore.document("user_profiles/petra").set(edited)
    firestore.document("users/petra").set({"displayName": "Petra"})
    wait_for(lambda: firestore.document("user_stats/petra").get().exists)
    assert firestore.document("user_profiles/petra").get().to_dict() == edited


def test_twenty_deliveries_at_once_leave_one_profile(firestore, clients):
    firestore.document("users/quinn").set({"displayName": "Quinn"})
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: create_profile("quinn", clients), range(20)))
    profile = firestore.document("user_profiles/quinn").get()
    assert profile.create_time == profile.update_time
    assert profile.get("displayName") == "Quinn"


def test_a_user_document_that_is_gone_gets_no_profile(firestore, clients):
    assert create_profile("never-there", clients) == []
    assert not firestore.document("user_profiles/never-there").get().exists
