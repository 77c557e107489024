"""The clients of the three sides, created once per process at their first use.

Not at import: deploy discovery has no secrets, and functions-framework forks its worker after
importing ``main``, which breaks a gRPC channel.
"""

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import firebase_admin
from firebase_admin import auth
from google.cloud import firestore

from .. import settings
from ..settings import Settings
from .pause import Switch
from .sessions import read_environment_once
from .stream import Stream
from .tasks import TaskQueues

_AUTH_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Clients:
    """The clients that a repair uses. Each may be used by several threads at once."""

    firestore: firestore.Client
    auth: auth.Client
    stream: Stream
    tasks: TaskQueues
    settings: Settings
    """The settings that the clients were created with."""

    pause: Switch
    """Stops every write of ``stream``."""

    def leaving(self, share: float) -> "Clients":
        """The same clients, but they leave ``share`` of Stream's rate limits to others."""
        return replace(self, stream=self.stream.leaving(share))


def connect(*, with_secret: bool = True) -> Clients:
    """The clients for the settings of the environment. Raises SettingInvalid.

    Without the secret, Stream would refuse every call.
    """
    with _making:
        return _connected(settings.load if with_secret else _load_without_secret)


def connect_to_firebase() -> Clients:
    """Clients that call no Stream: they need neither its key nor its secret."""
    with _making:
        return _connected(settings.declared)


_load_without_secret = functools.partial(settings.load, with_secret=False)

_making = threading.Lock()
"""With functools.cache alone, threads that call at once would each create a set, each with its own
count of calls to Stream, which would be too low."""


@functools.cache
def _connected(load: Callable[[], Settings]) -> Clients:
    """One set of clients per process, for what was set when they were made.

    A failure is not cached: the next caller tries again.
    """
    config = load()
    app = firebase_app()
    # Not firebase_admin.firestore: it demands credentials, which the emulator does not need.
    database = firestore.Client(project=app.project_id, database=config.config.firestore.database)
    pause = Switch(database)
    key, secret, url = config.stream_api_key, config.stream_api_secret, config.stream_base_url
    return Clients(
        firestore=database,
        auth=_auth_client(app),
        stream=Stream(key, secret, url, pause.refuse_if_paused),
        tasks=TaskQueues(app, settings.region()),
        settings=config,
        pause=pause,
    )


def _auth_client(app: firebase_admin.App) -> auth.Client:
    client = auth.Client(app)
    accounts = client._user_manager
    read_environment_once(accounts.http_client.session, accounts.base_url)
    return client


def firebase_app() -> firebase_admin.App:
    """The default Firebase app, created if absent.

    The SDK verifies a caller's token with it before any handler runs, so ``main`` calls this while
    it is imported. It opens no connection.
    """
    try:
        return firebase_admin.get_app()
    except ValueError:
        options: dict[str, object] = {"httpTimeout": _AUTH_TIMEOUT_SECONDS}
        project = os.environ.get("GCLOUD_PROJECT") or os.environ.get("GOOGLE_CLOUD_PROJECT")
        if project:
            options["projectId"] = project
        return firebase_admin.initialize_app(options=options)
