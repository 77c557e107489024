"""Everything that is installed or run has its version and its hash."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOYED = ROOT / "functions" / "requirements.txt"
FOR_DEVELOPERS = ROOT / "requirements.txt"
JAVA = ROOT / "dev" / "java.txt"
LOCKS = [DEPLOYED, FOR_DEVELOPERS, JAVA]
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def entries(lock: Path) -> list[str]:
    """Each package with what belongs to it, as one line."""
    text = re.sub(r"\n? *#.*", "", lock.read_text())
    return text.replace("\\\n", "").strip().splitlines()


@pytest.fixture(params=LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def lock(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_package_of_a_lock_has_its_version_and_hashes(lock: Path) -> None:
    whole = r"[\w.-]+==\S+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+"
    assert [entry for entry in entries(lock) if not re.fullmatch(whole, entry)] == []


def test_a_lock_has_what_was_asked_for(lock: Path) -> None:
    asked = PIN.findall(lock.with_suffix(".in").read_text())
    assert asked
    assert set(asked) <= set(PIN.findall(lock.read_text())), "run `make lock`"


def test_developers_have_what_is_deployed() -> None:
    assert set(entries(DEPLOYED)) <= set(entries(FOR_DEVELOPERS)), "run `make lock`"


def test_a_lock_names_no_package_index(lock: Path) -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links", lock.read_text())


def test_every_node_package_has_its_hash_and_names_no_registry() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    installed = {name: package for name, package in packages.items() if name}
    assert [name for name, package in installed.items() if "integrity" not in package] == []
    assert [name for name, package in installed.items() if "resolved" in package] == []


def test_every_action_has_its_commit_and_version() -> None:
    workflows = [file.read_text() for file in (ROOT / ".github" / "workflows").glob("*.yml")]
    actions = re.findall(r"\buses: *(.*)", "\n".join(workflows))
    assert actions
    whole = r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+"
    assert [action for action in actions if not re.fullmatch(whole, action)] == []
