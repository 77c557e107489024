"""The data that a call brings for a channel: what may be in it, and what is kept."""

from __future__ import annotations

from .channel_config import checked_overrides
from .errors import bad_input
from .payloads import (
    MAX_ITEMS,
    refuse_big_custom_data,
    refuse_reserved,
    refuse_wrong_types,
)
from .state import Json

# Only `cooldown` is known to be refused; that the other fields of answers are too is assumed.
RESERVED = {
    "cid",
    "config",
    "cooldown",
    "created_at",
    "deleted_at",
    "hidden",
    "id",
    "last_message_at",
    "member_count",
    "own_capabilities",
    "truncated_at",
    "type",
    "updated_at",
}
# Known for four of them, assumed for the rest.
NOT_IN_PARTIAL_UPDATES = (RESERVED - {"cooldown"}) | {"created_by", "created_by_id", "members"}
INPUT_TYPES = {
    "created_by": dict,
    "created_by_id": str,
    "members": list,
    "invites": list,
    "team": str,
    "frozen": bool,
    "disabled": bool,
    "filter_tags": list,
    "config_overrides": dict,
    "auto_translation_enabled": bool,
    "auto_translation_language": str,
    "truncated_by_id": str,
}
UNKNOWN_HERE = ("auto_translation_enabled", "auto_translation_language")
STORED = {"team", "frozen", "disabled", "filter_tags"}


def checked_data(data: object) -> Json:
    if not isinstance(data, dict):
        raise bad_input("data must be an object")
    refuse_reserved(data, RESERVED, "data")
    for field in UNKNOWN_HERE:
        if data.get(field):
            raise bad_input(f"data.{field} is not known to the local Stream server")
    data = typed(data)
    checked_overrides(data.get("config_overrides", {}))
    for field in ("members", "invites"):
        if len(data.get(field, [])) > MAX_ITEMS:
            raise bad_input(f"data.{field} must contain at most {MAX_ITEMS} items")
    refuse_big_custom_data(custom_data(data), "channel")
    return data


def typed(data: Json) -> Json:
    """The data with null for Stream's own fields read as absent."""
    given = {key: v for key, v in data.items() if v is not None or key not in INPUT_TYPES}
    refuse_wrong_types(given, INPUT_TYPES, "data")
    strings_in(given.get("filter_tags", []), "data.filter_tags")
    return given


def custom_data(data: Json) -> Json:
    return {key: value for key, value in data.items() if key not in INPUT_TYPES}


def checked_list(body: Json, name: str) -> list[object]:
    given = body.get(name) or []
    if not isinstance(given, list):
        raise bad_input(f"{name} must be an array")
    if len(given) > MAX_ITEMS:
        raise bad_input(f"{name} must contain at most {MAX_ITEMS} items")
    return given


def strings_in(given: list[object], name: str) -> list[str]:
    strings = [one for one in given if isinstance(one, str)]
    if len(strings) < len(given):
        raise bad_input(f"{name} must be an array of strings")
    return list(dict.fromkeys(strings))
