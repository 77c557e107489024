"""The text of ``firestore.rules`` for what an app calls its collections and fields. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from string import Template

from ..config import Config, parts_of
from ..errors import SettingInvalid
from ..users import MAX_EXTRA_LENGTH, MAX_NAME_LENGTH, MAX_PICTURE_LENGTH

SECTIONS = ("users", "profiles", "stats", "companies", "conversations")
"""Of the settings: those whose collections have a ``match`` of ours."""

MAX_PHONE_LENGTH = 32

_COLLECTION = re.compile(r"[\w.~-]+(/[\w.~-]+)*", re.ASCII)
_OF_THE_REPAIR = ("mirrored", "createdAt", "updatedAt")
"""Fields of a profile that no setting opens to its owner."""

_AND = "\n          && "

_TEMPLATE = Template("""\
rules_version = '2';

// Written by `chatsync rules` from chatsync.toml. The functions and the app's
// backend use the Admin SDK, which no rule concerns: these rules are for the apps. What no rule
// allows is denied: to strangers everything, and to everybody every collection that is not named
// here, as `repairs`, `stream_users`, `audits` and `counted_messages` of the functions. So is
// what cannot be evaluated: a stranger has no `request.auth` with a uid.
service cloud.firestore {
  match /databases/{database}/documents {
    function isSignedIn() {
      return request.auth != null;
    }

    function isOwner(uid) {
      return request.auth.uid == uid;
    }

    // In an update only: the names of the top-level fields that would not be as before.
    function changedFields() {
      return request.resource.data.diff(resource.data).affectedKeys();
    }

    function stays(field) {
      return !changedFields().hasAny([field]);
    }

    // Whether these fields of a document or map are as before: none came, went, or changed.
    function keeps(fields, after, before) {
      return !after.diff(before).affectedKeys().hasAny(fields);
    }

    // The map in a field of a document or map; {} if none is there.
    function mapIn(field, parent) {
      let value = parent.get(field, {});
      return value is map ? value : {};
    }

    // Serves as "the server's time and no other": an app sends serverTimestamp().
    function isAbsentOrNow(field) {
      return request.resource.data.get(field, request.time) == request.time;
    }

    function isTextOrNull(value, maxLength) {
      return value == null || (value is string && value.size() <= maxLength);
    }

    // What stays as it is may be anything: a legacy document can be edited. A path is the name of
    // a field, or the list of names that leads to it.
    function isCapped(path, maxLength, after, before) {
      let value = after.get(path, null);
      return value == null
        || (value is string && value.size() <= maxLength)
        || value == before.get(path, null);
    }

    // The same of a map. The functions tell it to its owner's app.
    function isCappedMap(field, maxEntries, after, before) {
      let value = after.get(field, null);
      return value == null
        || (value is map && value.size() <= maxEntries)
        || value == before.get(field, null);
    }

    // Private: e-mail, phone number and preferences are in here.
    match /$users/{uid} {
      allow read: if isOwner(uid);

      allow create: if isOwner(uid)
        && isAbsentOrNow('createdAt')
        && isAbsentOrNow('updatedAt')
        && keepsGuarded(request.resource.data, {})
        && isWithinLimits(request.resource.data, {});

      allow update: if isOwner(uid)
        && stays('createdAt')
        && (stays('updatedAt') || isAbsentOrNow('updatedAt'))
        && keepsGuarded(request.resource.data, resource.data)
        && isWithinLimits(request.resource.data, resource.data);

$guarded
      // What the functions read here: texts, by every path in [users] of chatsync.toml, and
      // preferences. What else an app keeps here is its own affair.
      function isWithinLimits(after, before) {
        return $user_texts;
      }
$user_functions    }

    // Each is public to whoever is signed in and has the uid. The functions create it. They tell an
    // edited name or picture by `mirrored`, so that nobody else may touch it.
    match /$profiles/{uid} {
      allow get: if isSignedIn();
$list
      allow update: if isOwner(uid)
        && changedFields().hasOnly([
          $editable
        ])
        && changesAreValid(request.resource.data, resource.data);

      // What is not changed may be anything: a legacy profile can still be edited. A missing field
      // is an error, thus denied: null says "none", while a removed name would come back.
      function changesAreValid(after, before) {
        return $edits;
      }
$profile_functions    }

    match /$stats/{uid} {
      allow read: if isOwner(uid);
    }

    match /$companies/{id} {
      allow get: if isSignedIn();
$list    }

    // A query must ask for the reader's own: where participantIds array-contains <own uid>.
    // A document that doesn't exist is denied as well. Its id can be computed from two uids, and
    // nobody else shall learn whether these two talk.
    match /$conversations/{id} {
      allow read: if request.auth.uid in resource.data.participantIds;
    }
  }
}
""")

_GUARDED = Template("""\
      // Only the app's backend writes what decides over role, teams, or what is a company:
      //   $paths
      // When the owner writes, none of these appears, vanishes or changes. The owner may write
      // other fields of a map around them. Such a map appears and vanishes only with other fields
      // in it. It stays a map, and whatever else is in its place, such as null, stays too.
