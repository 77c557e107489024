"""Calls to Stream's API, each with a client of its own, within rate limits, with named errors.

The SDK, ``stream_chat``, is imported for the first call: it brings ``aiohttp``, a fourth of what a
process imports, and a token of somebody who is known to agree needs neither.
"""

import copy
import math
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

from ..errors import (
    Postponed,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
)
from .pacing import LEFT_BY_BACKGROUND, Pace, RateLimit
from .sessions import read_environment_once

if TYPE_CHECKING:
    from stream_chat import StreamChat

Method = str | Callable[..., Any]
"""A method of ``StreamChat`` by its name, or a function that takes a ``StreamChat`` first."""

_CONNECT_SECONDS = 2.0
_READ_SECONDS = 6.0
PAUSES_BETWEEN_READS = (0.2, 0.4)

BURSTS_OUTWAITED = 3
"""In as many seconds ten accounts that spend their budgets at once are served, and the others."""

_MAX_WINDOW_SECONDS = 120
_TOO_LARGE = (413, 414, 431)
_CODE_INTERNAL, _CODE_RATE_LIMIT, _CODE_TOO_LARGE, _CODE_TIMEOUT = -1, 9, 22, 23
_TEMPORARY = (_CODE_INTERNAL, _CODE_TIMEOUT)


def allow() -> None:
    """Nothing forbids a write."""


class Calls:
    """Calls to a Stream app, with server-side rights. Safe to share between threads.

    A call raises what :class:`Stream` says of its methods.
    """

    def __init__(
        self,
        api_key: str,
        api_secret: str,
        base_url: str | None = None,
        before_write: Callable[[], None] = allow,
    ) -> None:
        self._app = (api_key, api_secret, base_url)
        self._before_write = before_write
        self._local = threading.local()
        """The pace of the call that this thread makes."""
        self._idle: deque[StreamChat] = deque()
        """Clients that no call uses at the moment, with their connections."""
        self._left_to_others = 0.0
        self._paces: dict[str, Pace] = {}
        """By method of the SDK."""

    def made(self) -> int:
        """How many calls this process has made so far."""
        return sum(pace.calls for pace in list(self._paces.values()))

    def leaving(self, share: float) -> "Calls":
        """The same app, but its calls leave ``share`` of every rate limit to others."""
        copied = copy.copy(self)
        copied._left_to_others = share
        return copied

    def read(self, deadline: float, method: Method, *args: Any, **options: Any) -> Any:
        for pause in PAUSES_BETWEEN_READS:
            try:
                return self._call(deadline, allow, method, *args, **options)
            except StreamUnavailable:
                pause *= random.uniform(0.5, 1.5)
                if time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)
        return self._call(deadline, allow, method, *args, **options)

    def write(self, deadline: float, method: Method, *args: Any, **options: Any) -> Any:
        """A call that may change something: ``before_write`` is called before, and may raise."""
        self._before_write()
        return self._call(deadline, self._before_write, method, *args, **options)

    def _call(
        self,
        deadline: float,
        before: Callable[[], None],
        method: Method,
        *args: Any,
        **options: Any,
    ) -> Any:
        """A call of a repair for which somebody waits is made again if Stream refuses a burst of
        several processes: nothing was applied, and the next seconds have room."""
        for _ in range(BURSTS_OUTWAITED):
            try:
                return self._call_once(deadline, before, method, *args, **options)
            except StreamRateLimited as error:
                if error.retry_after > 1 or self._left_to_others >= LEFT_BY_BACKGROUND:
                    raise
        return self._call_once(deadline, before, method, *args, **options)

    def _call_once(
        self,
        deadline: float,
        before: Callable[[], None],
        method: Method,
        *args: Any,
        **options: Any,
    ) -> Any:
        """``before`` is called when the call's turn has come, which may be long in coming."""
        operation = method if isinstance(method, str) else method.__name__
        pace = self._local.pace = self._paces.setdefault(operation, Pace())
        with pace.call(operation, self._left_to_others, deadline), self.client() as chat:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Postponed(f"{operation}: no time left for it")
            before()
            chat.timeout = (min(left, _CONNECT_SECONDS), min(left, _READ_SECONDS))  # type: ignore[assignment]
            try:
                if isinstance(method, str):
                    return getattr(chat, method)(*args, **options)
                return method(chat, *args, **options)
            except requests.RequestException as error:
                raise StreamUnavailable(f"{operation}: {type(error).__name__}") from error

    @contextmanager
    def client(self) -> Iterator["StreamChat"]:
        """A client for one call at a time: StreamChat and requests don't promise thread safety.

        The client that was used last comes first, so that there are never more connections than
        calls at once, whichever threads make them.
        """
        try:
            chat = self._idle.pop()
        except IndexError:
            chat = self._new_client()
        try:
            yield chat
        finally:
            self._idle.append(chat)

    def _new_client(self) -> "StreamChat":
        from stream_chat import StreamChat

        api_key, api_secret, base_url = self._app
        chat = StreamChat(api_key, api_secret, base_url=base_url)
        session = requests.Session()
        for scheme in ("http://", "https://"):
            # The SDK's own adapter repeats GET and DELETE, and sleeps for a Retry-After.
            session.mount(scheme, HTTPAdapter(max_retries=0))
        read_environment_once(session, chat.base_url)
        session.hooks["response"].append(self._examine)
        chat.set_http_session(session)
        return chat

    def _examine(self, response: requests.Response, **_: object) -> None:
        """Note the rate limit of an answer, and raise one of our exceptions unless it succeeded.

        It is a hook, because the SDK's own exception drops the headers, its parser fails on JSON
        that is no object, and a redirected POST would become a GET. It decides by status and code,
        never by text; every success of Stream has a ``duration``.
        """
        rate_limit = _rate_limit(response.headers)
        pace: Pace = self._local.pace
        status = response.status_code
        body = json_object(response)
        if status in (200, 201) and "duration" in body:
            pace.note(rate_limit)
            return
        # An answer without Stream's fields comes from a gateway.
        code = body.get("code")
        message = f"Stream answered {status}, code {code}: {_without_values(body.get('message'))}"
        if status == 429 or code == _CODE_RATE_LIMIT:
            seconds = _retry_after(response.headers, rate_limit)
            pace.refuse(rate_limit, seconds)
            raise StreamRateLimited(message, seconds)
        if rate_limit:
            pace.note(rate_limit)
        if status in _TOO_LARGE:
            raise StreamRejected(message, status, _CODE_TOO_LARGE)
        if status < 400 or status >= 500 or code in _TEMPORARY or not isinstance(code, int):
            raise StreamUnavailable(message)
        if status in (401, 403):
            raise StreamCredentialsRejected(message)
        words = frozenset(re.findall(r"[\w@-]+", str(body.get("message")), re.ASCII))
        raise StreamRejected(message, status, code, words)


