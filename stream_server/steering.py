"""What the control surface and the inspector change: each change is checked as a whole before.

The changes are described in control.py, beside the routes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any

from .faults import GATEWAY_BODIES, KINDS, Fault
from .limits import Limit
from .operations import OPERATION_NAMES
from .state import SWITCHES, WEBHOOK_SETTINGS, Json, State
from .webhooks import Options

MAX_SECONDS = 86_400

Expectation = tuple[Callable[[Any], bool], str]
"""A check of a field's value, and what it expects in words."""

MILLISECONDS: Expectation = (
    lambda v: is_number(v) and 0 <= v <= 1000 * MAX_SECONDS,
    "a number of milliseconds, at most a day",
)


class ControlError(Exception):
    """The message names the field and what it may hold."""


def add_fault(state: State, given: Json) -> None:
    allowed = {
        "operation": (lambda v: v == "*" or v in OPERATION_NAMES, '"*" or an OperationId'),
        "kind": (lambda v: v in KINDS, f"one of {', '.join(KINDS)}"),
        "when": (lambda v: v in ("before", "after"), "before or after"),
        "status": (lambda v: is_whole(v) and 200 <= v <= 599, "an HTTP status from 200 to 599"),
        "code": (is_whole, "a whole number"),
        "body": (lambda v: v in tuple(GATEWAY_BODIES), f"one of {', '.join(GATEWAY_BODIES)}"),
        "delay_ms": MILLISECONDS,
        "times": (lambda v: is_whole(v) and v > 0, "a whole number above 0"),
        "rate": (lambda v: is_number(v) and 0 <= v <= 1, "a number from 0 to 1"),
        "seed": (is_whole, "a whole number"),
        "retry_after": (
            lambda v: is_whole(v) and 0 <= v <= MAX_SECONDS,
            "a whole number of seconds, at most a day",
        ),
    }
    refuse_unexpected(given, allowed)
    for name in ("operation", "kind"):
        if name not in given:
            raise ControlError(f"{name}: is required")
    if "times" in given and "rate" in given:
        raise ControlError("times, rate: give one of them, not both")
    if given["kind"] == "delay" and "delay_ms" not in given:
        raise ControlError("delay_ms: is required for a delay")
    random = Random(given.pop("seed", None))
    if "rate" in given:
        given["times"] = None
    state.faults.append(Fault(random=random, **given))


def refuse_unexpected(given: Json, allowed: dict[str, Expectation]) -> None:
    for name, value in given.items():
        if name not in allowed:
            raise ControlError(f"{name}: unknown field; known are {', '.join(allowed)}")
        is_fine, expected = allowed[name]
        if not is_fine(value):
            raise ControlError(f"{name}: must be {expected}")


def set_limits(state: State, given: Json) -> None:
    limits = {name: parsed_limit(name, value) for name, value in given.items()}
    state.limits = {
        name: limit for name, limit in {**state.limits, **limits}.items() if limit is not None
    }


def parsed_limit(name: str, value: Any) -> Limit | None:
    if name not in OPERATION_NAMES:
        raise ControlError(f"{name}: is not the OperationId of a known operation")
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != {"limit", "window_s"}:
        raise ControlError(f"{name}: must be null or have exactly limit and window_s")
    if not is_whole(value["limit"]) or value["limit"] < 0:
        raise ControlError(f"{name}.limit: must be a whole number of 0 or more")
    if not is_number(value["window_s"]) or not 0 < value["window_s"] <= MAX_SECONDS:
        raise ControlError(f"{name}.window_s: must be a number above 0, at most {MAX_SECONDS}")
    return Limit(**value)


def set_switches(state: State, given: Json) -> None:
    for name, value in given.items():
        if name not in SWITCHES:
            raise ControlError(f"{name}: unknown switch; known are {', '.join(SWITCHES)}")
        if not SWITCHES[name].accepts(value):
            raise ControlError(f"{name}: must be {SWITCHES[name].expected()}")
    state.switches |= given


def set_webhook(state: State, given: Json) -> None:
    allowed = {
        "url": (lambda v: v is None or is_http_url(v), "an http URL, or null"),
        "events": (
            lambda v: isinstance(v, list) and all(isinstance(one, str) for one in v),
            "an array of event types",
        ),
        "at_once": (lambda v: is_whole(v) and 1 <= v <= 100, "a whole number from 1 to 100"),
        "duplicates": (lambda v: is_whole(v) and 0 <= v <= 100, "a whole number from 0 to 100"),
        "new_id_on_duplicate": (lambda v: isinstance(v, bool), "true or false"),
        "seed": (is_whole, "a whole number"),
        **dict.fromkeys(("shuffle_ms", "timeout_ms", "total_ms", "pause_ms"), MILLISECONDS),
    }
    refuse_unexpected(given, allowed)
    if "url" not in given:
        raise ControlError("url: is required")
    url, events = given.pop("url"), given.pop("events", [])
    if url is None:
        for name in WEBHOOK_SETTINGS:
            state.app.pop(name, None)
    else:
        state.app |= {"webhook_url": url, "webhook_events": events}
    state.webhooks.configure(Options(**given))


def is_http_url(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s/]+(/\S*)?", value) is not None


def deliver_again(state: State, number: str) -> None:
    if not is_number_text(number) or not state.webhooks.send_again(int(number)):
        raise ControlError(f"n: there is no delivery {number[:18]}")


def is_number_text(text: str) -> bool:
    return re.fullmatch("[0-9]{1,18}", text) is not None


def is_whole(value: Any) -> bool:
    return type(value) is int


def is_number(value: Any) -> bool:
    return type(value) in (int, float)
