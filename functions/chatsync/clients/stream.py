"""Stream Chat's REST API, as far as this package uses it.

The only module that imports ``stream_chat``, which has been in maintenance mode since March 2026:
its successor ``getstream`` can take its place here. Facts come from Stream's documentation and
public OpenAPI document.
"""

import copy
import math
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from stream_chat import StreamChat

from ..errors import (
    Postponed,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
)
from ..side_by_side import BATCH, batches
from .pacing import Pace, RateLimit

CHANNELS = 30
"""Channels per call of QueryChannels; asked for more, it returns 30."""
MAX_OFFSET = 1_000

_MAX_QUERY_BYTES = 6_000
"""An id list travels in the URL of a GET; gateways refuse long ones."""

_CONNECT_SECONDS = 2.0
_READ_SECONDS = 6.0
PAUSES_BETWEEN_READS = (0.2, 0.4)

_MAX_WINDOW_SECONDS = 120
_TOO_LARGE = (413, 414, 431)
_CODE_INTERNAL, _CODE_RATE_LIMIT, _CODE_TOO_LARGE, _CODE_TIMEOUT = -1, 9, 22, 23
_TEMPORARY = (_CODE_INTERNAL, _CODE_TIMEOUT)
CODES_OF_BAD_DATA = (4, 6, 22, 73)
"""Bad input, name taken, too much data, refused by moderation."""

CODE_DOES_NOT_EXIST = 16
"""Unknown, deleted or deactivated, with HTTP status 404."""


