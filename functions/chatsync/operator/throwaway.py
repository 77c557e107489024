"""What ``verify`` makes on the way, and how all of it is removed.

The document ``chatsync/verify`` names everything before it is made. So a run that was killed leaves
nothing that the next one cannot find.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from firebase_admin import auth
from firebase_admin.exceptions import FirebaseError
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from .. import budgets, conversations
from ..clients import Clients
from ..clients.documents import references
from ..conversations.document import conversations_in
from ..errors import ChatsyncError
from ..ids import Key, document_id
from ..outbox.entries import reference_of as outbox_entry_of
from ..side_by_side import batches
from .stream_requests import StreamRequests

PREFIX = "chatsync-verify-"
"""Of the uids, e-mail addresses and names of throwaway accounts."""

SECONDS = 60.0
"""For the removal."""

_EVENT_SECONDS = 20.0
"""After the deletion of an account, its event has so long to do the work."""

_NOT_FOUND = 404
_QUIET_LOOKS = 3
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Made:
    """What a run makes, on all sides; as it stands in ``chatsync/verify``."""

    uids: tuple[str, ...] = ()
    stream_ids: tuple[str, ...] = ()
    cids: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()


def read(clients: Clients) -> Made | None:
    """What a run before this one left; None if it removed all that it made."""
    stored: Any = _record(clients).get().to_dict()
    if stored is None:
        return None
    return Made(**{name: tuple(stored.get(name) or ()) for name in Made.__dataclass_fields__})


def note(made: Made, clients: Clients) -> None:
    """Write down what is going to be made."""
    _record(clients).set({**asdict(made), "notedAt": firestore.SERVER_TIMESTAMP})


def remove(made: Made, clients: Clients) -> list[str]:
    """Remove what was made from all sides, and the note of it; returns what could not be removed.

    What is deleted leads to events, which write late: so Firestore is looked at until nothing
    comes any more.
    """
    deadline = time.monotonic() + SECONDS
    failed: list[str] = []
    cids = list(made.cids)

    @contextmanager
    def attempt(what: str) -> Iterator[None]:
        try:
            yield
        except (ChatsyncError, FirebaseError, GoogleAPICallError) as error:
            failed.append(f"{what} ({type(error).__name__}: {str(error)[:200]})")

    with attempt("conversations"):
        cids += _cids_with(made.stream_ids, clients)
    with attempt("accounts"):
        _remove_accounts(made.uids, clients, deadline)
    with attempt("Stream"):
        failed += _remove_from_stream(made.stream_ids, cids, clients)
    with attempt("documents"):
        failed += _remove_documents(made, cids, clients, deadline)
    if not failed:
        _record(clients).delete()
    return failed


def _record(clients: Clients) -> firestore.DocumentReference:
    return clients.firestore.document("chatsync", "verify")


def _cids_with(stream_ids: Collection[str], clients: Clients) -> list[str]:
    """The channels of conversations that were opened for these members alone: a run that was
    killed may not have got to know the id of its own.

    The app may have added them to channels of others, which stay.
    """
    collection = clients.firestore.collection(clients.settings.config.conversations.collection)
    found = []
    for stream_id in stream_ids:
        query = collection.where(filter=FieldFilter("memberIds", "array_contains", stream_id))
        for document in conversations_in(query.get()):
            if document.origin == "app" and set(document.member_ids) <= set(stream_ids):
                found.append(document.cid)
    return found


def _remove_accounts(uids: Iterable[str], clients: Clients, deadline: float) -> None:
    """Delete accounts one by one, since only that sends events, also to the app's own triggers."""
    deleted = []
    for uid in uids:
        try:
            clients.auth.delete_user(uid)
            deleted.append(uid)
        except auth.UserNotFoundError:
            continue
    entries = [references(Key("user", uid), clients)["entry"] for uid in deleted]
    until = min(deadline, time.monotonic() + _EVENT_SECONDS)
    while entries and time.monotonic() < until:
        fields = [reference.get().to_dict() or {} for reference in entries]
        if all("deletedAt" in one for one in fields):
            break
        time.sleep(_PAUSE_SECONDS / 2)


def _remove_from_stream(
    stream_ids: Iterable[str], cids: Iterable[str], clients: Clients
) -> list[str]:
    """Delete the run's own channels and users hard."""
    ask, failed = StreamRequests(clients).ask, []
    for cid in dict.fromkeys(cids):
        path = f"/channels/{cid.replace(':', '/')}"
        answer = ask("DELETE", path, query={"hard_delete": "true"})
        if not answer.is_ok and answer.status != _NOT_FOUND:
            failed.append(f"channel {cid} ({answer})")
    for some in batches(list(stream_ids)):
        hard = dict.fromkeys(("user", "messages", "conversations"), "hard")
        answer = ask("POST", "/users/delete", {"user_ids": some, **hard})
        if not answer.is_ok:
            failed.append(f"users in Stream ({answer})")
    return failed


def _remove_documents(
    made: Made, cids: Iterable[str], clients: Clients, deadline: float
) -> list[str]:
    conversation_ids = [conversations.conversation_id_of(cid, clients.settings) for cid in cids]
    possible = _possible_documents(made, conversation_ids, clients)
    quiet_looks = 0
    while quiet_looks < _QUIET_LOOKS:
        found = [one.reference for one in clients.firestore.get_all(possible) if one.exists]
        found += _pairs_of(conversation_ids, clients)
        quiet_looks = 0 if found else quiet_looks + 1
        for reference in found:
            reference.delete()
        if time.monotonic() > deadline:
            return [reference.path for reference in found]
        time.sleep(_PAUSE_SECONDS)
    return []


def _possible_documents(
    made: Made, conversation_ids: Iterable[str], clients: Clients
) -> list[firestore.DocumentReference]:
    document, found = clients.firestore.document, []
    for uid in made.uids:
        key = Key("user", uid)
        found += [one for name, one in references(key, clients).items() if name != "company"]
        found += [outbox_entry_of(key, clients)]
        found += [document(budgets.COLLECTION, document_id(uid))]
    for one in conversation_ids:
        found += [document(clients.settings.config.conversations.collection, one)]
        found += [outbox_entry_of(Key("conversation", one), clients)]
    found += [document("counted_messages", document_id(one)) for one in made.message_ids]
    return found


def _pairs_of(
    conversation_ids: Iterable[str], clients: Clients
) -> list[firestore.DocumentReference]:
    pairs = clients.firestore.collection("pairs")
    found = []
    for one in conversation_ids:
        query = pairs.where(filter=FieldFilter("conversationId", "==", one))
        found += [snapshot.reference for snapshot in query.get()]
    return found
