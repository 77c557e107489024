"""The outbox in fast tests, where nothing calls the drain by itself."""

from __future__ import annotations

from typing import Any

from chatsync.clients import Clients
from chatsync.outbox.drain import drain

MOST_DRAINS = 20


def drain_until_settled(clients: Clients) -> None:
    """Call the drain, as the queue would, until nobody waits any more."""
    for _ in range(MOST_DRAINS):
        if not any(entry["state"] == "waiting" for entry in entries(clients).values()):
            return
        drain(0, clients)
    raise AssertionError(f"still waiting after {MOST_DRAINS} drains: {entries(clients)}")


def entries(clients: Clients) -> dict[str, dict[str, Any]]:
    """All entries, by the id of their documents."""
    api: Any = clients.firestore._firestore_api
    names = [name for name in api.documents if "/repairs/" in name]
    found = (clients.firestore.document("repairs", name.rpartition("/")[2]).get() for name in names)
    return {snapshot.id: snapshot.to_dict() or {} for snapshot in found}
