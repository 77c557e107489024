from __future__ import annotations

import asyncio
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer

from stream_server import server as server_module
from stream_server import state as state_module
from stream_server.control_client import LocalStream
from stream_server.operations import Operation

REPOSITORY = Path(__file__).parents[2]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "stream_server", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def process():
    with start("--port", "0") as process:
        yield process
        process.kill()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(process, signal_number):
    line = process.stdout.readline()
    assert line.startswith("Local Stream server ready on http://127.0.0.1:")
    assert line.endswith(" (key local-key, secret local-secret)\n")
    process.send_signal(signal_number)
    assert process.communicate(timeout=5) == ("", "")
    assert process.returncode == 0


def test_a_call_without_end_does_not_hold_it_up(process):
    server = LocalStream(process.stdout.readline().split()[5])
    server.fault("*", "timeout")
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as patient:
        patient.sendall(b"GET /app HTTP/1.1\r\nHost: local\r\n\r\n")
        deadline = time.monotonic() + 5
        while not server.requests():
            assert time.monotonic() < deadline
        process.terminate()
        assert process.communicate(timeout=5) == ("", "")


def test_a_taken_port_is_reported_in_one_line(stream_server):
    port = stream_server.url.rpartition(":")[2]
    with start("--port", port) as process:
        output = process.communicate(timeout=10)
    expected = f"Cannot listen on 127.0.0.1:{port}: the port is already in use\n"
    assert (process.returncode, *output) == (1, "", expected)


def test_it_also_listens_where_streams_js_sdk_looks_for_websockets():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other_port = free.getsockname()[1]
    with start("--port", "0", "--websocket-port", str(other_port)) as process:
        url = process.stdout.readline().split()[5]
        other = LocalStream(f"http://127.0.0.1:{other_port}")
        other.switch(burst_guard=True)
        assert LocalStream(url).state()["switches"]["burst_guard"] is True
        process.terminate()
        assert process.communicate(timeout=10) == ("", "")


def test_a_taken_port_for_websockets_does_not_stop_it(stream_server):
    port = stream_server.url.rpartition(":")[2]
    with start("--port", "0", "--websocket-port", port) as process:
        assert process.stdout.readline().startswith("Local Stream server ready on ")
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert errors.startswith(f"Cannot listen on 127.0.0.1:{port} as well: ")


def test_it_ends_when_its_parent_is_gone():
    starter = (
        "import os, subprocess, sys;"
        "command = [sys.executable, '-m', 'stream_server', '--port', '0'];"
        "subprocess.Popen([*command, '--parent', str(os.getpid())]);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout.readline().startswith("Local Stream server ready on ")
        parent.kill()
        # The server holds the other end of this pipe as long as it lives.
        readable, _, _ = select.select([parent.stdout], [], [], 10)
        assert readable


def test_the_request_log_keeps_the_newest(monkeypatch):
    async def call():
        async with TestClient(TestServer(server_module.create_app())) as client:
            for _ in range(3):
                await client.get("/app")
            response = await client.get("/_control/requests")
            return [entry["n"] for entry in await response.json()]

    monkeypatch.setattr(state_module, "MAX_LOGGED_REQUESTS", 2)
    assert asyncio.run(call()) == [2, 3]


def test_a_bug_is_logged_and_answered_as_stream_does(monkeypatch, caplog):
    def broken(state, params, body):
        raise ZeroDivisionError

    async def call():
        headers = {"Authorization": token, "stream-auth-type": "jwt"}
        async with TestClient(TestServer(server_module.create_app())) as client:
            response = await client.get("/app?api_key=local-key", headers=headers)
            return response.status, (await response.json())["code"]

    token = jwt.encode({"server": True}, "local-secret")
    monkeypatch.setattr(server_module, "OPERATIONS", [Operation("GetApp", "GET", "/app", broken)])
    assert asyncio.run(call()) == (500, -1)
    assert "ZeroDivisionError" in caplog.text
