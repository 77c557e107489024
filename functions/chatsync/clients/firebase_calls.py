"""Calls to Firestore and Auth: how long they may take, and which failures may pass."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from firebase_admin import exceptions as auth_exceptions
from google.api_core.exceptions import (
    Aborted,
    Cancelled,
    RetryError,
    ServerError,
    ServiceUnavailable,
    TooManyRequests,
)
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import TransportError

from ..errors import FirebaseUnavailable

_FIRESTORE_FAILURES = (Aborted, Cancelled, RetryError, ServerError, TooManyRequests)

_AUTH_FAILURES = (
    TransportError,
    auth_exceptions.DeadlineExceededError,
    auth_exceptions.InternalError,
    auth_exceptions.ResourceExhaustedError,
    auth_exceptions.UnavailableError,
    auth_exceptions.UnknownError,
)

_RETRIED = if_exception_type(Aborted, ServiceUnavailable, TooManyRequests)


@contextmanager
def temporary_failures_named() -> Iterator[None]:
    """Raise FirebaseUnavailable for errors after which the same call may succeed later."""
    try:
        yield
    except (*_FIRESTORE_FAILURES, *_AUTH_FAILURES) as error:
        raise FirebaseUnavailable(f"{type(error).__name__}: {error}") from error


def until(deadline: float) -> dict[str, Any]:
    """Options of a Firestore call; by default the client retries for five minutes."""
    seconds = seconds_until(deadline)
    return {"timeout": seconds, "retry": Retry(_RETRIED, initial=0.1, maximum=1, timeout=seconds)}


def seconds_until(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())
