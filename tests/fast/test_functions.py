"""The deployed functions over their true wire format, one functions-framework app each."""

import base64
import importlib
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import firebase_admin
import pytest
from functions_framework import create_app
from functions_framework._http.gunicorn import GunicornApplication
from google.api_core.exceptions import InternalServerError
from google.events.cloud.firestore import DocumentEventData

from chatsync import audit
from chatsync import clients as clients_module
from chatsync.errors import SettingInvalid
from tests.fast.outbox import entries

MAIN = Path(__file__).parents[2] / "functions" / "main.py"


@pytest.fixture(autouse=True)
def environment(monkeypatch, clients):
    """The functions' environment, with Firebase in memory and the local Stream server."""
    monkeypatch.setenv("GCLOUD_PROJECT", "demo-chatsync")
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099")  # takes unsigned tokens
    monkeypatch.setenv("STREAM_API_KEY", "local-key")
    monkeypatch.setenv("STREAM_API_SECRET", "local-secret")
    monkeypatch.setattr(clients_module, "_connected", lambda load: load() and clients)
    # Without the default app that another test may have made, under another environment.
    for name in list(firebase_admin._apps):
        monkeypatch.delitem(firebase_admin._apps, name)


def id_token(uid: str, project: str = "demo-chatsync", **more: object) -> str:
    """An ID token as the Auth emulator signs it: not at all."""

    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    claims = {
        "iss": f"https://securetoken.google.com/{project}",
        "aud": project,
        "sub": uid,
        "user_id": uid,
        "iat": 1_700_000_000,
        "exp": 4_000_000_000,
        "auth_time": 1_700_000_000,
        **more,
    }
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


