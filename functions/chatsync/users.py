"""A user's fields and documents as Firebase states them. Pure."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from .config import DEFAULTS, Config, Paths, parts_of
from .ids import Key

Document = Mapping[str, Any]

UserKind = Literal["user", "company"]

_IN_AUTH = {"email": "email", "phoneNumber": "phone_number"}
"""Paths of a user document that Auth states as well, where the document says nothing."""

DEFAULT_NAME = "User"

MAX_NAME_LENGTH = 256
"""In code points. A longer name is cut: Stream takes 5 KB for all fields of a user together."""

MAX_PICTURE_LENGTH = 2048
MAX_EXTRA_LENGTH = 320
"""The longest e-mail address."""

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of the text around them."""

_CONTROL_BUT_LINES = re.compile(f"(?![\n\t]){CONTROL.pattern}")

_PICTURE = re.compile(r"https?:[^\s]+", re.IGNORECASE)


@dataclass(frozen=True)
class Account:
    """A Firebase Auth account, as far as the repair needs it."""

    uid: str
    created_at: datetime | None = None
    display_name: str | None = None
    photo_url: str | None = None
    email: str | None = None
    phone_number: str | None = None
    disabled: bool = False
    anonymous: bool = False
    """Without provider, e-mail and phone; so are accounts of custom tokens."""

    claims: Document = field(default_factory=dict)
    """Custom claims, which only the app's backend can give."""

    valid_since: int = field(default=0, compare=False)
    """A user who signed in before this time (Unix seconds) must sign in again. No document holds
    it."""


@dataclass(frozen=True)
class Remembered:
    """What ``stream_users/{kind}_{id}`` says of the Stream user. It is server only."""

    stream_id: str = ""
    fingerprint: str = ""
    verified_at: datetime | None = None
    """When Stream was last seen to agree; None if that was withdrawn."""

    history: tuple[Document, ...] = ()
    """The last changes, ``{at, by, did, fields}``. Empty unless it was asked for."""

    revoked_before: int = 0
    """Tokens issued before this time are revoked, as Stream said then. In Unix seconds."""

    deleted_at: datetime | None = None
    """When the account was deleted. The entry of a living account may still say so."""

    overwritten_at: datetime | None = None
    """When an event last told that somebody had overwritten the Stream user; as ``history``."""

    version: datetime | None = None
    """Firestore's update time."""

    read_at: datetime | None = None
    """When it was read, by Firestore's clock."""

    def was_there_before(self, elapsed: timedelta) -> bool:
        """Whether the entry was already like this ``elapsed`` before it was read.

        Both times are Firestore's, so that clocks need not agree.
        """
        if self.version is None or self.read_at is None:
            return False
        return self.version + elapsed < self.read_at


@dataclass(frozen=True)
class FirebaseState:
    """What Firebase holds for one key. ``account`` is None if none exists or Auth was not asked.

    The documents are ``users/{uid}``, ``user_profiles/{uid}``, ``user_stats/{uid}`` and
    ``companies/{id}``, or the collections that the app has for them. A company without account has
    the last one only.
    """

    account: Account | None = None
    user: Document | None = None
    profile: Document | None = None
    stats: Document | None = None
    company: Document | None = None
    kind: UserKind | None = None
    """What the account is, as ``stream_users/user_{uid}`` says; None if it was not decided yet."""
    profile_version: object = None
    """Firestore's update time of the profile, so that an update applies to what was read."""

    refused: frozenset[str] = frozenset()
    """Hashes of values that Stream or Firestore refused before (see :func:`refusal`)."""

    remembered: Remembered | None = None
    """What the entry of this key in ``stream_users`` says; None if there is none."""

    _owned: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)
    """The settings and the answer of :func:`owned_fields`, which a repair asks many times."""

    @property
    def remembered_id(self) -> str:
        """The Stream id of that entry."""
        return self.remembered.stream_id if self.remembered else ""


def exists(key: Key, state: FirebaseState) -> bool:
    """A user exists if the account does, a company if its document does."""
    return (state.company if key.kind == "company" else state.account) is not None


