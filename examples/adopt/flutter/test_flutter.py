"""The switch of a Flutter app with functions in Node, from the state before to the last audit."""

from pathlib import Path

import pytest

from examples.adopt.live_system import SECONDS, running
from stream_server.user_client import user_client
from tests.waiting import wait_for


@pytest.mark.timeout(SECONDS)
def test_the_app_calls_what_it_called_before_and_nobody_is_missing_any_more() -> None:
    with running(Path(__file__).parent) as app:
        # Compared before anything is deployed.
        assert "none leads to streamWebhook" in app.operator("doctor", status=1)
        found = app.operator("audit", status=1)
        assert "missing_stream_user │ user:lena" in found
        assert "orphan_stream_user  │ user:gone" in found
        app.deploy()

        # ChatRepository._ensureUserExists, as it is.
        asha = app.sign_in("asha")
        assert app.stream_user("lena") is None
        answer = asha.call("ensureStreamUser", {"userId": "lena"})
        assert (answer["userId"], answer["streamUserId"]) == ("lena", "lena")
        assert "User lena not found in Stream Chat, attempting to create..." in app.log()
        lena = app.stream_user("lena")
        assert lena
        assert (lena["name"], lena["image"]) == ("Lena", "https://example.com/lena.png")
        assert lena["language"] == "de"
        chat = user_client(app.stream, "asha")
        chat.channel("messaging", "asha-lena", {"members": ["asha", "lena"]}).create("asha")

        # Somebody signs up, and the app writes its document; another one changes theirs.
        new = app.sign_up("noor@example.com")
        document = {"username": "Noor", "settings": {"language": "ar"}}
        app.firestore.document("users", new.uid).set(document, merge=True)
        app.firestore.document("users", "omar").update({"username": "Omar H."})
        for uid, name in ((new.uid, "Noor"), ("omar", "Omar H.")):
            wait_for(lambda uid=uid, name=name: (app.stream_user(uid) or {}).get("name") == name)
        token = new.call("getStreamUserToken", {})
        assert token["streamUserId"] == new.uid
        omar = app.stream_user("omar")
        assert omar
        assert omar["role"] == "user"  # admin is a claim of the app, and not in allowed_roles

        app.operator("doctor")
        app.operator("backfill --apply")
        app.operator("audit --users --repair orphan_stream_user --apply --yes", status=0)
        app.operator("audit --channels --repair only_in_stream --apply")
        assert "In sync: 100%" in app.operator("audit")
        ravi, asha_there, gone = (app.stream_user(uid) for uid in ("ravi", "asha", "gone"))
        assert ravi
        assert (ravi["name"], ravi["favourite_colour"]) == ("Ravi K.", "green")
        assert asha_there
        assert asha_there["role"] == "moderator"
        assert not gone or gone["deleted_at"]
