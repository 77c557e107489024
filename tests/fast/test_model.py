"""Checked by model: whatever happens, in whatever order, nobody is lost and nobody comes back.

The code of the bundle runs against Firebase in memory and the local Stream server. Each event, call
of an app, drain and look is an operation that stops before every outside call it makes. Hypothesis
decides who goes on, and what becomes of that call, while accounts come, change and go, and hours
pass by a clock that is moved. In the end all faults are over, every event is delivered and the
outbox worked off; then everybody must be as Firebase says.

Some instances are old: they know nothing of what the entries in ``stream_users`` claim. No entry
may claim more than is true, unless an old instance took the event that would have withdrawn it.

    CHATSYNC_MODEL_EXAMPLES=5000 pytest tests/fast/test_model.py     for a long run
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Literal

import pytest
from firebase_admin.exceptions import UnavailableError
from firebase_functions import logger
from google.api_core.exceptions import ServiceUnavailable
from google.cloud.firestore_v1._helpers import decode_dict
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stream_chat import StreamChat
from stream_chat.base.exceptions import StreamAPIException

from chatsync import agreement, observe, outbox, proof, removal, side_by_side
from chatsync import reconcile as reconcile_module
from chatsync.clients import Clients, pacing, stream_calls
from chatsync.clients import documents as firestore_module
from chatsync.clients.pause import Switch
from chatsync.clients.stream import Stream
from chatsync.clients.stream_calls import Calls
from chatsync.document_writes import DocumentWrites
from chatsync.entry import events, records, tokens, user_events
from chatsync.errors import (
    ChatsyncError,
    FailedPrecondition,
    FirebaseUnavailable,
    NotFound,
    StreamRateLimited,
    StreamUnavailable,
    Temporary,
)
from chatsync.ids import Key
from chatsync.outbox import drain, retry, service, wakes
from chatsync.outbox import entries as entries_module
from chatsync.outcome import NotRepaired
from chatsync.settings import Settings
from chatsync.users import FirebaseState
from stream_server.control_client import LocalStream
from tests.fast.claims import false_claims
from tests.fast.firebase_in_memory import (
    MemoryAuth,
    MemoryFirestoreApi,
    MemoryTasks,
    firestore_client,
)
from tests.fast.proven import forget

EXAMPLES = int(os.environ.get("CHATSYNC_MODEL_EXAMPLES", "50"))
STEPS = 30

UIDS = ("ann", "bob", "eve")
NOBODY = "nobody"
"""Has never had an account, and is asked for nevertheless."""
BOT = "bot"
"""Lives in Stream only; never had an account either."""

NO_SUCH_ROLE = "no-such-role"
CHATS = {
    "admin in x": {"role": "admin", "teams": ["x"]},
    "in x and y": {"role": None, "teams": ["x", "y"]},
    "no chat": None,
    NO_SUCH_ROLE: {"role": NO_SUCH_ROLE, "teams": []},
}
CHANGES = (
    *("users displayName", "users photoURL", "users no photoURL"),
    *("user_profiles displayName", "user_profiles photoURL", "user_profiles no displayName"),
    *(f"users {chat}" for chat in CHATS),
    *("auth name", "auth no name"),
    *("stream hobby", "stream name", "stream deletion"),
)

MOST_AT_ONCE = 3
"""Operations that are under way together."""
LONGEST_OPERATION_SECONDS = 50.0
"""The platform ends the functions after 60."""
MOST_TURNS_TO_SETTLE = 300
TICK_SECONDS = 1e-5

PRODUCTION = {
    (module, name): getattr(module, name)
    for module, name in (
        (retry, "FIRST_ATTEMPT_SECONDS"),
        (retry, "RECHECK_SECONDS"),
        (retry, "SHORTEST_PAUSE_SECONDS"),
        (drain, "PAUSE_SECONDS"),
        (reconcile_module, "PAUSE_SECONDS"),
        (stream_calls, "PAUSES_BETWEEN_READS"),
    )
}
"""Pauses that other tests shorten: here they cost no time."""
LATEST_SECONDS = retry.RECHECK_SECONDS - 1
"""After this Stream has applied a call of which nobody has heard, or never will."""

Side = Literal["stream", "firestore", "auth", "tasks"]
FAILURES: dict[Side, Callable[[str], Exception]] = {
    "stream": StreamUnavailable,
    "firestore": ServiceUnavailable,
    "auth": UnavailableError,
    "tasks": FirebaseUnavailable,
}
WRITES_TO_STREAM = (
    *("upsert_users", "update_users_partial"),
    *("restore_users", "delete_users", "delete_user"),
)
WRITES_TO_FIREBASE = ("batch_write", "commit", "enqueue")

Fate = Literal[
    *("done", "waits", "fails", "answer lost", "done late", "limited", "side down", "killed")
]
"""Of an outside call. ``waits``: somebody else has a turn; ``side down``: this one fails, and all
others that the operation makes on that side."""
Course = Sequence[tuple[int, Fate]]
"""How many calls are done, and what becomes of the next, and so on."""


class Killed(BaseException):
    """The process ends, in the middle of an operation."""


# The parts of the world, each of which stops an operation before it answers


class Clock:
    """Stands in for the module ``time``, and for the class ``datetime`` where it is asked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = 0.0

    def time(self) -> float:
        return self.now

    monotonic = time

    def tick(self) -> float:
        """No two writes share a moment, and no call takes none."""
        self.now += TICK_SECONDS
        return self.now

    def sleep(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    def datetime(self) -> type[datetime]:
        clock = self

        class MovedDatetime(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return datetime.fromtimestamp(clock.now, tz)

        return MovedDatetime


class InTurn:
    """Stands in for the threads of ``side_by_side``: a call is made at once, or when awaited.

    So operations can be repeated exactly; which of the two it is, differs from one to the next.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def submit(self, call: Callable[..., Any], *args: Any, **options: Any) -> Awaited:
        operation = self.world.operation()
        awaited = Awaited(self.world.clock, partial(call, *args, **options))
        if operation is None or not operation.waits_with_next():
            awaited.run()
        return awaited


class Awaited(Future[Any]):
    def __init__(self, clock: Clock, call: Callable[[], Any]) -> None:
        super().__init__()
        self.clock, self.call = clock, call

    def run(self) -> None:
        try:
            self.set_result(self.call())
        except BaseException as error:  # noqa: BLE001 (as any future does)
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        ends = self.clock.now + (math.inf if timeout is None else timeout)
        if not self.done():
            self.run()
            if self.clock.now > ends and not isinstance(self.exception(), Killed):
                raise TimeoutError
        return super().result()


class WatchedCalls(Calls):
    """Stream tells of each removal by an event, whoever makes it and whenever it is applied."""

    def __init__(self, world: World, server: LocalStream) -> None:
        super().__init__(server.key, server.secret, server.url)
        self.world = world

    def call(self, deadline: float, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        name = method.__name__

        def perform(in_time: bool = True) -> Any:
            # The deadline is of the moved clock, the answer comes in real time.
            until = deadline if in_time and deadline <= self.world.clock.now else math.inf
            answer = super(WatchedCalls, self).call(until, method, *args, **options)
            if name == "upsert_users":
                self.world.note_replaced(user["id"] for user in args[0])
            if name in ("delete_user", "delete_users"):
                for uid in [args[0]] if name == "delete_user" else args[0]:
                    self.world.tell("user.deleted", {"id": uid})
            return answer

        operation = self.world.operation()
        if operation and name == "upsert_users":
            operation.check_creation([user["id"] for user in args[0]])
        answer = self.world.outside("stream", name, perform, late=partial(perform, in_time=False))
        if operation and name == "query_users":
            operation.in_stream = {user["id"] for user in answer["users"]}
        return answer


def watched_stream(world: World, server: LocalStream) -> Stream:
    stream = Stream(server.key, server.secret, server.url)
    stream._calls = WatchedCalls(world, server)
    return stream


class WatchedFirestoreApi(MemoryFirestoreApi):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def batch_get_documents(self, request: Any, **options: object) -> Iterator[Any]:
        call = partial(super().batch_get_documents, request, **options)
        return self.world.outside("firestore", "batch_get_documents", call)

    def run_query(self, request: Any, **options: object) -> Iterator[Any]:
        return self.world.outside("firestore", "run_query", partial(super().run_query, request))

    def begin_transaction(self, **options: object) -> Any:
        return self.world.outside("firestore", "begin_transaction", super().begin_transaction)

    def batch_write(self, request: Any, **options: object) -> Any:
        call = partial(self.changing, partial(super().batch_write, request))
        return self.world.outside("firestore", "batch_write", call)

    def commit(self, request: Any, **options: object) -> Any:
        call = partial(self.changing, partial(super().commit, request))
        return self.world.outside("firestore", "commit", call)

    def changing(self, call: Callable[[], Any]) -> Any:
        before = dict(self.documents)
        try:
            return call()
        finally:
            for name in before.keys() | self.documents.keys():
                if before.get(name) is not self.documents.get(name):
                    path = name.partition("/documents/")[2]
                    self.world.note_changed(path, before.get(name), self.documents.get(name))

    def _now(self) -> Timestamp:
        moment = Timestamp()
        moment.FromMicroseconds(round(self.world.clock.tick() * 1e6))
        return moment


class WatchedAuth(MemoryAuth):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def get_users(self, identifiers: list[Any]) -> Any:
        call = partial(super().get_users, identifiers)
        return self.world.outside("auth", "get_users", call)


class WatchedTasks(MemoryTasks):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def enqueue(self, function: str, data: dict[str, Any], task_id: str, at: float) -> bool:
        call = partial(super().enqueue, function, data, task_id, at)
        operation = self.world.operation()
        if operation:
            operation.wake_at = at  # even if the answer is lost
        is_new: bool = self.world.outside("tasks", "enqueue", call)
        if operation:
            operation.owes_wake = False
        return is_new


# What goes on in it


@dataclass(eq=False)
class Operation:
    """One run of a function, in a thread of its own, stopped before each of its outside calls."""

    world: World
    name: str
    uids: tuple[str, ...]
    run: Callable[[Clients], object]
    ended: Callable[[Operation], None]
    """What the platform does then."""
    may_be_killed: bool
    order: int
    """By its bits: which of the calls that are made side by side come later."""
    is_old: bool
    """Whether the instance knows no entries."""
    began: int = 0
    began_at: float = 0.0
    is_over: bool = False
    is_killed: bool = False
    error: BaseException | None = None
    pending: tuple[Side, str] = ("stream", "")
    fate: Fate = "done"
    down: set[Side] = field(default_factory=set)
    met_firestore_fault: bool = False
    in_stream: set[str] | None = None
    """Whom the latest query showed."""
    made: set[str] = field(default_factory=set)
    """The paths of documents that it made, and nobody changed since."""
    wake_at: float = 0.0
    owes_wake: bool = False
    late: list[LateCall] = field(default_factory=list)
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _stopped: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def start(self, threads: ThreadPoolExecutor) -> None:
        """Until its first outside call."""
        self.began, self.began_at = self.world.moment(), self.world.clock.now
        threads.submit(self._body)
        self._wait()

    def go_on(self, fate: Fate = "done") -> None:
        """Let the pending call have its fate; until the next one, or the end."""
        if not self.is_over:
            self.fate = fate
            self._go.release()
            self._wait()

    def go_on_until(self, fate: Fate | None) -> None:
        """Until a call is pending that can have this fate, or the end."""
        while not (self.is_over or self.can_meet(fate)):
            self.go_on()

    def can_meet(self, fate: Fate | None) -> bool:
        side, name = self.pending
        match fate:
            case None:
                return False
            case "limited":
                return side == "stream"
            case "done late":
                return name in WRITES_TO_STREAM
            case "answer lost":
                return name in WRITES_TO_STREAM or name in WRITES_TO_FIREBASE
            case "killed":
                return self.may_be_killed
        return True

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=60), f"{self.name} hangs"
        if self.is_over:
            self.ended(self)

    def _body(self) -> None:
        self.world.threads_operation.value = self
        try:
            self.run(self.world.clients)
        except BaseException as error:  # noqa: BLE001 (Killed too)
            self.error = error
        self.world.threads_operation.value = None
        self.is_over = True
        self._stopped.release()

    def outside(
        self, side: Side, name: str, call: Callable[[], Any], late: Callable[[], Any] | None
    ) -> Any:
        """Make one outside call, when and as far as the model wants it."""
        if self.is_killed:
            raise Killed
        failure = FAILURES[side](f"{name} failed")
        if side in self.down:
            raise failure
        self.pending = side, name
        self._stopped.release()
        self._go.acquire()
        if self.fate != "done":
            self.met_firestore_fault |= side == "firestore"
            self.world.wake_was_lost |= side == "tasks"
        match self.fate:
            case "done":
                return call()
            case "answer lost":
                call()
            case "done late":
                assert late
                at = self.world.clock.now + LATEST_SECONDS
                self.world.late.append(LateCall(at, late, f"{name} of {self.name}", self))
            case "limited":
                raise StreamRateLimited("limited", 3)
            case "side down":
                self.down.add(side)
            case "killed":
                self.is_killed = True
                raise Killed
        raise failure

    def waits_with_next(self) -> bool:
        self.order, waits = self.order >> 1 | (self.order & 1) << 2, bool(self.order & 1)
        return waits

    def check_creation(self, uids: Iterable[str]) -> None:
        """UpdateUsers replaces users: it is for those who are missing, and for nobody's ghost."""
        for uid in uids:
            if self.in_stream is None or uid in self.in_stream:
                self.world.violations.append(f"{self.name} replaces {uid}, who is in Stream")
            if not self.world.people[uid].lived_since(self.began):
                self.world.violations.append(f"{self.name} makes {uid}, who never existed")


@dataclass(eq=False)
class LateCall:
    """A call to Stream that timed out, and is applied later than all that its sender does."""

    at: float
    """At the latest."""
    perform: Callable[[], Any]
    name: str
    operation: Operation


@dataclass(eq=False)
class Event:
    """What the platform delivers, at least once."""

    name: str
    uid: str
    handle: Callable[[Clients], object]
    is_echo: bool = False
    """Whether the bundle's own write caused it."""


@dataclass
class Person:
    """What became of an account, as those know who changed it. Moments count up."""

    exists: bool = False
    came: int = 0
    went: int = 0
    names: list[tuple[int, str | None]] = field(default_factory=list)
    """Of the account, with the moment of each."""
    hobby: str | None = None
    """What somebody else has noted in Stream, as long as it has to be there."""
    deletions: int = 0
    """Of the account, and by others in Stream."""
    had_bad_role: bool = False
    untold: set[str] = field(default_factory=set)
    """What has silently changed, so that no repair is to be expected before somebody asks."""
    may_be_claimed: bool = False
    """An old instance took an event that withdraws an entry."""
    unreported: bool = False
    """What failed in a call of an app, and could not be noted, is left to the audit."""

    @property
    def may_be_parked_for(self) -> set[str]:
        """Rejected: a role that Stream doesn't know. Deleted: again, right after a restoration."""
        reasons = {"rejected": self.had_bad_role, "deleted": self.deletions > 1}
        return {reason for reason, is_allowed in reasons.items() if is_allowed}

    def lived_since(self, moment: int) -> bool:
        """Whether there has been an account at any time since then."""
        return self.exists or self.went >= moment

    def was_gone_since(self, moment: int) -> bool:
        """Whether there has been no account at any time since then."""
        return not self.exists or self.came >= moment

    def names_since(self, moment: int) -> set[str | None]:
        before = [name for at, name in self.names if at < moment]
        return {*before[-1:], *(name for at, name in self.names if at >= moment)}


class World:
    """All sides, who knows what of them, and what is under way."""

    def __init__(self, server: LocalStream) -> None:
        self.server = server
        self.clock = Clock(self)
        self.api = WatchedFirestoreApi(self)
        self.accounts = WatchedAuth(self)
        self.tasks = WatchedTasks(self)
        self.firestore = firestore_client(self.api)
        self.stream = watched_stream(self, server)
        settings = Settings(server.key, server.secret)
        # In a database of its own: the thread that reads it keeps the others waiting.
        pause = Switch(firestore_client(MemoryFirestoreApi()))
        self.clients = Clients(
            self.firestore, self.accounts, self.stream, self.tasks, settings, pause
        )
        self.dashboard = StreamChat(server.key, server.secret, base_url=server.url)
        self.threads = ThreadPoolExecutor(MOST_AT_ONCE)
        self.threads_operation = threading.local()
        for operation in ("QueryUsers", "UpdateUsers", "UpdateUsersPartial", "RestoreUsers"):
            server.remove_limit(operation)
        for operation in ("DeleteUser", "DeleteUsers"):
            server.remove_limit(operation)

    def begin(self) -> None:
        self.server.reset()
        self.dashboard.upsert_user({"id": BOT, "name": "A bot"})
        self.stream._calls._paces.clear()
        self.api.documents.clear()
        self.api.calls.clear()
        forget(self.clients)
        self.accounts.accounts.clear()
        self.accounts.calls.clear()
        self.tasks.waiting.clear()
        self.tasks.used_ids.clear()
        self.clock.now = 1_800_000_000.25
        self.moments = itertools.count(1)
        self.names = itertools.count(1)
        self.people = {uid: Person() for uid in (*UIDS, NOBODY, BOT)}
        self.app_wrote: dict[str, dict[str, Any]] = {}
        """By path, what an app has written last, field by field."""
        self.events: list[Event] = []
        self.under_way: list[Operation] = []
        self.late: list[LateCall] = []
        self.wake_was_lost = False
        self.violations: list[str] = []
        self.prove()

    def prove(self) -> None:
        """Stream's events arrive all the time."""
        now = datetime.fromtimestamp(self.clock.now, UTC)
        fields = {"lastUserEventAt": now, "checkedAt": now, "missingEvents": []}
        self.firestore.document("chatsync/webhook").set(fields)
        # Read here, once: the thread that reads it keeps the others waiting.
        proof.is_proven(self.clients, now)

    def is_old(self) -> bool:
        operation = self.operation()
        return operation is not None and operation.is_old

    def moment(self) -> int:
        return next(self.moments)

    def new_name(self, kind: str = "Name") -> str:
        return f"{kind} {next(self.names)}"

    # Operations

    def operation(self) -> Operation | None:
        """The one that this thread runs; None in the thread of the test."""
        return getattr(self.threads_operation, "value", None)

    def outside(
        self,
        side: Side,
        name: str,
        call: Callable[[], Any],
        late: Callable[[], Any] | None = None,
    ) -> Any:
        operation = self.operation()
        self.clock.tick()
        return operation.outside(side, name, call, late) if operation else call()

    def start(
        self,
        name: str,
        uids: Iterable[str],
        run: Callable[[Clients], object],
        ended: Callable[[Operation], None],
        order: int,
        may_be_killed: bool,
        is_old: bool = False,
    ) -> Operation:
        name = f"{name} by an old instance" if is_old else name
        operation = Operation(self, name, tuple(uids), run, ended, may_be_killed, order, is_old)
        self.under_way.append(operation)
        operation.start(self.threads)
        return operation

    def advance(self, operation: Operation, course: Course = ()) -> None:
        """Let an operation take its course, and then come to its end."""
        for calls, fate in course:
            for _ in range(calls):
                operation.go_on_until(fate)
                operation.go_on()
            operation.go_on_until(fate)
            if fate == "waits":
                return
            operation.go_on(fate)
        operation.go_on_until(None)

    def ended(self, operation: Operation, *expected: type[BaseException]) -> bool:
        """Whether an operation succeeded; if not it must have failed in a way that is expected."""
        self.under_way.remove(operation)
        if operation.is_killed:
            self.wake_was_lost |= operation.owes_wake
            for call in [late for late in self.late if late.operation is operation]:
                # What it sent and never heard of is on the way no longer than the process lives.
                self.apply(call)
        error = operation.error
        if isinstance(error, NotRepaired):
            error = error.outcome.error
        if error and not isinstance(error, (Killed, *expected)):
            raise error
        return error is None

    def deliver(
        self, event: Event, order: int = 0, again: bool = False, is_old: bool = False
    ) -> Operation:
        def ended(operation: Operation) -> None:
            # Google's client says ValueError of a transaction that cannot be begun.
            is_done = self.ended(operation, Temporary, ServiceUnavailable, ValueError)
            if is_done and not again and event in self.events:
                self.events.remove(event)
            if not is_done and any(late.operation is operation for late in self.late):
                # The outbox could not be written: no later delivery knows of that call, and what
                # it does to somebody who is back by then is for the nightly audit to find.
                self.people[event.uid].unreported |= operation.met_firestore_fault

        if is_old and event.name.startswith("user."):
            self.people[event.uid].may_be_claimed = True
        return self.start(event.name, [event.uid], event.handle, ended, order, True, is_old)

    def deliver_task(self, task: dict[str, Any], order: int = 0, again: bool = False) -> Operation:
        def ended(operation: Operation) -> None:
            is_done = self.ended(operation, Temporary)
            if is_done and not again and task in self.tasks.waiting:
                self.tasks.waiting.remove(task)

        def run(clients: Clients) -> None:
            drain.drain(float(task["data"]["notBefore"]), clients)

        return self.start(f"drain {task['id']}", (), run, ended, order, True)

    def look(self) -> Operation:
        """The one every five minutes."""

        def ended(operation: Operation) -> None:
            self.ended(operation, Temporary)

        return self.start("look", (), drain.wake_if_due, ended, 0, True)

    def called_by_an_app(
        self,
        name: str,
        uids: Iterable[str],
        run: Callable[[Clients], object],
        order: int = 0,
        is_old: bool = False,
    ) -> Operation:
        def ended(operation: Operation) -> None:
            self.ended(operation, Temporary, NotFound, FailedPrecondition)
            if operation.met_firestore_fault:
                for uid in operation.uids:
                    self.people[uid].unreported = True

        return self.start(name, uids, run, ended, order, False, is_old)

    def ensure(self, uids: Iterable[str], order: int = 0, is_old: bool = False) -> Operation:
        keys = [Key("user", uid) for uid in uids]
        return self.called_by_an_app(
            f"ensure {', '.join(uids)}",
            uids,
            lambda clients: outbox.reconcile(keys, clients),
            order,
            is_old,
        )

    # Time, and what it brings

    def pass_time(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.late and (call := min(self.late, key=lambda late: late.at)).at <= until:
            self.clock.now = max(self.clock.now, call.at)
            self.apply(call)
        self.clock.now = until

    def apply(self, call: LateCall) -> None:
        self.late.remove(call)
        with suppress(ChatsyncError):
            call.perform()

    # Who changes what, and the events of it

    def sign_up(self, uid: str, with_name: bool, with_event: bool) -> None:
        person = self.people[uid]
        person.exists, person.came = True, self.moment()
        self.name_account(uid, self.new_name() if with_name else None)
        if with_event:
            self.queue("created", uid, events.reconcile_after_sign_up)
        else:
            person.untold |= {"presence", "name"}

    def name_account(self, uid: str, name: str | None) -> None:
        self.accounts.sign_up(uid, **({"displayName": name} if name else {}))
        self.people[uid].names.append((self.moment(), name))

    def delete_account(self, uid: str) -> None:
        person = self.people[uid]
        person.exists, person.went = False, self.moment()
        person.deletions += 1
        person.untold.clear()
        self.accounts.delete(uid)
        self.queue("deleted", uid, events.remove_after_event)

    def queue(
        self, name: str, uid: str, handler: Callable[[str, Clients, Settings], object]
    ) -> None:
        self.events.append(
            Event(
                f"{name} {uid}",
                uid,
                lambda clients: handler(uid, clients),
                self.operation() is not None,
            )
        )

    def tell(self, kind: str, user: dict[str, Any]) -> None:
        """Stream sends an event of a user."""
        told_at = datetime.fromtimestamp(self.clock.now, UTC)

        def handle(clients: Clients) -> None:
            if not self.is_old():
                user_events.handle(kind, user, told_at, clients, self.clock.now + 2)

        name = f"{kind} {user['id']}"
        self.events.append(Event(name, user["id"], handle, self.operation() is not None))

    def write_as_app(self, path: str, fields: dict[str, Any]) -> None:
        self.app_wrote.setdefault(path, {}).update(fields)
        chat = fields.get("chat") or {}
        if chat.get("role") == NO_SUCH_ROLE:
            self.people[path.partition("/")[2]].had_bad_role = True
        self.firestore.document(path).set(fields, merge=True)

    def note_changed(self, path: str, old: Any, new: Any) -> None:
        """Look at a change of a document, whoever made it, and queue its events."""
        collection, _, uid = path.partition("/")
        before, after = self.decoded(old), self.decoded(new)
        operation = self.operation()
        if collection == "chatsync":
            return
        if operation and collection == "repairs":
            operation.owes_wake |= bool(after) and self.clock.now >= operation.wake_at > 0
        if collection == "repairs":
            return
        if operation:
            self.check_written(operation, path, uid.removeprefix("user_"), before, after)
        if after is None:
            self.app_wrote.pop(path, None)
        for other in self.under_way:
            other.made.discard(path)
        if operation and before is None:
            operation.made.add(path)
        if collection == "users" and before is None:
            self.queue("user document", uid, events.reconcile_after_creation)
        elif collection == "users" and after is not None:
            self.queue_change("user", uid, FirebaseState(user=before), FirebaseState(user=after))
        elif collection == "user_profiles":
            self.queue_change(
                "profile", uid, FirebaseState(profile=before), FirebaseState(profile=after)
            )

    def queue_change(
        self, what: str, uid: str, before: FirebaseState, after: FirebaseState
    ) -> None:
        def handle(clients: Clients) -> None:
            events.reconcile_after_change(uid, before, after, clients)

        is_echo = self.operation() is not None
        self.events.append(Event(f"{what} of {uid} changed", uid, handle, is_echo))

    def check_written(
        self,
        operation: Operation,
        path: str,
        uid: str,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
    ) -> None:
        """Judge what the bundle writes at once, where the end would not show it any more."""
        person = self.people[uid]
        wrong = None
        if after is None:
            if not person.was_gone_since(operation.began) and path not in operation.made:
                wrong = "deletes a document of an account that exists"
        elif path.startswith("users/"):
            if before is not None:
                wrong = "changes a user document"
            elif after.get("displayName") not in person.names_since(operation.began):
                wrong = "writes a name that the account no longer has"
        may_be_made = person.lived_since(operation.began) or f"users/{uid}" in self.documents()
        if before is None and not may_be_made and "deletedAt" not in (after or {}):
            wrong = "makes a document of an account that doesn't exist"
        if wrong:
            self.violations.append(f"{operation.name} {wrong}: {path}")

    def decoded(self, document: Any) -> dict[str, Any] | None:
        fields: dict[str, Any] | None = document and decode_dict(document.fields, self.firestore)
        return fields

    def note_replaced(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self.people[uid].hobby = None

    # The end

    def settle(self) -> None:
        """All faults are over: let everything come to its end, and judge it."""
        while self.under_way:
            self.advance(self.under_way[0])
        self.come_to_rest()
        self.judge()
        for uid in UIDS:
            person = self.people[uid]
            if person.exists and (person.untold or person.unreported):
                self.advance(self.ensure([uid]))
            elif person.unreported:
                self.queue("audit of", uid, events.remove_after_event)
            person.untold.clear()
            person.unreported = False
        self.come_to_rest()
        self.judge()

    def come_to_rest(self) -> None:
        """Deliver all events, and every wake when its time has come."""
        for _ in range(MOST_TURNS_TO_SETTLE):
            waiting = [one for one in self.entries().values() if one["state"] == "waiting"]
            wake = min(self.tasks.waiting, key=lambda task: task["at"], default=None)
            at = wake["at"] + 0.25 if wake and waiting else math.inf
            if self.events:
                self.advance(self.deliver(self.events[0]))
            elif self.late and min(late.at for late in self.late) <= at:
                self.pass_time(min(late.at for late in self.late) - self.clock.now)
            elif not waiting:
                return
            elif wake:
                self.pass_time(max(0.0, at - self.clock.now))
                self.advance(self.deliver_task(wake))
            else:
                assert self.wake_was_lost, f"nobody is woken for {waiting}"
                self.pass_time(300)
                self.advance(self.look())
        raise AssertionError(f"never comes to rest: {self.events}, {self.entries()}")

    def judge(self) -> None:
        assert not self.violations, self.violations
        doubted = [Key("user", uid) for uid in UIDS if not self.people[uid].may_be_claimed]
        false = false_claims(doubted, self.clients, self.dashboard)
        assert not false, f"entries claim too much: {false}"
        found = self.dashboard.query_users({}, limit=100, include_deactivated_users=True)["users"]
        in_stream = {user["id"]: user for user in found}
        bot = in_stream.pop(BOT, {})
        assert bot.get("name") == "A bot", f"the bot is now {bot}"
        strangers = in_stream.keys() - set(UIDS)
        assert not strangers, f"in Stream without ever having had an account: {strangers}"
        for uid in UIDS:
            if self.people[uid].exists:
                self.judge_living(uid, in_stream.get(uid))
            elif not self.people[uid].unreported:
                assert uid not in in_stream, f"{uid} is deleted, and in Stream: {in_stream[uid]}"
                names = (f"/{uid}", f"/user_{uid}")
                left = {
                    path
                    for path, fields in self.documents().items()
                    if path.endswith(names) and "deletedAt" not in fields
                }
                assert not left, f"{uid} is deleted, and left {left}"
        for entry in self.entries().values():
            # Who was refused stays on record until a person looks, though that may be over by now.
            deserved = self.people[entry["key"]].may_be_parked_for
            assert entry["reason"] in deserved, f"left in the outbox: {entry}"

    def judge_living(self, uid: str, stream_user: dict[str, Any] | None) -> None:
        person = self.people[uid]
        documents = self.documents()
        for path, fields in self.app_wrote.items():
            kept = documents.get(path, {})
            for name, value in fields.items():
                if path.endswith(f"/{uid}"):
                    assert kept.get(name) == value, f"{path} has lost {name} {value!r}: {kept}"
        if person.unreported or "presence" in person.untold:
            return
        held = [documents.get(f"{name}/{uid}") for name in ("users", "user_profiles", "user_stats")]
        assert None not in held, f"{uid} lacks documents: {held}"
        stated = self.stated(uid, held[0] or {}, held[1] or {})
        if stated.get("role") == NO_SUCH_ROLE:
            return
        if "name" in person.untold:
            stated.pop("name", None)
        assert stream_user, f"{uid} is missing in Stream"
        for name, value in stated.items():
            present = stream_user.get(name)
            agrees = set(present) == set(value) if name == "teams" else (present or None) == value
            assert agrees, f"{uid} has the {name} {present!r} in Stream instead of {value!r}"
        assert person.hobby in (None, stream_user.get("hobby")), f"{uid} has lost {person.hobby}"

    def stated(self, uid: str, user: dict[str, Any], profile: dict[str, Any]) -> dict[str, Any]:
        """The fields of the Stream user that Firebase states: the profile where its owner edited
        it, else the user document, else the account."""
        edited = self.app_wrote.get(f"user_profiles/{uid}", {})
        stated: dict[str, Any] = {}
        for name, in_stream in (("displayName", "name"), ("photoURL", "image")):
            in_auth = self.people[uid].names[-1][1] if in_stream == "name" else None
            if name in edited:
                stated[in_stream] = edited[name]
                continue
            if user.get(name) or in_auth or name in user:
                stated[in_stream] = user.get(name) or in_auth
                if not (in_stream == "name" and "name" in self.people[uid].untold):
                    assert profile.get(name) == stated[in_stream], f"the profile of {uid} lags"
        if "chat" in user:
            chat = user["chat"] or {"role": None, "teams": None}
            stated |= {"role": chat["role"] or "user", "teams": chat["teams"] or []}
        return stated

    def documents(self) -> dict[str, dict[str, Any]]:
        return {
            name.partition("/documents/")[2]: self.decoded(document) or {}
            for name, document in self.api.documents.items()
            if "/repairs/" not in name
        }

    def entries(self) -> dict[str, dict[str, Any]]:
        return {
            name.rpartition("/")[2]: self.decoded(document) or {}
            for name, document in self.api.documents.items()
            if "/repairs/" in name
        }

    def abandon(self) -> None:
        """Give the threads back, whatever is under way."""
        for operation in list(self.under_way):
            operation.ended = self.under_way.remove
            operation.may_be_killed = True
            while not operation.is_over:
                operation.go_on("killed")


# What may happen next

uids = st.sampled_from([*UIDS, *[UIDS[0]] * 3])
orders = st.integers(0, 7)
olds = st.sampled_from([False, False, False, True])
places = st.integers(0, 9)
anytime = st.sampled_from(["done", *["waits"] * 3, "fails", "side down", "killed"])
special = st.sampled_from(["answer lost", "done late", "limited"])
"""Fates that only some calls can have."""
turns = st.tuples(st.integers(0, 8), anytime) | st.tuples(st.integers(0, 1), special)
courses = st.lists(turns, min_size=1, max_size=3)


class Model(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        world.begin()

    @initialize(uids=st.sets(uids), in_agreement=st.booleans())
    def some_have_signed_up(self, uids: set[str], in_agreement: bool) -> None:
        for uid in sorted(uids):
            self.world.sign_up(uid, with_name=True, with_event=True)
        if in_agreement:
            self.world.come_to_rest()

    # Accounts and documents

    @rule(uid=uids, with_name=st.booleans(), with_event=st.booleans(), at_once=st.booleans())
    def sign_up_or_delete(self, uid: str, with_name: bool, with_event: bool, at_once: bool) -> None:
        """An account comes; or it goes, and may be back at once. Imported ones have no event."""
        existed = self.world.people[uid].exists
        if existed:
            self.world.delete_account(uid)
        if not existed or at_once:
            self.world.sign_up(uid, with_name, with_event)

    @rule(uid=uids, change=st.sampled_from(CHANGES))
    def change(self, uid: str, change: str) -> None:
        """Somebody else changes something; of what happens in Auth and Stream no event tells."""
        where, what = change.split(" ", 1)
        if where == "stream":
            self.change_in_stream(uid, what)
        elif self.world.people[uid].exists and where == "auth":
            self.world.name_account(uid, self.world.new_name() if what == "name" else None)
            self.world.people[uid].untold.add("name")
        elif self.world.people[uid].exists:
            self.change_document(f"{where}/{uid}", what)

    def change_document(self, path: str, what: str) -> None:
        """The app writes a user document, whether it is there or not, or a profile that is."""
        document = self.world.documents().get(path)
        if what in CHATS:
            self.world.write_as_app(path, {"chat": CHATS[what]})
        elif document or path.startswith("users/"):
            is_null, _, name = what.rpartition("no ")
            edited = self.world.new_name("Edited")
            if name == "photoURL":
                edited = f"https://p/{edited.replace(' ', '-')}"
            value = None if is_null else edited
            self.world.write_as_app(path, {name: value})
            if document and value == document.get("mirrored", {}).get(name, ...):
                del self.world.app_wrote[path][name]  # a profile that is no longer edited

    def change_in_stream(self, uid: str, what: str) -> None:
        person, value = self.world.people[uid], self.world.new_name("Somebody else's")
        with suppress(StreamAPIException):
            if what == "deletion":
                self.world.dashboard.delete_user(uid)
                self.world.tell("user.deleted", {"id": uid})
                person.deletions += 1
                person.untold.add("presence")
                return
            changed = self.world.dashboard.update_user_partial({"id": uid, "set": {what: value}})
            self.world.tell("user.updated", changed["users"][uid])
            if what == "name":
                person.untold.add("name")
            else:
                person.hobby = value

    # The functions, each until it is stopped before one of its outside calls

    def has_room(self) -> bool:
        return len(self.world.under_way) < MOST_AT_ONCE

    @precondition(lambda self: self.has_room() and self.world.events)
    @rule(place=places, again=st.booleans(), order=orders, is_old=olds, course=courses)
    def deliver_event(
        self, place: int, again: bool, order: int, is_old: bool, course: Course
    ) -> None:
        """Of what the bundle itself wrote more rarely: there is much of it, and little in it."""
        events = self.world.events
        news = [event for event in events if not event.is_echo]
        events = news if news and place < 8 else events
        event = events[place % len(events)]
        self.world.advance(self.world.deliver(event, order, again, is_old), course)

    @precondition(lambda self: self.has_room() and self.world.tasks.waiting)
    @rule(
        place=places,
        early=st.booleans(),
        again=st.booleans(),
        order=orders,
        course=courses,
    )
    def deliver_wake(
        self, place: int, early: bool, again: bool, order: int, course: Course
    ) -> None:
        """At its time, or however early, as the Tasks emulator does it."""
        task = self.world.tasks.waiting[place % len(self.world.tasks.waiting)]
        if not early:
            self.time_passes(max(0.0, task["at"] + 0.25 - self.world.clock.now))
        self.world.advance(self.world.deliver_task(task, order, again), course)

    @precondition(lambda self: self.has_room() and self.world.entries())
    @rule(course=courses)
    def look(self, course: Course) -> None:
        self.world.advance(self.world.look(), course)

    @precondition(has_room)
    @rule(
        uids=st.lists(uids | st.sampled_from([NOBODY, BOT]), min_size=1, max_size=3, unique=True),
        function=st.sampled_from(["ensure", "ensure", "token", "profile"]),
        order=orders,
        is_old=olds,
        course=courses,
    )
    def call(
        self, uids: list[str], function: str, order: int, is_old: bool, course: Course
    ) -> None:
        if function == "ensure":
            operation = self.world.ensure(uids, order, is_old)
        else:
            run = {"token": tokens.issue_token, "profile": records.ensure_profile}[function]
            uid = uids[0]
            operation = self.world.called_by_an_app(
                f"{function} of {uid}", [uid], lambda clients: run(uid, clients), order, is_old
            )
        self.world.advance(operation, course)

    @precondition(lambda self: self.world.under_way)
    @rule(place=places, course=courses)
    def go_on(self, place: int, course: Course) -> None:
        operation = self.world.under_way[place % len(self.world.under_way)]
        self.world.advance(operation, course)

    @precondition(lambda self: self.world.late)
    @rule(place=places)
    def late_call_is_applied(self, place: int) -> None:
        self.world.apply(self.world.late[place % len(self.world.late)])

    @precondition(lambda self: self.world.under_way or self.world.late or self.world.entries())
    @rule(seconds=st.sampled_from([1.0, 4.0, 12.0, 45.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.time_passes(seconds)

    def time_passes(self, seconds: float) -> None:
        for operation in list(self.world.under_way):
            age = self.world.clock.now - operation.began_at
            if age + seconds > LONGEST_OPERATION_SECONDS:
                self.world.advance(operation)
        self.world.pass_time(seconds)

    # What holds at any moment

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not self.world.violations, self.world.violations
        entries = self.world.entries().values()
        for entry in entries:
            has_time = "nextAttemptAt" in entry
            assert has_time == (entry["state"] == "waiting"), entry
            assert entry["reason"] != "internal", entry
        if self.world.tasks.waiting:
            self.world.wake_was_lost = False
        elif any(entry["state"] == "waiting" for entry in entries):
            owed = any(operation.owes_wake for operation in self.world.under_way)
            assert owed or self.world.wake_was_lost, f"nobody is woken for {entries}"

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.world.settle()
        finally:
            self.world.abandon()


def old_instances(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let operations of old instances do what the code did before there were entries to trust."""
    remember, known = DocumentWrites.remember_agreement, tokens._known
    delete, repair_later = removal.delete_user_documents, records._repair_later_unless_fresh

    def remember_unless_old(self: DocumentWrites, deadline: float) -> None:
        if not world.is_old():
            remember(self, deadline)

    def known_unless_old(*arguments: Any) -> Any:
        return None if world.is_old() else known(*arguments)

    def repair_later_unless_old(*arguments: Any) -> None:
        if not world.is_old():
            repair_later(*arguments)

    def delete_entry_if_old(
        entries: Any, clients: Clients, deadline: float, **options: Any
    ) -> None:
        if not world.is_old():
            delete(entries, clients, deadline, **options)
            return
        batch = clients.firestore.batch()
        for key in entries:
            for name in ("users/", "user_profiles/", "user_stats/", "stream_users/user_"):
                batch.delete(clients.firestore.document(f"{name}{key.id}"))
        with firestore_module.temporary_failures_named():
            batch.commit()

    monkeypatch.setattr(DocumentWrites, "remember_agreement", remember_unless_old)
    monkeypatch.setattr(tokens, "_known", known_unless_old)
    monkeypatch.setattr(removal, "delete_user_documents", delete_entry_if_old)
    monkeypatch.setattr(records, "_repair_later_unless_fresh", repair_later_unless_old)


def test_whatever_happens_in_whatever_order_nobody_is_lost_and_nobody_comes_back(
    stream: LocalStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(stream)
    for module in (
        drain,
        firestore_module,
        pacing,
        entries_module,
        retry,
        service,
        wakes,
        side_by_side,
        stream_calls,
        reconcile_module,
        tokens,
        observe,
        proof,
        user_events,
    ):
        monkeypatch.setattr(module, "time", world.clock)
    for module in (entries_module, retry, agreement, records, tokens, user_events):
        monkeypatch.setattr(module, "datetime", world.clock.datetime())
    monkeypatch.setattr(side_by_side, "_threads", InTurn(world))
    for (module, name), value in PRODUCTION.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(logger, "write", lambda entry: None)  # megabytes
    monkeypatch.setattr(proof, "READ_EVERY", timedelta(days=1))
    old_instances(world, monkeypatch)

    def model() -> Model:
        return Model(world)

    with world.threads:
        run_state_machine_as_test(
            model,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                print_blob=True,
                report_multiple_bugs=False,
                phases=set(Phase) - {Phase.explain},
                suppress_health_check=list(HealthCheck),
            ),
        )
