"""The Auth event decorators: what they declare at deployment and what they make of a delivery."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent
from firebase_functions import core, options
from firebase_functions.firestore_fn import on_document_created
from firebase_functions.private import manifest
from flask.testing import FlaskClient
from functions_framework import create_app

from chatsync.entry.auth_events import AuthEvent, on_user_created, on_user_deleted
from chatsync.entry.document_events import DocumentEvent, on_document
from chatsync.settings import Settings

EMULATOR_USER = {
    "uid": "ada",
    "email": "ada@example.com",
    "emailVerified": True,
    "displayName": "Ada",
    "photoURL": "https://example.com/ada.png",
    "phoneNumber": "+15555550100",
    "disabled": True,
    "customClaims": {"team": "blue"},
    "metadata": {
        "createTime": "2026-11-20T10:00:00.000Z",
        "lastSignInTime": "2026-11-20T10:00:01.500Z",
    },
    "providerData": [
        {
            "uid": "ada-at-google",
            "providerId": "google.com",
            "displayName": "Ada L.",
            "email": "ada@gmail.example",
            "photoURL": "https://example.com/google.png",
        }
    ],
}


def cloud_event(data: Any, action: str = "created", **attributes: Any) -> CloudEvent:
    return CloudEvent(
        {
            "specversion": "1.0",
            "id": "event-1",
            "source": "//identitytoolkit.googleapis.com/projects/demo-chatsync",
            "type": f"google.firebase.auth.user.v2.{action}",
            "time": "2026-11-20T10:00:02.000Z",
            "subject": "users/ada",
            "datacontenttype": "application/json",
            **attributes,
        },
        data,
    )


def deliver(decorator: Callable[[Any], Any], event: CloudEvent) -> AuthEvent:
    received: list[AuthEvent] = []

    @decorator
    def handler(event: AuthEvent) -> None:
        received.append(event)

    handler(event)
    [result] = received
    return result


def created(user: Any, **attributes: Any) -> AuthEvent:
    return deliver(on_user_created(), cloud_event({"value": user}, **attributes))


def endpoint(function: Any) -> dict[str, Any]:
    stack = manifest.ManifestStack(endpoints={"example": function.__firebase_endpoint__})
    return manifest.manifest_to_spec_dict(stack)["endpoints"]["example"]


# What is declared


@pytest.mark.parametrize(
    ("decorator", "event_type"),
    [
        (on_user_created, "google.firebase.auth.user.v2.created"),
        (on_user_deleted, "google.firebase.auth.user.v2.deleted"),
    ],
)
def test_the_endpoint_listens_to_the_event_without_filters(decorator, event_type):
    @decorator()
    def example(event: AuthEvent) -> None:
        pass

    declared = endpoint(example)
    assert declared["entryPoint"] == "example"
    assert declared["platform"] == "gcfv2"
    assert declared["eventTrigger"] == {
        "eventType": event_type,
        "eventFilters": {},
        "retry": False,
    }


@pytest.mark.parametrize("decorator", [on_user_created, on_user_deleted])
def test_options_reach_the_endpoint(decorator):
    @decorator(
        retry=True,
        region="asia-south1",
        memory=options.MemoryOption.MB_512,
        secrets=["STREAM_API_SECRET"],
    )
    def example(event: AuthEvent) -> None:
        pass

    declared = endpoint(example)
    assert declared["eventTrigger"]["retry"] is True
    assert declared["region"] == ["asia-south1"]
    assert declared["availableMemoryMb"] == 512
    assert declared["secretEnvironmentVariables"] == [{"key": "STREAM_API_SECRET"}]


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="retries"):
        on_user_created(retries=True)


def test_the_function_keeps_its_name_and_docstring():
    @on_user_created()
    def example(event: AuthEvent) -> None:
        """Does something."""

    assert (example.__name__, example.__doc__) == ("example", "Does something.")


def test_the_events_of_failed_document_functions_are_delivered_again():
    @on_document(on_document_created, "user", Settings("", ""))
    def example(event: DocumentEvent) -> None:
        pass

    assert endpoint(example)["eventTrigger"]["retry"] is True


# What the handler receives


def test_a_creation_delivers_the_new_user():
    assert created(EMULATOR_USER).uid == "ada"


def test_a_deletion_delivers_the_old_user():
    event = deliver(on_user_deleted(), cloud_event({"oldValue": EMULATOR_USER}, "deleted"))

    assert event.uid == "ada"


def test_a_tenant_is_delivered_with_its_users():
    event = created(EMULATOR_USER, tenantid="acme")

    assert (event.uid, event.tenant_id) == ("ada", "acme")


@pytest.mark.parametrize("attributes", [{}, {"tenantid": ""}])
def test_a_user_outside_of_tenants_has_no_tenant_id(attributes):
    assert created(EMULATOR_USER, **attributes).tenant_id is None


def test_the_init_callback_runs_before_the_handler(monkeypatch):
    calls = []
    monkeypatch.setattr(core, "_did_init", False)
    monkeypatch.setattr(core, "_init_callback", lambda: calls.append("init"))

    @on_user_created()
    def example(event: AuthEvent) -> None:
        calls.append("handler")

    example(cloud_event({"value": EMULATOR_USER}))
    assert calls == ["init", "handler"]


# Malformed events


@pytest.mark.parametrize(
    "data",
    [
        None,
        "ada@example.com",
        [EMULATOR_USER],
        {},
        {"oldValue": EMULATOR_USER},
        {"value": "ada@example.com"},
        {"value": {"email": "ada@example.com"}},
        {"value": {"uid": ""}},
        {"value": {"uid": 7}},
        {"value": {"uid": ["ada@example.com"]}},
    ],
)
def test_an_event_without_uid_is_refused_naming_the_field_and_no_value(data):
    with pytest.raises(ValueError, match=r"^event\.data\.value\.uid is ") as error:
        deliver(on_user_created(), cloud_event(data))

    assert "ada@example.com" not in str(error.value)


@pytest.mark.parametrize("malformed", [7, "x", True, [], ["x"], {}, {"x": 7}, 1e400])
@pytest.mark.parametrize("field", [name for name in EMULATOR_USER if name != "uid"])
def test_a_malformed_field_keeps_nobody_from_being_handled(field, malformed):
    assert created({**EMULATOR_USER, field: malformed}).uid == "ada"


def test_a_tenant_that_cannot_be_read_is_not_taken_for_none():
    event = cloud_event({"value": EMULATOR_USER})
    event._attributes["tenantid"] = ["acme"]

    with pytest.raises(ValueError, match=r"^event\.tenantid is "):
        deliver(on_user_created(), event)


# Deliveries on the wire

FUNCTIONS = """
from chatsync.entry.auth_events import AuthEvent, on_user_created, on_user_deleted

