"""The text of firestore.rules for what an app calls things, and the command that writes it."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

from chatsync.config import SERVER_ONLY, Config
from chatsync.errors import SettingInvalid
from chatsync.operator import command as cli
from chatsync.operator import rules_file
from chatsync.operator.init import rules_text
from chatsync.operator.rules import rules_for

ROOT = Path(__file__).parents[2]


def rules_with(**sections):
    return rules_for(msgspec.convert(sections, Config))


def test_the_shipped_rules_are_those_of_the_default_settings():
    assert (ROOT / "firestore.rules").read_text() == rules_with()


def test_every_collection_has_the_name_that_the_app_gave_it():
    names = {"users": "tenants/x/users", "profiles": "cards", "stats": "points"}
    names |= {"companies": "firms", "conversations": "talks"}
    text = rules_with(**{section: {"collection": name} for section, name in names.items()})
    for name in names.values():
        assert f"match /{name}/{{" in text
    assert text.count("match /") == 1 + len(names)


@pytest.mark.parametrize("collection", SERVER_ONLY)
def test_no_rule_opens_a_collection_of_the_functions(collection):
    assert f"match /{collection}/" not in rules_with()


def test_a_guarded_field_of_the_document_is_kept():
    assert "keeps(['role', 'teams'], after, before)" in rules_with(
        users={"role": "role", "teams": "teams"}
    )


def test_a_guarded_field_is_kept_in_every_map_that_leads_to_it():
    text = rules_with(users={"role": "a.b.c", "teams": "a.teams"})
    assert "keepsIn('a', ['teams'], after, before)" in text
    assert "keepsIn('b', ['c'], mapIn('a', after), mapIn('a', before))" in text


def test_each_part_of_a_name_has_the_length_of_one():
    text = rules_with(users={"name": ["firstName name.last"]}, profiles={"name": ["nick title"]})
    for path in ("'firstName'", "['name', 'last']", "'nick'", "'title'"):
        assert f"isCapped({path}, 256, " in text


def test_claims_need_no_guard():
    text = rules_with(users={"role": "claims:role", "teams": "claims:teams"})
    assert "claims" not in text
    assert "keepsIn" not in text


def test_a_field_that_is_guarded_as_a_whole_guards_what_is_in_it():
    text = rules_with(users={"role": "chat", "teams": "chat.teams", "name": ["chat.name"]})
    assert "keeps(['chat'], after, before)" in text
    assert "'teams'" not in text
    assert "'name'" not in text.split("match /user_profiles")[0]


@pytest.mark.parametrize("field", ["role", "role.type", "x"])
def test_what_makes_a_company_may_be_stated_once_unless_it_would_open_another_field(field):
    company = {"field": field, "values": ["company"]}
    text = rules_with(users={"role": "role" if field != "x" else "x.role", "company": company})
    assert "resource == null" not in text


def test_names_and_values_with_quotes_stay_texts():
    text = rules_with(
        users={"name": ["it's"], "company": {"field": "a\\b", "values": ["o'clock\n"]}}
    )
    assert r"isCapped('it\'s', 256, after, before)" in text
    assert r"keeps(['a\\b'], after, before)" in text
    assert r"in ['o\'clock\n']" in text


def test_a_collection_that_rules_cannot_name_is_refused():
    with pytest.raises(SettingInvalid, match=r"users\.collection: .* 'Müller'"):
        rules_with(users={"collection": "Müller"})


def test_a_new_profiles_fields_are_their_owners_but_for_what_is_guarded():
    text = rules_with(
        users={"role": "role", "teams": "settings.teams"},
        profiles={"defaults": {"bio": "", "role": "x", "settings": {}, "mirrored": {}}},
    )
    editable = text.split("hasOnly([")[1].split("])")[0]
    assert "'bio'" in editable
    for name in ("role", "settings", "mirrored"):
        assert f"'{name}'" not in editable


# The command


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs ``rules`` without a project, a key, or a file of settings but the shipped one."""
    for variable in ("GCLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT", "STREAM_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(cli.logger, "write", cli.logger.write)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["chatsync", "rules", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


def test_it_prints_the_rules(run):
    assert run() == (0, rules_with(), "")


def test_it_writes_a_file_that_its_check_finds_equal(run, tmp_path):
    file = tmp_path / "new.rules"
    assert run("--out", file)[0] == 0
    assert file.read_text() == rules_with()
    assert run("--out", file, "--check")[0] == 0


def test_it_replaces_no_file_in_which_init_put_ours_beside_those_of_the_app(run, tmp_path):
    file = tmp_path / "firestore.rules"
    file.write_text(rules_text.END)
    status, _, err = run("--out", file)
    assert (status, "`chatsync init` writes ours" in err) == (2, True)
    assert file.read_text() == rules_text.END


def test_it_replaces_no_file_that_is_no_text(run, tmp_path):
    file = tmp_path / "firestore.rules"
    file.write_bytes(b"\xff")
    status, _, err = run("--out", file)
    assert (status, err) == (2, f"{file} cannot be read: UnicodeDecodeError\n")


def test_a_file_that_cannot_be_written_is_named(run, tmp_path):
    nowhere = tmp_path / "nowhere" / "new.rules"
    for file in (nowhere, tmp_path / ("x" * 300), Path("/dev/full")):
        status, _, err = run("--out", file)
        assert (status, f"--out: {file}" in err, "bug" in err) == (2, True, False)


def test_its_check_tells_where_a_file_differs_and_leaves_it(run, tmp_path):
    file = tmp_path / "old.rules"
    old = rules_with().replace("'role', 'teams'", "'teams'")
    file.write_text(old)
    status, out, _ = run("--out", file, "--check")
    line = next(n for n, text in enumerate(old.splitlines(), 1) if "['teams']" in text)
    assert (status, f"differs from line {line} on" in out) == (1, True)
    assert file.read_text() == old


def test_its_check_tells_of_a_file_that_is_not_there(run, tmp_path):
    status, out, _ = run("--out", tmp_path / "none.rules", "--check")
    assert (status, "cannot be read" in out) == (1, True)


def test_its_check_takes_the_file_that_firebase_json_names(run):
    assert run("--check")[0] == 0


def test_a_mistake_in_the_settings_is_told(run, monkeypatch, tmp_path):
    (tmp_path / "chatsync.toml").write_text('[users]\nrole = "a..b"\n')
    monkeypatch.setattr(rules_file.config_module, "FOLDER", tmp_path)
    status, _, err = run()
    assert (status, "users.role" in err) == (2, True)


def test_an_overlay_counts_if_its_project_is_named_and_else_is_told_to_be_left_out(
    run, monkeypatch, tmp_path
):
    monkeypatch.setattr(rules_file.config_module, "FOLDER", tmp_path)
    (tmp_path / "chatsync.live.toml").write_text('[users]\nrole = "access.role"\n')
    status, out, err = run()
    assert (status, out) == (0, rules_with())
    assert "chatsync.live.toml: left out" in err
    monkeypatch.setenv("GCLOUD_PROJECT", "live")  # as --project sets it
    assert run() == (0, rules_with(users={"role": "access.role"}), "")


def test_more_custom_fields_than_rules_surely_have_room_for_are_told(run, monkeypatch, tmp_path):
    monkeypatch.setattr(rules_file.config_module, "FOLDER", tmp_path)
    for count, told in [(6, ""), (7, "users.stream_fields names 7 paths, 6 are safe")]:
        fields = "".join(f'f{number} = "f{number}"\n' for number in range(count))
        (tmp_path / "chatsync.toml").write_text(f'[users.stream_fields]\nc = "claims:c"\n{fields}')
        status, _, err = run()
        assert (status, err.startswith(told), bool(err)) == (0, True, bool(told))


# What doctor says


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Writes firebase.json and the file that it names, beside the folder of the functions."""
    (tmp_path / "functions").mkdir()
    monkeypatch.setattr(rules_file.config_module, "FOLDER", tmp_path / "functions")

    def beside(firestore, text=""):
        (tmp_path / "firebase.json").write_text(json.dumps({"firestore": firestore}))
        (tmp_path / "app.rules").write_text(text)

    return beside


def test_doctor_finds_the_rules_as_they_should_be_and_says_what_it_cannot_see(beside):
    beside({"rules": "app.rules"}, rules_with())
    ok, verdict = rules_file.verdict(Config())
    assert ok
    assert "what is deployed cannot be told from here" in verdict


def test_doctor_finds_the_rules_within_those_of_the_app(beside):
    rest = "    match /app/{id} {\n      allow read;\n    }\n  }\n}\n"
    beside({"rules": "app.rules"}, rules_with().replace("\n  }\n}\n", f"\n\n{rest}"))
    ok, verdict = rules_file.verdict(Config())
    assert ok
    assert "may allow more" in verdict


def test_rules_that_are_commented_out_are_not_there(beside):
    head, start, rest = rules_with().partition("match /databases/{database}/documents {\n")
    inside = rest.removesuffix("  }\n}\n")
    theirs = "match /{all=**} { allow read: if resource.data.url != 'https://x/*'; }\n"
    for opened, closed, ok in [("", "", True), ("/*", "*/", False), ("/* a */", "// b */", True)]:
        text = f"{head}{start}{theirs}{opened}\n{inside}\n{closed}\n  }}\n}}\n"
        beside({"rules": "app.rules"}, text)
        assert rules_file.verdict(Config())[0] is ok, opened


def test_doctor_finds_rules_that_differ(beside):
    beside({"rules": "app.rules"}, rules_with().replace("'role', 'teams'", "'teams'"))
    ok, verdict = rules_file.verdict(Config())
    assert not ok
    assert "app.rules" in verdict
    assert "what is deployed cannot be told from here" in verdict


def test_doctor_takes_the_rules_of_the_database_that_the_settings_name(beside):
    config = msgspec.convert({"firestore": {"database": "chat"}}, Config)
    beside(
        [{"database": "(default)", "rules": "none"}, {"database": "chat", "rules": "app.rules"}],
        rules_with(),
    )
    assert rules_file.verdict(config)[0]
    beside({"rules": "app.rules"}, rules_with())
    ok, verdict = rules_file.verdict(config)
    assert (ok, "names no rules for database chat" in verdict) == (False, True)


def test_doctor_bears_a_project_without_firebase_json(beside):
    ok, verdict = rules_file.verdict(Config())
    assert (ok, "firebase.json cannot be read" in verdict) == (False, True)
