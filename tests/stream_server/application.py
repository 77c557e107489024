"""The operations on the app as a whole."""

from __future__ import annotations

from .state import Json, State

PLATFORMS = ("server_side", "android", "ios", "web", "unity")


def get_app(state: State, params: Json, body: Json) -> Json:
    return {
        "app": {
            "name": "local",
            "suspended": False,
            "multi_tenant_enabled": True,
            "enforce_unique_usernames": state.switches["enforce_unique_usernames"],
        }
    }


def get_rate_limits(state: State, params: Json, body: Json) -> Json:
    asked = [platform for platform in PLATFORMS if params.get(platform) == "true"]
    endpoints = params["endpoints"].split(",") if params.get("endpoints") else list(state.limits)
    # Only servers call this server, so the other platforms have no limits.
    answer = {platform: {} for platform in asked or PLATFORMS}
    if "server_side" in answer:
        answer["server_side"] = {
            name: state.limits[name].status() for name in endpoints if name in state.limits
        }
    return answer
