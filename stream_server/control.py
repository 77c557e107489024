"""The control surface, outside of Stream's namespace and without authentication.

    GET    /_control/state              counts, calls by operation and status as far as the log of
                                        requests goes back, switches, limits and faults
    POST   /_control/reset              forget everything but the limits and where webhooks go;
                                        windows begin anew, options of webhooks are gone, clients
                                        are disconnected
    POST   /_control/faults             {"operation": "UpdateUsers" | "*", "kind": ..., ...}
    DELETE /_control/faults
    POST   /_control/limits             {"UpdateUsers": {"limit": 300, "window_s": 60}}; null as the
                                        value removes the limit and its headers
    DELETE /_control/limits             back to the limits that Stream documents
    GET    /_control/requests?since=N   the calls with a number above N, in order of arrival;
                                        the newest 100,000 are kept
    POST   /_control/switches           {"<name>": <value>}; see state.SWITCHES
    POST   /_control/webhook            {"url": "http://...", "events": ["member.added"], ...} sets
                                        the app's webhook_url and webhook_events: without events,
                                        or with none in the list, all; {"url": null} removes these
                                        and the event_hooks
    GET    /_control/deliveries?since=N the attempts at deliveries with a number above N, oldest
                                        first; with body=true also what was sent: [{"n", "type",
                                        "webhook_id", "attempt", "status", "at", "url", "body"}];
                                        a status is a number, "timeout", "unreachable", or null
                                        while the attempt lasts
    POST   /_control/deliveries/N/again deliver what attempt N delivered once more, with the same
                                        webhook_id, as its next attempt

The options of a webhook, back at their defaults with every POST:

    duplicates          how many times each event comes again, default 0
    new_id_on_duplicate whether each of these has a webhook_id of its own, default false
    shuffle_ms          each delivery waits at random for up to so long, default 0; "seed" makes
                        the choice repeatable
    timeout_ms          how long an attempt may take, default 6000
    total_ms            when a delivery is given up, default 15000
    pause_ms            between the attempts of a delivery, default 100

The first fault in the list that strikes is the one that happens. Its fields:

    operation   an OperationId of Stream, or "*"
    kind        "status": an error answer; "reset": the connection is dropped;
                "timeout": no answer, until the client gives up; "delay": the answer comes late
    when        "before" the call is looked at, or "after": it is applied and the answer is lost
    times       so many calls, default 1; or
    rate        0 to 1, so many of all calls; "seed" makes the choice repeatable
    status      the HTTP status of kind "status", default 500; "code" is Stream's code in it
    body        kind "status" only: "html", "empty" or "list", as gateways answer, with no envelope
    retry_after kind "status" only: so many seconds in a Retry-After header
    delay_ms    for kind "delay"
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from functools import partial
from random import Random
from typing import Any

from aiohttp import web

from .errors import StreamError
from .faults import GATEWAY_BODIES, KINDS, Fault
from .limits import Limit
from .operations import OPERATION_NAMES, documented_limits
from .payloads import json_object
from .state import SWITCHES, WEBHOOK_SETTINGS, Json, State
from .webhooks import Options

MAX_SECONDS = 86_400

Expectation = tuple[Callable[[Any], bool], str]
"""A check of a field's value, and what it expects in words."""

MILLISECONDS: Expectation = (
    lambda v: is_number(v) and 0 <= v <= 1000 * MAX_SECONDS,
    "a number of milliseconds, at most a day",
)


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
        ("POST", "/webhook", set_webhook),
        ("GET", "/deliveries", get_deliveries),
        ("POST", "/deliveries/{n}/again", deliver_again),
    ):
        app.router.add_route(method, path, partial(handler, state))
    return app


