"""monitoring/import with the real gcloud, against a server that plays Logging and Monitoring."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from google.cloud.logging_v2.types import LogMetric
from google.cloud.monitoring_dashboard_v1 import Dashboard
from google.cloud.monitoring_v3 import AlertPolicy

FOLDER = Path(__file__).parents[2] / "monitoring"
CHANNEL = "projects/a-project/notificationChannels/7"

pytestmark = pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not installed")


class Google(ThreadingHTTPServer):
    """Metrics, policies and dashboards, by collection and id."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stored: dict[str, dict[str, Any]] = {}
        self.changes: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Google

    def log_message(self, *args: object) -> None:
        pass

    def answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        parts = self.path.partition("?")[0].strip("/").split("/")[3:]
        status, answer = self.result(parts[0], parts[1] if len(parts) > 1 else "", body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def result(self, collection: str, one: str, body: dict[str, Any]) -> tuple[int, Any]:
        stored = self.server.stored.setdefault(collection, {})
        if self.command == "GET" and not one:
            return 200, {collection: list(stored.values())}
        if self.command != "POST" and one not in stored:
            return 404, {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}
        if self.command == "GET":
            return 200, stored[one]
        self.server.changes.append(f"{self.command} {collection}")
        if collection == "dashboards":
            if self.command == "PATCH" and body.get("etag") != stored[one]["etag"]:
                return 409, {"error": {"code": 409, "message": "etag", "status": "ABORTED"}}
            body["etag"] = f"etag-{len(self.server.changes)}"
        if collection == "alertPolicies":
            one = one or str(len(stored) + 1)
            body = {"enabled": True, **body, "name": f"projects/a-project/alertPolicies/{one}"}
        stored[body["name"].rpartition("/")[2]] = body
        return 200, body

    do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def run_import(google, tmp_path):
    """Run it with one alert of each kind."""
    folder = shutil.copytree(FOLDER, tmp_path / "monitoring")
    for path in [*folder.glob("metrics/*.json"), *folder.glob("alerts/*.json")]:
        if path.name not in ("chatsync_parked.json", "parked.json", "no_audit.json", "slow.json"):
            path.unlink()
    address = f"http://127.0.0.1:{google.server_address[1]}/"
    its_environment = {
        **os.environ,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": address,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": address,
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
    }

    def run(*arguments: str) -> None:
        command = [str(folder / "import"), "a-project", *arguments]
        ended = subprocess.run(
            command, env=its_environment, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stderr

    return run


def test_it_creates_what_the_files_say_and_then_updates_it(google, run_import):
    run_import(CHANNEL)
    posts = ["POST metrics", *["POST alertPolicies"] * 3, "POST dashboards"]
    assert google.changes == posts
    kept = google.stored
    stated = (FOLDER / "metrics" / "chatsync_parked.json").read_text()
    sent = LogMetric.from_json(json.dumps(kept["metrics"]["chatsync_parked"]))
    assert sent == LogMetric.from_json(stated)
    for policy in kept["alertPolicies"].values():
        stated = AlertPolicy.from_json(
            (FOLDER / "alerts" / f"{policy['userLabels']['chatsync']}.json").read_text()
        )
        sent = AlertPolicy.from_json(json.dumps(policy))
        assert (list(sent.notification_channels), sent.enabled) == ([CHANNEL], True)
        assert (sent.conditions, sent.documentation) == (stated.conditions, stated.documentation)
        assert (sent.severity, sent.combiner) == (stated.severity, stated.combiner)
    sent = Dashboard.from_json(json.dumps(kept["dashboards"]["chatsync"]))
    stated = Dashboard.from_json((FOLDER / "dashboard.json").read_text())
    assert sent.mosaic_layout == stated.mosaic_layout

    google.changes.clear()
    kept["alertPolicies"]["1"] |= {"enabled": False, "severity": "WARNING"}
    run_import()
    assert google.changes == [
        "PUT metrics",
        *["PATCH alertPolicies"] * 3,
        "PATCH dashboards",
    ]
    first = kept["alertPolicies"]["1"]
    assert (first["enabled"], first["severity"]) == (False, "ERROR")
    assert [one["notificationChannels"] for one in kept["alertPolicies"].values()] == [
        [CHANNEL]
    ] * 3
