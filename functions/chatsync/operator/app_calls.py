"""What an app does, over the same HTTP as its client SDKs: sign in, call a function."""

import os
from typing import Any

import requests

from .. import settings
from ..clients.stream_calls import json_object
from ..errors import ChatsyncError, FirebaseUnavailable, Temporary
from . import options

_TIMEOUT_SECONDS = 70
"""A function ends after 60."""

_AGAIN = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
_SIGN_IN = "identitytoolkit.googleapis.com/v1/accounts:signInWithPassword"


class CallRefused(ChatsyncError):
    """A callable, or the sign-in, answered with an error that a later call would get, too."""


def sign_in(email: str, password: str, web_api_key: str) -> str:
    """The ID token of an account. Raises CallRefused, which says what to do, and
    FirebaseUnavailable."""
    emulator = os.environ.get("FIREBASE_AUTH_EMULATOR_HOST")
    url = f"http://{emulator}/{_SIGN_IN}" if emulator else f"https://{_SIGN_IN}"
    body = {"email": email, "password": password, "returnSecureToken": True}
    response = _post(url, body, params={"key": web_api_key or "any"})
    answer = json_object(response)
    if token := answer.get("idToken"):
        return str(token)
    raise CallRefused(_why_not(response.status_code, answer.get("error")))


def _why_not(status: int, error: object) -> str:
    message = str(error.get("message", "")) if isinstance(error, dict) else ""
    if message.startswith(("PASSWORD_LOGIN_DISABLED", "OPERATION_NOT_ALLOWED")):
        return (
            "Sign-in by e-mail and password is off in this project, and verify signs in by it: turn"
            " it on for so long (Firebase console, Authentication, Sign-in method)."
        )
    if "API key" in message or "API_KEY" in message:
        return f"The web API key is refused: {message[:200]} (--web-api-key)"
    return f"Nobody can sign in: {status} {message[:200]}"


def call(function: str, data: object, id_token: str, project: str) -> Any:
    """The function's result. Raises CallRefused, or Temporary where a later call may help."""
    url = f"{functions_url(project)}/{function}"
    response = _post(url, {"data": data}, headers={"Authorization": f"Bearer {id_token}"})
    answer = json_object(response)
    if "result" in answer:
        return answer["result"]
    error = answer.get("error")
    if isinstance(error, dict):
        status = str(error.get("status"))
        refusal = Temporary if status in _AGAIN else CallRefused
        raise refusal(f"{function}: {status} {error.get('message')}")
    told = {
        404: "is it deployed, and is CHATSYNC_REGION its region?",
        403: "may everybody invoke it? The Firebase CLI grants that when it deploys",
    }
    reason = told.get(response.status_code, "no answer of a callable")
    refusal = Temporary if response.status_code >= 500 else CallRefused
    raise refusal(f"{function}: {response.status_code} at {url}: {reason}")


def functions_url(project: str) -> str:
    """Where the callables are; for a project named ``demo-...`` in the emulator."""
    if not options.is_local(project):
        return f"https://{settings.region()}-{project}.cloudfunctions.net"
    host = os.environ.get("FUNCTIONS_EMULATOR_HOST") or _host_by_hub()
    host = host or options.emulator_address("functions", 5001)
    return f"http://{host}/{project}/{settings.region()}"


def _host_by_hub() -> str:
    """What the emulators' hub says, if the environment names one, as ``emulators:exec`` does."""
    if not (hub := os.environ.get("FIREBASE_EMULATOR_HUB")):
        return ""
    try:
        functions = requests.get(f"http://{hub}/emulators", timeout=5).json()["functions"]
        return f"{functions['host']}:{functions['port']}"
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return ""


def _post(url: str, body: object, **more: Any) -> requests.Response:
    try:
        return requests.post(url, json=body, timeout=_TIMEOUT_SECONDS, **more)
    except requests.RequestException as error:
        raise FirebaseUnavailable(f"{url}: {type(error).__name__}") from error
