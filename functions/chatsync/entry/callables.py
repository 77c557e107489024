"""Firebase's callable protocol: whatever a client sends, it gets a documented answer."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

from firebase_functions import logger
from firebase_functions.https_fn import (
    AppCheckData,
    AuthData,
    CallableRequest,
    FunctionsErrorCode,
    HttpsError,
    on_call,
)
from firebase_functions.private import util
from firebase_functions.tasks_fn import on_task_dispatched
from flask import Request, Response, jsonify, make_response
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from .. import settings
from ..errors import (
    AlreadyExists,
    BudgetUsedUp,
    ChatsyncError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Paused,
    PermissionDenied,
    StreamCredentialsRejected,
    StreamRateLimited,
    Temporary,
    Unauthenticated,
)
from ..log_events import LogEvent
from ..outcome import NotRepaired
from . import bodies
from .failures import log_unexpected

_TOKEN = re.compile(r"Bearer ([\w-]+)\.([\w-]+)\.[\w-]*", re.ASCII)
"""Header and payload of an ID token. Tokens of the Auth emulator have no signature."""

MAX_BYTES = 256 * 1024
"""Of a body. The largest useful one, a conversation of 1,000 members, has half of that."""

_MAX_DEPTH = 20

_LATEST = 253402300799
"""The last second of the year 9999, in Unix seconds."""

_OUR_ID = re.compile(r"[\w-]{1,100}", re.ASCII)

Handler = Callable[[CallableRequest[Any]], Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def callable_function(function: Handler) -> Callable[[Request], Response]:
    """The SDK's ``on_call`` for signed-in callers only, and for this package's errors.

    Used instead of ``on_call`` itself, which parses a body of any size before it verifies the
    sender, answers "internal" to a malformed body, logs parts of it and of malformed tokens, and
    answers "internal" to an exception without a traceback in the log.
    """
    enforce_app_check = settings.enforce_app_check()
    # Passed here, not as a global option: on_call copies those before they are set.
    declared = on_call(enforce_app_check=enforce_app_check)(function)
    serve_otherwise = cast(Callable[[Request], Response], declared)

    @wraps(serve_otherwise)
    def serve(request: Request) -> Response:
        try:
            if request.method != "POST":
                return serve_otherwise(request)
            answer, status = jsonify(result=function(_call(request, enforce_app_check))), 200
        except Exception as error:  # noqa: BLE001 (a bug is logged, and answered "internal")
            refusal = _refusal(error)
            answer, status = jsonify(error=refusal._as_dict()), refusal._http_error_code.status
        finally:
            bodies.discard(request)
        # From any origin, as the SDK answers: else a web page cannot read it.
        return make_response(answer, status, {"Access-Control-Allow-Origin": "*"})

    return serve


def _refusal(error: Exception) -> HttpsError:
    if isinstance(error, ChatsyncError):
        return https_error(error)
    log_unexpected(error)
    return HttpsError(FunctionsErrorCode.INTERNAL, "INTERNAL")


def task_function(**options: Any) -> Callable[[Handler], Callable[[Request], Response]]:
    """The SDK's ``on_task_dispatched`` for a handler that raises this package's errors.

    The answer to a Temporary error is "unavailable", so that the queue calls again. An unexpected
    error is logged with its traceback, which the SDK leaves out.
    """

    def declare(function: Handler) -> Callable[[Request], Response]:
        @wraps(function)
        def answer(request: CallableRequest[Any]) -> Any:
            try:
                return function(request)
            except InvalidArgument as error:
                logger.warn(f"{function.__name__} was called with a task that is not ours: {error}")
                raise https_error(error) from error
            except Temporary as error:
                logger.info(f"{function.__name__} is to be called again: {error}")
                raise HttpsError(FunctionsErrorCode.UNAVAILABLE, str(error)) from error
            except Exception as error:
                log_unexpected(error)
                raise

        return cast(Callable[[Request], Response], on_task_dispatched(**options)(answer))

    return declare


def without_secret(function: Function) -> Function:
    """Deploy the function without the secret of Stream: it never calls Stream.

    Put it above the decorator that declares the function.
    """
    endpoint = function.__firebase_endpoint__  # type: ignore[attr-defined]
    util.set_func_endpoint_attr(function, replace(endpoint, secretEnvironmentVariables=[]))
    return function


def caller_of(request: CallableRequest[Any]) -> str:
    """The uid of the caller, who must be signed in."""
    if request.auth is None or not request.auth.uid:
        raise Unauthenticated("sign in first")
    return request.auth.uid


def is_anonymous(request: CallableRequest[Any]) -> bool:
    """Whether the caller signed in anonymously, as the verified ID token says."""
    firebase = request.auth.token.get("firebase") if request.auth else None
    return isinstance(firebase, dict) and firebase.get("sign_in_provider") == "anonymous"


def signed_in_at(request: CallableRequest[Any]) -> float:
    """When the caller signed in, in Unix seconds, as the verified ID token says; else long ago."""
    told = request.auth.token.get("auth_time") if request.auth else None
    return told if isinstance(told, int | float) else 0


def fields_of(request: CallableRequest[Any]) -> dict[str, Any]:
    """The data that the caller sent, which must be an object; client SDKs send null for no data."""
    if request.data is None:
        return {}
    if not isinstance(request.data, dict):
        raise InvalidArgument("data", "must be an object")
    return request.data


def time_of(fields: dict[str, Any], name: str) -> float:
    """A time in Unix seconds; 0 if the field is missing. Raises InvalidArgument."""
    value = fields.get(name, 0)
    is_time = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_time or not abs(value) <= _LATEST:  # what is no number (NaN) is not less
        raise InvalidArgument(name, "must be a time in Unix seconds")
    return float(value)


def id_of(fields: dict[str, Any], name: str) -> str:
    """The id of a document that we named. Raises InvalidArgument."""
    value = fields.get(name)
    if not isinstance(value, str) or not _OUR_ID.fullmatch(value):
        raise InvalidArgument(name, "must be an id")
    return value


ANSWERS: tuple[tuple[type[ChatsyncError], FunctionsErrorCode], ...] = (
    (Unauthenticated, FunctionsErrorCode.UNAUTHENTICATED),
    (InvalidArgument, FunctionsErrorCode.INVALID_ARGUMENT),
    (NotFound, FunctionsErrorCode.NOT_FOUND),
    (PermissionDenied, FunctionsErrorCode.PERMISSION_DENIED),
    (AlreadyExists, FunctionsErrorCode.ALREADY_EXISTS),
    (FailedPrecondition, FunctionsErrorCode.FAILED_PRECONDITION),
    (BudgetUsedUp, FunctionsErrorCode.RESOURCE_EXHAUSTED),
    (StreamRateLimited, FunctionsErrorCode.RESOURCE_EXHAUSTED),
    (Temporary, FunctionsErrorCode.UNAVAILABLE),
)
"""The class of an error, and its code. The first class that fits counts; every other error is
"internal"."""

_MESSAGES = {
    FunctionsErrorCode.RESOURCE_EXHAUSTED: "too many calls to Stream Chat",
    FunctionsErrorCode.UNAVAILABLE: "not possible now, try again later",
}
"""Answered in place of the message of what is Temporary, which goes to the log only: it is
Stream's or Firebase's."""


def https_error(error: ChatsyncError, is_queued: bool = False) -> HttpsError:
    """The documented callable error. Messages that are for operators only are logged, not answered.

    ``is_queued`` says whether the outbox holds what could not be done.
    """
    if isinstance(error, NotRepaired) and error.outcome.error:
        return https_error(error.outcome.error, error.outcome.is_queued)
    if isinstance(error, NotFound):
        for one in error.ids:
            logger.info(f"No such account or company was found: {one}", user=one)
    for kind, code in ANSWERS:
        if isinstance(error, kind):
            message = str(error)
            if isinstance(error, Temporary):
                log = logger.warn if isinstance(error, Paused) else logger.error
                log(f"{type(error).__name__}: {error}")
                message = _MESSAGES[code]
            return HttpsError(code, message, _details(error, is_queued))
    is_refusal = isinstance(error, StreamCredentialsRejected)
    event = {"event": LogEvent.CREDENTIALS} if is_refusal else {}
    logger.error(f"{type(error).__name__}: {error}", **event)
    return HttpsError(FunctionsErrorCode.INTERNAL, "INTERNAL")


def _details(error: ChatsyncError, is_queued: bool) -> dict[str, Any] | None:
    match error:
        case InvalidArgument():
            return {"field": error.field}
        case FailedPrecondition():
            return {"userIds": error.ids, "reason": error.reason}
        case NotFound() | PermissionDenied():
            return {"userIds": error.ids} if error.ids else None
        case BudgetUsedUp():
            told = {"reason": "budget", "repairQueued": False}
            return {"retryAfterSeconds": error.retry_after, **told}
        case StreamRateLimited():
            return {"retryAfterSeconds": error.retry_after, "repairQueued": is_queued}
        case Paused():
            return {"reason": "paused", "repairQueued": is_queued}
        case Temporary():
            return {"repairQueued": is_queued}
    return None


def _call(request: Request, enforce_app_check: bool) -> CallableRequest[Any]:
    """The call: its data and its caller.

    Raises Unauthenticated before the body is read, and InvalidArgument if the body is no call.
    """
    header = request.headers.get("Authorization", "")
    if not header:
        raise Unauthenticated("sign in first")
    if not _holds_token(header):
        raise Unauthenticated("the Authorization header holds no ID token")
    tokens = util.on_call_check_tokens(request)
    if tokens.auth != util.OnCallTokenState.VALID or tokens.auth_token is None:
        raise Unauthenticated("the ID token is not valid")
    if enforce_app_check and tokens.app != util.OnCallTokenState.VALID:
        raise Unauthenticated("the App Check token is missing or not valid")
    return CallableRequest(
        data=_data(request),
        raw_request=request,
        app=AppCheckData(tokens.app_token["sub"], tokens.app_token) if tokens.app_token else None,
        auth=AuthData(tokens.auth_token["uid"], tokens.auth_token),
    )


def _data(request: Request) -> Any:
    """The only field of the body. Raises InvalidArgument."""
    if request.mimetype != "application/json":
        raise InvalidArgument("data", "must be sent as application/json")
    try:
        body = json.loads(bodies.read(request, MAX_BYTES))
    except RequestEntityTooLarge:
        raise InvalidArgument("data", f"must not be larger than {MAX_BYTES} bytes") from None
    except (ClientDisconnected, ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.keys() != {"data"}:
        raise InvalidArgument("data", "must be the only field of a JSON body")
    if _is_deeper_than(_MAX_DEPTH, body):
        raise InvalidArgument("data", f"must not be nested deeper than {_MAX_DEPTH} levels")
    return body["data"]


def _holds_token(header: str) -> bool:
    """Whether the SDK can parse the token, valid or not; the SDK logs a token that it can't."""
    match = _TOKEN.fullmatch(header)
    if not match:
        return False
    try:
        for segment in match.groups():
            json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError):
        return False
    return True


def _is_deeper_than(depth: int, value: object) -> bool:
    """Checked level by level: a parsed value may be too deep for a recursion."""
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(value, dict | list) for value in level)
