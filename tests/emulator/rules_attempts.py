"""Requests to the rules written for apps with other names, and who may make them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import product
from typing import Any

import msgspec
from google.cloud import firestore as google_firestore

from chatsync.config import DEFAULTS, SERVER_ONLY, Config
from tests.emulator.rules_client import REMOVED, SERVER_TIME, Denied, Person, pretend

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
                "list": True,
            },
        },
    }.items()
}
NOTHING_OR_EMPTY: list[dict[str, Any] | None] = [None, {}]
SOME = 20
"""Documents that are stored in one go, before the attempts to write them."""
LONGEST = {"name": 256, "image": 2048}
ABSENT = object()
Fields = dict[str, Any]

LONG_AGO = {
    "createdAt": datetime(2020, 1, 1, tzinfo=UTC),
    "updatedAt": datetime(2020, 1, 1, tzinfo=UTC),
}
NAME_AND_IMAGE = {"displayName": "Ann", "photoURL": "https://p/ann.png"}
USER = {**NAME_AND_IMAGE, "phoneNumber": "+15550100", "chat": {"role": "user"}, **LONG_AGO}
PROFILE = {
    **NAME_AND_IMAGE,
    "preferences": {"theme": "light", "language": "de"},
    "mirrored": NAME_AND_IMAGE,
    **LONG_AGO,
}
"""As the functions and the app of the shipped names have written them."""

LONGEST_TEXTS = {
    **dict.fromkeys(DEFAULTS.users.name, "ä" * 256),
    **dict.fromkeys(DEFAULTS.users.image, "ä" * 2048),
    "email": "ä" * 320,
    "phoneNumber": "ä" * 32,
}

OWNER = "the owner"
"""As a value in ``fields``: the uid of the document's owner."""


@dataclass(frozen=True)
class Attempt:
    """One request about a document that no other request is about; without ``stored`` there is
    none yet. ``of`` is a section of the settings, or a collection that has no other name."""

    what: str
    fields: Fields = field(default_factory=dict)
    stored: Fields | None = None
    how: str = "replace"
    by: str = "owner"
    of: str = "users"


def project_of(app: str) -> str:
    return f"demo-rules-of-{app}"


@cache
def client_of(project: str) -> google_firestore.Client:
    return google_firestore.Client(project=project)


def store(attempts: list[Attempt], app: str) -> list[str]:
    """The paths of their documents, which are as each attempt says."""
    paths = [
        f"{getattr(getattr(APPS[app], one.of, None), 'collection', one.of)}/u{number}"
        for number, one in enumerate(attempts)
    ]
    for begin in range(0, len(attempts), SOME):
        some = slice(begin, begin + SOME)
        restore(attempts[some], paths[some], app)
    return paths


def restore(attempts: list[Attempt], paths: list[str], app: str) -> None:
    """The documents at these paths are as the attempts say, again."""
    client = client_of(project_of(app))
    batch = client.batch()
    for one, path in zip(attempts, paths, strict=True):
        if one.stored is None:
            batch.delete(client.document(path))
        else:
            batch.set(client.document(path), _named(one.stored, path.rpartition("/")[2]))
    batch.commit()


def is_allowed(attempt: Attempt, path: str, project: str) -> bool:
    """Make the request."""
    collection, _, uid = path.rpartition("/")
    name = uid if "owner" in attempt.by else attempt.by.removeprefix("anonymous ")
    provider = "anonymous" if "anonymous" in attempt.by else "password"
    person = pretend(name, project, provider)
    if attempt.by == "stranger":
        person = Person("stranger", project=project)
    fields = _named(attempt.fields, uid)
    try:
        match attempt.how:
            case "get":
                person.exists(path)
            case "list":
                person.query(collection, **fields)
            case "delete":
                person.delete(path)
            case how:
                getattr(person, how)(path, fields)
    except Denied:
        return False
    return True