def kind_of(key: Key, state: FirebaseState, config: Config = DEFAULTS) -> UserKind | None:
    """What this user is in Stream; None if nothing has decided it yet.

    An account is a company if its user document says so, by ``[users] company``, or if the app
    wrote a company of its uid. With that setting, an account without user document is undecided.
    """
    if key.kind == "company":
        return "company"
    if state.kind:
        return state.kind
    if state.company is not None:
        return "company"
    rule = config.users.company
    if not rule.field:
        return "user"
    if state.user is None:
        return None
    return "company" if value_at(rule.field, state.user) in rule.values else "user"


def default_role(kind: UserKind, config: Config) -> str:
    """The role in Stream of users for whom Firebase states none."""
    return config.stream.company_role if kind == "company" else config.stream.user_role


def needs_claims(config: Config) -> bool:
    """Whether custom claims state a field, so that Auth must always be asked."""
    users = config.users
    paths = (users.role, users.teams, *users.stream_fields.values())
    return any(path.startswith(_CLAIM) for path in paths)


def names_user(state: FirebaseState, config: Config = DEFAULTS) -> bool:
    """Whether the documents name the user, so that Auth need not be asked."""
    documents = replace(state, account=None) if state.account else state
    return isinstance(owned_fields(documents, config).get("name"), str)


def owned_fields(state: FirebaseState, config: Config = DEFAULTS) -> dict[str, Any]:
    """The fields of the Stream user for which Firebase holds a value; None means "unset".

    Firebase says nothing of a field that is missing here: it stays in Stream as it is. Nor is a
    role returned that ``allowed_roles`` leaves out. Don't change the answer: it is kept.
    """
    if not state._owned or state._owned[0] is not config:
        state._owned[:] = config, _owned_fields(state, config)
    owned: dict[str, Any] = state._owned[1]
    return owned


def _owned_fields(state: FirebaseState, config: Config) -> dict[str, Any]:
    users = config.users
    document = state.user if state.company is None or state.kind == "user" else state.company
    role = _text(_value(users.role, document, state.account), str)
    allowed = config.stream.allowed_roles
    fields: dict[str, Any] = {
        "name": _public_value(state, config, "name"),
        "image": _public_value(state, config, "image"),
        "role": role if role is None or not allowed or role in allowed else _ABSENT,
        "teams": _stated_teams(_value(users.teams, document, state.account)),
        **{
            field: _stated_extra(path, document, state.account)
            for field, path in users.stream_fields.items()
        },
    }
    return {field: value for field, value in fields.items() if value is not _ABSENT}


def teams_of(state: FirebaseState, config: Config = DEFAULTS) -> list[str]:
    """The teams that Firebase states."""
    return owned_fields(state, config).get("teams") or []


def refused_role(state: FirebaseState, config: Config) -> str:
    """The role that Firebase states and ``allowed_roles`` leaves out; empty if there is none."""
    role = _text(_value(config.users.role, state.user, state.account), str)
    allowed = config.stream.allowed_roles
    return role if isinstance(role, str) and allowed and role not in allowed else ""


def new_stream_user(stream_id: str, owned: Mapping[str, Any], role: str) -> dict[str, Any]:
    """The Stream user to create. Role and teams are always sent, since UpdateUsers replaces."""
    fields = {"name": DEFAULT_NAME, **with_values(owned, role)}
    stated = {field: value for field, value in fields.items() if value is not None}
    return {"role": role, "teams": [], **stated, "id": stream_id}


def drift(
    stream_user: Mapping[str, Any], owned: Mapping[str, Any], role: str
) -> dict[str, Any] | None:
    """The partial update that brings ``stream_user`` to the owned fields; None if they agree."""
    wanted = with_values(owned, role)
    to_set = {
        field: value
        for field, value in wanted.items()
        if value is not None and not _same(stream_user.get(field), value)
    }
    to_unset = [
        field for field, value in wanted.items() if value is None and stream_user.get(field)
    ]
    if not to_set and not to_unset:
        return None
    return {"id": stream_user["id"], "set": to_set, "unset": to_unset}


