"""What keeps web pages of others from steering the server, or reading what it tells.

Browsers say where a change comes from; curl and control_client.py don't, and may do everything.
Reading says nothing of its page, and browsers keep the answer from pages of other origins, but for
those whose name suddenly leads to this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

CHANGELESS = ("GET", "HEAD")
# Endings that nobody can have in the public DNS.
LOCAL_ENDINGS = (".localhost", ".internal", ".lan", ".local", ".test")


@web.middleware
async def refuse_other_origins(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    is_allowed = is_local_name(request.host) and (request.method in CHANGELESS or is_own(request))
    if not is_allowed:
        refusal = {"error": "the control surface can only be used from its own pages"}
        return web.json_response(refusal, status=403)
    return await handler(request)


def is_own(request: web.Request) -> bool:
    """Whether the call comes from a page of this server, or from no browser at all."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None and origin is None:
        return True
    if site is not None:
        return site == "same-origin"
    return urlsplit(origin or "").netloc == request.host


def is_local_name(host: str) -> bool:
    """Not so: a name that anybody can have in the DNS, and let it point to this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(LOCAL_ENDINGS)
    return True