$company      function keepsGuarded(after, before) {
        return $conditions;
      }
$functions""")

_NOTHING_GUARDED = """\
      // No field here decides over role, teams, or what is a company.
      function keepsGuarded(after, before) {
        return true;
      }
"""

_COMPANY = """\
      // A create may state the field that makes a company, with a value that makes none.
"""

_LIST = """
      // As `[profiles] list` says: accounts that aren't anonymous look for people and companies.
      allow list: if request.auth.token.firebase.sign_in_provider != 'anonymous'
        && request.query.limit <= 100;
"""

_HELPERS = {
    "keepsIn": """
      function keepsIn(map, fields, after, before) {
        let now = after.get(map, {});
        let was = before.get(map, {});
        return keeps([map], after, before)
          || (now.size() + was.size() > 0
            && keeps(fields, now, was));
      }
""",
    "isPlain": f"""
      // What can be a field of the Stream user: a text, a number or a truth value.
      function isPlain(path, after, before) {{
        let value = after.get(path, null);
        return value == null
          || (value is string && value.size() <= {MAX_EXTRA_LENGTH})
          || value is number
          || value is bool
          || value == before.get(path, null);
      }}
""",
    "changesOnlyIn": """
      function changesOnlyIn(map, fields, after, before) {
        return keeps([map], after, before)
          || (after[map] is map
            && mapIn(map, after).diff(mapIn(map, before)).affectedKeys().hasOnly(fields));
      }
