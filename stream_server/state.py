"""What the server remembers, and the switches for what is not known about Stream."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .bodies import Bodies
from .connections import Connections
from .data import Data
from .faults import Fault
from .limits import Limit
from .webhooks import Webhooks

Json = dict[str, Any]

MAX_LOGGED_REQUESTS = 100_000
WEBHOOK_SETTINGS = ("webhook_url", "webhook_events", "event_hooks")


@dataclass(frozen=True)
class Switch:
    default: str | bool | int
    choices: tuple[str | bool, ...] | range
    meaning: str

    def accepts(self, value: object) -> bool:
        # By type as well, because in Python 1 is one of (True, False).
        return value in self.choices and type(value) is type(self.default)

    def expected(self) -> str:
        if isinstance(self.choices, range):
            return f"a whole number from {self.choices[0]} to {self.choices[-1]}"
        return f"one of {json.dumps(self.choices)}"


ON_OFF = (True, False)


@dataclass(frozen=True)
class Caller:
    """Who makes the call that is worked on."""

    user_id: str | None = None
    """None is a server, which may do everything."""
    connection_id: str | None = None
    request_info: Json = field(default_factory=dict)
    origin: str = ""
    """The address of this server, as the caller knows it."""


SWITCHES = {
    "burst_guard": Switch(
        False,
        ON_OFF,
        "A limit also holds per second: a thirtieth of what a minute allows, at least one call. "
        "Stream documents that it does. Off, because then two upserts in a test are a burst.",
    ),
    "users_unknown_ms_after_upsert": Switch(
        0,
        range(600_001),
        "For so long channels don't know a user whom UpdateUsers created or RestoreUsers brought "
        "back, though QueryUsers finds them. Seen once, in 2020, and never explained.",
    ),
    "enforce_unique_usernames": Switch(
        "no",
        ("no", "app", "team"),
        "Stream's app setting: must a user's name be unique in the app, or in each team?",
    ),
    "upsert_resets_omitted": Switch(
        True,
        ON_OFF,
        "An upsert without role or teams sets them back. Assumed: the docs say only 'replaces'.",
    ),
    "hard_delete_blocks_id_reuse": Switch(
        True,
        ON_OFF,
        "A hard-deleted or pruned id can't be used again. Sources disagree: Stream's maintainers "
        "say so, its own CI re-used such ids for years.",
    ),
    "unknown_user_refusal": Switch(
        "not_found",
        ("not_found", "bad_input"),
        "How calls on single users refuse an id that doesn't exist, or restore one that isn't "
        "deleted: 404 code 16 or 400 code 4. Assumed: no source shows it.",
    ),
    "restore_all_or_nothing": Switch(
        True,
        ON_OFF,
        "RestoreUsers refuses the whole call for one bad id; if off, it passes over such ids. "
        "Assumed: no source shows it.",
    ),
    "repeated_deactivation": Switch(
        "refused",
        ("refused", "accepted"),
        "DeactivateUser for a deactivated user, refused with 400 code 4. Assumed by analogy with "
        "reactivating an active user.",
    ),
    "task_status": Switch(
        "completed",
        ("completed", "running", "failed"),
        "What GetTask says of every task. The effect itself is always immediate here; a real "
        "hard delete takes 15 to 35 seconds.",
    ),
    "unknown_creator": Switch(
        "refused",
        ("refused", "created"),
        "A channel's creator who doesn't exist. Created on the fly in 2019 to 2021; assumed to be "
        "refused like a member today.",
    ),
    "deleted_member": Switch(
        "deleted",
        ("deleted", "unknown"),
        "A deleted user in a new channel is reported as 'was deleted' (404 code 16), or like one "
        "that never existed (400 code 4). Seen: the first; for members it is assumed.",
    ),
    "team_mismatch": Switch(
        "accepted",
        ("accepted", "refused"),
        "A new channel with members outside its team. Assumed to be accepted server-side.",
    ),
    "existing_channel_adds_members": Switch(
        False,
        ON_OFF,
        "Get-or-create of an existing channel adds the members it names. Assumed not to, as it "
        "does not merge data either.",
    ),
}


@dataclass
class State:
    """All of the server's memory; user_shapes.py and channel_shapes.py tell what is kept.

    With ``data``, what is in it survives the process, but for what data.py names.
    """

    limits: dict[str, Limit]
    webhooks: Webhooks = field(default_factory=Webhooks)
    connections: Connections = field(default_factory=Connections)
    caller: Caller = field(default_factory=Caller)
    """Of the present call: handlers never wait, so there is one at a time."""
    app: Json = field(default_factory=dict)
    """The app settings that are not what a new app has; see application.py."""
    users: dict[str, Json] = field(default_factory=dict)
    erased_ids: set[str] = field(default_factory=set)
    unknown_to_channels_until: dict[str, float] = field(default_factory=dict)
    """By user, in the time of ``time.monotonic()``: see users_unknown_ms_after_upsert."""
    channels: dict[str, Json] = field(default_factory=dict)
    cids_by_member: dict[str, dict[str, None]] = field(default_factory=dict)
    """The channels of each user; an index of their members."""
    message_cids: dict[str, str] = field(default_factory=dict)
    """The channel of each message by the message's id, which is unique in the app."""
    deleted_cids: set[str] = field(default_factory=set)
    """Of channels that were deleted softly and not created again."""
    bans: dict[tuple[str, str | None, str], Json] = field(default_factory=dict)
    """By user, channel (None: from the app) and flag; see moderation.py."""
    files: dict[str, Json] = field(default_factory=dict)
    user_mutes: dict[str, dict[str, Json]] = field(default_factory=dict)
    channel_mutes: dict[str, dict[str, Json]] = field(default_factory=dict)
    """What each user muted: user id or cid -> {"created_at", "updated_at", "expires"?}."""
    blocks: dict[str, dict[str, str]] = field(default_factory=dict)
    """Since when each user blocks whom."""
    devices: dict[str, dict[str, Json]] = field(default_factory=dict)
    """Of each user, by the device's id."""
    flags: dict[str, Json] = field(default_factory=dict)
    """By what is flagged, and who did; see flags.py."""
    events: dict[tuple[str, str, str | None], str] = field(default_factory=dict)
    """The last of channels; see event_log.py."""
    forgotten_events: dict[str, str] = field(default_factory=dict)
    """ "until": the time of the last event that is not among them any more."""
    tasks: dict[str, Json] = field(default_factory=dict)
    switches: dict[str, Any] = field(
        default_factory=lambda: {name: switch.default for name, switch in SWITCHES.items()}
    )
    faults: list[Fault] = field(default_factory=list)
    requests: deque[Json] = field(default_factory=lambda: deque(maxlen=MAX_LOGGED_REQUESTS))
    request_count: int = 0
    bodies: Bodies = field(default_factory=Bodies)
    """Of the last requests."""
    resets: int = 0
    data: Data | None = None

    def join(self, record: Json, user_id: str, membership: Json) -> None:
        record["members"][user_id] = membership
        self.cids_by_member.setdefault(user_id, {})[record["channel"]["cid"]] = None

    def leave(self, record: Json, user_id: str) -> None:
        for part in ("members", "hidden", "cleared"):
            record[part].pop(user_id, None)
        self.cids_by_member.get(user_id, {}).pop(record["channel"]["cid"], None)

    def channels_of(self, user_id: str) -> list[Json]:
        return [self.channels[cid] for cid in self.cids_by_member.get(user_id, {})]

    def hide_from_channels(self, user_ids: Iterable[str]) -> None:
        """For as long as the switch says, channels don't know these users."""
        if delay_ms := self.switches["users_unknown_ms_after_upsert"]:
            until = time.monotonic() + delay_ms / 1000
            self.unknown_to_channels_until |= dict.fromkeys(user_ids, until)

    def is_known_to_channels(self, user_id: str) -> bool:
        return time.monotonic() >= self.unknown_to_channels_until.get(user_id, 0)

    def save(self) -> None:
        """For the end of whatever may change the state, before it waits for anything."""
        if self.data:
            self.data.save(self)

    def reset(self) -> None:
        """Forgets everything but the limits, whose windows begin anew, and the webhook's target.

        The numbers of the request log go on, so that "since" stays right across a reset.
        """
        for limit in self.limits.values():
            limit.restart()
        self.webhooks.reset()
        self.connections.reset()
        State.__init__(
            self,
            limits=self.limits,
            webhooks=self.webhooks,
            connections=self.connections,
            app={name: self.app[name] for name in WEBHOOK_SETTINGS if name in self.app},
            request_count=self.request_count,
            resets=self.resets + 1,
            data=self.data,
        )
