"""The wheel: built, installed where nothing else is, and used in a project that exists."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dev import setup
from examples.adopt.live_system import SECONDS, LiveSystem, emulators_at, running
from stream_server import credentials
from tests.project_shapes import POSTS, rules
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
RUNTIME = f"python{sys.version_info.major}{sys.version_info.minor}"


def run(*command: str | Path, at: Path) -> str:
    """What a program prints that is started somewhere else, with nothing of this environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ran = subprocess.run(
        command, cwd=at, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def uv(*arguments: str | Path, at: Path) -> None:
    """Run uv on what it has at hand, and else with the network."""
    try:
        run(setup.VENV / "bin" / "uv", *arguments, "--quiet", "--offline", at=at)
    except AssertionError:
        run(setup.VENV / "bin" / "uv", *arguments, "--quiet", at=at)


@pytest.fixture(scope="module")
def bin_of_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel and what it depends on."""
    place = tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--out-dir", place, ROOT, at=place)
    [wheel] = place.glob("chatsync-*.whl")
    uv("venv", "--python", sys.executable, place / "venv", at=place)
    uv("pip", "install", "--python", place / "venv", wheel, at=place)
    return place / "venv" / "bin"


def test_its_packages_are_those_that_are_deployed_and_of_the_command():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    deployed = (ROOT / "functions" / "requirements.in").read_text()
    locked = (ROOT / "requirements.txt").read_text()
    assert [one for one in deployed.splitlines() if "==" in one] == stated[:5]
    assert all(f"\n{one} " in locked for one in stated)


def test_its_version_stands_in_one_place(bin_of_wheel, tmp_path):
    init = (ROOT / "functions" / "chatsync" / "__init__.py").read_text()
    version = run(bin_of_wheel / "chatsync", "--version", at=tmp_path).split()[1]
    assert f'__version__ = "{version}"' in init


def test_where_nothing_is_installed_a_command_says_so(bin_of_wheel, tmp_path):
    ran = subprocess.run(
        [bin_of_wheel / "chatsync", "rules"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ran.returncode, "not installed here" in ran.stderr) == (2, True)


@pytest.mark.timeout(SECONDS)
def test_a_project_that_exists_has_the_main_job_done_after_init(bin_of_wheel, tmp_path):
    def prepare(
        example: Path, place: Path, ports: dict[str, int], stream_url: str, *rest: object
    ) -> None:
        (place / ".local").mkdir()
        firebase = {"firestore": {"rules": "firestore.rules"}, "emulators": emulators_at(ports)}
        (place / "firebase.json").write_text(json.dumps(firebase, indent=2))
        (place / "firestore.rules").write_text(rules(POSTS))
        project = f"demo-adopt-{example.name}"
        chatsync = bin_of_wheel / "chatsync"
        key = ("--stream-key", credentials.API_KEY)
        run(chatsync, "--project", project, "init", "--yes", *key, at=place)
        # What the emulators need besides: an environment, the local secret and Stream server.
        source = place / "chatsync"
        uv("venv", "--python", sys.executable, source / "venv", at=place)
        lock = ("-r", source / "requirements.txt", "--require-hashes")
        uv("pip", "install", "--python", source / "venv", *lock, at=place)
        setup.write_local_settings(source / ".env.local", stream_url)
        (source / ".secret.local").write_text(f"STREAM_API_SECRET={credentials.API_SECRET}\n")
        installed = json.loads((place / "firebase.json").read_text())
        installed["functions"][0]["runtime"] = RUNTIME
        (place / "firebase.local.json").write_text(json.dumps(installed))

    def command(app: LiveSystem, *arguments: str, status: int = 0) -> str:
        ran = subprocess.run(
            [bin_of_wheel / "chatsync", "--project", app.project, *arguments],
            cwd=app.place,
            env={**app.environment, "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout

    example = tmp_path / "wheel"
    example.mkdir()
    (example / "README.md").write_text("python -m chatsync --project my-project doctor")
    (example / "data.json").write_text('{"accounts": [{"uid": "of-before"}]}')
    with running(example, prepare, "chatsync") as app:
        app.deploy()
        ann = app.sign_up("ann@example.com")
        wait_for(lambda: app.stream_user(ann.uid))
        assert wait_for(lambda: app.document(f"user_profiles/{ann.uid}"))
        token = ann.call("getStreamUserToken", {})
        assert token["userId"] == ann.uid
        # The command finds the project's settings, from the project's folder.
        assert "of-before" in command(app, "audit", "--users", "--all", status=1)
        command(app, "backfill", "--apply")
        assert app.stream_user("of-before")
        command(app, "audit", "--users")
