"""The switch of an app where everything refers to a profile: none is missing, none is touched."""

from pathlib import Path

import pytest

from examples.adopt.live_system import SECONDS, running
from tests.waiting import wait_for

DEFAULTS = {"theme": "light", "notifications": True, "language": "en"}


@pytest.mark.timeout(SECONDS)
def test_no_conversation_refers_to_a_missing_profile() -> None:
    with running(Path(__file__).parent) as app:
        profiles = [app.document("user_profiles/mia"), app.document("user_profiles/jon")]
        listed = app.operator("audit --users --all", status=1).splitlines()[1:4]
        newest_first = [("sara", "missing"), ("jon", "exists"), ("mia", "exists")]
        assert [(line.split()[-1], line.split()[3]) for line in listed] == newest_first
        app.deploy()

        # The account was there, the profile wasn't: today this conversation fails.
        sara = app.sign_in("sara")
        made = sara.call("createConversation", {"participantIds": ["assistant"]})
        assert made["conversationType"] == "direct"
        profile = app.document("user_profiles/sara")
        assert profile
        assert (profile["displayName"], profile["preferences"]) == ("Sara", DEFAULTS)
        channel = app.channel(made["cid"])
        assert channel
        assert {one["user_id"] for one in channel["members"]} == {"sara", "assistant"}
        again = sara.call("createConversation", {"participantIds": ["assistant"]})
        assert (again["cid"], again["existed"]) == (made["cid"], True)

        # A sign-up by whatever method, and the client's own call at its start.
        new = app.sign_up("nils@example.com")
        wait_for(lambda: app.document(f"user_profiles/{new.uid}"))
        assert new.call("ensureUserProfile", {})["created"] is False
        app.firestore.document("user_profiles", new.uid).update({"full_name": "Nils Ode"})
        wait_for(lambda: (app.stream_user(new.uid) or {}).get("name") == "Nils Ode")
        assert app.sign_in("jon").call("ensureUserProfile", {})["created"] is False

        # The clean-up, and the profiles of before are as they were.
        app.operator("backfill --apply")
        app.operator("audit --channels --repair only_in_stream --apply")
        assert "In sync: 100%" in app.operator("audit")  # nor is the assistant an orphan
        assert "Missing: 0 users, 0 profile" in app.operator("audit --users --all")
        assert [app.document("user_profiles/mia"), app.document("user_profiles/jon")] == profiles
        jon = app.stream_user("jon")
        assert jon
        assert jon["name"] == "Jon Ek"  # the profile's, not Auth's
        known = app.sign_in("mia").call("createConversation", {"participantIds": ["assistant"]})
        assert (known["cid"], known["existed"]) == ("messaging:chat-mia-1", True)
