"""Proof that Stream's events arrive: without it, nothing that is remembered of users is trusted.

``chatsync/webhook`` says when the last signed event of a user came (``lastUserEventAt``), and which
events Stream did not send (``missingEvents``) when its settings were last read (``checkedAt``).
"""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from firebase_functions import logger
from google.cloud import firestore

from .clients import Clients
from .clients.documents import temporary_failures_named, until
from .log_events import LogEvent

EVENTS = (
    *("channel.created", "channel.updated", "channel.deleted"),
    *("member.added", "member.removed", "message.new"),
    *("user.updated", "user.deleted", "user.deactivated", "user.reactivated"),
    *("user.banned", "user.unbanned"),
)
"""The events that Stream must send to ``streamWebhook``; it may send others too."""

CHECK_COUNTS_FOR = timedelta(days=2)
"""Stream's settings are read every night: one night may fail."""

NOTED_EVERY = timedelta(minutes=10)
READ_EVERY = timedelta(minutes=1)

READ_SECONDS = 2.0

NOTE_SECONDS = 0.5
"""For reading and writing the document: Stream waits six seconds for the answer to an event."""

CHECK_SECONDS = 10.0

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Proof:
    """``chatsync/webhook``, as it was read."""

    last_user_event_at: datetime = _LONG_AGO
    checked_at: datetime = _LONG_AGO
    is_complete: bool = False
    """Whether Stream sent all events then."""

    def is_checked(self, now: datetime) -> bool:
        return self.is_complete and now - self.checked_at < CHECK_COUNTS_FOR

    def doubt(self, now: datetime, trust_hours: float) -> str:
        """Why no entry counts, for people; empty if entries count."""
        if not trust_hours:
            return "stream.trust_hours is 0"
        if (now - self.last_user_event_at).total_seconds() >= trust_hours * 3600:
            return f"Stream has sent no event of a user for {trust_hours:g} hours"
        if not self.is_complete:
            return "Stream does not send all events: see `doctor`"
        if not self.is_checked(now):
            return "whether Stream sends all events was not checked for two days"
        return ""


@dataclass
class _Cache:
    """What this process knows of the document."""

    proof: Proof = Proof()
    read_at: datetime = _LONG_AGO
    note_after: datetime = _LONG_AGO
    lock: Lock = field(default_factory=Lock)


_caches: WeakKeyDictionary[firestore.Client, _Cache] = WeakKeyDictionary()
"""By client, which is one per process."""

_making = Lock()


def is_proven(clients: Clients, now: datetime) -> bool:
    """Whether entries of ``stream_users`` may be trusted: a user event came within ``trust_hours``,
    and Stream sent all events when its settings were last read.

    The document is read once a minute at most. If it cannot be read, nothing is proven.
    """
    hours = clients.settings.config.stream.trust_hours
    return hours > 0 and not _read(clients, now).doubt(now, hours)


def doubt(clients: Clients, now: datetime) -> str:
    """Why no entry of ``stream_users`` is trusted now, for people; empty if entries are."""
    return _read(clients, now).doubt(now, clients.settings.config.stream.trust_hours)


def missing_when_checked(clients: Clients) -> list[str]:
    """The events that Stream did not send when its settings were last read."""
    with temporary_failures_named():
        options = until(time.monotonic() + READ_SECONDS)
        stored = _reference(clients).get(**options).to_dict() or {}
    missing = stored.get("missingEvents")
    return [str(one) for one in missing] if isinstance(missing, list) else []


