"""``chatsync.toml``: what the app calls things, read and checked (``docs/settings.md``).

A key that is left out has its default here; without the file, all have. ``chatsync.PROJECT.toml``
overlays the file for one project. Both lie beside this package, in the deployed folder.
"""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .errors import SettingInvalid

FOLDER = Path(__file__).parent.parent
MANIFEST = "functions.yaml"
"""The file beside ``chatsync.toml`` by which the Firebase CLI deploys (operator/manifest.py)."""

SERVER_ONLY = (
    *("repairs", "stream_users", "audits", "counted_messages"),
    *("pairs", "budgets", "chatsync"),
)
"""Collections of the functions, which no app reads or writes."""

DELETE_POLICIES = ("soft", "hard", "deactivate", "keep")
CONVERSATION_TYPES = ("direct", "group")
FOREIGN = ("report", "ignore")
MAX_TOKEN_LIFETIME_SECONDS = 30 * 24 * 3600
MAX_TRUST_HOURS = 30 * 24

FIELDS_OF_STATS = (
    *("userId", "createdAt", "conversationsStarted", "messagesSent", "lastActiveAt", "updatedAt"),
)
"""What ``getUserStats`` answers of its own."""

FIELDS_OF_STREAM_USERS = (
    *("id", "name", "image", "role", "teams", "teams_role", "invisible", "privacy_settings"),
    *("avg_response_time", "ban_expires", "banned", "blocked_user_ids", "bypass_moderation"),
    *("channel_mutes", "created_at", "deactivated_at", "deleted_at", "devices", "last_active"),
    *("latest_hidden_channels", "mutes", "online", "revoke_tokens_issued_before"),
    *("shadow_banned", "total_unread_count", "unread_channels", "unread_count"),
    *("unread_threads", "updated_at", "notifications_muted", "push_notifications"),
)
"""What chatsync or Stream itself writes; ``language`` is Stream's too, and may be stated."""

FIELDS_OF_STREAM_CHANNELS = (
    *("id", "type", "cid", "name", "image", "team", "members", "member_count", "invites"),
    *("created_by", "created_by_id", "created_at", "updated_at", "deleted_at", "config"),
    *("config_overrides", "cooldown", "frozen", "disabled", "blocked", "hidden", "joined"),
    *("last_message_at", "hide_messages_before", "message_count", "muted", "mute_expires_at"),
    *("own_capabilities", "filter_tags", "truncated_at", "truncated_by", "truncated_by_id"),
    *("auto_translation_enabled", "auto_translation_language"),
)
"""Fields that mean something to Stream or its clients, so that none can name a tenant."""

Paths = tuple[str, ...]
"""Dotted paths into a document; the first with a text wins. Of a name, one may be several paths
with a blank between them, whose texts are joined (:func:`parts_of`)."""

Collection = Annotated[str, Meta(min_length=1, max_length=200)]
Role = Annotated[str, Meta(min_length=1, max_length=64)]
Natural = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class Firestore(Section, frozen=True):
    database: Annotated[str, Meta(min_length=1)] = "(default)"


class Stream(Section, frozen=True):
    user_id: str = "{uid}"
    company_id: str = "company_{id}"
    channel_id: str = "{id}"
    channel_type: str | dict[Literal["direct", "group"], str] = "messaging"
    user_role: Role = "user"
    company_role: Role = "user"
    allowed_roles: tuple[str, ...] = ()
    service_users: tuple[str, ...] = ()
    delete_policy: Literal["soft", "hard", "deactivate", "keep"] = "soft"
    token_lifetime_seconds: Annotated[int, Meta(ge=60, le=MAX_TOKEN_LIFETIME_SECONDS)] = 3600
    trust_hours: Annotated[float, Meta(ge=0, le=MAX_TRUST_HOURS)] = 24
    provision_anonymous_users: bool = True


class CompanyRule(Section, frozen=True):
    """An account is a company if this field of its user document has one of these values."""

    field: str = ""
    values: tuple[str, ...] = ()


