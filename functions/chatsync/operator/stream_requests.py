"""Single requests to Stream, whose answers are looked at as they are.

For ``verify``: it also acts as a user's client, and asks for what should be refused.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jwt
import requests

from ..clients import Clients
from ..clients.stream_calls import json_object
from ..errors import StreamUnavailable

_URL = "https://chat.stream-io-api.com"
_TIMEOUT_SECONDS = 10
_MAX_WAITS = 20
_LONGEST_WAIT_SECONDS = 65.0
_TOO_MANY = 429


class Answer(NamedTuple):
    """A status and a JSON object, empty if Stream answered something else."""

    status: int
    body: Mapping[str, Any]

    @property
    def is_ok(self) -> bool:
        return self.status in (200, 201)

    @property
    def code(self) -> int | None:
        """Stream's own code of a refusal."""
        code = self.body.get("code")
        return code if isinstance(code, int) else None

    def __str__(self) -> str:
        return f"{self.status}" if self.is_ok else f"{self.status}, code {self.code}"


class StreamRequests:
    """Requests to the Stream app of ``clients``. Safe to share between threads."""

    def __init__(self, clients: Clients) -> None:
        settings = clients.settings
        self._url = settings.stream_base_url or _URL
        self._key = settings.stream_api_key
        self._before_write = clients.pause.refuse_if_paused
        self._token = jwt.encode({"server": True}, settings.stream_api_secret, "HS256")

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        token: str = "",
        patiently: bool = True,
    ) -> Answer:
        """The answer to one request, with a server's rights or those of a user's ``token``.

        ``patiently`` waits while Stream's rate limit is used up. Raises StreamUnavailable if there
        was no answer, or one of 500 and above, and Paused while writing to Stream is.
        """
        request = partial(
            requests.request,
            method,
            f"{self._url}{path}",
            params={"api_key": self._key, **(query or {})},
            json=body,
            headers={"Authorization": token or self._token, "stream-auth-type": "jwt"},
            timeout=_TIMEOUT_SECONDS,
        )
        for _ in range(_MAX_WAITS):
            if method != "GET":
                self._before_write()
            try:
                response = request()
            except requests.RequestException as error:
                raise StreamUnavailable(f"{method} {path}: {type(error).__name__}") from error
            if response.status_code != _TOO_MANY or not patiently:
                break
            time.sleep(_seconds_to_wait(response.headers))
        if response.status_code >= 500:
            raise StreamUnavailable(f"{method} {path}: {response.status_code}")
        return Answer(response.status_code, json_object(response))


def _seconds_to_wait(headers: Mapping[str, str]) -> float:
    """Until the window's end; a second where the window has room, and only bursts are refused."""
    told = headers.get("x-ratelimit-remaining", ""), headers.get("x-ratelimit-reset", "")
    remaining, reset = (one.split(",")[0].strip() for one in told)
    if remaining != "0" or not reset.isdecimal():
        return 1.0
    return min(max(1.0, int(reset) - time.time()), _LONGEST_WAIT_SECONDS)
