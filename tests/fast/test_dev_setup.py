import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev import setup

JAVA_17 = """\
Property settings:
    java.home = /usr/lib/jvm/java-17-openjdk-amd64
    java.specification.version = 17
openjdk version "17.0.17" 2025-10-21
"""


def command(folder: Path, name: str, script: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("said", "java"),
    [
        (JAVA_17, setup.Java(17, Path("/usr/lib/jvm/java-17-openjdk-amd64"))),
        (
            JAVA_17.replace("= 17", "= 1.8"),
            setup.Java(8, Path("/usr/lib/jvm/java-17-openjdk-amd64")),
        ),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_tells_its_version_and_home(said: str, java: setup.Java | None) -> None:
    assert setup.parse_java(said) == java


def test_java_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (17, 21):
        binaries = tmp_path / str(version) / "bin"
        binaries.mkdir(parents=True)
        said = f"java.home = {binaries.parent}\njava.specification.version = {version}"
        command(binaries, "java", f"echo '{said}' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "17"))
    monkeypatch.setenv("PATH", str(tmp_path / "17" / "bin"))
    monkeypatch.setattr(setup, "JAVA_HOMES", [f"{tmp_path}/*"])
    assert setup.find_java() == (21, tmp_path / "21")


def test_python_search_skips_what_refuses_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path, "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    command(tmp_path, "python3.12", "echo 3.12")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(command(tmp_path, "python3", "echo 3.9")))
    assert setup.find_python() == "python3.12"


@pytest.mark.parametrize(
    ("node", "message"),
    [(None, "there is none: install Node 20"), ("v18.20.4", "a newer Node than v18.20.4")],
)
def test_missing_or_old_node_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str | None, message: str
) -> None:
    if node:
        command(tmp_path, "node", f"echo {node}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(setup.SetupError, match=message) as error:
        setup.check_node()
    assert "\n" not in str(error.value)


def test_launcher_manifest_wraps_at_72_bytes() -> None:
    jar = Path("/opt") / ("a-long-folder-name/" * 12) / "emulator.jar"
    manifest = setup.launcher_manifest(jar)
    assert all(len(line) <= 72 for line in manifest.split("\r\n"))
    assert f"Class-Path: {jar.as_uri()}\r\n" in manifest.replace("\r\n ", "")


def test_local_config_follows_python_and_needs_no_download(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EMULATOR_UI", raising=False)
    config = json.loads((setup.ROOT / "firebase.json").read_text())
    local = setup.local_config(config, "3.12")
    assert local["functions"][0]["runtime"] == "python312"
    assert local["emulators"]["ui"]["enabled"] is False
    monkeypatch.setenv("EMULATOR_UI", "1")
    assert setup.local_config(config, "3.12")["emulators"]["ui"]["enabled"] is True


def test_settings_of_a_developer_are_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / ".env.local"
    setup.write_if_absent(file, "generated")
    assert file.read_text() == "generated"
    file.write_text("edited")
    setup.write_if_absent(file, "generated")
    assert file.read_text() == "edited"


def test_interrupted_step_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "LOCAL", tmp_path)
    with setup.step("node", "inputs", "installing"):
        assert not setup.done("node", "inputs")
    assert setup.done("node", "inputs")
    with pytest.raises(KeyboardInterrupt), setup.step("node", "inputs", "installing again"):
        raise KeyboardInterrupt
    assert not setup.done("node", "inputs")


def test_python_packages_are_installed_again_when_their_lock_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "requirements.txt"
    installed: list[str] = []
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.setattr(setup, "LOCAL", tmp_path)
    monkeypatch.setattr(setup, "PACKAGES", lock)
    monkeypatch.setattr(setup, "VENV_PYTHON", Path(sys.executable))
    monkeypatch.setattr(setup, "venv_version", lambda: "3.12")
    monkeypatch.setattr(setup, "venv_works", lambda version: True)
    monkeypatch.setattr(setup, "pip_install", lambda lock: installed.append(lock.read_text()))
    for content in ("first", "first", "second"):
        lock.write_text(content)
        setup.set_up_python()
    assert installed == ["first", "second"]


def test_python_without_a_supported_version_gets_a_line_not_a_traceback(tmp_path: Path) -> None:
    old = command(tmp_path, "python3.9", "echo 3.9")
    result = subprocess.run(
        [sys.executable, "-m", "dev.setup", "--python-only"],
        cwd=setup.ROOT,
        env={**os.environ, "PYTHON": str(old)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    problem = f"setup: PYTHON={old} is not a working Python 3.11, 3.12 or 3.13 with venv"
    assert (result.stderr.startswith(problem), result.stderr.count("\n")) == (True, 1)


@pytest.fixture
def emulator_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a Java and a Cloud SDK that has both emulators; the set-up's own folder."""
    sdk = tmp_path / "sdk"
    for emulator in setup.CLOUD_SDK_EMULATORS.values():
        place = sdk / "platform" / emulator
        place.parent.mkdir(parents=True)
        place.touch()
    monkeypatch.setattr(setup, "LOCAL", tmp_path)
    monkeypatch.setattr(setup, "EMULATOR_ENVIRONMENT", tmp_path / "environment.json")
    monkeypatch.setattr(setup, "CLOUD_SDKS", [str(sdk)])
    monkeypatch.setattr(setup, "downloaded_emulator", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(setup, "find_java", lambda: setup.Java(21, tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for emulator in setup.CLOUD_SDK_EMULATORS:
        monkeypatch.delenv(setup.variable_of(emulator), raising=False)
    return tmp_path


def environment_after_set_up(at: Path) -> dict[str, str]:
    setup.set_up_emulators()
    return json.loads((at / "environment.json").read_text())


def test_emulators_are_prepared_once(emulator_places: Path, capsys) -> None:
    first = environment_after_set_up(emulator_places)
    capsys.readouterr()
    assert environment_after_set_up(emulator_places) == first
    assert capsys.readouterr().out == ""


def test_emulator_in_the_cache_needs_no_variable(emulator_places: Path) -> None:
    (emulator_places / "cache").mkdir()
    (emulator_places / "cache" / "firestore").touch()
    environment = environment_after_set_up(emulator_places)
    assert environment.keys() == {"JAVA_HOME", "PUBSUB_EMULATOR_BINARY_PATH"}


def test_emulator_gone_from_the_cache_is_looked_for_anew(emulator_places: Path) -> None:
    cached = emulator_places / "cache" / "firestore"
    cached.parent.mkdir()
    cached.touch()
    setup.set_up_emulators()
    cached.unlink()
    assert "FIRESTORE_EMULATOR_BINARY_PATH" in environment_after_set_up(emulator_places)


def test_emulator_behind_a_launcher_that_is_gone_is_fetched(
    emulator_places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.set_up_emulators()
    (emulator_places / "sdk" / "platform" / setup.CLOUD_SDK_EMULATORS["pubsub"]).unlink()
    fetched = []

    def download(emulator: str, environment: dict[str, str]) -> Path:
        fetched.append(emulator)
        return setup.downloaded_emulator(emulator)

    monkeypatch.setattr(setup, "download_emulator", download)
    assert "PUBSUB_EMULATOR_BINARY_PATH" not in environment_after_set_up(emulator_places)
    assert fetched == ["pubsub"]