def refusal(field: str, value: object) -> str:
    """A hash of a refused value, which does not reveal the value."""
    return hashlib.sha256(json.dumps([field, value], sort_keys=True).encode()).hexdigest()[:16]


def refusal_of_the_rest(owned: Mapping[str, Any], role: str) -> str:
    """The refusal of all fields but name and picture, which are left out one by one.

    ``role``, that of users for whom Firebase states none, counts too: it is a setting that may be
    what Stream refuses, and is corrected.
    """
    rest = {field: value for field, value in owned.items() if field not in ("name", "image")}
    return refusal("*", {"role": role, **with_values(rest, role)})


def without_refused(owned: Mapping[str, Any], refused: Iterable[str]) -> dict[str, Any]:
    """The owned fields, without a name or picture that Stream refused before."""
    return {
        field: value
        for field, value in owned.items()
        if field not in ("name", "image") or refusal(field, value) not in refused
    }


def has(payload: Mapping[str, Any], fields: Sequence[str]) -> bool:
    """Whether a new Stream user or a partial update of one sets all of ``fields``."""
    to_set: Mapping[str, Any] = payload.get("set", payload)
    return set(fields) <= to_set.keys()


def without(payload: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """A new Stream user, or a partial update of one, without ``fields``."""
    if "set" in payload:
        return {**payload, "set": without(payload["set"], fields)}
    return {field: value for field, value in payload.items() if field not in fields}


def difference(payload: Mapping[str, Any], reduced: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``payload`` that are missing in ``reduced``, with their values."""
    before, after = payload.get("set", payload), reduced.get("set", reduced)
    return {field: value for field, value in before.items() if field not in after}


def changes_nothing(payload: Mapping[str, Any]) -> bool:
    """Whether ``payload`` is a partial update without changes."""
    return payload.get("set") == {} and not payload.get("unset")


def documents_differ(state: FirebaseState, config: Config = DEFAULTS) -> bool:
    """Whether a user lacks a document, or has a profile that must follow a change."""
    return bool(lacking(state, config) or profile_update(state, config))


def lacking(state: FirebaseState, config: Config = DEFAULTS) -> list[str]:
    """The documents that a user lacks and that are ours to create, by field of ``state``."""
    ours = ("user", "profile", "stats") if config.users.create else ("profile", "stats")
    return [field for field in ours if getattr(state, field) is None]


def profile_update(state: FirebaseState, config: Config = DEFAULTS) -> dict[str, Any]:
    """The update of a profile in the fields that its owner has not edited; empty if not needed.

    Empty, too, if Firestore refused the same update before: the profile has no room for it.
    """
    profile = state.profile or {}
    mirrored = profile.get("mirrored")
    if not isinstance(mirrored, Mapping):
        return {}
    owned = owned_fields(state, config)
    update: dict[str, Any] = {}
    for name, (ours, _, clean) in _PUBLIC.items():
        edited = _cleaned(profile.get(ours), clean) != _cleaned(mirrored.get(ours), clean)
        if not edited and name in owned and owned[name] != profile.get(ours):
            update |= {ours: owned[name], f"mirrored.{ours}": owned[name]}
    return {} if refusal("profile", update) in state.refused else update


def missing_documents(
    state: FirebaseState, now: object, config: Config = DEFAULTS
) -> dict[str, dict[str, Any]]:
    """The documents to create for a user, by field of ``state``; existing ones are left alone.

    ``now`` is a datetime or Firestore's server timestamp. ``users/{uid}`` is created from Auth's
    data, so only with a known account.
    """
    account = state.account
    created_at = (account and account.created_at) or (state.user or {}).get("createdAt")
    if not isinstance(created_at, datetime):
        created_at = now
    missing = lacking(state, config)
    documents: dict[str, dict[str, Any]] = {}
    if "user" in missing and account:
        documents["user"] = _new_user(account, created_at, now)
    if "profile" in missing:
        documents["profile"] = _new_profile(state, created_at, now, config)
    if "stats" in missing:
        documents["stats"] = new_stats(created_at, now)
    return documents


def without_unused_names(document: Document, lists: Sequence[Paths]) -> dict[str, Any]:
    """``document`` without the names and pictures that another one comes before.

    ``lists`` are the fields of names and those of pictures. The first text counts, or a null before
    it. The first field of each list stays whatever it says: in a profile its owner edits it.
    """
    unused: set[str] = set()
    for names, clean in zip(lists, (_name, _picture), strict=False):
        present = (name for name in names if name in document)
        counting = (
            one for one in present if document[one] is None or _usable(document[one], clean)
        )
        unused |= {*names[1:]} - {next(counting, "")}
    return {field: value for field, value in document.items() if field not in unused}


def _new_user(account: Account, created_at: object, now: object) -> dict[str, Any]:
    stated = {
        "displayName": _in_auth(account, "display_name", _name),
        "photoURL": _in_auth(account, "photo_url", _picture),
        "email": _in_auth(account, "email", _extra),
        "phoneNumber": _in_auth(account, "phone_number", _extra),
    }
    return {
        **{field: value for field, value in stated.items() if value is not _ABSENT},
        "createdAt": created_at,
        "updatedAt": now,
    }


def _new_profile(
    state: FirebaseState, created_at: object, now: object, config: Config
) -> dict[str, Any]:
    """Name and picture as known now, and ``mirrored``, which shows a later edit."""
    owned = owned_fields(state, config)
    mirrored = {"displayName": owned.get("name"), "photoURL": owned.get("image")}
    return {
        **config.profiles.defaults,
        **mirrored,
        "createdAt": created_at,
        "updatedAt": now,
        "mirrored": mirrored,
    }


def new_stats(created_at: object, now: object) -> dict[str, Any]:
    return {
        "createdAt": created_at,
        "conversationsStarted": 0,
        "messagesSent": 0,
        "lastActiveAt": None,
        "updatedAt": now,
    }


_ABSENT = object()

_CLAIM = "claims:"

Clean = Callable[[str], object]
"""Turns a text into its copy: blank if nothing is left, absent if it must be left out."""


def _name(text: str) -> str:
    return CONTROL.sub("", text).strip()[:MAX_NAME_LENGTH].strip()


def _picture(text: str) -> object:
    """An address with another scheme than http or https is left out: it could be a script."""
    address = text.strip()
    if not address or (len(address) <= MAX_PICTURE_LENGTH and _is_address(address)):
        return address
    return _ABSENT


def _is_address(text: str) -> bool:
    return bool(_PICTURE.fullmatch(text)) and not CONTROL.search(text)


def _extra(text: str) -> object:
    return _CONTROL_BUT_LINES.sub("", text) if len(text) <= MAX_EXTRA_LENGTH else _ABSENT


_PUBLIC: dict[str, tuple[str, str, Clean]] = {
    "name": ("displayName", "display_name", _name),
    "image": ("photoURL", "photo_url", _picture),
}
"""Of name and picture: the field in a profile of ours, that in Auth, and how it is cleaned."""


def _cleaned(value: object, clean: Clean) -> object:
    return clean(value) if isinstance(value, str) else value


def _public_value(state: FirebaseState, config: Config, name: str) -> Any:
    """Name or picture of the company, else the profile's if it is its owner's, else the user
    document's, else Auth's.

    A profile that we made is its owner's if it differs from ``mirrored``, the value last copied
    into it; a blank edit means that the owner wants none. A profile without ``mirrored``, which
    was there first, is always its owner's, as the app's own fields of every profile are, but there
    no blank counts.
    """
    field, in_auth, clean = _PUBLIC[name]
    company = state.company if state.kind != "user" else None
    in_company = _stated(company or {}, getattr(config.companies, name), clean)
    if isinstance(in_company, str):
        return in_company
    profile = state.profile or {}
    mirrored = profile.get("mirrored")
    paths: Sequence[str] = getattr(config.profiles, name)
    if isinstance(mirrored, Mapping):
        paths = [path for path in paths if field not in parts_of(path)]
        value = _cleaned(profile.get(field), clean)
        if field in profile and value != _cleaned(mirrored.get(field), clean):
            return value if value is _ABSENT or (isinstance(value, str) and value) else None
    in_profile = _stated(profile, paths, clean)
    in_user = _stated(state.user or {}, getattr(config.users, name), clean)
    return _first(in_profile, in_user, in_company, _in_auth(state.account, in_auth, clean))


def told_in_profile(profile: Document, name: str, config: Config = DEFAULTS) -> str | None:
    """``name`` or ``image`` of a profile; of one that was there first by the app's own paths."""
    field, _, clean = _PUBLIC[name]
    value = profile.get(field)
    is_ours = field in profile and isinstance(profile.get("mirrored"), Mapping)
    if not is_ours and not _usable(value, clean):
        value = _stated(profile, getattr(config.profiles, name), clean)
    return value if isinstance(value, str) else None


def _first(*values: Any) -> Any:
    """The first text among the values; without one, None if any is null, else absent."""
    texts = [value for value in values if isinstance(value, str)]
    return texts[0] if texts else None if None in values else _ABSENT


def _in_auth(account: Account | None, field: str, clean: Clean) -> Any:
    """The value in Auth. A blank one states nothing: Auth has no explicit null."""
    return _usable(getattr(account, field, None), clean) or _ABSENT


def _stated(document: Document, paths: Sequence[str], clean: Clean) -> Any:
    """The first non-blank text among ``paths``; None if a null comes first, else absent."""
    for path in paths:
        value = _joined([value_at(part, document) for part in parts_of(path)])
        stated = _text(value, clean)
        if stated is not _ABSENT:
            return stated
    return _ABSENT


def _text(value: object, clean: Clean) -> Any:
    """The copy of a text; None if it is null, absent if it is blank or no text."""
    return None if value is None else _usable(value, clean) or _ABSENT


def _joined(values: Sequence[object]) -> object:
    """The texts among the values, such as a first and a last name; without one, None if any is."""
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    if len(values) > 1 and texts:
        return " ".join(texts)
    return None if None in values else values[0]


def _usable(value: object, clean: Clean) -> str:
    """The copy of a text; empty if there is nothing to copy."""
    cleaned = clean(value) if isinstance(value, str) and value.strip() else ""
    return cleaned if isinstance(cleaned, str) else ""


def _stated_extra(path: str, document: Document | None, account: Account | None) -> Any:
    """A text, number or truth value; of e-mail and phone number Auth's if the document has none."""
    value = _value(path, document, account)
    if isinstance(value, bool | int | float):
        return value if not isinstance(value, float) or math.isfinite(value) else _ABSENT
    return _first(_text(value, _extra), _in_auth(account, _IN_AUTH.get(path, ""), _extra))


def _stated_teams(teams: Any) -> Any:
    """Texts, each once. One text alone is a list of it; a blank one is none."""
    if isinstance(teams, str):
        teams = [teams] if teams.strip() else []
    if isinstance(teams, list):
        return list(dict.fromkeys(team for team in teams if isinstance(team, str)))
    return None if teams is None else _ABSENT


def _value(path: str, document: Document | None, account: Account | None) -> Any:
    """What stands at a path of a document, or in a claim of the account; else absent."""
    if not path.startswith(_CLAIM):
        return value_at(path, document or {})
    # Without the account nothing is known of its claims.
    return account.claims.get(path.removeprefix(_CLAIM), _ABSENT) if account else _ABSENT


def value_at(path: str, document: Document) -> Any:
    """What stands at a dotted path: absent if a part is missing, None if a part is null."""
    value: Any = document
    for name in path.split("."):
        if value is None:
            return None
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def with_values(owned: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Role and teams always need a value: if unset, they are ``role`` and no teams."""
    unset: dict[str, Any] = {"role": role, "teams": []}
    return {field: unset.get(field) if value is None else value for field, value in owned.items()}


def _same(present: object, wanted: object) -> bool:
    if isinstance(present, list) and isinstance(wanted, list):
        return set(map(str, present)) == set(map(str, wanted))
    return present == wanted
