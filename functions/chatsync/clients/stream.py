"""Stream Chat's REST API, as far as this package uses it.

Only this module and ``stream_calls`` know ``stream_chat``, which has been in maintenance mode since
March 2026: its successor ``getstream`` can take its place here. Facts come from Stream's
documentation and public OpenAPI document.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import StreamRejected, StreamUnavailable
from ..side_by_side import BATCH, batches
from .stream_calls import Calls, allow

if TYPE_CHECKING:
    from stream_chat import StreamChat

CHANNELS = 30
"""Channels per call of QueryChannels; asked for more, it returns 30."""
MAX_OFFSET = 1_000

_MAX_QUERY_BYTES = 6_000
"""An id list travels in the URL of a GET; gateways refuse long ones."""

CODES_OF_BAD_DATA = (4, 6, 22, 73)
"""Bad input, name taken, too much data, refused by moderation."""

CODE_DOES_NOT_EXIST = 16
"""Unknown, deleted or deactivated, with HTTP status 404."""


class Stream:
    """A Stream app, with server-side rights. Safe to share between threads.

    Every method raises StreamUnavailable and StreamRateLimited (try again later),
    StreamCredentialsRejected (nobody can be served) and StreamRejected (this request never works).

    A failed read is repeated after a pause. A write is not: if its answer was lost, Stream may have
    applied it or not, and the caller should read before repeating it. No call begins after
    ``deadline``, in the time of ``time.monotonic()``, or waits for Stream beyond it. No call is
    made for which Stream's rate limits have no room, as far as this process knows. Before each
    write ``before_write`` is called, and its error is raised: such as Paused.
    """

    def __init__(
        self,
        api_key: str,
        api_secret: str,
        base_url: str | None = None,
        before_write: Callable[[], None] = allow,
    ) -> None:
        self._calls = Calls(api_key, api_secret, base_url, before_write)

    def calls(self) -> int:
        """How many calls this process has made so far."""
        return self._calls.made()

    def leaving(self, share: float) -> "Stream":
        """The same app, but its calls leave ``share`` of every rate limit to others."""
        copied = copy.copy(self)
        copied._calls = self._calls.leaving(share)
        return copied

    def query_users(self, stream_ids: Sequence[str], deadline: float) -> dict[str, dict[str, Any]]:
        """The users that exist, by id; deactivated ones too, deleted ones not (QueryUsers)."""
        found: dict[str, dict[str, Any]] = {}
        for ids in _query_chunks(stream_ids):
            query = {"id": {"$in": ids}}
            options = {"limit": BATCH, "include_deactivated_users": True}
            response = self._calls.read(deadline, "query_users", query, **options)
            with _answered("users"):
                found.update((user["id"], user) for user in response["users"])
        return found

    def list_users(self, after: str, deadline: float) -> list[dict[str, Any]]:
        """A hundred users in the order of their ids, from the one after ``after`` on (QueryUsers).

        An offset would end at 1,000. Deactivated users are included, deleted ones not.
        """
        query = {"id": {"$gt": after}} if after else {}
        sort = [{"field": "id", "direction": 1}]
        options = {"limit": BATCH, "include_deactivated_users": True}
        response = self._calls.read(deadline, "query_users", query, sort, **options)
        return _list_of(response, "users")

    def upsert_users(self, users: Sequence[dict[str, Any]], deadline: float) -> None:
        """Create or REPLACE up to 100 users, all or none (UpdateUsers)."""
        self._calls.write(deadline, "upsert_users", users)

    def update_users_partial(self, updates: Sequence[dict[str, Any]], deadline: float) -> None:
        """Patch up to 100 users with ``{id, set, unset}``, all or none (UpdateUsersPartial)."""
        self._calls.write(deadline, "update_users_partial", updates)

    def restore_users(self, stream_ids: Sequence[str], deadline: float) -> None:
        """Bring soft-deleted users back, without their memberships (RestoreUsers)."""
        self._calls.write(deadline, "restore_users", stream_ids)

    def delete_users(self, stream_ids: Sequence[str], deadline: float) -> None:
        """Delete up to 100 users softly; deleted ones stay deleted (DeleteUsers)."""
        self._calls.write(deadline, "delete_users", stream_ids, "soft")

    def remove_user(self, stream_id: str, policy: str, deadline: float) -> None:
        """Remove a user by policy: ``soft``, ``hard``, ``deactivate``, or ``keep`` without tokens.

        A removed user stays removed. A refusal is raised only if it repeats while the user exists:
        the first one may have come just before somebody created the user.
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
                self._calls.write(deadline, "delete_user", stream_id)
            case "hard":
                options = {"hard_delete": True, "mark_messages_deleted": True}
                self._calls.write(deadline, "delete_user", stream_id, **options)
            case "deactivate":
                self._calls.write(deadline, "deactivate_user", stream_id)
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
        response = self._calls.write(deadline, _get_or_create_channel, cid, data)
        with _answered("a channel"):
            return {"channel": response["channel"], "members": response["members"]}

    def query_channels(self, cids: Sequence[str], deadline: float) -> dict[str, dict[str, Any]]:
        """The channels that exist among up to 30, by cid, each with up to 100 members.

        Deleted channels are left out (QueryChannels).
        """
        options = {"limit": CHANNELS, "member_limit": BATCH, "message_limit": 0}
        query = {"cid": {"$in": list(cids)}}
        response = self._calls.read(deadline, "query_channels", query, **options)
        with _answered("channels"):
            return {state["channel"]["cid"]: state for state in response["channels"]}

    def list_channels(
        self, since: str, offset: int, team: str | None, deadline: float
    ) -> list[dict[str, Any]]:
        """Thirty channels in the order of their creation, from a time on (QueryChannels).

        ``offset`` skips the channels of exactly that time that were seen already. Stream takes no
        offset over 1,000: with a larger one, the other channels of that time are left out.
        """
        operator = "$gte" if offset <= MAX_OFFSET else "$gt"
        query: dict[str, Any] = {"created_at": {operator: since}} if since else {}
        if team:
            query["team"] = team
        sort = [{"field": "created_at", "direction": 1}]
        options = {"limit": CHANNELS, "member_limit": 0, "message_limit": 0}
        options["offset"] = offset if offset <= MAX_OFFSET else 0
        response = self._calls.read(deadline, "query_channels", query, sort, **options)
        return [state["channel"] for state in _list_of(response, "channels")]

    def query_members(self, cid: str, deadline: float) -> list[str]:
        """The Stream ids of all members, a hundred per call (QueryMembers)."""
        members: list[str] = []
        while True:
            page = self._calls.read(deadline, _query_members, cid, len(members))
            members += [member["user_id"] for member in page]
            if len(page) < BATCH:
                return members

    def add_members(self, cid: str, stream_ids: Sequence[str], deadline: float) -> None:
        """Add members; those who are there already stay (UpdateChannel, a hundred per call)."""
        for batch in batches(stream_ids):
            self._calls.write(deadline, _update_channel, cid, add_members=batch)

    def remove_members(self, cid: str, stream_ids: Sequence[str], deadline: float) -> None:
        """Remove members, with their history left in place (UpdateChannel)."""
        for batch in batches(stream_ids):
            self._calls.write(deadline, _update_channel, cid, remove_members=batch)

    def update_channel_partial(self, cid: str, fields: Mapping[str, Any], deadline: float) -> None:
        """Set some fields, and leave all others as they are (UpdateChannelPartial)."""
        self._calls.write(deadline, _update_channel_partial, cid, fields)

    def delete_channel(self, cid: str, hard: bool, deadline: float) -> None:
        """Delete a channel; Stream keeps the messages of one deleted softly (DeleteChannel)."""
        self._calls.write(deadline, _delete_channel, cid, hard)

    def app_settings(self, deadline: float) -> dict[str, Any]:
        """The app's settings, among them where webhooks go (GetApp)."""
        app = self._calls.read(deadline, "get_app_settings").get("app")
        return app if isinstance(app, dict) else {}

    def limits_used(self, operations: Sequence[str], deadline: float) -> dict[str, float]:
        """How much of this minute's limit was used, from 0 to 1, by operation (GetRateLimits).

        By all calls of servers; those without limit, or stated in another way, are left out.
        """
        options = {"server_side": True, "endpoints": operations}
        response = self._calls.read(deadline, "get_rate_limits", **options)
        with _answered("server_side"):
            stated = response["server_side"]
            shares = {name: _share_used(stated.get(name)) for name in operations}
        return {name: share for name, share in shares.items() if share is not None}

    def set_event_hooks(self, hooks: Sequence[Mapping[str, Any]], deadline: float) -> None:
        """Replace the whole list of places where events go (UpdateApp).

        A hook with an ``id`` stays that hook; those that are not in the list are gone.
        """
        self._calls.write(deadline, "update_app_settings", event_hooks=list(hooks))


