"""QueryUsers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import islice
from operator import itemgetter

from .errors import bad_input, not_allowed
from .filters import COMPARISON, EQUALITY, Schema, candidates, in_order, whole_number
from .own_user import full_shape
from .payloads import MAX_ITEMS, json_object
from .permissions import client
from .state import Json, State
from .users import INPUT_TYPES, RESERVED
from .watching import refuse_servers_watching, subscribe_to_users

DEFAULT_LIMIT = 30
MAX_OFFSET = 1000
ID_BOUNDS = ("gt", "gte", "lt", "lte")
BY_ID = [{"field": "id", "direction": 1}]

OPERATORS = {
    "id": COMPARISON | {"$ne", "$nin", "$autocomplete"},
    "name": COMPARISON | {"$autocomplete"},
    "role": COMPARISON,
    "created_at": COMPARISON,
    "updated_at": COMPARISON,
    "last_active": COMPARISON,
    "teams": {"$contains", "$eq", "$in"},
    "banned": EQUALITY,
    "shadow_banned": EQUALITY,
    "bypass_moderation": EQUALITY,
    "username": {"$autocomplete", "$eq"},
    "email": {"$eq", "$in"},
    "language": {"$eq"},
}
USERS = Schema(
    name="users",
    operators=OPERATORS,
    times=frozenset({"created_at", "updated_at", "last_active"}),
    flags=frozenset({"banned", "shadow_banned", "bypass_moderation"}),
    texts=frozenset({"id", "name", "role", "username", "email", "language"}),
    lists=frozenset({"teams"}),
    not_searchable=frozenset(
        (RESERVED | set(INPUT_TYPES) | {"revoke_tokens_issued_before"}) - set(OPERATORS)
    ),
)


def query_users(state: State, params: Json, body: Json) -> Json:
    payload = json_object(params.get("payload", ""))
    conditions = payload.get("filter_conditions")
    if not isinstance(conditions, dict):
        raise bad_input("filter_conditions is a required field")
    refuse_servers_watching(state, payload)
    limit = whole_number(payload, "limit", MAX_ITEMS) or DEFAULT_LIMIT
    offset = whole_number(payload, "offset", MAX_OFFSET)
    asked = candidates(state.users, conditions, "id")
    id_bounds = {f"${op}": payload[f"id_{op}"] for op in ID_BOUNDS if f"id_{op}" in payload}
    if id_bounds:
        conditions = {"$and": [conditions, {"id": id_bounds}]}
    matches = USERS.compile(conditions)
    refuse_other_tenants(state, conditions)

    def fits(user: Json) -> bool:
        if "deleted_at" in user:
            return False
        if "deactivated_at" in user and payload.get("include_deactivated_users") is not True:
            return False
        return matches(user)

    if payload.get("sort") == BY_ID:
        page: Iterable[Json] = islice(walk(asked, conditions, fits), offset, offset + limit)
    else:
        found = in_order(
            list(filter(fits, asked)), payload.get("sort"), [("created_at", -1), ("id", -1)]
        )
        page = found[offset : offset + limit]
    users = [full_shape(state, user) for user in page]
    if payload.get("presence"):
        subscribe_to_users(state, [user["id"] for user in users])
    return {"users": users}


def walk(users: Iterable[Json], conditions: Json, fits: Callable[[Json], bool]) -> Iterable[Json]:
    """Those who fit, by id; whoever goes on after an id is not made to wait for all before it."""
    by_id = itemgetter("id")
    ordered = sorted(users, key=by_id)
    bound = conditions.get("id")
    after = bound.get("$gt") if isinstance(bound, dict) else None
    start = bisect_right(ordered, after, key=by_id) if isinstance(after, str) else 0
    return filter(fits, islice(ordered, start, None))


def refuse_other_tenants(state: State, conditions: Json) -> None:
    """A client names its own teams; the refusal of others' is assumed."""
    user = client(state)
    if user is None or not state.app.get("multi_tenant_enabled"):
        return
    parts = [conditions, *conditions.get("$and", [])]
    named = [part["teams"] for part in parts if isinstance(part, dict) and "teams" in part]
    if not named:
        raise not_allowed("you must include a team filter to use this endpoint client-side")
    for condition in named:
        for operand in condition.values() if isinstance(condition, dict) else [condition]:
            teams = operand if isinstance(operand, list) else [operand]
            if not all(team is None or team in user["teams"] for team in teams):
                raise not_allowed("you are not allowed to query users of other teams")
