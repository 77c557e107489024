"""Where this process runs: the address of a deployed function, and the account that it has."""

import os

import requests
from google.auth.transport.requests import Request

from .. import settings
from ..errors import FirebaseUnavailable
from . import firebase_app


def webhook_address(project: str) -> str:
    """Where Stream reaches ``streamWebhook``: a function of the second generation has this address
    too, besides its own of Cloud Run (Firebase documentation, "Call functions via HTTP requests").

    In the emulators, their hub tells where functions are. Raises FirebaseUnavailable.
    """
    region = settings.region()
    if "FUNCTIONS_EMULATOR" not in os.environ:
        return f"https://{region}-{project}.cloudfunctions.net/streamWebhook"
    hub = os.environ.get("FIREBASE_EMULATOR_HUB", "127.0.0.1:4400")
    try:
        functions = requests.get(f"http://{hub}/emulators", timeout=5).json()["functions"]
    except (requests.RequestException, ValueError, KeyError) as error:
        raise FirebaseUnavailable(f"the emulators' hub does not answer at {hub}") from error
    return f"http://{functions['host']}:{functions['port']}/{project}/{region}/streamWebhook"


def service_account() -> str:
    """The e-mail address of the account that a deployed function runs as; empty elsewhere.

    Raises GoogleAuthError.
    """
    if "K_SERVICE" not in os.environ or "FUNCTIONS_EMULATOR" in os.environ:
        return ""
    credentials = firebase_app().credential.get_credential()
    credentials.refresh(Request())  # only then does it know its name
    return str(getattr(credentials, "service_account_email", ""))
