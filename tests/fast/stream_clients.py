"""Users' own clients of the local Stream server, and what they hear of a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from stream_server.control_client import LocalStream
from stream_server.user_client import user_token

DEADLINE_S = 30

Json = dict[str, Any]


class Client:
    """A user's connection, and calls of Stream's API that belong to it."""

    id: str
    me: Json

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        session: aiohttp.ClientSession,
        server: LocalStream,
        token: str,
    ) -> None:
        self.socket, self.session, self.server, self.token = socket, session, server, token
        self.seen: list[str] = []

    async def event(self, event_type: str) -> Json:
        """The next event of this type; the others are kept in ``seen``."""
        while True:
            event: Json = await self.socket.receive_json(timeout=DEADLINE_S)
            if event.get("type") == event_type:
                return event
            self.seen.append(event["type"])

    async def query(self, path: str, **body: Any) -> Json:
        """With the connection's id, as Stream's JS SDK makes its calls."""
        params = {"api_key": self.server.key, "connection_id": self.id}
        headers = {"Authorization": self.token, "stream-auth-type": "jwt"}
        async with self.session.post(
            f"{self.server.url}/{path}", params=params, headers=headers, json=body
        ) as response:
            assert response.status == 201, await response.text()
            answer: Json = await response.json()
            return answer

    async def watch(self, channel_id: str = "c1") -> Json:
        return await self.query(f"channels/messaging/{channel_id}/query", watch=True, state=True)


@asynccontextmanager
async def opened(
    server: LocalStream,
    token: str,
    user_id: str = "ann",
    details: Json | None = None,
    **options: Any,
) -> AsyncIterator[Client]:
    details = details or {"id": user_id}
    query = {
        "api_key": server.key,
        "authorization": token,
        "stream-auth-type": "jwt",
        "json": json.dumps({"user_id": user_id, "user_details": details, **options}),
    }
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}/connect", params=query) as socket,
    ):
        yield Client(socket, session, server, token)


@asynccontextmanager
async def connected(server: LocalStream, user_id: str, **details: Any) -> AsyncIterator[Client]:
    token = user_token(server, user_id)
    async with opened(server, token, user_id, {"id": user_id, **details}) as client:
        first = await client.event("health.check")
        client.id, client.me = first["connection_id"], first["me"]
        yield client


async def in_thread(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(
        None, lambda: call(*arguments, **options)
    )


@asynccontextmanager
async def listening(stream: LocalStream, user_id: str, watches: bool) -> AsyncIterator[Client]:
    """With ``watches``, the client watches the channel c1."""
    async with connected(stream, user_id) as client:
        if watches:
            await client.watch()
            await client.event("user.watching.start")
        client.seen.clear()
        yield client


def heard(
    stream: LocalStream,
    user_id: str,
    event_type: str,
    call: Callable[..., Any],
    *arguments: Any,
    watches: bool = False,
    **options: Any,
) -> Json:
    """The first event of the type that the user's client hears of the call."""

    async def listen() -> Json:
        async with listening(stream, user_id, watches) as client:
            await in_thread(call, *arguments, **options)
            return await client.event(event_type)

    return asyncio.run(listen())


def all_heard(
    stream: LocalStream, user_id: str, call: Callable[[], Any], *, watches: bool = False
) -> list[str]:
    """The types of all events that the user's client hears of the call."""

    async def listen() -> list[str]:
        async with listening(stream, user_id, watches) as client:
            await in_thread(call)
            # Its answer comes after all that was in line before.
            await client.socket.send_str("[]")
            await client.event("health.check")
            return client.seen

    return asyncio.run(listen())


def me(stream: LocalStream, user_id: str) -> Json:
    """The user as their own client has it."""

    async def connect() -> Json:
        async with connected(stream, user_id) as client:
            return client.me

    return asyncio.run(connect())
