"""The rules written for apps with other names: each reads and writes what is theirs, and nobody
gives themselves role, teams, or a company's rights."""

from dataclasses import replace

import msgspec
import pytest

from chatsync.config import Config
from chatsync.operator.rules import rules_for
from chatsync.operator.rules_file import MOST_STREAM_FIELDS
from chatsync.users import value_at
from tests.emulator.rules_attempts import (
    APPS,
    LEGITIMATE,
    client_of,
    forgeries,
    guarded,
    may_write,
    other_denials,
    oversized,
    project_of,
    requests,
    rewrites,
    run,
)
from tests.emulator.rules_client import pretend, use_rules

EACH_APP = pytest.mark.parametrize("app", APPS)


@pytest.fixture
def ready(emulators, app) -> str:
    use_rules(rules_for(APPS[app]), project_of(app))
    return app


@EACH_APP
def test_guarded_fields_are_written_just_as_the_rules_promise(ready):
    wrong = [
        (one.what, allowed)
        for one, allowed in run(rewrites(ready), ready)
        if allowed != may_write(ready, one.stored, one.fields)
    ]
    assert wrong == []


@EACH_APP
def test_no_promised_write_changes_what_the_functions_read(app):
    for one in rewrites(app):
        if may_write(app, one.stored, one.fields):
            company = APPS[app].users.company
            for path in guarded(app):
                was, now = (value_at(path, document or {}) for document in (one.stored, one.fields))
                stated = one.stored is None and path == company.field and now not in company.values
                assert was == now or stated, one.what


@EACH_APP
@pytest.mark.parametrize("kind", [forgeries, oversized, other_denials])
def test_nobody_is_allowed_any_of_these(ready, kind):
    assert [one for one, allowed in run(kind(ready), ready) if allowed] == []


@EACH_APP
def test_everybody_reads_and_writes_what_is_theirs_and_nothing_else(ready):
    right = dict(enumerate(requests(ready)))
    answers = run([one for one, _ in right.values()], ready)
    wrong = [
        (one, allowed)
        for number, (one, allowed) in enumerate(answers)
        if allowed != right[number][1]
    ]
    assert wrong == []


@EACH_APP
def test_legitimate_writes_pass(ready):
    assert [one for one, allowed in run(LEGITIMATE[ready], ready) if not allowed] == []


@EACH_APP
@pytest.mark.parametrize("by", ["other", "anonymous other", "stranger"])
def test_nobody_else_makes_a_write_that_is_legitimate_of_the_owner(ready, by):
    attempts = [replace(one, by=by) for one in LEGITIMATE[ready]]
    assert [one for one, allowed in run(attempts, ready) if allowed] == []


DEEP = {
    "role": "settings.chat.access.role",
    "teams": "settings.chat.access.teams",
    "company": {"field": "settings.account.kind", "values": ["company"]},
}


@pytest.mark.parametrize(
    ("users", "path", "count"),
    [
        ({}, "f{}", 16),
        ({}, "settings.f{}", 16),
        (DEEP, "f{}", MOST_STREAM_FIELDS),
        (DEEP, "settings.public.f{}", MOST_STREAM_FIELDS),
    ],
)
@pytest.mark.parametrize("value", ["x", 5])
def test_rules_have_room_for_a_document_with_every_name_and_picture_and_some_custom_fields(
    emulators, users, path, count, value
):
    """Firestore evaluates 1,000 expressions in a request (quotas of its security rules)."""
    project = project_of("room")
    paths = [path.format(number) for number in range(count)]
    stream_fields = {f"x{number}": one for number, one in enumerate(paths)}
    config = msgspec.convert({"users": {**users, "stream_fields": stream_fields}}, Config)
    use_rules(rules_for(config), project)
    client_of(project).document("users/u").delete()
    known = [*config.users.name, *config.users.image, "email", "phoneNumber"]
    pretend("u", project).merge("users/u", dict.fromkeys(known, "x") | dict.fromkeys(paths, value))
    changed = value * 2
    pretend("u", project).update(
        "users/u", dict.fromkeys(known, "xx") | dict.fromkeys(paths, changed)
    )