class Stream:
    """A Stream app, with server-side rights. Safe to share between threads.

    Every method raises StreamUnavailable and StreamRateLimited (try again later),
    StreamCredentialsRejected (nobody can be served) and StreamRejected (this request never works).

    A read that fails is repeated after a pause. A write is not: when its answer is lost nobody
    knows whether it happened, and whoever repeats it should look first. No call begins after
    ``deadline``, in the time of ``time.monotonic()``, or waits for Stream beyond it. None is made
    that Stream's rate limits have no room for, as far as this process knows.
    """

    def __init__(self, api_key: str, api_secret: str, base_url: str | None = None) -> None:
        self._app = (api_key, api_secret, base_url)
        self._local = threading.local()
        """The pace of the call that this thread makes."""
        self._idle: deque[StreamChat] = deque()
        """Clients that nobody uses at the moment, with their connections."""
        self._left_to_others = 0.0
        self._paces: dict[str, Pace] = {}
        """By method of the SDK."""

    def calls(self) -> int:
        """How many calls this process has made so far."""
        return sum(pace.calls for pace in list(self._paces.values()))

    def leaving(self, share: float) -> "Stream":
        """The same app for somebody who leaves ``share`` of every rate limit to others."""
        modest = copy.copy(self)
        modest._left_to_others = share
        return modest

    def query_users(self, stream_ids: Sequence[str], deadline: float) -> dict[str, dict[str, Any]]:
        """The users that exist, by id; deactivated ones too, deleted ones not (QueryUsers)."""
        found: dict[str, dict[str, Any]] = {}
        for ids in _query_chunks(stream_ids):
            query = {"id": {"$in": ids}}
            options = {"limit": BATCH, "include_deactivated_users": True}
            response = self._read(deadline, StreamChat.query_users, query, **options)
            try:
                found.update((user["id"], user) for user in response["users"])
            except (KeyError, TypeError) as error:
                raise StreamUnavailable("Stream answered without users") from error
        return found

    def list_users(self, after: str, deadline: float) -> list[dict[str, Any]]:
        """A hundred users in the order of their ids, from the one after ``after`` on (QueryUsers).

        An offset would end at 1,000. Deactivated ones are among them, deleted ones not.
        """
        query = {"id": {"$gt": after}} if after else {}
        sort = [{"field": "id", "direction": 1}]
        options = {"limit": BATCH, "include_deactivated_users": True}
        response = self._read(deadline, StreamChat.query_users, query, sort, **options)
        return _list_of(response, "users")

    def upsert_users(self, users: Sequence[dict[str, Any]], deadline: float) -> None:
        """Create or REPLACE up to 100 users, all or none (UpdateUsers)."""
        self._call(deadline, StreamChat.upsert_users, users)

    def update_users_partial(self, updates: Sequence[dict[str, Any]], deadline: float) -> None:
        """Patch up to 100 users with ``{id, set, unset}``, all or none (UpdateUsersPartial)."""
        self._call(deadline, StreamChat.update_users_partial, updates)

    def restore_users(self, stream_ids: Sequence[str], deadline: float) -> None:
        """Bring soft-deleted users back, without their memberships (RestoreUsers)."""
        self._call(deadline, StreamChat.restore_users, stream_ids)

    def delete_users(self, stream_ids: Sequence[str], deadline: float) -> None:
        """Delete up to 100 users softly; who is gone already stays so (DeleteUsers)."""
        self._call(deadline, StreamChat.delete_users, stream_ids, "soft")

    def remove_user(self, stream_id: str, policy: str, deadline: float) -> None:
        """Remove a user by policy: ``soft``, ``hard``, ``deactivate``, or ``keep`` without tokens.

        Who is removed already stays so. A refusal is raised only if it is repeated while the user
        is there: the first may have met the moment before somebody created them.
        """
        for is_last in (False, True):
            try:
                self._remove(stream_id, policy, deadline)
                return
            except StreamRejected:
                present = self.query_users([stream_id], deadline).get(stream_id)
                if not present or present.get("deactivated_at"):
                    return
                if is_last:
                    raise

    def _remove(self, stream_id: str, policy: str, deadline: float) -> None:
        match policy:
            case "soft":
                self._call(deadline, StreamChat.delete_user, stream_id)
            case "hard":
                options = {"hard_delete": True, "mark_messages_deleted": True}
                self._call(deadline, StreamChat.delete_user, stream_id, **options)
            case "deactivate":
                self._call(deadline, StreamChat.deactivate_user, stream_id)
            case "keep":
                self.revoke_tokens(stream_id, datetime.now(UTC), deadline)
            case _:
                raise ValueError(f"unknown delete policy {policy!r}")

    def revoke_tokens(self, stream_id: str, before: datetime, deadline: float) -> None:
        """Make a user's tokens issued before an aware time fail (UpdateUsersPartial)."""
        fields = {"revoke_tokens_issued_before": before.isoformat()}
        self.update_users_partial([{"id": stream_id, "set": fields}], deadline)

    def get_or_create_channel(
        self, cid: str, data: Mapping[str, Any], deadline: float
    ) -> dict[str, Any]:
        """``channel`` and ``members``, the first 100 of them (GetOrCreateChannel).

        An existing channel is returned as it is: neither ``data`` nor its members are merged in.
        """
        response = self._call(deadline, _get_or_create_channel, cid, data)
        try:
            return {"channel": response["channel"], "members": response["members"]}
        except (KeyError, TypeError) as error:
            raise StreamUnavailable("Stream answered without a channel") from error

    def query_channels(self, cids: Sequence[str], deadline: float) -> dict[str, dict[str, Any]]:
        """Those of up to 30 channels that exist, by cid, each with up to 100 members.

        Deleted ones are not among them (QueryChannels).
        """
        options = {"limit": CHANNELS, "member_limit": BATCH, "message_limit": 0}
        query = {"cid": {"$in": list(cids)}}
        response = self._read(deadline, StreamChat.query_channels, query, **options)
        try:
            return {state["channel"]["cid"]: state for state in response["channels"]}
        except (KeyError, TypeError) as error:
            raise StreamUnavailable("Stream answered without channels") from error

    def list_channels(
        self, since: str, offset: int, team: str | None, deadline: float
    ) -> list[dict[str, Any]]:
        """Thirty channels in the order of their creation, from a time on (QueryChannels).

        ``offset`` skips those of that very time that were seen. Stream takes no more than 1,000:
        beyond, the others of that time are left out.
        """
        operator = "$gte" if offset <= MAX_OFFSET else "$gt"
        query: dict[str, Any] = {"created_at": {operator: since}} if since else {}
        if team:
            query["team"] = team
        sort = [{"field": "created_at", "direction": 1}]
        options = {"limit": CHANNELS, "member_limit": 0, "message_limit": 0}
        options["offset"] = offset if offset <= MAX_OFFSET else 0
        response = self._read(deadline, StreamChat.query_channels, query, sort, **options)
        return [state["channel"] for state in _list_of(response, "channels")]

    def query_members(self, cid: str, deadline: float) -> list[str]:
        """The Stream ids of all members, a hundred per call (QueryMembers)."""
        members: list[str] = []
        while True:
            page = self._read(deadline, _query_members, cid, len(members))
            members += [member["user_id"] for member in page]
            if len(page) < BATCH:
                return members

    def add_members(self, cid: str, stream_ids: Sequence[str], deadline: float) -> None:
        """Add members; those who are there already stay (UpdateChannel, a hundred per call)."""
        for batch in batches(stream_ids):
            self._call(deadline, _update_channel, cid, add_members=batch)

    def remove_members(self, cid: str, stream_ids: Sequence[str], deadline: float) -> None:
        """Remove members, with their history left in place (UpdateChannel)."""
        for batch in batches(stream_ids):
            self._call(deadline, _update_channel, cid, remove_members=batch)

    def update_channel_partial(self, cid: str, fields: Mapping[str, Any], deadline: float) -> None:
        """Set some fields, and leave all others as they are (UpdateChannelPartial)."""
        self._call(deadline, _update_channel_partial, cid, fields)

    def delete_channel(self, cid: str, hard: bool, deadline: float) -> None:
        """Delete a channel; softly, its messages can still be had from Stream (DeleteChannel)."""
        self._call(deadline, _delete_channel, cid, hard)

    def app_settings(self, deadline: float) -> dict[str, Any]:
        """The app's settings, among them where webhooks go (GetApp)."""
        app = self._read(deadline, StreamChat.get_app_settings).get("app")
        return app if isinstance(app, dict) else {}

    def user_token(self, stream_id: str, issued_at: int, expires_at: int) -> str:
        """A token for a chat client; made here, without asking Stream."""
        with self._client() as chat:
            return chat.create_token(stream_id, exp=expires_at, iat=issued_at)

    def _read(self, deadline: float, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        for pause in PAUSES_BETWEEN_READS:
            try:
                return self._call(deadline, method, *args, **options)
            except StreamUnavailable:
                pause *= random.uniform(0.5, 1.5)
                if time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)
        return self._call(deadline, method, *args, **options)

    def _call(self, deadline: float, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        operation = method.__name__
        pace = self._local.pace = self._paces.setdefault(operation, Pace())
        with (
            pace.call(operation, self._left_to_others, deadline),
            self._client() as chat,
        ):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Postponed(f"{operation}: no time left for it")
            chat.timeout = (min(left, _CONNECT_SECONDS), min(left, _READ_SECONDS))  # type: ignore[assignment]
            try:
                return method(chat, *args, **options)
            except requests.RequestException as error:
                raise StreamUnavailable(f"{operation}: {type(error).__name__}") from error

    @contextmanager
    def _client(self) -> Iterator[StreamChat]:
        """A client for one call at a time: neither StreamChat nor requests promises more.

        Who was used last comes first, so that no more connections are opened than there are calls
        at once, whichever threads make them.
        """
        try:
            chat = self._idle.pop()
        except IndexError:
            chat = self._new_client()
        try:
            yield chat
        finally:
            self._idle.append(chat)

    def _new_client(self) -> StreamChat:
        api_key, api_secret, base_url = self._app
        chat = StreamChat(api_key, api_secret, base_url=base_url)
        session = requests.Session()
        for scheme in ("http://", "https://"):
            # The SDK's own adapter repeats GET and DELETE, and sleeps out a Retry-After.
            session.mount(scheme, HTTPAdapter(max_retries=0))
        # Once: requests would look for proxies, and for a .netrc on disk, at every call.
        environment = session.merge_environment_settings(chat.base_url, {}, None, None, None)
        session.proxies, session.verify = environment["proxies"], environment["verify"]
        session.trust_env = False
        session.hooks["response"].append(self._examine)
        chat.set_http_session(session)
        return chat

    def _examine(self, response: requests.Response, **_: object) -> None:
        """Note the rate limit of an answer, and raise one of our exceptions unless it succeeded.

        A hook, because the SDK's own exception drops the headers, its parser fails on JSON that is
        no object, and a redirected POST would become a GET. Decided by status and code, never by
        text; every success of Stream's says its ``duration``.
        """
        rate_limit = _rate_limit(response.headers)
        pace: Pace = self._local.pace
        status = response.status_code
        body = _json_object(response)
        if status in (200, 201) and "duration" in body:
            pace.note(rate_limit)
            return
        # Without Stream's envelope it is a gateway that speaks, for Stream or in its way.
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


def _get_or_create_channel(chat: StreamChat, cid: str, data: Mapping[str, Any]) -> Any:
    body = {"data": data, "state": True, "messages": {"limit": 0}, "members": {"limit": BATCH}}
    return chat.post(f"{_channel(chat, cid).url}/query", data=body)


def _update_channel(chat: StreamChat, cid: str, **change: Sequence[str]) -> Any:
    data = {name: list(stream_ids) for name, stream_ids in change.items()}
    return chat.post(_channel(chat, cid).url, data=data)


def _update_channel_partial(chat: StreamChat, cid: str, fields: Mapping[str, Any]) -> Any:
    return chat.patch(_channel(chat, cid).url, data={"set": dict(fields)})


def _delete_channel(chat: StreamChat, cid: str, hard: bool) -> Any:
    return _channel(chat, cid).delete(hard=hard)


def _query_members(chat: StreamChat, cid: str, offset: int) -> Any:
    sort = [{"field": "created_at", "direction": 1}]
    return _channel(chat, cid).query_members({}, sort, limit=BATCH, offset=offset)


def _channel(chat: StreamChat, cid: str) -> Any:
    channel_type, _, channel_id = cid.partition(":")
    return chat.channel(channel_type, channel_id)


def _list_of(response: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    listed = response.get(name)
    if not isinstance(listed, list):
        raise StreamUnavailable(f"Stream answered without {name}")
    return listed


def _query_chunks(stream_ids: Sequence[str]) -> list[list[str]]:
    """``stream_ids`` in lists that one QueryUsers answers whole: 100 ids, 6 KB of URL."""
    chunks: list[list[str]] = []
    size = 0
    for stream_id in stream_ids:
        # Quotes, comma and blank are sent as %22%2C+%22, and an @ as %40.
        length = len(stream_id) + 2 * stream_id.count("@") + 10
        if not chunks or len(chunks[-1]) == BATCH or size + length > _MAX_QUERY_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(stream_id)
        size += length
    return chunks


def _json_object(response: requests.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _without_values(message: object) -> str:
    """Stream's message without what it quotes: names and roles, which belong in no log."""
    outer = re.sub(r'^(\w+ failed with error: )"(.*)"$', r"\1\2", str(message), flags=re.DOTALL)
    return re.sub(r"""(\\?["'`]).*?\1""", "(...)", outer, flags=re.DOTALL)


def _retry_after(headers: Mapping[str, str], rate_limit: RateLimit | None) -> int:
    """In seconds: until the window's reset, or the next second if the window has calls left.

    Where nothing is said of a window, what ``Retry-After`` says, else 60.
    """
    stated = headers.get("retry-after", "")
    seconds = int(stated) if stated.isdecimal() else 60
    if rate_limit:
        seconds = 1 if rate_limit.remaining else math.ceil(rate_limit.reset - time.time())
    return min(max(1, seconds), _MAX_WINDOW_SECONDS)


def _rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Behind proxies a value can stand twice, as in ``300, 300``; some calls have no limit."""
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    values = [headers.get(name, "").split(",")[0].strip() for name in names]
    if not all(map(str.isdecimal, values)):
        return None
    limit, remaining, reset = map(int, values)
    now = time.time()
    # A reset in the past or in a far future means that one of the clocks is wrong.
    return RateLimit(limit, remaining, min(max(reset, now + 1), now + _MAX_WINDOW_SECONDS))
