"""Devices for push notifications: they are kept and shown; nothing is pushed here."""

from __future__ import annotations

from . import timestamps
from .errors import bad_input
from .membership import refuse_unusable_users
from .message_checks import acting_user
from .payloads import given_fields, refuse_wrong_types
from .state import Json, State

PROVIDERS = ("apn", "firebase", "huawei", "xiaomi")
INPUT_TYPES = {"id": str, "push_provider": str, "push_provider_name": str, "voip_token": bool}


def create_device(state: State, params: Json, body: Json) -> Json:
    given = given_fields(body)
    user_id = devices_user(state, given)
    add_device(state, user_id, given)
    return {}


def list_devices(state: State, params: Json, body: Json) -> Json:
    user_id = devices_user(state, params)
    return {"devices": list(state.devices.get(user_id, {}).values())}


def delete_device(state: State, params: Json, body: Json) -> Json:
    """One that isn't there need not be deleted: assumed."""
    user_id = devices_user(state, params)
    if not params.get("id"):
        raise bad_input("id is a required field")
    state.devices.get(user_id, {}).pop(params["id"], None)
    return {}


def devices_user(state: State, given: Json) -> str:
    user_id = acting_user(state, given)
    refuse_unusable_users(state, [user_id], "device")
    return user_id


def add_device(state: State, user_id: str, given: Json) -> None:
    """A device leaves whoever had it before, unless the app allows several users."""
    refuse_wrong_types(given, INPUT_TYPES, "device")
    if not given.get("id"):
        raise bad_input("id is a required field")
    if given.get("push_provider") not in PROVIDERS:
        raise bad_input(f"push_provider must be one of [{' '.join(PROVIDERS)}]")
    if not state.app.get("allow_multi_user_devices"):
        for devices in state.devices.values():
            devices.pop(given["id"], None)
    named = {"push_provider_name": given.get("push_provider_name"), "voip": given.get("voip_token")}
    state.devices.setdefault(user_id, {})[given["id"]] = {
        "id": given["id"],
        "push_provider": given["push_provider"],
        "user_id": user_id,
        "created_at": timestamps.now(),
        **{key: value for key, value in named.items() if value},
    }
