"""Checks that several operations share."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from typing import Any

from .errors import bad_input, reserved_fields, too_large

MAX_ITEMS = 100
MAX_DEPTH = 100  # assumed: Stream documents none
MAX_CUSTOM_BYTES = 5 * 1024
GO_TYPES = {str: "string", bool: "bool", int: "number", list: "array", dict: "object"}


def json_object(raw: str | bytes) -> dict[str, Any]:
    """Refused: what is no object, too deep to be worked on, or JSON only for Python."""
    try:
        # Python also reads NaN and Infinity, and 1e400 as infinity.
        body = json.loads(raw, parse_constant=finite_number, parse_float=finite_number)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or is_too_deep(body):
        raise bad_input("invalid json data")
    return body


def finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def is_too_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inside = [item.values() if isinstance(item, dict) else item for item in level]
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def given_fields(body: dict[str, Any]) -> dict[str, Any]:
    """Without those that are null, which Stream's SDKs send for what an app left out."""
    return {key: value for key, value in body.items() if value is not None}


def refuse_wrong_types(data: dict[str, Any], types: dict[str, type], label: str) -> None:
    for field, expected in types.items():
        if field not in data:
            continue
        # By type for numbers, because in Python true is one.
        is_fine = type(data[field]) is int if expected is int else isinstance(data[field], expected)
        if not is_fine:
            raise bad_input(f"field `{label}.{field}` must be of type {GO_TYPES[expected]}")


def refuse_reserved(data: dict[str, Any], reserved: set[str], label: str) -> None:
    """Also finds reserved fields in dotted paths."""
    if found := [f"{label}.{key}" for key in data if key.split(".")[0] in reserved]:
        raise reserved_fields(found)


def patched(record: dict[str, Any], change: dict[str, Any], label: str) -> dict[str, Any]:
    """A copy with a partial update's dotted paths set and unset."""
    to_set, to_unset = set_and_unset(change, label)
    draft = deepcopy(record)
    for path, value in to_set.items():
        *parents, key = segments(path)
        parent_object(draft, parents, path)[key] = value
    for path in to_unset:
        *parents, key = segments(path)
        parent_object(draft, parents, path).pop(key, None)
    return draft


def set_and_unset(change: dict[str, Any], label: str) -> tuple[dict[str, Any], list[str]]:
    to_set, to_unset = change.get("set") or {}, change.get("unset") or []
    if not isinstance(to_set, dict) or not isinstance(to_unset, list):
        raise bad_input(f"{label} needs an object in set and an array in unset")
    if not all(isinstance(path, str) for path in to_unset):
        raise bad_input(f"{label}.unset must be an array of strings")
    return to_set, to_unset


def segments(path: str) -> list[str]:
    parts = path.split(".")
    if not all(parts) or any(character.isspace() for character in path):
        raise bad_input(f'"{path}" is not a valid field name')
    return parts


def parent_object(draft: dict[str, Any], parents: list[str], path: str) -> dict[str, Any]:
    for parent in parents:
        draft = draft.setdefault(parent, {})
        if not isinstance(draft, dict):
            raise bad_input(f'"{path}" leads into a field that is not an object')
    return draft


def refuse_big_custom_data(custom: dict[str, Any], owner: str) -> None:
    text = json.dumps(custom, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode("utf-8", "replace")) > MAX_CUSTOM_BYTES:
        raise too_large(f"{owner} custom data cannot be bigger than 5KB")


def refuse_unless_one_to_hundred(items: object, field: str) -> None:
    if not isinstance(items, list | dict) or not items:
        raise bad_input(f"{field} is a required field")
    if len(items) > MAX_ITEMS:
        raise bad_input(f"{field} must contain at most {MAX_ITEMS} items")


def user_ids(body: dict[str, Any]) -> list[str]:
    """The ids of a batch call, each once."""
    ids: Any = body.get("user_ids")
    if isinstance(ids, dict):
        raise bad_input("user_ids must be an array of strings")
    refuse_unless_one_to_hundred(ids, "user_ids")
    if not all(isinstance(user_id, str) and user_id for user_id in ids):
        raise bad_input("user_ids must be an array of strings")
    return list(dict.fromkeys(ids))
