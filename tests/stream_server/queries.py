"""QueryUsers: filters, sorting and paging."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import timestamps
from .errors import bad_input
from .payloads import MAX_ITEMS, json_object
from .state import Json, State
from .users import INPUT_TYPES, RESERVED, full_shape

DEFAULT_LIMIT = 30
MAX_OFFSET = 1000
MAX_SORTS = 5
ID_BOUNDS = ("gt", "gte", "lt", "lte")

COMPARISON = {"$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$exists"}
OPERATORS = {
    "id": COMPARISON | {"$ne", "$nin", "$autocomplete"},
    "name": COMPARISON | {"$autocomplete"},
    "role": COMPARISON,
    "created_at": COMPARISON,
    "updated_at": COMPARISON,
    "last_active": COMPARISON,
    "teams": {"$contains", "$eq", "$in"},
    "banned": {"$eq", "$ne"},
    "shadow_banned": {"$eq", "$ne"},
    "bypass_moderation": {"$eq", "$ne"},
    "username": {"$autocomplete", "$eq"},
    "email": {"$eq", "$in"},
    "language": {"$eq"},
}
CUSTOM_OPERATORS = COMPARISON | {"$contains"}
ALL_OPERATORS = {"$ne", "$nin", "$autocomplete", "$contains"} | COMPARISON
NOT_SEARCHABLE = (RESERVED | set(INPUT_TYPES) | {"revoke_tokens_issued_before"}) - set(OPERATORS)
TIMES = {"created_at", "updated_at", "last_active"}
FLAGS = {"banned", "shadow_banned", "bypass_moderation"}
TEXTS = {"id", "name", "role", "username", "email", "language"}

Matcher = Callable[[Json], bool]


def query_users(state: State, params: Json, body: Json) -> Json:
    payload = json_object(params.get("payload", ""))
    conditions = payload.get("filter_conditions")
    if not isinstance(conditions, dict):
        raise bad_input("filter_conditions is a required field")
    if payload.get("presence"):
        raise bad_input("presence is not allowed with server side auth")
    limit = whole_number(payload, "limit", MAX_ITEMS) or DEFAULT_LIMIT
    offset = whole_number(payload, "offset", MAX_OFFSET)
    id_bounds = {f"${op}": payload[f"id_{op}"] for op in ID_BOUNDS if f"id_{op}" in payload}
    if id_bounds:
        conditions = {"$and": [conditions, {"id": id_bounds}]}
    matches = compile_filter(conditions)
    found = [
        user
        for user in state.users.values()
        if "deleted_at" not in user
        and ("deactivated_at" not in user or payload.get("include_deactivated_users") is True)
        and matches(user)
    ]
    for field, direction in sort_keys(payload.get("sort")):
        found.sort(key=lambda user, field=field: rank(user.get(field)), reverse=direction < 0)
    return {"users": [full_shape(user) for user in found[offset : offset + limit]]}


def whole_number(payload: Json, field: str, maximum: int) -> int:
    """0 stands for absent, as in the Go server behind the API."""
    value = payload.get(field)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise bad_input(f"{field} must be a whole number of 0 or more")
    if value > maximum:
        raise bad_input(f"{field} must be {maximum} or less")
    return value


def sort_keys(sort: object) -> list[tuple[str, int]]:
    """The least significant key first, so that stable sorts follow each other."""
    keys = [("created_at", -1), ("id", -1)]
    if sort:
        if not isinstance(sort, list) or len(sort) > MAX_SORTS:
            raise bad_input(f"sort must be an array of at most {MAX_SORTS} items")
        keys = [sort_key(item) for item in sort] + keys
    return keys[::-1]


def sort_key(item: object) -> tuple[str, int]:
    if not isinstance(item, dict) or not isinstance(item.get("field"), str) or not item["field"]:
        raise bad_input("sort[].field is a required field")
    if item.get("direction", 1) not in (1, -1):
        raise bad_input("sort[].direction must be 1 or -1")
    return item["field"], item.get("direction", 1)


def rank(value: Any) -> tuple[int, float, str]:
    """An order among values of any type: nothing, numbers, then texts."""
    if value is None:
        return (0, 0, "")
    if isinstance(value, bool | int | float):
        return (1, value, "")
    return (2, 0, value if isinstance(value, str) else json.dumps(value))


def compile_filter(conditions: object) -> Matcher:
    """A test for one user; all fields and operators are checked before any user is looked at."""
    if not isinstance(conditions, dict):
        raise bad_input("a filter must be an object")
    matchers = [
        logic(field, condition) if field.startswith("$") else compile_field(field, condition)
        for field, condition in conditions.items()
    ]
    return lambda user: all(matches(user) for matches in matchers)


def logic(operator: str, parts: object) -> Matcher:
    if operator not in ("$and", "$or", "$nor"):
        raise bad_input(f"unsupported operator {operator}")
    if not isinstance(parts, list) or not parts:
        raise bad_input(f"{operator} must be an array with at least one filter")
    matchers = [compile_filter(part) for part in parts]
    if operator == "$and":
        return lambda user: all(matches(user) for matches in matchers)
    if operator == "$or":
        return lambda user: any(matches(user) for matches in matchers)
    return lambda user: not any(matches(user) for matches in matchers)


def compile_field(field: str, condition: object) -> Matcher:
    if field in NOT_SEARCHABLE:
        raise bad_input(f"search is not enabled for field users.{field}")
    is_operators = isinstance(condition, dict) and any(key.startswith("$") for key in condition)
    tests = condition if is_operators else {"$eq": condition}
    for operator in tests:
        refuse_operator(field, operator)
    operands = {op: checked_operand(field, op, operand) for op, operand in tests.items()}
    absent = False if field in FLAGS else None
    return lambda user: all(
        satisfies(user.get(field, absent), op, operand) for op, operand in operands.items()
    )


def refuse_operator(field: str, operator: str) -> None:
    if operator not in ALL_OPERATORS:
        raise bad_input(f"unsupported operator {operator}")
    if operator not in OPERATORS.get(field, CUSTOM_OPERATORS):
        raise bad_input(f'operator "{operator}" is not allowed for field "{field}"')


def checked_operand(field: str, operator: str, operand: Any) -> Any:
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise bad_input("$exists must be true or false")
        return operand
    if operator == "$autocomplete":
        if not isinstance(operand, str) or not operand.strip():
            raise bad_input("$autocomplete field is empty or contains invalid characters")
        return operand
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list):
            raise bad_input(f"{operator} must be an array")
        return [checked_value(field, value) for value in operand]
    if field == "teams" and isinstance(operand, list):
        return [checked_value(field, value) for value in operand]
    return checked_value(field, operand)


def checked_value(field: str, value: Any) -> Any:
    if field in TIMES:
        return timestamps.parse(value, field)
    if field in FLAGS and not isinstance(value, bool):
        raise bad_input(f"field `{field}` contains type {type_name(value)}. expecting boolean")
    if field in TEXTS and not isinstance(value, str):
        raise bad_input(f"field `{field}` contains type {type_name(value)}. expecting string")
    if field == "teams" and value is not None and (not isinstance(value, str) or not value):
        raise bad_input("field `teams` must be null or texts that are not empty")
    return value


def type_name(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {list: "array", dict: "object", str: "string"}.get(type(value), "null")


def satisfies(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$exists":
        return (value is not None) is operand
    if operator == "$eq":
        return equal(value, operand)
    if operator == "$ne":
        return not equal(value, operand)
    if operator == "$in":
        return any(equal(value, one) or contains(value, one) for one in operand)
    if operator == "$nin":
        return not any(equal(value, one) for one in operand)
    if operator == "$contains":
        return contains(value, operand) or (operand is None and not value)
    if operator == "$autocomplete":
        return isinstance(value, str) and any(
            word.startswith(operand.lower()) for word in [value.lower(), *value.lower().split()]
        )
    try:
        return {
            "$gt": lambda: value > operand,
            "$gte": lambda: value >= operand,
            "$lt": lambda: value < operand,
            "$lte": lambda: value <= operand,
        }[operator]()
    except TypeError:
        return False


def contains(value: Any, one: Any) -> bool:
    return isinstance(value, list) and any(equal(item, one) for item in value)


def equal(value: Any, operand: Any) -> bool:
    """Unlike in Python, true is not 1; a list equals a list with the same items."""
    if isinstance(value, list) and isinstance(operand, list):
        return sorted(map(rank, value)) == sorted(map(rank, operand))
    if value == [] and operand is None:
        return True
    return isinstance(value, bool) == isinstance(operand, bool) and value == operand
