"""The local Stream server, with two more things: who called, and what is in it.

Every function process gets a base URL of its own, ``/as/<instance>``, so that the request log
tells by the path who called. ``GET /_chaos/users`` shows every user, deleted ones too.
"""

from __future__ import annotations

import sys
from functools import partial

from aiohttp import web

from stream_server import __main__ as process
from stream_server import server
from stream_server.operations import OPERATIONS
from stream_server.state import State

CALLER_PREFIX = "/as/"


def create_app() -> web.Application:
    app = server.create_app()
    state = app[server.STATE]
    for operation in OPERATIONS:
        path = f"{CALLER_PREFIX}{{instance}}{operation.path}"
        app.router.add_route(operation.method, path, partial(server.answer, state, operation))
    app.router.add_get("/_chaos/users", partial(get_users, state))
    return app


async def get_users(state: State, request: web.Request) -> web.Response:
    return web.json_response(list(state.users.values()))


def caller_of(path: str) -> str:
    """The function process behind a path of the request log, or "" if it was none."""
    if not path.startswith(CALLER_PREFIX):
        return ""
    return path.removeprefix(CALLER_PREFIX).split("/", 1)[0]


if __name__ == "__main__":
    sys.exit(process.main(create_app()))
