"""The emulators do what the servers in memory are made after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import firebase_admin
import pytest
from firebase_admin import auth
from google.cloud import firestore as google_firestore

from dev.emulators import PROJECT
from tests.conformance import *  # noqa: F403
from tests.conformance import Backend
from tests.emulator.silent_proxy import SilentProxy

AUTH_TIMEOUT = 2.0


@pytest.fixture(scope="module")
def backend(emulators: dict[str, str]) -> Iterator[Backend]:
    """The clients reach the emulators through proxies that can be made silent."""
    with (
        SilentProxy(emulators["FIRESTORE_EMULATOR_HOST"]) as to_firestore,
        SilentProxy(emulators["FIREBASE_AUTH_EMULATOR_HOST"]) as to_auth,
    ):
        options = {"projectId": PROJECT, "httpTimeout": AUTH_TIMEOUT}
        app = firebase_admin.initialize_app(options=options, name="conformance")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("FIRESTORE_EMULATOR_HOST", to_firestore.address)
            environment.setenv("FIREBASE_AUTH_EMULATOR_HOST", to_auth.address)
            firestore = google_firestore.Client(project=PROJECT)
            accounts = auth.Client(app)

        def add_account(uid: str, displayName: str, disabled: bool) -> None:  # noqa: N803
            record: Any = auth.ImportUserRecord(uid, display_name=displayName, disabled=disabled)
            assert accounts.import_users([record]).success_count == 1

        @contextmanager
        def unanswered() -> Iterator[None]:
            with to_firestore.silent(), to_auth.silent():
                yield

        yield Backend(firestore, accounts, AUTH_TIMEOUT, add_account, unanswered)
        firestore.close()
        firebase_admin.delete_app(app)
