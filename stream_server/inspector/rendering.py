"""Turns a template and what stands in it into an answer that loads nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from aiohttp import web

from .. import inspector
from ..state import State
from .calls import kind_of_status
from .texts import as_json, visible

if TYPE_CHECKING:
    import jinja2

HERE = Path(inspector.__file__).parent
ASSETS = {"inspector.css": "text/css", "inspector.js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # To own pages it stays as it is: without one, browsers give a form's origin as null.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PAGES = {
    "calls": ("Calls", "/_control/"),
    "users": ("Users", "/_control/users"),
    "channels": ("Channels", "/_control/channels"),
    "webhooks": ("Webhooks", "/_control/webhooks"),
    "steering": ("Faults, limits and switches", "/_control/steering"),
}


def page(
    state: State, template: str, status: int = 200, *, current: str, **values: Any
) -> web.Response:
    """``current`` is the one of PAGES to which the page belongs."""
    counts = {
        "calls": state.request_count,
        "users": sum("deleted_at" not in user for user in state.users.values()),
        "channels": len(state.channels),
        "webhooks": state.webhooks.count,
        "steering": sum(fault.times != 0 for fault in state.faults),
    }
    text = (
        environment()
        .get_template(template)
        .render(pages=PAGES, counts=counts, current=current, **values)
    )
    return web.Response(
        text=text, status=status, content_type="text/html", charset="utf-8", headers=HEADERS
    )


@cache
def environment() -> jinja2.Environment:
    # Only who opens a page needs it, and pays for importing it.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": clock,
        "day": day,
        "json_text": as_json,
        "kind": kind_of_status,
    }
    environment.globals["to"] = to
    return environment


def to(path: str, **parameters: object) -> str:
    """The address of a page; parameters that are None are left out."""
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    # A half character cannot be encoded, and is in no id.
    query = urlencode(given, errors="replace")
    return f"/_control/{path}?{query}" if query else f"/_control/{path}"


def clock(time: str) -> str:
    return day(time)[11:]


def day(time: str) -> str:
    """A point in time as state keeps it, to the millisecond."""
    return time[:23].replace("T", " ")


async def asset(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    text = (HERE / name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=ASSETS[name], headers=HEADERS)
