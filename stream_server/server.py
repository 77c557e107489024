"""The HTTP side: routes, and the one way that every call of Stream's API takes.

answer() keeps the request log and lets faults happen; perform() authenticates, counts against
the rate limit, runs the operation's handler and wraps the outcome as Stream does.
"""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from typing import Any

from aiohttp import web

from . import browsers, control, errors, timestamps, uploads
from .auth import authorize
from .bodies import body_of
from .errors import StreamError, not_found, too_large
from .faults import NoAnswerError
from .limits import Limit
from .moderation import lift_ended_bans
from .multipart import form_fields
from .operations import OPERATIONS, Operation, documented_limits
from .payloads import json_object
from .sockets import connect
from .state import Caller, Json, State

MAX_BODY_BYTES = 10 * 1024 * 1024

STATE = web.AppKey("state", State)
CALLER = web.RequestKey("caller", str)

logger = logging.getLogger(__name__)

# For unknown paths, and for known ones with another method: Stream answers the same to both.
NOWHERE = Operation("Request", "*", "/{path:.*}")


def create_app() -> web.Application:
    state = State(limits=documented_limits())
    app = web.Application(
        client_max_size=0,  # perform() refuses big bodies, as Stream does.
        middlewares=[browsers.answer_preflights],
    )
    app[STATE] = state
    app.on_response_prepare.append(browsers.allow_origin)
    app.router.add_get("/_control", to_inspector)
    app.add_subapp("/_control", control.create_app(state))
    app.router.add_get("/connect", partial(connect, state))
    app.router.add_get(uploads.PATH, partial(uploads.get_file, state))
    for operation in (*OPERATIONS, NOWHERE):
        app.router.add_route(operation.method, operation.path, partial(answer, state, operation))
    app.on_shutdown.append(partial(close, state))
    app.on_cleanup.append(partial(close_data, state))  # when no call is under way any more
    return app


async def to_inspector(request: web.Request) -> web.Response:
    raise web.HTTPFound("/_control/")


async def close(state: State, app: web.Application) -> None:
    await state.connections.close()
    await state.webhooks.close()


async def close_data(state: State, app: web.Application) -> None:
    if state.data:
        state.data.close()


async def answer(state: State, operation: Operation, request: web.Request) -> web.Response:
    started = time.monotonic()
    raw = await request.read()
    entry = log_entry(state, operation, request, raw)
    exchange = state.bodies.keep(entry["n"], request.query_string, raw)
    try:
        response = await through_faults(state, operation, request, raw)
        entry["status"] = response.status
        exchange.answered = body_of(bytes_of(response))
    except NoAnswerError:
        if request.transport:
            request.transport.abort()
        response = web.Response()  # aiohttp wants one, and finds nobody to send it to.
    exchange.caller = request.get(CALLER, "")
    entry["duration_ms"] = round(1000 * (time.monotonic() - started), 2)
    return response


def bytes_of(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


async def through_faults(
    state: State, operation: Operation, request: web.Request, raw: bytes
) -> web.Response:
    fault = next((fault for fault in state.faults if fault.strikes(operation.name)), None)
    if fault is None:
        return perform(state, operation, request, raw)
    resets = state.resets
    response = perform(state, operation, request, raw) if fault.when == "after" else None
    try:
        replacement = await fault.happen(request)
    except StreamError as error:
        limit = state.limits.get(operation.name)
        replacement = respond(limit, error.status, error.envelope(operation.name))
        replacement.headers.update(fault.headers())
    if resets != state.resets:
        # A call of an earlier test must not write into the state of the next one.
        raise NoAnswerError
    if replacement is not None:
        return replacement
    return perform(state, operation, request, raw) if response is None else response


def perform(state: State, operation: Operation, request: web.Request, raw: bytes) -> web.Response:
    started = time.monotonic()
    state.caller = Caller()
    try:
        if operation.handler is None:  # NOWHERE
            raise not_found("Not Found")
        state.caller = authorize(request, state, operation.client_side)
        request[CALLER] = state.caller.user_id or "server"
        lift_ended_bans(state, timestamps.now())
        if operation.is_upload:
            body = form_fields(raw, request.headers.get("Content-Type", ""))
        else:
            body = parsed_body(raw)
        limit = limit_of(state, operation)
        if limit and not limit.spend(state.switches["burst_guard"]):
            detail = "Too many requests, check response headers for more information."
            raise StreamError(429, errors.RATE_LIMITED, detail)
        result = operation.handler(state, {**request.query, **request.match_info}, body)
        if operation.method != "GET":
            state.save()
        status = 201 if operation.method == "POST" else 200
        return respond(limit, status, {**result, "duration": duration(started)})
    except StreamError as error:
        refusal = error
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        refusal = StreamError(500, errors.INTERNAL, "internal server error")
    body = refusal.envelope(operation.name, duration(started))
    return respond(limit_of(state, operation), refusal.status, body)


def limit_of(state: State, operation: Operation) -> Limit | None:
    """Stream counts each platform for itself; here, clients have no limits."""
    return None if state.caller.user_id else state.limits.get(operation.name)


def respond(limit: Limit | None, status: int, body: Json) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json;charset=utf-8",
            # Lower case on the wire: Stream's Python SDK finds them under no other names.
            **(limit.headers() if limit else {}),
        },
    )


def duration(started: float) -> str:
    return f"{1000 * (time.monotonic() - started):.2f}ms"


def parsed_body(raw: bytes) -> Json:
    if len(raw) > MAX_BODY_BYTES:
        raise too_large("request body is too large")
    return json_object(raw) if raw else {}


def log_entry(state: State, operation: Operation, request: web.Request, raw: bytes) -> Json:
    """An entry exists from the call's arrival on; status and duration are null until its end."""
    state.request_count += 1
    entry = {
        "n": state.request_count,
        "operation": operation.name,
        "method": request.method,
        "path": request.path,
        "status": None,
        "at": timestamps.now(),
        "duration_ms": None,
        "ids": named_ids({**request.query, **request.match_info}, raw),
    }
    state.requests.append(entry)
    return entry


def named_ids(params: dict[str, str], raw: bytes) -> list[str]:
    """The users and the channel that a call names, as far as it can be understood."""
    try:
        body = parsed_body(raw)
        payload = parsed_body(params.get("payload", "").encode())
    except StreamError:
        return []
    ids: list[Any] = []
    if "type" in params and "id" in params:
        ids.append(f"{params['type']}:{params['id']}")
    elif isinstance(payload.get("id"), str):
        ids.append(f"{payload.get('type')}:{payload['id']}")
    if "user_id" in params:
        ids.append(params["user_id"])
    data: Any = body.get("data")
    if not isinstance(data, dict):
        data = {}
    conditions = payload.get("filter_conditions", body.get("filter_conditions"))
    asked = None
    if isinstance(conditions, dict):
        asked = conditions.get("id", conditions.get("cid"))
    if isinstance(asked, dict):
        asked = asked.get("$in", asked.get("$eq"))
    for named in (
        body.get("users"),
        body.get("user_ids"),
        body.get("cids"),
        body.get("add_members"),
        body.get("remove_members"),
        data.get("members"),
        [data.get("created_by_id"), data.get("created_by")],
        [body.get("target_user_id"), params.get("target_user_id")],
        [asked] if isinstance(asked, str) else asked,
    ):
        if isinstance(named, list | dict):
            ids += [
                one.get("id") or one.get("user_id") if isinstance(one, dict) else one
                for one in named
            ]
    return list(dict.fromkeys(one for one in ids if isinstance(one, str)))
