"""What an event costs in calls and documents, as docs/operations.md tells it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatsync import audit, daily, outbox
from chatsync.audit.steps import RECONCILED
from chatsync.clients import Clients
from chatsync.conversations.create import create_conversation
from chatsync.entry import events, records, tokens, webhooks
from chatsync.ids import Key
from chatsync.outbox import drain
from chatsync.proof import is_proven
from chatsync.reconcile import new_deadline
from chatsync.users import FirebaseState
from stream_server.control_client import LocalStream
from tests.fast.firebase_in_memory import MemoryFirestoreApi

DOCUMENTS = Path(__file__).parents[2] / "docs"
OPERATIONS = DOCUMENTS / "operations.md"


class MeteredFirestoreApi(MemoryFirestoreApi):
    """Counts as Firestore bills: documents asked for, a query without results as one."""

    reads = writes = deletes = 0

    def batch_get_documents(self, request: Any, **options: object) -> Any:
        self.reads += len(request["documents"])
        return super().batch_get_documents(request, **options)

    def run_query(self, request: Any, **options: object) -> Any:
        found = list(super().run_query(request, **options))
        self.reads += max(1, len(found))
        return iter(found)

    def run_aggregation_query(self, request: Any, **options: object) -> Any:
        self.reads += 1  # up to 1,000 entries
        return super().run_aggregation_query(request, **options)

    def _write(self, write: Any, now: Any) -> Any:
        written = super()._write(write, now)
        if write.delete:
            self.deletes += 1
        else:
            self.writes += 1
        return written


class Meter:
    def __init__(self, api: MeteredFirestoreApi, stream: LocalStream, clients: Clients) -> None:
        self.api, self.stream, self.clients = api, stream, clients

    def of(self, do: Callable[[], object]) -> tuple[int, int, int, int]:
        """Firestore reads, writes and deletes, and calls to Stream."""
        is_proven(self.clients, datetime.now(UTC))  # read once a minute
        self.clients.pause.since()  # read every 20 seconds
        self.api.reads = self.api.writes = self.api.deletes = 0
        before = len(self.stream.requests())
        do()
        calls = len(self.stream.requests()) - before
        return self.api.reads, self.api.writes, self.api.deletes, calls


@pytest.fixture
def firestore_api() -> MeteredFirestoreApi:
    return MeteredFirestoreApi()


@pytest.fixture
def meter(firestore_api, stream, clients) -> Meter:
    return Meter(firestore_api, stream, clients)


def sign_up(uid: str, clients: Clients) -> None:
    """The sign-up, and the events of the two documents that it makes and functions listen to."""
    events.reconcile_after_sign_up(uid, clients)
    events.reconcile_after_creation(uid, clients)
    profile = clients.firestore.document(f"user_profiles/{uid}").get().to_dict()
    events.reconcile_after_change(uid, FirebaseState(), FirebaseState(profile=profile), clients)


@pytest.fixture
def people(accounts, clients) -> None:
    for uid in ("ann", "bob"):
        accounts.sign_up(uid, displayName=uid.title(), email=f"{uid}@example.com")
        sign_up(uid, clients)


@pytest.fixture
def conversation(people, clients) -> dict[str, Any]:
    return create_conversation("ann", {"participantIds": ["bob"]}, clients)


def told(what: str) -> tuple[int, ...]:
    """The row of the document: reads, writes, deletes, calls to Stream."""
    [row] = re.findall(rf"^\| {re.escape(what)} \|(.*)\|$", OPERATIONS.read_text(), re.MULTILINE)
    return tuple(int(cell) for cell in row.split("|")[1:])


def profile_of(uid: str, clients: Clients) -> FirebaseState:
    return FirebaseState(profile=clients.firestore.document(f"user_profiles/{uid}").get().to_dict())


def test_a_sign_up(accounts, clients, meter):
    accounts.sign_up("ann", displayName="Ann", email="ann@example.com")
    first = meter.of(lambda: events.reconcile_after_sign_up("ann", clients))
    second = meter.of(lambda: events.reconcile_after_creation("ann", clients))
    written = profile_of("ann", clients)
    third = meter.of(
        lambda: events.reconcile_after_change("ann", FirebaseState(), written, clients)
    )
    total = tuple(map(sum, zip(first, second, third, strict=True)))
    assert total == told("a sign-up")


def test_a_changed_name(people, clients, meter):
    document = clients.firestore.document("users/ann")
    before, profile_before = (
        FirebaseState(user=document.get().to_dict()),
        profile_of("ann", clients),
    )
    document.update({"displayName": "Anna"})
    after = FirebaseState(user=document.get().to_dict())
    first = meter.of(lambda: events.reconcile_after_change("ann", before, after, clients))
    followed = profile_of("ann", clients)
    assert followed != profile_before
    second = meter.of(
        lambda: events.reconcile_after_change("ann", profile_before, followed, clients)
    )
    assert tuple(map(sum, zip(first, second, strict=True))) == told("a name changed in `users`")


def test_a_deletion(people, clients, accounts, meter):
    before = profile_of("bob", clients)
    accounts.delete("bob")
    first = meter.of(lambda: events.remove_after_event("bob", clients))
    second = meter.of(
        lambda: events.reconcile_after_change("bob", before, FirebaseState(), clients)
    )
    assert tuple(map(sum, zip(first, second, strict=True))) == told(
        "a deleted account, in no conversation"
    )


def test_a_token(people, clients, meter):
    measured = meter.of(lambda: tokens.issue_token("ann", clients))
    assert measured == told("`getStreamUserToken`")


def test_people_known_to_agree(people, accounts, clients, meter, proven):
    accounts.sign_up("ann-2")

    def create(other: str = "bob") -> None:
        create_conversation("ann", {"participantIds": [other]}, clients)

    create("ann-2")  # the first of all makes the key of pairs, and remembers it
    measured = meter.of(lambda: tokens.issue_token("ann", clients))
    assert measured == told("`getStreamUserToken`, known to agree")
    assert meter.of(create) == told("`createConversation` for two, known to agree, new")
    assert meter.of(create) == told("`createConversation` for two, known to agree, again")


def test_somebody_in_agreement(people, clients, meter):
    measured = meter.of(lambda: outbox.reconcile([Key("user", "bob")], clients))
    assert measured == told("`ensureStreamUser`, in agreement")


def test_records(people, clients, accounts, meter):
    read = {
        "getUserStats": lambda uid: records.read_stats(uid, "ann", clients),
        "ensureUserProfile": lambda uid: records.ensure_profile(uid, clients),
    }
    for name, of in read.items():
        assert meter.of(lambda of=of: of("bob")) == told(f"`{name}`, present")
        accounts.sign_up(f"eve-{name}")
        assert meter.of(lambda of=of, name=name: of(f"eve-{name}")) == told(f"`{name}`, missing")


def test_a_conversation(people, accounts, clients, meter):
    accounts.sign_up("ann-2")

    def create(other: str = "bob") -> None:
        create_conversation("ann", {"participantIds": [other]}, clients)

    create("ann-2")  # the first of all makes the key of pairs, and remembers it
    assert meter.of(create) == told("`createConversation` for two, new")
    assert meter.of(create) == told("`createConversation` for two, again")


def test_an_echo_and_a_message(conversation, clients, meter):
    cid = conversation["cid"]
    members = [{"user_id": uid} for uid in ("ann", "bob")]
    created = {"cid": cid, "channel": {"cid": cid, "member_count": 2}, "members": members}
    echo = {"type": "channel.created", **created}
    assert meter.of(lambda: webhooks.handle(echo, clients)) == told("an echo from Stream")
    [user] = clients.stream.query_users(["bob"], new_deadline()).values()
    webhooks.handle({"type": "user.updated"}, clients)  # noted for the next ten minutes
    echo = {"type": "user.updated", "user": user}
    assert meter.of(lambda: webhooks.handle(echo, clients)) == told("an echo about a user")
    at = datetime.now(UTC).isoformat()
    message = {"id": "1", "user": {"id": "ann"}, "created_at": at}
    new = {"type": "message.new", "cid": cid, "message": message, "user": {"id": "ann"}}
    assert meter.of(lambda: webhooks.handle(new, clients)) == told("a message counted")


def test_a_member_who_leaves(conversation, clients, chat, meter):
    chat.channel("messaging", conversation["id"]).remove_members(["bob"])
    event = {"cid": conversation["cid"], "member": {"user_id": "bob"}}
    left = meter.of(lambda: webhooks.handle({"type": "member.removed", **event}, clients))
    assert left == told("a member who leaves")


def test_the_look_every_five_minutes(clients, meter):
    daily.note(clients)  # the first of a day writes

    def look() -> None:
        drain.wake_if_due(clients)
        daily.note(clients)

    measured = meter.of(look)
    assert measured == told("`wakeRepairs`, nothing due")


def test_a_nightly_audit(accounts, clients, meter):
    for number in range(100):
        accounts.sign_up(f"user-{number}", displayName="Somebody")
        sign_up(f"user-{number}", clients)
    nightly = audit.start("nightly", clients, repair=audit.CREATING)
    measured = meter.of(lambda: audit.run(nightly.id, clients))
    assert measured == told("a nightly audit of 100 accounts")


def test_a_backfill(accounts, clients, meter):
    for number in range(100):
        accounts.sign_up(f"user-{number}", displayName="Somebody")
    begun = audit.start("backfill", clients, steps=("accounts",), repair=RECONCILED)
    measured = meter.of(lambda: audit.run(begun.id, clients))
    assert measured == told("a backfill of 100 accounts of whom nobody is in Stream")


TOGETHER = {
    "sign-ups": ["a sign-up"],
    "chats opened: a token and an `ensureStreamUser`": [
        "`getStreamUserToken`",
        "`ensureStreamUser`, in agreement",
    ],
    "chats opened: a token and a `createConversation`, known to agree, again": [
        "`getStreamUserToken`, known to agree",
        "`createConversation` for two, known to agree, again",
    ],
    "messages counted": ["a message counted"],
}


@pytest.mark.parametrize("what", TOGETHER)
def test_what_a_thousand_cost_is_a_thousand_times_what_one_costs(what):
    counts = per_thousand(what)
    ones = [told(one) for one in TOGETHER[what]]
    assert counts["reads"] == 1000 * sum(reads for reads, *_ in ones)
    assert counts["writes"] == 1000 * sum(writes for _, writes, *_ in ones)


def test_what_a_thousand_accounts_cost_in_a_night_is_ten_times_what_a_hundred_do():
    reads, *_ = told("a nightly audit of 100 accounts")
    assert per_thousand("accounts audited in a night")["reads"] == round(10 * reads, -3)


def per_thousand(what: str) -> Counter[str]:
    """The documents read, written and deleted; their price is checked here."""
    [row] = re.findall(rf"^\| {re.escape(what)} \|(.*)\|$", OPERATIONS.read_text(), re.MULTILINE)
    cell = row.split("|")[2]
    counts = Counter(
        {name: int(count.replace(",", "")) for count, name in re.findall(r"(\d[\d,]*) (\w+)", cell)}
    )
    dollars = sum(counts[name] * price / 100_000 for name, price in PRICES.items())
    assert cell.endswith(f": ${dollars:.3f} "), what
    return counts


PRICES = {"reads": 0.06, "writes": 0.18, "deletes": 0.02}
"""Per 100,000."""


def test_ten_million_accounts_cost_what_a_hundred_thousand_hundreds_do():
    text = (DOCUMENTS / "speed.md").read_text()
    [reads] = re.findall(r"^\| Firestore reads \| (\d+) million \| (\d+) million \|", text, re.M)
    [writes] = re.findall(r"^\| Firestore writes \| (\d+) million", text, re.M)
    backfill = told("a backfill of 100 accounts of whom nobody is in Stream")
    night = told("a nightly audit of 100 accounts")
    # What is read and written once, whatever the number, is left out.
    assert [int(one) for one in reads] == [backfill[0] // 10, night[0] // 10]
    assert int(writes) == backfill[1] // 10
