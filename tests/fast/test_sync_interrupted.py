"""The repair, stopped before each of its outside calls, while somebody else changes the world.

Whatever happens there: nobody deleted is resurrected, and the newest state stands in the end.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from firebase_admin.exceptions import UnavailableError
from google.api_core.exceptions import InternalServerError

from chatsync.clients import Clients
from chatsync.clients.documents import Entry, delete_user_documents
from chatsync.clients.entries import withdraw
from chatsync.clients.stream import Stream
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import NotFound, StreamUnavailable, Temporary
from chatsync.ids import Key
from chatsync.outcome import Outcome
from chatsync.reconcile import reconcile_users
from tests.fast.claims import false_claims
from tests.fast.firebase_in_memory import MemoryAuth, MemoryFirestoreApi
from tests.fast.outbox import drain_until_settled

ANN = Key("user", "ann")


def FAIL() -> None:  # noqa: N802 (a mark, compared by identity)
    """An intervention: the call fails once, without having been applied."""


FAILURES = {"stream": StreamUnavailable("down"), "get_users": UnavailableError("down")}


class World:
    """All sides, and what other people and functions do to them."""

    def __init__(self, clients: Clients, api: MemoryFirestoreApi, stream) -> None:
        self.clients, self.api, self.stream = clients, api, stream
        self.accounts: MemoryAuth = clients.auth
        self.watched = Stream(stream.key, stream.secret, stream.url)
        self.call = self.watched._calls._call
        self.calls = 0
        self.intervening = False
        self.lock = threading.Lock()
        # Hundreds of repairs in a row would wait for Stream's limits, minutes in all.
        for operation in ("QueryUsers", "UpdateUsers", "UpdateUsersPartial", "RestoreUsers"):
            stream.remove_limit(operation)
        stream.remove_limit("DeleteUser")

    def begin(self) -> None:
        self.stream.reset()
        self.api.documents.clear()
        self.accounts.accounts.clear()
        self.calls = 0

    def repair(self, clients: Clients | None = None) -> Outcome:
        [outcome] = reconcile_users([ANN], clients or self.clients)
        return outcome

    def repair_interrupted(
        self,
        interventions: dict[int, Callable[[], object]],
        repair: Callable[[Clients], Any] | None = None,
    ) -> Any:
        """Repair, with each intervention run to its end before the outside call of that number."""

        def before_call(kind: str) -> None:
            with self.lock:
                if self.intervening:
                    return
                self.calls += 1
                intervene = interventions.get(self.calls)
                self.intervening = intervene is not None
            if intervene:
                try:
                    if intervene is FAIL:
                        raise FAILURES.get(kind, InternalServerError("down"))
                    intervene()
                finally:
                    self.intervening = False

        def watched_call(*args, **options):
            before_call("stream")
            return self.call(*args, **options)

        self.watched._calls._call = watched_call
        self.api.before_call = self.accounts.before_call = before_call
        try:
            return (repair or self.repair)(replace(self.clients, stream=self.watched))
        finally:
            self.api.before_call = self.accounts.before_call = lambda _: None

    def sign_up(self, name: str) -> None:
        self.accounts.sign_up("ann", displayName=name)

    def rename(self) -> None:
        """The app renames the user, and the repair of that event runs to its end."""
        self.clients.firestore.document("users/ann").set({"displayName": "New"}, merge=True)
        self.repair()

    def delete(self) -> None:
        """The account is deleted, and what belongs to it, as the event's function does."""
        self.accounts.accounts.pop("ann", None)
        self.clients.stream.remove_user("ann", "soft", float("inf"))
        delete_user_documents({ANN: Entry("user", "ann")}, self.clients, time.monotonic() + 60)

    def remove_from_stream(self) -> None:
        self.clients.stream.remove_user("ann", "soft", float("inf"))

    def lose_answer(self) -> None:
        """The next call is applied by Stream, and its answer never arrives."""
        self.stream.fault("*", "reset", when="after", times=1)

    def delete_and_lose_answer(self) -> None:
        self.delete()
        self.lose_answer()

    def recreate(self) -> None:
        self.delete()
        self.come_back()

    def come_back(self) -> None:
        self.sign_up("New")
        self.repair()


@pytest.fixture
def world(clients, firestore_api, stream) -> World:
    return World(clients, firestore_api, stream)


def missing(world: World, chat) -> None:
    world.sign_up("Old")


def drifted(world: World, chat) -> None:
    world.sign_up("Old")
    chat.upsert_user({"id": "ann", "name": "Somebody else", "hobby": "chess"})


def soft_deleted(world: World, chat) -> None:
    world.sign_up("Old")
    chat.upsert_user({"id": "ann", "name": "Old"})
    chat.delete_user("ann")


def every_interruption(world: World, chat, begin, intervene):
    """Yield after a repair interrupted at each of its calls in turn, until none is left."""
    at = 0
    while True:
        at += 1
        world.begin()
        begin(world, chat)
        outcome = world.repair_interrupted({at: intervene})
        if world.calls < at:
            break
        yield at, outcome
    assert at > 3, "the repair made too few calls for this test to mean anything"


def user_in_stream(chat):
    return next(iter(chat.query_users({"id": "ann"})["users"]), None)


