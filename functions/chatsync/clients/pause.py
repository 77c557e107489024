"""The switch that stops every write to Stream: the document ``chatsync/pause``.

While it exists, writing is paused. ``since`` says since when; a document that a person made in the
Firebase console may lack it.
"""

import threading
import time
from contextlib import suppress
from datetime import datetime

from google.api_core.exceptions import AlreadyExists
from google.cloud import firestore

from ..errors import FirebaseUnavailable, Paused
from .firebase_calls import temporary_failures_named, until

COUNTS_FOR_SECONDS = 20.0
"""How long an answer counts: so a minute after a pause began, no process writes any more."""

READ_SECONDS = 2.0
WRITE_SECONDS = 10.0


class Switch:
    """The switch of one database. Safe to share between threads: one of them reads at a time.

    If it cannot be read, and the last answer counts no longer, FirebaseUnavailable is raised: then
    nothing is written to Stream, and the outbox does it later.
    """

    def __init__(self, client: firestore.Client) -> None:
        self._document = client.document("chatsync", "pause")
        self._reading = threading.Lock()
        self._since: datetime | None = None
        self._read_at = self._failed_at = float("-inf")

    def refuse_if_paused(self) -> None:
        """Raises Paused, and FirebaseUnavailable."""
        if since := self.since():
            raise Paused(since)

    def since(self, counts_for: float = COUNTS_FOR_SECONDS) -> datetime | None:
        """Since when writing is paused; None if it is not. Raises FirebaseUnavailable.

        The answer is at most ``counts_for`` seconds old.
        """
        asked_at = time.monotonic()
        with self._reading:
            if self._read_at < asked_at - counts_for:
                if self._failed_at >= asked_at:
                    raise FirebaseUnavailable("chatsync/pause cannot be read")
                self._read()
            return self._since

    def _read(self) -> None:
        began_at = time.monotonic()
        try:
            with temporary_failures_named():
                snapshot = self._document.get(**until(began_at + READ_SECONDS))
        except FirebaseUnavailable:
            self._failed_at = time.monotonic()
            raise
        stated = (snapshot.to_dict() or {}).get("since")
        self._since = stated if isinstance(stated, datetime) else snapshot.create_time
        self._read_at = began_at

    def pause(self) -> datetime:
        """Stop all writing to Stream; returns since when. A pause that exists stays as it is."""
        while (since := self.since(0)) is None:
            with temporary_failures_named(), suppress(AlreadyExists):
                fields = {"since": firestore.SERVER_TIMESTAMP}
                self._document.create(fields, **until(time.monotonic() + WRITE_SECONDS))
        return since

    def resume(self) -> datetime | None:
        """Allow writing again; returns since when it was paused, None if it was not."""
        since = self.since(0)
        with temporary_failures_named():
            self._document.delete(**until(time.monotonic() + WRITE_SECONDS))
        self._read_at = float("-inf")
        return since
