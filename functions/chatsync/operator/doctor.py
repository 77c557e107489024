"""The command ``doctor``: it only reads."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from firebase_admin.exceptions import FirebaseError
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from rich.text import Text

from .. import config as config_module
from .. import outbox
from ..audit.safeguard import sample
from ..clients import Clients
from ..clients.accounts import list_accounts
from ..entry import set_up
from ..errors import ChatsyncError, SettingInvalid
from ..proof import missing_events
from . import options, rules_file
from .options import FINDINGS, IN_SYNC, SECONDS, AsJson
from .terminal import in_one_line, print_json, print_table

GRANTS_TO_TAKE = ("search-user", "update-user-owner")
"""Of the app, that clients have by default, and that docs/security.md tells about."""


def doctor(as_json: AsJson = False) -> int:
    """Check settings, rules, credentials, Stream, and the webhook, with a verdict for each."""
    verdicts = list(_verdicts())
    if as_json:
        print_json([{"check": name, "ok": ok, "verdict": text} for name, ok, text in verdicts])
    else:
        marks = {True: Text("ok", "green"), False: Text("no", "red")}
        rows = ((marks[ok], name, text) for name, ok, text in verdicts)
        print_table(("", "check", "verdict"), rows)
    return IN_SYNC if all(ok for _, ok, _ in verdicts) else FINDINGS


def _verdicts() -> Iterator[tuple[str, bool, str]]:
    try:
        clients = options.connect()
    except SettingInvalid as error:
        yield "settings", False, in_one_line(error)
        return
    except GoogleAuthError as error:
        yield "settings", True, "complete"
        yield "credentials", False, in_one_line(error)
        return
    yield "settings", True, "complete"
    yield _tried("functions.yaml", _manifest_verdict)
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    where = "the emulators" if options.is_local(project) else "Google Cloud"
    yield "project", True, f"{project}, in {where}"
    yield "rules", *rules_file.verdict(clients.settings.config)
    yield _tried("Firestore", lambda: _firestore_verdict(clients))
    yield _tried("Auth", lambda: _auth_verdict(clients))
    try:
        app_settings = clients.stream.app_settings(time.monotonic() + SECONDS)
    except ChatsyncError as error:
        yield "Stream", False, in_one_line(error)
        return
    app = app_settings.get("name") or clients.settings.stream_api_key
    yield "Stream", True, f"reached, app {app}"
    yield "webhook", *_webhook_verdict(app_settings, clients.firestore.project)
    role = clients.settings.config.stream.user_role
    yield "permissions", *_permissions_verdict(app_settings, role)
    yield _tried("ids", lambda: _ids_verdict(clients))
    yield _tried("set-up", lambda: _set_up_verdict(clients))


def _tried(name: str, verdict: Callable[[], tuple[bool, str]]) -> tuple[str, bool, str]:
    try:
        return name, *verdict()
    except (ChatsyncError, GoogleAPICallError, GoogleAuthError, FirebaseError) as error:
        return name, False, in_one_line(error)


def _manifest_verdict() -> tuple[bool, str]:
    config_module.refuse_other_manifest()
    return True, "made from this chatsync.toml"


def _firestore_verdict(clients: Clients) -> tuple[bool, str]:
    return True, f"{outbox.count('waiting', clients)} entries wait in the outbox"


def _auth_verdict(clients: Clients) -> tuple[bool, str]:
    accounts, _ = list_accounts("", clients.auth)
    if accounts:
        return True, f"{len(accounts)} accounts on a page"
    return True, "no accounts: is this the project of your app?"


def _ids_verdict(clients: Clients) -> tuple[bool, str]:
    """A few users stop no audit, but if all of them are nobody's, a person is to look."""
    found = sample(clients)
    if not found.example:
        return True, found.told if found.users else "no users in Stream to compare with"
    return bool(found.ours and not found.doubt), (
        f"{found.told}: if that is neither guest nor bot, is stream.user_id ="
        f" {clients.settings.config.stream.user_id!r} right? Other ids of people cannot be kept:"
        " docs/install.md, What it needs"
    )


def _set_up_verdict(clients: Clients) -> tuple[bool, str]:
    """Before the first deployment nothing is wrong; after it, only tasks can be forbidden."""
    done = set_up.read(clients)
    account = done.get("serviceAccount")
    if done.get("auditId"):
        left = set_up.lacking(done)
        return not left, "; ".join(left) or "done"
    if not account:
        return True, "not deployed yet"
    return False, (
        "the functions may not call each other. Run: gcloud iam service-accounts"
        f" add-iam-policy-binding {account} --member=serviceAccount:{account}"
        f" --role=roles/iam.serviceAccountUser --project={clients.firestore.project}"
    )


def _webhook_verdict(app_settings: Mapping[str, Any], project: str) -> tuple[bool, str]:
    missing = missing_events(app_settings, project)
    if missing is None:
        return False, (
            "none leads to streamWebhook: Firestore won't learn what happens in Stream."
            " `setUp` makes it after a deployment; `chatsync resume` calls `setUp` again"
        )
    if missing:
        return False, f"does not get {', '.join(missing)}"
    return True, "leads to streamWebhook"


def _permissions_verdict(app_settings: Mapping[str, Any], role: str) -> tuple[bool, str]:
    """What GetApp shows of what clients may do in Stream."""
    switches = ("disable_auth_checks", "disable_permissions_checks")
    if off := [name for name in switches if app_settings.get(name)]:
        return False, f"{' and '.join(off)}: any client may do anything"
    grants = app_settings.get("grants")
    granted = grants.get(role) if isinstance(grants, dict) else None
    told = [f"{role} has {one}" for one in GRANTS_TO_TAKE if one in (granted or [])]
    if app_settings.get("guest_user_creation_disabled") is False:
        told.append("guests need no account")
    seen = "; ".join(told) or "nothing to take from clients in the app's grants"
    return True, f"{seen}; those of channel types are not seen from here: docs/security.md"
