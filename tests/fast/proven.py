"""Proof in fast tests that Stream's events arrive."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chatsync import proof
from chatsync.clients import Clients


def prove(clients: Clients, **fields: Any) -> None:
    """As after an event of a user, and a night in which Stream sent all events."""
    now = datetime.now(UTC)
    stored = {"lastUserEventAt": now, "checkedAt": now, "missingEvents": [], **fields}
    clients.firestore.document("chatsync/webhook").set(stored)
    forget(clients)


def forget(clients: Clients) -> None:
    """As in a process that has not read the document yet."""
    proof._caches.pop(clients.firestore, None)
