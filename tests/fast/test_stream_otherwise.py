"""What is not known about Stream may be either way: an account's life holds under each."""

from __future__ import annotations

from typing import Any

import pytest

from chatsync import outbox
from chatsync.clients.stream import Stream
from chatsync.conversations.create import create_conversation
from chatsync.entry.events import reconcile_after_sign_up, remove_after_event
from chatsync.ids import Key
from stream_server.state import SWITCHES
from tests.fast.outbox import drain_until_settled, entries

SHORT_MS = 50
OTHERWISE = [
    (name, value)
    for name, switch in SWITCHES.items()
    for value in ((SHORT_MS,) if isinstance(switch.choices, range) else switch.choices)
    if value != switch.default
]

# Where it is another policy than soft that the switch is about.
POLICIES = {"hard_delete_blocks_id_reuse": "hard", "repeated_deactivation": "deactivate"}


@pytest.mark.usefixtures("calls_spread_over_seconds")
@pytest.mark.parametrize(("switch", "value"), OTHERWISE)
def test_sign_up_repair_conversation_deletion_and_return_hold(
    accounts, firestore, chat, stream, with_settings, monkeypatch, switch, value
):
    stream.switch(**{switch: value})
    clients = with_settings(stream={"delete_policy": POLICIES.get(switch, "soft")})
    # Of one name and team: where names are unique, the second goes without.
    sam = {"displayName": "Sam", "chat": {"teams": ["red"]}}

    def sign_up(uid: str) -> None:
        firestore.document("users", uid).set(sam)
        accounts.sign_up(uid)
        reconcile_after_sign_up(uid, clients)

    def in_chat() -> set[str]:
        return {user["id"] for user in chat.query_users({})["users"]}

    def members() -> set[str]:
        room = create_conversation("ann", {"participantIds": ["bob"], "team": "red"}, clients)
        [state] = chat.query_channels({"cid": room["cid"]})["channels"]
        return {member["user_id"] for member in state["members"]}

    sign_up("ann")
    sign_up("bob")
    assert in_chat() == {"ann", "bob"}

    chat.update_user_partial({"id": "bob", "set": {"teams": []}})
    outbox.reconcile([Key("user", "bob")], clients)
    assert chat.query_users({"id": "bob"})["users"][0]["teams"] == ["red"]

    get_or_create_channel = Stream.get_or_create_channel

    def bob_vanishes(*args: Any) -> Any:
        monkeypatch.setattr(Stream, "get_or_create_channel", get_or_create_channel)
        chat.delete_user("bob")
        return get_or_create_channel(*args)

    monkeypatch.setattr(Stream, "get_or_create_channel", bob_vanishes)
    assert members() == {"ann", "bob"}

    accounts.delete("bob")
    remove_after_event("bob", clients)
    # An event comes twice, or is about somebody whom Stream never knew.
    remove_after_event("bob" if switch == "repeated_deactivation" else "nobody", clients)
    assert in_chat() == {"ann"}

    sign_up("bob")
    if switch == "repeated_deactivation":
        chat.reactivate_user("bob")
    assert in_chat() == members() == {"ann", "bob"}

    drain_until_settled(clients)
    assert entries(clients) == {}
