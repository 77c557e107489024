"""`pause` while an app is in use: Stream gets no write, and after `resume` nothing is missing."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from firebase_admin import auth
from google.cloud.firestore import FieldFilter

from chatsync.clients.pause import COUNTS_FOR_SECONDS
from dev import app_client
from tests.emulator.commands import run_command
from tests.waiting import wait_for

PAUSED_CALLS = {("createConversation", True), ("revokeStreamUserTokens", False)}
"""What is refused while paused, and whether it follows by itself."""

READS = ("QueryUsers", "QueryChannels", "QueryMembers", "GetApp")

ROUNDS = 2
"""With no write to Stream; and for so many rounds somebody stays who signs up."""

ROUND_SECONDS = 0.5
"""Between two rounds: what waits in the end is to be healed in this test's time."""

SECONDS = 180
"""Of waiting: several processes start on a machine that may be busy."""


class Load:
    """People who sign up, change their names, leave, begin groups, and revoke their tokens.

    Each round goes on when its sign-up has arrived, so that a busy machine is not flooded.
    """

    def __init__(self, firebase, firestore, stream_user) -> None:
        self._firebase, self._firestore, self._stream_user = firebase, firestore, stream_user
        self._stopped = threading.Event()
        self.rounds = 0
        self.refused: Counter[tuple[str, bool]] = Counter()
        """Calls that were told ``paused``, and whether the repair follows."""
        self.names: dict[str, str] = {}
        """By uid, of those who are present."""
        self.deleted: set[str] = set()
        self.people = [self._sign_up() for _ in range(6)]
        for act in (self._converse, self._revoke):
            act(0)
        self._loop = ThreadPoolExecutor(1).submit(self._run)

    def stop(self) -> None:
        self._stopped.set()
        self._loop.result()

    def _run(self) -> None:
        guests: list[app_client.AppUser] = []
        while not self._stopped.wait(ROUND_SECONDS):
            guests.append(self._sign_up())
            self._rename(self.people[5], f"Renamed {self.rounds}")
            self._converse(self.rounds)
            self._revoke(self.rounds)
            if len(guests) > ROUNDS:
                self.delete(guests.pop(0).uid)
            self.rounds += 1

    def _sign_up(self) -> app_client.AppUser:
        name = f"Paused {uuid.uuid4().hex[:8]}"
        person = app_client.sign_up(f"{uuid.uuid4().hex}@example.com", name)
        self.names[person.uid] = name
        entry = self._firestore.document("repairs", f"user_{person.uid}")
        wait_for(lambda: self._stream_user(person.uid) or entry.get().exists)
        return person

    def _rename(self, person: app_client.AppUser, name: str) -> None:
        self._firestore.document("users", person.uid).set({"displayName": name}, merge=True)
        self.names[person.uid] = name

    def delete(self, uid: str) -> None:
        auth.delete_user(uid, app=self._firebase)
        self.names.pop(uid)
        self.deleted.add(uid)

    def _converse(self, number: int) -> None:
        caller, *others = (self.people[(number + more) % 4] for more in range(3))
        members = {"participantIds": [one.uid for one in others], "conversationType": "group"}
        self._call(caller, "createConversation", members)

    def _revoke(self, number: int) -> None:
        self._call(self.people[3 + number % 2], "revokeStreamUserTokens", {})

    def _call(self, person: app_client.AppUser, function: str, data: object) -> None:
        try:
            person.call(function, data)
        except app_client.CallFailed as failure:
            if failure.code not in ("unavailable", "resource-exhausted"):
                raise
            if failure.details.get("reason") == "paused":
                self.refused[function, failure.details["repairQueued"]] += 1


@pytest.fixture
def without_limits(stream) -> Iterator[None]:
    """So that nothing but the pause keeps the functions from writing."""
    for operation in ("QueryUsers", "UpdateUsers", "UpdateUsersPartial", "DeleteUser"):
        stream.remove_limit(operation)
    yield
    stream.restore_limits()


