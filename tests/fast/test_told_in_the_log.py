"""The log tells of each document that is made, and of each id that was asked for in vain."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from chatsync import audit, outbox
from chatsync.conversations.create import create_conversation
from chatsync.entry import events, records, tokens, webhooks
from chatsync.ids import Key
from tests.fast.test_functions import call, environment  # noqa: F401 (fixtures)

PREFIX = "Created documents of user ann: "


def write_user(clients) -> None:
    clients.firestore.document("users/ann").set({"displayName": "Ann"})
    events.reconcile_after_creation("ann", clients)


def run_audit(mode: str, clients) -> None:
    audit.run(audit.start(mode, clients, repair=audit.CREATING).id, clients)


def send_message(clients) -> None:
    at = datetime.now(UTC).isoformat()
    message = {"id": "1", "user": {"id": "ann"}, "created_at": at}
    webhooks.handle({"type": "message.new", "cid": "messaging:room", "message": message}, clients)


DOORS = {
    "sign-up": lambda clients: events.reconcile_after_sign_up("ann", clients),
    "user document": write_user,
    "ensureStreamUser": lambda clients: outbox.reconcile([Key("user", "ann")], clients),
    "getStreamUserToken": lambda clients: tokens.issue_token("ann", clients),
    "getUserStats": lambda clients: records.read_stats("ann", "bob", clients),
    "ensureUserProfile": lambda clients: records.ensure_profile("ann", clients),
    "createConversation": lambda clients: create_conversation(
        "ann", {"participantIds": ["bob"]}, clients
    ),
    "a message": send_message,
    "night": lambda clients: run_audit("nightly", clients),
    "backfill": lambda clients: run_audit("backfill", clients),
}


@pytest.fixture
def lines(capsys):
    """The lines of the log since the last look."""

    def lines() -> list[dict[str, str]]:
        printed = capsys.readouterr().out.splitlines()
        return [json.loads(line) for line in printed if line.startswith("{")]

    return lines


@pytest.mark.parametrize("door", DOORS)
def test_each_document_that_is_made_is_told_once(door, accounts, clients, firestore_api, lines):
    for uid in ("ann", "bob"):
        accounts.sign_up(uid, displayName=uid.title())
    DOORS[door](clients)
    told = [line for line in lines() if line["message"].startswith(PREFIX)]
    assert {line["user"] for line in told} == {"ann"}
    made = [one for line in told for one in line["message"].removeprefix(PREFIX).split(", ")]
    paths = [name.partition("/documents/")[2] for name in firestore_api.documents]
    here = [
        path.split("/")[0] for path in paths if path.endswith(("/ann", "stream_users/user_ann"))
    ]
    if door == "user document":
        here.remove("users")
    if door == "createConversation":
        here.remove("budgets")
    assert sorted(made) == sorted(here)


def test_a_profile_that_follows_is_told(accounts, clients, firestore, lines):
    accounts.sign_up("ann")
    events.reconcile_after_sign_up("ann", clients)
    firestore.document("users/ann").update({"displayName": "Anna"})
    lines()
    events.reconcile_after_event("ann", clients)
    assert {"severity": "INFO", "user": "ann", "message": "The profile of user ann follows"} in (
        lines()
    )


@pytest.mark.parametrize(
    ("function", "data", "unknown"),
    [
        ("ensureStreamUser", {"userId": "x"}, ["x"]),
        ("ensureStreamUser", {"userIds": ["x", "caller", "y"]}, ["x", "y"]),
        ("getUserStats", {"userId": "x"}, ["x"]),
        ("createConversation", {"participantIds": ["x", "y"]}, ["x", "y"]),
    ],
)
def test_each_id_that_was_asked_for_in_vain_is_told(
    function,
    data,
    unknown,
    accounts,
    call,  # noqa: F811 (the imported fixture)
    lines,
):
    accounts.sign_up("caller")
    call(data, function=function)
    told = [line for line in lines() if line["message"].startswith("No such account or company")]
    assert [line["user"] for line in told] == unknown


@pytest.mark.parametrize("function", ["getStreamUserToken", "ensureUserProfile"])
def test_so_is_a_caller_whose_account_is_gone(function, call, lines):  # noqa: F811
    call({}, function=function)
    assert "No such account or company was found: caller" in [line["message"] for line in lines()]
