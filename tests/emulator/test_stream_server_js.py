"""The local Stream server, judged by Stream's JS SDK. Needs Node, and no emulators."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from stream_chat import StreamChat
from stream_chat.channel import Channel

from stream_server.control_client import LocalStream
from stream_server.user_client import user_token

REPOSITORY = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("stream_server.mjs")
REQUIRE = "import { createRequire } from 'module'; const require = createRequire(import.meta.url);"
"""For CommonJS packages in the bundle, which is an ES module."""


@pytest.fixture
def server(own_stream_server: LocalStream) -> LocalStream:
    """With Ann, Bea and Cid, and channel c1 of the first two."""
    server = own_stream_server
    server.reset()
    chat = StreamChat(server.key, server.secret, base_url=server.url)
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    chat.channel("messaging", "c1", {"members": ["ann", "bea"], "name": "One"}).create("ann")
    return server


@pytest.fixture
def channel(server: LocalStream) -> Channel:
    """c1, as a server has it."""
    chat = StreamChat(server.key, server.secret, base_url=server.url)
    return chat.channel("messaging", "c1")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SCRIPT with all it imports in one file, which Node loads in a third of the time."""
    file = tmp_path_factory.mktemp("scenes") / "stream_server.mjs"
    esbuild = REPOSITORY / "node_modules" / ".bin" / "esbuild"
    options = ("--bundle", "--platform=node", "--format=esm", "--log-level=warning")
    command = [esbuild, SCRIPT, *options, f"--banner:js={REQUIRE}", f"--outfile={file}"]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=120)
    return file


@pytest.fixture
def play(server: LocalStream, script: Path) -> Callable[..., Any]:
    def play(scene: str, **tokens: str) -> Any:
        ours = {name: user_token(server, name) for name in ("ann", "bea", "cid")}
        finished = subprocess.run(
            ["node", script, scene],
            input=json.dumps({**ours, **tokens}),
            env={**os.environ, "STREAM_LOCAL_TEST_HOST": server.url.removeprefix("http://")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return play


@pytest.fixture
def expired(server: LocalStream) -> str:
    return user_token(server, "ann", exp=int(time.time()) - 60)


def test_a_user_connects(play):
    assert play("connect") == {
        "id": "ann",
        "name": "Ann",
        "shoe_size": 43,
        "online": True,
        "hasConnection": True,
    }


def test_a_wrong_token_is_refused(play):
    wrong = jwt.encode({"user_id": "ann"}, "not the secret")
    error = play("refused", ann=wrong)
    assert (error["code"], error["StatusCode"], error["isWSFailure"]) == (5, 401, False)
    assert "Token signature is invalid" in error["message"]


def test_an_expired_token_is_refused(play, expired):
    error = play("refused", ann=expired)
    assert (error["code"], error["StatusCode"], error["isWSFailure"]) == (40, 401, False)


def test_an_expired_token_is_replaced_by_a_new_one(play, expired):
    assert play("refreshed", old=expired) == {"id": "ann", "left": 0}


def test_a_token_that_expires_later_is_refused_in_calls(play, expired):
    assert play("expiredLater", old=expired) == {"code": 40, "status": 401}


def test_a_message_reaches_the_other_client(play):
    assert play("talk") == {
        "cid": "messaging:c1",
        "members": ["ann", "bea"],
        "text": "hello",
        "sender": "ann",
        "isTheSame": True,
        "kept": ["hello"],
        "unread": 1,
        "read": "message.read",
    }


def test_channels_members_and_users_are_found(play):
    assert play("query") == {
        "ids": ["c1"],
        "names": ["One"],
        "counts": [2],
        "found": ["bea", "bea"],
    }


def test_a_channel_is_created_and_its_members_are_told(play):
    result = play("create")
    assert result["cid"].startswith("messaging:!members-")
    assert result["told"] == result["cid"]
    ghost = result["ghost"]
    assert (ghost["code"], ghost["status"]) == (4, 400)
    assert "don't exist: [ghost]" in ghost["message"]


def test_messages_come_in_pages(play, channel):
    for number in range(1, 11):
        channel.send_message({"id": f"m{number}", "text": "hi"}, "bea")
    assert play("page") == {
        "newest": ["m8", "m9", "m10"],
        "older": ["m5", "m6", "m7"],
        "first": ["m1", "m2", "m3"],
        "hasPrev": False,
        "hasNext": True,
    }


def test_what_reaches_a_client_is_confirmed_by_it(play):
    assert play("deliver") == {"to": "bea", "isTheSame": True}


def test_a_thread_and_a_quote(play):
    result = play("thread")
    assert result.pop("found") == [[result.pop("parent"), 1]]
    assert result == {
        "main": [["question", 1], ["thanks", 0]],
        "replies": ["answer"],
        "kept": ["answer"],
        "unreadThreads": 1,
        "quoted": "question",
    }


def test_who_is_there_shows(play):
    assert play("presence") == {
        "online": ["ann", True],
        "watchers": ["ann", "bea"],
        "offline": False,
        "left": ["bea"],
        "count": 1,
    }


def test_a_channel_is_unread_again(play, channel):
    for number in range(1, 4):
        channel.send_message({"id": f"m{number}", "text": "hi"}, "ann")
    assert play("unreadAgain") == {"counted": 2, "asked": 2, "left": 0}


def test_a_banned_user_sees_that_they_cannot_send(play, channel):
    channel.ban_user("ann")
    assert play("restricted") == {"code": 17, "maySend": False, "uploads": True}


def test_a_channel_is_hidden_and_its_history_cleared(play):
    assert play("hide") == {
        "after": [True, 0, []],
        "shown": [False, ["c1"]],
        "left": 0,
        "wasSent": True,
    }


def test_a_truncation_empties_the_other_client(play):
    assert play("truncate") == {
        "before": [1, 1],
        "after": [["all gone", "system"]],
        "unread": 0,
    }


def test_who_and_what_is_muted_is_quiet(play):
    assert play("mute") == {
        "user": True,
        "unread": 0,
        "total": 0,
        "known": [True, True],
        "after": False,
    }


def test_a_channel_is_pinned_and_archived(play):
    assert play("pin") == {
        "isPinned": True,
        "found": ["c1"],
        "isStillPinned": False,
        "isArchived": True,
        "mood": "good",
        "shown": 0,
    }


def test_who_is_blocked_is_known_to_all_clients(play):
    assert play("block") == {
        "userIds": ["bea"],
        "blocks": ["bea"],
        "known": ["bea"],
        "state": [True, True],
        "after": [False, False],
    }


def test_an_invite_is_accepted(play):
    assert play("invite") == {
        "told": "messaging:c1",
        "pending": ["c1"],
        "status": "accepted",
        "left": 0,
    }


def test_messages_and_missed_events_are_found(play):
    assert play("find") == {
        "inChannel": ["a needle in the hay"],
        "everywhere": ["only hay"],
        "more": True,
        "missed": ["a needle in the hay", "only hay"],
        "flagged": True,
        "devices": ["d1"],
    }


def test_a_stranger_is_refused(play):
    assert play("stranger") == {"code": 17, "status": 403}
