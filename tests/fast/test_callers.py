"""Who may not chat starts nothing: banned, deactivated, disabled, signed out, or anonymous."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from functions_framework import create_app

from chatsync import outbox
from chatsync.conversations.create import create_conversation
from chatsync.entry import webhooks
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import FailedPrecondition, PermissionDenied, Postponed, Temporary
from chatsync.ids import Key
from chatsync.outcome import Outcome
from tests.fast.failures import fails_with
from tests.fast.outbox import drain_until_settled, entries
from tests.fast.proven import prove
from tests.fast.test_functions import MAIN, environment, id_token  # noqa: F401 (a fixture)

SIGNED_IN = 1_700_000_000
"""When the ID tokens of these tests say that their callers signed in."""


@pytest.fixture(autouse=True)
def people(accounts) -> None:
    for uid in ("ann", "bob"):
        accounts.sign_up(uid, displayName=uid.title())


@pytest.fixture
def call():
    """Call a function as a client SDK does; returns the HTTP status and the error or result."""

    def call(function: str, data: Any, caller: str = "ann", **claims: object) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {id_token(caller, **claims)}"}
        app = create_app(function, str(MAIN), "http").test_client()
        response = app.post("/", json={"data": data}, headers=headers)
        body = response.json
        return response.status_code, body.get("error") or body["result"]

    return call


CALLS = {"getStreamUserToken": {}, "createConversation": {"participantIds": ["bob"]}}


# Signed out everywhere


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("known", [False, True], ids=["in doubt", "known to agree"])
@pytest.mark.parametrize("function", CALLS)
def test_an_id_token_from_before_the_sign_out_everywhere_opens_nothing(
    call, accounts, clients, firestore_api, stream, function, known
):
    if known:
        for uid in ("ann", "bob"):
            reconcile_after_sign_up(uid, clients)
        firestore_api.age()
        prove(clients)
    accounts.sign_up("ann", displayName="Ann", validSince=str(SIGNED_IN + 1))
    status, error = call(function, CALLS[function])
    assert (status, error["status"]) == (401, "UNAUTHENTICATED")
    assert "GetOrCreateChannel" not in stream.operations()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("function", CALLS)
def test_an_id_token_of_the_very_second_is_good(call, accounts, function):
    accounts.sign_up("ann", validSince=str(SIGNED_IN))
    assert call(function, CALLS[function])[0] == 200


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("claim", [None, "soon"])
def test_an_id_token_that_does_not_say_when_is_old(call, accounts, claim):
    accounts.sign_up("ann", validSince=str(SIGNED_IN))
    assert call("getStreamUserToken", {}, auth_time=claim)[0] == 401


# Anonymous accounts


def test_an_anonymous_account_starts_no_group_and_nothing_is_read(
    clients, firestore_api, stream, accounts
):
    asked = {"participantIds": ["bob"], "conversationType": "group"}
    with fails_with(PermissionDenied):
        create_conversation("ann", asked, clients, is_anonymous=True)
    assert (firestore_api.calls, accounts.calls, stream.requests()) == ([], [], [])


def test_an_anonymous_account_starts_a_direct_conversation(clients):
    asked = {"participantIds": ["bob"]}
    assert create_conversation("ann", asked, clients, is_anonymous=True)["id"]


def test_a_setting_lets_anonymous_accounts_start_groups(with_settings):
    clients = with_settings(conversations={"anonymous_may_start_groups": True})
    asked = {"participantIds": ["bob"], "conversationType": "group"}
    assert create_conversation("ann", asked, clients, is_anonymous=True)["id"]


@pytest.mark.usefixtures("environment")
def test_the_id_token_says_who_is_anonymous(call):
    asked = {"participantIds": ["bob"], "conversationType": "group"}
    status, error = call("createConversation", asked, firebase={"sign_in_provider": "anonymous"})
    assert (status, error["status"]) == (403, "PERMISSION_DENIED")


# Moderated callers


@pytest.fixture
def moderate(chat):
    """Ban or deactivate somebody in Stream."""

    def moderate(state: str, uid: str = "ann") -> None:
        chat.upsert_users([{"id": uid, "role": "user"}, {"id": "moderator"}])
        if state == "banned":
            chat.ban_user(uid, banned_by_id="moderator")
        else:
            chat.deactivate_user(uid)

    return moderate


def written(firestore_api) -> list[str]:
    """The conversations, entries of the outbox, pairs and counts that there are."""
    names = [name.split("/documents/")[1] for name in firestore_api.documents]
    of = ("conversations/", "repairs/", "pairs/", "budgets/")
    return [name for name in names if name.startswith(of)]


@pytest.mark.parametrize("conversation_type", ["direct", "group"])
@pytest.mark.parametrize("state", ["banned", "deactivated"])
def test_a_moderated_caller_starts_nothing(
    create, moderate, firestore_api, stream, state, conversation_type
):
    moderate(state)
    with fails_with(FailedPrecondition) as refusal:
        create(conversationType=conversation_type)
    assert (refusal.value.ids, refusal.value.reason) == (["ann"], state)
    assert written(firestore_api) == []
    assert "GetOrCreateChannel" not in stream.operations()


@pytest.mark.parametrize("conversation_type", ["direct", "group"])
@pytest.mark.parametrize("state", ["banned", "deactivated", "disabled"])
def test_a_moderated_caller_opens_nothing(
    create, moderate, accounts, chat, clients, state, conversation_type
):
    asked = {"conversationType": conversation_type, "idempotencyKey": "tap"}
    room = create(**asked)
    chat.channel("messaging", room["id"]).remove_members(["bob"])
    if state == "disabled":
        accounts.sign_up("ann", displayName="Ann", disabled=True)
    else:
        moderate(state)
    with fails_with(FailedPrecondition) as refusal:
        create(**asked)
    assert (refusal.value.ids, refusal.value.reason) == (["ann"], state)
    channel = chat.channel("messaging", room["id"]).query()
    assert [one["user_id"] for one in channel["members"]] == ["ann"]
    assert entries(clients) == {}


def test_others_open_what_a_banned_person_started(create, moderate):
    room = create()
    moderate("banned")
    assert create("bob", "ann")["id"] == room["id"]


def test_a_ban_that_its_event_told_counts_for_who_was_known_to_agree(
    create, moderate, clients, firestore_api
):
    for uid in ("ann", "bob"):
        reconcile_after_sign_up(uid, clients)
    firestore_api.age()
    prove(clients)
    assert create()
    moderate("banned")
    webhooks.handle({"type": "user.banned", "user": {"id": "ann"}}, clients)
    for _ in range(2):
        with fails_with(FailedPrecondition) as refusal:
            create()
        assert refusal.value.reason == "banned"


@pytest.mark.parametrize("state", ["banned", "disabled"])
def test_what_could_not_open_at_once_does_not_open_for_a_caller_moderated_since(
    create, moderate, accounts, chat, clients, stream, firestore, state
):
    stream.fault("*", "status", status=503, rate=1)
    with fails_with(Temporary):
        create()
    stream.clear_faults()
    if state == "banned":
        moderate(state)
    else:
        accounts.sign_up("ann", displayName="Ann", disabled=True)
    drain_until_settled(clients)
    assert chat.query_channels({})["channels"] == []
    [document] = firestore.collection("conversations").get()
    assert (document.get("status"), document.get("failedReason")) == ("failed", state)
    assert entries(clients) == {}
    if state == "banned":  # the other may start it all the same
        assert create("bob", "ann")["id"] == document.id
        assert document.reference.get().get("status") == "ready"


# Members who cannot chat


def test_a_deactivated_member_leaves_nothing_behind(create, moderate, firestore_api):
    moderate("deactivated", "bob")
    for _ in range(3):
        with fails_with(FailedPrecondition) as refusal:
            create(conversationType="group")
        assert (refusal.value.ids, refusal.value.reason) == (["bob"], "deactivated")
    assert written(firestore_api) == []


@pytest.fixture
def begun_in_vain(create, moderate, clients, firestore_api, firestore):
    """A conversation with Bob, of whom nobody knew that he was deactivated meanwhile."""
    for uid in ("ann", "bob"):
        reconcile_after_sign_up(uid, clients)
    firestore_api.age()
    prove(clients)
    moderate("deactivated", "bob")

    def begun_in_vain(**fields: object):
        with fails_with(FailedPrecondition) as refusal:
            create(**fields)
        assert (refusal.value.ids, refusal.value.reason) == (["bob"], "deactivated")
        return firestore.collection("conversations").get()

    return begun_in_vain


def test_what_failed_for_good_says_why_and_expires_and_leaves_no_entry(begun_in_vain, clients):
    [document] = begun_in_vain()
    assert (document.get("status"), document.get("failedReason")) == ("failed", "deactivated")
    kept_for = document.get("chatsyncExpireAt") - document.get("updatedAt")
    assert abs(kept_for - timedelta(days=7)) < timedelta(minutes=1)
    assert entries(clients) == {}
    assert outbox.retry_parked(clients) == 0


def test_what_leaves_failed_expires_no_more(begun_in_vain, create, chat):
    [failed] = begun_in_vain()
    chat.reactivate_user("bob")
    assert create()["id"] == failed.id
    document = failed.reference.get().to_dict()
    assert document["status"] == "ready"
    assert not {"chatsyncExpireAt", "failedReason"} & set(document)


def test_what_failed_and_is_finished_by_the_outbox_expires_no_more(begun_in_vain, chat, clients):
    [failed] = begun_in_vain()
    chat.reactivate_user("bob")
    waiting = Outcome(Key("conversation", failed.id), "", None, Postponed("later"))
    outbox.write_entries([waiting], clients)
    drain_until_settled(clients)
    document = failed.reference.get().to_dict()
    assert document["status"] == "ready"
    assert not {"chatsyncExpireAt", "failedReason"} & set(document)


def test_an_entry_that_was_parked_before_is_gone_after_the_night(begun_in_vain, clients, firestore):
    [failed] = begun_in_vain()
    parked = {"kind": "conversation", "key": failed.id, "state": "parked", "attempts": 1}
    firestore.document(f"repairs/conversation_{failed.id}").set(parked)
    assert outbox.retry_parked(clients) == 1
    drain_until_settled(clients)
    assert entries(clients) == {}
