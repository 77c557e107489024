"""``chatsync init``: what it makes of projects as they occur, of which nothing is lost."""

import functools
import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
import typer
import yaml
from google.auth.exceptions import GoogleAuthError

from chatsync.config import Config
from chatsync.operator import options
from chatsync.operator.init import (
    deployable,
    files,
    firebase_json,
    json_text,
    rules_text,
    their_functions,
)
from chatsync.operator.init.rules_text import RulesRefused
from chatsync.operator.rules import rules_for
from tests.project_shapes import INSTALLED, POSTS, SHAPES, USERS, WILDCARD, Shape, rules

ROOT = Path(__file__).parents[2]
EACH = pytest.mark.parametrize("name", INSTALLED)
MANIFEST = (ROOT / "functions" / "functions.yaml").read_bytes()
parsed_once = functools.cache(yaml.safe_load)
"""Nobody changes it, and to read it takes longer than all else that ``init`` does."""


def all_files(folder: Path) -> dict[str, bytes]:
    found = (one for one in folder.rglob("*") if one.is_file())
    return {str(one.relative_to(folder)): one.read_bytes() for one in found}


@pytest.fixture
def init(command, monkeypatch, tmp_path):
    """``chatsync init`` in a project's folder, without the second that making a manifest takes."""
    monkeypatch.setattr(deployable, "manifest_for", lambda folder: MANIFEST.decode())
    monkeypatch.setattr(yaml, "safe_load", parsed_once)
    for name in ("GCLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)

    def init(*arguments: str, at: Path = tmp_path):
        monkeypatch.chdir(at)
        return command(*arguments)

    return init


@pytest.fixture
def node(tmp_path) -> Shape:
    """A project with functions in Node, the plainest."""
    SHAPES["Node functions"].write(tmp_path)
    return SHAPES["Node functions"]


def plain(text: str) -> str:
    """Without comments, as the Firebase CLI reads it."""
    return re.sub(r"^\s*//.*$|(?<=,) //.*$", "", text, flags=re.MULTILINE)


# Shapes


@EACH
def test_it_adds_a_codebase_and_leaves_all_else_in_the_file_as_it_was(init, tmp_path, name):
    shape = SHAPES[name]
    root = shape.write(tmp_path)
    before = (root / "firebase.json").read_bytes().decode()
    assert init(*shape.arguments, at=root).status == 0
    after = (root / "firebase.json").read_bytes().decode()
    was, now = json.loads(plain(before)), json.loads(plain(after))
    theirs = was["functions"] if isinstance(was["functions"], list) else [was["functions"]]
    assert now["functions"][:-1] == theirs
    assert now["functions"][-1]["codebase"] == "chatsync"
    for key in was.keys() - {"functions", "firestore"}:
        assert now[key] == was[key]
    assert list(now)[: len(was)] == list(was)
    assert re.findall(r"//.*", before) == re.findall(r"//.*", after)
    assert (before.count("\r\n") == before.count("\n")) == (
        after.count("\r\n") == after.count("\n")
    )


@EACH
def test_its_second_run_changes_nothing_and_removal_gives_back_every_byte(init, tmp_path, name):
    shape = SHAPES[name]
    root = shape.write(tmp_path)
    before = all_files(tmp_path)
    assert init(*shape.arguments, at=root).status == 0
    installed = all_files(tmp_path)
    assert installed != before
    again = init(*shape.arguments, at=root)
    assert "All is as it should be" in again.out
    assert all_files(tmp_path) == installed
    shown = init("--project", "demo-chatsync", "init", "--dry-run", *shape.options, at=root)
    assert shown.status == 0
    assert init("init", "--remove", "--yes", at=root).status == 0
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("name", SHAPES)
def test_it_shows_what_would_change_and_changes_nothing(init, tmp_path, name):
    shape = SHAPES[name]
    root = shape.write(tmp_path)
    before = all_files(tmp_path)
    ran = init(*shape.arguments, "--dry-run", at=root)
    assert (shape.refused in ran.err) if shape.refused else ('"codebase": "chatsync"' in ran.out)
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.refused])
def test_it_refuses_before_it_writes(init, tmp_path, name):
    root = SHAPES[name].write(tmp_path)
    before = all_files(tmp_path)
    ran = init(*SHAPES[name].arguments, at=root)
    assert (ran.status, SHAPES[name].refused in ran.err) == (2, True)
    assert all_files(tmp_path) == before