@pytest.fixture
def call() -> Callable[..., tuple[int, dict[str, Any]]]:
    """Call a function as a client SDK does; returns HTTP status and body."""

    def call(
        data: object,
        *,
        function: str = "ensureStreamUser",
        caller: str | None = "caller",
        app_check: str | None = None,
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {id_token(caller)}"} if caller else {}
        if app_check:
            headers["X-Firebase-AppCheck"] = app_check
        app = create_app(function, str(MAIN), "http").test_client()
        response = app.post("/", json={"data": data}, headers=headers)
        return response.status_code, response.json

    return call


def test_ensure_stream_user_repairs_a_missing_user(accounts, call, chat):
    accounts.sign_up("ann", displayName="Ann")
    assert call({"userId": "ann"}) == (
        200,
        {"result": {"userId": "ann", "streamUserId": "ann", "status": "created"}},
    )
    assert len(chat.query_users({"id": "ann"})["users"]) == 1


def test_many_users_are_answered_one_by_one_in_the_order_asked(accounts, call):
    accounts.sign_up("ann")
    accounts.sign_up("bob", disabled=True)
    status, body = call({"userIds": ["bob", "ann", "nobody", "ann"]})
    assert status == 200
    assert body["result"]["results"] == [
        {
            "userId": "bob",
            "streamUserId": "bob",
            "status": "failed",
            "error": {
                "code": "failed-precondition",
                "message": "user is disabled: bob",
                "details": {"userIds": ["bob"], "reason": "disabled"},
            },
        },
        {"userId": "ann", "streamUserId": "ann", "status": "created"},
        {
            "userId": "nobody",
            "streamUserId": "nobody",
            "status": "failed",
            "error": {
                "code": "not-found",
                "message": "no such account: nobody",
                "details": {"userIds": ["nobody"]},
            },
        },
        {"userId": "ann", "streamUserId": "ann", "status": "created"},
    ]


@pytest.mark.parametrize(
    ("user_ids", "field"),
    [
        ([], "userIds"),
        (["x"] * 101, "userIds"),
        ("ann", "userIds"),
        ({"0": "ann"}, "userIds"),
        (["ann", 7], "userIds[1]"),
        (["ann", "a/b"], "userIds[1]"),
    ],
)
def test_a_bad_list_is_refused_as_a_whole_naming_the_item(call, stream, user_ids, field):
    status, body = call({"userIds": user_ids})
    assert (status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert body["error"]["details"] == {"field": field}
    assert stream.requests() == []


def test_a_caller_who_is_not_signed_in_is_refused(call, stream):
    status, body = call({"userId": "ann"}, caller=None)
    assert (status, body["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert stream.requests() == []


@pytest.mark.parametrize("data", [None, [], "ann", 7, {}, {"userId": 7}, {"userId": "a/b"}])
def test_bad_input_is_refused_naming_the_field_and_nothing_is_called(data, call, stream):
    status, body = call(data)
    assert (status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert body["error"]["details"]["field"] == ("data" if data in ([], "ann", 7) else "userId")
    assert stream.requests() == []


def test_an_id_without_account_is_not_found(call):
    status, body = call({"userId": "nobody"})
    assert (status, body["error"]["status"]) == (404, "NOT_FOUND")
    assert body["error"]["details"] == {"userIds": ["nobody"]}


def test_stream_being_down_is_unavailable(accounts, call, stream):
    accounts.sign_up("ann")
    stream.fault("UpdateUsers", "status", status=503, times=4)
    status, body = call({"userId": "ann"})
    assert (status, body["error"]["status"]) == (503, "UNAVAILABLE")
    assert body["error"]["details"] == {"repairQueued": True}


def test_streams_rate_limit_is_resource_exhausted(accounts, call, stream):
    accounts.sign_up("ann")
    stream.limit("UpdateUsers", 0)
    status, body = call({"userId": "ann"})
    assert (status, body["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert 1 <= body["error"]["details"]["retryAfterSeconds"] <= 61


def test_our_own_bug_is_internal_and_leaves_a_traceback_only_in_the_log(
    accounts, call, monkeypatch, capsys
):
    monkeypatch.setattr(accounts, "get_users", lambda _: 1 / 0)
    status, body = call({"userId": "ann"})
    assert (status, body) == (500, {"error": {"status": "INTERNAL", "message": "INTERNAL"}})
    log = capsys.readouterr().err
    assert "ZeroDivisionError" in log
    assert "Traceback" in log


def test_a_missing_secret_is_named_in_the_log_and_not_in_the_answer(call, monkeypatch, capsys):
    monkeypatch.delenv("STREAM_API_SECRET")
    status, body = call({"userId": "ann"})
    assert (status, body) == (500, {"error": {"status": "INTERNAL", "message": "INTERNAL"}})
    assert SettingInvalid.__name__ in (log := capsys.readouterr().err)
    assert "STREAM_API_SECRET is not set" in log


def test_a_caller_gets_a_token(accounts, call):
    accounts.sign_up("caller")
    status, body = call(None, function="getStreamUserToken")
    assert status == 200
    assert set(body["result"]) == {"token", "userId", "streamUserId", "apiKey", "expiresAt"}


def test_a_caller_revokes_the_earlier_tokens(accounts, call, chat):
    accounts.sign_up("caller")
    status, body = call({}, function="revokeStreamUserTokens")
    assert (status, body["result"]) == (200, {"userId": "caller", "streamUserId": "caller"})
    assert chat.query_users({"id": "caller"})["users"][0]["revoke_tokens_issued_before"]


def test_a_caller_reads_their_own_stats(accounts, call):
    accounts.sign_up("caller")
    status, body = call({}, function="getUserStats")
    assert (status, body["result"]["userId"]) == (200, "caller")


def test_when_somebody_was_active_is_told_to_themselves_only(call, firestore):
    private = dict.fromkeys(("lastActiveAt", "updatedAt"), datetime(2026, 1, 2, tzinfo=UTC))
    firestore.document("user_stats/ann").set({"messagesSent": 7, **private})

    def told_to(caller: str) -> list[Any]:
        answer = call({"userId": "ann"}, function="getUserStats", caller=caller)[1]["result"]
        return [answer[name] for name in ("userId", "messagesSent", *private)]

    assert told_to("ann") == ["ann", 7, "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z"]
    assert told_to("stranger") == ["ann", 7, None, None]


def test_stats_of_somebody_with_teams_are_told_to_those_who_share_one(call, firestore):
    firestore.document("user_stats/ann").set({"messagesSent": 7})
    for uid, teams in (("ann", ["red", "blue"]), ("bob", ["blue"]), ("eve", ["green"])):
        firestore.document(f"users/{uid}").set({"chat": {"teams": teams}})
    for caller, expected in (("ann", 200), ("bob", 200), ("eve", 403), ("stranger", 403)):
        assert call({"userId": "ann"}, function="getUserStats", caller=caller)[0] == expected


def test_null_is_as_good_as_no_field(accounts, call):
    accounts.sign_up("caller")
    status, body = call({"userId": None}, function="getUserStats")
    assert (status, body["result"]["userId"]) == (200, "caller")
    assert call({"userId": "caller", "userIds": None})[0] == 200
    status, body = call({"userId": None, "userIds": None})
    assert (status, body["error"]["message"]) == (400, "userId is missing")


def test_a_caller_gets_their_own_profile(accounts, call):
    accounts.sign_up("caller", displayName="Cally")
    status, body = call({}, function="ensureUserProfile")
    assert (status, body["result"]["displayName"]) == (200, "Cally")


def test_app_check_is_demanded_where_the_setting_says_so(accounts, call, monkeypatch):
    accounts.sign_up("ann")
    monkeypatch.setenv("ENFORCE_APP_CHECK", "true")
    verified = {"good": {"sub": "the app"}}
    monkeypatch.setattr("firebase_admin.app_check.verify_token", verified.__getitem__)
    assert call({"userId": "ann"})[0] == 401
    assert call({"userId": "ann"}, app_check="forged")[0] == 401
    assert call({"userId": "ann"}, app_check="good")[0] == 200


def auth_event(app: Any, change: str, field: str, uid: str, **attributes: str) -> int:
    """Deliver the event of an account that was created or deleted; returns the HTTP status."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "//firebaseauth.googleapis.com/projects/demo-chatsync",
        "ce-type": f"google.firebase.auth.user.v2.{change}",
        "ce-time": "2026-01-02T03:04:05Z",
        "ce-subject": f"users/{uid}",
        **{f"ce-{name}": value for name, value in attributes.items()},
    }
    return app.post("/", json={field: {"uid": uid}}, headers=headers).status_code


@pytest.fixture
def create_stream_user():
    app = create_app("createStreamUser", str(MAIN), "cloudevent").test_client()
    return lambda uid, **attributes: auth_event(app, "created", "value", uid, **attributes)


@pytest.fixture
def delete_stream_user():
    app = create_app("deleteStreamUser", str(MAIN), "cloudevent").test_client()
    return lambda uid, **attributes: auth_event(app, "deleted", "oldValue", uid, **attributes)


def test_a_sign_up_becomes_a_stream_user(accounts, create_stream_user, chat):
    accounts.sign_up("ann", displayName="Ann")
    assert create_stream_user("ann") == 200
    assert chat.query_users({"id": "ann"})["users"][0]["name"] == "Ann"


def test_a_sign_up_while_stream_is_down_is_left_to_the_outbox(
    accounts, create_stream_user, clients, stream
):
    accounts.sign_up("ann")
    stream.fault("*", "reset", times=3)
    assert create_stream_user("ann") == 200
    assert entries(clients)["user_ann"]["reason"] == "stream_unavailable"


def test_who_nobody_waits_for_leaves_room_in_streams_limits(
    accounts, call, create_stream_user, clients, chat, stream
):
    """Events the half of a window, outbox and audit a fifth; who waits may use all."""

    def used_by_others(calls: int) -> None:
        for _ in range(calls):
            chat.upsert_user({"id": "other"})

    for uid in ("ann", "bob", "eve", "dan", "caller"):
        accounts.sign_up(uid)
    stream.limit("UpdateUsers", 300, window_s=60)
    used_by_others(155)
    assert call({"userId": "bob"})[0] == 200
    assert create_stream_user("ann") == 200
    assert entries(clients)["user_ann"]["reason"] == "rate_limit"
    assert call({}, function="drainRepairs") == (200, {"result": None})
    assert entries(clients) == {}
    used_by_others(100)
    assert call({"userId": "eve"})[0] == 200
    assert create_stream_user("dan") == 200
    assert call({}, function="drainRepairs") == (200, {"result": None})
    assert entries(clients)["user_dan"]["reason"] == "rate_limit"
    sweep = audit.start("nightly", clients, repair=["missing_stream_user"])
    assert call({"auditId": sweep.id}, function="runSweep") == (200, {"result": None})
    assert audit.read(sweep.id, clients).state == "running"
    assert call({"userId": "dan"})[1]["result"]["status"] == "created"


def test_a_wake_that_comes_too_early_is_to_come_again(call):
    not_before = time.time() + 30
    status, body = call({"notBefore": not_before}, function="drainRepairs")
    assert (status, body["error"]["status"]) == (503, "UNAVAILABLE")
    assert call({"notBefore": not_before - 60}, function="drainRepairs")[0] == 200


def at_its_time(function: str) -> int:
    """Call a function as the scheduler does; returns the HTTP status."""
    return create_app(function, str(MAIN), "http").test_client().post("/").status_code


def test_what_is_due_in_the_outbox_gets_a_wake(accounts, create_stream_user, stream, tasks):
    accounts.sign_up("ann")
    stream.fault("*", "reset", times=3)
    create_stream_user("ann")
    tasks.waiting.clear()  # the wake is lost
    tasks.used_ids.clear()
    assert at_its_time("wakeRepairs") == 200
    assert [wake["function"] for wake in tasks.waiting] == ["drainRepairs"]


def test_the_nightly_audit_is_run_by_the_task_it_begins_with(call, clients, tasks):
    assert at_its_time("auditSync") == 200
    [task] = tasks.waiting
    audit_id = task["data"]["auditId"]
    assert audit.read(audit_id, clients).state == "running"
    assert call(task["data"], function=task["function"])[0] == 200
    assert audit.read(audit_id, clients).state == "done"


@pytest.mark.parametrize(
    ("function", "task"),
    [
        ("drainRepairs", {"notBefore": "soon"}),
        ("drainRepairs", {"notBefore": True}),
        ("drainRepairs", {"notBefore": [1]}),
        ("drainRepairs", {"notBefore": 10**400}),
        ("drainRepairs", "now"),
        ("runSweep", {}),
        ("runSweep", {"auditId": "a/b"}),
        ("runSweep", {"auditId": 7}),
        ("runSweep", {"auditId": "x" * 2000}),
    ],
)
def test_a_task_that_is_not_ours_is_refused_without_a_traceback(call, capsys, function, task):
    status, answer = call(task, function=function)
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert "Traceback" not in "".join(capsys.readouterr())


WITHOUT_STREAM = ("ensureUserProfile", "getUserStats")


def test_only_functions_that_call_stream_hold_its_secret():
    module = importlib.import_module("main")
    endpoints = {
        name: endpoint
        for name, one in vars(module).items()
        if (endpoint := getattr(one, "__firebase_endpoint__", None))
    }
    without = {name for name, one in endpoints.items() if not one.secretEnvironmentVariables}
    assert without == set(WITHOUT_STREAM)
    assert len(endpoints) == 18


@pytest.mark.parametrize("function", WITHOUT_STREAM)
def test_they_work_without_the_secret(accounts, call, stream, monkeypatch, function):
    monkeypatch.delenv("STREAM_API_SECRET")
    accounts.sign_up("caller")
    assert call({}, function=function)[0] == 200
    assert stream.requests() == []


def test_an_event_fails_if_the_outbox_fails_too_so_that_it_comes_again(
    accounts, create_stream_user, firestore_api, stream
):
    accounts.sign_up("ann")
    stream.fault("*", "reset", times=3)

    def fail(call: str) -> None:
        if call == "commit":
            raise InternalServerError("down")

    firestore_api.before_call = fail
    assert create_stream_user("ann") == 500
    firestore_api.before_call = lambda _: None
    assert create_stream_user("ann") == 200
    assert stream.state()["counts"]["users"] == 1


def test_an_account_of_a_tenant_is_skipped(accounts, create_stream_user, stream):
    accounts.sign_up("ann")
    assert create_stream_user("ann", tenantid="gym-1") == 200
    assert stream.requests() == []


def test_a_deleted_account_leaves_stream(accounts, create_stream_user, delete_stream_user, chat):
    accounts.sign_up("ann")
    create_stream_user("ann")
    accounts.delete("ann")
    assert delete_stream_user("ann") == 200
    assert chat.query_users({"id": "ann"})["users"] == []


def test_a_deletion_in_a_tenant_concerns_nobody_else(
    accounts, create_stream_user, delete_stream_user, chat
):
    accounts.sign_up("ann")
    create_stream_user("ann")
    accounts.delete("ann")
    assert delete_stream_user("ann", tenantid="gym-1") == 200
    assert len(chat.query_users({"id": "ann"})["users"]) == 1


def user_document_event(uid: str, fields: dict[str, str]) -> dict[str, Any]:
    """An event as Firestore sends it: binary mode, with a Protobuf message as data."""
    path = f"users/{uid}"
    document = {
        "name": f"projects/demo-chatsync/databases/(default)/documents/{path}",
        "fields": {name: {"string_value": value} for name, value in fields.items()},
    }
    attributes = {
        "specversion": "1.0",
        "id": "1",
        "source": "//firestore.googleapis.com/projects/demo-chatsync/databases/(default)",
        "type": "google.cloud.firestore.document.v1.created",
        "time": "2026-01-02T03:04:05Z",
        "subject": f"documents/{path}",
        "location": "asia-south1",
        "project": "demo-chatsync",
        "database": "(default)",
        "namespace": "(default)",
        "document": path,
        "datacontenttype": "application/protobuf",
    }
    return {
        "data": DocumentEventData.serialize(DocumentEventData(value=document)),
        "headers": {f"ce-{name}": value for name, value in attributes.items()}
        | {"Content-Type": "application/protobuf"},
    }


@pytest.fixture
def create_user_profile(monkeypatch) -> Callable[[str], int]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")  # the SDK makes a client, unused
    app = create_app("createUserProfile", str(MAIN), "cloudevent")

    def deliver(uid: str, is_named: bool = True) -> int:
        event = user_document_event(uid, {"displayName": "what the event says"})
        if not is_named:
            event["data"] = DocumentEventData.serialize(DocumentEventData(value={}))
        return app.test_client().post("/", **event).status_code

    return deliver


def test_a_new_user_document_gets_profile_and_stats(create_user_profile, firestore):
    firestore.document("users/ann").set({"displayName": "Ann"})
    assert create_user_profile("ann") == 200
    assert firestore.document("user_profiles/ann").get().get("displayName") == "Ann"
    assert firestore.document("user_stats/ann").get().get("messagesSent") == 0


def test_two_deliveries_of_a_document_event_at_once_leave_one_profile(
    create_user_profile, firestore, firestore_api
):
    firestore.document("users/ann").set({"displayName": "Ann"})

    def deliver_once_more(call: str) -> None:
        if call == "begin_transaction":  # when it has seen that there is no profile
            firestore_api.before_call = lambda _: None
            assert create_user_profile("ann") == 200

    firestore_api.before_call = deliver_once_more
    assert create_user_profile("ann") == 200
    profile = firestore.document("user_profiles/ann").get()
    assert profile.create_time == profile.update_time


def test_a_profile_that_exists_is_left_as_it_is(create_user_profile, firestore):
    firestore.document("users/ann").set({"displayName": "Ann"})
    firestore.document("user_profiles/ann").set({"displayName": "Annie"})
    create_user_profile("ann")
    assert firestore.document("user_profiles/ann").get().to_dict() == {"displayName": "Annie"}
    assert firestore.document("user_stats/ann").get().exists


@pytest.mark.parametrize("gone_before", ["batch_get_documents", "begin_transaction"])
def test_a_user_document_that_is_gone_gets_no_profile(
    create_user_profile, firestore, firestore_api, gone_before
):
    firestore.document("users/ann").set({"displayName": "Ann"})

    def remove(call: str) -> None:
        if call == gone_before:
            firestore_api.before_call = lambda _: None
            firestore.document("users/ann").delete()

    firestore_api.before_call = remove
    assert create_user_profile("ann") == 200
    assert firestore_api.documents == {}


def test_an_instance_serves_as_many_at_once_as_the_platform_sends_it(monkeypatch):
    monkeypatch.delenv("THREADS", raising=False)
    app = create_app("ensureStreamUser", str(MAIN), "http")
    server = GunicornApplication(app, "127.0.0.1", 0, debug=False)
    endpoint = sys.modules["main"].ensureStreamUser.__firebase_endpoint__
    assert server.options["threads"] == endpoint.concurrency > 1


def test_the_path_of_a_document_is_that_of_the_events_attribute(create_user_profile, firestore):
    """The data may hold no name, as where a platform passes on no more than the attributes."""
    firestore.document("users/ann").set({"displayName": "Ann"})
    assert create_user_profile("ann", is_named=False) == 200
    assert firestore.document("user_profiles/ann").get().exists
