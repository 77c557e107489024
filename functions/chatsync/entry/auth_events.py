"""Cloud functions that are triggered by Firebase Authentication.

The SDK has blocking Auth triggers only (``identity_fn``). These are the events that follow a user's
creation or deletion. The module imports only the SDK and the standard library.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import cloudevents.http as ce
from firebase_functions import core
from firebase_functions.options import EventHandlerOptions
from firebase_functions.private import util

_CREATED = "google.firebase.auth.user.v2.created"
_DELETED = "google.firebase.auth.user.v2.deleted"


@dataclass(frozen=True)
class AuthEvent:
    """An account was created or deleted. Nothing else that the event says of it is read."""

    uid: str
    tenant_id: str | None
    """Of the Identity Platform tenant that the user belongs to, if any."""


_Handler = Callable[[AuthEvent], None]


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


def _event(raw: ce.CloudEvent, record_field: str) -> AuthEvent:
    """Raises ValueError, which names a field and never quotes its value: it may be personal."""
    data, tenant_id = raw.get_data(), raw.get_attributes().get("tenantid")
    record = data.get(record_field) if isinstance(data, dict) else None
    uid = record.get("uid") if isinstance(record, dict) else None
    if not isinstance(uid, str) or not uid:
        raise ValueError(f"event.data.{record_field}.uid is missing, empty or not a str")
    if tenant_id and not isinstance(tenant_id, str):
        raise ValueError("event.tenantid is not a str")
    # Outside of tenants the attribute may be absent or empty: triggers filter on tenantid "".
    return AuthEvent(uid, tenant_id or None)