class Users(Section, frozen=True):
    collection: Collection = "users"
    create: bool = True
    name: Paths = ("displayName", "name", "fullName", "full_name")
    image: Paths = (
        *("photoURL", "photoUrl", "photo_url", "image", "image_url", "imageUrl"),
        *("avatarUrl", "avatar_url"),
    )
    role: str = "chat.role"
    teams: str = "chat.teams"
    company: CompanyRule = CompanyRule()
    stream_fields: dict[str, str] = {}


class Profiles(Section, frozen=True):
    collection: Collection = "user_profiles"
    name: Paths = ("displayName", "full_name", "name")
    image: Paths = ("photoURL", "avatar_url", "image")
    defaults: dict[str, Any] = {}
    list: bool = False


class Stats(Section, frozen=True):
    collection: Collection = "user_stats"
    public_fields: tuple[str, ...] = ()


class Companies(Section, frozen=True):
    collection: Collection = "companies"
    name: Paths = ("name", "displayName", "company_name", "companyName")
    image: Paths = ("logo_url", "logoURL", "photoURL", "image_url")


class Conversations(Section, frozen=True):
    collection: Collection = "conversations"
    foreign: Literal["report", "ignore"] = "report"
    max_members: Annotated[int, Meta(ge=2, le=1000)] = 100
    anonymous_may_start_groups: bool = False


class Teams(Section, frozen=True):
    required: bool = False
    channel_field: str = ""
    format: str = "{value}"


class ChannelPattern(Section, frozen=True):
    """What channels of other origin are, whose ids have this pattern."""

    id: str
    conversation_type: Literal["direct", "group", ""] = ""
    owner: str = ""
    record: bool = True


class Limits(Section, frozen=True):
    ensure_per_minute: Natural = 600
    ensure_calls_per_minute: Natural = 40
    token_per_minute: Natural = 10
    revoke_per_minute: Natural = 3
    conversations_per_minute: Natural = 20
    new_conversations_per_day: Natural = 200
    anonymous_factor: Share = 0.25


class Safety(Section, frozen=True):
    max_percent: Annotated[float, Meta(gt=0, le=100)] = 5
    check_ids: bool = True


class Config(Section, frozen=True):
    """All tables of the file."""

    firestore: Firestore = Firestore()
    stream: Stream = Stream()
    users: Users = Users()
    profiles: Profiles = Profiles()
    stats: Stats = Stats()
    companies: Companies = Companies()
    conversations: Conversations = Conversations()
    teams: Teams = Teams()
    channels: tuple[ChannelPattern, ...] = ()
    limits: Limits = Limits()
    safety: Safety = Safety()


DEFAULTS = Config()


def parts_of(path: str) -> list[str]:
    """The paths of which one of a name is made."""
    return path.split(" ")


def load(project: str = "", folder: Path | None = None) -> Config:
    """The settings of the file and its overlay. Raises SettingInvalid.

    The error names file, line, key and what was expected there.
    """
    folder = folder or FOLDER
    return _load(project, folder, *(_stamp(folder / name) for name in _names_of_files(project)))


def project_of(environ: Mapping[str, str] = os.environ) -> str:
    """The id of the Firebase project, empty if unknown."""
    return environ.get("GCLOUD_PROJECT") or environ.get("GOOGLE_CLOUD_PROJECT") or ""


def _names_of_files(project: str) -> list[str]:
    return ["chatsync.toml", *([f"chatsync.{project}.toml"] if project else [])]


def _stamp(file: Path) -> float:
    return file.stat().st_mtime if file.exists() else 0.0


