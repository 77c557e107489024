import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import firebase_admin
import pytest
from firebase_admin import auth
from google.cloud import firestore as google_firestore
from playwright.sync_api import Browser, sync_playwright
from stream_chat import StreamChat

from dev import app_client
from dev.emulators import PROJECT, REGION, ROOT
from stream_server.control_client import LocalStream
from tests.emulator.browser import chromium_or_skip
from tests.emulator.function_runs import has_run, runs, settle
from tests.emulator.snapshot import Snapshot, left, snapshot_of
from tests.waiting import wait_for

DELETION_ENDED = f'Finished "{REGION}-deleteStreamUser"'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium_or_skip()
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root, nor in most containers. The pages are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def own_stream_server() -> Iterator[LocalStream]:
    """A local Stream server of a module's own, on a free port. It needs no emulators."""
    command = [sys.executable, "-m", "stream_server", "--port", "0", "--parent", str(os.getpid())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield LocalStream(process.stdout.readline().split()[5])
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def stream(emulators: dict[str, str]) -> LocalStream:
    """The control surface of the local Stream server that the functions talk to."""
    return LocalStream(emulators["STREAM_BASE_URL"])


@pytest.fixture(scope="session")
def chat(stream: LocalStream) -> StreamChat:
    return StreamChat(stream.key, stream.secret, base_url=stream.url)


@pytest.fixture(scope="session")
def stream_user(chat: StreamChat) -> Callable[[str], dict[str, Any] | None]:
    def stream_user(uid: str) -> dict[str, Any] | None:
        return next(iter(chat.query_users({"id": uid})["users"]), None)

    return stream_user


@pytest.fixture(scope="session")
def firestore(emulators: dict[str, str]) -> google_firestore.Client:
    return google_firestore.Client(project=PROJECT)


@pytest.fixture(scope="session")
def firebase(emulators: dict[str, str]) -> Iterator[firebase_admin.App]:
    """The Admin SDK, as an operator or an import script uses it."""
    app = firebase_admin.initialize_app(options={"projectId": PROJECT}, name="tests")
    yield app
    firebase_admin.delete_app(app)


@pytest.fixture(scope="session")
def caller(emulators: dict[str, str]) -> app_client.AppUser:
    """Somebody who is signed in to the app."""
    return app_client.sign_up("caller@example.com", "Caller")


@pytest.fixture(scope="session")
def everything(
    firebase: firebase_admin.App,
    firestore: google_firestore.Client,
    chat: StreamChat,
    stream: LocalStream,
) -> Callable[[], Snapshot]:
    """What the stack holds now, to compare with what it holds after a test."""
    return partial(snapshot_of, firebase, firestore, chat, stream)


@pytest.fixture(scope="module")
def nothing_is_left(
    everything: Callable[[], Snapshot],
    firebase: firebase_admin.App,
    firestore: google_firestore.Client,
    chat: StreamChat,
) -> Iterator[None]:
    """Removes what the tests of a module made: later ones would find it."""
    settle()
    before = everything()
    yield
    made = left(before, everything())
    # With all channels: each has two members.
    chat.delete_users(list(made["Stream"]), "hard", messages="hard", conversations="hard")
    for uid in made["accounts"]:
        wanted = runs(DELETION_ENDED) + 1
        auth.delete_user(uid, app=firebase)
        wait_for(partial(has_run, DELETION_ENDED, wanted))
    settle()
    for path in left(before, everything())["documents"]:
        firestore.document(path).delete()
    assert left(before, everything()) == {}