def json_object(response: requests.Response) -> dict[str, Any]:
    """The body of an answer; empty if it is no JSON object."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _without_values(message: object) -> str:
    """Stream's message without the values it quotes: names and roles must not be logged."""
    outer = re.sub(r'^(\w+ failed with error: )"(.*)"$', r"\1\2", str(message), flags=re.DOTALL)
    return re.sub(r"""(\\?["'`]).*?\1""", "(...)", outer, flags=re.DOTALL)


def _retry_after(headers: Mapping[str, str], rate_limit: RateLimit | None) -> int:
    """In seconds: until the window's reset, or the next second if the window has calls left.

    If the answer states no window, ``Retry-After``, else 60.
    """
    stated = headers.get("retry-after", "")
    seconds = int(stated) if stated.isdecimal() else 60
    if rate_limit:
        seconds = 1 if rate_limit.remaining else math.ceil(rate_limit.reset - time.time())
    return min(max(1, seconds), _MAX_WINDOW_SECONDS)


def _rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """The window; None if there is no limit. Proxies can repeat a value, as in ``300, 300``."""
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    values = [headers.get(name, "").split(",")[0].strip() for name in names]
    if not all(map(str.isdecimal, values)):
        return None
    limit, remaining, reset = map(int, values)
    now = time.time()
    # A reset in the past or in the far future means that one of the clocks is wrong.
    return RateLimit(limit, remaining, min(max(reset, now + 1), now + _MAX_WINDOW_SECONDS))
