"""Accounts for the bench, and the local Stream server that may know them."""

from __future__ import annotations

import functools
import itertools
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import firebase_admin
from firebase_admin import auth
from google.cloud import firestore

from dev import app_client, emulators
from dev.app_client import AppUser
from stream_server.control_client import LocalStream

STREAM = LocalStream(emulators.STREAM_BASE_URL)

_IMPORTED_AT_ONCE = 1000
_NO_LIMIT = 1_000_000
_PATIENCE_SECONDS = 30.0
_LIMITED = ("QueryUsers", "UpdateUsers", "GetOrCreateChannel", "UpdateChannel")


def connect() -> None:
    """To be called once, before anything else here."""
    firebase_admin.initialize_app(options={"projectId": emulators.PROJECT})


@functools.cache
def documents() -> firestore.Client:
    return firestore.Client(project=emulators.PROJECT)


def forget_in_stream() -> None:
    """Nobody is left in Stream, and it has neither delay nor limits worth speaking of.

    Its rate limits would end a measurement within seconds; their headers stay.
    """
    STREAM.reset()
    for operation in _LIMITED:
        STREAM.limit(operation, _NO_LIMIT)


def prove(is_proven: bool = True) -> None:
    """Whether Stream's events are known to arrive, without which no entry is trusted.

    A process reads it at its first call, and then once a minute.
    """
    now = datetime.now(UTC) if is_proven else None
    fields: dict[str, Any] = {"lastUserEventAt": now, "checkedAt": now, "missingEvents": []}
    documents().document("chatsync/webhook").set(fields)


def withdraw(uids: Iterable[str]) -> None:
    """As Stream's events do it for users who are deleted there."""
    for some in groups(list(uids), 500):
        batch = documents().batch()
        for uid in some:
            batch.update(documents().document(f"stream_users/user_{uid}"), {"verifiedAt": None})
        batch.commit()


def set_delay(milliseconds: int) -> None:
    """How long Stream takes for each call, beyond its work."""
    STREAM.clear_faults()
    if milliseconds:
        STREAM.fault("*", "delay", rate=1.0, delay_ms=milliseconds)


def arrived_at(uid: str, since: int) -> float:
    """The Unix time at which Stream had answered the call that created them.

    Of the calls after that with the number ``since``; waits if there is none yet.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for call in STREAM.requests(since):
            if call["operation"] == "UpdateUsers" and call["status"] == 201 and uid in call["ids"]:
                answered = datetime.fromisoformat(call["at"]).timestamp()
                return answered + float(call["duration_ms"]) / 1000
        time.sleep(0.05)
    raise RuntimeError(f"nobody has created {uid} in Stream")


def arrivals(expected: int, patience: float) -> tuple[int, float]:
    """Waits until Stream has so many users, or nobody new came for ``patience`` seconds.

    How many it has, and the Unix time at which the last was there.
    """
    count, at = 0, time.time()
    while count < expected and time.time() < at + patience:
        time.sleep(0.1)
        if (now := STREAM.state()["counts"]["users"]) > count:
            count, at = now, time.time()
    return count, at


def caller() -> AppUser:
    return app_client.sign_up(f"{uuid.uuid4().hex}@example.com", "Ann Caller")


def accounts(count: int) -> list[str]:
    """The uids of new accounts with names, of whom nobody but Auth knows: they were imported."""
    uids = [uuid.uuid4().hex[:28] for _ in range(count)]
    import_accounts(
        auth.ImportUserRecord(uid, display_name=f"Person {uid}", email=f"{uid}@example.com")
        for uid in uids
    )
    return uids


def import_accounts(records: Iterable[auth.ImportUserRecord]) -> None:
    left = iter(records)
    while some := list(itertools.islice(left, _IMPORTED_AT_ONCE)):
        result = auth.import_users(some)
        if result.errors:
            raise RuntimeError(f"Auth refuses accounts: {result.errors[0].reason}")


def groups(uids: Sequence[str], size: int) -> list[Sequence[str]]:
    return [uids[start : start + size] for start in range(0, len(uids), size)]
