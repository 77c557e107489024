"""The control surface, outside of Stream's namespace and without authentication.

    GET    /_control/state              counts, switches, limits and faults
    POST   /_control/reset              forget everything but the limits; their windows begin anew
    POST   /_control/faults             {"operation": "UpdateUsers" | "*", "kind": ..., ...}
    DELETE /_control/faults
    POST   /_control/limits             {"UpdateUsers": {"limit": 300, "window_s": 60}}, or null
    DELETE /_control/limits             back to the limits that Stream documents
    GET    /_control/requests?since=N   the calls with a number above N, in order of arrival;
                                        the newest 100,000 are kept
    POST   /_control/switches           {"<name>": <value>}; see state.SWITCHES

The first fault in the list that strikes is the one that happens. Its fields:

    operation   an OperationId of Stream, or "*"
    kind        "status": an error answer; "reset": the connection is dropped;
                "timeout": no answer, until the client gives up; "delay": the answer comes late
    when        "before" the call is looked at, or "after": it is applied and the answer is lost
    times       so many calls, default 1; or
    rate        0 to 1, so many of all calls; "seed" makes the choice repeatable
    status      the HTTP status of kind "status", default 500; "code" is Stream's code in it
    body        kind "status" only: "html", "empty" or "list", as gateways answer, with no envelope
    delay_ms    for kind "delay"
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

from aiohttp import web

from .errors import StreamError
from .faults import GATEWAY_BODIES, KINDS, Fault
from .limits import Limit
from .operations import OPERATION_NAMES, documented_limits
from .payloads import json_object
from .state import SWITCHES, Json, State

MAX_SECONDS = 86_400


class ControlError(Exception):
    """The message names the field and what it may hold."""


def create_app(state: State) -> web.Application:
    app = web.Application(middlewares=[explain_refusals])
    for method, path, handler in (
        ("GET", "/state", get_state),
        ("POST", "/reset", reset),
        ("POST", "/faults", add_fault),
        ("DELETE", "/faults", clear_faults),
        ("POST", "/limits", set_limits),
        ("DELETE", "/limits", restore_limits),
        ("GET", "/requests", get_requests),
        ("POST", "/switches", set_switches),
    ):
        app.router.add_route(method, path, partial(handler, state))
    return app


@web.middleware
async def explain_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.Response]]
) -> web.Response:
    try:
        return await handler(request)
    except ControlError as error:
        return web.json_response({"error": str(error)}, status=400)


async def get_state(state: State, request: web.Request) -> web.Response:
    users = state.users.values()
    return web.json_response(
        {
            "counts": {
                "users": sum("deleted_at" not in user for user in users),
                "deactivated_users": sum("deactivated_at" in user for user in users),
                "deleted_users": sum("deleted_at" in user for user in users),
                "erased_ids": len(state.erased_ids),
                "channels": len(state.channels),
                "tasks": len(state.tasks),
                "requests": len(state.requests),
                "last_request": state.request_count,
            },
            "switches": state.switches,
            "limits": {name: limit.status() for name, limit in state.limits.items()},
            "faults": [
                {"operation": fault.operation, "kind": fault.kind, "times": fault.times}
                for fault in state.faults
                if fault.times != 0
            ],
        }
    )


async def reset(state: State, request: web.Request) -> web.Response:
    state.reset()
    return web.json_response({})


async def add_fault(state: State, request: web.Request) -> web.Response:
    given = await fields(request)
    allowed = {
        "operation": (lambda v: v == "*" or v in OPERATION_NAMES, '"*" or an OperationId'),
        "kind": (lambda v: v in KINDS, f"one of {', '.join(KINDS)}"),
        "when": (lambda v: v in ("before", "after"), "before or after"),
        "status": (lambda v: is_whole(v) and 200 <= v <= 599, "an HTTP status from 200 to 599"),
        "code": (is_whole, "a whole number"),
        "body": (lambda v: v in tuple(GATEWAY_BODIES), f"one of {', '.join(GATEWAY_BODIES)}"),
        "delay_ms": (
            lambda v: is_number(v) and 0 <= v <= 1000 * MAX_SECONDS,
            "a number of milliseconds, at most a day",
        ),
        "times": (lambda v: is_whole(v) and v > 0, "a whole number above 0"),
        "rate": (lambda v: is_number(v) and 0 <= v <= 1, "a number from 0 to 1"),
        "seed": (is_whole, "a whole number"),
    }
    for name, value in given.items():
        if name not in allowed:
            raise ControlError(f"{name}: unknown field; known are {', '.join(allowed)}")
        is_fine, expected = allowed[name]
        if not is_fine(value):
            raise ControlError(f"{name}: must be {expected}")
    for name in ("operation", "kind"):
        if name not in given:
            raise ControlError(f"{name}: is required")
    if "times" in given and "rate" in given:
        raise ControlError("times, rate: give one of them, not both")
    if given["kind"] == "delay" and "delay_ms" not in given:
        raise ControlError("delay_ms: is required for a delay")
    random = Random(given.pop("seed", None))
    if "rate" in given:
        given["times"] = None
    state.faults.append(Fault(random=random, **given))
    return web.json_response({}, status=201)


async def clear_faults(state: State, request: web.Request) -> web.Response:
    state.faults.clear()
    return web.json_response({})


async def set_limits(state: State, request: web.Request) -> web.Response:
    given = await fields(request)
    limits = {name: parsed_limit(name, value) for name, value in given.items()}
    state.limits = {
        name: limit for name, limit in {**state.limits, **limits}.items() if limit is not None
    }
    return web.json_response({})


def parsed_limit(name: str, value: Any) -> Limit | None:
    if name not in OPERATION_NAMES:
        raise ControlError(f"{name}: is not the OperationId of a known operation")
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != {"limit", "window_s"}:
        raise ControlError(f"{name}: must be null or have exactly limit and window_s")
    if not is_whole(value["limit"]) or value["limit"] < 0:
        raise ControlError(f"{name}.limit: must be a whole number of 0 or more")
    if not is_number(value["window_s"]) or not 0 < value["window_s"] <= MAX_SECONDS:
        raise ControlError(f"{name}.window_s: must be a number above 0, at most {MAX_SECONDS}")
    return Limit(**value)


async def restore_limits(state: State, request: web.Request) -> web.Response:
    state.limits = documented_limits()
    return web.json_response({})


async def get_requests(state: State, request: web.Request) -> web.Response:
    since = request.query.get("since", "0")
    if not re.fullmatch("[0-9]{1,18}", since):
        raise ControlError("since: must be a whole number of 0 or more")
    return web.json_response([entry for entry in state.requests if entry["n"] > int(since)])


async def set_switches(state: State, request: web.Request) -> web.Response:
    given = await fields(request)
    for name, value in given.items():
        if name not in SWITCHES:
            raise ControlError(f"{name}: unknown switch; known are {', '.join(SWITCHES)}")
        choices = SWITCHES[name].choices
        # By JSON text, because in Python 1 is one of (True, False).
        if json.dumps(value) not in map(json.dumps, choices):
            raise ControlError(f"{name}: must be one of {json.dumps(choices)}")
    state.switches |= given
    return web.json_response(state.switches)


async def fields(request: web.Request) -> Json:
    try:
        return json_object(await request.read())
    except StreamError:
        raise ControlError("body: must be a JSON object") from None


def is_whole(value: Any) -> bool:
    return type(value) is int


def is_number(value: Any) -> bool:
    return type(value) in (int, float)
