"""Steers a running local Stream server from tests, the demo and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from .credentials import API_KEY, API_SECRET

TIMEOUT_S = 10

_session = requests.Session()
_session.trust_env = False  # no proxies: to look for them takes longer than the call


@dataclass(frozen=True)
class LocalStream:
    url: str
    key: str = API_KEY
    secret: str = API_SECRET

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._control("GET", "state")
        return state

    def reset(self, *, limits: bool = False) -> None:
        """Forgets all but the limits and where webhooks go: users, channels, faults, logs...

        ``limits``: back to those that Stream documents.
        """
        self._control("POST", f"reset?limits={str(limits).lower()}")

    def fault(self, operation: str, kind: str, **options: Any) -> None:
        """The options are described in control.py, beside the control surface."""
        self._control("POST", "faults", {"operation": operation, "kind": kind, **options})

    def clear_faults(self) -> None:
        self._control("DELETE", "faults")

    def limit(self, operation: str, calls: int, window_s: float = 60) -> None:
        self._control("POST", "limits", {operation: {"limit": calls, "window_s": window_s}})

    def remove_limit(self, operation: str) -> None:
        self._control("POST", "limits", {operation: None})

    def restore_limits(self) -> None:
        """Brings back the limits that Stream documents."""
        self._control("DELETE", "limits")

    def switch(self, **values: str | bool | int) -> None:
        self._control("POST", "switches", values)

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        requests: list[dict[str, Any]] = self._control("GET", f"requests?since={since}")
        return requests

    def operations(self, since: int = 0) -> list[str]:
        return [request["operation"] for request in self.requests(since)]

    def last_request(self) -> int:
        """What to give to requests() in order to see only later calls."""
        return int(self.state()["counts"]["last_request"])

    def webhook(self, url: str | None, events: list[str] | None = None, **options: Any) -> None:
        """Where events go, from now on; options as control.py describes them. None ends it."""
        self._control("POST", "webhook", {"url": url, "events": events or [], **options})

    def deliveries(self, since: int = 0, *, body: bool = False) -> list[dict[str, Any]]:
        """The attempts at webhook deliveries, each with what was sent if ``body``."""
        path = f"deliveries?since={since}&body={str(body).lower()}"
        deliveries: list[dict[str, Any]] = self._control("GET", path)
        return deliveries

    def last_delivery(self) -> int:
        """What to give to deliveries() in order to see only later ones."""
        return int(self.state()["counts"]["last_delivery"])

    def deliver_again(self, number: int) -> None:
        """Delivers what the attempt with this number delivered once more."""
        self._control("POST", f"deliveries/{number}/again")

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        url = f"{self.url}/_control/{path}"
        response = _session.request(method, url, json=body, timeout=TIMEOUT_S)
        if not response.ok:
            raise ValueError(response.text)
        return response.json()