def _get_or_create_channel(chat: "StreamChat", cid: str, data: Mapping[str, Any]) -> Any:
    body = {"data": data, "state": True, "messages": {"limit": 0}, "members": {"limit": BATCH}}
    return chat.post(f"{_channel(chat, cid).url}/query", data=body)


def _update_channel(chat: "StreamChat", cid: str, **change: Sequence[str]) -> Any:
    data = {name: list(stream_ids) for name, stream_ids in change.items()}
    return chat.post(_channel(chat, cid).url, data=data)


def _update_channel_partial(chat: "StreamChat", cid: str, fields: Mapping[str, Any]) -> Any:
    return chat.patch(_channel(chat, cid).url, data={"set": dict(fields)})


def _delete_channel(chat: "StreamChat", cid: str, hard: bool) -> Any:
    return _channel(chat, cid).delete(hard=hard)


def _query_members(chat: "StreamChat", cid: str, offset: int) -> Any:
    sort = [{"field": "created_at", "direction": 1}]
    return _channel(chat, cid).query_members({}, sort, limit=BATCH, offset=offset)


def _channel(chat: "StreamChat", cid: str) -> Any:
    channel_type, _, channel_id = cid.partition(":")
    return chat.channel(channel_type, channel_id)


def _share_used(stated: object) -> float | None:
    match stated:
        case {"limit": int(limit), "remaining": int(left)} if limit > 0:
            return round(min(1.0, max(0.0, 1 - left / limit)), 3)
    return None


@contextmanager
def _answered(what: str) -> Iterator[None]:
    """Raise StreamUnavailable where a field of an answer is missing or of another type."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise StreamUnavailable(f"Stream answered without {what}") from error


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
