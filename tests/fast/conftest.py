from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import typer.main
from firebase_functions import logger
from google.cloud import firestore as google_firestore
from stream_chat import StreamChat
from stream_chat.channel import Channel
from xprocess import ProcessStarter, XProcess

from chatsync import reconcile
from chatsync.clients import Clients, pacing, stream_calls
from chatsync.clients.pause import Switch
from chatsync.clients.stream import Stream
from chatsync.clients.tasks import TaskQueues
from chatsync.conversations import channel as channel_module
from chatsync.conversations.create import create_conversation
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.operator import command as command_module
from chatsync.operator import options
from chatsync.outbox import drain, retry
from chatsync.settings import Settings
from stream_server.control_client import LocalStream
from stream_server.webhook_receiver import WebhookReceiver
from tests.fast.firebase_in_memory import (
    MemoryAuth,
    MemoryFirestoreApi,
    MemoryTasks,
    firestore_client,
)
from tests.fast.proven import prove
from tests.settings import settings_with

REPOSITORY = Path(__file__).parents[2]
BURST_SECONDS = pacing._BURST_SECONDS
command_line = functools.cache(typer.main.get_command)
"""Of an app of typer, which would build it anew at each call."""


@pytest.fixture(scope="session")
def stream_server(xprocess: XProcess) -> Iterator[LocalStream]:
    """The local Stream server, in a process of its own for the whole test run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = LocalStream(f"http://127.0.0.1:{port}")

    class Starter(ProcessStarter):  # type: ignore[misc]  # xprocess has no types
        args = [  # noqa: RUF012
            *(sys.executable, "-m", "stream_server"),
            *("--port", port, "--parent", os.getpid()),
        ]
        popen_kwargs = {"cwd": REPOSITORY}  # noqa: RUF012
        timeout = 30

        def startup_check(self) -> bool:
            try:
                return bool(server.state())
            except requests.ConnectionError:
                return False

    # A name per test run: xprocess would take over a live process of the same name, with the
    # code that it was started with, or from under another run in this checkout.
    name = f"stream_server-{os.getpid()}"
    try:
        xprocess.ensure(name, Starter)
        yield server
    finally:
        info = xprocess.getinfo(name)
        info.terminate()
        shutil.rmtree(info.controldir)


@pytest.fixture
def stream(stream_server: LocalStream) -> LocalStream:
    """The local Stream server as it is after its start, with nothing in it."""
    stream_server.reset(limits=True)
    return stream_server


@pytest.fixture
def receiver(stream: LocalStream) -> Iterator[WebhookReceiver]:
    """Where the local Stream server may send its events."""
    with WebhookReceiver() as receiver:
        yield receiver
        stream.webhook(None)


@pytest.fixture
def chat(stream: LocalStream) -> StreamChat:
    """Stream's own client, talking to the local Stream server."""
    return StreamChat(stream.key, stream.secret, base_url=stream.url)


@pytest.fixture
def channel(chat: StreamChat) -> Channel:
    """Channel c1 in Stream, made by Ann, with Bea; Cid is no member."""
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}, {"id": "cid"}])
    channel = chat.channel("messaging", "c1", {"members": ["ann", "bea"]})
    channel.create("ann")
    return channel


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts as in production would add up to minutes."""
    monkeypatch.setattr(stream_calls, "PAUSES_BETWEEN_READS", (0.01, 0.01))
    monkeypatch.setattr(pacing, "_BURST_SECONDS", 0.0)
    monkeypatch.setattr(reconcile, "PAUSE_SECONDS", 0.01)
    for name in ("FIRST_ATTEMPT_SECONDS", "RECHECK_SECONDS", "SHORTEST_PAUSE_SECONDS"):
        monkeypatch.setattr(retry, name, 0.0)
    monkeypatch.setattr(drain, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def calls_spread_over_seconds(short_pauses: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production: no more calls in a second than Stream takes."""
    monkeypatch.setattr(pacing, "_BURST_SECONDS", BURST_SECONDS)


@pytest.fixture(autouse=True)
def search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """functions-framework adds a folder with each app; a thousand would slow down every import."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def accounts() -> MemoryAuth:
    """Firebase Auth in memory."""
    return MemoryAuth()


@pytest.fixture
def firestore_api() -> MemoryFirestoreApi:
    """What the Firestore client talks to: its documents, and the calls it got."""
    return MemoryFirestoreApi()


@pytest.fixture
def firestore(firestore_api: MemoryFirestoreApi) -> google_firestore.Client:
    return firestore_client(firestore_api)


@pytest.fixture
def tasks() -> MemoryTasks:
    """The task queues in memory: nothing is called by itself."""
    return MemoryTasks()


@pytest.fixture
def clients(
    accounts: MemoryAuth,
    firestore: google_firestore.Client,
    stream: LocalStream,
    tasks: MemoryTasks,
) -> Clients:
    """All sides of the repair."""
    pause = Switch(firestore)
    chat = Stream(stream.key, stream.secret, stream.url, pause.refuse_if_paused)
    settings = Settings(stream.key, stream.secret, stream.url)
    return Clients(firestore, accounts, chat, cast(TaskQueues, tasks), settings, pause)


@pytest.fixture
def proven(clients: Clients) -> None:
    """Stream sends all events, and sent one of a user a moment ago."""
    prove(clients)


@pytest.fixture
def three_people(accounts: MemoryAuth, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ann, Bob and Eve have signed up, and channels are tried again soon."""
    monkeypatch.setattr(channel_module, "PAUSES_SECONDS", (0.01, 0.01, 0.01, 0.05))
    for uid in ("ann", "bob", "eve"):
        accounts.sign_up(uid, displayName=uid.title())
        reconcile_after_sign_up(uid, clients)


@pytest.fixture
def create(clients: Clients) -> Callable[..., dict[str, Any]]:
    """Start or open a conversation of two."""

    def create(caller: str = "ann", other: str = "bob", **fields: object) -> dict[str, Any]:
        return create_conversation(caller, {"participantIds": [other], **fields}, clients)

    return create


@pytest.fixture
def with_settings(clients: Clients) -> Callable[..., Clients]:
    """The same sides, with some settings changed."""

    def with_settings(**sections: Any) -> Clients:
        return replace(clients, settings=settings_with(clients.settings, **sections))

    return with_settings


class Ran:
    """What a run printed, and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """The command in this process: one of its own takes a second to start."""
    monkeypatch.setattr(logger, "write", logger.write)
    monkeypatch.setattr(typer.main, "get_command", command_line)

    def command(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["chatsync", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_module.main()
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return command


@pytest.fixture
def run(
    command: Callable[..., Ran], clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """The command, with Firebase in memory and the local Stream server."""
    monkeypatch.setattr(options, "connect", lambda: clients)
    monkeypatch.setattr(options, "connect_to_firebase", lambda: clients)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("GCLOUD_PROJECT", "a-project")
    return command
