"""What Firestore says of names, field paths and values: pure functions for the in-memory API.

From its documentation ("Usage and limits", "Storage size calculations", "Supported data types"),
and where that is silent, from its emulator. Values are those of the protocol, not of proto-plus.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.api_core.exceptions import InvalidArgument

MAX_REQUEST_BYTES = 10 * 1024 * 1024
MAX_DOCUMENT_BYTES = 1_048_576
MAX_VALUE_BYTES = 1_048_487
MAX_DOCUMENT_NAME_BYTES = 6 * 1024
MAX_NAME_BYTES = 1_500
"""Of an id, a field's name, and a field's path."""
MAX_DEPTH = 20
MAX_DIMENSIONS = 2_048
MAX_TRANSFORMS = 500
"""On one document in one commit."""

_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # years 1 to 9999
_DATASTORE_ID = re.compile(r"__id[0-9]+__")
_SEGMENT = r"[a-zA-Z_][a-zA-Z_0-9]*|`(?:[^`\\]|\\.)+`"
_PATH = re.compile(rf"(?:{_SEGMENT})(?:\.(?:{_SEGMENT}))*", re.DOTALL)
_KINDS = (
    *("null_value", "boolean_value", "number", "timestamp_value", "string_value", "bytes_value"),
    *("reference_value", "geo_point_value", "array_value", "vector", "map_value"),
)
"""In the order in which values of different types are sorted."""
NAN = (_KINDS.index("number"), (False, 0))
"""Sorts before all numbers, and is neither less nor greater than any of them."""


def check_name(name: str, is_written: bool = True) -> None:
    """Raise InvalidArgument for what is no name of a document.

    Lengths are checked of what is written only: to look for too long an id finds nothing.
    """
    parts = name.split("/")
    ids = parts[5:]
    if parts[0:5:2] != ["projects", "databases", "documents"] or not ids or len(ids) % 2:
        raise InvalidArgument(f"{name!r} is no name of a document")
    for one in ids:
        if one in ("", ".", "..") or (is_reserved(one) and not _DATASTORE_ID.fullmatch(one)):
            raise InvalidArgument(f"the id {one!r} is not allowed")
        if is_written and len(one.encode()) > MAX_NAME_BYTES:
            raise InvalidArgument(f"the id {one[:20]!r}... is too long")
    # The emulator does not know of this limit.
    if is_written and sum(len(one.encode()) + 1 for one in ids) > MAX_DOCUMENT_NAME_BYTES:
        raise InvalidArgument(f"the name {name[:80]!r}... is too long")


def is_reserved(name: str) -> bool:
    """As documented. The emulator takes ``____``."""
    return len(name) >= 4 and name.startswith("__") and name.endswith("__")


def parse_path(path: str) -> list[str]:
    """The names in the path of a field. Raises InvalidArgument for what is none."""
    if not _PATH.fullmatch(path):
        raise InvalidArgument(f"{path!r} is no path of a field")
    segments = re.findall(_SEGMENT, path, re.DOTALL)
    names = [re.sub(r"\\(.)", r"\1", s[1:-1]) if s[0] == "`" else s for s in segments]
    if any(is_reserved(name) and name != "__name__" for name in names):
        raise InvalidArgument(f"{path!r} has a reserved name in it")
    if len(path.encode()) > MAX_NAME_BYTES or len(names) > MAX_DEPTH:
        raise InvalidArgument(f"the path {path[:20]!r}... is too long")
    return names


def check_fields(fields: Mapping[str, Any], depth: int = 0) -> None:
    """Raise InvalidArgument for names and values that no document can have.

    Times lose what is beyond microseconds, in place, as when they are stored.
    """
    for name, value in fields.items():
        if not name or is_reserved(name) or len(name.encode()) > MAX_NAME_BYTES:
            raise InvalidArgument(f"the field name {name[:20]!r} is not allowed")
        _check_value(value, depth)


def _check_value(value: Any, depth: int, is_in_array: bool = False) -> None:
    kind = kind_of(value)
    match kind:
        case None:
            raise InvalidArgument("a value without a type")
        case "string_value" | "bytes_value":
            if _size_of_value(value) - (kind == "string_value") > MAX_VALUE_BYTES:
                raise InvalidArgument(f"a value is longer than {MAX_VALUE_BYTES} bytes")
        case "timestamp_value":
            moment = value.timestamp_value
            if not (_FIRST_SECOND <= moment.seconds <= _LAST_SECOND and 0 <= moment.nanos < 10**9):
                raise InvalidArgument("a time beyond the years 1 to 9999")
            moment.nanos -= moment.nanos % 1000
        case "geo_point_value":
            point = value.geo_point_value
            if not (-90 <= point.latitude <= 90 and -180 <= point.longitude <= 180):
                raise InvalidArgument("no such place")
        case "reference_value":
            check_name(value.reference_value)
        case "array_value" | "vector" if is_in_array:
            raise InvalidArgument("an array cannot hold an array or a vector")
        case "vector":
            _check_vector(value.map_value.fields)
        case "array_value" | "map_value" if depth == MAX_DEPTH:
            raise InvalidArgument(f"values are nested deeper than {MAX_DEPTH}")
        case "array_value":
            for one in value.array_value.values:
                _check_value(one, depth + 1, is_in_array=True)
        case "map_value":
            check_fields(value.map_value.fields, depth + 1)


def _check_vector(fields: Mapping[str, Any]) -> None:
    """A map that has ``__type__`` is a vector, or nothing that can be stored."""
    if fields["__type__"].string_value != "__vector__" or set(fields) != {"__type__", "value"}:
        raise InvalidArgument("a map with __type__ that is no vector")
    dimensions = fields["value"].array_value.values
    if not 1 <= len(dimensions) <= MAX_DIMENSIONS:
        raise InvalidArgument("a vector has no dimension, or too many")
    for one in dimensions:
        if one.WhichOneof("value_type") != "double_value" or math.isnan(one.double_value):
            raise InvalidArgument("a vector holds floating-point numbers")


def kind_of(value: Any) -> str | None:
    """The type of a value, as in the protocol but for ``number`` and ``vector``."""
    kind: str | None = value.WhichOneof("value_type")
    if kind in ("integer_value", "double_value"):
        return "number"
    if kind == "map_value" and "__type__" in value.map_value.fields:
        return "vector"
    return kind


def size_of_document(name: str, fields: Mapping[str, Any]) -> int:
    return _size_of_name(name) + _size_of_fields(fields) + 32


def _size_of_name(name: str) -> int:
    return sum(map(_size_of_text, name.split("/")[5:])) + 16


def _size_of_fields(fields: Mapping[str, Any]) -> int:
    return sum(_size_of_text(name) + _size_of_value(value) for name, value in fields.items())


def _size_of_text(text: str) -> int:
    return (len(text) if text.isascii() else len(text.encode())) + 1


def _size_of_value(value: Any) -> int:
    """As documented; that an empty array or map takes a byte is from the emulator."""
    match kind_of(value):
        case "null_value" | "boolean_value":
            return 1
        case "string_value":
            return _size_of_text(value.string_value)
        case "bytes_value":
            return len(value.bytes_value)
        case "reference_value":
            return _size_of_name(value.reference_value)
        case "geo_point_value":
            return 16
        case "array_value":
            return max(1, sum(map(_size_of_value, value.array_value.values)))
        case "vector":
            return 8 * len(value.map_value.fields["value"].array_value.values)
        case "map_value":
            return max(1, _size_of_fields(value.map_value.fields))
    return 8


def comparable(value: Any) -> tuple[int, Any]:
    """What sorts as the value does in Firestore: by type, then within the type."""
    kind = kind_of(value)
    if kind is None:
        raise ValueError("a value without a type")
    return _KINDS.index(kind), _comparable_within(kind, value)


def _comparable_within(kind: str, value: Any) -> Any:
    match kind:
        case "null_value":
            return 0
        case "number":
            number = getattr(value, value.WhichOneof("value_type"))
            return (False, 0) if math.isnan(number) else (True, number)
        case "timestamp_value":
            return value.timestamp_value.seconds, value.timestamp_value.nanos
        case "string_value":
            return value.string_value.encode()
        case "reference_value":
            return comparable_name(value.reference_value)
        case "geo_point_value":
            return value.geo_point_value.latitude, value.geo_point_value.longitude
        case "array_value":
            return list(map(comparable, value.array_value.values))
        case "vector":
            dimensions = value.map_value.fields["value"].array_value.values
            return len(dimensions), [one.double_value for one in dimensions]
        case "map_value":
            fields = value.map_value.fields
            return [(name.encode(), comparable(fields[name])) for name in sorted(fields)]
    return getattr(value, kind)


def comparable_name(name: str) -> list[bytes]:
    return [part.encode() for part in name.split("/")]


def field_at(path: Iterable[str], fields: Mapping[str, Any]) -> Any | None:
    """The value at a path, if there is one."""
    value = None
    for name in path:
        if name not in fields:
            return None
        value = fields[name]
        fields = value.map_value.fields
    return value
