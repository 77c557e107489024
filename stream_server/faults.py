"""Faults on demand: error answers, dropped connections, silence, delays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from aiohttp import web

from . import errors

KINDS = ("status", "reset", "timeout", "delay")
# What gateways in front of an API answer instead of its error envelope.
GATEWAY_BODIES = {
    "html": ("text/html", "<html><body><h1>upstream connect error</h1></body></html>"),
    "empty": ("text/plain", ""),
    "list": ("application/json", '["upstream connect error"]'),
}


class NoAnswerError(Exception):
    """The connection is to be dropped without an answer."""


@dataclass
class Fault:
    operation: str
    kind: str
    when: str = "before"
    status: int = 500
    code: int | None = None
    body: str | None = None
    retry_after: int | None = None
    delay_ms: float = 0
    times: int | None = 1
    rate: float | None = None
    random: Random = field(default_factory=Random)

    def strikes(self, operation: str) -> bool:
        if self.operation not in ("*", operation) or self.times == 0:
            return False
        if self.rate is not None:
            return self.random.random() < self.rate
        if self.times is not None:
            self.times -= 1
        return True

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    async def happen(self, request: web.Request) -> web.Response | None:
        """The answer that takes the place of the real one; None if only time passed."""
        if self.kind == "delay":
            await asyncio.sleep(self.delay_ms / 1000)
            return None
        if self.kind == "status" and self.body:
            content_type, text = GATEWAY_BODIES[self.body]
            return web.Response(
                status=self.status, text=text, content_type=content_type, headers=self.headers()
            )
        if self.kind == "status":
            code = self.code
            if code is None:
                code = errors.CODE_OF_STATUS.get(self.status, errors.INTERNAL)
            raise errors.StreamError(self.status, code, "a fault was asked for")
        if self.kind == "timeout":
            while request.transport and not request.transport.is_closing():
                await asyncio.sleep(0.02)
        raise NoAnswerError
