"""The deployed functions: each has a trigger, and calls one function of the package.

A function's name here is its deployed name, and a contract with the apps that call it.
"""

import os
from typing import Any

from firebase_functions import logger
from firebase_functions.firestore_fn import (
    on_document_created,
    on_document_updated,
    on_document_written,
)
from firebase_functions.https_fn import CallableRequest, on_request
from firebase_functions.options import RateLimits, RetryConfig, set_global_options
from firebase_functions.scheduler_fn import ScheduledEvent, on_schedule
from flask import Request, Response

from chatsync import audit, config, daily, ids, outbox, settings
from chatsync.budgets import Budgets
from chatsync.clients import Clients, connect, firebase_app
from chatsync.clients.pacing import LEFT_BY_BACKGROUND, LEFT_BY_CALLABLES, LEFT_BY_EVENTS
from chatsync.conversations.create import create_conversation
from chatsync.entry import events, records, set_up, tenants, tokens, webhooks
from chatsync.entry.auth_events import AuthEvent, on_user_created, on_user_deleted
from chatsync.entry.callables import (
    callable_function,
    caller_of,
    fields_of,
    https_error,
    id_of,
    is_anonymous,
    signed_in_at,
    task_function,
    time_of,
    without_secret,
)
from chatsync.entry.document_events import DocumentEvent, on_document
from chatsync.entry.failures import unexpected_errors_logged
from chatsync.outbox import drain
from chatsync.outcome import NotRepaired, Outcome

# The SDK verifies a caller's ID token with the default app before any function here runs.
firebase_app()

config.refuse_other_package(__file__)

SETTINGS = settings.declared()

BUDGETS = Budgets()
"""Of this instance's callers."""

CONCURRENCY = 16
"""Requests that an instance takes at once. They wait for Stream and Firebase nearly all the time:
sixteen use up Python's one CPU, thirty-two are no faster, and a thread costs half a megabyte
(`make bench`). More at once means fewer cold starts."""

# functions-framework reads it after this module. Its default is four at once on one CPU: the others
# would wait inside an instance that the platform believes free.
os.environ.setdefault("THREADS", str(CONCURRENCY))

set_global_options(
    region=str(settings.REGION),  # an expression, which the CLI resolves
    # 100 MB after the first answer, 130 with all threads busy or a thousand members. The rest is a
    # reserve, and costs little beside the CPU.
    memory=512,
    # Without these two the SDK asks for a sixth of a CPU and one request at a time. A cold start is
    # half a second of CPU time, which less than one CPU would stretch.
    cpu=1,
    concurrency=CONCURRENCY,
    # Of each function: 320 requests at once use up 20 seconds of Stream's QueryUsers limit, 1,000 a
    # minute for an app. Stream would refuse the calls of more instances.
    max_instances=20,
    # A repair ends after 25 seconds, createConversation after 30; the outbox may take ten more.
    timeout_sec=60,
    # But of those that are declared `without_secret`.
    secrets=[settings.STREAM_API_SECRET.name],
)


def spend(request: CallableRequest[Any], **asked: int) -> Clients:
    """The clients, if the caller's budgets have room for so much. Raises BudgetUsedUp.

    ``asked`` is by key of ``[limits]``. Call it before anything that costs.
    """
    clients = connect()
    BUDGETS.spend(caller_of(request), is_anonymous(request), asked, clients)
    return clients


def connect_for_events() -> Clients:
    """Clients for events, for which nobody waits: they leave room in Stream's limits to callers."""
    return connect().leaving(LEFT_BY_EVENTS)


def is_of_tenant(event: AuthEvent) -> bool:
    if event.tenant_id:
        logger.warn("Skipped an account of an Identity Platform tenant", user=event.uid)
    return bool(event.tenant_id)


@on_user_created(retry=True)
@unexpected_errors_logged()
def createStreamUser(event: AuthEvent) -> None:
    """A user signed up: create their documents and their Stream user."""
    if not is_of_tenant(event):
        events.reconcile_after_sign_up(event.uid, connect_for_events())


@on_user_deleted(retry=True)
@unexpected_errors_logged()
def deleteStreamUser(event: AuthEvent) -> None:
    """An account was deleted: remove its Stream user by policy, and its documents."""
    if not is_of_tenant(event):
        events.remove_after_event(event.uid, connect_for_events())


@on_document(on_document_created, "user", SETTINGS)
@unexpected_errors_logged()
def createUserProfile(event: DocumentEvent) -> None:
    """A user document was created, whoever wrote it: create its profile and stats."""
    events.reconcile_after_creation(event.id, connect_for_events())


@on_document(on_document_updated, "user", SETTINGS)
@unexpected_errors_logged()
def syncUserProfile(event: DocumentEvent) -> None:
    """A user document changed: copy what concerns them to profile and Stream."""
    events.reconcile_after_change(event.id, event.before, event.after, connect_for_events())


@on_document(on_document_written, "profile", SETTINGS)
@unexpected_errors_logged()
def syncProfileToStream(event: DocumentEvent) -> None:
    """A profile changed: copy its owner's edit to Stream."""
    events.reconcile_after_change(event.id, event.before, event.after, connect_for_events())


@on_document(on_document_written, "company", SETTINGS)
@unexpected_errors_logged()
def syncCompanyToStream(event: DocumentEvent) -> None:
    """A company was created or changed: copy it to Stream."""
    events.reconcile_company(event.id, event.before, event.after, connect_for_events())


