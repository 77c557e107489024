"""What the event functions do with a repair's outcome.

A temporary failure waits in the outbox; if the outbox cannot be written, the error is raised, so
that the platform delivers the event again. A permanent failure is only logged: each delivery would
meet it again.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import partial

from firebase_functions import logger

from .. import outbox, users
from ..agreement import was_deleted_lately
from ..clients import Clients
from ..clients.documents import create_profile, read_documents
from ..errors import FirebaseUnavailable, NotFound
from ..ids import Key
from ..outcome import NotRepaired, Outcome, Waiting
from ..reconcile import new_deadline
from ..removal import remove_users
from ..users import FirebaseState


def reconcile_after_event(uid: str, clients: Clients) -> Outcome:
    """Reconcile the user that an event names."""
    return _repair_and_log(Key("user", uid), outbox.reconcile, clients)


def _repair_and_log(
    key: Key, repair: Callable[[list[Key], Clients], list[Outcome]], clients: Clients
) -> Outcome:
    """Repair a user or company, and log the outcome.

    Raises a temporary error if the outbox could not be written.
    """
    try:
        [outcome] = repair([key], clients)
    except NotRepaired as failure:
        outcome = failure.outcome
    error, name, about = outcome.error, f"{key.kind} {key.id}", {key.kind: key.id}
    if outcome.may_pass and error:
        if not outcome.is_queued:
            raise error
        log = logger.error if outcome.reason == Waiting.CREDENTIALS else logger.warn
        log(f"Not reconciled now: {name}: {error}", **about)
    elif error is None:
        logger.info(f"Reconciled {name}: {outcome.status}", **about)
    elif isinstance(error, NotFound):
        logger.info(f"Nothing to reconcile: account {key.id} is gone", **about)
    elif outcome.is_done:
        logger.warn(f"Left {name} as it is: {error}", **about)
    else:
        logger.error(f"{key.kind.capitalize()} {key.id} cannot be reconciled: {error}", **about)
    return outcome


def reconcile_after_sign_up(uid: str, clients: Clients) -> None:
    """Reconcile a user who signed up.

    If the account is gone, whatever an earlier delivery of the event may have created is removed.
    """
    # Something will be written: so Auth is asked side by side with the others, not after them.
    repair = partial(outbox.reconcile, ask_auth="at_once")
    outcome = _repair_and_log(Key("user", uid), repair, clients)
    if isinstance(outcome.error, NotFound):
        remove_after_event(uid, clients)


def reconcile_after_creation(uid: str, clients: Clients) -> None:
    """Give a new user document its profile and stats, and copy what it says to Stream.

    If the repair itself created the document, profile and Stream agree with it already.
    """
    config = clients.settings.config
    state = _read(uid, ("user", "profile", "stats", "entry"), clients)
    if was_deleted_lately(state, datetime.now(UTC)):
        _reconcile_or_remove(uid, clients)
        return
    lacking = state.profile is None or state.stats is None
    created = lacking and create_profile(uid, clients)
    is_news = created or not config.users.create or users.profile_update(state, config)
    # Where the user document decides what the account is, nothing may have been made in Stream yet.
    if is_news or (config.users.company.field and state.kind is None):
        logger.info(f"Found a user document of {uid} that is new to us", user=uid)
        reconcile_after_event(uid, clients)


def reconcile_after_change(
    uid: str, before: FirebaseState, after: FirebaseState, clients: Clients
) -> None:
    """Reconcile a user if the change of a document concerns Stream.

    No call is made for other fields that an app keeps there, or for a profile that the repair
    updated.
    """
    config = clients.settings.config
    if users.owned_fields(before, config) != users.owned_fields(after, config):
        is_deletion = after.user is None and after.profile is None
        (reconcile_after_event if is_deletion else _reconcile_or_remove)(uid, clients)


def _reconcile_or_remove(uid: str, clients: Clients) -> None:
    """Reconcile a user whose document was written.

    Without account, a document is a finding of the audit. But an ID token is valid for up to an
    hour after its account was deleted: what was written with it is removed. What is gone already is
    not removed again: Firestore's emulator sends an event of that, too.
    """
    outcome = reconcile_after_event(uid, clients)
    # Whatever the outbox finds later, it removes no document.
    if isinstance(outcome.error, NotFound | FirebaseUnavailable):
        state = _read(uid, ("user", "profile", "entry"), clients)
        is_there = state.user is not None or state.profile is not None
        if is_there and was_deleted_lately(state, datetime.now(UTC)):
            logger.warn(f"Removing what was written of deleted account {uid}", user=uid)
            # Stream allows few deletions in a minute, and the token may write many documents.
            _repair_and_log(Key("user", uid), partial(remove_users, from_stream=False), clients)


def _read(uid: str, of: Collection[str], clients: Clients) -> FirebaseState:
    key = Key("user", uid)
    return read_documents([key], clients, new_deadline(), of=of)[key]


def reconcile_company(
    company_id: str, before: FirebaseState, after: FirebaseState, clients: Clients
) -> None:
    """Reconcile a company whose document was written, if that concerns Stream.

    Whether it is gone, the audit tells: a deletion may be a mistake.
    """
    config = clients.settings.config
    differs = users.owned_fields(before, config) != users.owned_fields(after, config)
    if after.company is not None and (before.company is None or differs):
        _repair_and_log(Key("company", company_id), outbox.reconcile, clients)


def remove_after_event(uid: str, clients: Clients) -> None:
    """Remove a deleted account's Stream user by policy, and its documents.

    An account that exists, because the event is late or the uid is in use again, is reconciled
    instead.
    """
    _repair_and_log(Key("user", uid), outbox.remove, clients)
