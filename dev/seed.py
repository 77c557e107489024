"""A chat whose two sides have drifted apart: five of fifteen records agree."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from stream_chat import StreamChat

from dev import emulators

TEAMS = [f"gym_{n}" for n in range(1, 6)]

COMMANDS_THAT_FIX_IT = [
    ["fix-team", "room_General_4", "--team", "gym_5", "--apply"],
    ["sync-channel", "event_1", "--apply"],
    ["delete-orphan", "event_2", "--apply", "--yes"],
    ["audit", "--channels", "--repair", "only_in_firestore", "--apply", "--yes"],
]


def seed(documents: Any, stream: StreamChat, members: list[str]) -> None:
    """``documents`` is a client of Firestore; ``members`` are users in Stream, of all TEAMS."""

    def channel(channel_id: str, team: str, fields: Mapping[str, Any] | None = None) -> None:
        data = {"members": members, "team": team, **(fields or {})}
        stream.channel("messaging", channel_id, data).create(members[0])

    def record(channel_id: str, team: str) -> None:
        documents.document("conversations", channel_id).set(
            {
                "cid": f"messaging:{channel_id}",
                "channelType": "messaging",
                "channelId": channel_id,
                "conversationType": "group",
                "name": None,
                "memberIds": members,
                "participantIds": members,
                "team": team,
                "createdBy": members[0],
                "status": "ready",
                "origin": "operator",
            }
        )

    # Under the wrong tenant, with a field that a correction must not lose.
    channel("room_General_4", "gym_1", {"gym_id": 5})
    record("room_General_4", "gym_5")
    for n in (1, 2):
        channel(f"event_{n}", "gym_2")
    for n in range(9):
        record(f"lost_{n}", "gym_4")
    for n in range(5):
        channel(f"fine_{n}", "gym_3")
        record(f"fine_{n}", "gym_3")


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m chatsync`` against the emulators, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "chatsync", "--project", emulators.PROJECT, *arguments],
        cwd=emulators.ROOT / "functions",
        env={"PATH": os.environ["PATH"], **environment},  # it finds the local stack by itself
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
