"""What can be clicked: the changes of the control surface, as forms of pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aiohttp import web

from .. import steering
from ..faults import GATEWAY_BODIES, KINDS
from ..operations import OPERATION_NAMES, documented_limits
from ..state import SWITCHES, Json, State
from ..steering import ControlError
from .rendering import page

Form = dict[str, str]

NUMBERS = {"status", "code", "times", "rate", "delay_ms", "retry_after"}
DONE = {
    "fault": "The fault was added.",
    "faults": "All faults were removed.",
    "limit": "The limit was changed.",
    "limits": "The limits are as Stream documents them.",
    "switch": "The switch was set.",
    "webhook": "The webhook was set.",
    "reset": "Everything was forgotten.",
}


def add_routes(app: web.Application, state: State) -> None:
    app.router.add_get("/steering", partial(get_steering, state))
    for name, change, back in (
        ("fault", add_fault, "steering?done=fault#faults"),
        ("faults", clear_faults, "steering?done=faults#faults"),
        ("limit", set_limit, "steering?done=limit#limits"),
        ("limits", restore_limits, "steering?done=limits#limits"),
        ("switch", set_switch, "steering?done=switch#switches"),
        ("webhook", set_webhook, "steering?done=webhook#webhook"),
        ("reset", reset, "steering?done=reset"),
        ("again", deliver_again, "webhooks"),
    ):
        app.router.add_post(f"/forms/{name}", partial(submit, state, change, back))


async def submit(
    state: State, change: Callable[[State, Form], None], back: str, request: web.Request
) -> web.Response:
    form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    try:
        change(state, form)
    except ControlError as error:
        return steering_page(state, 400, problem=str(error))
    raise web.HTTPSeeOther(f"/_control/{back}")


async def get_steering(state: State, request: web.Request) -> web.Response:
    return steering_page(state, done=DONE.get(request.query.get("done", ""), ""))


def steering_page(
    state: State, status: int = 200, done: str = "", problem: str = ""
) -> web.Response:
    return page(
        state,
        "steering.html",
        status,
        current="steering",
        done=done,
        problem=problem,
        operations=sorted(OPERATION_NAMES),
        kinds=KINDS,
        bodies=list(GATEWAY_BODIES),
        faults=[fault for fault in state.faults if fault.times != 0],
        limits=state.limits,
        switches=[switch_row(name, value) for name, value in state.switches.items()],
        webhook_url=state.app.get("webhook_url") or "",
        webhook_events=", ".join(state.app.get("webhook_events", [])),
    )


def switch_row(name: str, value: str | bool | int) -> Json:
    switch = SWITCHES[name]
    choices = () if isinstance(switch.choices, range) else switch.choices
    return {
        "name": name,
        "meaning": switch.meaning,
        "value": word(value),
        "default": word(switch.default),
        "choices": [word(choice) for choice in choices],
    }


def word(value: str | bool | int) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def add_fault(state: State, form: Form) -> None:
    given: Json = {
        name: number(text) if name in NUMBERS else text for name, text in form.items() if text
    }
    if given.get("kind") != "status":
        given.pop("status", None)
    if "rate" in given:
        given.pop("times", None)
    steering.add_fault(state, given)


def clear_faults(state: State, form: Form) -> None:
    state.faults.clear()


def set_limit(state: State, form: Form) -> None:
    limit = None
    if form.get("limit"):
        limit = {"limit": number(form["limit"]), "window_s": number(form.get("window_s", ""))}
    steering.set_limits(state, {form.get("operation", ""): limit})


def restore_limits(state: State, form: Form) -> None:
    state.limits = documented_limits()


def set_switch(state: State, form: Form) -> None:
    name, text = form.get("name", ""), form.get("value", "")
    default = SWITCHES[name].default if name in SWITCHES else ""
    words = {"on": True, "off": False}
    value = text if isinstance(default, str) else words.get(text, number(text))
    steering.set_switches(state, {name: value})


def set_webhook(state: State, form: Form) -> None:
    events = [event for event in form.get("events", "").replace(",", " ").split() if event]
    steering.set_webhook(state, {"url": form.get("url") or None, "events": events})


def reset(state: State, form: Form) -> None:
    state.reset()


def deliver_again(state: State, form: Form) -> None:
    steering.deliver_again(state, form.get("n", ""))


def number(text: str) -> int | float | str:
    """The number that a text means, or the text, for the refusal."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