@pytest.fixture
def load(firebase, firestore, stream_user, without_limits) -> Iterator[Load]:
    load = Load(firebase, firestore, stream_user)
    yield load
    load.stop()


@pytest.fixture
def entries(firestore):
    return lambda: [one.to_dict() for one in firestore.collection("repairs").get()]


@pytest.fixture(autouse=True)
def resumed(firestore) -> Iterator[None]:
    """Whatever happens, the tests after these find nothing paused, in no process."""
    yield
    assert run_command("resume").returncode == 0
    resumed_at = time.monotonic()
    wait_for(lambda: time.monotonic() >= resumed_at + COUNTS_FOR_SECONDS)


def test_under_load_nothing_is_written_while_paused_and_nothing_is_lost(
    load, stream, stream_user, entries, firestore
):
    def writes(since: int) -> list[str]:
        return [one for one in stream.operations(since) if one not in READS]

    def quiet() -> bool:
        since, rounds = stream.last_request(), load.rounds
        wait_for(lambda: load.rounds >= rounds + ROUNDS, SECONDS)
        return not writes(since)

    wait_for(lambda: load.rounds >= ROUNDS, SECONDS)
    since = stream.last_request()
    wait_for(lambda: set(writes(since)) >= {"UpdateUsers", "UpdateUsersPartial"}, SECONDS)

    before_pause = stream.last_request()
    ran = run_command("pause")
    paused_at = datetime.now(UTC)
    assert ran.returncode == 0, ran.stderr
    wait_for(quiet, SECONDS)
    requests = stream.requests(before_pause)
    written_at = [
        datetime.fromisoformat(one["at"]) for one in requests if one["operation"] not in READS
    ]
    wrote_for = max((at - paused_at).total_seconds() for at in (paused_at, *written_at))
    print(f"{len(written_at)} writes, for {wrote_for:.1f} s after the pause")
    assert wrote_for < 60
    since = stream.last_request()
    assert quiet()
    person = load.people[0]  # in agreement
    assert person.call("getStreamUserToken", {})["streamUserId"] == person.uid
    assert run_command("backfill", "--apply").returncode == 2
    wait_for(lambda: any(one.get("removal") for one in entries()))
    wait_for(lambda: load.refused.keys() >= PAUSED_CALLS, SECONDS)
    assert json.loads(run_command("status", "--json").stdout)["pausedSince"]
    # On a busy machine Firestore may have been too slow for some, and one may just be begun.
    waiting = [one for one in entries() if one["reason"] == "paused"]
    assert {one["attempts"] for one in waiting} == {0}
    assert {one["kind"] for one in waiting} == {"user", "conversation"}
    assert writes(since) == []
    print(f"{len(waiting)} wait; {load.rounds} rounds; {load.refused}")

    resumed_at = time.monotonic()
    assert run_command("resume").returncode == 0
    wait_for(lambda: "paused" not in {one["reason"] for one in entries()}, SECONDS)
    load.stop()
    wait_for(lambda: not entries(), SECONDS)
    print(f"healed {time.monotonic() - resumed_at:.0f} s after resume")
    for uid, name in load.names.items():
        wait_for(lambda uid=uid, name=name: (stream_user(uid) or {}).get("name") == name)
    for uid in load.deleted:
        wait_for(lambda uid=uid: not stream_user(uid))
    statuses = {
        one.get("status")
        for person in load.people[:4]
        for one in firestore.collection("conversations")
        .where(filter=FieldFilter("participantIds", "array_contains", person.uid))
        .get()
    }
    assert statuses == {"ready"}
    audit = json.loads(run_command("audit", "--json").stdout)
    ours = {*load.names, *load.deleted}
    assert [one for one in audit["findings"] if any(uid in one["key"] for uid in ours)] == []
    print(f"audit: {audit['syncRate']}, findings {len(audit['findings'])}")
