"""What ``init`` makes of a project's files: from how they are to how they shall be. Pure.

Installing again first takes out what was installed before: so an upgrade is an installation. The
record beside our functions has the app's files as they were, and the checksums of what we wrote.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import chatsync

from ...config import MANIFEST, Config
from . import firebase_json, rules_text
from .firebase_json import RECORD, ProjectRefused

FIREBASE = "firebase.json"
GENERATED = (MANIFEST,)
"""Files of ours that a command makes anew from the settings, so that nobody edits them."""

NO_RULES = """\
rules_version = '2';

service cloud.firestore {
  match /databases/{database}/documents {
  }
}
"""
NO_INDEXES = '{\n  "indexes": [],\n  "fieldOverrides": []\n}\n'

Files = Mapping[str, bytes]
"""By path from the project's folder; those that there are."""


@dataclass(frozen=True)
class Wanted:
    """What shall be installed."""

    source: str
    project: str
    config: Config
    deployable: Files
    """What is deployed, by path from the folder ``source``; of this version."""
    settings: str
    """A ``chatsync.toml`` for a project that has none."""
    environment: Mapping[str, str]
    trust_wildcards: bool = False


@dataclass(frozen=True)
class Plan:
    changes: Mapping[str, bytes | None]
    """By path what it shall hold; None removes it."""
    ours: Sequence[str]
    """Those of the changes that are in our own files, whose content is no choice of the app's."""
    edited: Sequence[str] = ()
    """Files that we wrote and somebody changed."""
    left_out: Sequence[str] = ()
    """Sections of the settings for whose collections the app's own rules stand."""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Shared:
    """A file of the app's with our part in it: what it was before (None: not there), and the
    checksum of what we made of it."""

    before: str | None
    after: str


@dataclass(frozen=True)
class _Record:
    """What an installation left beside our functions; names are those within their folder."""

    deployed: Mapping[str, str]
    """Checksums of what is deployed."""
    made: Mapping[str, str]
    """Checksums of the app's settings of us, as we wrote them."""
    shared: Mapping[str, _Shared]


def installed_in(files: Files) -> str:
    """The folder of an installation; empty if there is none. Raises ProjectRefused."""
    if FIREBASE not in files:
        raise ProjectRefused("There is no firebase.json here: name the folder that has it")
    source = firebase_json.source_of(_text(files, FIREBASE))
    if source and f"{source}/{RECORD}" not in files:
        raise ProjectRefused(
            "firebase.json has a codebase `chatsync` that `chatsync init` did not make: its folder"
            f" {source} has no {RECORD}"
        )
    return source


def install(files: Files, wanted: Wanted) -> Plan:
    """Raises ProjectRefused, and RulesRefused."""
    source = installed_in(files) or wanted.source
    record = _record(files, source)
    if record is None and not _is_left_by_removal(files, wanted, source):
        raise ProjectRefused(f"A folder {source} is there already: name another with --source")
    record = record or _Record({}, {}, {})
    before = _before(files, record.shared)
    shared, left_out, notes = _shared(before, files.keys() - record.shared.keys(), wanted, source)
    settings = _settings(files, wanted, source)
    deployed = {f"{source}/{path}": content for path, content in wanted.deployable.items()}
    known = {f"{source}/{path}": value for path, value in record.deployed.items()}
    edited = [
        path
        for path, content in files.items()
        if (path in known or path in deployed)
        and path.rpartition("/")[2] not in GENERATED
        and content != deployed.get(path)
        and _sum(content) != known.get(path)
    ]
    # Settings that the app wrote or changed are the app's, and stay when we go.
    own = record.made.values()
    ours = [path for path in settings if path not in files or _sum(files[path]) in own]
    made = {path.removeprefix(f"{source}/"): _sum(settings[path]) for path in sorted(ours)}
    left = {
        "version": chatsync.__version__,
        "deployed": {path: _sum(content) for path, content in sorted(wanted.deployable.items())},
        "made": {**record.made, **made},
        "shared": {
            path: {"before": before.get(path), "after": _sum(text.encode())}
            for path, text in shared.items()
        },
    }
    ours_before = {*known, *record.shared}
    after = {
        # What was of ours, and is no more: removed, or as it was before.
        **{path: before[path].encode() if path in before else None for path in ours_before},
        **{path: text.encode() for path, text in shared.items()},
        **deployed,
        **settings,
        f"{source}/{RECORD}": (json.dumps(left, indent=1) + "\n").encode(),
    }
    changes = _changes(files, after)
    copied = {*known, *deployed, f"{source}/{RECORD}"}
    return Plan(changes, sorted(changes.keys() & copied), edited, left_out, notes)


def uninstall(files: Files) -> Plan:
    """Raises ProjectRefused."""
    source = installed_in(files)
    record = _record(files, source)
    if record is None:
        raise ProjectRefused("chatsync is not installed here")
    before = _before(files, record.shared)
    after = {path: before[path].encode() if path in before else None for path in record.shared}
    notes = [
        f"{path} was edited since: only our part of it goes"
        for path, shared in record.shared.items()
        if path in files and _sum(files[path]) != shared.after
    ]
    known = {
        f"{source}/{path}": value for path, value in {**record.deployed, **record.made}.items()
    }
    generated = [f"{source}/{name}" for name in (RECORD, *GENERATED)]
    for path in [path for path in sorted(files) if path.startswith(f"{source}/")]:
        if path in generated or _sum(files[path]) == known.get(path):
            after[path] = None
        else:
            notes.append(f"{path} stays: it is not as `chatsync init` wrote it")
    if f"{source}/.secret.local" in files:  # git must go on to ignore it
        after.pop(f"{source}/.gitignore", None)
    changes = _changes(files, after)
    copied = {*generated, *(f"{source}/{name}" for name in record.deployed)}
    return Plan(changes, sorted(changes.keys() & copied), notes=notes)


