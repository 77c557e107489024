"""Stream's Python SDK as a user's own client, with a user's token and without the secret."""

from __future__ import annotations

import time
from typing import Any

import jwt
from stream_chat import StreamChat

from .control_client import LocalStream


def user_token(server: LocalStream, user_id: str, **claims: Any) -> str:
    issued_at = {"iat": int(time.time()) - 5}
    return jwt.encode({"user_id": user_id, **issued_at, **claims}, server.secret)


def user_client(server: LocalStream, user_id: str, **claims: Any) -> StreamChat:
    client = StreamChat(server.key, "unknown to a client", base_url=server.url)
    client.auth_token = user_token(server, user_id, **claims)
    return client
