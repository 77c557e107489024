"""Keys and the Stream user ids made from them, both ways. Standard library only.

A user's key has the id that Firebase uses: the uid of an account or the id of a company document.
Stream allows ``A-Z a-z 0-9 _ - @`` in a user id, 255 at most (Stream documentation, "User IDs").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .errors import InvalidArgument

Kind = Literal["user", "company", "conversation"]
"""Conversations have keys as well, but no Stream user."""

MAX_KEYS = 100
MAX_KEY_LENGTH = 128
MAX_STREAM_ID_LENGTH = 255

_TO_ESCAPE = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPED = re.compile(r"(?:@[0-9a-f]{2})+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_RESERVED = re.compile(r"__.*__", re.DOTALL)


class Key(NamedTuple):
    """The kind and the id of a user, a company or a conversation."""

    kind: Kind
    id: str


@dataclass(frozen=True)
class IdFormat:
    """The prefix before the escaped key in the Stream ids of each kind; the two must differ."""

    user_prefix: str = ""
    company_prefix: str = "company_"

    def stream_id(self, key: Key) -> str:
        """The Stream user id of ``key``; distinct keys never share one.

        Every character outside ``A-Za-z0-9_-`` is written as ``@`` and two hex digits per UTF-8
        byte. A key that would read as one of the other kind gets its first character escaped too.
        """
        plain = self._prefix(key.kind) + _escape(key.id)
        if self._reads_as(plain) == key.kind:
            return plain
        return self._prefix(key.kind) + _hex(key.id[0]) + _escape(key.id[1:])

    def key(self, stream_id: str) -> Key | None:
        """The key of a Stream user id, or None if this format did not make the id.

        None, too, if the key would be impossible (see :func:`check_key`).
        """
        kind = self._reads_as(stream_id)
        if kind is None:
            return None
        try:
            key_id = _unescape(stream_id[len(self._prefix(kind)) :])
            key = check_key(key_id, "id", kind, self)
        except (InvalidArgument, UnicodeError):
            return None
        return key if self.stream_id(key) == stream_id else None

    def _prefix(self, kind: Kind) -> str:
        return self.user_prefix if kind == "user" else self.company_prefix

    def _reads_as(self, stream_id: str) -> Kind | None:
        by_length: list[Kind] = ["user", "company"]
        by_length.sort(key=lambda kind: -len(self._prefix(kind)))
        return next((kind for kind in by_length if stream_id.startswith(self._prefix(kind))), None)


def check_key(value: object, field: str, kind: Kind, id_format: IdFormat) -> Key:
    """``value`` as a key. Raises InvalidArgument, which names ``field``.

    It refuses what cannot be the id of a Firestore document or of a Stream user: not a string,
    empty, over 128 characters, ``/``, ``.``, ``..``, ``__x__``, control characters, lone
    surrogates, and over 255 characters when escaped.
    """
    if value is None:
        raise InvalidArgument(field, "is missing")
    if not isinstance(value, str):
        raise InvalidArgument(field, "must be a string")
    if not value:
        raise InvalidArgument(field, "must not be empty")
    if len(value) > MAX_KEY_LENGTH:
        raise InvalidArgument(field, f"must not be longer than {MAX_KEY_LENGTH} characters")
    if "/" in value or value in (".", "..") or _RESERVED.fullmatch(value):
        raise InvalidArgument(field, "must not contain '/', nor be '.', '..' or '__...__'")
    if is_unprintable(value):
        raise InvalidArgument(field, "must not contain control characters or lone surrogates")
    key = Key(kind, value)
    if len(id_format.stream_id(key)) > MAX_STREAM_ID_LENGTH:
        raise InvalidArgument(
            field, f"must not be longer than {MAX_STREAM_ID_LENGTH} characters when escaped"
        )
    return key


def is_possible(key: Key, id_format: IdFormat) -> bool:
    """Whether the key is a possible id in Firestore and in Stream."""
    try:
        check_key(key.id, "id", key.kind, id_format)
    except InvalidArgument:
        return False
    return True


def check_member(value: object, field: str, id_format: IdFormat) -> Key:
    """A uid, or ``{"companyId": id}``, as a key. Raises InvalidArgument, which names ``field``."""
    if not isinstance(value, dict):
        return check_key(value, field, "user", id_format)
    if value.keys() != {"companyId"}:
        raise InvalidArgument(field, 'must be a uid or {"companyId": id}')
    return check_key(value["companyId"], f"{field}.companyId", "company", id_format)


def is_unprintable(text: str) -> bool:
    """Whether it has control characters, or lone surrogates, which no document can hold."""
    return bool(_CONTROL.search(text) or _SURROGATE.search(text))


def check_members(fields: Mapping[str, object], field: str, id_format: IdFormat) -> list[Key]:
    """``fields[field]`` as 1 to 100 keys. Raises InvalidArgument, which names field or item."""
    values = fields.get(field)
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_KEYS:
        raise InvalidArgument(field, f"must be a list of 1 to {MAX_KEYS} ids")
    return [
        check_member(value, f"{field}[{place}]", id_format) for place, value in enumerate(values)
    ]


def named(key: Key) -> str | dict[str, str]:
    """How a caller names a user or a company."""
    return key.id if key.kind == "user" else {"companyId": key.id}


def document_id(text: str) -> str:
    """``text`` as the id of a document: escaped only if Firestore does not allow it as it is."""
    escaped = _NOT_IN_DOCUMENT_ID.sub(_percent, text)
    if escaped in (".", "..") or _RESERVED.fullmatch(escaped):
        return f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return escaped


_NOT_IN_DOCUMENT_ID = re.compile(r"[/%\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode(errors="surrogatepass"))


def _escape(text: str) -> str:
    return _TO_ESCAPE.sub(lambda match: _hex(match[0]), text)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[0].replace("@", "")).decode(), text)


def _hex(character: str) -> str:
    return "".join(f"@{byte:02x}" for byte in character.encode())
