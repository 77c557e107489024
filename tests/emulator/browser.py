"""A page of an app in headless Chromium, served from an origin of its own."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dev.setup import ROOT, output_of

APP = Path(__file__).with_name("app")
CHROMIUMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
DEADLINE_SECONDS = 120
ENDING_SECONDS = 10

_CONTENT_TYPES = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript"}
_CONSOLE = re.compile(r"^.*CONSOLE.*$", re.M)
_FIREBASES_CDN = re.compile(rb"https://www\.gstatic\.com/firebasejs/[\d.]+/")


class PageFailed(Exception):
    """The page threw, or told nothing in time."""


def find_chromium() -> str | None:
    """The first that runs: a name on PATH proves nothing. ``CHROME_PATH`` names another one."""
    told = os.environ.get("CHROME_PATH")
    candidates = [told] if told else CHROMIUMS
    return next((one for one in candidates if output_of(one, "--version")), None)


def chromium_or_skip() -> str:
    """The path of Chromium. Without it a test is skipped, and fails in CI."""
    if (chromium := find_chromium()) and (path := shutil.which(chromium)):
        return path
    told = os.environ.get("CHROME_PATH")
    what = f"CHROME_PATH={told} does not run" if told else "no Chromium or Chrome found"
    if "CI" in os.environ:
        pytest.fail(what)
    pytest.skip(f"{what}: install one, or name yours, CHROME_PATH=/path/to/chrome make test")


def play_in_chromium(chromium: str, task: dict[str, Any]) -> Any:
    """What comes of ``task`` in page.html."""
    with (
        PageServer(task) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        log = Path(profile) / "log"
        command = [
            chromium,
            "--headless=new",
            # It has no sandbox for root, nor in most containers. The page is ours.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            f"--user-data-dir={profile}",
            # Nothing leaves this machine, not even the browser's own calls.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--enable-logging=stderr",
            server.url,
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
            try:
                outcome = server.outcome(process)
            finally:
                end(process)
        if "result" not in outcome:
            raise PageFailed("\n".join([outcome["error"], *said_on_the_console(log)]))
        return outcome["result"]


def said_on_the_console(log: Path) -> list[str]:
    """Where a browser says why it let a call fail."""
    text = log.read_text(errors="replace")
    return _CONSOLE.findall(text) or text.splitlines()[-10:]


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class PageServer:
    """Serves the page with its task, and takes what comes of it."""

    def __init__(self, task: dict[str, Any]) -> None:
        outcomes: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/task":
                    self._answer(200, json.dumps(task).encode(), "application/json")
                    return
                file = served_file(self.path)
                if not file:
                    self._answer(404)
                    return
                # The CDN's build of the SDK names itself, by its address there.
                body = _FIREBASES_CDN.sub(b"./", file.read_bytes())
                self._answer(200, body, _CONTENT_TYPES[file.suffix])

            def do_POST(self) -> None:
                outcomes.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer(204)

            def _answer(self, status: int, body: bytes = b"", content_type: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if content_type:
                    self.send_header("Content-Type", f"{content_type}; charset=utf-8")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._outcomes = outcomes
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> PageServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def outcome(self, browser: subprocess.Popen[bytes]) -> dict[str, Any]:
        """What the page tells, or why it tells nothing."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            try:
                return self._outcomes.get(timeout=0.2)
            except queue.Empty:
                if browser.poll() is not None:
                    return {"error": f"the browser ended with exit status {browser.returncode}"}
        return {"error": f"the page told nothing within {DEADLINE_SECONDS} s"}


def served_file(path: str) -> Path | None:
    """A file of the app, or of a package that it imports."""
    if path.startswith(("/node_modules/", "/examples/")):
        file = ROOT / path.removeprefix("/")
    else:
        file = APP / (path.removeprefix("/") or "page.html")
    return file if file.suffix in _CONTENT_TYPES and file.is_file() else None
