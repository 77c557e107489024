"""What the event functions do with a repair's outcome.

What is temporary waits in the outbox; only if that cannot be written the error is raised, so that
the platform delivers the event again. What is permanent is logged: it would be so again for as long
as the platform retries.
"""

from firebase_functions import logger

from . import firebase, repairs, users
from .clients import Clients
from .errors import FailedPrecondition, NotFound, StreamCredentialsRejected, Temporary
from .ids import Key
from .sync import Outcome, new_deadline
from .users import Held


def reconcile_after_event(uid: str, clients: Clients) -> Outcome | None:
    """Reconcile the user an event hints at; None if that is left to the outbox as a whole."""
    try:
        [outcome] = repairs.reconcile([Key("user", uid)], clients)
    except StreamCredentialsRejected as error:
        _leave_to_the_outbox(uid, error)
        return None
    _conclude(uid, outcome)
    return outcome


def _conclude(uid: str, outcome: Outcome) -> None:
    match outcome.error:
        case None:
            logger.info(f"Reconciled user {uid}: {outcome.status}", user=uid)
        case NotFound():
            logger.info(f"Nothing to reconcile: account {uid} is gone", user=uid)
        case Temporary():
            _leave_to_the_outbox(uid, outcome.error)
        case FailedPrecondition(reason="anonymous" | "disabled" | "deactivated" | "banned"):
            logger.warn(f"Left user {uid} as it is: {outcome.error}", user=uid)
        case _:
            logger.error(f"User {uid} cannot be reconciled: {outcome.error}", user=uid)


def _leave_to_the_outbox(uid: str, error: Temporary | StreamCredentialsRejected) -> None:
    """Raises ``error`` unless the outbox has the user."""
    if not error.repair_queued:
        raise error
    log = logger.error if isinstance(error, StreamCredentialsRejected) else logger.warn
    log(f"Not reconciled now: user {uid}: {error}", user=uid)


def reconcile_after_sign_up(uid: str, clients: Clients) -> None:
    """Reconcile somebody who signed up.

    Who is gone by now was deleted: what an earlier delivery of the event may have made is removed.
    """
    outcome = reconcile_after_event(uid, clients)
    if outcome and isinstance(outcome.error, NotFound):
        remove_after_event(uid, clients)


def reconcile_after_creation(uid: str, clients: Clients) -> None:
    """Give a new user document its profile and stats, and bring what it says to Stream.

    Where the repair itself made the document, profile and Stream agree with it already.
    """
    key = Key("user", uid)
    held = firebase.read_documents([key], clients.firestore, new_deadline())[key]
    lacking = held.profile is None or held.stats is None
    created = lacking and firebase.create_profile(uid, clients.firestore)
    if created or users.profile_update(held):
        logger.info(f"Found a user document of {uid} that is new to us", user=uid)
        reconcile_after_event(uid, clients)


def reconcile_after_change(uid: str, before: Held, after: Held, clients: Clients) -> None:
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
    try:
        [outcome] = repairs.remove([Key("user", uid)], clients)
    except StreamCredentialsRejected as error:
        _leave_to_the_outbox(uid, error)
    else:
        _conclude(uid, outcome)