@callable_function
def ensureStreamUser(request: CallableRequest[Any]) -> dict[str, Any]:
    """``{userId}``, ``{companyId}`` or ``{userIds}``: repair who the caller wants to chat with."""
    fields = fields_of(request)
    id_format = connect().settings.id_format
    is_list = fields.get("userIds") is not None
    if is_list:
        keys = ids.check_members(fields, "userIds", id_format)
    elif "companyId" in fields:
        keys = [ids.check_key(fields["companyId"], "companyId", "company", id_format)]
    else:
        keys = [ids.check_key(fields.get("userId"), "userId", "user", id_format)]
    clients = spend(request, ensure_calls_per_minute=1, ensure_per_minute=len(keys))
    outcomes = outbox.reconcile(keys, clients.leaving(LEFT_BY_CALLABLES))
    if is_list:
        return {"results": [result_of(*one) for one in zip(keys, outcomes, strict=True)]}
    [outcome] = outcomes
    if outcome.error:
        raise NotRepaired(outcome)
    return result_of(keys[0], outcome)


def result_of(asked: ids.Key, outcome: Outcome) -> dict[str, Any]:
    """An item of the answer, which names the user as the caller did."""
    name = "companyId" if asked.kind == "company" else "userId"
    result = {name: asked.id, "streamUserId": outcome.stream_id}
    if not outcome.error:
        return {**result, "status": outcome.status}
    error = https_error(outcome.error, outcome.is_queued)
    return {
        **result,
        "status": "failed",
        "error": {"code": error.code, "message": error.message, "details": error.details},
    }


@without_secret
@callable_function
def ensureUserProfile(request: CallableRequest[Any]) -> dict[str, Any]:
    """``{}``: the caller's own profile, created if missing."""
    return records.ensure_profile(caller_of(request), connect(with_secret=False))


@without_secret
@callable_function
def getUserStats(request: CallableRequest[Any]) -> dict[str, Any]:
    """``{userId?}``: a user's statistics; the caller's own without ``userId``."""
    caller = caller_of(request)
    user_id = fields_of(request).get("userId")
    clients = connect(with_secret=False)
    key = ids.check_key(
        caller if user_id is None else user_id, "userId", "user", clients.settings.id_format
    )
    tenants.refuse_strangers(key.id, caller, clients)
    return records.read_stats(key.id, caller, clients)


@callable_function
def getStreamUserToken(request: CallableRequest[Any]) -> dict[str, Any]:
    """``{}``: repair the caller, then a token for their chat client."""
    clients = spend(request, token_per_minute=1)
    return tokens.issue_token(caller_of(request), clients, signed_in_at(request))


@callable_function
def revokeStreamUserTokens(request: CallableRequest[Any]) -> dict[str, Any]:
    """``{}``: make the caller's earlier tokens fail, as after the loss of a phone."""
    clients = spend(request, revoke_per_minute=1).leaving(LEFT_BY_CALLABLES)
    return tokens.revoke_tokens(caller_of(request), clients)


@callable_function
def createConversation(request: CallableRequest[Any]) -> dict[str, Any]:
    """``{participantIds, conversationType?, name?, team?, idempotencyKey?}``: a chat that opens."""
    caller, fields = caller_of(request), fields_of(request)
    clients = spend(request, conversations_per_minute=1).leaving(LEFT_BY_CALLABLES)
    return create_conversation(
        caller,
        fields,
        clients,
        is_anonymous=is_anonymous(request),
        signed_in_at=signed_in_at(request),
    )


@on_request()
def streamWebhook(request: Request) -> Response:
    """An event of Stream: bring Firestore into agreement with it."""
    return webhooks.answer(request, connect_for_events)


@task_function(
    # The queue repeats a wake that comes too early until its time, at most a minute ahead.
    retry_config=RetryConfig(max_attempts=100, min_backoff_seconds=1, max_backoff_seconds=10),
    rate_limits=RateLimits(max_concurrent_dispatches=1),
    timeout_sec=120,
)
def drainRepairs(request: CallableRequest[Any]) -> None:
    """Work off the outbox: try again what could not be repaired before."""
    not_before = time_of(fields_of(request), "notBefore")
    drain.drain(not_before, connect().leaving(LEFT_BY_BACKGROUND))


@on_schedule(schedule="every 5 minutes")
@unexpected_errors_logged()
def wakeRepairs(event: ScheduledEvent) -> None:
    """Wake the drain if an entry is due, in case a wake was lost, and note how the day goes."""
    clients = connect().leaving(LEFT_BY_BACKGROUND)
    drain.wake_if_due(clients)
    daily.note(clients)


@on_schedule(schedule="every day 02:00")
@unexpected_errors_logged()
def auditSync(event: ScheduledEvent) -> None:
    """Begin the nightly audit, which creates and patches, and never deletes, moves or closes."""
    audit.begin_nightly(connect())


@task_function(
    retry_config=RetryConfig(max_attempts=100, min_backoff_seconds=1, max_backoff_seconds=60),
    rate_limits=RateLimits(max_concurrent_dispatches=2),
    timeout_sec=120,
)
def runSweep(request: CallableRequest[Any]) -> None:
    """Run some pages of an audit, and arrange the next call."""
    audit_id = id_of(fields_of(request), "auditId")
    audit.run(audit_id, connect().leaving(LEFT_BY_BACKGROUND))


@task_function(
    # For an hour and a half: a role may have to be granted first, which `doctor` prints.
    retry_config=RetryConfig(max_attempts=100, min_backoff_seconds=5, max_backoff_seconds=60),
    rate_limits=RateLimits(max_concurrent_dispatches=1),
    timeout_sec=120,
)
def setUp(request: CallableRequest[Any]) -> None:
    """Complete a deployment. The Firebase CLI calls it after each, as functions.yaml says."""
    set_up.set_up(connect(), with_backfill=settings.backfill_on_install())
