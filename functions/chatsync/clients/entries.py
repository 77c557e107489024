"""``stream_users/{kind}_{id}``: what is written down of users. See :mod:`chatsync.agreement`."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch
from google.rpc import code_pb2

from ..agreement import with_change
from ..errors import FirebaseUnavailable
from ..ids import Key
from . import Clients
from .documents import (
    CHANGED,
    WITH_HISTORY,
    CreatedDocument,
    Entry,
    read_documents,
    references,
    temporary_failures_named,
    until,
)


def write_entry(key: Key, entry: Entry, clients: Clients, deadline: float) -> None:
    """Write down what an account is, in place of what was there, but for its history."""
    corrected = entry.with_change("corrected", ["kind"])
    fields = {**entry.fields, "refused": [], "history": list(corrected.history)}
    with temporary_failures_named():
        references(key, clients)["entry"].set(fields, **until(deadline))


def remember_refused(
    refused: Mapping[Key, Iterable[str]],
    entries: Mapping[Key, Entry],
    clients: Clients,
    deadline: float,
) -> dict[Key, CreatedDocument]:
    """Save the hashes of refused values, in place of those saved before (BatchWrite).

    Returns the documents. Raises FirebaseUnavailable if some could not be written.
    """
    batch = BulkWriteBatch(clients.firestore)
    for key, hashes in refused.items():
        reference, entry = references(key, clients)["entry"], entries[key]
        if key.kind == "user":
            # Its kind was written before, and may have been corrected since.
            batch.update(reference, {"refused": list(hashes)})
            continue
        fields = {**entry.fields, "refused": list(hashes)}
        batch.set(reference, fields, merge=True)
    _commit_changes(batch, deadline)
    return {key: CreatedDocument(references(key, clients)["entry"], None) for key in refused}


def remember_agreement(
    fields: Mapping[Key, Mapping[str, Any]],
    entries: Mapping[Key, Entry],
    versions: Mapping[Key, datetime | None],
    clients: Clients,
    deadline: float,
) -> None:
    """Write into ``stream_users`` what was seen to agree (BatchWrite).

    An entry that changed since its version was read stays as it is: an event may have withdrawn it.
    Without version it is created. Raises FirebaseUnavailable.
    """
    batch = BulkWriteBatch(clients.firestore)
    for key, changed in fields.items():
        reference, entry, version = references(key, clients)["entry"], entries[key], versions[key]
        written = dict(changed)
        if "verifiedAt" in changed:
            # By an operator's clock that is ahead, the entry would count for longer.
            written["verifiedAt"] = firestore.SERVER_TIMESTAMP
        if version is None:
            batch.create(reference, {**entry.fields, **written})
        else:
            unchanged = clients.firestore.write_option(last_update_time=version)
            batch.update(reference, written, unchanged)
    _commit_changes(batch, deadline)


def withdraw(
    keys: Collection[Key],
    clients: Clients,
    deadline: float,
    *,
    change: Mapping[str, Any] | None = None,
    overwritten: bool = False,
) -> None:
    """Trust the entries of these users no longer (BatchWrite). Users without entry need nothing.

    Of a company's id, the account that may be that company counts too. ``change`` is what ends the
    trust, for the history, which is then read first. With ``overwritten`` it is noted that somebody
    else wrote into Stream. Raises FirebaseUnavailable.
    """
    named = dict.fromkeys([*keys, *(Key("user", key.id) for key in keys)])
    states = {}
    if change:
        states = read_documents(named, clients, deadline, of=["entry"], whole=WITH_HISTORY)
    batch = BulkWriteBatch(clients.firestore)
    for key in named:
        # The time makes it a change: a repair that has read the entry before cannot write it.
        now = firestore.SERVER_TIMESTAMP
        fields: dict[str, Any] = {"verifiedAt": None, "invalidatedAt": now}
        if change and (remembered := states[key].remembered):
            fields["history"] = with_change(remembered.history, change)
        if overwritten:
            fields["overwrittenAt"] = now
        batch.update(references(key, clients)["entry"], fields)
    _commit_changes(batch, deadline)


def _commit_changes(batch: BulkWriteBatch, deadline: float) -> None:
    """Raises FirebaseUnavailable if a write failed whose document is as it was expected."""
    if not len(batch):
        return
    with temporary_failures_named():
        response = batch.commit(**until(deadline))
    expected = (code_pb2.OK, code_pb2.ALREADY_EXISTS, *CHANGED)
    if any(status.code not in expected for status in response.status):
        raise FirebaseUnavailable("an entry of stream_users could not be written")