@on_user_created()
def created(event: AuthEvent) -> None:
    print(f"created {event.uid} {event.tenant_id}")

@on_user_deleted()
def deleted(event: AuthEvent) -> None:
    print(f"deleted {event.uid} {event.tenant_id}")

@on_user_created()
def failing(event: AuthEvent) -> None:
    raise RuntimeError("Firestore is away")
"""


@pytest.fixture
def client(tmp_path: Path) -> Callable[[str], FlaskClient]:
    source = tmp_path / "main.py"
    source.write_text(FUNCTIONS)

    def start(target: str) -> FlaskClient:
        app = create_app(target, str(source), signature_type="cloudevent")
        return app.test_client()

    return start


@pytest.mark.parametrize("mode", [to_binary, to_structured])
@pytest.mark.parametrize(("action", "field"), [("created", "value"), ("deleted", "oldValue")])
def test_a_delivery_reaches_the_handler(client, capsys, mode, action, field):
    headers, body = mode(cloud_event({field: EMULATOR_USER}, action, tenantid="acme"))

    response = client(action).post("/", headers=headers, data=body)

    assert response.status_code == 200
    assert f"{action} ada acme" in capsys.readouterr().out


def test_a_delivery_of_the_auth_emulator_reaches_the_handler(client, capsys):
    body = {
        "specversion": "1.0",
        "id": "event-1",
        "time": "2026-11-20T10:00:02.000Z",
        "type": "google.firebase.auth.user.v2.created",
        "source": "//identitytoolkit.googleapis.com/projects/demo-chatsync",
        "subject": "users/ada",
        "data": {"value": EMULATOR_USER},
    }

    response = client("created").post(
        "/",
        headers={"Content-Type": "application/cloudevents+json; charset=UTF-8"},
        data=json.dumps(body),
    )

    assert response.status_code == 200
    assert "created ada None" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "data"),
    [("failing", {"value": EMULATOR_USER}), ("created", {"value": {"email": "ada@example.com"}})],
    ids=["handler raises", "malformed event"],
)
def test_a_failed_delivery_answers_500_so_that_the_platform_delivers_again(client, target, data):
    headers, body = to_structured(cloud_event(data))

    response = client(target).post("/", headers=headers, data=body)

    assert response.status_code == 500


def test_a_refused_delivery_is_logged_without_its_values(client, capfd, caplog):
    headers, body = to_structured(cloud_event({"value": {"email": "ada@example.com"}}))

    client("created").post("/", headers=headers, data=body)

    captured = capfd.readouterr()
    logged = captured.out + captured.err + caplog.text
    assert "event.data.value.uid is missing" in logged
    assert "ada@example.com" not in logged


def test_a_delivery_with_a_malformed_field_is_not_asked_for_again(client, capsys):
    user = {**EMULATOR_USER, "metadata": {"createTime": "yesterday"}}
    headers, body = to_structured(cloud_event({"value": user}))

    assert client("created").post("/", headers=headers, data=body).status_code == 200
    assert "created ada None" in capsys.readouterr().out
