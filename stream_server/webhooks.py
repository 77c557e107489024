"""Webhooks: signed events on their way to the app's own server.

Each delivery is a background task, so no answer of the API waits for one, and order is not
promised. As Stream documents it: 2xx ends a delivery; 408, 429 and 5xx are tried three times in
all, and so is a receiver that takes longer than 6 seconds; one that cannot be reached, twice; any
other status is final. After 15 seconds the event is lost. How long Stream pauses between attempts
is not documented.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import time
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import aiohttp

from . import timestamps
from .credentials import API_KEY, API_SECRET

MAX_LOGGED_DELIVERIES = 100_000
MAX_ATTEMPTS = 3
MAX_ATTEMPTS_UNREACHABLE = 2
RETRIED = (408, 429)
TIMEOUT, UNREACHABLE = "timeout", "unreachable"


@dataclass(frozen=True)
class Options:
    """How deliveries are made harder, or quicker to fail, on demand; see control.py."""

    # Firebase's emulator starts a process, with a second of CPU, for each request of a burst.
    at_once: int = 5
    duplicates: int = 0
    new_id_on_duplicate: bool = False
    shuffle_ms: float = 0
    seed: int | None = None
    timeout_ms: float = 6_000
    total_ms: float = 15_000
    pause_ms: float = 100


@dataclass(frozen=True)
class Delivery:
    """One event for one target."""

    url: str
    type: str
    body: str
    is_compressed: bool
    webhook_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def headers(self, attempt: int) -> dict[str, str]:
        # The signature is of what the receiver reads after unpacking.
        signature = hmac.new(API_SECRET.encode(), self.body.encode(), hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "X-Signature": signature,
            "X-Webhook-Id": self.webhook_id,
            "X-Webhook-Attempt": str(attempt),
            "X-Api-Key": API_KEY,
            **({"Content-Encoding": "gzip"} if self.is_compressed else {}),
        }

    def payload(self) -> bytes:
        raw = self.body.encode()
        return gzip.compress(raw) if self.is_compressed else raw


class Webhooks:
    def __init__(self) -> None:
        self.count = 0
        self.attempts: deque[dict[str, Any]] = deque(maxlen=MAX_LOGGED_DELIVERIES)
        self._made: dict[int, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.configure(Options())

    def configure(self, options: Options) -> None:
        self.options = options
        self._random = Random(options.seed)
        # By URL: a target that keeps silent holds up no other.
        self._slots = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(options.at_once)
        )

    def send(self, urls: list[str], event: dict[str, Any], is_compressed: bool) -> None:
        """Have an event delivered to every target, in the background."""
        body = json.dumps(event)
        for url in urls:
            delivery = Delivery(url, event["type"], body, is_compressed)
            self._start(delivery)
            for _ in range(self.options.duplicates):
                again = replace(delivery, webhook_id=str(uuid.uuid4()))
                self._start(again if self.options.new_id_on_duplicate else delivery)

    def send_again(self, number: int) -> bool:
        """Repeat the delivery of a logged attempt, as its next attempt; False if there is none."""
        entry = next((entry for entry in self.attempts if entry["n"] == number), None)
        if entry is None:
            return False
        self._start(self._made[number], attempts_before=entry["attempt"])
        return True

    def log(self, since: int, with_body: bool) -> list[dict[str, Any]]:
        return [
            {**entry, "body": json.loads(self._made[entry["n"]].body)} if with_body else entry
            for entry in self.attempts
            if entry["n"] > since
        ]

    def body(self, number: int) -> bytes:
        """What a logged attempt sent, unpacked."""
        return self._made[number].body.encode()

    def reset(self) -> None:
        """Forgets all deliveries and options; those under way end. Their numbers go on."""
        for task in self._tasks:
            task.cancel()
        self.attempts.clear()
        self._made.clear()
        self.configure(Options())

    async def close(self) -> None:
        tasks = list(self._tasks)
        self.reset()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    def _start(self, delivery: Delivery, attempts_before: int = 0) -> None:
        wait_s = self._random.uniform(0, self.options.shuffle_ms) / 1000
        task = asyncio.create_task(self._deliver(delivery, wait_s, attempts_before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery, wait_s: float, attempts_before: int) -> None:
        await asyncio.sleep(wait_s)
        left_s = self.options.total_ms / 1000
        for made in range(1, MAX_ATTEMPTS + 1):
            # The time for a free slot here is none that the receiver took.
            async with self._slots[delivery.url]:
                started = time.monotonic()
                timeout = min(left_s, self.options.timeout_ms / 1000)
                status = await self._attempt(delivery, attempts_before + made, timeout)
            most = MAX_ATTEMPTS_UNREACHABLE if status == UNREACHABLE else MAX_ATTEMPTS
            if made >= most or not is_retried(status):
                return
            await asyncio.sleep(self.options.pause_ms / 1000)
            left_s -= time.monotonic() - started
            if left_s <= 0:
                return

    async def _attempt(self, delivery: Delivery, attempt: int, timeout_s: float) -> int | str:
        entry = self._log_entry(delivery, attempt)
        try:
            async with self._open_session().post(
                delivery.url,
                data=delivery.payload(),
                headers=delivery.headers(attempt),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                entry["status"] = response.status
        except TimeoutError:
            entry["status"] = TIMEOUT
        except (aiohttp.ClientError, OSError, ValueError):
            entry["status"] = UNREACHABLE
        outcome: int | str = entry["status"]
        return outcome

    def _log_entry(self, delivery: Delivery, attempt: int) -> dict[str, Any]:
        """An entry exists from the attempt's start on; its status is null until the end."""
        self.count += 1
        entry = {
            "n": self.count,
            "type": delivery.type,
            "webhook_id": delivery.webhook_id,
            "attempt": attempt,
            "status": None,
            "at": timestamps.now(),
            "url": delivery.url,
        }
        if len(self.attempts) == self.attempts.maxlen:
            del self._made[self.attempts[0]["n"]]
        self.attempts.append(entry)
        self._made[self.count] = delivery
        return entry

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


def is_retried(status: int | str) -> bool:
    return isinstance(status, str) or status >= 500 or status in RETRIED


def targets(app: dict[str, Any], event_type: str) -> list[str]:
    """The URLs that an app's settings have an event sent to. Empty lists of types mean all."""
    hooks = [
        hook
        for hook in app.get("event_hooks", [])
        if hook.get("enabled", True) and hook.get("hook_type") == "webhook"
    ]
    hooks.append({"webhook_url": app.get("webhook_url"), "event_types": app.get("webhook_events")})
    return [
        hook["webhook_url"]
        for hook in hooks
        if hook.get("webhook_url")
        and (not hook.get("event_types") or event_type in hook["event_types"])
    ]
