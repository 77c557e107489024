"""What web pages need: leave to call from another origin (CORS), as Stream gives it to all.

Preflights are no calls of the API: no fault strikes them, and no log has them. The control surface
is not for web pages, any of which could otherwise steer it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

CONTROL = "/_control/"


@web.middleware
async def answer_preflights(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    is_preflight = (
        request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    )
    if not is_preflight or request.path.startswith(CONTROL):
        return await handler(request)
    return web.Response(
        headers={
            "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
            "Access-Control-Allow-Headers": request.headers.get(
                "Access-Control-Request-Headers", ""
            ),
        }
    )


async def allow_origin(request: web.Request, response: web.StreamResponse) -> None:
    if "Origin" in request.headers and not request.path.startswith(CONTROL):
        response.headers["Access-Control-Allow-Origin"] = "*"
