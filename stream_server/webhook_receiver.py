"""An HTTP server that takes webhooks, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stream_chat.webhook import verify_and_parse_webhook

from .credentials import API_SECRET


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def event(self) -> dict[str, Any]:
        """By Stream's own check of the signature."""
        return verify_and_parse_webhook(self.body, self.headers["x-signature"], API_SECRET)


class WebhookReceiver:
    """Answers 200, or what ``answers`` says for the next requests; None keeps silent."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[int | None] = []
        self._ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.answers.pop(0) if receiver.answers else 200
                receiver.received.append(Received(headers, body))
                if answer is None:
                    receiver._ended.wait()
                    return
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/stream"

    def __enter__(self) -> WebhookReceiver:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def types(self) -> list[str]:
        return sorted(one.event()["type"] for one in self.received)

    def wait_for(self, condition: Callable[[], object], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"only received {self.types()}"
            time.sleep(0.01)

    def one(self, event_type: str) -> dict[str, Any]:
        """The first event of this type, waiting for it."""
        self.wait_for(lambda: event_type in self.types())
        events = (one.event() for one in self.received)
        return next(event for event in events if event["type"] == event_type)
