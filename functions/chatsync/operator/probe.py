"""``verify --probe``: what is assumed of Stream, beside what Stream does.

Each assumption is a switch of the local Stream server, by the same name, and is tried by a few
calls. Whatever comes out, the functions are built to bear it (tests/fast/test_stream_otherwise.py);
a difference is told so that the local server can be set to what is true.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ..clients import Clients
from ..errors import Temporary
from . import throwaway
from .options import FINDINGS, IN_SYNC, Refused
from .stream_requests import Answer, StreamRequests
from .terminal import print_json, print_line, stderr
from .throwaway import PREFIX, Made

Seen = str | bool | int

_IDS = 32
"""Enough for all probes: each takes its own."""

_BURST = 15
"""More than a thirtieth of the 300 UpdateUsersPartial that Stream allows in a minute."""

_PAUSE_SECONDS = 0.1
_CODE_BAD_INPUT, _CODE_DOES_NOT_EXIST, _CODE_RATE_LIMIT = 4, 16, 9


class Probe:
    """A Stream app, and ids in it that nobody has used, each to be taken once."""

    def __init__(self, clients: Clients, seconds: float) -> None:
        self.seconds = seconds
        """How long to wait for what Stream does in its own time."""
        run_id = secrets.token_hex(4)
        self.ids = tuple(f"{PREFIX}{run_id}-{number}" for number in range(_IDS))
        self._taken: list[str] = []
        self.channels: list[str] = []
        self.ask = StreamRequests(clients).ask

    def all_made(self) -> Made:
        """What may be made, before anything is: each id may be a user's or a channel's."""
        return Made(stream_ids=self.ids, cids=tuple(map(_cid, self.ids)))

    def made(self) -> Made:
        """What was made."""
        return Made(stream_ids=tuple(self._taken), cids=tuple(map(_cid, self.channels)))

    def new_id(self) -> str:
        """Of a user or a channel that Stream has never seen."""
        self._taken.append(self.ids[len(self._taken)])
        return self._taken[-1]

    def new_user(self, **fields: object) -> str:
        user_id = self.new_id()
        self.must("POST", "/users", {"users": {user_id: {"id": user_id, **fields}}})
        return user_id

    def must(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """The answer to a call that prepares a probe. Raises Refused."""
        answer = self.ask(method, path, body)
        if not answer.is_ok:
            raise Refused(f"{method} {path} is refused: {answer}")
        return answer

    def user(self, user_id: str) -> Mapping[str, Any]:
        """The user, empty if Stream doesn't find them."""
        payload = json.dumps({"filter_conditions": {"id": user_id}, "sort": []})
        users = self.ask("GET", "/users", query={"payload": payload}).body.get("users")
        return users[0] if users else {}

    def new_channel_id(self) -> str:
        self.channels.append(self.new_id())
        return self.channels[-1]

    def open_channel(self, channel_id: str, creator: str, *members: str, **data: object) -> Answer:
        fields = {"created_by_id": creator, "members": list(members), **data}
        body = {"data": fields, "state": True}
        return self.ask("POST", f"/channels/messaging/{channel_id}/query", body)

    def ms_until_channel_of(self, *members: str) -> int:
        """Until Stream takes these new users into a new channel; 0 if it does so at once."""
        channel_id, began, refusals = self.new_channel_id(), time.monotonic(), 0
        while not (answer := self.open_channel(channel_id, members[0], *members)).is_ok:
            refusals += 1
            if time.monotonic() - began > self.seconds:
                raise Refused(f"channels don't know new users within {self.seconds:g} s: {answer}")
            time.sleep(_PAUSE_SECONDS)
        return round(1000 * (time.monotonic() - began)) if refusals else 0


def _cid(channel_id: str) -> str:
    return f"messaging:{channel_id}"


def burst_guard(probe: Probe) -> Seen:
    user_id = probe.new_user()
    body = {"users": [{"id": user_id, "set": {"probe": 1}}]}

    def patch(_: int) -> Answer:
        return probe.ask("PATCH", "/users", body, patiently=False)

    with ThreadPoolExecutor(_BURST) as pool:
        return any(answer.code == _CODE_RATE_LIMIT for answer in pool.map(patch, range(_BURST)))


def users_unknown_ms_after_upsert(probe: Probe) -> Seen:
    return probe.ms_until_channel_of(probe.new_user())


def enforce_unique_usernames(probe: Probe) -> Seen:
    app = probe.must("GET", "/app").body.get("app") or {}
    return str(app.get("enforce_unique_usernames"))


def upsert_resets_omitted(probe: Probe) -> Seen:
    user_id = probe.new_user(role="admin", teams=["verify"])
    probe.must("POST", "/users", {"users": {user_id: {"id": user_id}}})
    user = probe.user(user_id)
    is_reset = {user.get("role") == "user", not user.get("teams")}
    return is_reset.pop() if len(is_reset) == 1 else "one of role and teams"


def hard_delete_blocks_id_reuse(probe: Probe) -> Seen:
    user_id = probe.new_user()
    query = {"hard_delete": "true", "mark_messages_deleted": "true"}
    probe.ask("DELETE", f"/users/{user_id}", query=query)
    return not probe.ask("POST", "/users", {"users": {user_id: {"id": user_id}}}).is_ok


def unknown_user_refusal(probe: Probe) -> Seen:
    user_id = probe.new_id()
    patch = {"users": [{"id": user_id, "set": {"probe": 1}}]}
    answers = probe.ask("PATCH", "/users", patch), probe.ask("DELETE", f"/users/{user_id}")
    return " or ".join(sorted(set(map(_named, answers))))


