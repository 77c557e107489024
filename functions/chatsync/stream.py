"""Stream Chat's REST API, as far as this package uses it.

The only module that imports ``stream_chat``, which has been in maintenance mode since March 2026:
its successor ``getstream`` can take its place here. Facts come from Stream's documentation and
public OpenAPI document.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from stream_chat import StreamChat
from stream_chat.base.exceptions import StreamAPIException

from .errors import (
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
)

Item = TypeVar("Item")

BATCH = 100
"""Users per call: the most that UpdateUsers takes and QueryUsers returns."""

_MAX_QUERY_BYTES = 6_000
"""An id list travels in the URL of a GET; gateways refuse long ones."""

_CONNECT_AND_READ_SECONDS = (3.0, 6.0)
_CODE_INTERNAL, _CODE_RATE_LIMIT, _CODE_TIMEOUT = -1, 9, 23
CODE_DOES_NOT_EXIST = 16
"""Unknown, deleted or deactivated, with HTTP status 404."""


class Stream:
    """A Stream app, with server-side rights. Safe to share between threads.

    Every method raises StreamUnavailable and StreamRateLimited (try again later),
    StreamCredentialsRejected (nobody can be served) and StreamRejected (this request never works).
    """

    def __init__(self, api_key: str, api_secret: str, base_url: str | None = None) -> None:
        self._app = (api_key, api_secret, base_url)
        self._local = threading.local()

    def query_users(self, stream_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The users that exist, by id; deactivated ones too, deleted ones not (QueryUsers)."""
        found: dict[str, dict[str, Any]] = {}
        for ids in _query_chunks(stream_ids):
            response = self._call(
                StreamChat.query_users,
                {"id": {"$in": ids}},
                limit=BATCH,
                include_deactivated_users=True,
            )
            found.update((user["id"], user) for user in response["users"])
        return found

    def upsert_users(self, users: Sequence[dict[str, Any]]) -> None:
        """Create or REPLACE up to 100 users, all or none (UpdateUsers)."""
        self._call(StreamChat.upsert_users, users)

    def update_users_partial(self, updates: Sequence[dict[str, Any]]) -> None:
        """Patch up to 100 users with ``{id, set, unset}``, all or none (UpdateUsersPartial)."""
        self._call(StreamChat.update_users_partial, updates)

    def restore_users(self, stream_ids: Sequence[str]) -> None:
        """Bring soft-deleted users back, without their memberships (RestoreUsers)."""
        self._call(StreamChat.restore_users, stream_ids)

    def delete_users(self, stream_ids: Sequence[str]) -> None:
        """Soft-delete users, one call each (DeleteUser); who is gone already stays so."""
        for stream_id in stream_ids:
            try:
                self._call(StreamChat.delete_user, stream_id)
            except StreamRejected as error:
                if error.code != CODE_DOES_NOT_EXIST:
                    raise

    def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return method(self._chat(), *args, **options)
        except requests.RequestException as error:
            raise StreamUnavailable(f"{method.__name__}: {type(error).__name__}") from error
        except StreamAPIException as error:
            # _raise_for_status has dealt with every status but success: this is one without JSON.
            raise StreamUnavailable(f"{method.__name__}: the answer is not JSON") from error

    def _chat(self) -> StreamChat:
        """This thread's client: neither StreamChat nor requests promises to be shareable."""
        chat = getattr(self._local, "chat", None)
        if chat is None:
            api_key, api_secret, base_url = self._app
            chat = StreamChat(api_key, api_secret, base_url=base_url)
            # The environment's STREAM_CHAT_TIMEOUT would win over the constructor's argument.
            chat.timeout = _CONNECT_AND_READ_SECONDS  # type: ignore[assignment]
            chat.set_http_session(_session())
            self._local.chat = chat
        return chat


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        # The SDK's own adapter repeats GET and DELETE, and sleeps out a Retry-After.
        session.mount(scheme, HTTPAdapter(max_retries=0))
    session.hooks["response"].append(_raise_for_status)
    return session


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """``items`` in pieces that one call takes."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _query_chunks(stream_ids: Sequence[str]) -> list[list[str]]:
    """``stream_ids`` in lists that one QueryUsers answers whole: 100 ids, 6 KB of URL."""
    chunks: list[list[str]] = []
    size = 0
    for stream_id in stream_ids:
        # Quotes and comma are sent as %22%2C%22, and an @ as %40.
        length = len(stream_id) + 2 * stream_id.count("@") + 9
        if not chunks or len(chunks[-1]) == BATCH or size + length > _MAX_QUERY_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(stream_id)
        size += length
    return chunks


def _raise_for_status(response: requests.Response, **_: object) -> None:
    """Raise one of our exceptions for an error answer, by status and code, never by text.

    A hook, because the SDK's own exception drops the headers and fails on JSON that is no object.
    """
    status = response.status_code
    if status < 400:
        return
    code, detail = _error_of(response)
    message = f"Stream answered {status}, code {code}: {detail}"
    if status == 429 or code == _CODE_RATE_LIMIT:
        raise StreamRateLimited(message, _seconds_until_reset(response.headers))
    if status >= 500 or code in (_CODE_INTERNAL, _CODE_TIMEOUT):
        raise StreamUnavailable(message)
    if status in (401, 403):
        raise StreamCredentialsRejected(message)
    raise StreamRejected(message, status, code)


def _error_of(response: requests.Response) -> tuple[int, str]:
    """Code and message of Stream's error envelope; gateways answer without one."""
    try:
        body = response.json()
    except ValueError:
        body = None
    code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(code, int):
        return 0, "no error envelope"
    return code, str(body.get("message"))


def _seconds_until_reset(headers: Mapping[str, str]) -> int:
    """From ``x-ratelimit-reset`` (Unix seconds, doubled behind proxies); a minute if unknown."""
    reset = headers.get("x-ratelimit-reset", "").split(",")[0].strip()
    return max(1, math.ceil(int(reset) - time.time())) if reset.isdecimal() else 60
