"""What an app does, over the same HTTP as its client SDKs: sign up, call a function."""

from dataclasses import dataclass
from typing import Any

import requests

from dev import emulators

TIMEOUT_SECONDS = 60


class CallFailed(Exception):
    """The function answered with an error. ``code`` as the client SDKs spell it: not-found."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["status"].lower().replace("_", "-")
        self.details = error.get("details")


@dataclass(frozen=True)
class AppUser:
    """Somebody signed in to the app."""

    uid: str
    id_token: str
    functions_url: str = emulators.FUNCTIONS_URL

    def call(self, function: str, data: object) -> Any:
        """The function's result; raises CallFailed."""
        return call(function, data, self.id_token, self.functions_url)


def sign_up(email: str, display_name: str | None = None) -> AppUser:
    body = {"email": email, "password": "correct horse", "returnSecureToken": True}
    if display_name:
        body["displayName"] = display_name
    url = f"{emulators.ACCOUNTS_URL}:signUp?key=any"
    response = requests.post(url, json=body, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()
    account = response.json()
    return AppUser(account["localId"], account["idToken"])


def call(
    function: str,
    data: object,
    id_token: str | None = None,
    functions_url: str = emulators.FUNCTIONS_URL,
) -> Any:
    headers = {"Authorization": f"Bearer {id_token}"} if id_token else {}
    response = requests.post(
        f"{functions_url}/{function}",
        json={"data": data},
        headers=headers,
        timeout=TIMEOUT_SECONDS,
    )
    body = response.json()
    if "error" in body:
        raise CallFailed(body["error"])
    response.raise_for_status()
    return body["result"]