def _named(value: Any, uid: str) -> Any:
    """The value with this uid for ``OWNER``."""
    match value:
        case dict():
            return {name: _named(one, uid) for name, one in value.items()}
        case list() | tuple():
            return type(value)(_named(one, uid) for one in value)
    return uid if value is OWNER else value


def run(attempts: list[Attempt], app: str) -> Iterator[tuple[Attempt, bool]]:
    """Each attempt, and whether the rules allowed it."""
    for one, path in zip(attempts, store(attempts, app), strict=True):
        yield one, is_allowed(one, path, project_of(app))


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
    no_map: list[Any] = [None, "text", {}, {"x": 1}]
    at_path: list[Any] = [None, "company", "person", ["red"], {}]
    for depth in range(1, len(names)):
        place = ".".join(names[:depth])
        found += [at(place, value) for value in no_map]
        found.append(at(place, {"x": 1}, {"y": 2}))
    found += [at(path, value) for value in at_path]
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
    too_many: list[Any] = ["dark", ["dark"], {f"p{number}": 1 for number in range(101)}]
    places: list[tuple[str, Fields | None]] = [("users", None), ("users", {}), ("profiles", {})]
    found += [
        Attempt("too many preferences", {"preferences": value}, stored, of=of)
        for value, (of, stored) in product(too_many, places)
    ]
    for path, most in {
        path: n for k, n in LONGEST.items() for path in getattr(profiles, k)
    }.items():
        found.append(Attempt(f"too long {path}", at(path, "x" * (most + 1)), {}, of="profiles"))
    return found


def other_denials(app: str) -> list[Attempt]:
    """What is denied of times and profiles, whatever things are called."""
    found = [
        Attempt("a time", {name: then}, stored)
        for name, then, stored in product(
            LONG_AGO, ("then", LONG_AGO["createdAt"], None), NOTHING_OR_EMPTY
        )
    ]
    found += [
        Attempt("no time of creation", {"createdAt": REMOVED}, USER, "update"),
        Attempt("another time of creation", {"createdAt": SERVER_TIME}, USER, "update"),
        Attempt("even longer", {"email": "x" * 400}, {"email": "x" * 350}, "update"),
        Attempt("by email", {"where": ("email", "EQUAL", "ann@example.com")}, USER, "list"),
        Attempt("whether there is one", how="get", of="conversations"),
    ]
    for name in ("displayName", "photoURL", "mirrored", "createdAt", "updatedAt"):
        found.append(Attempt(f"no {name}", {name: REMOVED}, PROFILE, "update", of="profiles"))
    forged = {"displayName": "Annie", "mirrored.displayName": "Annie"}
    found.append(Attempt("a forgery beside an edit", forged, PROFILE, "update", of="profiles"))
    of_profiles: list[Fields] = [
        {"displayName": ["x"]},
        {"photoURL": ["x"]},
        {"displayName": "x" * 257},
        {"updatedAt": "then"},
        {"createdAt": LONG_AGO["createdAt"]},
        {"mirrored": {}},
        {"verified": True},
        {"role": "admin"},
        {"settings": {"role": "admin"}},
    ]
    found += [Attempt(f"profile {list(one)}", one, {}, of="profiles") for one in of_profiles]
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


OWNERS = ("owner", "anonymous owner")
OTHERS = ("other", "anonymous other")
EVERYBODY = (*OWNERS, "participant", *OTHERS, "stranger")
SIGNED_IN = EVERYBODY[:-1]

READERS = {
    "users": OWNERS,
    "profiles": SIGNED_IN,
    "stats": OWNERS,
    "companies": SIGNED_IN,
    "conversations": (*OWNERS, "participant"),
    **dict.fromkeys(
        [*SERVER_ONLY, "audits/a/findings", "findings", "users/a/private", "unknown"], ()
    ),
}
"""Who may get a document of each collection."""

STORED = {"participantIds": [OWNER, "participant"], "displayName": "Ann"}
JOINED = {"x": 1, "participantIds": [OWNER, "participant", "other"]}
OWN = ("participantIds", "ARRAY_CONTAINS", OWNER)