@EACH
def test_it_names_the_collections_for_which_the_apps_own_rules_stand(init, tmp_path, name):
    shape = SHAPES[name]
    root = shape.write(tmp_path)
    out = init(*shape.arguments, at=root).out
    told = re.findall(r"^  (\w+): as ", out, re.MULTILINE)
    assert tuple(told) == shape.left_out
    spliced = (root / shape.rules).read_text()
    for section in ("users", "conversations"):
        assert spliced.count(f"match /{section}/{{") == 1


@EACH
def test_it_writes_every_parameter_that_is_no_secret(init, tmp_path, name):
    root = SHAPES[name].write(tmp_path)
    assert init(*SHAPES[name].arguments, at=root).status == 0
    lines = (root / "chatsync" / ".env.demo-chatsync").read_text().splitlines()
    stated = dict(line.split("=") for line in lines)
    assert list(stated) == [
        *("STREAM_API_KEY", "CHATSYNC_REGION", "ENFORCE_APP_CHECK", "BACKFILL_ON_INSTALL")
    ]
    of_extension = "--from-extension" in SHAPES[name].options
    assert stated["CHATSYNC_REGION"] == ("europe-west1" if of_extension else "asia-south1")
    assert stated["STREAM_API_KEY"] == ("of-the-extension" if of_extension else "local-key")


def test_functions_with_our_names_are_named_and_nobody_agrees_for_the_app(init, tmp_path):
    shape = SHAPES["Node functions with our names"]
    shape.write(tmp_path)
    before = all_files(tmp_path)
    ran = init("--project", "demo-chatsync", "init", "--yes", "--stream-key", "k")
    assert (ran.status, "Remove them first" in ran.err) == (2, True)
    for name in ("createStreamUser", "ensureStreamUser"):
        assert f"{name} in functions/index.js" in ran.out
    assert all_files(tmp_path) == before


def test_an_extension_says_its_secret_and_is_uninstalled_last(init, tmp_path):
    shape = SHAPES["Stream's extension"]
    shape.write(tmp_path)
    out = init(*[one.replace("demo-chatsync", "my-app") for one in shape.arguments]).out
    assert "secrets:access ext-auth-chat-STREAM_API_SECRET --project my-app |" in out
    assert "uninstall auth-chat last" in out


def test_an_extension_may_say_its_key_by_an_alias_of_the_project(init, tmp_path):
    SHAPES["Stream's extension"].write(tmp_path)
    (tmp_path / ".firebaserc").write_text('{"projects": {"staging": "my-app-stg"}}')
    (tmp_path / "extensions" / "auth-chat.env.staging").write_text("STREAM_API_KEY=of-staging\n")
    for project in ("staging", "my-app-stg"):
        ran = init("--project", project, "init", "--yes", "--from-extension")
        assert ran.status == 0
    stated = (tmp_path / "chatsync" / ".env.my-app-stg").read_text()
    assert "STREAM_API_KEY=of-staging" in stated.splitlines()


@pytest.mark.parametrize(
    ("project", "commands"),
    [
        (
            "my-app",
            [
                "firebase functions:secrets:set STREAM_API_SECRET --project my-app",
                "chatsync --project my-app doctor",
                "firebase deploy --only functions:chatsync,firestore --project my-app",
            ],
        ),
        (
            "demo-app",
            [
                f"python3.{sys.version_info.minor} -m venv chatsync/venv"
                " && chatsync/venv/bin/pip install -r chatsync/requirements.txt",
                "firebase emulators:start --project demo-app"
                " --only auth,functions,firestore,pubsub,tasks,eventarc",
                "chatsync --project demo-app doctor",
            ],
        ),
    ],
)
def test_the_last_lines_are_three_commands(init, node, project, commands):
    out = init(*[one.replace("demo-chatsync", project) for one in node.arguments]).out
    assert [line.strip() for line in out.splitlines()[-3:]] == commands