@cache
def _load(project: str, folder: Path, *stamps: float) -> Config:
    """Read once per process, and again only if a file has changed."""
    values: dict[str, Any] = {}
    config = Config()
    for name in _names_of_files(project):
        file = folder / name
        if not file.exists():
            continue
        text, stated = _read(file)
        if name != "chatsync.toml":
            _refuse_what_triggers_are_made_of(stated, name, text)
        values = _merged(values, stated)
        config = _checked(values, name, text)
    return config


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (OSError, ValueError) as error:  # also of the encoding, and of huge numbers
        raise SettingInvalid(f"{file.name}: {error}") from None


def hash_of(folder: Path) -> str:
    """Of what ``chatsync.toml`` states, whatever its comments, line ends and order.

    Without overlays: none may change what triggers are made of. Raises SettingInvalid.
    """
    file = folder / "chatsync.toml"
    stated = _read(file)[1] if file.exists() else {}
    return hashlib.sha256(json.dumps(stated, sort_keys=True, default=str).encode()).hexdigest()


def refuse_other_package(main: str) -> None:
    """Raise SettingInvalid unless this package lies beside the file ``main``: Python prefers one
    that is installed, which would not see the app's settings."""
    if not Path(main).parent.samefile(Path(__file__).parents[1]):
        problem = "a chatsync that is installed hides the one beside main.py"
        raise SettingInvalid(f"{problem}: `pip uninstall chatsync` in the functions' environment")


def refuse_other_manifest(folder: Path | None = None) -> None:
    """Raise SettingInvalid if ``functions.yaml`` was made from another ``chatsync.toml``.

    Its first line says from which: nothing else is read of it. Without the file, triggers are
    discovered from the code.
    """
    folder = folder or FOLDER
    try:
        with (folder / MANIFEST).open(encoding="utf-8", errors="replace") as manifest:
            first = manifest.readline()
    except FileNotFoundError:
        return
    if hash_of(folder) not in first:
        problem = f"{MANIFEST} was made from another chatsync.toml than the one beside it"
        raise SettingInvalid(
            f"{problem}: run `chatsync init` (in a clone `chatsync manifest`), and deploy again"
        )


def _refuse_what_triggers_are_made_of(stated: Mapping[str, Any], name: str, text: str) -> None:
    for section, fields in stated.items():
        for key in ("collection", "database"):
            if isinstance(fields, dict) and key in fields:
                raise _error(f"{section}.{key}", "stands in chatsync.toml only", name, text)


