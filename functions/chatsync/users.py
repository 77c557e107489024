"""What a user should look like, given what Firebase says. Pure; standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Document = Mapping[str, Any]

NAME_FIELDS = ("displayName", "name", "fullName", "full_name", "companyName", "company_name")
PICTURE_FIELDS = (
    *("photoURL", "photoUrl", "photo_url", "image", "image_url", "imageUrl"),
    *("avatarUrl", "avatar_url", "logoURL", "logo_url"),
)
DEFAULT_NAME = "User"


@dataclass(frozen=True)
class Account:
    """A Firebase Auth account, as far as the repair needs it."""

    uid: str
    created_at: datetime
    display_name: str | None = None
    photo_url: str | None = None
    email: str | None = None
    phone_number: str | None = None
    disabled: bool = False


@dataclass(frozen=True)
class Firebase:
    """What Firebase holds for one key. ``account`` is None where none exists or none was asked for.

    ``user`` is ``users/{uid}`` or ``companies/{id}``; a company has neither profile nor stats.
    """

    account: Account | None = None
    user: Document | None = None
    profile: Document | None = None
    stats: Document | None = None


def names_user(firebase: Firebase) -> bool:
    """Whether the documents name the user, so that Auth need not be asked."""
    return isinstance(_public_value(firebase, "displayName", NAME_FIELDS, None), str)


def owned_fields(firebase: Firebase, extra_fields: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of the Stream user for which Firebase holds a value; None stands for "unset".

    A field that is missing here is not Firebase's, and stays in Stream as it is.
    """
    account = firebase.account
    fields: dict[str, Any] = {
        "name": _public_value(
            firebase, "displayName", NAME_FIELDS, account.display_name if account else None
        ),
        "image": _public_value(
            firebase, "photoURL", PICTURE_FIELDS, account.photo_url if account else None
        ),
    }
    user = firebase.user or {}
    chat = user.get("chat")
    if isinstance(chat, Mapping):
        role, teams = chat.get("role"), chat.get("teams")
        fields["role"] = role if isinstance(role, str) and role else _ABSENT
        fields["teams"] = list(teams) if isinstance(teams, list | tuple) else _ABSENT
    for field in extra_fields:
        fields[field] = _first_text(user, (field,))
    return {field: value for field, value in fields.items() if value is not _ABSENT}


def new_stream_user(stream_id: str, owned: Mapping[str, Any], role: str) -> dict[str, Any]:
    """The Stream user to create. Role and teams are always sent, since UpdateUsers replaces."""
    stated = {field: value for field, value in owned.items() if value is not None}
    return {"name": DEFAULT_NAME, "role": role, "teams": [], **stated, "id": stream_id}


def drift(stream_user: Mapping[str, Any], owned: Mapping[str, Any]) -> dict[str, Any] | None:
    """The partial update that brings ``stream_user`` to the owned fields; None if they agree."""
    to_set = {
        field: value
        for field, value in owned.items()
        if value is not None and not _same(stream_user.get(field), value)
    }
    to_unset = [field for field, value in owned.items() if value is None and stream_user.get(field)]
    if not to_set and not to_unset:
        return None
    return {"id": stream_user["id"], "set": to_set, "unset": to_unset}


def missing_documents(firebase: Firebase, now: object) -> dict[str, dict[str, Any]]:
    """What to create for a user, by field of ``firebase``; existing documents are left alone.

    ``now`` is a datetime or Firestore's server timestamp. ``users/{uid}`` is made of what Auth has,
    so it is only created with a known account.
    """
    account = firebase.account
    created_at = account.created_at if account else (firebase.user or {}).get("createdAt")
    if not isinstance(created_at, datetime):
        created_at = now
    missing: dict[str, dict[str, Any]] = {}
    if firebase.user is None and account:
        missing["user"] = _new_user(account, now)
    if firebase.profile is None:
        missing["profile"] = _new_profile(firebase, created_at, now)
    if firebase.stats is None:
        missing["stats"] = _new_stats(created_at, now)
    return missing


def _new_user(account: Account, now: object) -> dict[str, Any]:
    stated = {
        "displayName": account.display_name,
        "photoURL": account.photo_url,
        "email": account.email,
        "phoneNumber": account.phone_number,
    }
    return {
        **{field: value for field, value in stated.items() if value},
        "createdAt": account.created_at,
        "updatedAt": now,
    }


def _new_profile(firebase: Firebase, created_at: object, now: object) -> dict[str, Any]:
    """Name and picture as known now, and ``mirrored``, by which a later edit is told."""
    owned = owned_fields(firebase)
    mirrored = {"displayName": owned.get("name"), "photoURL": owned.get("image")}
    return {
        **mirrored,
        "preferences": {},
        "createdAt": created_at,
        "updatedAt": now,
        "mirrored": mirrored,
    }


def _new_stats(created_at: object, now: object) -> dict[str, Any]:
    return {
        "createdAt": created_at,
        "conversationsStarted": 0,
        "messagesSent": 0,
        "lastActiveAt": None,
        "updatedAt": now,
    }


_ABSENT = object()


def _public_value(
    firebase: Firebase, field: str, aliases: Sequence[str], in_account: str | None
) -> Any:
    """Name or picture: the profile's if its owner edited it, else the user document's, else Auth's.

    The profile was edited if it differs from ``mirrored``, the value last copied into it.
    """
    profile = firebase.profile or {}
    mirrored = profile.get("mirrored")
    if isinstance(mirrored, Mapping) and field in profile:
        edited = _first_text(profile, (field,))
        if edited is not _ABSENT and edited != mirrored.get(field):
            return edited
    in_document = _first_text(firebase.user or {}, aliases)
    if isinstance(in_document, str):
        return in_document
    return in_account or in_document


def _first_text(document: Document, fields: Sequence[str]) -> Any:
    """The first non-blank string among ``fields``; else None if one is null; else absent."""
    values = [document[field] for field in fields if field in document]
    for value in values:
        if isinstance(value, str) and value.strip():
            return value
    return None if None in values else _ABSENT


def _same(present: object, wanted: object) -> bool:
    if isinstance(present, list) and isinstance(wanted, list):
        return sorted(map(str, present)) == sorted(map(str, wanted))
    return present == wanted
