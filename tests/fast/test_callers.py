"""Who may not chat starts nothing: banned, deactivated, disabled, signed out, or anonymous."""

from __future__ import annotations

from typing import Any

import pytest
from functions_framework import create_app

from chatsync.conversations.create import create_conversation
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import PermissionDenied
from tests.fast.failures import fails_with
from tests.fast.proven import prove
from tests.fast.test_functions import MAIN, environment, id_token  # noqa: F401 (a fixture)

SIGNED_IN = 1_700_000_000
"""When the ID tokens of these tests say that their callers signed in."""


@pytest.fixture(autouse=True)
def people(accounts, clients) -> None:
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
