"""Cloud functions that are triggered by Firebase Authentication.

The SDK has blocking Auth triggers only (``identity_fn``). These are the events that follow a user's
creation or deletion. The module imports only the SDK and the standard library.
"""

import dataclasses
import datetime
import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import cloudevents.http as ce
from firebase_functions import core
from firebase_functions.identity_fn import AuthUserInfo, AuthUserMetadata, AuthUserRecord
from firebase_functions.options import EventHandlerOptions
from firebase_functions.private import util

_CREATED = "google.firebase.auth.user.v2.created"
_DELETED = "google.firebase.auth.user.v2.deleted"


@dataclasses.dataclass(frozen=True)
class AuthEvent(core.CloudEvent[AuthUserRecord]):
    """An event with a user's record: of a new user, or as it was before its deletion.

    An account imported without a creation time has the event's time as its ``creation_time``.
    """

    tenant_id: str | None
    """Of the Identity Platform tenant that the user belongs to, if any."""


_Handler = Callable[[AuthEvent], None]
_Value = TypeVar("_Value")


@util.copy_func_kwargs(EventHandlerOptions)
def on_user_created(**options: Any) -> Callable[[_Handler], _Handler]:
    """Declare a function that is called after an account was created.

    ``options`` are those of EventHandlerOptions, such as ``retry=True``.
    """
    return _decorator(EventHandlerOptions(**options), _CREATED, "value")


@util.copy_func_kwargs(EventHandlerOptions)
def on_user_deleted(**options: Any) -> Callable[[_Handler], _Handler]:
    """The same, but the function is called after an account was deleted."""
    return _decorator(EventHandlerOptions(**options), _DELETED, "oldValue")


def _decorator(
    options: EventHandlerOptions, event_type: str, record_field: str
) -> Callable[[_Handler], _Handler]:
    def decorator(func: _Handler) -> _Handler:
        @functools.wraps(func)
        def wrapped(raw: ce.CloudEvent) -> None:
            core._with_init(func)(_event(raw, record_field))

        util.set_func_endpoint_attr(
            wrapped,
            options._endpoint(event_type=event_type, event_filters={}, func_name=func.__name__),
        )
        return cast(_Handler, wrapped)

    return decorator


@dataclasses.dataclass(frozen=True)
class _Fields:
    """The fields of a JSON object.

    A malformed field counts as left out, unless it is required: an event that fails is delivered
    again for a day, and would fail each time. Errors name a field and never quote its value: it may
    be personal.
    """

    path: str
    values: dict[str, Any]

    def get(self, name: str, kind: type[_Value]) -> _Value | None:
        value: object = self.values.get(name)
        return value if isinstance(value, kind) else None

    def required(self, name: str, kind: type[_Value]) -> _Value:
        value = self.get(name, kind)
        if not value:
            raise ValueError(f"{self.path}.{name} is missing, empty or not a {kind.__name__}")
        return value

    def nested(self, name: str) -> "_Fields":
        return _Fields(f"{self.path}.{name}", self.get(name, dict) or {})

    def nested_list(self, name: str) -> "list[_Fields]":
        items = self.get(name, list) or []
        return [_Fields(f"{self.path}.{name}", item) for item in items if isinstance(item, dict)]

    def time(self, name: str) -> datetime.datetime | None:
        try:
            return util.timestamp_conversion(self.get(name, str) or "")
        except ValueError:
            return None

    def photo_url(self) -> str | None:
        # The emulator writes photoURL; the Node SDK expects photoUrl too.
        return self.get("photoURL", str) or self.get("photoUrl", str)


def _event(raw: ce.CloudEvent, record_field: str) -> AuthEvent:
    event = _Fields("event", {**raw.get_attributes(), "data": raw.get_data()})
    time = event.time("time")
    if time is None:
        raise ValueError("event.time is not a timestamp")
    # Outside of tenants the attribute may be absent or empty: triggers filter on tenantid "".
    tenant_id = event.required("tenantid", str) if event.values.get("tenantid") else None
    return AuthEvent(
        specversion=event.required("specversion", str),
        id=event.required("id", str),
        source=event.required("source", str),
        type=event.required("type", str),
        time=time,
        data=_user_record(event.nested("data").nested(record_field), time, tenant_id),
        subject=event.get("subject", str),
        tenant_id=tenant_id,
    )


def _user_record(
    user: _Fields, event_time: datetime.datetime, tenant_id: str | None
) -> AuthUserRecord:
    # The events are Protobuf messages in JSON: a field that is false or empty is left out.
    metadata = user.nested("metadata")
    return AuthUserRecord(
        uid=user.required("uid", str),
        email=user.get("email", str),
        email_verified=user.get("emailVerified", bool) or False,
        display_name=user.get("displayName", str),
        photo_url=user.photo_url(),
        phone_number=user.get("phoneNumber", str),
        disabled=user.get("disabled", bool) or False,
        metadata=AuthUserMetadata(
            creation_time=metadata.time("createTime") or event_time,
            last_sign_in_time=metadata.time("lastSignInTime"),
        ),
        provider_data=[
            AuthUserInfo(
                uid=provider.get("uid", str) or "",
                provider_id=provider.get("providerId", str) or "",
                display_name=provider.get("displayName", str),
                email=provider.get("email", str),
                photo_url=provider.photo_url(),
            )
            for provider in user.nested_list("providerData")
        ],
        custom_claims=user.get("customClaims", dict),
        tenant_id=tenant_id,
        # These are not part of the event.
        password_hash=None,
        password_salt=None,
        tokens_valid_after_time=None,
        multi_factor=None,
    )
