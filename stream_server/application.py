"""The operations on the app as a whole."""

from __future__ import annotations

import uuid

from . import timestamps
from .app_settings import FOR_CLIENTS, new_app
from .errors import bad_input
from .payloads import refuse_wrong_types
from .state import SWITCHES, Json, State

PLATFORMS = ("server_side", "android", "ios", "web", "unity")
HOOK_TYPES = ("webhook", "sqs", "sns", "pending_message")
SETTING_TYPES = {
    "multi_tenant_enabled": bool,
    "enable_hook_payload_compression": bool,
    "webhook_url": str,
    "webhook_events": list,
    "event_hooks": list,
}


def get_app(state: State, params: Json, body: Json) -> Json:
    """A client reads only what it needs."""
    unique = state.switches["enforce_unique_usernames"]
    app = {**new_app(), **state.app, "enforce_unique_usernames": unique}
    return {"app": {name: app[name] for name in FOR_CLIENTS} if state.caller.user_id else app}


def update_app(state: State, params: Json, body: Json) -> Json:
    """Settings that this server does nothing with are remembered only."""
    refuse_wrong_types(body, SETTING_TYPES, "app")
    settings = dict(body)
    unique = settings.pop("enforce_unique_usernames", None)
    if unique is not None and unique not in SWITCHES["enforce_unique_usernames"].choices:
        raise bad_input("enforce_unique_usernames must be one of [no app team]")
    if settings.get("revoke_tokens_issued_before") is not None:
        settings["revoke_tokens_issued_before"] = timestamps.parse(
            settings["revoke_tokens_issued_before"], "revoke_tokens_issued_before"
        )
    if "event_hooks" in settings:
        settings["event_hooks"] = [event_hook(given) for given in settings["event_hooks"]]
    if not all(isinstance(name, str) for name in settings.get("webhook_events", [])):
        raise bad_input("webhook_events must be an array of strings")
    state.app |= settings
    if unique is not None:
        state.switches["enforce_unique_usernames"] = unique
    return {}


def event_hook(given: object) -> Json:
    if not isinstance(given, dict) or given.get("hook_type") not in HOOK_TYPES:
        raise bad_input(f"event_hooks[].hook_type must be one of [{' '.join(HOOK_TYPES)}]")
    refuse_wrong_types(
        given, {"id": str, "enabled": bool, "webhook_url": str, "event_types": list}, "event_hooks"
    )
    if given["hook_type"] == "webhook" and not given.get("webhook_url"):
        raise bad_input("event_hooks[].webhook_url is a required field")
    now = timestamps.now()
    new = {"id": str(uuid.uuid4()), "enabled": True, "event_types": [], "created_at": now}
    return {**new, **given, "updated_at": now}


def get_rate_limits(state: State, params: Json, body: Json) -> Json:
    asked = [platform for platform in PLATFORMS if params.get(platform) == "true"]
    endpoints = params["endpoints"].split(",") if params.get("endpoints") else list(state.limits)
    # Calls of clients are not counted here, so the other platforms have no limits.
    answer: Json = {platform: {} for platform in asked or PLATFORMS}
    if "server_side" in answer:
        answer["server_side"] = {
            name: state.limits[name].status() for name in endpoints if name in state.limits
        }
    return answer