def _changes(files: Files, after: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    return {path: content for path, content in after.items() if files.get(path) != content}


def _before(files: Files, ours: Mapping[str, _Shared]) -> dict[str, str]:
    """The texts of the app's shared files as they would be without us; of those that would be."""
    shared = {FIREBASE, *firebase_json.paths(_text(files, FIREBASE)), *ours}
    texts = {path: _text(files, path) for path in shared if path in files}
    gone = []
    for path in [path for path in ours if path in texts]:
        was = ours[path].before
        text: str | None = texts[path]
        if path == FIREBASE:
            continue  # below, when it is known which files are gone
        if _sum(files[path]) == ours[path].after:
            text = was
        elif path.endswith(".json"):
            text = firebase_json.without_policies(texts[path], path, was or NO_INDEXES)
        else:
            text = rules_text.without_ours(texts[path])
        if text is None or (was is None and text in (NO_RULES, NO_INDEXES)):
            gone.append(path)
            del texts[path]
        else:
            texts[path] = text
    kept = [path for path, shared in ours.items() if shared.before is None and path in texts]
    if ours and (kept or _sum(files[FIREBASE]) != ours[FIREBASE].after):
        # It was edited; or it must go on naming a file of ours that was edited, and stays.
        texts[FIREBASE] = firebase_json.without(
            texts[FIREBASE], gone, ours[FIREBASE].before or "{}"
        )
    elif ours:
        texts[FIREBASE] = ours[FIREBASE].before or ""
    return texts


def _shared(
    before: Mapping[str, str], own_files: Collection[str], wanted: Wanted, source: str
) -> tuple[dict[str, str], tuple[str, ...], list[str]]:
    """The app's files with our part in them; what is left out of the rules; and notes."""
    database = wanted.config.firestore.database
    firebase = firebase_json.with_codebase(before[FIREBASE], source)
    stated = firebase_json.named(firebase, database)
    suffix = "" if database == "(default)" else f".{database}"
    rules = stated.rules or f"firestore{suffix}.rules"
    indexes = stated.indexes or f"firestore{suffix}.indexes.json"
    notes = []
    for path, is_stated in ((rules, stated.rules), (indexes, stated.indexes)):
        if path in own_files and not is_stated:
            raise ProjectRefused(
                f"{path} is there, but not named in firebase.json for database {database}: name it"
                " there if it is deployed, else give it another name"
            )
    if not stated.rules:
        notes.append(
            f"{rules} is new, and a deployment of it replaces the rules that the database has now."
            " If there are some in Firebase's console, run `firebase init firestore` first, which"
            " fetches them, and then this again"
        )
    firebase = firebase_json.with_firestore(firebase, database, rules, indexes)
    spliced = rules_text.with_ours(
        before.get(rules, NO_RULES), wanted.config, wanted.trust_wildcards
    )
    policies, differing = firebase_json.with_policies(
        before.get(indexes, NO_INDEXES), indexes, wanted.config
    )
    notes += [
        f"{indexes} says something else of {field}, and is left so: nothing of ours expires there"
        for field in differing
    ]
    shared = {FIREBASE: firebase, rules: spliced.text, indexes: policies}
    return shared, spliced.left_out, notes


def _is_left_by_removal(files: Files, wanted: Wanted, source: str) -> bool:
    """Whether our folder has nothing but settings that ``uninstall`` leaves, or nothing at all."""
    inside = [path.removeprefix(f"{source}/") for path in files if path.startswith(f"{source}/")]
    return all(
        name in ("chatsync.toml", ".secret.local")
        or (name.startswith(".env.") and name != ".env.example")
        or wanted.deployable.get(name) == files[f"{source}/{name}"]
        for name in inside
    )


def _settings(files: Files, wanted: Wanted, source: str) -> dict[str, bytes]:
    """The app's own settings of us: what is there already stays, and lacks nothing afterwards."""
    toml, environment = f"{source}/chatsync.toml", f"{source}/.env.{wanted.project}"
    made = {} if toml in files else {toml: wanted.settings.encode()}
    text = _text(files, environment) if environment in files else ""
    stated = variables_in(text)
    missing = {name: value for name, value in wanted.environment.items() if name not in stated}
    if missing:
        text += "\n" if text and not text.endswith("\n") else ""
        lines = "".join(f"{name}={value}\n" for name, value in missing.items())
        made[environment] = (text + lines).encode()
    return made


def variables_in(environment: str) -> dict[str, str]:
    """What a file of variables states."""
    lines = (line for line in environment.splitlines() if not line.lstrip().startswith("#"))
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _record(files: Files, source: str) -> _Record | None:
    if f"{source}/{RECORD}" not in files:
        return None
    try:
        stated = json.loads(files[f"{source}/{RECORD}"])
        shared = {path: _Shared(**one) for path, one in stated["shared"].items()}
        return _Record(stated["deployed"], stated["made"], shared)
    except (ValueError, KeyError, TypeError):
        raise ProjectRefused(f"{source}/{RECORD} was changed, and cannot be read") from None


def _sum(content: bytes) -> str:
    return sha256(content).hexdigest()


def _text(files: Files, path: str) -> str:
    try:
        return files[path].decode()
    except UnicodeDecodeError:
        raise ProjectRefused(f"{path} is not in UTF-8") from None
