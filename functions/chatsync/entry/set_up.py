"""What a deployment still needs: Stream's webhook, a first audit, and maybe a backfill.

``chatsync/setup`` records what is done: ``webhookUrl``, ``auditId``, ``backfillId``, and the
``serviceAccount`` of the functions. Whatever is not recorded is done, or done again, by the next
call; so it may end anywhere.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from firebase_functions import logger
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud import firestore

from .. import audit as audits
from .. import proof
from ..audit.steps import RECONCILED
from ..clients import Clients
from ..clients.documents import temporary_failures_named, until
from ..clients.place import service_account, webhook_address
from ..errors import ChatsyncError, StreamUnavailable, Temporary
from ..log_events import LogEvent

SET_UP = "setUp"
"""The task function that the Firebase CLI calls after a deployment."""

STEPS_OF_BACKFILL = ("accounts", "companies")

CALL_SECONDS = 20.0

VISIBLE_AFTER_SECONDS = 20.0
"""Stream shows changed settings after some seconds."""

Hook = Mapping[str, Any]


def set_up(clients: Clients, *, with_backfill: bool) -> None:
    """Complete the deployment. Raises Temporary if some of it is not done: call again."""
    done = read(clients)
    steps: list[Callable[[], None]] = [
        lambda: _record({"serviceAccount": service_account()}, clients),
        lambda: _point_webhook(done.get("webhookUrl"), clients),
    ]
    if not done.get("auditId"):
        steps.append(lambda: _begin("auditId", _first_audit, clients))
    if with_backfill and not _has_backfill(done, clients):
        steps.append(lambda: _begin("backfillId", _backfill, clients))
    failures = [failure for step in steps if (failure := _failure_of(step))]
    if failures:
        message = f"The deployment is not set up yet: {'; '.join(failures)}"
        logger.warn(message, event=LogEvent.NOT_SET_UP)
        raise Temporary(message)
    logger.info("The deployment is set up")


def go_on(clients: Clients, local: bool = False) -> bool:
    """Let the task queue call ``setUp`` again, if it ever was called: a pause may have been longer
    than its attempts. In the emulators (``local``) nobody else calls it. Whether it is called.
    Raises FirebaseUnavailable."""
    called = local or bool(read(clients))
    if called:
        now = time.time()
        clients.tasks.enqueue(SET_UP, {}, f"resumed-{int(now)}", now)
    return called


def _failure_of(step: Callable[[], None]) -> str:
    """What kept a step from its end; empty if nothing did. The others don't wait for it."""
    try:
        step()
    except (ChatsyncError, GoogleAPICallError, GoogleAuthError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def lacking(done: Mapping[str, Any]) -> list[str]:
    """What ``chatsync/setup`` does not say to be done, but for a backfill: few need one."""
    steps = {"webhookUrl": "the webhook is not set by it", "auditId": "no audit has begun"}
    return [what for name, what in steps.items() if not done.get(name)]


def read(clients: Clients) -> dict[str, Any]:
    """``chatsync/setup``; empty before the first deployment. Raises FirebaseUnavailable."""
    with temporary_failures_named():
        return _reference(clients).get(**until(time.monotonic() + CALL_SECONDS)).to_dict() or {}


def _record(fields: Mapping[str, Any], clients: Clients) -> None:
    with temporary_failures_named():
        stored = {**fields, "updatedAt": firestore.SERVER_TIMESTAMP}
        _reference(clients).set(stored, merge=True, **until(time.monotonic() + CALL_SECONDS))


def _reference(clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document("chatsync", "setup")


def _point_webhook(recorded: str | None, clients: Clients) -> None:
    """Let Stream send its events to ``streamWebhook``, and leave all other hooks as they are.

    What is recorded is only checked: somebody may have changed it on purpose. A deployment to
    another region has another address.
    """
    project = clients.firestore.project
    address = webhook_address(project)
    if address != recorded:
        deadline = time.monotonic() + CALL_SECONDS
        app = clients.stream.app_settings(deadline)
        is_set_by_hand = recorded is None and proof.missing_events(app, project) == []
        hooks = [one for one in app.get("event_hooks") or [] if isinstance(one, dict)]
        wanted = with_ours(hooks, address, recorded)
        if wanted != hooks and not is_set_by_hand:
            clients.stream.set_event_hooks(wanted, deadline)
            _tell_lost([one for one in hooks if one in wanted], _visible_hooks(address, clients))
        _record({"webhookUrl": address}, clients)
    proof.note_hooks(clients)


def with_ours(hooks: Sequence[Hook], address: str, before: str | None) -> list[Hook]:
    """The hooks with one that sends what we need to ``address``, in place of the one to ``before``.

    ``event_types`` that are empty mean all (Stream documentation, "Multi-event hooks").
    """
    ours = [one for one in hooks if _leads_to(one, address) or _leads_to(one, before)]
    new = {"hook_type": "webhook", "webhook_url": address, "enabled": True}
    if not ours:
        return [*hooks, {**new, "event_types": list(proof.EVENTS)}]
    types = list(ours[0].get("event_types") or [])
    missing = [one for one in proof.EVENTS if types and one not in types]
    changed = {**ours[0], **new, "event_types": [*types, *missing]}
    return [changed if one is ours[0] else one for one in hooks if one not in ours[1:]]


def _leads_to(hook: Hook, address: str | None) -> bool:
    return hook.get("hook_type") == "webhook" and hook.get("webhook_url") == address


def _visible_hooks(address: str, clients: Clients) -> list[Hook]:
    """The hooks after the change. Raises StreamUnavailable if ours does not appear."""
    deadline = time.monotonic() + VISIBLE_AFTER_SECONDS
    pause = 0.2
    while True:
        hooks = clients.stream.app_settings(deadline).get("event_hooks") or []
        if any(_leads_to(one, address) for one in hooks):
            return list(hooks)
        if time.monotonic() + pause >= deadline:
            raise StreamUnavailable("Stream does not show the webhook that was set")
        time.sleep(pause)
        pause *= 2


def _tell_lost(before: Sequence[Hook], after: Sequence[Hook]) -> None:
    """Tell in the log which hooks are gone that should have stayed: Stream takes a whole list."""
    for hook in before:
        if hook.get("id") not in [one.get("id") for one in after]:
            place = urlsplit(str(hook.get("webhook_url") or "")).hostname or hook.get("hook_type")
            message = f"Stream lost the event hook {hook.get('id')} ({place}): add it again"
            logger.error(message, event=LogEvent.HOOK_LOST)


def _begin(field: str, begun_or_new: Callable[[Clients], audits.Audit], clients: Clients) -> None:
    """Let the task queue run an audit, and record it."""
    audit = begun_or_new(clients)
    audits.run_in_background(audit, clients)
    _record({field: audit.id}, clients)
    logger.info(f"Set-up begins the {audit.mode} {audit.id}", audit=audit.id)


def _first_audit(clients: Clients) -> audits.Audit:
    """One that repairs nothing; that of a call that ended before it was recorded, if there is."""
    return audits.unfinished("setup", clients) or audits.start("setup", clients)


def _has_backfill(done: Mapping[str, Any], clients: Clients) -> bool:
    """Whether one was begun that did not stop because of a wrong setting. Audits expire."""
    if not done.get("backfillId"):
        return False
    begun = audits.read(done["backfillId"], clients)
    return begun is None or begun.state not in ("unsafe", "failed")


def _backfill(clients: Clients) -> audits.Audit:
    """The operator's, if one is not at its end."""
    audit = audits.unfinished("backfill", clients)
    if audit and audit.state == "stopped":
        audit = audits.set_state(audit, "running", clients)
    return audit or audits.start("backfill", clients, steps=STEPS_OF_BACKFILL, repair=RECONCILED)
