"""What keeps web pages of others from steering the server.

Browsers say where a request comes from; curl and control_client.py don't, and may do everything.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

CHANGELESS = ("GET", "HEAD")


@web.middleware
async def refuse_other_origins(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if request.method not in CHANGELESS and not is_own(request):
        refusal = {"error": "the control surface can only be used from its own pages"}
        return web.json_response(refusal, status=403)
    return await handler(request)


def is_own(request: web.Request) -> bool:
    """Whether the call comes from a page of this server, or from no browser at all."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None and origin is None:
        return True
    if not is_local_name(request.host):
        return False
    if site is not None:
        return site == "same-origin"
    return urlsplit(origin or "").netloc == request.host


def is_local_name(host: str) -> bool:
    """Not so: a name that anybody can have in the DNS, and let it point to this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(".localhost")
    return True
