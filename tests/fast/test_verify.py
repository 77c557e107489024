"""``verify`` under an app's own settings, and where a project lacks something."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from firebase_admin import auth

from chatsync import outbox, proof
from chatsync.conversations.create import create_conversation
from chatsync.entry import webhooks
from chatsync.entry.events import reconcile_after_sign_up, remove_after_event
from chatsync.entry.tokens import issue_token
from chatsync.errors import ChatsyncError, Temporary
from chatsync.ids import Key
from chatsync.operator import app_calls, options, throwaway, verify_run
from chatsync.operator.app_calls import CallRefused
from tests.fast.firebase_in_memory import MemoryAuth

REAL = ("--live", "a-project", "--web-api-key", "key")
STAYS = {"chatsync/keys", "chatsync/webhook"}
"""Made by whatever conversation is the first, and by whatever event of a user comes."""


class Project:
    """Deployed functions, in this process: accounts, calls and webhooks lead to the package."""

    def __init__(self, clients: Any, accounts: MemoryAuth, receiver: Any) -> None:
        self.accounts, self.receiver = accounts, receiver
        self.has_events, self.refused = True, {}
        self.told = 0
        self.clients = replace(clients, auth=self)

    def create_user(self, uid: str, email: str, password: str, display_name: str) -> None:
        self.accounts.sign_up(uid, email=email, displayName=display_name)
        if self.has_events:
            reconcile_after_sign_up(uid, self.clients)

    def import_users(self, users: list[auth.ImportUserRecord]) -> Any:
        for one in users:
            self.accounts.sign_up(one.uid, email=one.email, displayName=one.display_name)
        return SimpleNamespace(errors=[])

    def set_custom_user_claims(self, uid: str, claims: dict[str, Any]) -> None:
        self.accounts.accounts[uid]._data["customAttributes"] = json.dumps(claims)

    def delete_user(self, uid: str) -> None:
        if uid not in self.accounts.accounts:
            raise auth.UserNotFoundError("none")
        self.accounts.delete(uid)
        if self.has_events:
            remove_after_event(uid, self.clients)

    def get_users(self, identifiers: Any) -> Any:
        return self.accounts.get_users(identifiers)

    def call(self, function: str, data: dict[str, Any], id_token: str, project: str) -> Any:
        if function in self.refused:
            raise self.refused[function]
        ann = id_token
        if function == "getStreamUserToken":
            return issue_token(ann, self.clients)
        if function == "createConversation":
            return create_conversation(ann, data, self.clients)
        [outcome] = outbox.reconcile([Key("user", data["userId"])], self.clients)
        if outcome.error:
            raise outcome.error
        return {"streamUserId": outcome.stream_id, "status": outcome.status}

    def sign_in(self, email: str, password: str, web_api_key: str) -> str:
        if "sign-in" in self.refused:
            raise self.refused["sign-in"]
        return email.partition("@")[0]

    def deliver(self, _: float) -> None:
        """Instead of a pause, what Stream told meanwhile."""
        time.sleep(0.01)
        new = self.receiver.received[self.told :]
        self.told += len(new)
        for one in new:
            webhooks.handle(one.event(), self.clients)


@pytest.fixture
def project(clients, accounts, receiver, stream, run, monkeypatch) -> Project:
    project = Project(clients, accounts, receiver)
    stream.webhook(receiver.url, proof.EVENTS)
    write_user = verify_run.Run.write_user

    def write_and_tell(one: verify_run.Run, number: int, path: str, value: object) -> None:
        write_user(one, number, path, value)
        if project.has_events:
            outbox.reconcile([Key("user", one.made.uids[number])], project.clients)

    monkeypatch.setattr(verify_run.Run, "write_user", write_and_tell)
    monkeypatch.setattr(app_calls, "call", project.call)
    monkeypatch.setattr(app_calls, "sign_in", project.sign_in)
    monkeypatch.setattr(options, "connect", lambda: project.clients)
    monkeypatch.setattr(throwaway, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(throwaway, "_EVENT_SECONDS", 0.1)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=project.deliver)
    monkeypatch.setattr(verify_run, "time", clock)
    return project


@pytest.fixture
def left(accounts, firestore_api, stream):
    """What there is on any side."""

    def left() -> list[str]:
        counts, documents = stream.state()["counts"], firestore_api.documents
        in_stream = ("users", "deactivated_users", "deleted_users", "channels")
        return [
            *accounts.accounts,
            *sorted({name.partition("/documents/")[2] for name in documents} - STAYS),
            *(f"{counts[name]} {name}" for name in in_stream if counts[name]),
        ]

    return left


COMPANIES = {"field": "type", "values": ["company"]}


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"stream": {"delete_policy": "hard"}},
        {"stream": {"delete_policy": "deactivate"}},
        {"stream": {"delete_policy": "keep"}},
        {"stream": {"user_id": "u_{uid}", "channel_id": "chat_{id}", "channel_type": "team"}},
        {"users": {"collection": "people", "name": ["profile.fullName", "displayName"]}},
        {"users": {"company": COMPANIES}},
        {"users": {"create": False, "name": ["first last", "displayName"]}},
        {"teams": {"required": True}},
        {"teams": {"required": True}, "users": {"teams": "claims:teams"}},
        {"teams": {"required": True, "channel_field": "gym_id", "format": "gym_{value}"}},
        {"conversations": {"collection": "chats"}, "profiles": {"collection": "cards"}},
    ],
    ids=str,
)
def test_every_promise_is_kept_under_the_settings_of_an_app(
    project, with_settings, run, left, sections
):
    project.clients = replace(with_settings(**sections), auth=project)
    ran = run("verify", *REAL, "--seconds", "5")
    assert [line for line in ran.out.splitlines() if not line.startswith("ok ")] == [
        "All 16 promises are kept."
    ]
    assert ran.status == 0
    assert left() == []


def test_a_callable_that_refuses_fails_its_promise_and_the_others_are_tried(project, run, left):
    refused = CallRefused("createConversation: 404")
    project.refused["createConversation"] = refused
    ran = run("verify", *REAL, "--json", "--seconds", "5")
    kept = {one["name"]: one["kept"] for one in ran.json()["promises"]}
    assert [name for name, one in kept.items() if one is False] == [
        "createConversation: a channel opens"
    ]
    assert [name for name, one in kept.items() if one is None] == [
        "createConversation: Firestore has the conversation",
        "webhook: a message is counted",
        "webhook: a new name of the channel comes",
        "deletion: the conversation is left",
    ]
    assert (ran.status, ran.json()["kept"]) == (1, False)
    assert left() == []


def test_without_events_what_comes_by_events_fails_and_all_is_removed(project, run, left):
    project.has_events = False
    ran = run("verify", *REAL, "--seconds", "1.3")
    failed = {line.split()[3] for line in ran.out.splitlines() if line.startswith("no ")}
    assert failed == {"sign-up:", "a", "deletion:"}
    assert ran.status == 1
    assert left() == []


def test_where_nobody_can_sign_in_it_says_so_in_one_line_and_removes_the_accounts(
    project, run, left
):
    project.refused["sign-in"] = CallRefused("Sign-in is off.")
    ran = run("verify", *REAL)
    assert ran.status == 2
    assert ran.err.splitlines()[-1] == "Sign-in is off."
    assert left() == []


def test_what_cannot_be_removed_is_told_and_removed_by_the_next_run(
    project, run, left, monkeypatch
):
    def fails(*_: object) -> list[str]:
        raise ChatsyncError("not now")

    with monkeypatch.context() as patched:
        patched.setattr(throwaway, "_remove_from_stream", fails)
        ran = run("verify", *REAL)
    assert ran.status == 1
    assert "not now" in ran.err
    assert left() != []
    assert run("verify", *REAL).status == 0
    assert left() == []


def test_a_conversation_that_a_killed_run_could_not_note_is_found_by_its_members(
    project, run, left, monkeypatch
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    note = throwaway.note

    def note_before_the_conversation(made: throwaway.Made, clients: Any) -> None:
        (killed if made.cids else note)(made, clients)

    with monkeypatch.context() as patched:
        patched.setattr(throwaway, "note", note_before_the_conversation)
        patched.setattr(throwaway, "remove", killed)
        run("verify", *REAL)
    assert any(one.startswith("conversations/") for one in left())
    assert run("verify", *REAL).status == 0
    assert left() == []


def test_a_channel_of_the_app_that_everybody_joins_stays(
    project, run, chat, firestore, clients, monkeypatch
):
    """The app's own trigger lets each new account join it."""
    project.accounts.sign_up("carl")
    reconcile_after_sign_up("carl", clients)
    general = chat.channel("messaging", "general", {"members": ["carl"]})
    general.create("carl")
    called = project.call

    def call(function: str, data: dict[str, Any], id_token: str, name: str) -> Any:
        result = called(function, data, id_token, name)
        if function == "ensureStreamUser":
            general.add_members([id_token, data["userId"]])
        return result

    monkeypatch.setattr(app_calls, "call", call)
    assert run("verify", *REAL, "--seconds", "5").status == 0
    assert [one["channel"]["id"] for one in chat.query_channels({})["channels"]] == ["general"]
    assert firestore.document("conversations/general").get().get("status") == "ready"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--live a-project"),
        (("--live", "another"), "--live a-project"),
        (("--live", "a-project"), "--web-api-key"),
    ],
)
def test_a_real_project_is_to_be_named_once_more_before_anything_is_made(
    project, run, left, stream, arguments, told
):
    ran = run("verify", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err
    assert (left(), stream.requests()) == ([], [])


def test_where_app_check_is_demanded_it_says_that_callables_refuse(project, run, left, monkeypatch):
    monkeypatch.setenv("ENFORCE_APP_CHECK", "true")
    ran = run("verify", *REAL)
    assert ran.status == 2
    assert "ENFORCE_APP_CHECK" in ran.err
    assert left() == []


@pytest.mark.parametrize("more", [(), ("--probe",)])
def test_while_writes_to_stream_are_paused_nothing_is_made(project, run, stream, firestore, more):
    firestore.document("chatsync", "pause").set({})
    ran = run("verify", *REAL, *more)
    assert ran.status == 2
    assert "paused" in ran.err
    assert stream.requests() == []


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (400, "PASSWORD_LOGIN_DISABLED", "Sign-in by e-mail and password is off"),
        (400, "OPERATION_NOT_ALLOWED : off", "Sign-in by e-mail and password is off"),
        (400, "API key not valid. Please pass a valid API key.", "--web-api-key"),
        (403, "BLOCKING_FUNCTION_ERROR_RESPONSE", "Nobody can sign in: 403 BLOCKING"),
    ],
)
def test_a_refused_sign_in_says_what_to_do(monkeypatch, status, error, told):
    answer(monkeypatch, status, {"error": {"message": error}})
    with pytest.raises(CallRefused, match=told):
        app_calls.sign_in("a@example.com", "secret", "key")


