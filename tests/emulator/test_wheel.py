"""The wheel: built, installed where nothing else is, and used in a project that exists."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from examples.adopt.live_system import (
    SECONDS,
    SOURCE,
    add_what_emulators_need,
    begin_project,
    installed_wheel,
    run,
    running,
    uv,
)
from stream_server import credentials
from tests.project_shapes import POSTS, rules
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bin_of_wheel() -> Path:
    return installed_wheel()


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
        begin_project(place, ports, rules(POSTS))
        project = f"demo-adopt-{example.name}"
        key = ("--stream-key", credentials.API_KEY)
        run(bin_of_wheel / "chatsync", "--project", project, "init", "--yes", *key, at=place)
        source = place / SOURCE
        uv("venv", "--python", sys.executable, source / "venv", at=place)
        lock = ("-r", source / "requirements.txt", "--require-hashes")
        uv("pip", "install", "--python", source / "venv", *lock, at=place)
        add_what_emulators_need(place, stream_url)

    example = tmp_path / "wheel"
    example.mkdir()
    (example / "README.md").write_text("")
    (example / "data.json").write_text('{"accounts": [{"uid": "of-before"}]}')
    with running(example, prepare) as app:
        app.deploy()
        ann = app.sign_up("ann@example.com")
        wait_for(lambda: app.stream_user(ann.uid))
        assert wait_for(lambda: app.document(f"user_profiles/{ann.uid}"))
        token = ann.call("getStreamUserToken", {})
        assert token["userId"] == ann.uid
        # The command finds the project's settings, from the project's folder.
        assert "of-before" in app.command("audit", "--users", "--all", status=1)
        app.command("backfill", "--apply")
        assert app.stream_user("of-before")
        app.command("audit", "--users")
