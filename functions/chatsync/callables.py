"""Firebase's callable protocol, strictly: whatever a client sends gets a documented answer."""

import base64
import json
import re
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from firebase_functions import logger
from firebase_functions.https_fn import CallableRequest, FunctionsErrorCode, HttpsError, on_call
from firebase_functions.tasks_fn import on_task_dispatched
from flask import Request, Response, jsonify, make_response

from . import settings
from .errors import (
    AlreadyExists,
    ChatsyncError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StreamRateLimited,
    Temporary,
    Unauthenticated,
)

_TOKEN = re.compile(r"Bearer ([\w-]+)\.([\w-]+)\.[\w-]*", re.ASCII)
"""Header and payload of an ID token. The Auth emulator's have no signature."""

_MAX_DEPTH = 20

Handler = Callable[[CallableRequest[Any]], Any]


def callable_function(function: Handler) -> Callable[[Request], Response]:
    """The SDK's ``on_call`` for a handler that raises this package's errors.

    The SDK answers "internal" to a body that is not what the protocol demands, logs parts of it and
    of malformed tokens, and answers "internal" to an exception without a traceback in the log.
    """

    @wraps(function)
    def answer(request: CallableRequest[Any]) -> Any:
        try:
            return function(request)
        except ChatsyncError as error:
            raise https_error(error) from error
        except Exception:
            logger.error(traceback.format_exc())
            raise

    # Not a global option: on_call keeps a copy of these from before they were set.
    declared = on_call(enforce_app_check=settings.enforce_app_check())(answer)
    serve = cast(Callable[[Request], Response], declared)

    @wraps(serve)
    def serve_well_formed(request: Request) -> Response:
        problem = _problem_of(request) if request.method == "POST" else None
        if problem is None:
            return serve(request)
        refusal = https_error(problem)
        status = refusal._http_error_code.status
        # From any origin, as the SDK answers: else a web page cannot read the refusal.
        return make_response(
            jsonify(error=refusal._as_dict()), status, {"Access-Control-Allow-Origin": "*"}
        )

    return serve_well_formed


def task_function(**options: Any) -> Callable[[Handler], Callable[[Request], Response]]:
    """The SDK's ``on_task_dispatched`` for a handler that raises this package's errors.

    What is temporary is answered "unavailable", so that the queue calls again. What nobody
    foresaw is logged with its traceback, which the SDK leaves out.
    """

    def declare(function: Handler) -> Callable[[Request], Response]:
        @wraps(function)
        def answer(request: CallableRequest[Any]) -> Any:
            try:
                return function(request)
            except Temporary as error:
                logger.info(f"{function.__name__} is to be called again: {error}")
                raise HttpsError(FunctionsErrorCode.UNAVAILABLE, str(error)) from error
            except Exception:
                logger.error(traceback.format_exc())
                raise

        return cast(Callable[[Request], Response], on_task_dispatched(**options)(answer))

    return declare


def caller_of(request: CallableRequest[Any]) -> str:
    """The uid of the caller, who must be signed in."""
    if request.auth is None or not request.auth.uid:
        raise Unauthenticated("sign in first")
    return request.auth.uid


def fields_of(request: CallableRequest[Any]) -> dict[str, Any]:
    """What the caller sent; client SDKs send null for nothing."""
    if request.data is None:
        return {}
    if not isinstance(request.data, dict):
        raise InvalidArgument("data", "must be an object")
    return request.data


def https_error(error: ChatsyncError) -> HttpsError:
    """The documented callable error. What only an operator can mend is logged, and withheld."""
    code, message = FunctionsErrorCode.INTERNAL, "INTERNAL"
    details: dict[str, Any] | None = None
    match error:
        case Unauthenticated():
            code, message = FunctionsErrorCode.UNAUTHENTICATED, str(error)
        case InvalidArgument():
            code, message = FunctionsErrorCode.INVALID_ARGUMENT, str(error)
            details = {"field": error.field}
        case NotFound():
            code, message = FunctionsErrorCode.NOT_FOUND, str(error)
            details = {"userIds": error.ids}
        case PermissionDenied():
            code, message = FunctionsErrorCode.PERMISSION_DENIED, str(error)
            details = {"userIds": error.ids} if error.ids else None
        case AlreadyExists():
            code, message = FunctionsErrorCode.ALREADY_EXISTS, str(error)
        case FailedPrecondition():
            code, message = FunctionsErrorCode.FAILED_PRECONDITION, str(error)
            details = {"userIds": error.ids, "reason": error.reason}
        case StreamRateLimited():
            code, message = FunctionsErrorCode.RESOURCE_EXHAUSTED, "too many calls to Stream Chat"
            details = {
                "retryAfterSeconds": error.retry_after,
                "repairQueued": error.repair_queued,
            }
        case Temporary():
            code, message = FunctionsErrorCode.UNAVAILABLE, "not possible now, try again later"
            details = {"repairQueued": error.repair_queued}
    if isinstance(error, Temporary) or code == FunctionsErrorCode.INTERNAL:
        logger.error(f"{type(error).__name__}: {error}")
    return HttpsError(code, message, details)


def _problem_of(request: Request) -> ChatsyncError | None:
    """What of the request the SDK would stumble over."""
    if not _holds_token_or_nothing(request.headers.get("Authorization", "")):
        return Unauthenticated("the Authorization header holds no ID token")
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.keys() != {"data"}:
        return InvalidArgument("data", "must be the only field of a JSON body")
    if _is_deeper_than(_MAX_DEPTH, body):
        return InvalidArgument("data", f"must not be nested deeper than {_MAX_DEPTH} levels")
    return None


def _holds_token_or_nothing(header: str) -> bool:
    """Whether the SDK can read the token, valid or not: else it logs what it could not read."""
    match = _TOKEN.fullmatch(header)
    if not match:
        return not header
    try:
        for segment in match.groups():
            json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError):
        return False
    return True


def _is_deeper_than(depth: int, value: object) -> bool:
    """Level by level: what we can parse, the SDK may not, being deeper in the stack itself."""
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(value, dict | list) for value in level)