BEGINNINGS = [missing, drifted, soft_deleted]


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_deleted_account_is_never_resurrected(world, chat, begin):
    for intervene in (world.delete, world.delete_and_lose_answer):
        for at, outcome in every_interruption(world, chat, begin, intervene):
            world.stream.clear_faults()
            assert isinstance(outcome.error, NotFound | None), f"before call {at}"
            assert user_in_stream(chat) is None, f"{intervene.__name__} before call {at}"
            assert not world.api.left_documents(), f"{intervene.__name__} before call {at}"


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_recreated_account_is_there_in_its_newest_state(world, chat, begin):
    for at, _ in every_interruption(world, chat, begin, world.recreate):
        assert (user_in_stream(chat) or {}).get("name") == "New", f"before call {at}"
        assert not false_claims([ANN], world.clients, chat), f"before call {at}"
        names = {path.split("/")[-2] for path in world.api.documents}
        assert names == {"users", "user_profiles", "user_stats", "stream_users"}, (
            f"before call {at}"
        )


def test_an_account_that_comes_back_during_its_removal_is_not_harmed(world, chat):
    calls = 16
    for deleted_at in range(1, calls):
        for back_at in range(deleted_at + 1, calls):
            world.begin()
            missing(world, chat)
            world.repair_interrupted({deleted_at: world.delete, back_at: world.come_back})
            if world.calls < back_at:
                break
            where = f"deleted before call {deleted_at}, back before call {back_at}"
            assert (user_in_stream(chat) or {}).get("name") == "New", where
            assert not false_claims([ANN], world.clients, chat), where
            assert len(world.api.documents) == 4, where


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_name_changed_meanwhile_stands(world, chat, begin):
    for at, outcome in every_interruption(world, chat, begin, world.rename):
        assert outcome.error is None, f"before call {at}"
        assert not false_claims([ANN], world.clients, chat), f"before call {at}"
        assert user_in_stream(chat)["name"] == "New", f"before call {at}"


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_second_repair_meanwhile_does_no_harm(world, chat, begin):
    for at, outcome in every_interruption(world, chat, begin, world.repair):
        assert outcome.error is None, f"before call {at}"
        assert user_in_stream(chat)["name"] == "Old", f"before call {at}"


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_lost_answer_is_made_good_in_the_same_repair(world, chat, begin):
    for at, outcome in every_interruption(world, chat, begin, world.lose_answer):
        world.stream.clear_faults()
        assert not false_claims([ANN], world.clients, chat), f"before call {at}"
        assert outcome.error is None, f"before call {at}"
        assert user_in_stream(chat)["name"] == "Old", f"before call {at}"


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_an_entry_claims_no_more_than_the_events_of_stream_have_told(world, chat, begin):
    """Somebody removes the Stream user, and the event tells of it, at any moment of a repair."""

    def remove_and_tell() -> None:
        world.remove_from_stream()
        withdraw([ANN], world.clients, time.monotonic() + 60)

    for at, _ in every_interruption(world, chat, begin, remove_and_tell):
        assert not false_claims([ANN], world.clients, chat), f"before call {at}"


def test_a_late_removal_in_stream_is_no_verdict_on_a_living_account(world, chat):
    """As of the account's former life under this uid, which the platform delivers late."""
    for at, outcome in every_interruption(world, chat, soft_deleted, world.remove_from_stream):
        assert outcome.error is None, f"before call {at}"


def test_custom_fields_survive_whatever_happens_meanwhile(world, chat):
    for at, _ in every_interruption(world, chat, drifted, world.rename):
        assert user_in_stream(chat)["hobby"] == "chess", f"before call {at}"


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_call_that_fails_once_is_made_good_in_the_same_repair(world, chat, begin):
    for at, outcome in every_interruption(world, chat, begin, FAIL):
        if at <= 3 and isinstance(outcome.error, Temporary):
            continue  # Stream's side could not be read at all, or was out of the question.
        assert outcome.error is None, f"call {at} failed"
        assert user_in_stream(chat)["name"] == "Old", f"call {at} failed"
        assert len(world.api.documents) == 4, f"call {at} failed"


@pytest.mark.parametrize(
    ("begin", "deletion"),
    [(missing, "delete"), (missing, "delete_and_lose_answer"), (soft_deleted, "delete")],
)
def test_a_deleted_account_leaves_nothing_though_a_call_fails_as_well(world, chat, begin, deletion):
    """As the event's function sees it, which the platform calls again if it raises."""

    def deliver(clients: Clients) -> None:
        reconcile_after_sign_up("ann", clients)

    calls = 18
    for deleted_at in range(1, calls):
        for fails_at in range(1, calls):
            if fails_at == deleted_at:
                continue
            world.begin()
            begin(world, chat)
            interventions = {deleted_at: getattr(world, deletion), fails_at: FAIL}
            try:
                world.repair_interrupted(interventions, deliver)
            except Temporary:
                world.stream.clear_faults()
                deliver(world.clients)
            world.stream.clear_faults()
            drain_until_settled(world.clients)
            if world.calls < deleted_at:
                return
            where = f"deleted before call {deleted_at}, call {fails_at} failed"
            assert user_in_stream(chat) is None, where
            assert not world.api.left_documents(), where
            if world.calls < fails_at:
                break
