"""A user's fields and documents as Firebase states them. Pure."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .ids import Key

Document = Mapping[str, Any]

NAME_FIELDS = ("displayName", "name", "fullName", "full_name", "companyName", "company_name")
PICTURE_FIELDS = (
    *("photoURL", "photoUrl", "photo_url", "image", "image_url", "imageUrl"),
    *("avatarUrl", "avatar_url", "logoURL", "logo_url"),
)
EXTRA_FIELDS = {"email": "email", "phoneNumber": "phone_number"}
"""What an operator may also keep in Stream: the field in documents, and in Auth."""

DEFAULT_NAME = "User"

MAX_NAME_LENGTH = 256
"""In code points. A longer name is cut: Stream takes 5 KB for all fields of a user together."""

MAX_PICTURE_LENGTH = 2048
MAX_EXTRA_LENGTH = 320
"""The longest e-mail address."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of the text around them."""

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


@dataclass(frozen=True)
class FirebaseState:
    """What Firebase holds for one key. ``account`` is None if none exists or Auth was not asked.

    ``user`` is ``users/{uid}`` or ``companies/{id}``; a company has neither profile nor stats.
    """

    account: Account | None = None
    user: Document | None = None
    profile: Document | None = None
    stats: Document | None = None
    profile_version: object = None
    """Firestore's update time of the profile, so that an update applies to what was read."""

    refused: frozenset[str] = frozenset()
    """Hashes of values that Stream or Firestore refused before (see :func:`refusal`)."""


def exists(key: Key, state: FirebaseState) -> bool:
    """A user exists if the account does, a company if its document does."""
    return (state.user if key.kind == "company" else state.account) is not None


def names_user(state: FirebaseState) -> bool:
    """Whether the documents name the user, so that Auth need not be asked."""
    return isinstance(owned_fields(replace(state, account=None)).get("name"), str)


