"""The pages that are read: calls, users, channels and webhook deliveries."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

from aiohttp import web

from ..bodies import body_of
from ..message_shapes import message_shape
from ..state import Json, State
from ..steering import is_number_text
from . import calls
from .rendering import ASSETS, asset, page
from .texts import preview, shown, shown_query

MAX_ROWS = 200
"""On a page of users, channels, messages or deliveries."""


def add_routes(app: web.Application, state: State) -> None:
    for path, handler in (
        ("/", get_calls),
        ("/call", get_call),
        ("/users", get_users),
        ("/user", get_user),
        ("/channels", get_channels),
        ("/channel", get_channel),
        ("/webhooks", get_webhooks),
        ("/delivery", get_delivery),
    ):
        app.router.add_get(path, partial(handler, state))
    for name in ASSETS:
        app.router.add_get(f"/{{name:{name}}}", asset)


async def get_calls(state: State, request: web.Request) -> web.Response:
    query = request.query
    before = query.get("before", "")
    wanted = calls.Filter(
        query.get("operation", ""),
        query.get("status", ""),
        query.get("user", "").strip(),
        int(before) if is_number_text(before) else None,
    )
    rows, older = calls.rows(state, wanted)
    return page(
        state,
        "calls.html",
        current="calls",
        rows=rows,
        older=older,
        wanted=wanted,
        operations=calls.operations(state.requests),
        statuses=calls.STATUSES,
    )


async def get_call(state: State, request: web.Request) -> web.Response:
    entry = calls.find(state, request.query.get("n", ""))
    if entry is None:
        return missing(state, "calls", "This call is not, or no longer, in the log.")
    exchange = state.bodies.of(entry["n"])
    older, newer = calls.neighbours(state, entry["n"])
    return page(
        state,
        "call.html",
        current="calls",
        call=calls.row(entry, exchange),
        exchange=exchange,
        query=shown_query(exchange.query) if exchange else [],
        asked=shown(exchange.asked) if exchange else "",
        answered=shown(exchange.answered) if exchange and exchange.answered else "",
        older=older,
        newer=newer,
    )


async def get_users(state: State, request: web.Request) -> web.Response:
    text = request.query.get("q", "").strip()
    found = [user for user in state.users.values() if has(text, user["id"], user.get("name"))]
    return page(
        state,
        "users.html",
        current="users",
        text=text,
        total=len(found),
        users=[
            {**user, "channel_count": len(state.cids_by_member.get(user["id"], ()))}
            for user in found[:MAX_ROWS]
        ],
    )


async def get_user(state: State, request: web.Request) -> web.Response:
    user = state.users.get(request.query.get("id", ""))
    if user is None:
        return missing(state, "users", "There is no such user.")
    channels = [summary(record) for record in state.channels_of(user["id"])]
    return page(state, "user.html", current="users", user=user, channels=channels)


async def get_channels(state: State, request: web.Request) -> web.Response:
    text = request.query.get("q", "").strip()
    found = [
        record
        for record in state.channels.values()
        if has(text, record["channel"]["cid"], record["channel"].get("name"))
        or text in record["members"]
    ]
    return page(
        state,
        "channels.html",
        current="channels",
        text=text,
        total=len(found),
        channels=[summary(record) for record in found[:MAX_ROWS]],
    )


async def get_channel(state: State, request: web.Request) -> web.Response:
    cid = request.query.get("cid", "")
    record = state.channels.get(cid)
    if record is None:
        return missing(state, "channels", "There is no such channel.")
    newest = list(islice(reversed(record["messages"].values()), MAX_ROWS))
    return page(
        state,
        "channel.html",
        current="channels",
        channel=record["channel"],
        summary=summary(record),
        record={key: value for key, value in record.items() if key != "messages"},
        members=[
            {**member, **user_fields(state, user_id), "read": record["reads"].get(user_id, {})}
            for user_id, member in record["members"].items()
        ],
        # As Stream shows them to a server: how they are kept is of no interest to an app.
        messages=[message_shape(state, message) for message in reversed(newest)],
        watchers=state.connections.watcher_count(cid),
    )


async def get_webhooks(state: State, request: web.Request) -> web.Response:
    newest = islice(reversed(state.webhooks.attempts), MAX_ROWS)
    return page(
        state,
        "webhooks.html",
        current="webhooks",
        url=state.app.get("webhook_url"),
        hooks=state.app.get("event_hooks", []),
        deliveries=[
            {**one, "sent": preview(body_of(state.webhooks.body(one["n"])))} for one in newest
        ],
    )


async def get_delivery(state: State, request: web.Request) -> web.Response:
    number = request.query.get("n", "")
    found = (one for one in state.webhooks.attempts if str(one["n"]) == number)
    delivery = next(found, None)
    if delivery is None:
        return missing(state, "webhooks", "This delivery is not, or no longer, in the log.")
    sent = shown(body_of(state.webhooks.body(delivery["n"])))
    return page(state, "delivery.html", current="webhooks", delivery=delivery, sent=sent)


def missing(state: State, current: str, message: str) -> web.Response:
    return page(state, "missing.html", 404, current=current, message=message)


def has(text: str, *values: Any) -> bool:
    return any(text.casefold() in value.casefold() for value in values if isinstance(value, str))


def summary(record: Json) -> Json:
    own = record["channel"]
    return {
        "cid": own["cid"],
        "name": own.get("name"),
        "member_count": len(record["members"]),
        "message_count": len(record["messages"]),
        "last_message_at": own.get("last_message_at"),
        "created_at": own["created_at"],
        "frozen": own.get("frozen"),
        "disabled": own.get("disabled"),
        "team": own.get("team"),
    }


def user_fields(state: State, user_id: str) -> Json:
    user = state.users.get(user_id, {})
    return {"id": user_id, "name": user.get("name"), "online": user.get("online")}
