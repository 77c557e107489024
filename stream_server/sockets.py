"""GET /connect: the WebSocket of a user's client, as Stream's JS SDK opens it.

The URL carries ``api_key``, ``authorization``, ``stream-auth-type`` and ``json``: {"user_id",
"user_details"}. The first message is a ``health.check`` with the connection's id and the client's
own user, or {"error": <envelope>} before the connection is closed again.
"""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import WSMsgType, web

from . import timestamps
from .auth import authorize_connection, request_info
from .connections import Connection
from .devices import add_device
from .errors import StreamError, bad_input
from .events import user_event
from .moderation import lift_ended_bans
from .own_user import full_shape
from .payloads import given_fields, json_object
from .permissions import refuse_promoting_oneself
from .presence import end_connection, update_presence
from .state import Caller, Json, State
from .user_checks import refuse_bad_id
from .user_shapes import new_user
from .users import IGNORED_IN_UPSERTS, RESERVED, SERVER_SET, checked, store

OPERATION = "Connect"
CLOSING_SECONDS = 1  # for a client that says no goodbye


async def connect(state: State, request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(timeout=CLOSING_SECONDS)
    if not socket.can_prepare(request):
        refusal = bad_input("a websocket upgrade is required")
        return web.json_response(refusal.envelope(OPERATION), status=refusal.status)
    await socket.prepare(request)
    try:
        user = connected_user(state, request)
    except StreamError as error:
        await socket.send_json({"error": error.envelope(OPERATION)})
        # To the SDKs, the code of a normal end says that trying again is useless.
        await socket.close()
        return socket
    connection = Connection(user["id"], socket)
    state.connections.add(connection)
    resets = state.resets
    writer = asyncio.create_task(connection.write())
    try:
        update_presence(state, user["id"])
        state.save()
        connection.health_check(me=full_shape(state, user))
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                connection.health_check()
    finally:
        if not connection.is_ending:
            writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writer
        if resets == state.resets:
            end_connection(state, connection)
            state.save()
    return socket


def connected_user(state: State, request: web.Request) -> Json:
    """The user, created if new. The details change what they name: assumed not to replace."""
    user_id = authorize_connection(request, state)
    given = json_object(request.query.get("json", ""))
    details = given.get("user_details") or {"id": user_id}
    if not isinstance(details, dict) or details.get("id", user_id) != user_id:
        raise bad_input("user_details.id must be the user of the token")
    refuse_bad_id(user_id)
    now = timestamps.now()
    lift_ended_bans(state, now)
    old = state.users.get(user_id) or new_user(user_id, now)
    # Apps hand over what they once got from Stream, with all of its own fields.
    unsettable = RESERVED | SERVER_SET | IGNORED_IN_UPSERTS
    changes = {key: value for key, value in details.items() if key not in unsettable}
    draft = checked({**old, **changes}, "user_details", now)
    state.caller = Caller(user_id, request_info=request_info(request, "client"))
    if user_id in state.users:
        refuse_promoting_oneself(state, old, draft)
    elif draft["role"] != "user" or draft["teams"]:
        raise bad_input("role and teams can only be set server side")
    if any(draft.get(key) != old.get(key) for key in changes) or user_id not in state.users:
        store(state, {user_id: draft})
        user_event(state, "user.updated", draft)
    if given.get("device"):
        if not isinstance(given["device"], dict):
            raise bad_input("device must be an object")
        add_device(state, user_id, given_fields(given["device"]))
    state.users[user_id]["last_active"] = now
    return state.users[user_id]
