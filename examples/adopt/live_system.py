"""A live system on the day of its switch: emulators of its own, with its data of before."""

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import firebase_admin
import pytest
import requests
from firebase_admin import auth
from google.cloud import firestore
from stream_chat import StreamChat

from chatsync import config
from chatsync.config import MANIFEST
from chatsync.operator.manifest import manifest_for
from dev import emulators, setup
from dev.app_client import AppUser
from dev.start import READY_LINE
from stream_server import credentials
from stream_server.control_client import LocalStream
from tests.waiting import wait_for

SECONDS = 600
"""The time limit of a test here: it starts emulators of its own."""

TIMEOUT_SECONDS = 120
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class LiveSystem:
    """The app of an example's folder: what its people, its operators and its database see.

    ``data.json`` has ``accounts`` of Firebase Auth, ``documents`` by path, ``streamUsers``, and
    ``channels`` of Stream: what there is before the switch.
    """

    def __init__(
        self,
        example: Path,
        place: Path,
        variables: Mapping[str, str],
        prepare: Callable[..., None],
        source: str,
    ) -> None:
        self.readme = (example / "README.md").read_text()
        self.project = f"demo-adopt-{example.name}"
        self.place = place
        self.source = source
        self.ports = _free_ports()
        self.functions_url = f"{self._url('functions')}/{self.project}/{emulators.REGION}"
        self.environment = {
            "FIREBASE_AUTH_EMULATOR_HOST": f"{emulators.HOST}:{self.ports['auth']}",
            "FIRESTORE_EMULATOR_HOST": f"{emulators.HOST}:{self.ports['firestore']}",
            "CLOUD_TASKS_EMULATOR_HOST": f"{emulators.HOST}:{self.ports['tasks']}",
        }
        os.environ.update(self.environment)  # for Firebase's SDKs; `running` takes it back
        options = {"projectId": self.project}
        self.app = firebase_admin.initialize_app(options=options, name=self.project)
        self.auth = auth.Client(self.app)
        database = config.load(folder=example).firestore.database
        prepare(example, place, self.ports, self._url("stream"), variables, database)
        self.firestore = firestore.Client(project=self.project, database=database)
        self.stream = LocalStream(self._url("stream"))
        self.chat = StreamChat(self.stream.key, self.stream.secret, base_url=self.stream.url)

    def _url(self, name: str) -> str:
        return f"http://{emulators.HOST}:{self.ports[name]}"

    # What happens on the day.

    def load(self, data: dict[str, Any]) -> None:
        """Fill the system with what it has before the switch, while no function runs."""
        self._hub("disableBackgroundTriggers")
        self.auth.import_users([_imported(account) for account in data.get("accounts", [])])
        for path, fields in data.get("documents", {}).items():
            self.firestore.document(path).set(fields)
        if stream_users := data.get("streamUsers"):
            self.chat.upsert_users(stream_users)
        for channel in data.get("channels", []):
            fields = {name: channel[name] for name in channel.keys() - {"type", "id", "creator"}}
            self.chat.channel(channel["type"], channel["id"], fields).create(channel["creator"])

    def deploy(self) -> None:
        """From now on the functions run, and Stream calls back."""
        self._hub("enableBackgroundTriggers")
        # A function starts cold here: with more time than Stream gives.
        self.stream.webhook(None, timeout_ms=20_000, total_ms=55_000)
        run_hook_after_deployment(self._url("tasks"), self.functions_url)
        wait_for(lambda: (self.document("chatsync/setup") or {}).get("auditId"))

    def operator(self, command: str, status: int = 0) -> str:
        """What ``python -m chatsync COMMAND`` prints, which the example's README tells to run."""
        told = f"python -m chatsync --project my-project {command}"
        assert told in self.readme, f"the README doesn't tell to run: {told}"
        ran = subprocess.run(
            [sys.executable, "-m", "chatsync", "--project", self.project, *command.split()],
            cwd=self.place / self.source,
            env={**self.environment, "PATH": os.environ["PATH"], "COLUMNS": "160"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        print(f"$ python -m chatsync {command}\n{ran.stdout}{ran.stderr}", flush=True)
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout

    # What the app does.

    def sign_in(self, uid: str) -> AppUser:
        """Sign in an account that exists, by a token of the app's backend."""
        token = self.auth.create_custom_token(uid).decode()
        return self._account("signInWithCustomToken", {"token": token, "returnSecureToken": True})

    def sign_up(self, email: str) -> AppUser:
        body = {"email": email, "password": "correct horse", "returnSecureToken": True}
        return self._account("signUp", body)

    def _account(self, method: str, body: dict[str, object]) -> AppUser:
        accounts = f"{self._url('auth')}/identitytoolkit.googleapis.com/v1/accounts"
        response = requests.post(f"{accounts}:{method}?key=any", json=body, timeout=TIMEOUT_SECONDS)
        response.raise_for_status()
        id_token = response.json()["idToken"]
        return AppUser(self.auth.verify_id_token(id_token)["uid"], id_token, self.functions_url)

    # What there is.

    def document(self, path: str) -> dict[str, Any] | None:
        snapshot: Any = self.firestore.document(path).get()
        fields: dict[str, Any] | None = snapshot.to_dict()
        return fields

    def stream_user(self, stream_id: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = self.chat.query_users({"id": stream_id})["users"]
        return next(iter(found), None)

    def channel(self, cid: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = self.chat.query_channels({"cid": cid})["channels"]
        return next(iter(found), None)

    def log(self) -> str:
        """What the functions have written to their logs."""
        return (self.place / ".local" / "emulators.log").read_text()

    def _hub(self, action: str) -> None:
        url = f"{self._url('hub')}/functions/{action}"
        requests.put(url, timeout=TIMEOUT_SECONDS).raise_for_status()


def run_hook_after_deployment(tasks_url: str, functions_url: str) -> None:
    """Queue what the Firebase CLI queues (its ``deploy/functions/release/lifecycle.js``)."""
    project, region = functions_url.split("/")[-2:]
    request = {
        "url": f"{functions_url}/setUp",
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json"},
        "body": base64.b64encode(json.dumps({"data": {}}).encode()).decode(),
    }
    queue = f"{tasks_url}/projects/{project}/locations/{region}/queues/setUp/tasks"
    answer = requests.post(queue, json={"task": {"httpRequest": request}}, timeout=TIMEOUT_SECONDS)
    answer.raise_for_status()


@contextlib.contextmanager
def running(
    example: Path,
    prepare: Callable[..., None] | None = None,
    source: str = "functions",
    **variables: str,
) -> Iterator[LiveSystem]:
    """The example's system with its data of before the switch; its processes end with the block.

    ``prepare``, if not that of the examples, makes the folder that would be deployed, with the
    functions in ``source``. ``variables`` are those of ``functions/.env.PROJECT``.
    """
    data = json.loads((example / "data.json").read_text(), object_hook=_with_times)
    with (
        tempfile.TemporaryDirectory(prefix="adopt-") as place,
        mock.patch.dict(os.environ),
        warnings.catch_warnings(action="ignore"),  # the local secret is short
    ):
        system = LiveSystem(example, Path(place), variables, prepare or _prepare, source)
        with _processes(system):
            system.load(data)
            yield system
        firebase_admin.delete_app(system.app)


@contextlib.contextmanager
def _processes(system: LiveSystem) -> Iterator[None]:
    """``dev.start`` for the system: it also ends by itself if this process is killed."""
    started = subprocess.Popen(
        [sys.executable, "-m", "dev.start", "--quiet", "--parent", str(os.getpid())],
        cwd=emulators.ROOT,
        env={
            **os.environ,
            "LOCAL_STACK": str(system.place),
            "LOCAL_STACK_PROJECT": system.project,
            "LOCAL_STACK_SOURCE": system.source,
            "LOCAL_STREAM_PORT": str(system.ports["stream"]),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert started.stdout
    try:
        output: list[str] = []
        for line in started.stdout:
            output.append(line)
            if READY_LINE in line:
                break
        else:
            pytest.fail("".join(output))
        yield
    except BaseException:
        print(system.log()[-20_000:])
        raise
    finally:
        started.terminate()
        started.wait(timeout=60)


def _free_ports() -> dict[str, int]:
    names = (*emulators.EMULATORS, "hub", "logging", "ui", "websocket", "stream")
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind((emulators.HOST, 0))
        return {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}


def _prepare(
    example: Path,
    place: Path,
    ports: dict[str, int],
    stream_url: str,
    variables: Mapping[str, str],
    database: str,
) -> None:
    """The folder that would be deployed, with the settings of the example."""
    (place / ".local").mkdir()
    functions = place / "functions"
    ours = emulators.ROOT / "functions"
    shutil.copytree(ours, functions, ignore=shutil.ignore_patterns("venv", ".*", "*.toml"))
    (functions / "venv").symlink_to(ours / "venv")
    shutil.copy(example / "chatsync.toml", functions)
    (functions / MANIFEST).write_text(manifest_for(functions))
    setup.write_local_settings(functions / ".env.local", stream_url)
    with (functions / ".env.local").open("a") as settings:
        settings.writelines(f"{name}={value}\n" for name, value in variables.items())
    (functions / ".secret.local").write_text(f"STREAM_API_SECRET={credentials.API_SECRET}\n")
    firebase = json.loads((emulators.ROOT / "firebase.local.json").read_text())
    for kind in ("rules", "indexes"):
        shutil.copy(emulators.ROOT / firebase["firestore"][kind], place)
    firebase["firestore"] = [{"database": database, **firebase["firestore"]}]
    firebase["emulators"] = emulators_at(ports)
    for name in ("firebase.json", "firebase.local.json"):
        (place / name).write_text(json.dumps(firebase))


def emulators_at(ports: dict[str, int]) -> dict[str, Any]:
    """The part of firebase.json for emulators with these ports."""
    stated: dict[str, Any] = json.loads((emulators.ROOT / "firebase.local.json").read_text())
    found: dict[str, Any] = stated["emulators"]
    for name in (*emulators.EMULATORS, "hub", "logging", "ui"):
        found[name]["port"] = ports[name]
    found["firestore"]["websocketPort"] = ports["websocket"]
    return found


def _imported(account: dict[str, Any]) -> auth.ImportUserRecord:
    created = account.get("createdAt")
    return auth.ImportUserRecord(
        account["uid"],
        email=account.get("email"),
        display_name=account.get("displayName"),
        photo_url=account.get("photoURL"),
        custom_claims=account.get("claims"),
        user_metadata=created and auth.UserMetadata(int(created.timestamp() * 1000)),
    )


def _with_times(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no times: a text that is one becomes one."""
    return {
        name: datetime.fromisoformat(value)
        if isinstance(value, str) and _TIME.fullmatch(value)
        else value
        for name, value in fields.items()
    }
