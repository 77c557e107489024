"""The task queue for which ``drainRepairs`` enqueues: it delivers a wake when its time has come.

The Tasks emulator delivers at once. It delivers to a server here, which keeps the times.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from dev import emulators

_wakes: queue.SimpleQueue[float] = queue.SimpleQueue()
"""Unix times at which the drain is to be called."""


@contextlib.contextmanager
def answering(port: int) -> Iterator[None]:
    """A server that is content with every request: it stands for the functions not measured."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/":  # where the queue delivers
                _wakes.put(json.loads(body)["data"]["notBefore"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((emulators.HOST, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()


def create(port: int) -> None:
    """The queue of ``drainRepairs``, with its deliveries to ``port``."""
    url = f"{emulators.QUEUES_URL}/drainRepairs"
    body = {"defaultUri": f"http://{emulators.HOST}:{port}/"}
    requests.post(url, json=body, headers={"Authorization": "Bearer owner"}).raise_for_status()


def next_wake(patience: float) -> float:
    """Waits until the next wake is due, and returns its time; now, if none was arranged."""
    try:
        at = _wakes.get(timeout=patience)
    except queue.Empty:
        return time.time()
    time.sleep(max(0.0, at - time.time()))
    return at