def test_a_named_database_is_in_the_settings_and_the_others_rules_stay(init, tmp_path):
    shape = SHAPES["a named database"]
    shape.write(tmp_path)
    assert init(*shape.arguments).status == 0
    assert 'database = "chat"' in (tmp_path / "chatsync" / "chatsync.toml").read_text()
    assert (tmp_path / "logs.rules").read_text() == shape.files["logs.rules"]
    assert (tmp_path / "firestore.rules").read_text() == shape.files["firestore.rules"]


def test_of_several_databases_one_must_be_named(init, tmp_path):
    SHAPES["a named database"].write(tmp_path)
    ran = init("--project", "demo-chatsync", "init", "--yes", "--stream-key", "k")
    assert "--database logs or chat" in ran.err


def test_ids_in_stream_that_are_no_accounts_are_told_if_the_secret_is_at_hand(
    init, node, tmp_path, monkeypatch, clients, chat
):
    chat.upsert_users([{"id": f"app_{number}"} for number in range(20)])
    monkeypatch.setattr(options.config_module, "FOLDER", tmp_path)  # init sets another
    monkeypatch.setattr(options, "connect", lambda: clients)
    arguments = node.arguments
    assert "belong to an account" not in init(*arguments).err
    monkeypatch.setenv("STREAM_API_SECRET", "secret")
    ran = init(*arguments)
    assert (ran.status, "of 20 users in Stream, 0 belong to an account" in ran.err) == (0, True)

    def no_credentials():
        raise GoogleAuthError

    monkeypatch.setattr(options, "connect", no_credentials)
    assert "could not be compared with accounts: No Google credentials" in init(*arguments).err


# What is there already


def test_an_upgrade_replaces_our_files_and_keeps_the_apps_settings(
    init, node, tmp_path, monkeypatch
):
    before = all_files(tmp_path)
    of_before = {"main.py": b"# old", "gone.py": b"# gone", "functions.yaml": MANIFEST}
    with monkeypatch.context() as older:
        older.setattr(deployable, "deployable", lambda settings: of_before)
        assert init(*node.arguments).status == 0
    toml = tmp_path / "chatsync" / "chatsync.toml"
    toml.write_text('[users]\ncollection = "members"\n')
    (tmp_path / "chatsync" / "functions.yaml").write_text("# by `chatsync manifest`")
    ran = init(*node.arguments)
    assert ran.status == 0, ran.err
    assert (tmp_path / "chatsync" / "main.py").read_bytes() != b"# old"
    assert not (tmp_path / "chatsync" / "gone.py").exists()
    assert "match /members/{uid}" in (tmp_path / "firestore.rules").read_text()
    ran = init("init", "--remove", "--yes")
    assert "chatsync/chatsync.toml stays" in ran.out
    assert all_files(tmp_path) == {**before, "chatsync/chatsync.toml": toml.read_bytes()}


def test_an_edited_file_of_ours_is_replaced_only_by_a_persons_word(
    init, node, tmp_path, monkeypatch
):
    init(*node.arguments)
    main = tmp_path / "chatsync" / "main.py"
    main.write_text("# mine")
    ran = init(*node.arguments)
    assert (ran.status, "chatsync/main.py" in ran.out) == (2, True)
    assert "--yes replaces no edited files" in ran.err
    assert main.read_text() == "# mine"
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    assert init("--project", "demo-chatsync", "init").status == 0
    assert main.read_text() != "# mine"


