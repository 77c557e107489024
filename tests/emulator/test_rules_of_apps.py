"""The rules written for apps with other names: nobody gives themselves role, teams, or a company's
rights, and each condition of the rules is needed for that."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import msgspec
import pytest
from google.cloud import firestore as google_firestore

from chatsync.config import Config
from chatsync.operator.rules import rules_for
from chatsync.operator.rules_file import MOST_STREAM_FIELDS
from chatsync.users import value_at
from tests.emulator.rules_client import REMOVED, Denied, Person, pretend, use_rules

APPS: dict[str, Config] = {
    name: msgspec.convert(sections, Config)
    for name, sections in {
        "shipped": {},
        "flat": {
            "users": {
                "collection": "members",
                "name": ["username"],
                "image": ["profileImageUrl"],
                "role": "role",
                "teams": "claims:teams",
                "company": {"field": "type", "values": ["company", "it's a firm"]},
                "stream_fields": {"language": "settings.language", "age": "age"},
            },
            "profiles": {
                "collection": "cards",
                "name": ["full-name"],
                "image": ["avatar", "avatar.url"],
                "defaults": {"status": "", "role": "guest"},
            },
        },
        "nested": {
            "users": {
                "collection": "tenants/x/users",
                "name": ["about.name", "about"],
                "image": ["about.picture.url"],
                "role": "settings.role",
                "teams": "settings.chat.teams",
                "company": {"field": "settings.type", "values": ["company"]},
                "stream_fields": {"language": "settings.language"},
            },
            "profiles": {
                "collection": "tenants/x/profiles",
                "name": ["about.names.full"],
                "image": ["picture.url"],
                "defaults": {"bio": "", "picture": {}, "settings": {}},
            },
        },
    }.items()
}
EACH_APP = pytest.mark.parametrize("app", APPS)
SOME = 20
"""Documents that are stored in one go, before the attempts to write them."""
LONGEST = {"name": 256, "image": 2048}
ABSENT = object()
Fields = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One write to a document that nobody else writes; without ``stored`` there is none yet."""

    what: str
    fields: Fields
    stored: Fields | None = None
    how: str = "replace"
    by: str = "owner"
    of: str = "users"


def project_of(app: str) -> str:
    return f"demo-rules-of-{app}"


@cache
def client_of(project: str) -> google_firestore.Client:
    return google_firestore.Client(project=project)


def run(attempts: list[Attempt], app: str) -> Iterator[tuple[Attempt, bool]]:
    """Each attempt, and whether the rules allowed it."""
    project = project_of(app)
    collections = {of: getattr(APPS[app], of).collection for of in ("users", "profiles")}
    paths = [f"{collections[one.of]}/u{number}" for number, one in enumerate(attempts)]
    client = client_of(project)
    for number, (path, one) in enumerate(zip(paths, attempts, strict=True)):
        if number % SOME == 0:
            batch = client.batch()
            some = slice(number, number + SOME)
            for other, later in zip(paths[some], attempts[some], strict=True):
                if later.stored is None:
                    batch.delete(client.document(other))
                else:
                    batch.set(client.document(other), later.stored)
            batch.commit()
        person = {
            "owner": pretend(f"u{number}", project),
            "anonymous owner": pretend(f"u{number}", project, "anonymous"),
            "other": pretend("other", project),
            "anonymous other": pretend("other", project, "anonymous"),
            "stranger": Person("stranger", project=project),
        }[one.by]
        try:
            getattr(person, one.how)(path, one.fields)
            yield one, True
        except Denied:
            yield one, False


def raw(path: str, document: Fields | None) -> Any:
    value: Any = document or {}
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return ABSENT
        value = value[name]
    return value


def guarded(app: str) -> list[str]:
    users = APPS[app].users
    paths = [users.role, users.teams, users.company.field]
    return [path for path in paths if path and not path.startswith("claims:")]


def may_write(app: str, before: Fields | None, after: Fields) -> bool:
    """What the comment in the rules promises of the guarded paths."""
    company = APPS[app].users.company
    for path in guarded(app):
        names = path.split(".")
        for place in (".".join(names[:depth]) for depth in range(1, len(names))):
            was, now = raw(place, before), raw(place, after)
            if was == now:
                continue
            if any(one is not ABSENT and not isinstance(one, dict) for one in (was, now)):
                return False
            if not any(isinstance(one, dict) and one for one in (was, now)):
                return False
        was, now = raw(path, before), raw(path, after)
        stated = before is None and path == company.field and now not in company.values
        if was != now and not (stated and (now is None or isinstance(now, str))):
            return False
    return True


def at(path: str, value: object, beside: Fields | None = None) -> Fields:
    """A document with one value at a path, and other fields in the map around it."""
    *parents, name = path.split(".")
    document: Fields = {**(beside or {}), name: value}
    for parent in reversed(parents):
        document = {parent: document}
    return document