@pytest.mark.parametrize(
    ("status", "body", "told", "raised"),
    [
        (404, None, "is it deployed", CallRefused),
        (403, None, "may everybody invoke it", CallRefused),
        (502, None, "no answer of a callable", Temporary),
        (503, {"error": {"status": "UNAVAILABLE", "message": "later"}}, "UNAVAILABLE", Temporary),
        (403, {"error": {"status": "PERMISSION_DENIED", "message": "no"}}, "D no", CallRefused),
    ],
)
def test_a_call_without_result_says_what_is_wrong(monkeypatch, status, body, told, raised):
    answer(monkeypatch, status, body)
    with pytest.raises(raised, match=told):
        app_calls.call("ensureStreamUser", {}, "token", "demo-x")


def answer(monkeypatch: pytest.MonkeyPatch, status: int, body: object) -> None:
    response = requests.Response()
    response.status_code = status
    response._content = b"<html>" if body is None else json.dumps(body).encode()
    monkeypatch.setattr(requests, "post", lambda *_, **__: response)


def test_callables_are_looked_for_where_the_functions_are(monkeypatch):
    monkeypatch.setenv("CHATSYNC_REGION", "europe-west1")
    real = app_calls.functions_url("my-project")
    assert real == "https://europe-west1-my-project.cloudfunctions.net"
    assert app_calls.functions_url("demo-x") == "http://127.0.0.1:5001/demo-x/europe-west1"
    monkeypatch.setenv("FUNCTIONS_EMULATOR_HOST", "127.0.0.1:9")
    assert app_calls.functions_url("demo-x") == "http://127.0.0.1:9/demo-x/europe-west1"
