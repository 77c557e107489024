"""The platform around the functions: events, task queue, schedule, callables.

Events are delivered at least once: again after every failure, some of them twice, some late, and
so in any order. Nothing else leads to the functions.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import aiohttp
from aiohttp import web

from dev import emulators

from .backends import FOLDER
from .deployment import Deployed
from .instances import Answer, Function, keep_running

START_SECONDS = 120.0
FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 8.0
"""Production waits for 10 to 600 seconds; here the run would be over."""


@dataclass(frozen=True)
class Disorder:
    """What befalls events on their way."""

    twice: float = 0.0
    """The share of events that are delivered twice."""
    late: float = 0.0
    """The share of deliveries that come late."""
    max_delay_seconds: float = 12.0


@dataclass
class Deliveries:
    """What became of the events of one function."""

    events: int = 0
    doubled: int = 0
    late: int = 0
    failed: int = 0
    """Deliveries that failed, each of which was followed by another."""
    given_up: int = 0
    """Events that failed and are not retried, because the function says so."""


@dataclass
class Platform:
    """Runs functions; see the module. To be entered with ``async with platform.running()``."""

    deployed: list[Deployed]
    counts: dict[str, int]
    """How many instances a function has, where it is not one."""
    events_port: int
    random: Random
    disorder: Disorder = field(default_factory=Disorder)

    functions: dict[str, Function] = field(init=False)
    deliveries: defaultdict[str, Deliveries] = field(init=False)
    pending_events: int = 0
    _background: set[asyncio.Task[Any]] = field(default_factory=set)
    _broken: list[asyncio.Task[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.functions = {
            one.name: Function(one, self.counts.get(one.name, 1)) for one in self.deployed
        }
        self.deliveries = defaultdict(Deliveries)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All processes up and all triggers registered."""
        for log in FOLDER.glob("*.log"):
            log.unlink()
        runner = web.AppRunner(self._front_door(), access_log=None)
        # A connection per request: gunicorn closes idle ones, which would look like a failure.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        self.session = aiohttp.ClientSession(connector=connector)
        keeper = asyncio.create_task(keep_running(list(self.functions.values())))
        try:
            await runner.setup()
            await web.TCPSite(runner, emulators.HOST, self.events_port).start()
            await self._until_ready(keeper)
            await self._register_triggers()
            self.keeper = keeper
            yield
        finally:
            keeper.cancel()
            for task in self._background:
                task.cancel()
            for function in self.functions.values():
                for instance in function.instances:
                    instance.stop()
            await self.session.close()
            await runner.cleanup()

    async def _until_ready(self, keeper: asyncio.Task[None]) -> None:
        deadline = time.monotonic() + START_SECONDS
        instances = [one for function in self.functions.values() for one in function.instances]
        while not all(one.is_ready for one in instances):
            if keeper.done():
                keeper.result()
            if time.monotonic() > deadline:
                late = [one.name for one in instances if not one.is_ready]
                raise RuntimeError(f"Not up after {START_SECONDS} s: {', '.join(late)}")
            await asyncio.sleep(0.1)

    @property
    def webhook_url(self) -> str:
        return f"http://{emulators.HOST}:{self.events_port}/streamWebhook"

    def check(self) -> None:
        """Raises what broke a part of the platform itself. To be called now and then."""
        if self.keeper.done():
            self.keeper.result()
        if self._broken:
            self._broken[0].result()

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run something beside everything else, until it ends or the platform does."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception():
            self._broken.append(task)

    # Events

    def auth_event(self, change: str, record: dict[str, Any], delay: float = 0.0) -> None:
        """An account was "created" or "deleted"; ``record`` is the user as the event has it."""
        event_type = f"google.firebase.auth.user.v2.{change}"
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid.UUID(int=self.random.getrandbits(128))),
            "ce-source": f"//firebaseauth.googleapis.com/projects/{emulators.PROJECT}",
            "ce-type": event_type,
            "ce-time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "ce-subject": f"users/{record['uid']}",
            "Content-Type": "application/json",
        }
        body = json.dumps({"value" if change == "created" else "oldValue": record}).encode()
        for function in self.functions.values():
            if function.deployed.event_type == event_type:
                self.publish(function, body, headers, delay)

    async def _firestore_event(self, request: web.Request) -> web.Response:
        """Firestore sends one per change and trigger, its Protobuf message as base64."""
        headers = {k: v for k, v in request.headers.items() if k.lower().startswith("ce-")}
        headers["Content-Type"] = request.headers["Content-Type"]
        body = base64.b64decode(await request.read())
        self.publish(self.functions[request.match_info["trigger"]], body, headers)
        return web.Response()

    def publish(
        self, function: Function, body: bytes, headers: dict[str, str], delay: float = 0.0
    ) -> None:
        """Deliver an event until it succeeds; ``delay`` is the least it comes late."""
        deliveries = self.deliveries[function.deployed.name]
        deliveries.events += 1
        is_doubled = self.random.random() < self.disorder.twice
        deliveries.doubled += is_doubled
        for _ in range(1 + is_doubled):
            is_late = self.random.random() < self.disorder.late
            deliveries.late += is_late or delay > 0
            late = is_late * self.random.uniform(0.2, self.disorder.max_delay_seconds)
            self.pending_events += 1
            self.spawn(self._deliver(function, deliveries, body, headers, delay + late))

    async def _deliver(
        self,
        function: Function,
        deliveries: Deliveries,
        body: bytes,
        headers: dict[str, str],
        delay: float,
    ) -> None:
        try:
            await asyncio.sleep(delay)
            pause = FIRST_RETRY_SECONDS
            while not (await function.request(self.session, body, headers)).is_success:
                deliveries.failed += 1
                if not function.deployed.retry:
                    deliveries.given_up += 1
                    return
                await asyncio.sleep(pause * self.random.uniform(0.7, 1.3))
                pause = min(2 * pause, MAX_RETRY_SECONDS)
        finally:
            self.pending_events -= 1

    # Callables, tasks, schedules

    async def call(self, name: str, data: object, id_token: str | None) -> Answer:
        """Call a function as a client SDK does."""
        headers = {"Content-Type": "application/json"}
        if id_token:
            headers["Authorization"] = f"Bearer {id_token}"
        body = json.dumps({"data": data}).encode()
        return await self.functions[name].request(self.session, body, headers)

    async def _task(self, request: web.Request) -> web.Response:
        """The task queue's request, which fails if its process dies, as behind a load balancer."""
        name = request.match_info["function"]
        headers = {k: v for k, v in request.headers.items() if k.lower().startswith("x-cloudtasks")}
        headers["Content-Type"] = "application/json"
        body = await request.read()
        answer = await self.functions[name].request(self.session, body, headers)
        return web.Response(status=answer.status or 503, body=answer.body)

    async def _webhook(self, request: web.Request) -> web.Response:
        """Stream's events, which Stream sends again if they fail."""
        names = ("Content-Type", "Content-Encoding", "X-Signature")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        function = self.functions["streamWebhook"]
        answer = await function.request(self.session, await request.read(), headers)
        return web.Response(status=answer.status or 503)

    async def tick(self, name: str) -> None:
        """Run a scheduled function as Cloud Scheduler does."""
        headers = {
            "Content-Type": "application/json",
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": f"firebase-schedule-{name}-{emulators.REGION}",
            "X-CloudScheduler-ScheduleTime": datetime.now(UTC).isoformat(),
        }
        await self.functions[name].request(self.session, b"", headers)

    def _front_door(self) -> web.Application:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        triggers = f"/functions/projects/{emulators.PROJECT}/triggers/{{trigger}}"
        app.router.add_post(triggers, self._firestore_event)
        app.router.add_post("/tasks/{function}", self._task)
        app.router.add_post("/streamWebhook", self._webhook)
        return app

    async def _register_triggers(self) -> None:
        triggers = (
            f"{emulators.url('firestore')}/emulator/v1/projects/{emulators.PROJECT}/eventarcTrigger"
        )
        own = f"http://{emulators.HOST}:{self.events_port}"
        for one in self.deployed:
            if one.document:
                trigger = {
                    "eventType": one.event_type,
                    **(one.event_filters or {}),
                    "document": {"value": one.document, "matchType": "PATH_PATTERN"},
                }
                await self._post(f"{triggers}?eventarcTriggerId={one.name}", trigger)
            elif one.queue is not None:
                queue = {**one.queue, "defaultUri": f"{own}/tasks/{one.name}"}
                await self._post(f"{emulators.QUEUES_URL}/{one.name}", queue)

    async def _post(self, url: str, body: object) -> None:
        headers = {"Authorization": "Bearer owner"}
        async with self.session.post(url, json=body, headers=headers) as response:
            response.raise_for_status()
