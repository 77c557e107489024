"""A live system on the day of its switch: emulators of its own, with its data of before."""

import atexit
import base64
import contextlib
import functools
import json
import os
import re
import shutil
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
from dev import emulators, setup
from dev.app_client import AppUser
from dev.start import READY_LINE
from stream_server import credentials
from stream_server.control_client import LocalStream
from tests.elsewhere import emulators_at, free_ports
from tests.emulator import commands
from tests.waiting import wait_for

SECONDS = 600
"""The time limit of a test here: it starts emulators of its own."""

TIMEOUT_SECONDS = 120

SOURCE = "chatsync"
"""The folder that ``chatsync init`` makes."""

_RULES = """\
rules_version = '2';
service cloud.firestore {
  match /databases/{database}/documents {
    match /posts/{id} {
      allow read;
    }
  }
}
"""
"""Of an app, before the switch."""

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
    ) -> None:
        self.readme = (example / "README.md").read_text()
        self.project = f"demo-adopt-{example.name}"
        self.place = place
        self.ports = free_ports()
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
        """What ``chatsync COMMAND`` prints, which the example's README tells to run."""
        told = f"chatsync --project my-project {command}"
        assert told in self.readme, f"the README doesn't tell to run: {told}"
        return self.command(*command.split(), status=status)

    def command(self, *arguments: str, status: int = 0) -> str:
        """What the command of the wheel prints, in the project's folder."""
        ran = commands.run(
            *("--project", self.project, *arguments),
            at=self.place,
            python=str(installed_wheel() / "python"),
            COLUMNS="160",
            **self.environment,
        )
        print(f"$ chatsync {' '.join(arguments)}\n{ran.stdout}{ran.stderr}", flush=True)
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
    **variables: str,
) -> Iterator[LiveSystem]:
    """The example's system with its data of before the switch; its processes end with the block.

    ``prepare``, if not that of the examples, puts what the emulators need beside what ``chatsync
    init`` makes. ``variables`` are those of ``chatsync/.env.PROJECT``.
    """
    data = json.loads((example / "data.json").read_text(), object_hook=_with_times)
    with (
        tempfile.TemporaryDirectory(prefix="adopt-") as place,
        mock.patch.dict(os.environ),
        warnings.catch_warnings(action="ignore"),  # the local secret is short
    ):
        system = LiveSystem(example, Path(place), variables, prepare or _prepare)
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
            "LOCAL_STACK_SOURCE": SOURCE,
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


def _prepare(
    example: Path,
    place: Path,
    ports: dict[str, int],
    stream_url: str,
    variables: Mapping[str, str],
    database: str,
) -> None:
    """The app's project as it was, and what the first step of its README makes of it."""
    begin_project(place, ports, _RULES, database)
    init = ("--project", f"demo-adopt-{example.name}", "init", "--yes")
    run(installed_wheel() / "chatsync", *init, "--stream-key", credentials.API_KEY, at=place)
    shutil.copy(example / "chatsync.toml", place / SOURCE)
    run(installed_wheel() / "chatsync", *init, at=place)
    (place / SOURCE / "venv").symlink_to(setup.VENV)
    add_what_emulators_need(place, stream_url, variables)


def begin_project(
    place: Path, ports: dict[str, int], rules: str, database: str = "(default)"
) -> None:
    """A folder with ``firebase.json`` and rules of the app's own."""
    (place / ".local").mkdir()
    firestore = [{"database": database, "rules": "firestore.rules"}]
    stated = {"firestore": firestore, "emulators": emulators_at(ports)}
    (place / "firebase.json").write_text(json.dumps(stated, indent=2))
    (place / "firestore.rules").write_text(rules)


def add_what_emulators_need(
    place: Path, stream_url: str, variables: Mapping[str, str] | None = None
) -> None:
    """The local Stream server's address and secret, and the Python of this machine."""
    setup.write_local_settings(place / SOURCE / ".env.local", stream_url)
    with (place / SOURCE / ".env.local").open("a") as settings:
        settings.writelines(f"{name}={value}\n" for name, value in (variables or {}).items())
    secret = f"STREAM_API_SECRET={credentials.API_SECRET}\n"
    (place / SOURCE / ".secret.local").write_text(secret)
    installed = json.loads((place / "firebase.json").read_text())
    [functions] = installed["functions"]
    functions["runtime"] = f"python{sys.version_info.major}{sys.version_info.minor}"
    (place / "firebase.local.json").write_text(json.dumps(installed))


@functools.cache
def installed_wheel() -> Path:
    """The programs of an environment with the wheel of this project and what it depends on."""
    place = Path(tempfile.mkdtemp(prefix="wheel-"))
    atexit.register(shutil.rmtree, place)
    uv("build", "--wheel", "--out-dir", place, emulators.ROOT, at=place)
    [wheel] = place.glob("chatsync-*.whl")
    uv("venv", "--python", sys.executable, place / "venv", at=place)
    uv("pip", "install", "--python", place / "venv", wheel, at=place)
    return place / "venv" / "bin"


def uv(*arguments: str | Path, at: Path) -> None:
    """Run uv on what it has at hand, and else with the network."""
    try:
        run(setup.VENV / "bin" / "uv", *arguments, "--quiet", "--offline", at=at)
    except AssertionError:
        run(setup.VENV / "bin" / "uv", *arguments, "--quiet", at=at)


def run(*command: str | Path, at: Path) -> str:
    """What a program prints that is started somewhere else, with nothing of this environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ran = subprocess.run(
        command, cwd=at, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


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
