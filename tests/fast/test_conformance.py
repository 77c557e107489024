"""The servers in memory do what the emulators do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance import *  # noqa: F403
from tests.conformance import Backend
from tests.fast.firebase_in_memory import (
    MemoryAuth,
    MemoryFirestoreApi,
    firestore_client,
    no_hook,
)

AUTH_TIMEOUT = 0.5


@pytest.fixture
def backend() -> Backend:
    api, accounts = MemoryFirestoreApi(), MemoryAuth(AUTH_TIMEOUT)

    @contextmanager
    def unanswered() -> Iterator[None]:
        over = threading.Event()
        api.before_call = accounts.before_call = lambda _: over.wait()
        try:
            yield
        finally:
            api.before_call = accounts.before_call = no_hook
            over.set()

    return Backend(firestore_client(api), accounts, AUTH_TIMEOUT, accounts.sign_up, unanswered)
