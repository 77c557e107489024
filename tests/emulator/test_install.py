"""Projects after ``chatsync init``: the Firebase CLI deploys from them, and their rules hold."""

import json
import os
import zipfile
from functools import cache
from pathlib import Path

import pytest

from chatsync import config
from chatsync.operator import rules_file
from tests.emulator import commands
from tests.emulator.rules_attempts import (
    LEGITIMATE,
    Attempt,
    forgeries,
    other_denials,
    oversized,
    project_of,
    requests,
    run,
)
from tests.emulator.rules_client import use_rules
from tests.emulator.test_deploy_manifest import FUNCTIONS, result_of
from tests.project_shapes import INSTALLED, SHAPES, Shape

EACH = pytest.mark.parametrize("name", INSTALLED)
# All of them, so that they run in one process, which installs each project once.
pytestmark = pytest.mark.usefixtures("emulators")
APP = "shipped"
"""Of the attempts: the one whose settings are the defaults, as those of these projects are."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory):
    """By name the folder of a project into which it was installed, as people do it."""
    made: dict[str, Path] = {}

    def installed(name: str) -> Path:
        if name not in made:
            made[name] = SHAPES[name].write(tmp_path_factory.mktemp("project"))
            ran = commands.run(*SHAPES[name].arguments, at=made[name])
            assert ran.returncode == 0, ran.stderr
        return made[name]

    return installed


@EACH
def test_the_firebase_cli_prepares_a_deployment_of_all_our_functions(installed, name):
    result = result_of(installed(name), "--force")
    assert sorted(result["functions"]) == FUNCTIONS
    assert result["started"] == []  # no Python, nor anything else
    document = [
        [one["value"] for one in trigger["eventFilters"] if one["attribute"] == "database"]
        for one in result["functions"].values()
        if "firestore" in (trigger := one.get("eventTrigger", {})).get("eventType", "")
    ]
    assert document == [[SHAPES[name].database]] * len(document) != []


def own_answers(shape: Shape) -> list[bool]:
    attempts = [
        Attempt(
            f"{one.how} {one.collection}", one.fields, one.stored, one.how, one.by, one.collection
        )
        for one in shape.own_tests
    ]
    return [allowed for _, allowed in run(attempts, APP)]


@EACH
def test_the_apps_own_rules_answer_as_before(installed, name):
    shape = SHAPES[name]
    wanted = [one.allowed for one in shape.own_tests]
    for text in (shape.files.get(rules_of(shape)), (installed(name) / shape.rules).read_text()):
        if text:
            use_rules(text, project_of(APP))
            assert own_answers(shape) == wanted


def rules_of(shape: Shape) -> str:
    return os.path.normpath(os.path.join(shape.at, shape.rules))


@EACH
def test_ours_hold_but_for_what_is_told_to_be_left_out(installed, name):
    shape = SHAPES[name]
    wrong = not_ours((installed(name) / shape.rules).read_text())
    assert {one.of for one in wrong} == set(shape.left_out), wrong


@cache
def not_ours(rules: str) -> list[Attempt]:
    """What these rules answer otherwise than ours alone; several projects have the same rules."""
    use_rules(rules, project_of(APP))
    wanted = [
        *requests(APP),
        *((one, False) for kind in (forgeries, oversized, other_denials) for one in kind(APP)),
        *((one, True) for one in LEGITIMATE[APP]),
    ]
    answers = run([one for one, _ in wanted], APP)
    return [
        one for (one, right), (_, allowed) in zip(wanted, answers, strict=True) if allowed != right
    ]


@EACH
def test_doctor_finds_the_rules_right(installed, name, monkeypatch):
    monkeypatch.setattr(config, "FOLDER", installed(name) / "chatsync")
    is_right, verdict = rules_file.verdict(config.load())
    assert is_right, verdict
    assert all(section in verdict for section in SHAPES[name].left_out)


def test_what_is_uploaded_has_neither_record_nor_settings_of_emulators(installed):
    root = installed("Node functions")
    result_of(root, "--force")
    with zipfile.ZipFile(root / "source.zip") as source:
        names = set(source.namelist())
    assert {"main.py", "functions.yaml", "chatsync.toml", "chatsync/config.py"} <= names
    assert not {one for one in names if one.startswith((".chatsync", ".gitignore", ".env.example"))}
    assert json.loads((root / "chatsync" / ".chatsync.json").read_text())["deployed"]