def note_user_event(clients: Clients) -> None:
    """Note that a signed event of a user came, every ten minutes at most. It never raises."""
    cache, now = _cache_of(clients), datetime.now(UTC)
    with cache.lock:
        if now < cache.note_after:
            return
        cache.note_after = now + READ_EVERY  # if it fails, and for the other threads
    deadline = time.monotonic() + NOTE_SECONDS
    try:
        proof = _read(clients, now, deadline)
        if now - proof.last_user_event_at >= NOTED_EVERY:
            _write({"lastUserEventAt": firestore.SERVER_TIMESTAMP}, clients, deadline)
            proof = replace(proof, last_user_event_at=now)
        # Deployed, the nightly audit does it.
        if "FUNCTIONS_EMULATOR" in os.environ and not proof.is_checked(now):
            note_hooks(clients)
    except Exception as error:  # noqa: BLE001 (the event is handled all the same)
        logger.warn(f"An event of a user could not be noted in chatsync/webhook: {error}")
        return
    with cache.lock:
        cache.proof = replace(cache.proof, last_user_event_at=proof.last_user_event_at)
        cache.note_after = proof.last_user_event_at + NOTED_EVERY


def note_hooks(clients: Clients) -> None:
    """Read from Stream's settings which events it does not send, and note them.

    Raises what Stream and Firestore raise.
    """
    deadline = time.monotonic() + CHECK_SECONDS
    missing = missing_events(clients.stream.app_settings(deadline), clients.firestore.project)
    if missing is None:
        missing = sorted(EVENTS)
    if missing:
        message = f"Stream does not send {', '.join(missing)} to streamWebhook: see `doctor`"
        logger.warn(message, event=LogEvent.EVENTS_MISSING)
    fields = {"checkedAt": firestore.SERVER_TIMESTAMP, "missingEvents": missing}
    _write(fields, clients, deadline)
    _cache_of(clients).read_at = _LONG_AGO


def missing_events(app_settings: Mapping[str, Any], project: str) -> list[str] | None:
    """The events that Stream does not send to our ``streamWebhook``; None if no hook leads there.

    By ``event_hooks``, or the older ``webhook_url`` and ``webhook_events`` (GetApp).
    """
    hooks = [
        (hook.get("webhook_url"), hook.get("event_types"))
        for hook in app_settings.get("event_hooks") or []
        if isinstance(hook, dict)
        and hook.get("enabled", True)
        and hook.get("hook_type", "webhook") == "webhook"
    ]
    hooks.append((app_settings.get("webhook_url"), app_settings.get("webhook_events")))
    ours = [events or EVENTS for url, events in hooks if _is_ours(str(url or "").lower(), project)]
    return sorted(set(EVENTS).difference(*ours)) if ours else None


def _is_ours(url: str, project: str) -> bool:
    """Whether a URL, in lower case, may be that of ``streamWebhook``. Those of Cloud Run don't tell
    the project, the others name it after the region."""
    named = re.match(r"https://[a-z]+-[a-z]+\d+-([^/]+)\.cloudfunctions\.net/", url)
    return "streamwebhook" in url and (named is None or named[1] == project)


def _read(clients: Clients, now: datetime, deadline: float | None = None) -> Proof:
    cache = _cache_of(clients)
    with cache.lock:
        if abs(now - cache.read_at) >= READ_EVERY:  # other threads may come with earlier times
            cache.proof, cache.read_at = Proof(), now
            try:
                with temporary_failures_named():
                    options = until(deadline or time.monotonic() + READ_SECONDS)
                    stored = _reference(clients).get(**options).to_dict() or {}
                cache.proof = _proof_of(stored)
            except Exception as error:  # noqa: BLE001 (Stream is asked, and nobody refused)
                logger.warn(f"chatsync/webhook could not be read: {error}")
        return cache.proof


def _proof_of(stored: Mapping[str, Any]) -> Proof:
    times = [stored.get(name) for name in ("lastUserEventAt", "checkedAt")]
    last, checked = (one if isinstance(one, datetime) else _LONG_AGO for one in times)
    return Proof(last, checked, is_complete=stored.get("missingEvents") == [])


def _write(fields: Mapping[str, Any], clients: Clients, deadline: float) -> None:
    with temporary_failures_named():
        _reference(clients).set(dict(fields), merge=True, **until(deadline))


def _reference(clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document("chatsync", "webhook")


def _cache_of(clients: Clients) -> _Cache:
    with _making:
        return _caches.setdefault(clients.firestore, _Cache())
