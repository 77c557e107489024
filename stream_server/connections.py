"""The WebSocket connections of users' clients, and who among them gets an event."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web

from . import timestamps

# The JS SDK asks for a sign of life every 25 s, and takes a connection for dead after 35.
HEALTH_CHECK_SECONDS = 25
GOING_AWAY = 1001


class Connection:
    def __init__(self, user_id: str, socket: web.WebSocketResponse) -> None:
        self.id = str(uuid.uuid4())
        self.user_id = user_id
        self.watched: set[str] = set()
        self.presence_cids: set[str] = set()
        self.presence_users: set[str] = set()
        """Of whose members, and of which users, it hears when they come and go."""
        self.socket = socket
        self.is_ending = False
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue()

    def send(self, event: dict[str, Any]) -> None:
        """Puts an event in line; what is sent is the event as it is now."""
        self._waiting.put_nowait(json.dumps(event))

    def end(self) -> None:
        """Closes the connection once what is in line has been sent."""
        self.is_ending = True
        self._waiting.put_nowait(None)

    def health_check(self, **fields: Any) -> None:
        self.send(
            {
                "type": "health.check",
                "connection_id": self.id,
                "cid": "*",
                "created_at": timestamps.now(),
                **fields,
            }
        )

    async def write(self) -> None:
        """Sends what is in line, and a sign of life when there is nothing for long."""
        while True:
            try:
                text = await asyncio.wait_for(self._waiting.get(), HEALTH_CHECK_SECONDS)
            except TimeoutError:
                self.health_check()
                continue
            if text is None:
                await self.socket.close(code=GOING_AWAY)
                return
            try:
                await self.socket.send_str(text)
            except ConnectionError:
                return


class Connections:
    def __init__(self) -> None:
        self._by_id: dict[str, Connection] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, connection: Connection) -> None:
        self._by_id[connection.id] = connection

    def discard(self, connection: Connection) -> None:
        self._by_id.pop(connection.id, None)

    def get(self, connection_id: str | None) -> Connection | None:
        return self._by_id.get(connection_id or "")

    def of_users(self, user_ids: Iterable[str]) -> Iterator[Connection]:
        wanted = set(user_ids)
        return (one for one in self._by_id.values() if one.user_id in wanted)

    def all(self) -> list[Connection]:
        return list(self._by_id.values())

    def watching(self, cid: str) -> list[Connection]:
        return [one for one in self._by_id.values() if cid in one.watched]

    def watcher_count(self, cid: str) -> int:
        return len({one.user_id for one in self.watching(cid)})

    def reset(self) -> None:
        for connection in self._by_id.values():
            connection.end()
        self._by_id.clear()

    async def close(self) -> None:
        sockets = [connection.socket for connection in self._by_id.values()]
        self._by_id.clear()
        await asyncio.gather(*(socket.close(code=GOING_AWAY) for socket in sockets))
