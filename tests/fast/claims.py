"""Whether the entries of ``stream_users`` claim more than is true."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from stream_chat import StreamChat

from chatsync import users
from chatsync.agreement import still_agrees
from chatsync.clients import Clients
from chatsync.clients.accounts import read_accounts
from chatsync.clients.documents import read_documents
from chatsync.ids import Key


def false_claims(keys: Iterable[Key], clients: Clients, chat: StreamChat) -> list[str]:
    """The ids of users whose entry counts now though Stream says something else than Firebase."""
    keys, config = list(keys), clients.settings.config
    accounts = read_accounts([Key("user", key.id) for key in keys], clients.auth)
    read = read_documents(keys, clients, time.monotonic() + 60)
    false = []
    for key, documents in read.items():
        state = replace(documents, account=accounts.get(key))
        stream_id = clients.settings.stream_id(key, state)
        is_claimed = still_agrees(key, stream_id, state, config, datetime.now(UTC))
        if not users.exists(key, state) or not is_claimed:
            continue
        found = chat.query_users({"id": stream_id})["users"]
        role = users.default_role(state.kind or "user", config)
        owned = users.without_refused(users.owned_fields(state, config), state.refused)
        drift = users.drift(found[0], owned, role) if found else "missing"
        if drift or found[0].get("deactivated_at") or found[0].get("banned"):
            false.append(f"{key.kind} {key.id}: {drift}")
    return false
