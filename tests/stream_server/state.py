"""What the server remembers, and the switches for what is not known about Stream."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .faults import Fault
from .limits import Limit

Json = dict[str, Any]

MAX_LOGGED_REQUESTS = 100_000


@dataclass(frozen=True)
class Switch:
    default: str | bool
    choices: tuple[str | bool, ...]
    meaning: str


ON_OFF = (True, False)

SWITCHES = {
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
    """All of the server's memory; users and channels are kept in the shape of the answers."""

    limits: dict[str, Limit]
    users: dict[str, Json] = field(default_factory=dict)
    erased_ids: set[str] = field(default_factory=set)
    channels: dict[str, Json] = field(default_factory=dict)
    tasks: dict[str, Json] = field(default_factory=dict)
    switches: dict[str, str | bool] = field(
        default_factory=lambda: {name: switch.default for name, switch in SWITCHES.items()}
    )
    faults: list[Fault] = field(default_factory=list)
    requests: deque[Json] = field(default_factory=lambda: deque(maxlen=MAX_LOGGED_REQUESTS))
    request_count: int = 0
    resets: int = 0

    def reset(self) -> None:
        """Forgets everything but the limits, whose windows begin anew.

        The numbers of the request log go on, so that "since" stays right across a reset.
        """
        for limit in self.limits.values():
            limit.restart()
        self.__init__(limits=self.limits, request_count=self.request_count, resets=self.resets + 1)