def test_what_the_app_edited_since_stays_and_only_our_part_goes(init, node, tmp_path):
    init(*node.arguments)
    edits = {
        "firebase.json": ('"hosting"', '"storage": {"rules": "s.rules"},\n  "hosting"'),
        "firestore.rules": ("match /posts/", "match /likes/{l} { allow read; }\n    match /posts/"),
        "firestore.indexes.json": ('"posts"', '"likes"'),
    }
    for name, (old, new) in edits.items():
        text = (tmp_path / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
    edited = all_files(tmp_path)
    assert "All is as it should be" not in init(*node.arguments).out  # the record is brought along
    assert {path: content for path, content in all_files(tmp_path).items() if path in edits} == {
        path: content for path, content in edited.items() if path in edits
    }
    assert init("init", "--remove", "--yes").status == 0
    for name, (old, new) in edits.items():
        left, right = (tmp_path / name).read_text(), node.files[name].replace(old, new)
        assert left.split() == right.split()


def test_removal_after_an_edit_of_rules_that_we_made_keeps_the_edit(init, tmp_path):
    shape = SHAPES["no rules"]
    shape.write(tmp_path)
    init(*shape.arguments)
    file = tmp_path / "firestore.rules"
    file.write_text(file.read_text().replace("documents {", "documents {\n    match /a/{b} {}"))
    ran = init("init", "--remove", "--yes")
    assert "firestore.rules was edited since" in ran.out
    assert file.read_text() == rules("match /a/{b} {}")
    assert json.loads((tmp_path / "firebase.json").read_text())["firestore"]["rules"]


def test_a_value_that_the_projects_file_states_differently_is_not_passed_over(init, node):
    init(*node.arguments)
    ran = init(*node.arguments, "--region", "europe-west1")
    assert "says CHATSYNC_REGION=asia-south1" in ran.err


def test_a_parameter_without_value_is_no_answer(init, node, tmp_path):
    init(*node.arguments)
    file = tmp_path / "chatsync" / ".env.demo-chatsync"
    file.write_text(file.read_text().replace("STREAM_API_KEY=local-key", "STREAM_API_KEY="))
    ran = init("--project", "demo-chatsync", "init", "--yes")
    assert (ran.status, "says STREAM_API_KEY= and nothing more" in ran.err) == (2, True)


def test_an_alias_of_a_project_is_its_id(init, node, tmp_path):
    (tmp_path / ".firebaserc").write_text('{"projects": {"staging": "my-app-stg"}}')
    ran = init("--project", "staging", "init", "--yes", "--stream-key", "local-key")
    assert ran.status == 0
    assert (tmp_path / "chatsync" / ".env.my-app-stg").exists()
    assert "chatsync --project my-app-stg doctor" in ran.out


def test_an_alias_is_that_of_the_folder_and_is_looked_up_once(init, node, tmp_path):
    here = tmp_path / "elsewhere"
    here.mkdir()
    (here / ".firebaserc").write_text('{"projects": {"staging": "not-this-app"}}')
    stated = {"staging": "production", "production": "my-app-prod", "odd": ["my-app"]}
    (tmp_path / ".firebaserc").write_text(json.dumps({"projects": stated}))
    arguments = ("init", str(tmp_path), "--dry-run")
    for place in (here, tmp_path):
        for named, meant in (("staging", "production"), ("odd", "odd")):
            ran = init("--project", named, *arguments, at=place)
            assert f"chatsync/.env.{meant}" in ran.out


@pytest.mark.parametrize("project", ["My App", "../../other", "app; rm -r ."])
def test_what_is_no_id_of_a_project_names_no_file_and_no_command(init, node, tmp_path, project):
    (tmp_path / ".firebaserc").write_text(json.dumps({"projects": {"default": project}}))
    before = all_files(tmp_path)
    ran = init("init", "--yes", "--stream-key", "local-key")
    assert (ran.status, ran.out, "is no id of a Firebase project" in ran.err) == (2, "", True)
    assert all_files(tmp_path) == before


def test_indexes_that_are_no_list_are_refused_in_words(init, node, tmp_path):
    stated = {"firestore": {"rules": "firestore.rules", "indexes": "i.json"}}
    (tmp_path / "firebase.json").write_text(json.dumps(stated))
    (tmp_path / "i.json").write_text('{"fieldOverrides": null}')
    ran = init(*node.arguments)
    assert (ran.status, "i.json: fieldOverrides must be a list" in ran.err) == (2, True)


def test_another_database_takes_our_part_along(init, tmp_path):
    shape = SHAPES["a named database"]
    shape.write(tmp_path)
    before = all_files(tmp_path)
    assert init(*shape.arguments).status == 0
    toml = tmp_path / "chatsync" / "chatsync.toml"
    toml.write_text(toml.read_text().replace('"chat"', '"new"'))
    assert init(*shape.arguments).status == 0
    assert (tmp_path / "chat.rules").read_bytes() == before["chat.rules"]
    assert "chatsync begins" in (tmp_path / "firestore.new.rules").read_text()
    toml.unlink()
    assert init("init", "--remove", "--yes").status == 0
    assert all_files(tmp_path) == before


def test_a_file_of_rules_that_is_not_named_is_never_written_over(init, tmp_path):
    shape = SHAPES["a named database"]
    shape.write(tmp_path)
    (tmp_path / "firestore.new.rules").write_text("theirs")
    ran = init(*shape.arguments, "--database", "new")
    assert (ran.status, "firestore.new.rules is there, but not named" in ran.err) == (2, True)
    assert (tmp_path / "firestore.new.rules").read_text() == "theirs"


def test_after_removal_it_says_that_an_environment_is_left(init, node, tmp_path):
    init(*node.arguments)
    (tmp_path / "chatsync" / "venv").mkdir()
    assert "What is left in chatsync" in init("init", "--remove", "--yes").out


def test_after_removal_git_still_ignores_a_secret_that_is_left(init, node, tmp_path):
    init(*node.arguments)
    (tmp_path / "chatsync" / ".secret.local").write_text("STREAM_API_SECRET=secret\n")
    assert init("init", "--remove", "--yes").status == 0
    assert ".secret.local" in (tmp_path / "chatsync" / ".gitignore").read_text()


def test_after_removal_it_can_be_installed_again_with_the_settings_that_stayed(
    init, node, tmp_path
):
    init(*node.arguments)
    stays = {"chatsync.toml": "[users]\n", ".secret.local": "A=b\n", ".env.local": "C=d\n"}
    for name, text in stays.items():
        (tmp_path / "chatsync" / name).write_text(text)
    init("init", "--remove", "--yes")
    assert init(*node.arguments).status == 0
    for name, text in stays.items():
        assert (tmp_path / "chatsync" / name).read_text() == text


@pytest.mark.parametrize("source", [".", "../elsewhere", "/tmp"])
def test_our_folder_is_within_the_project(init, node, source):
    ran = init(*node.arguments, "--source", source)
    assert (ran.status, "must be within" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("firebase.json", '{"functions": {"source": "."}}', "would be within ."),
        ("firebase.json", '{"functions": {"source": "functions"},}', "cannot be read"),
        ("firebase.json", '{"functions": "functions.json"}', "neither an object nor a list"),
        ("firebase.json", '{"functions": [{"source": "x", "codebase": "chatsync"}]}', "not make"),
        ("firebase.json", '{"functions": [{"source": 5}]}', "source of functions must be a text"),
        ("firebase.json", '{"firestore": {}}', "firestore.rules is there, but not named"),
        ("chatsync/x", "", "folder chatsync is there already"),
        ("firestore.rules", "service cloud.firestore {}", "rules_version"),
        ("firestore.rules", "rules_version = '2';", "there is no `match /databases"),
        ("firestore.rules", rules("match /audits/{id} { allow read; }"), "collection of chatsync"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_in_words(init, node, tmp_path, file, text, told):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    before = all_files(tmp_path)
    ran = init(*node.arguments)
    assert (ran.status, told in ran.err, ran.err.count("\n")) == (2, True, 1), ran.err
    assert all_files(tmp_path) == before


def test_where_there_is_no_project_it_says_so(init):
    assert "no firebase.json" in init("init", "--yes").err


def test_without_a_terminal_nothing_changes(init, node, tmp_path, monkeypatch):
    before = all_files(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "Nothing was changed" in init("--project", "demo-chatsync", "init").err
    assert all_files(tmp_path) == before


def test_a_person_may_answer_yes_or_no_and_a_slip_is_asked_again(init, node, tmp_path, monkeypatch):
    answers = iter(["key", "europe-west1", "maybe", "n", "YES"])
    monkeypatch.setattr(typer, "prompt", lambda *_, **more: next(answers) or more["default"])
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: True)
    ran = init("--project", "demo-chatsync", "init")
    assert (ran.status, "true or false" in ran.err) == (0, True)
    [written] = (tmp_path / "chatsync").glob(".env.demo-*")
    stated = written.read_text().splitlines()
    assert {"ENFORCE_APP_CHECK=false", "BACKFILL_ON_INSTALL=true"} <= set(stated)


def test_nobody_is_told_to_write_a_custom_claim_into_a_document(init, node, tmp_path):
    (tmp_path / "firestore.rules").write_text(rules(USERS))
    init(*node.arguments)
    (tmp_path / "chatsync" / "chatsync.toml").write_text('[users]\nrole = "claims:role"\n')
    out = init(*node.arguments).out
    assert "as its owner, write chat.teams, or a name of 257 characters to users/{uid};" in out
    assert "unless you state `create = false` in [users]." in out


def test_of_a_document_that_the_app_creates_nobody_is_told_that_chatsync_writes_there(
    init, node, tmp_path
):
    (tmp_path / "firestore.rules").write_text(rules(USERS))
    init(*node.arguments)
    (tmp_path / "chatsync" / "chatsync.toml").write_text("[users]\ncreate = false\n")
    out = init(*node.arguments).out
    assert "or a name of 257 characters to users/{uid}." in out


# Interrupted


WRITING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")


def kill_at(number: int, root: Path, changes: dict[str, bytes | None]) -> bool:
    """Make the changes in a process that dies before its nth write; whether it did."""
    child = os.fork()
    if child == 0:
        left = number

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            is_write = event == "open" and str(arguments[1] or "").startswith(("w", "x"))
            if event in WRITING or is_write:
                left -= 1
                if left == 0:
                    os._exit(9)

        sys.addaudithook(count)
        files.change(root, changes)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_killed_before_any_write_it_leaves_all_as_it_was_or_as_it_shall_be(tmp_path):
    seen = set()
    for number in range(1, 200):
        root = tmp_path / str(number)
        (root / "old").mkdir(parents=True)
        (root / "a").write_bytes(b"a")
        (root / "old" / "b").write_bytes(b"b")
        before = all_files(root)
        changes = {"a": b"A", "old/b": None, "new/deep/c": b"c", "d": b"d"}
        died = kill_at(number, root, changes)
        files.recover(root)
        after = all_files(root)
        assert after in (before, {"a": b"A", "new/deep/c": b"c", "d": b"d"})
        assert (root / "new").exists() == (after != before)
        seen.add(after == before)
        if not died:
            break
    assert number > 10
    assert seen == {True, False}


def test_an_error_while_it_writes_leaves_all_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").mkdir()  # no file can be put here
    with pytest.raises(IsADirectoryError):
        files.change(tmp_path, {"a": b"A", "b": b"B"})
    replace, left = os.replace, 3

    def full_disk(source, target):
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError("No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        files.change(tmp_path, {"a": b"A", "c/d": b"D"})
    assert all_files(tmp_path) == {"a": b"a"}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b"]


@EACH
def test_killed_in_the_middle_of_an_installation_it_leaves_the_project_as_it_was(
    init, tmp_path, monkeypatch, name
):
    root = SHAPES[name].write(tmp_path)
    before = all_files(tmp_path)
    planned: dict[str, bytes | None] = {}
    with monkeypatch.context() as instead:
        instead.setattr(files, "change", lambda _, changes: planned.update(changes))
        init(*SHAPES[name].arguments, at=root)
    assert kill_at(2 * len(planned), root, planned)
    assert (root / "chatsync" / ".chatsync.json").exists()  # some files are there already
    init("init", "--remove", "--yes", at=root)  # whatever comes next puts them back
    assert all_files(tmp_path) == before


def test_the_next_run_puts_back_what_a_killed_one_left(init, node, tmp_path):
    before = all_files(tmp_path)
    assert kill_at(14, tmp_path, {f"f{number}": b"x" for number in range(5)})
    assert all_files(tmp_path) != before
    ran = init(*node.arguments, "--dry-run")
    assert "An earlier run was interrupted" in ran.out
    assert all_files(tmp_path) == before


def test_two_at_once_are_refused_since_one_would_undo_what_the_other_does(init, node, tmp_path):
    before = all_files(tmp_path)
    with files.alone(tmp_path):
        assert "is at work" in init(*node.arguments).err
    assert all_files(tmp_path) == before
    assert init(*node.arguments).status == 0


def test_killed_while_it_puts_back_it_loses_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"a")
    assert kill_at(8, tmp_path, {"a": b"A", "b": b"B", "c": b"C"})

    def killed(work: Path) -> None:
        (work / "0.before").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as instead:
        instead.setattr(files.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            files.recover(tmp_path)
    files.recover(tmp_path)
    assert all_files(tmp_path) == {"a": b"a"}


def test_what_somebody_changed_after_an_interruption_is_named_and_stays(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    assert kill_at(8, tmp_path, {"a": b"A", "b": b"B", "c": b"C"})
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(files.Interrupted, match="a was changed since"):
        files.recover(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"mine"


# Texts


def test_rules_that_collide_in_a_functions_name_call_ours_by_another():
    spliced = rules_text.with_ours(rules(USERS, POSTS), Config())
    assert "function chatsync_isOwner(uid)" in spliced.text
    assert spliced.text.count("function isOwner(") == 1
    assert rules_text.without_ours(spliced.text) == rules(USERS, POSTS)


@pytest.mark.parametrize(
    ("match", "section"),
    [
        ("match /users/{document=**} { allow read; }", "users"),
        ("match /{path=**}/users/{uid} { allow read; }", "users"),
        ("match /user_stats/{a} { allow get: if true; }", "stats"),
        ("match/users/ {uid}{allow read,write:if request.auth!=null;}", "users"),
        ("match /users/{uid}/notes/{note} { allow read; }", ""),
        ("match /users/{uid} { match /notes/{note} { allow read; } }", ""),
        ("match /users/{uid} { allow read, write: if false; }", ""),
        ("match /users/{uid} { allow read: if false\nallow write: if false }", ""),
        ("match /users/{uid} { allow read: if false || x.match == 1 }", "users"),
        ("match /{document=**} { allow read, write: if (false); }", ""),
        ("// match /users/{uid} { allow read; }", ""),
        ("match /a/{b} { allow read: if 'match /users/{x} { allow read; }' == b; }", ""),
    ],
)
def test_ours_are_left_out_only_where_theirs_allow_something(match, section):
    assert rules_text.with_ours(rules(match), Config()).left_out == ((section,) if section else ())


@pytest.mark.parametrize(
    "match",
    [
        WILDCARD,
        "match /{collection}/{id} { allow read; }",
        "match /{path=**}/findings/{id} { allow read; }",
        "match /stream_users/{id} { allow read; }",
        "match /{a=**} { match /deeper/{b} {} allow read: if request.auth != null; }",
        "match /{a=**} { allow read: if request.auth != null }",
        "match /{a=**} { allow read: if false\nallow write: if a.get('b', {}) != {} }",
        "match /{ a = ** } { allow read; }",
        "match /{a\n=**}\n{ allow\nread }",
    ],
)
def test_rules_that_open_what_is_the_servers_are_refused(match):
    with pytest.raises(RulesRefused):
        rules_text.with_ours(rules(match), Config())


def test_rules_of_another_database_are_none_of_ours():
    theirs = rules("match /a/{b} { allow read; }")
    other = "  match /databases/logs/documents { match /users/{a} { allow read; } }\n"
    spliced = rules_text.with_ours(theirs.replace("  match", f"{other}  match", 1), Config())
    assert spliced.text.index(rules_text.BEGIN) > spliced.text.index("/a/{b}")
    assert not spliced.left_out


def test_a_brace_on_the_last_line_of_their_rules_does_not_end_in_our_comment():
    theirs = rules("match /a/{b} { allow read; }").replace("\n", " ")
    spliced = rules_text.with_ours(theirs, Config()).text
    assert f"{rules_text.END}\n" in spliced
    assert rules_text.without_ours(spliced).split() == theirs.split()


def test_only_wildcards_that_name_no_collection_can_be_trusted():
    rules_text.with_ours(rules(WILDCARD), Config(), trust_wildcards=True)
    with pytest.raises(RulesRefused):
        rules_text.with_ours(
            rules("match /repairs/{id} { allow read; }"), Config(), trust_wildcards=True
        )


def test_what_is_spliced_into_no_rules_is_what_the_rules_command_writes():
    spliced = rules_text.with_ours(rules(), Config()).text
    ours = [line for line in rules_for(Config()).splitlines() if line]
    inside = ours[next(n for n, line in enumerate(ours) if "/documents {" in line) : -2]
    assert "\n".join(inside[1:]) in re.sub(r"\n+", "\n", spliced)


def test_the_policies_are_those_of_this_project():
    text = (ROOT / "firestore.indexes.json").read_text()
    assert firebase_json.policies(Config()) == json.loads(text)["fieldOverrides"]
    assert firebase_json.with_policies(text, "x", Config()) == (text, [])


def test_a_policy_of_the_apps_own_stays_and_is_told():
    own = {"collectionGroup": "budgets", "fieldPath": "chatsyncExpireAt", "indexes": []}
    text = json.dumps({"indexes": [], "fieldOverrides": [own]})
    made, differing = firebase_json.with_policies(text, "x", Config())
    assert differing == ["budgets.chatsyncExpireAt"]
    assert json.loads(made)["fieldOverrides"][0] == own


@pytest.mark.parametrize("text", ['{"a": [1]}', "{}", '{\n\t"a": {}\n}', '{"a": "x // y"} // z'])
def test_a_member_is_added_and_removed_again(text):
    root = json_text.parse(text)
    longer = json_text.append(text, root, {"x": ["é"]}, "b")
    again = json_text.parse(longer)
    assert again.value == {**root.value, "b": {"x": ["é"]}}
    assert isinstance(again.items, dict)
    shorter = json_text.remove(longer, again, again.items["b"])
    assert json_text.parse(shorter).value == root.value


@pytest.mark.parametrize("text", ["", "{", '{"a"}', '{"a": 1,}', "[1 2]", "{a: 1}", "nul", "{} x"])
def test_what_the_firebase_cli_refuses_is_refused(text):
    with pytest.raises(ValueError, match="line 1"):
        json_text.parse(text)


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("exports.x = 1", ".js"),
        ("module.exports = { x, y: 1 }", ".js"),
        ("module.exports = { y: 1, x: 2 }", ".js"),
        ("export const x = onCall(() => 1)", ".ts"),
        ("export async function x() {}", ".ts"),
        ("export { y as x } from './y'", ".ts"),
        ("export const { x } = build()", ".ts"),
        ("module.exports = { x: onCall(async (r) => { return {y: 1}; }) }", ".js"),
        ("exports['x'] = 1", ".js"),
        ('Object.defineProperty(exports, "x", { get: function () { return y.x; } })', ".js"),
        ("exports.y = exports.x = void 0", ".js"),
        ("app.get('/*', y);\nexports.x = 1;\n/** y */", ".js"),
        ("exports.y = `//`; exports.x = 1", ".js"),
        ("@on_call()\ndef x(request):\n    pass", ".py"),
        ("x = on_call()(y)", ".py"),
        ("from chat import (\n    y,\n    x,\n)", ".py"),
    ],
)
def test_a_function_of_theirs_is_found_by_its_text(text, suffix):
    assert "x" in their_functions.declared(text, suffix)


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("// exports.x = 1", ".js"),
        ("/* exports.x = 1 */", ".js"),
        ("const x = 1", ".js"),
        ("if (exports.x == 1) y()", ".js"),
        ("module.exports = { y: { x: 1 } }", ".js"),
        ("    def x(self): pass", ".py"),
        ("    x = 1", ".py"),
    ],
)
def test_what_is_not_exported_is_no_function(text, suffix):
    assert "x" not in their_functions.declared(text, suffix)


def test_our_functions_are_those_of_the_manifest():
    main = (ROOT / "functions" / "main.py").read_bytes()
    endpoints = re.findall(r"^  (\w+):$", MANIFEST.decode().split("endpoints:")[1], re.MULTILINE)
    assert sorted(their_functions.ours(main)) == sorted(set(endpoints))