def _named(answer: Answer) -> str:
    if answer.is_ok:
        return "accepted"
    names = {_CODE_BAD_INPUT: "bad_input", _CODE_DOES_NOT_EXIST: "not_found"}
    return names.get(answer.code or 0, str(answer))


def restore_all_or_nothing(probe: Probe) -> Seen:
    deleted, unknown = probe.new_user(), probe.new_id()
    probe.must("DELETE", f"/users/{deleted}")
    probe.ask("POST", "/users/restore", {"user_ids": [deleted, unknown]})
    return not probe.user(deleted)


def repeated_deactivation(probe: Probe) -> Seen:
    path = f"/users/{probe.new_user()}/deactivate"
    probe.must("POST", path, {})
    return "accepted" if probe.ask("POST", path, {}).is_ok else "refused"


def task_status(probe: Probe) -> Seen:
    hard = dict.fromkeys(("user", "messages", "conversations"), "hard")
    task = probe.must("POST", "/users/delete", {"user_ids": [probe.new_user()], **hard})
    deadline = time.monotonic() + probe.seconds
    while True:
        status = str(probe.ask("GET", f"/tasks/{task.body.get('task_id')}").body.get("status"))
        if status in ("completed", "failed") or time.monotonic() > deadline:
            return status
        time.sleep(5 * _PAUSE_SECONDS)


def unknown_creator(probe: Probe) -> Seen:
    return (
        "created" if probe.open_channel(probe.new_channel_id(), probe.new_id()).is_ok else "refused"
    )


def deleted_member(probe: Probe) -> Seen:
    creator, deleted = probe.new_user(), probe.new_user()
    probe.ms_until_channel_of(creator, deleted)
    probe.must("DELETE", f"/users/{deleted}")
    seen = _named(probe.open_channel(probe.new_channel_id(), creator, creator, deleted))
    return {"not_found": "deleted", "bad_input": "unknown"}.get(seen, seen)


def team_mismatch(probe: Probe) -> Seen:
    outsider = probe.new_user()
    probe.ms_until_channel_of(outsider)
    answer = probe.open_channel(probe.new_channel_id(), outsider, outsider, team="verify")
    return "accepted" if answer.is_ok else "refused"


def existing_channel_adds_members(probe: Probe) -> Seen:
    creator, other = probe.new_user(), probe.new_user()
    probe.ms_until_channel_of(creator, other)
    channel_id = probe.new_channel_id()
    probe.open_channel(channel_id, creator, creator)
    answer = probe.open_channel(channel_id, creator, creator, other)
    return other in [member.get("user_id") for member in answer.body.get("members") or []]


class Assumption(NamedTuple):
    """The calls that show it, named like the switch of the local Stream server, and what is
    assumed."""

    see: Callable[[Probe], Seen]
    assumed: Seen
    says: str

    @property
    def switch(self) -> str:
        return self.see.__name__


ASSUMPTIONS = (
    Assumption(burst_guard, True, "a limit of a minute also holds per second"),
    Assumption(users_unknown_ms_after_upsert, 0, "for so many ms channels don't know a new user"),
    Assumption(enforce_unique_usernames, "no", "names must be unique (setting of the app)"),
    Assumption(upsert_resets_omitted, True, "an upsert without role and teams sets them back"),
    Assumption(
        hard_delete_blocks_id_reuse, True, "the id of a user who was deleted hard is used up"
    ),
    Assumption(
        unknown_user_refusal, "not_found", "a patch or deletion of an unknown user is refused as"
    ),
    Assumption(restore_all_or_nothing, True, "RestoreUsers brings nobody back if one id is bad"),
    Assumption(repeated_deactivation, "refused", "a second DeactivateUser is"),
    Assumption(task_status, "completed", "the task of a hard deletion ends as"),
    Assumption(unknown_creator, "refused", "a channel's creator who doesn't exist is"),
    Assumption(deleted_member, "deleted", "a deleted user in a new channel is told as"),
    Assumption(team_mismatch, "accepted", "a new channel with a member outside of its team is"),
    Assumption(
        existing_channel_adds_members, False, "get-or-create of an existing channel adds members"
    ),
)


def run(clients: Clients, seconds: float, as_json: bool) -> int:
    """Try all assumptions, print each beside what was seen, and remove what was made."""
    probe = Probe(clients, seconds)
    throwaway.note(probe.all_made(), clients)
    seen: dict[str, Seen] = {}
    try:
        for one in ASSUMPTIONS:
            with stderr.status(f"{one.switch} ..."):
                seen[one.switch] = _seen(one, probe)
            if not as_json:
                print_line(_line(one, seen[one.switch]))
    finally:
        with stderr.status("Removing what was made ..."):
            failed = throwaway.remove(probe.made(), clients)
        if failed:
            told = f"Not removed: {'; '.join(failed)}. The next run tries again."
            stderr.print(told, style="red", soft_wrap=True)
    if as_json:
        rows = [
            {
                "switch": one.switch,
                "says": one.says,
                "assumed": one.assumed,
                "seen": seen[one.switch],
                "agrees": seen[one.switch] == one.assumed,
            }
            for one in ASSUMPTIONS
        ]
        print_json(rows)
    agree = all(seen[one.switch] == one.assumed for one in ASSUMPTIONS)
    return IN_SYNC if agree and not failed else FINDINGS


def _seen(one: Assumption, probe: Probe) -> Seen:
    try:
        return one.see(probe)
    except (Refused, Temporary) as error:
        return f"not seen: {error}"


def _line(one: Assumption, seen: Seen) -> str:
    mark = "ok" if seen == one.assumed else "no"
    assumed, found = (json.dumps(value) for value in (one.assumed, seen))
    return f"{mark}  {one.switch:<30} assumed {assumed:<12} seen {found:<12} {one.says}"