def _merged(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged; lists and single values of the overlay replace those of the base."""
    both = {
        key: _merged(base[key], value)
        for key, value in overlay.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return {**base, **overlay, **both}


_PLACE = re.compile(r"^(.*) - at (?:`key` in )?`\$\.?(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_CHOICE = re.compile(r"Invalid enum value (.*)")
_CHOICES = {
    "delete_policy": DELETE_POLICIES,
    "foreign": FOREIGN,
    "conversation_type": CONVERSATION_TYPES,
    "channel_type": CONVERSATION_TYPES,
}


def _checked(values: Mapping[str, Any], name: str, text: str) -> Config:
    try:
        config = msgspec.convert(values, Config)
    except msgspec.ValidationError as error:
        problem, key = str(error), ""
        if match := _PLACE.match(problem):
            problem, key = match.groups()
        if unknown := _UNKNOWN.match(problem):
            known = "see docs/settings.md for all keys"
            key = f"{key}.{unknown[1]}".lstrip(".")
            raise _error(key, f"is no key of chatsync: {known}", name, text) from None
        if choice := _CHOICE.match(problem):
            allowed = " or ".join(_CHOICES[key.rpartition(".")[2]])
            problem = f"expected {allowed}, not {choice[1]}"
        if key.endswith("[...]"):  # msgspec doesn't say where in a table of texts
            key = _first_no_text(key.removesuffix("[...]"), values)
        raise _error(key, problem.replace("`", ""), name, text) from None
    for key, problem in _problems(config):
        raise _error(key, problem, name, text)
    return config


def _first_no_text(key: str, values: Mapping[str, Any]) -> str:
    table: Any = values
    for part in key.split("."):
        table = table[part]
    return next(f"{key}.{name}" for name, value in table.items() if not isinstance(value, str))


def _error(key: str, problem: str, name: str, text: str) -> SettingInvalid:
    line = line_of(key, text)
    where = f"{name}, line {line}" if line else name
    return SettingInvalid(f"{where}: {key}: {problem[:1].lower()}{problem[1:]}")


_TABLE = re.compile(r"\s*\[\[?\s*([\w.\"'-]+)\s*\]\]?")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


def line_of(key: str, text: str) -> int:
    """The line of ``users.name``, ``channels[1].id`` or the table around it; 0 if there is none.

    ``tomllib`` keeps no lines.
    """
    lines: dict[str, int] = {}
    table = ""
    entries: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.match(line):
            table = match[1].replace('"', "").replace("'", "")
            if line.lstrip().startswith("[["):
                entries[table] = entries.get(table, -1) + 1
                table = f"{table}[{entries[table]}]"
            lines.setdefault(table, number)
        elif match := _KEY.match(line):
            name = match[1].replace('"', "").replace("'", "")
            lines.setdefault(f"{table}.{name}".lstrip("."), number)
    while key and key not in lines:
        key = re.sub(r"(\.[^.\[\]]*|\[[^\[\]]*\])$", "", key) if re.search(r"[.\[]", key) else ""
    return lines.get(key, 0)


_PREFIX = {"user_id": ("{uid}", 64), "company_id": ("{id}", 64), "channel_id": ("{id}", 24)}
_CHANNEL_TYPE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEGMENT = r"(?!__[^.]*__(?:\.|$))[^.\s`\x00-\x1f/]+"
_PATH = re.compile(rf"{_SEGMENT}(\.{_SEGMENT})*")
_CLAIM = re.compile(r"claims:[^\s]+")
_NAME = r"[^/\s`*{}]+"
_COLLECTION = re.compile(rf"{_NAME}(/{_NAME}/{_NAME})*")
_OWNER = re.compile(rf"{_NAME}/{_NAME}(/{_NAME}/{_NAME})*")
_PLACEHOLDER = re.compile(r"\{(\w+)\}", re.ASCII)


def _problems(config: Config) -> list[tuple[str, str]]:
    """What is of the right type and impossible all the same: the key, and what was expected."""
    problems = _problems_of_stream(config.stream) + _problems_of_users(config.users)
    problems += _problems_of_channels(config)
    taken = dict.fromkeys(SERVER_ONLY, "chatsync itself")
    for section in ("users", "profiles", "stats", "companies", "conversations"):
        collection = getattr(config, section).collection
        if not _COLLECTION.fullmatch(collection) or collection.startswith("__"):
            problems.append((f"{section}.collection", f"expected a collection, not {collection!r}"))
        if collection in taken:  # what one may read or write there, the other would open
            problem = f"expected another collection than that of {taken[collection]}"
            problems.append((f"{section}.collection", problem))
        taken[collection] = section
    for section in ("users", "profiles", "companies"):
        for field in ("name", "image"):
            problems += [
                (f"{section}.{field}", f"expected a path such as a.b, not {path!r}")
                for path in getattr(getattr(config, section), field)
                if not all(map(_is_in_document, parts_of(path) if field == "name" else [path]))
            ]
    problems += [
        (f"profiles.defaults.{name}", "expected a text, number, truth value, list or table")
        for name, value in config.profiles.defaults.items()
        if not _is_storable(value)
    ]
    problems += [
        ("stats.public_fields", f"expected a field of the app's own, not {name!r}")
        for name in config.stats.public_fields
        if not re.fullmatch(_SEGMENT, name) or name in FIELDS_OF_STATS
    ]
    if _PLACEHOLDER.findall(config.teams.format) != ["value"] or _has_other_braces(
        config.teams.format
    ):
        problems.append(("teams.format", 'expected {value} once, as in "gym_{value}"'))
    field = config.teams.channel_field
    if field and (field in FIELDS_OF_STREAM_CHANNELS or not re.fullmatch(_SEGMENT, field)):
        problem = f"expected a custom field of channels, not {field!r}, which is Stream's"
        problems.append(("teams.channel_field", problem))
    return problems


def _problems_of_stream(stream: Stream) -> list[tuple[str, str]]:
    problems = []
    for name, (placeholder, longest) in _PREFIX.items():
        value = getattr(stream, name)
        prefix = value.removesuffix(placeholder)
        if prefix == value or not re.fullmatch(rf"[A-Za-z0-9_-]{{0,{longest}}}", prefix):
            expected = f"up to {longest} of A-Z a-z 0-9 _ - followed by {placeholder}"
            problems.append((f"stream.{name}", f"expected {expected}, not {value!r}"))
    if stream.user_id.removesuffix("{uid}") == stream.company_id.removesuffix("{id}"):
        problem = "expected another beginning than that of user_id: both could share a Stream id"
        problems.append(("stream.company_id", problem))
    types = stream.channel_type
    if isinstance(types, dict) and set(types) != set(CONVERSATION_TYPES):
        problems.append(("stream.channel_type", "expected a type for direct and for group"))
    for one in types.values() if isinstance(types, dict) else [types]:
        if not _CHANNEL_TYPE.fullmatch(one):
            problem = f"expected up to 64 of A-Z a-z 0-9 _ -, not {one!r}"
            problems.append(("stream.channel_type", problem))
    return problems


def _problems_of_users(users: Users) -> list[tuple[str, str]]:
    single = {"role": users.role, "teams": users.teams}
    single |= {f"stream_fields.{name}": path for name, path in users.stream_fields.items()}
    problems = [
        (f"users.{key}", f"expected a path such as a.b, or claims:NAME, not {path!r}")
        for key, path in single.items()
        if not (_is_in_document(path) or _CLAIM.fullmatch(path))
    ]
    problems += [
        (f"users.stream_fields.{name}", "is a field that chatsync or Stream writes itself")
        for name in users.stream_fields
        if name in FIELDS_OF_STREAM_USERS or not re.fullmatch(_SEGMENT, name)
    ]
    if bool(users.company.field) != bool(users.company.values):
        problems.append(("users.company", "expected both field and values"))
    if users.company.field and not _is_in_document(users.company.field):
        problems.append(("users.company.field", "expected a path such as a.b"))
    return problems


def _problems_of_channels(config: Config) -> list[tuple[str, str]]:
    problems = []
    for place, pattern in enumerate(config.channels):
        key = f"channels[{place}]"
        names = _PLACEHOLDER.findall(pattern.id)
        if (
            not re.fullmatch(r"[\w!*{}-]{1,100}", pattern.id, re.ASCII)
            or _has_other_braces(pattern.id)
            or len(set(names)) < len(names)
        ):
            problem = "expected letters, digits, _ - ! with {name} and *, each name once"
            problems.append((f"{key}.id", f"{problem}, not {pattern.id!r}"))
        if pattern.owner and (
            not _OWNER.fullmatch(_PLACEHOLDER.sub("x", pattern.owner))
            or not set(_PLACEHOLDER.findall(pattern.owner)) <= set(names)
        ):
            problem = "expected the path of a document, with placeholders of id"
            problems.append((f"{key}.owner", f"{problem}, not {pattern.owner!r}"))
    return problems


def _is_storable(value: object) -> bool:
    """Whether Firestore takes it: no date, no list in a list, no number of more than 64 bits."""
    if isinstance(value, dict):
        return all(map(_is_storable, value.values()))
    if isinstance(value, list):
        return all(not isinstance(one, list) and _is_storable(one) for one in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float | str)


def _has_other_braces(pattern: str) -> bool:
    """Whether braces are left over, or stand around what is no name."""
    return bool(re.search(r"[{}]", _PLACEHOLDER.sub("", pattern)))


def _is_in_document(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and not path.startswith("claims:")