def owned_fields(state: FirebaseState, extra_fields: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of the Stream user for which Firebase holds a value; None means "unset".

    Firebase says nothing of a field that is missing here: it stays in Stream as it is.
    """
    user, account = state.user or {}, state.account
    fields: dict[str, Any] = {
        "name": _public_value(state, "displayName", NAME_FIELDS, "display_name", _name),
        "image": _public_value(state, "photoURL", PICTURE_FIELDS, "photo_url", _picture),
        "role": _ABSENT,
        "teams": _ABSENT,
        **{
            field: _first(
                _stated(user, (field,), _extra), _in_auth(account, EXTRA_FIELDS[field], _extra)
            )
            for field in extra_fields
        },
    }
    chat = user.get("chat", _ABSENT)
    if chat is None:
        chat = {"role": None, "teams": None}
    if isinstance(chat, Mapping):
        fields["role"] = _stated(chat, ("role",), str)
        fields["teams"] = _stated_teams(chat)
    return {field: value for field, value in fields.items() if value is not _ABSENT}


def new_stream_user(stream_id: str, owned: Mapping[str, Any], role: str) -> dict[str, Any]:
    """The Stream user to create. Role and teams are always sent, since UpdateUsers replaces."""
    fields = {"name": DEFAULT_NAME, **_with_values(owned, role)}
    stated = {field: value for field, value in fields.items() if value is not None}
    return {"role": role, "teams": [], **stated, "id": stream_id}


def drift(
    stream_user: Mapping[str, Any], owned: Mapping[str, Any], role: str
) -> dict[str, Any] | None:
    """The partial update that brings ``stream_user`` to the owned fields; None if they agree."""
    wanted = _with_values(owned, role)
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
    return refusal("*", {"role": role, **_with_values(rest, role)})


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


def documents_differ(state: FirebaseState) -> bool:
    """Whether a user lacks a document, or has a profile that must follow a change."""
    return None in (state.user, state.profile, state.stats) or bool(profile_update(state))


def profile_update(state: FirebaseState) -> dict[str, Any]:
    """The update of a profile in the fields that its owner has not edited; empty if not needed.

    Empty, too, if Firestore refused the same update before: the profile has no room for it.
    """
    profile = state.profile or {}
    mirrored = profile.get("mirrored")
    if not isinstance(mirrored, Mapping):
        return {}
    owned = owned_fields(state)
    update: dict[str, Any] = {}
    for field, stream_field, clean in (
        ("displayName", "name", _name),
        ("photoURL", "image", _picture),
    ):
        edited = _cleaned(profile.get(field), clean) != _cleaned(mirrored.get(field), clean)
        if not edited and stream_field in owned and owned[stream_field] != profile.get(field):
            update |= {field: owned[stream_field], f"mirrored.{field}": owned[stream_field]}
    return {} if refusal("profile", update) in state.refused else update


def missing_documents(state: FirebaseState, now: object) -> dict[str, dict[str, Any]]:
    """The documents to create for a user, by field of ``state``; existing ones are left alone.

    ``now`` is a datetime or Firestore's server timestamp. ``users/{uid}`` is created from Auth's
    data, so only with a known account.
    """
    account = state.account
    created_at = (account and account.created_at) or (state.user or {}).get("createdAt")
    if not isinstance(created_at, datetime):
        created_at = now
    missing: dict[str, dict[str, Any]] = {}
    if state.user is None and account:
        missing["user"] = _new_user(account, created_at, now)
    if state.profile is None:
        missing["profile"] = _new_profile(state, created_at, now)
    if state.stats is None:
        missing["stats"] = new_stats(created_at, now)
    return missing


def without_unused_names(document: Document) -> dict[str, Any]:
    """``document`` without the names and pictures that another comes before.

    The first field of either stays whatever it says: in a profile its owner edits it.
    """
    unused: set[str] = set()
    for aliases, clean in ((NAME_FIELDS, _name), (PICTURE_FIELDS, _picture)):
        stating = (field for field in aliases if _stated(document, (field,), clean) is not _ABSENT)
        unused |= {*aliases[1:]} - {next(stating, "")}
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


def _new_profile(state: FirebaseState, created_at: object, now: object) -> dict[str, Any]:
    """Name and picture as known now, and ``mirrored``, which shows a later edit."""
    owned = owned_fields(state)
    mirrored = {"displayName": owned.get("name"), "photoURL": owned.get("image")}
    return {
        **mirrored,
        "preferences": {},
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

Clean = Callable[[str], object]
"""Turns a text into its copy: blank if nothing is left, absent if it must be left out."""


def _name(text: str) -> str:
    return _CONTROL.sub("", text).strip()[:MAX_NAME_LENGTH].strip()


def _picture(text: str) -> object:
    """An address with another scheme than http or https is left out: it could be a script."""
    address = text.strip()
    if not address or (len(address) <= MAX_PICTURE_LENGTH and _is_address(address)):
        return address
    return _ABSENT


def _is_address(text: str) -> bool:
    return bool(_PICTURE.fullmatch(text)) and not _CONTROL.search(text)


def _extra(text: str) -> object:
    return text if len(text) <= MAX_EXTRA_LENGTH else _ABSENT


def _cleaned(value: object, clean: Clean) -> object:
    return clean(value) if isinstance(value, str) else value


def _public_value(
    state: FirebaseState, field: str, aliases: Sequence[str], in_auth: str, clean: Clean
) -> Any:
    """Name or picture: the profile's if its owner edited it, else the user document's, else Auth's.

    The profile was edited if it differs from ``mirrored``, the value last copied into it; a blank
    edit means that the owner wants none. A profile without ``mirrored`` counts only if the user
    document has no value.
    """
    profile = state.profile or {}
    in_profile = _stated(profile, (field,), clean)
    mirrored = profile.get("mirrored")
    if isinstance(mirrored, Mapping):
        value = _cleaned(profile.get(field), clean)
        if field in profile and value != _cleaned(mirrored.get(field), clean):
            return value if value is _ABSENT or (isinstance(value, str) and value) else None
        in_profile = _ABSENT
    in_user = _stated(state.user or {}, aliases, clean)
    return _first(in_user, in_profile, _in_auth(state.account, in_auth, clean))


def _first(*values: Any) -> Any:
    """The first text among the values; without one, None if any is null, else absent."""
    texts = [value for value in values if isinstance(value, str)]
    return texts[0] if texts else None if None in values else _ABSENT


def _in_auth(account: Account | None, field: str, clean: Clean) -> Any:
    """The value in Auth. A blank one states nothing: Auth has no explicit null."""
    stated = _stated({field: getattr(account, field, None)}, (field,), clean)
    return _ABSENT if stated is None else stated


def _stated(document: Document, fields: Sequence[str], clean: Clean) -> Any:
    """The first non-blank text among ``fields``; None if a null comes first, else absent."""
    for field in fields:
        value = document.get(field, _ABSENT)
        if value is None:
            return None
        if isinstance(value, str) and value.strip():
            cleaned = clean(value)
            if isinstance(cleaned, str) and cleaned:
                return cleaned
    return _ABSENT


def _stated_teams(chat: Document) -> Any:
    teams = chat.get("teams", _ABSENT)
    if isinstance(teams, list):
        return list(dict.fromkeys(team for team in teams if isinstance(team, str)))
    return None if teams is None else _ABSENT


def _with_values(owned: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Role and teams always need a value: if unset, they are ``role`` and no teams."""
    unset: dict[str, Any] = {"role": role, "teams": []}
    return {field: unset.get(field) if value is None else value for field, value in owned.items()}


def _same(present: object, wanted: object) -> bool:
    if isinstance(present, list) and isinstance(wanted, list):
        return set(map(str, present)) == set(map(str, wanted))
    return present == wanted
