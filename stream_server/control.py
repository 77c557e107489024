"""The control surface, outside of Stream's namespace and without authentication.

Pages of other origins can't use it (see own_origin.py). ``/_control/`` itself is for people: see
inspector/.

    GET    /_control/state              counts, calls by operation and status as far as the log of
                                        requests goes back, switches, limits and faults
    POST   /_control/reset              forget everything but the limits and where webhooks go,
                                        in the file of --data, too; windows begin anew, options of
                                        webhooks are gone, clients are disconnected; with
                                        limits=true the limits are as Stream documents them
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

    at_once             how many deliveries each target gets at the same time, default 5
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

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from functools import partial

from aiohttp import web

from . import steering
from .errors import StreamError
from .inspector import forms, pages
from .operations import documented_limits
from .own_origin import refuse_other_origins
from .payloads import json_object
from .state import Json, State
from .steering import ControlError


def create_app(state: State) -> web.Application:
    @web.middleware
    async def save_changes(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        response = await handler(request)
        if request.method != "GET":
            state.save()
        return response

    app = web.Application(middlewares=[refuse_other_origins, explain_refusals, save_changes])
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
    pages.add_routes(app, state)
    forms.add_routes(app, state)
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
    if request.query.get("limits") == "true":
        state.limits = documented_limits()
    state.reset()
    return web.json_response({})


async def add_fault(state: State, request: web.Request) -> web.Response:
    steering.add_fault(state, await fields(request))
    return web.json_response({}, status=201)


async def clear_faults(state: State, request: web.Request) -> web.Response:
    state.faults.clear()
    return web.json_response({})


async def set_limits(state: State, request: web.Request) -> web.Response:
    steering.set_limits(state, await fields(request))
    return web.json_response({})


async def restore_limits(state: State, request: web.Request) -> web.Response:
    state.limits = documented_limits()
    return web.json_response({})


async def get_requests(state: State, request: web.Request) -> web.Response:
    since = since_number(request)
    return web.json_response([entry for entry in state.requests if entry["n"] > since])


def since_number(request: web.Request) -> int:
    since = request.query.get("since", "0")
    if not steering.is_number_text(since):
        raise ControlError("since: must be a whole number of 0 or more")
    return int(since)


async def set_switches(state: State, request: web.Request) -> web.Response:
    steering.set_switches(state, await fields(request))
    return web.json_response(state.switches)


async def set_webhook(state: State, request: web.Request) -> web.Response:
    steering.set_webhook(state, await fields(request))
    return web.json_response({})


async def get_deliveries(state: State, request: web.Request) -> web.Response:
    with_body = request.query.get("body") == "true"
    return web.json_response(state.webhooks.log(since_number(request), with_body))


async def deliver_again(state: State, request: web.Request) -> web.Response:
    steering.deliver_again(state, request.match_info["n"])
    return web.json_response({}, status=201)


async def fields(request: web.Request) -> Json:
    try:
        return json_object(await request.read())
    except StreamError:
        raise ControlError("body: must be a JSON object") from None
