"""Filters, sorting and paging, as all queries have them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from . import timestamps
from .errors import bad_input
from .state import Json

MAX_SORTS = 5
WORD = re.compile(r"\w+")

COMPARISON = {"$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$exists"}
EQUALITY = {"$eq", "$ne"}
CUSTOM_OPERATORS = COMPARISON | {"$contains"}
ALL_OPERATORS = {"$ne", "$nin", "$autocomplete", "$contains"} | COMPARISON


class Record(Protocol):
    """What a filter looks at: a user, or a view of something with joined fields."""

    def get(self, field: str, default: Any = None, /) -> Any: ...


Matcher = Callable[[Record], bool]


@dataclass(frozen=True)
class Schema:
    """What can be asked of one kind of record; any other field is custom data."""

    name: str
    operators: dict[str, set[str]]
    times: frozenset[str]
    flags: frozenset[str]
    texts: frozenset[str]
    numbers: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    any_of: frozenset[str] = frozenset()
    """Lists that fit if one of their values does."""
    not_searchable: frozenset[str] = frozenset()

    def compile(self, conditions: object) -> Matcher:
        """A test for one record; all fields and operators are checked before any is looked at."""
        if not isinstance(conditions, dict):
            raise bad_input("a filter must be an object")
        matchers = [
            self._logic(field, condition)
            if field.startswith("$")
            else self._field(field, condition)
            for field, condition in conditions.items()
        ]
        return lambda record: all(matches(record) for matches in matchers)

    def _logic(self, operator: str, parts: object) -> Matcher:
        if operator not in ("$and", "$or", "$nor"):
            raise bad_input(f"unsupported operator {operator}")
        if not isinstance(parts, list) or not parts:
            raise bad_input(f"{operator} must be an array with at least one filter")
        matchers = [self.compile(part) for part in parts]
        if operator == "$and":
            return lambda record: all(matches(record) for matches in matchers)
        if operator == "$or":
            return lambda record: any(matches(record) for matches in matchers)
        return lambda record: not any(matches(record) for matches in matchers)

    def _field(self, field: str, condition: object) -> Matcher:
        if field in self.not_searchable:
            raise bad_input(f"search is not enabled for field {self.name}.{field}")
        tests: Json = {"$eq": condition}
        if isinstance(condition, dict) and any(key.startswith("$") for key in condition):
            tests = condition
        for operator in tests:
            self._refuse_operator(field, operator)
        operands = {op: self._operand(field, op, operand) for op, operand in tests.items()}
        absent = False if field in self.flags else None
        if field in self.any_of:
            return lambda record: any(
                all(satisfies(one, op, operand) for op, operand in operands.items())
                for one in record.get(field, [])
            )
        return lambda record: all(
            satisfies(record.get(field, absent), op, operand) for op, operand in operands.items()
        )

    def _refuse_operator(self, field: str, operator: str) -> None:
        if operator not in ALL_OPERATORS.union(*self.operators.values()):
            raise bad_input(f"unsupported operator {operator}")
        if operator not in self.operators.get(field, CUSTOM_OPERATORS):
            raise bad_input(f'operator "{operator}" is not allowed for field "{field}"')

    def _operand(self, field: str, operator: str, operand: Any) -> Any:
        if operator == "$exists":
            if not isinstance(operand, bool):
                raise bad_input("$exists must be true or false")
            return operand
        if operator in ("$autocomplete", "$q"):
            if not isinstance(operand, str) or not operand.strip():
                raise bad_input(f"{operator} field is empty or contains invalid characters")
            return operand
        if operator in ("$in", "$nin"):
            if not isinstance(operand, list):
                raise bad_input(f"{operator} must be an array")
            return [self._value(field, value) for value in operand]
        if field in self.lists and isinstance(operand, list):
            return [self._value(field, value) for value in operand]
        return self._value(field, operand)

    def _value(self, field: str, value: Any) -> Any:
        if field in self.times:
            return timestamps.parse(value, field)
        for fields, expected in (
            (self.flags, "boolean"),
            (self.texts, "string"),
            (self.numbers, "number"),
        ):
            if field in fields and type_name(value) != expected:
                found = type_name(value)
                raise bad_input(f"field `{field}` contains type {found}. expecting {expected}")
        if field in self.lists and value is not None and (not isinstance(value, str) or not value):
            raise bad_input(f"field `{field}` must be null or texts that are not empty")
        return value


def candidates(records: dict[str, Any], conditions: object, key: str) -> Iterable[Any]:
    """All records, or those that a filter by their key alone leaves to be looked at."""
    asked = conditions.get(key) if isinstance(conditions, dict) else None
    if isinstance(asked, dict):
        asked = asked.get("$in", asked.get("$eq"))
    asked = [asked] if isinstance(asked, str) else asked
    if not isinstance(asked, list) or not all(isinstance(one, str) for one in asked):
        return records.values()
    return [records[one] for one in dict.fromkeys(asked) if one in records]


def type_name(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    names: dict[type, str] = {list: "array", dict: "object", str: "string"}
    return names.get(type(value), "null")


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
    if operator == "$q":
        return has_words(value, operand)
    try:
        comparisons: dict[str, Callable[[], bool]] = {
            "$gt": lambda: value > operand,
            "$gte": lambda: value >= operand,
            "$lt": lambda: value < operand,
            "$lte": lambda: value <= operand,
        }
        return comparisons[operator]()
    except TypeError:
        return False


def has_words(value: Any, query: str) -> bool:
    """All words of the query begin a word of the text: assumed."""
    words = WORD.findall(value.lower()) if isinstance(value, str) else []
    asked = WORD.findall(query.lower())
    return bool(asked) and all(any(one.startswith(word) for one in words) for word in asked)


def contains(value: Any, one: Any) -> bool:
    return isinstance(value, list) and any(equal(item, one) for item in value)


def equal(value: Any, operand: Any) -> bool:
    """Unlike in Python, true is not 1; a list equals a list with the same items."""
    if isinstance(value, list) and isinstance(operand, list):
        return sorted(map(rank, value)) == sorted(map(rank, operand))
    if value == [] and operand is None:
        return True
    return isinstance(value, bool) == isinstance(operand, bool) and value == operand


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


def number_in_query(params: Json, field: str, maximum: int) -> int:
    """A whole number that comes as text; 0 if there is none."""
    text = params.get(field) or "0"
    if not isinstance(text, str) or not text.isdecimal() or len(text) > 18:
        raise bad_input(f"{field} must be a whole number of 0 or more")
    return whole_number({field: int(text)}, field, maximum)


def in_order(records: list[Any], sort: object, last: list[tuple[str, int]]) -> list[Any]:
    """Sorted as asked for, then by the keys in ``last``."""
    keys = last
    if sort:
        if not isinstance(sort, list) or len(sort) > MAX_SORTS:
            raise bad_input(f"sort must be an array of at most {MAX_SORTS} items")
        keys = [sort_key(item) for item in sort] + last
    # The least significant key first, so that stable sorts follow each other.
    for field, direction in keys[::-1]:
        records = sorted(records, key=partial(rank_of, field), reverse=direction < 0)
    return records


def rank_of(field: str, record: Record) -> Any:
    return rank(record.get(field))


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
