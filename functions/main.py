"""The deployed functions: what each one listens to, and the one function of the package it calls.

A function's name here is its deployed name, and a contract with the apps that call it.
"""

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

from firebase_functions import logger
from firebase_functions.firestore_fn import Event, on_document_created
from firebase_functions.https_fn import CallableRequest, FunctionsErrorCode, HttpsError, on_call
from firebase_functions.options import set_global_options

from chatsync import clients, firebase, ids, settings, sync
from chatsync.auth_events import AuthEvent, on_user_created, retried
from chatsync.errors import (
    ChatsyncError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    StreamRateLimited,
    Temporary,
    Unauthenticated,
)

# The SDK verifies a caller's ID token with the default app before any function here runs.
clients.firebase_app()

set_global_options(
    region=settings.region(),
    memory=512,
    # Without these two the SDK asks for a sixth of a CPU and one request at a time. Four is what
    # functions-framework serves at once on one CPU.
    cpu=1,
    concurrency=4,
    timeout_sec=60,
    secrets=[settings.STREAM_API_SECRET.name],
)


def answers_by_code(function: Callable[[CallableRequest[Any]], Any]) -> Any:
    """Answer our own errors by their documented callable code; anything else is a bug of ours."""

    @wraps(function)
    def answered(request: CallableRequest[Any]) -> Any:
        try:
            return function(request)
        except ChatsyncError as error:
            raise https_error(error) from error
        except Exception:
            # The SDK answers "internal" too, but leaves no traceback in the log.
            logger.error(traceback.format_exc())
            raise

    return answered


def https_error(error: ChatsyncError) -> HttpsError:
    """The documented callable error; what is the operator's business is logged and withheld."""
    match error:
        case Unauthenticated():
            return HttpsError(FunctionsErrorCode.UNAUTHENTICATED, str(error))
        case InvalidArgument():
            details: dict[str, Any] = {"field": error.field}
            return HttpsError(FunctionsErrorCode.INVALID_ARGUMENT, str(error), details)
        case NotFound():
            return HttpsError(FunctionsErrorCode.NOT_FOUND, str(error), {"userIds": error.ids})
        case FailedPrecondition():
            details = {"userIds": error.ids, "reason": error.reason}
            return HttpsError(FunctionsErrorCode.FAILED_PRECONDITION, str(error), details)
    logger.error(f"{type(error).__name__}: {error}")
    match error:
        case StreamRateLimited():
            details = {"retryAfterSeconds": error.retry_after, "repairQueued": False}
            return HttpsError(
                FunctionsErrorCode.RESOURCE_EXHAUSTED,
                "Stream Chat takes no more calls now",
                details,
            )
        case Temporary():
            return HttpsError(
                FunctionsErrorCode.UNAVAILABLE,
                "Stream Chat cannot be reached now",
                {"repairQueued": False},
            )
    return HttpsError(FunctionsErrorCode.INTERNAL, "INTERNAL")


def fields_of(request: CallableRequest[Any]) -> dict[str, Any]:
    """What a signed-in caller sent."""
    if request.auth is None or not request.auth.uid:
        raise Unauthenticated("sign in first")
    if not isinstance(request.data, dict):
        raise InvalidArgument("data", "must be an object")
    return request.data


def connection() -> tuple[clients.Clients, settings.Settings]:
    config = settings.load()
    return clients.connect(config), config


@on_user_created(retry=True)
def createStreamUser(event: AuthEvent) -> None:
    """Somebody signed up: give them their documents and their Stream user."""
    if event.tenant_id:
        logger.warn("Skipped an account of an Identity Platform tenant", user=event.data.uid)
        return
    sync.reconcile_after_event(event.data.uid, *connection())


@retried
@on_document_created(document="users/{uid}")
def createUserProfile(event: Event[Any]) -> None:
    """A user document appeared, whoever wrote it: give it a profile and stats."""
    uid = event.params["uid"]
    created = firebase.create_profile(uid, connection()[0].firestore)
    logger.info(f"Created profile documents of user {uid}: {len(created)}", user=uid)


@on_call()
@answers_by_code
def ensureStreamUser(request: CallableRequest[Any]) -> dict[str, Any]:
    """``{userId}``: whoever opens a chat with this person calls it first, or when that failed."""
    user_id = fields_of(request).get("userId")
    sides, config = connection()
    key = ids.check_key(user_id, "userId", "user", config.id_format)
    [outcome] = sync.reconcile_users([key], sides, config)
    if outcome.error:
        raise outcome.error
    return {
        "userId": key.id,
        "streamUserId": outcome.stream_user_id,
        "status": outcome.status,
    }