def shapes(path: str) -> list[Fields]:
    """Documents that differ in whatever leads to a path."""
    names = path.split(".")
    found: list[Fields] = [{}, {"other": 1}]
    for depth in range(1, len(names)):
        place = ".".join(names[:depth])
        found += [at(place, value) for value in (None, "text", {}, {"x": 1})]
        found.append(at(place, {"x": 1}, {"y": 2}))
    found += [at(path, value) for value in (None, "company", "person", ["red"], {})]
    found.append(at(path, "company", {"x": 1}))
    return found


def rewrites(app: str) -> list[Attempt]:
    """Every shape of a guarded path over every other one, and where there was no document."""
    return [
        Attempt(f"{before} -> {after}", after, before)
        for path in guarded(app)
        for before, after in product([None, *shapes(path)], shapes(path))
    ]


def forgeries(app: str) -> list[Attempt]:
    """What an app's SDK can send to get at a guarded path, by everybody."""
    found = []
    for path, by in product(
        guarded(app), ["owner", "anonymous owner", "other", "anonymous other", "stranger"]
    ):
        top = path.split(".")[0]
        forged, real = at(path, "company"), at(path, "person", {"x": 1})
        found += [
            Attempt(f"create {path}", forged, how="create", by=by),
            Attempt(f"merge {path} into nothing", {path: "company"}, how="merge", by=by),
            Attempt(f"update {path}", {path: "company"}, real, "update", by),
            Attempt(f"update {path} to none", {path: REMOVED}, real, "update", by),
            Attempt(f"update {path} for the first time", {path: "company"}, {}, "update", by),
            Attempt(f"merge {path}", {path: "company"}, real, "merge", by),
            Attempt(f"replace around {path}", forged, real, by=by),
            Attempt(f"replace without {path}", {"other": 1}, real, by=by),
            Attempt(f"remove {top} around {path}", {top: REMOVED}, real, "update", by),
            Attempt(f"empty {top} around {path}", {top: {}}, real, "update", by),
            Attempt(f"null {top} around {path}", {top: None}, real, "update", by),
        ]
    return found


def oversized(app: str) -> list[Attempt]:
    """Too much of each text that the functions read."""
    users, profiles = APPS[app].users, APPS[app].profiles
    longest = {path: n for kind, n in LONGEST.items() for path in getattr(users, kind)}
    longest |= {"email": 320, "phoneNumber": 32} | dict.fromkeys(users.stream_fields.values(), 320)
    if users.company.field:
        longest[users.company.field] = 320
    found = [
        Attempt(f"too long {path}", at(path, value), stored)
        for path, most in longest.items()
        for value, stored in (("x" * (most + 1), None), (["x"], None), ("x" * (most + 1), {}))
    ]
    for path, most in {
        path: n for k, n in LONGEST.items() for path in getattr(profiles, k)
    }.items():
        found.append(Attempt(f"too long {path}", at(path, "x" * (most + 1)), {}, of="profiles"))
    return found


def other_denials(app: str) -> list[Attempt]:
    """What is denied of times and profiles, whatever things are called."""
    found = [
        Attempt("a time", {name: "then"}, stored)
        for name in ("createdAt", "updatedAt")
        for stored in (None, {})
    ]
    for fields in (
        {"displayName": 1},
        {"photoURL": 1},
        {"displayName": "x" * 257},
        {"preferences": "dark"},
        {"preferences": {f"p{number}": 1 for number in range(101)}},
        {"updatedAt": "then"},
        {"mirrored": {}},
        {"verified": True},
        {"role": "admin"},
        {"settings": {"role": "admin"}},
    ):
        found.append(Attempt(f"profile {list(fields)}", fields, {}, of="profiles"))
    for by in ("other", "stranger"):
        found.append(Attempt("a name", {"displayName": "M"}, {}, by=by, of="profiles"))
    if app == "flat":
        found += [
            Attempt("beside avatar.url", {"avatar": {"url": "u", "x": 1}}, {}, of="profiles"),
            Attempt("no address", {"avatar": ["x"]}, {}, of="profiles"),
        ]
    if app == "nested":
        found += [
            Attempt("beside", {"about": {"x": 1}}, {}, of="profiles"),
            Attempt("beside", {"about": {"names": {"x": 1}}}, {}, of="profiles"),
            Attempt("no map", {"about": {"names": "x"}}, {}, of="profiles"),
            Attempt("no map", {"about": "x"}, {}, of="profiles"),
        ]
    return found