def requests(app: str) -> list[tuple[Attempt, bool]]:
    """Everybody's requests to each collection that need no field of the app, and what is right."""
    found = []
    for of, by in product(READERS, EVERYBODY):
        is_theirs = by in OWNERS
        found += [
            (Attempt(f"get {of}", {}, STORED, "get", by, of), by in READERS[of]),
            (Attempt(f"delete {of}", {}, STORED, "delete", by, of), False),
            (
                Attempt(f"create {of}", JOINED, None, "create", by, of),
                is_theirs and of == "users",
            ),
            (
                Attempt(f"field {of}", JOINED, STORED, "update", by, of),
                is_theirs and of == "users",
            ),
        ]
        may_list = (
            APPS[app].profiles.list
            and of in ("profiles", "companies")
            and by in ("owner", "participant", "other")
        )
        found += [
            (Attempt(f"list {of} {query}", query, STORED, "list", by, of), may_list and allowed)
            for query, allowed in [
                ({"limit": 100}, True),
                ({"limit": 101}, False),
                ({}, False),
                ({"limit": 1, "all_descendants": True}, False),
            ]
        ]
        own = Attempt(f"list own {of}", {"where": OWN, "limit": 1}, STORED, "list", by, of)
        found.append((own, may_list or (is_theirs and of == "conversations")))
    return found


BEFORE_RULES = {name: {"first": "Nora"} for name in LONGEST_TEXTS}
PROFILE_BEFORE_RULES = {"displayName": 42, "preferences": "none", "verified": True}
"""As an app may have written them before it had these rules."""

LEGITIMATE = {
    "shipped": [
        Attempt("a new account", {"displayName": "Ann"}, how="create"),
        Attempt("a field beside", {"chat.theme": "x"}, {"chat": {"role": "user"}}, "update"),
        Attempt("no document yet", how="get"),
        Attempt("the server's times", dict.fromkeys(LONG_AGO, SERVER_TIME), how="create"),
        Attempt("nothing", how="create"),
        Attempt("the longest", LONGEST_TEXTS, how="create"),
        Attempt("preferences", {"preferences": {f"p{n}": 1 for n in range(100)}}, how="create"),
        Attempt("the longest", {**LONGEST_TEXTS, "updatedAt": SERVER_TIME}, USER, "update"),
        Attempt("null for everything", dict.fromkeys(LONGEST_TEXTS), how="create"),
        Attempt("null for everything", dict.fromkeys(LONGEST_TEXTS), USER, "update"),
        Attempt(
            "the app's own", {"biography": "b" * 10_000, "address": {"city": "Pune"}}, USER, "merge"
        ),
        *(
            Attempt(
                "a name at sign-up", {"displayName": "A", "updatedAt": SERVER_TIME}, stored, "merge"
            )
            for stored in (None, USER)
        ),
        Attempt("no phone number", {"phoneNumber": REMOVED}, USER, "update"),
        Attempt("as it was read", {**USER, "displayName": "Annie"}, USER),
        *(
            Attempt(
                f"{name}, all else as before these rules", {name: "Nora"}, BEFORE_RULES, "update"
            )
            for name in LONGEST_TEXTS
        ),
        *(
            Attempt(f"to {one}", one, PROFILE, "update", of="profiles")
            for one in (
                {"displayName": None, "photoURL": None},
                {"displayName": "n" * 256, "photoURL": "u" * 2048},
                {"preferences.theme": "dark", "updatedAt": SERVER_TIME},
                {"preferences.theme": REMOVED},
                {"preferences": {f"p{number}": True for number in range(100)}},
                {"preferences": None},
                {"preferences": REMOVED},
            )
        ),
        Attempt("a profile", {"name": "A", "image": "u"}, {}, "update", of="profiles"),
        Attempt("as it was read", {**PROFILE, "displayName": "Annie"}, PROFILE, of="profiles"),
        Attempt("a name", {"displayName": "Nora"}, PROFILE_BEFORE_RULES, "update", of="profiles"),
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
