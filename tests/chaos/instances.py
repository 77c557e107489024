"""Function processes: started as production does, given no more requests at once than there,
and started again when they die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from dev import emulators

from .backends import FOLDER, free_port
from .deployment import Deployed
from .stream_server import CALLER_PREFIX

SOURCE = FOLDER / "deployed"
POLL_SECONDS = 0.1
MAX_STARTS = 20


@dataclass(frozen=True)
class Answer:
    """What came back for a request; ``status`` is None if nothing did."""

    status: int | None
    body: bytes
    seconds: float
    waited: float
    """Before an instance had room for it; part of ``seconds``."""
    failure: str
    """What came instead of an answer."""

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Instance:
    """One process of a function; ``name`` is the function's and a number."""

    def __init__(self, deployed: Deployed, number: int) -> None:
        self.deployed = deployed
        self.name = f"{deployed.name}-{number}"
        self.port = 0
        self.log: Path = FOLDER / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ready = False
        self.in_flight = 0
        self.starts = 0

    def start(self) -> None:
        scripts = Path(sys.executable).parent
        settings = self._environment()
        self.is_ready = False
        self.starts += 1
        # Another one each time: a connection of somebody may have the port of the last by now.
        self.port = free_port()
        with self.log.open("ab") as log:
            self.process = self.deployed.start(SOURCE, scripts, self.port, settings, log)

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **emulators.CLIENT_ENVIRONMENT,
            "STREAM_BASE_URL": f"{emulators.STREAM_BASE_URL}{CALLER_PREFIX}{self.name}",
            "THREADS": str(self.deployed.concurrency),  # which would follow this machine's cores
            "K_SERVICE": self.deployed.name.lower(),
            "FUNCTION_TARGET": self.deployed.name,
            "FUNCTION_SIGNATURE_TYPE": self.deployed.signature,
            "PYTHONUNBUFFERED": "1",
        }

    def kill(self) -> None:
        """As if its machine went away: no signal handler, no answer."""
        self.is_ready = False
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self.is_ready = False
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.process and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


class Function:
    """A deployed function behind its load balancer."""

    def __init__(self, deployed: Deployed, count: int) -> None:
        self.deployed = deployed
        self.instances = [Instance(deployed, number + 1) for number in range(count)]
        self.slots = asyncio.Semaphore(count * deployed.concurrency)
        self.answers: Counter[str] = Counter()
        """By status, or by what came instead of one."""

    async def request(
        self, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]
    ) -> Answer:
        """Give the request to the instance with the most room; waits until there is one."""
        began = time.monotonic()
        async with self.slots:
            instance = await self._with_room()
            waited = time.monotonic() - began
            instance.in_flight += 1
            try:
                status, content, failure = await self._send(session, instance, body, headers)
            finally:
                instance.in_flight -= 1
        self.answers[str(status or failure)] += 1
        return Answer(status, content, time.monotonic() - began, waited, failure)

    async def _with_room(self) -> Instance:
        while True:
            ready = [one for one in self.instances if one.is_ready]
            best = min(ready, key=lambda one: one.in_flight, default=None)
            if best and best.in_flight < self.deployed.concurrency:
                return best
            await asyncio.sleep(POLL_SECONDS)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        instance: Instance,
        body: bytes,
        headers: dict[str, str],
    ) -> tuple[int | None, bytes, str]:
        """Status, body and failure, as in Answer."""
        url = f"http://{emulators.HOST}:{instance.port}/"
        timeout = aiohttp.ClientTimeout(total=self.deployed.timeout_seconds)
        try:
            async with session.post(url, data=body, headers=headers, timeout=timeout) as response:
                return response.status, await response.read(), ""
        except TimeoutError:
            return None, b"", "timeout"
        except aiohttp.ClientError:
            return None, b"", "reset"


async def keep_running(functions: list[Function]) -> None:
    """Start what died, for ever; raises if a process cannot be started at all."""
    while True:
        for function in functions:
            for instance in function.instances:
                process = instance.process
                if process is None or process.poll() is not None:
                    if instance.starts == MAX_STARTS:
                        raise RuntimeError(f"{instance.name} does not stay up: {instance.log}")
                    instance.start()
                elif not instance.is_ready:
                    instance.is_ready = emulators.listens(instance.port)
        await asyncio.sleep(POLL_SECONDS)