@web.middleware
async def explain_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
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
                "connections": len(state.connections),
                "last_delivery": state.webhooks.count,
            },
            "calls": calls_by_status(state.requests),
            "webhook": {
                "url": state.app.get("webhook_url"),
                "events": state.app.get("webhook_events", []),
                **asdict(state.webhooks.options),
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


def calls_by_status(requests: Iterable[Json]) -> dict[str, dict[str, int]]:
    """By operation, how many were answered with which status; "none" without an answer."""
    calls: dict[str, dict[str, int]] = {}
    for entry in requests:
        statuses = calls.setdefault(entry["operation"], {})
        status = str(entry["status"] or "none")
        statuses[status] = statuses.get(status, 0) + 1
    return calls


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
        "delay_ms": MILLISECONDS,
        "times": (lambda v: is_whole(v) and v > 0, "a whole number above 0"),
        "rate": (lambda v: is_number(v) and 0 <= v <= 1, "a number from 0 to 1"),
        "seed": (is_whole, "a whole number"),
        "retry_after": (
            lambda v: is_whole(v) and 0 <= v <= MAX_SECONDS,
            "a whole number of seconds, at most a day",
        ),
    }
    refuse_unexpected(given, allowed)
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


def refuse_unexpected(given: Json, allowed: dict[str, Expectation]) -> None:
    for name, value in given.items():
        if name not in allowed:
            raise ControlError(f"{name}: unknown field; known are {', '.join(allowed)}")
        is_fine, expected = allowed[name]
        if not is_fine(value):
            raise ControlError(f"{name}: must be {expected}")


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
    since = since_number(request)
    return web.json_response([entry for entry in state.requests if entry["n"] > since])


def since_number(request: web.Request) -> int:
    since = request.query.get("since", "0")
    if not re.fullmatch("[0-9]{1,18}", since):
        raise ControlError("since: must be a whole number of 0 or more")
    return int(since)


async def set_switches(state: State, request: web.Request) -> web.Response:
    given = await fields(request)
    for name, value in given.items():
        if name not in SWITCHES:
            raise ControlError(f"{name}: unknown switch; known are {', '.join(SWITCHES)}")
        if not SWITCHES[name].accepts(value):
            raise ControlError(f"{name}: must be {SWITCHES[name].expected()}")
    state.switches |= given
    return web.json_response(state.switches)


async def set_webhook(state: State, request: web.Request) -> web.Response:
    given = await fields(request)
    allowed = {
        "url": (lambda v: v is None or is_http_url(v), "an http URL, or null"),
        "events": (
            lambda v: isinstance(v, list) and all(isinstance(one, str) for one in v),
            "an array of event types",
        ),
        "duplicates": (lambda v: is_whole(v) and 0 <= v <= 100, "a whole number from 0 to 100"),
        "new_id_on_duplicate": (lambda v: isinstance(v, bool), "true or false"),
        "seed": (is_whole, "a whole number"),
        **dict.fromkeys(("shuffle_ms", "timeout_ms", "total_ms", "pause_ms"), MILLISECONDS),
    }
    refuse_unexpected(given, allowed)
    if "url" not in given:
        raise ControlError("url: is required")
    url, events = given.pop("url"), given.pop("events", [])
    if url is None:
        for name in WEBHOOK_SETTINGS:
            state.app.pop(name, None)
    else:
        state.app |= {"webhook_url": url, "webhook_events": events}
    state.webhooks.configure(Options(**given))
    return web.json_response({})


def is_http_url(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s/]+(/\S*)?", value) is not None


async def get_deliveries(state: State, request: web.Request) -> web.Response:
    with_body = request.query.get("body") == "true"
    return web.json_response(state.webhooks.log(since_number(request), with_body))


async def deliver_again(state: State, request: web.Request) -> web.Response:
    number = request.match_info["n"]
    if not re.fullmatch("[0-9]{1,18}", number) or not state.webhooks.send_again(int(number)):
        raise ControlError(f"n: there is no delivery {number[:18]}")
    return web.json_response({}, status=201)


async def fields(request: web.Request) -> Json:
    try:
        return json_object(await request.read())
    except StreamError:
        raise ControlError("body: must be a JSON object") from None


def is_whole(value: Any) -> bool:
    return type(value) is int


def is_number(value: Any) -> bool:
    return type(value) in (int, float)
