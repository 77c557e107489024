"""What the event functions do with a repair's outcome.

What is temporary waits in the outbox; only if that cannot be written the error is raised, so that
the platform delivers the event again. What is permanent is logged: it would be so again for as long
as the platform retries.
"""

from collections.abc import Callable

from firebase_functions import logger

from .. import outbox, users
from ..clients import Clients
from ..clients.documents import create_profile, read_documents
from ..errors import NotFound
from ..ids import Key
from ..outcome import NotRepaired, Outcome, Waiting
from ..reconcile import new_deadline
from ..users import FirebaseState


def reconcile_after_event(uid: str, clients: Clients) -> Outcome:
    """Reconcile the user an event hints at."""
    return _conclude(uid, outbox.reconcile, clients)


def _conclude(
    uid: str, repair: Callable[[list[Key], Clients], list[Outcome]], clients: Clients
) -> Outcome:
    """Repair the user, and log what became of it.

    Raises the error of what is to be tried again, unless the outbox has the user.
    """
    try:
        [outcome] = repair([Key("user", uid)], clients)
    except NotRepaired as failure:
        outcome = failure.outcome
    error = outcome.error
    if outcome.may_pass and error:
        if not outcome.is_queued:
            raise error
        log = logger.error if outcome.reason == Waiting.CREDENTIALS else logger.warn
        log(f"Not reconciled now: user {uid}: {error}", user=uid)
    elif error is None:
        logger.info(f"Reconciled user {uid}: {outcome.status}", user=uid)
    elif isinstance(error, NotFound):
        logger.info(f"Nothing to reconcile: account {uid} is gone", user=uid)
    elif outcome.is_done:
        logger.warn(f"Left user {uid} as it is: {error}", user=uid)
    else:
        logger.error(f"User {uid} cannot be reconciled: {error}", user=uid)
    return outcome


def reconcile_after_sign_up(uid: str, clients: Clients) -> None:
    """Reconcile somebody who signed up.

    Who is gone by now was deleted: what an earlier delivery of the event may have made is removed.
    """
    outcome = reconcile_after_event(uid, clients)
    if isinstance(outcome.error, NotFound):
        remove_after_event(uid, clients)


def reconcile_after_creation(uid: str, clients: Clients) -> None:
    """Give a new user document its profile and stats, and bring what it says to Stream.

    Where the repair itself made the document, profile and Stream agree with it already.
    """
    key = Key("user", uid)
    held = read_documents([key], clients.firestore, new_deadline())[key]
    lacking = held.profile is None or held.stats is None
    created = lacking and create_profile(uid, clients.firestore)
    if created or users.profile_update(held):
        logger.info(f"Found a user document of {uid} that is new to us", user=uid)
        reconcile_after_event(uid, clients)


def reconcile_after_change(
    uid: str, before: FirebaseState, after: FirebaseState, clients: Clients
) -> None:
    """Reconcile the user one of whose documents changed, if the change concerns Stream.

    What else an app keeps in these documents, and what the repair itself writes when a profile
    follows, costs no call.
    """
    fields = [users.owned_fields(held, clients.settings.extra_fields) for held in (before, after)]
    if fields[0] != fields[1]:
        reconcile_after_event(uid, clients)


def remove_after_event(uid: str, clients: Clients) -> None:
    """Remove a deleted account's Stream user by policy, and its documents.

    Level-triggered like the repair: an account that exists, because the event is late or the uid
    is in use again, is reconciled instead.
    """
    _conclude(uid, outbox.remove, clients)
