"""What a user should look like, given what Firebase says. Pure."""

from collections.abc import Mapping, Sequence
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
"""What an operator may choose to keep in Stream as well: in documents, and in Auth."""

DEFAULT_NAME = "User"


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
    """Without provider, e-mail and phone; accounts of custom tokens look the same."""


@dataclass(frozen=True)
class Held:
    """What Firebase holds for one key. ``account`` is None where none exists or none was asked for.

    ``user`` is ``users/{uid}`` or ``companies/{id}``; a company has neither profile nor stats.
    """

    account: Account | None = None
    user: Document | None = None
    profile: Document | None = None
    stats: Document | None = None
    profile_version: object = None
    """Firestore's update time of the profile, for changing just what was read."""


def exists(key: Key, held: Held) -> bool:
    """A user exists if the account does, a company if its document does."""
    return (held.user if key.kind == "company" else held.account) is not None


def names_user(held: Held) -> bool:
    """Whether the documents name the user, so that Auth need not be asked."""
    return isinstance(owned_fields(replace(held, account=None)).get("name"), str)


def owned_fields(held: Held, extra_fields: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of the Stream user for which Firebase holds a value; None stands for "unset".

    A field that is missing here is not Firebase's, and stays in Stream as it is.
    """
    user, account = held.user or {}, held.account
    fields: dict[str, Any] = {
        "name": _public_value(held, "displayName", NAME_FIELDS, "display_name"),
        "image": _public_value(held, "photoURL", PICTURE_FIELDS, "photo_url"),
        "role": _ABSENT,
        "teams": _ABSENT,
        **{
            field: _first(_stated(user, (field,)), _in_auth(account, EXTRA_FIELDS[field]))
            for field in extra_fields
        },
    }
    chat = user.get("chat", _ABSENT)
    if chat is None:
        chat = {"role": None, "teams": None}
    if isinstance(chat, Mapping):
        fields["role"] = _stated(chat, ("role",))
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


def has(payload: Mapping[str, Any], fields: Sequence[str]) -> bool:
    """Whether a new Stream user or a partial update of one sets all of ``fields``."""
    to_set: Mapping[str, Any] = payload.get("set", payload)
    return set(fields) <= to_set.keys()


def without(payload: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """A new Stream user or a partial update of one, without some of its fields."""
    if "set" in payload:
        return {**payload, "set": without(payload["set"], fields)}
    return {field: value for field, value in payload.items() if field not in fields}


def changes_nothing(payload: Mapping[str, Any]) -> bool:
    """Whether this is a partial update with nothing in it."""
    return payload.get("set") == {} and not payload.get("unset")


def documents_differ(held: Held) -> bool:
    """Whether a user lacks a document, or has a profile that should follow."""
    return None in (held.user, held.profile, held.stats) or bool(profile_update(held))


def profile_update(held: Held) -> dict[str, Any]:
    """The update by which a profile follows in the fields its owner has not edited."""
    profile = held.profile or {}
    mirrored = profile.get("mirrored")
    if not isinstance(mirrored, Mapping):
        return {}
    owned = owned_fields(held)
    update: dict[str, Any] = {}
    for field, stream_field in (("displayName", "name"), ("photoURL", "image")):
        edited = profile.get(field) != mirrored.get(field)
        if not edited and stream_field in owned and owned[stream_field] != profile.get(field):
            update |= {field: owned[stream_field], f"mirrored.{field}": owned[stream_field]}
    return update


def missing_documents(held: Held, now: object) -> dict[str, dict[str, Any]]:
    """What to create for a user, by field of ``held``; existing documents are left alone.

    ``now`` is a datetime or Firestore's server timestamp. ``users/{uid}`` is made of what Auth has,
    so it is only created with a known account.
    """
    account = held.account
    created_at = (account and account.created_at) or (held.user or {}).get("createdAt")
    if not isinstance(created_at, datetime):
        created_at = now
    missing: dict[str, dict[str, Any]] = {}
    if held.user is None and account:
        missing["user"] = _new_user(account, created_at, now)
    if held.profile is None:
        missing["profile"] = _new_profile(held, created_at, now)
    if held.stats is None:
        missing["stats"] = new_stats(created_at, now)
    return missing


def _new_user(account: Account, created_at: object, now: object) -> dict[str, Any]:
    stated = {
        "displayName": account.display_name,
        "photoURL": account.photo_url,
        "email": account.email,
        "phoneNumber": account.phone_number,
    }
    return {
        **{field: value for field, value in stated.items() if value},
        "createdAt": created_at,
        "updatedAt": now,
    }


def _new_profile(held: Held, created_at: object, now: object) -> dict[str, Any]:
    """Name and picture as known now, and ``mirrored``, by which a later edit is told."""
    owned = owned_fields(held)
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


def _public_value(held: Held, field: str, aliases: Sequence[str], in_auth: str) -> Any:
    """Name or picture: the profile's if its owner edited it, else the user document's, else Auth's.

    The profile was edited if it differs from ``mirrored``, the value last copied into it; edited
    to a blank, its owner wants none. In a profile without ``mirrored`` nobody can tell: it counts
    where the user document has nothing.
    """
    profile = held.profile or {}
    in_profile = _stated(profile, (field,))
    mirrored = profile.get("mirrored")
    if isinstance(mirrored, Mapping):
        if field in profile and profile[field] != mirrored.get(field):
            return in_profile if isinstance(in_profile, str) else None
        in_profile = _ABSENT
    return _first(_stated(held.user or {}, aliases), in_profile, _in_auth(held.account, in_auth))


def _first(*values: Any) -> Any:
    """The first text among the values; without one, None if any is null, else absent."""
    texts = [value for value in values if isinstance(value, str)]
    return texts[0] if texts else None if None in values else _ABSENT


def _in_auth(account: Account | None, field: str) -> Any:
    """A blank in Auth states nothing: nobody can write an explicit null there."""
    value = getattr(account, field, None)
    return value if value and value.strip() else _ABSENT


def _stated(document: Document, fields: Sequence[str]) -> Any:
    """The first non-blank text among ``fields``, None if it is null, absent if there is neither."""
    for field in fields:
        value = document.get(field, _ABSENT)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
    return _ABSENT


def _stated_teams(chat: Document) -> Any:
    teams = chat.get("teams", _ABSENT)
    if isinstance(teams, list):
        return list(dict.fromkeys(team for team in teams if isinstance(team, str)))
    return None if teams is None else _ABSENT


def _with_values(owned: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Role and teams cannot be without a value: unset, they are ``role`` and none."""
    unset: dict[str, Any] = {"role": role, "teams": []}
    return {field: unset.get(field) if value is None else value for field, value in owned.items()}


def _same(present: object, wanted: object) -> bool:
    if isinstance(present, list) and isinstance(wanted, list):
        return set(map(str, present)) == set(map(str, wanted))
    return present == wanted