""",
}
"""Functions of the rules that stand there only if something calls them."""

_PREFERENCES = "isCappedMap('preferences', 100, after, before)"

Path = tuple[str, ...]
"""The names of the fields that lead to a value, from the outside in."""


def rules_for(config: Config) -> str:
    """The whole file. Raises SettingInvalid for a collection that rules cannot name."""
    collections = {section: getattr(config, section).collection for section in SECTIONS}
    for section, collection in collections.items():
        if not _COLLECTION.fullmatch(collection):
            problem = "firestore.rules can only name a collection of A-Z a-z 0-9 _ - . ~"
            raise SettingInvalid(f"{section}.collection: {problem}, not {collection!r}")
    may_list = _LIST if config.profiles.list else ""
    parts = {**_of_users(config), **_of_profiles(config), "list": may_list}
    return _TEMPLATE.substitute(collections, **parts)


def _of_users(config: Config) -> dict[str, str]:
    users = config.users
    guarded = _outermost(_paths(users.role, users.teams))
    company = next(iter(_paths(users.company.field)), ())
    if company and any(_overlap(company, other) for other in guarded):
        guarded, company = _outermost([*guarded, company]), ()  # not even stated once
    closed = [*guarded, company] if company else guarded
    texts = _longest(
        *((path, MAX_NAME_LENGTH) for name in users.name for path in parts_of(name)),
        *((path, MAX_PICTURE_LENGTH) for path in users.image),
        *(("email", MAX_EXTRA_LENGTH), ("phoneNumber", MAX_PHONE_LENGTH)),
        *((path, None) for path in (*users.stream_fields.values(), users.company.field)),
    )
    writable = {path: most for path, most in texts.items() if not _within(path, guarded)}
    keeping = _keeping(guarded, closed)
    if company:
        name, (after, before) = _quoted(company[-1]), _around(company)
        values = ", ".join(map(_quoted, users.company.values))
        keeping.append(
            f"(keeps([{name}], {after}, {before})\n"
            f"            || (resource == null && !({after}.get({name}, null) in [{values}])))"
        )
    capping = _capping(writable, [*writable, *closed])
    if not _within(("preferences",), guarded):
        capping.append(_PREFERENCES)
    return {
        "guarded": _guarded(closed, bool(company), keeping),
        "user_texts": _AND.join(capping),
        "user_functions": _called("isPlain", capping),
    }


def _guarded(closed: Iterable[Path], may_be_stated: bool, conditions: list[str]) -> str:
    if not conditions:
        return _NOTHING_GUARDED
    return _GUARDED.substitute(
        paths=", ".join(f"`{'.'.join(path)}`" for path in closed),
        company=_COMPANY if may_be_stated else "",
        conditions=_AND.join(conditions),
        functions=_called("keepsIn", conditions),
    )


def _keeping(guarded: Collection[Path], closed: Collection[Path]) -> list[str]:
    """A condition for the guarded fields of the document itself, and one for each map in it that
    leads to a closed one."""
    conditions = []
    for place in sorted({path[:depth] for path in closed for depth in range(len(path))}, key=len):
        fields = ", ".join(_quoted(path[-1]) for path in guarded if path[:-1] == place)
        if place:
            where = ", ".join(_around(place))
            conditions.append(f"keepsIn({_quoted(place[-1])}, [{fields}], {where})")
        elif fields:
            conditions.append(f"keeps([{fields}], after, before)")
    return conditions


def _of_profiles(config: Config) -> dict[str, str]:
    profiles, users = config.profiles, config.users
    guarded = _paths(users.role, users.teams, users.company.field)
    of_others = {*_OF_THE_REPAIR, *(path[0] for path in guarded)}
    own = [name for name in profiles.defaults if name not in of_others]
    texts = _longest(
        *((path, MAX_NAME_LENGTH) for name in profiles.name for path in parts_of(name)),
        *((path, MAX_PICTURE_LENGTH) for path in profiles.image),
    )
    legacy = {
        path: most
        for path, most in texts.items()
        if path[0] not in ("displayName", "photoURL", "preferences", *_OF_THE_REPAIR)
        and not any(_overlap(path, other) for other in guarded)
    }
    maps = dict.fromkeys(
        path[:depth]
        for path in legacy
        if path[0] not in own  # which are theirs as a whole
        for depth in range(1, len(path))
    )
    edits = [
        f"(stays('displayName') || isTextOrNull(after.displayName, {MAX_NAME_LENGTH}))",
        f"(stays('photoURL') || isTextOrNull(after.photoURL, {MAX_PICTURE_LENGTH}))",
        _PREFERENCES,
        "(stays('updatedAt') || after.updatedAt == request.time)",
        *_capping({path: most for path, most in legacy.items() if path not in maps}, legacy),
        *(_changing_only(place, legacy) for place in maps),
    ]
    fields = ["displayName", "photoURL", *(path[0] for path in legacy), "preferences", *own]
    editable = dict.fromkeys([*fields, "updatedAt"])
    return {
        "editable": ",\n          ".join(map(_quoted, editable)),
        "edits": _AND.join(edits),
        "profile_functions": _called("changesOnlyIn", edits),
    }


def _changing_only(place: Path, longest: Mapping[Path, int | None]) -> str:
    """The condition of a map around some paths: nothing else in it changes."""
    within = [path for path in longest if path != place and _within(path, [place])]
    fields = ", ".join(dict.fromkeys(_quoted(path[len(place)]) for path in within))
    where = ", ".join(_around(place))
    condition = f"changesOnlyIn({_quoted(place[-1])}, [{fields}], {where})"
    # A path may also lead to a text in the map's place.
    return f"({_capped(place, longest[place])} || {condition})" if place in longest else condition


def _longest(*stated: tuple[str, int | None]) -> dict[Path, int | None]:
    """By path how long a text there may be; None for any value that can be a field in Stream."""
    longest: dict[Path, int | None] = {}
    for text, most in stated:
        for path in _paths(text):
            longest.setdefault(path, most)
    return longest


def _capping(longest: Mapping[Path, int | None], known: Iterable[Path]) -> list[str]:
    """A condition for each path; where a known path leads through it, a map may be there too."""
    conditions = []
    for path, most in longest.items():
        condition = _capped(path, most)
        if any(path != other and _within(other, [path]) for other in known):
            condition = f"(after.get({_named(path)}, null) is map || {condition})"
        conditions.append(condition)
    return conditions


def _capped(path: Path, most: int | None) -> str:
    if most is None:
        return f"isPlain({_named(path)}, after, before)"
    return f"isCapped({_named(path)}, {most}, after, before)"


def _named(path: Path) -> str:
    """As the first argument of get()."""
    names = ", ".join(map(_quoted, path))
    return names if len(path) == 1 else f"[{names}]"


def _paths(*texts: str) -> list[Path]:
    """Those into a document, each once."""
    in_document = (text for text in texts if text and not text.startswith("claims:"))
    return list(dict.fromkeys(tuple(text.split(".")) for text in in_document))


def _within(path: Path, others: Iterable[Path]) -> bool:
    """Whether a path is one of the others, or leads on from one."""
    return any(path[: len(other)] == other for other in others)


def _overlap(one: Path, other: Path) -> bool:
    return _within(one, [other]) or _within(other, [one])


def _outermost(paths: Collection[Path]) -> list[Path]:
    """Without those that lead on from another: it is guarded with all that is in it."""
    return [path for path in paths if not _within(path, [one for one in paths if one != path])]


def _around(path: Path) -> tuple[str, str]:
    """The map that holds the last field of a path, in the document after the write and before."""
    after, before = "after", "before"
    for name in path[:-1]:
        after, before = (f"mapIn({_quoted(name)}, {one})" for one in (after, before))
    return after, before


def _called(function: str, conditions: Iterable[str]) -> str:
    called = any(f"{function}(" in condition for condition in conditions)
    return _HELPERS[function] if called else ""


def _quoted(text: str) -> str:
    escapes = {"\\": r"\\", "'": r"\'", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
    return "'" + "".join(escapes.get(character, character) for character in text) + "'"
