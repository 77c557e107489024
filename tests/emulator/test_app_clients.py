"""The functions as apps use them: with the official SDKs, in Node and in a web page."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from firebase_admin import auth

from dev.emulators import HOST, PORTS, PROJECT, REGION, STREAM_BASE_URL
from tests.emulator.browser import chromium_or_skip, play_in_chromium
from tests.waiting import wait_for

NODE = Path(__file__).with_name("app") / "node.mjs"
DEADLINE_SECONDS = 120

LOCAL = {
    "project": PROJECT,
    "region": REGION,
    "auth": f"http://{HOST}:{PORTS['auth']}",
    "host": HOST,
    "functionsPort": PORTS["functions"],
    "stream": STREAM_BASE_URL,
}
_numbers = count()


@pytest.fixture
def people(firebase) -> dict[str, dict[str, str]]:
    """Lena and Mia, whose accounts are older than the chat, and who can sign in."""
    number = next(_numbers)
    people = {}
    for name in ("Lena", "Mia"):
        uid = f"app-{name}-{number}".lower()
        auth.import_users([auth.ImportUserRecord(uid, display_name=name)], app=firebase)
        token = auth.create_custom_token(uid, app=firebase).decode()
        people[name.lower()] = {"uid": uid, "token": token}
    return people


@pytest.fixture(params=["node", "chromium"])
def play(request, people) -> Callable[[str], Any]:
    """Plays a scene of app.mjs."""
    playing = play_in_node if request.param == "node" else in_browser()
    return lambda scene: playing({"scene": scene, "local": LOCAL, "people": people})


def play_in_node(task: dict[str, Any]) -> Any:
    finished = subprocess.run(
        ["node", NODE],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def in_browser() -> Callable[[dict[str, Any]], Any]:
    chromium = chromium_or_skip()
    return lambda task: play_in_chromium(chromium, task)


@pytest.fixture
def stream_is_down(stream) -> Iterator[None]:
    """For as long as one call tries."""
    stream.fault("UpdateUsers", "status", status=503, times=4)
    yield
    stream.clear_faults()


def test_a_chat_with_a_missing_person_opens_after_ensure_stream_user(play, people):
    lena = people["lena"]["uid"]

    seen = play("repair")

    assert (seen["refused"]["code"], seen["refused"]["status"]) == (4, 400)
    assert f"don't exist: [{lena}]" in seen["refused"]["message"]
    assert seen["repaired"] == {"userId": lena, "streamUserId": lena, "status": "created"}
    assert (seen["names"], seen["sent"]) == (["Ann", "Lena"], "hello")


def test_the_documented_loop_opens_a_chat_with_a_missing_person(play, people):
    seen = play("loop")
    assert seen["names"] == ["Ann", "Lena"]
    assert seen["asked"] == [[people["lena"]["uid"]], ["nobody-at-all"]]
    assert seen["nobody"] == "no chat with nobody-at-all"


def test_the_documented_loop_tries_again_while_stream_fails(people, stream):
    try:
        task = {"scene": "outageInLoop", "local": LOCAL, "people": people}
        assert play_in_node(task) == ["Ann", "Lena"]
    finally:
        stream.clear_faults()


def test_the_first_token_heals_an_account_of_which_no_event_told(play, people, firestore):
    uid = people["lena"]["uid"]
    assert play("firstToken") == {"uid": uid, "name": "Lena"}
    for collection in ("users", "user_profiles", "user_stats"):
        assert firestore.document(f"{collection}/{uid}").get().exists


def test_a_conversation_opens_on_both_sides(play, people):
    lena = people["lena"]["uid"]

    seen = play("conversation")

    started = seen["started"]
    assert sorted(started["participantIds"]) == sorted([seen["uid"], lena])
    assert lena in started["healed"]
    assert (started["conversationType"], started["existed"]) == ("direct", False)
    assert (seen["names"], seen["heard"]) == (["Ann", "Lena"], ["Ann", "hello"])
    assert seen["listed"] == [started["cid"]]


def test_a_refusal_has_the_code_and_details_that_are_documented(play):
    seen = play("refusals")

    codes = {name: refusal["code"].removeprefix("functions/") for name, refusal in seen.items()}
    assert codes == {
        "stranger": "unauthenticated",
        "nobody": "not-found",
        "alone": "invalid-argument",
        "nested": "invalid-argument",
    }
    assert seen["nobody"]["details"] == {"userIds": ["nobody"]}
    assert seen["alone"]["details"] == {"field": "participantIds"}


def test_what_fails_for_now_says_that_its_repair_follows(play, people, stream_is_down, stream_user):
    seen = play("outage")

    assert (seen["code"], seen["details"]) == ("functions/unavailable", {"repairQueued": True})
    wait_for(lambda: stream_user(people["mia"]["uid"]))