LEGITIMATE = {
    "shipped": [
        Attempt("a new account", {"displayName": "Ann"}, how="create"),
        Attempt("a field beside", {"chat.theme": "x"}, {"chat": {"role": "user"}}, "update"),
        Attempt("a profile", {"name": "A", "image": "u"}, {}, "update", of="profiles"),
    ],
    "flat": [
        Attempt("a person", {"username": "Ann", "type": "person"}, how="create"),
        Attempt("no type", {"username": "Ann"}, how="create"),
        Attempt("a language", {"settings.language": "de"}, {"type": "company"}, "update"),
        Attempt("an age", {"age": 42}, {"role": "trainer"}, "update"),
        Attempt("a type that stays", {"type": "company", "age": 1}, {"type": "company"}),
        Attempt("a status", {"status": "here"}, {"role": "guest"}, "update", of="profiles"),
        Attempt("a name", {"`full-name`": "Ann"}, {}, "update", of="profiles"),
        Attempt("an avatar", {"avatar": "u"}, {"avatar": {"url": "u"}}, of="profiles"),
        Attempt("an avatar's url", {"avatar": {"url": "u"}}, {"avatar": "u"}, of="profiles"),
    ],
    "nested": [
        Attempt("a person", {"settings": {"type": "person", "language": "de"}}, how="create"),
        Attempt("a language", {"settings.language": "de"}, how="merge"),
        Attempt("a language", {"settings.language": "de"}, {}, "update"),
        Attempt(
            "a language beside role and teams",
            {"settings.language": "de", "settings.chat.sound": False},
            {"settings": {"role": "trainer", "type": "person", "chat": {"teams": ["red"]}}},
            "update",
        ),
        Attempt("no more settings", {"about": "Ann"}, {"settings": {"language": "de"}}),
        Attempt(
            "null around, from before",
            {"age": 1},
            {"settings": None, "about": {"name": 1}},
            "merge",
        ),
        Attempt(
            "a name", {"about.names.full": "Ann"}, {"about": {"x": 1}}, "update", of="profiles"
        ),
        Attempt("a bio", {"bio": "I", "picture": {"x": 1}}, {}, "update", of="profiles"),
    ],
}


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
def test_legitimate_writes_pass(ready):
    assert [one for one, allowed in run(LEGITIMATE[ready], ready) if not allowed] == []


@EACH_APP
@pytest.mark.parametrize("by", ["other", "anonymous other", "stranger"])
def test_nobody_else_makes_a_write_that_is_legitimate_of_the_owner(ready, by):
    attempts = [replace(one, by=by) for one in LEGITIMATE[ready]]
    assert [one for one, allowed in run(attempts, ready) if allowed] == []


# Each condition is needed


def operands(text: str) -> Iterator[tuple[int, int]]:
    """Where the conditions in a part of the rules begin and end, those in parentheses too."""
    for match in re.finditer(r"(?:&& |\|\| |return |update: if |create: if )\(?", text):
        for begin in {match.end(), match.end() - (match[0][-1] == "(")}:
            depth, quoted, end = 0, False, begin
            while depth > 0 or quoted or not re.match(r"\s+(&&|\|\|)|;|\)", text[end:]):
                quoted ^= text[end] == "'" and text[end - 1] != "\\"
                if not quoted:
                    depth += (text[end] in "([{") - (text[end] in ")]}")
                end += 1
            yield begin, end


def weakened(text: str, part: str) -> dict[str, str]:
    """The rules with one condition of a part always true, or one guarded field forgotten."""
    found = {}
    for begin, end in operands(part):
        line = text.count("\n", 0, text.index(part) + begin) + 1
        weak = f"{part[:begin]}true{part[end:]}"
        found[f"line {line}: {part[begin:end]}"] = text.replace(part, weak)
    for guard in re.finditer(r"(?:keeps|keepsIn)\((?:'[\w-]+', )?\[([^\]]+)\], ", part):
        for name in re.finditer(r"'[^']*'", guard[1]):
            begin, end = guard.start(1) + name.start(), guard.start(1) + name.end()
            weak = f"{part[:begin]}'-'{part[end:]}"
            found[f"forgets {name[0]} in {guard[0]}"] = text.replace(part, weak)
    return found


def denials(app: str) -> list[Attempt]:
    """Everything that is denied, in an order in which what shows a weakness comes soon."""
    forged = [
        *(one for one in rewrites(app) if not may_write(app, one.stored, one.fields)),
        *(one for one in forgeries(app) if one.by == "owner"),
    ]
    random.Random(1).shuffle(forged)
    by_others = [replace(one, by="other") for one in LEGITIMATE[app]]
    return [*by_others, *other_denials(app), *oversized(app), *forged]


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


def test_no_condition_of_the_guard_can_be_left_out(emulators):
    """Of the app whose rules have every part that those of the others have."""
    app = "nested"
    survivors, attempts = [], denials(app)
    text = rules_for(APPS[app])
    guard = text[text.index("allow create") : text.index("// The texts that the functions read")]
    for what, weak in weakened(text, guard).items():
        use_rules(weak, project_of(app))
        if not any(allowed for _, allowed in run(attempts, app)):
            survivors.append(what)
    assert survivors == []
