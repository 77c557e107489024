"""An account that is missing in Stream is repaired by the client that needs it."""

import pytest
from firebase_admin import auth
from stream_chat.base.exceptions import StreamAPIException

from dev import app_client
from dev.start import LOG


@pytest.fixture
def legacy(firebase, request) -> str:
    """The uid of an imported account: imports send no event, so Stream has never seen it."""
    uid = f"legacy-{request.node.name}"[:100]
    auth.import_users([auth.ImportUserRecord(uid, display_name="Lena")], app=firebase)
    return uid


def test_a_chat_with_a_missing_person_opens_after_ensure_stream_user(caller, legacy, chat):
    caller.call("ensureStreamUser", {"userId": caller.uid})
    channel = chat.channel("messaging", "with-legacy", {"members": [caller.uid, legacy]})
    with pytest.raises(StreamAPIException, match=f"don't exist: \\[{legacy}\\]"):
        channel.create(caller.uid)

    answer = caller.call("ensureStreamUser", {"userId": legacy})

    assert answer == {"userId": legacy, "streamUserId": legacy, "status": "created"}
    assert channel.create(caller.uid)["channel"]["member_count"] == 2


def test_a_repair_gives_a_legacy_account_its_documents(caller, legacy, firestore):
    caller.call("ensureStreamUser", {"userId": legacy})
    assert firestore.document(f"users/{legacy}").get().get("displayName") == "Lena"
    assert firestore.document(f"user_profiles/{legacy}").get().get("displayName") == "Lena"
    assert firestore.document(f"user_stats/{legacy}").get().get("messagesSent") == 0


def test_the_operator_finds_the_repair_in_the_log(caller, legacy):
    caller.call("ensureStreamUser", {"userId": legacy})
    log = LOG.read_text()
    assert f"User {legacy} not found in Stream Chat, attempting to create..." in log
    assert f"Successfully repaired/created user {legacy} via Cloud Function" in log


def test_a_forged_token_is_refused(emulators):
    with pytest.raises(app_client.CallFailed) as refusal:
        app_client.call("ensureStreamUser", {"userId": "anyone"}, id_token="forged.to.ken")
    assert refusal.value.code == "unauthenticated"


def test_stream_being_down_is_unavailable_and_a_second_call_repairs(caller, legacy, stream):
    stream.fault("UpdateUsers", "status", status=503, times=4)
    with pytest.raises(app_client.CallFailed) as refusal:
        caller.call("ensureStreamUser", {"userId": legacy})
    assert (refusal.value.code, refusal.value.details) == ("unavailable", {"repairQueued": True})
    assert caller.call("ensureStreamUser", {"userId": legacy})["status"] == "created"
