"""The deployed functions: what each one listens to, and the one function of the package it calls.

A function's name here is its deployed name, and a contract with the apps that call it.
"""

from typing import Any

from firebase_functions import logger
from firebase_functions.firestore_fn import Event, on_document_created
from firebase_functions.https_fn import CallableRequest
from firebase_functions.options import set_global_options

from chatsync import clients, firebase, ids, settings, sync
from chatsync.auth_events import AuthEvent, on_user_created, retried
from chatsync.callables import callable_function, fields_of, https_error

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


@callable_function
def ensureStreamUser(request: CallableRequest[Any]) -> dict[str, Any]:
    """``{userId}`` or ``{userIds}``: repair the people somebody is about to chat with."""
    fields = fields_of(request)
    sides, config = connection()
    if "userIds" in fields:
        keys = ids.check_keys(fields, "userIds", "user", config.id_format)
        outcomes = sync.reconcile_users(keys, sides, config)
        return {"results": [result_of(outcome) for outcome in outcomes]}
    key = ids.check_key(fields.get("userId"), "userId", "user", config.id_format)
    [outcome] = sync.reconcile_users([key], sides, config)
    if outcome.error:
        raise outcome.error
    return result_of(outcome)


def result_of(outcome: sync.Outcome) -> dict[str, Any]:
    result = {"userId": outcome.key.id, "streamUserId": outcome.stream_user_id}
    if not outcome.error:
        return {**result, "status": outcome.status}
    error = https_error(outcome.error)
    return {
        **result,
        "status": "failed",
        "error": {"code": error.code, "message": error.message, "details": error.details},
    }
