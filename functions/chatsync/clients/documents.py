"""Firestore: how this package reads and writes its documents."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from threading import BoundedSemaphore
from typing import Any, NamedTuple

from firebase_functions import logger
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.api_core.exceptions import AlreadyExists, FailedPrecondition, NotFound, from_grpc_status
from google.cloud import firestore
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch
from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.types import BatchGetDocumentsResponse, DocumentMask
from google.rpc import code_pb2

from ..agreement import TOMBSTONE_KEPT_FOR, change_of, with_change
from ..errors import FirebaseUnavailable, Unsettled
from ..ids import Key
from ..settings import ReadFields
from ..users import (
    MAX_PICTURE_LENGTH,
    Document,
    FirebaseState,
    Remembered,
    UserKind,
    missing_documents,
    profile_update,
    without_unused_names,
)
from . import Clients
from .firebase_calls import seconds_until
from .firebase_calls import temporary_failures_named as temporary_failures_named
from .firebase_calls import until as until

CHANGED = (code_pb2.NOT_FOUND, code_pb2.FAILED_PRECONDITION)
"""Codes of a write in a batch whose document has changed since it was read."""

_CONCERNS_ALL = (code_pb2.PERMISSION_DENIED, code_pb2.UNAUTHENTICATED)

_LARGE_READ = 100
"""In documents."""

_large_reads = BoundedSemaphore(4)

_MAX_CONFLICTS = 3

_PROFILE_SECONDS = 20.0

_LISTING_SECONDS = 40.0

MAX_TEXT_LENGTH = 1_024

_MAX_LIST_LENGTH = 1_000
_MAX_LIST_BYTES = 30_000
"""Of all texts of a list, in bytes. Stream takes 250 teams of 100 bytes (Stream documentation,
"Multi Tenant & Teams"): it refuses what was cut here."""

_ENTRIES = "stream_users"

WITH_HISTORY = {"entry": ["history"]}
"""``whole`` of :func:`read_documents` for who adds to the history: others leave it out."""

_NOTHING = ReadFields({}, ())

OTHER = object()
"""Stands for a value of a type that this package doesn't read, such as a map for a name."""


class Entry(NamedTuple):
    """``stream_users/{kind}_{id}``: what an account is, its Stream id, and what was done to it."""

    kind: UserKind
    stream_id: str
    history: Sequence[Document] = ()
    """The last changes; written only with a whole new entry."""

    @property
    def fields(self) -> dict[str, Any]:
        """As they stand in the document, without the history."""
        return {"kind": self.kind, "streamUserId": self.stream_id}

    def with_change(self, did: str, names: Iterable[str] = ()) -> "Entry":
        """The same with one more change, by this process."""
        return self._replace(history=with_change(self.history, change_of(did, names)))

    def of_deleted(self) -> "Entry":
        """The same after a deletion, which may be told again: by events of the documents, too."""
        was_told = bool(self.history) and self.history[-1].get("did") == "deleted"
        return self if was_told else self.with_change("deleted")


class CreatedDocument(NamedTuple):
    """A document that was just created, or may have been created."""

    reference: firestore.DocumentReference
    update_time: datetime | None
    """None if the answer was lost: the document may have been created or not."""

    @property
    def is_entry(self) -> bool:
        """Whether it is in ``stream_users``."""
        return _is_entry(self.reference)


class WriteResult(NamedTuple):
    """The result of writing a batch of documents."""

    created: dict[Key, list[CreatedDocument]]
    """Documents that were created, or may have been."""

    failure: FirebaseUnavailable | None = None
    """The temporary failure of the call."""

    refused: Mapping[Key, str] = {}
    """Keys whose documents Firestore refuses, with its message: a document may be too large."""

    undecided: frozenset[Key] = frozenset()
    """Accounts of which somebody else wrote down first what they are, or may have."""

    followed: frozenset[Key] = frozenset()
    """Users whose profile was updated."""


def count_documents(collection: str, client: firestore.Client) -> int:
    counting = client.collection(collection).count()  # type: ignore[no-untyped-call]
    with temporary_failures_named():
        [[count]] = counting.get(**until(time.monotonic() + _LISTING_SECONDS))
    return int(count.value)


def list_ids(
    collection: str, after: str, size: int, client: firestore.Client
) -> tuple[list[str], str]:
    """The ids of documents in their order, and the last one, empty at the end."""
    deadline = time.monotonic() + _LISTING_SECONDS
    ids = [one.id for one in list_snapshots(collection, after, size, client, deadline, fields=())]
    return ids, ids[-1] if len(ids) == size else ""


def list_snapshots(
    collection: str,
    after: str,
    size: int,
    client: firestore.Client,
    deadline: float,
    fields: Iterable[str],
) -> list[Any]:
    """Documents in the order of their ids, only with ``fields``; each is billed as a whole."""
    query = client.collection(collection).order_by("__name__").limit(size).select(fields)
    if after:
        query = query.start_after({"__name__": client.document(collection, after)})
    with temporary_failures_named():
        return list(query.get(**until(deadline)))


def read_documents(
    keys: Iterable[Key],
    clients: Clients,
    deadline: float,
    *,
    of: Collection[str] = ("user", "profile", "stats", "company", "entry", "account_entry"),
    whole: Mapping[str, Sequence[str]] = {},
) -> dict[Key, FirebaseState]:
    """The documents of each key, in one call (BatchGetDocuments): those ``of`` these fields.

    Only the fields that this package reads, with long texts cut; ``whole`` names further ones by
    field of ``FirebaseState``, which are read uncut. Documents arrive one by one and are cut at
    once: of a hundred that people filled to Firestore's limit, one or two are in memory whole, and
    some 20 KB of each other.
    """
    found: dict[Key, dict[str, Any]] = {key: {} for key in keys}
    # An account and a company of one id share documents.
    places: dict[str, list[tuple[Key, str]]] = {}
    for key in found:
        for field, reference in references(key, clients).items():
            if field in of:
                places.setdefault(reference._document_path, []).append((key, field))
    also = {name for names in whole.values() for name in names}
    read = (
        (message, key, field)
        for message in _get_documents(list(places), clients, deadline, also)
        for key, field in places[message.found.name]
    )
    for message, key, field in read:
        document = message.found
        wanted = clients.settings.fields_read[field.removeprefix("account_")]
        fields = read_fields(document.fields, wanted)
        uncut = {
            name: _whole(document.fields[name])
            for name in whole.get(field, ())
            if name in document.fields
        }
        if field == "entry":
            found[key]["refused"] = _texts(fields.get("refused"))
            found[key]["remembered"] = _remembered(message, fields | uncut)
        if field == "account_entry" or (field == "entry" and key.kind == "user"):
            found[key]["kind"] = _kind(fields.get("kind"))
        if field in ("entry", "account_entry"):
            continue
        found[key][field] = fields | uncut
        if field == "profile":
            found[key]["profile_version"] = _time(document.update_time)
    return {key: FirebaseState(**fields) for key, fields in found.items()}


def _remembered(message: Any, fields: Mapping[str, Any]) -> Remembered:
    def text(name: str) -> str:
        return value if isinstance(value := fields.get(name), str) else ""

    def time_at(name: str) -> datetime | None:
        return value if isinstance(value := fields.get(name), datetime) else None

    history = fields.get("history")
    return Remembered(
        text("streamUserId"),
        text("fingerprint"),
        time_at("verifiedAt"),
        tuple(one for one in history if isinstance(one, dict)) if isinstance(history, list) else (),
        revoked if isinstance(revoked := fields.get("revokedBefore"), int) else 0,
        time_at("deletedAt"),
        time_at("overwrittenAt"),
        version=_time(message.found.update_time),
        read_at=_time(message.read_time),
    )


def _kind(value: object) -> UserKind | None:
    return "user" if value == "user" else "company" if value == "company" else None


def read_whole(
    references: Iterable[firestore.DocumentReference], clients: Clients, deadline: float
) -> dict[str, dict[str, Any]]:
    """Documents by path, with all their fields, of those that exist."""
    paths = {one._document_path: one.path for one in references}
    messages = _get_documents(list(paths), clients, deadline, is_masked=False)
    return {
        paths[message.found.name]: {
            name: _whole(value) for name, value in message.found.fields.items()
        }
        for message in messages
    }


def _get_documents(
    names: Sequence[str],
    clients: Clients,
    deadline: float,
    also: Iterable[str] = (),
    transaction: bytes | None = None,
    is_masked: bool = True,
) -> Iterator[Any]:
    """The documents that exist, ``found`` in Protobuf messages with the ``read_time``.

    Not by ``client.get_all``: it raises for all documents if one holds a reference to another
    project or database, which anybody can write (google-cloud-firestore 2.34,
    ``reference_value_to_document``), and decodes all fields, of which we need a few.
    """
    if not names:
        return
    client = clients.firestore
    request = {
        "database": client._database_string,
        "documents": names,
        "mask": _mask(clients.settings.mask | {*also}) if is_masked else None,
        "transaction": transaction,
    }
    with temporary_failures_named(), _in_turn(len(names), deadline):
        responses = client._firestore_api.batch_get_documents(
            request=request, metadata=client._rpc_metadata, **until(deadline)
        )
        for response in responses:
            message = BatchGetDocumentsResponse.pb(response)
            if message.HasField("found"):
                yield message


@contextmanager
def _in_turn(count: int, deadline: float) -> Iterator[None]:
    """Let few large reads be received at once: each may hold some documents of a megabyte."""
    if count <= _LARGE_READ:
        yield
        return
    if not _large_reads.acquire(timeout=seconds_until(deadline)):
        raise FirebaseUnavailable("no answer in time")
    try:
        yield
    finally:
        _large_reads.release()


@cache
def _mask(names: frozenset[str]) -> DocumentMask:
    return DocumentMask(field_paths=sorted(FieldPath(name).to_api_repr() for name in names))


def read_fields(fields: Mapping[str, Any], wanted: ReadFields) -> dict[str, Any]:
    """The fields of a document, or of a document in an event, that this package reads.

    Long texts are cut.
    """
    names = {path.partition(".")[0] for path in wanted.types}
    read = {name: _read_value(name, fields[name], wanted) for name in names if name in fields}
    return without_unused_names(read, wanted.alternatives)


def _read_value(path: str, value: Any, wanted: ReadFields) -> Any:
    kind = value.WhichOneof("value_type")
    match kind:
        case "map_value":
            inner = value.map_value.fields
            start = f"{path}."
            below = [one for one in wanted.types if one.startswith(start)]
            names = {one.removeprefix(start).partition(".")[0] for one in below}
            read = {
                one: _read_value(f"{path}.{one}", inner[one], wanted)
                for one in names
                if one in inner
            }
            return read if below else OTHER
        case "array_value" if wanted.types.get(path) == "list":
            return _read_list(value.array_value.values)
        case "string_value" if wanted.types.get(path) == "picture":
            # One character more than is copied: so a cut address is left out, like a long one.
            return value.string_value.strip()[: MAX_PICTURE_LENGTH + 1]
        case "string_value":
            return value.string_value[:MAX_TEXT_LENGTH]
        case "array_value" | "bytes_value":
            return OTHER
    return _whole(value)


def _read_list(values: Sequence[Any]) -> list[Any]:
    """As many values as there is room for; the last text may be cut."""
    read: list[Any] = []
    room = _MAX_LIST_BYTES
    for value in values[:_MAX_LIST_LENGTH]:
        one = _read_value("", value, _NOTHING)
        if isinstance(one, str):
            kept = one.encode()[: room + 1]
            one = kept.decode(errors="ignore")
            room -= len(kept)
        read.append(one)
        if room < 0:
            break
    return read


def _whole(value: Any) -> Any:
    """A value with all its content; a reference becomes the path of its document."""
    kind = value.WhichOneof("value_type")
    match kind:
        case None | "null_value":
            return None
        case "timestamp_value":
            return _time(value.timestamp_value)
        case "reference_value":
            return value.reference_value.partition("/documents/")[2]
        case "geo_point_value":
            point = value.geo_point_value
            return {"latitude": point.latitude, "longitude": point.longitude}
        case "map_value":
            return {name: _whole(one) for name, one in value.map_value.fields.items()}
        case "array_value":
            return [_whole(one) for one in value.array_value.values]
    return getattr(value, kind)


def _time(stamp: Any) -> datetime:
    time: datetime = DatetimeWithNanoseconds.from_timestamp_pb(stamp)  # type: ignore[no-untyped-call]
    return time


def _texts(value: object) -> frozenset[str]:
    return (
        frozenset(one for one in value if isinstance(one, str))
        if isinstance(value, list)
        else frozenset()
    )


def stats_of(uid: str, clients: Clients) -> firestore.DocumentReference:
    return references(Key("user", uid), clients)["stats"]


def write_documents(
    states: Mapping[Key, FirebaseState],
    entries: Mapping[Key, Entry],
    clients: Clients,
    deadline: float,
) -> WriteResult:
    """Create the documents that these users lack, and let unedited profiles follow (BatchWrite).

    ``entries`` are created too: they write down what accounts are.

    Each write succeeds or fails on its own. Documents that somebody else has created or changed
    meanwhile stay as they are; verification finds what was not written. Raises errors that concern
    everybody, such as a missing role.
    """
    batch = BulkWriteBatch(clients.firestore)
    written: list[tuple[Key, firestore.DocumentReference | None]] = []
    """For each write its key, and the document if it creates one."""
    for key in dict.fromkeys([*states, *entries]):
        made = create_missing(key, states.get(key), entries.get(key), batch, clients)
        written += [(key, reference) for reference in made]
        if update := profile_update(states.get(key, FirebaseState()), clients.settings.config):
            unchanged = clients.firestore.write_option(last_update_time=states[key].profile_version)
            update["updatedAt"] = firestore.SERVER_TIMESTAMP
            batch.update(references(key, clients)["profile"], update, unchanged)
            written.append((key, None))
    if not written:
        return WriteResult({})
    try:
        with temporary_failures_named():
            # Not repeated: after a lost answer we could not know who created a document.
            response = batch.commit(retry=None, timeout=seconds_until(deadline))
    except FirebaseUnavailable as error:
        maybe = ((key, CreatedDocument(reference, None)) for key, reference in written if reference)
        return WriteResult(_by_key(maybe), error, undecided=frozenset(entries))
    answers = list(zip(written, response.status, response.write_results, strict=True))
    created = _by_key(
        (key, CreatedDocument(reference, result.update_time))
        for (key, reference), status, result in answers
        if reference and status.code == code_pb2.OK
    )
    for key, documents in created.items():
        log_created(key, [one.reference for one in documents])
    refused, undecided, followed = {}, set(), set()
    for (key, reference), status, _ in answers:
        if status.code in _CONCERNS_ALL:
            raise from_grpc_status(status.code, status.message)  # type: ignore[no-untyped-call]
        if status.code == code_pb2.INVALID_ARGUMENT:
            refused[key] = status.message
        if not reference and status.code == code_pb2.OK:
            logger.info(f"The profile of {key.kind} {key.id} follows", **{key.kind: key.id})
            followed.add(key)
        if reference and _is_entry(reference) and status.code != code_pb2.OK:
            undecided.add(key)
    return WriteResult(
        created, refused=refused, undecided=frozenset(undecided), followed=frozenset(followed)
    )


def create_missing(
    key: Key,
    state: FirebaseState | None,
    entry: Entry | None,
    batch: BulkWriteBatch | firestore.WriteBatch | firestore.Transaction,
    clients: Clients,
) -> list[firestore.DocumentReference]:
    """Add to ``batch`` the documents that a user lacks, and ``entry``; returns what it creates.

    Each write fails if the document exists by then. Without ``state`` only ``entry`` is written.
    """
    documents = references(key, clients)
    config, now = clients.settings.config, firestore.SERVER_TIMESTAMP
    missing = missing_documents(state, now, config) if state else {}
    if entry:
        history = {"history": list(entry.history)} if entry.history else {}
        missing["entry"] = entry.fields | history
    for field, document in missing.items():
        batch.create(documents[field], document)
    return [documents[field] for field in missing]


def tell_created(
    key: Key,
    state: FirebaseState,
    created: Iterable[firestore.DocumentReference],
    batch: firestore.WriteBatch | firestore.Transaction,
    clients: Clients,
) -> None:
    """Add to ``batch`` what is created, for the history of a user who has an entry.

    ``state`` was read with the ``whole`` history. The commit raises NotFound if the entry is gone.
    """
    if state.remembered:
        change = change_of("documents", [one.parent.id for one in created])
        history = with_change(state.remembered.history, change)
        batch.update(references(key, clients)["entry"], {"history": history})


def tell_stats_created(
    key: Key, batch: firestore.WriteBatch, clients: Clients, deadline: float
) -> None:
    """The same for a user whose stats ``batch`` creates."""
    state = read_documents([key], clients, deadline, of=["entry"], whole=WITH_HISTORY)[key]
    tell_created(key, state, [stats_of(key.id, clients)], batch, clients)


def log_created(key: Key, references: Iterable[firestore.DocumentReference]) -> None:
    collections = ", ".join(one.parent.id for one in references)
    logger.info(f"Created documents of {key.kind} {key.id}: {collections}", **{key.kind: key.id})


def _by_key(pairs: Iterable[tuple[Key, CreatedDocument]]) -> dict[Key, list[CreatedDocument]]:
    documents: dict[Key, list[CreatedDocument]] = {}
    for key, document in pairs:
        documents.setdefault(key, []).append(document)
    return documents


def delete_user_documents(
    entries: Mapping[Key, Entry],
    clients: Clients,
    deadline: float,
    *,
    documents: bool = True,
    still_in_stream: Collection[Key] = (),
) -> None:
    """Remove the documents of up to 100 deleted users, and remember in ``stream_users`` that they
    are deleted. Of users who are ``still_in_stream`` the entry does not expire: nothing else says
    under which id they are there.

    Not ``companies/{id}``, which the app wrote. Without ``documents`` the others stay, too.
    """
    batch = clients.firestore.batch()
    for key, entry in entries.items():
        for field, reference in references(key, clients).items():
            if field == "entry":
                history = list(entry.of_deleted().history)
                tombstone = {**entry.fields, "history": history}
                tombstone["deletedAt"] = firestore.SERVER_TIMESTAMP
                if key not in still_in_stream:
                    tombstone["chatsyncExpireAt"] = datetime.now(UTC) + TOMBSTONE_KEPT_FOR
                batch.set(reference, tombstone)
            elif documents and field in ("user", "profile", "stats"):
                batch.delete(reference)
    if len(batch):
        with temporary_failures_named():
            batch.commit(**until(deadline))


def delete_documents(
    documents: Iterable[CreatedDocument], client: firestore.Client, deadline: float
) -> None:
    """Delete documents, except those that changed since they were created (BatchWrite).

    If a document was created twice, the last time counts: Firestore takes one write of each.
    Raises FirebaseUnavailable if one could not be deleted now.
    """
    batch = BulkWriteBatch(client)
    for one in {one.reference.path: one for one in documents}.values():
        if one.update_time is None:
            batch.delete(one.reference)
        else:
            unchanged = client.write_option(last_update_time=one.update_time)
            batch.delete(one.reference, unchanged)
    if not len(batch):
        return
    with temporary_failures_named():
        response = batch.commit(**until(deadline))
    if any(status.code not in (code_pb2.OK, *CHANGED) for status in response.status):
        raise FirebaseUnavailable("a document could not be deleted")


def create_profile(uid: str, clients: Clients) -> bool:
    """Create the profile and the stats of a user where absent; returns whether it did.

    A transaction reads ``users/{uid}``: no profile is created for a user document that is gone by
    then. An existing document is never overwritten, however often the event is delivered.
    """
    key = Key("user", uid)

    @firestore.transactional
    def create(
        transaction: firestore.Transaction, state: FirebaseState
    ) -> list[firestore.DocumentReference]:
        # Only the user document is read here: its lock is shared, so deliveries of the same event
        # don't abort each other.
        name = references(key, clients)["user"]._document_path
        users = list(_get_documents([name], clients, deadline, transaction=transaction.id))
        if not users:
            return []
        wanted = clients.settings.fields_read["user"]
        state = replace(state, user=read_fields(users[0].found.fields, wanted))
        created = create_missing(key, state, None, transaction, clients)
        tell_created(key, state, created, transaction, clients)
        return created

    of = ("user", "profile", "stats", "entry")
    # After each conflict, another delivery has created a document since it was read.
    deadline = time.monotonic() + _PROFILE_SECONDS
    for _ in range(_MAX_CONFLICTS):
        state = read_documents([key], clients, deadline, of=of, whole=WITH_HISTORY)[key]
        if state.user is None or (state.profile is not None and state.stats is not None):
            return False
        with suppress(AlreadyExists, NotFound):
            if created := create(clients.firestore.transaction(), state):
                log_created(key, created)
            return bool(created)
    raise Unsettled(f"the profile of user {uid} kept changing")


def references(key: Key, clients: Clients) -> dict[str, firestore.DocumentReference]:
    """The document of each field of ``FirebaseState``, and the ``entry`` in ``stream_users``."""
    fields = ("company",) if key.kind == "company" else ("user", "profile", "stats", "company")
    entries = {"entry": clients.firestore.document(_ENTRIES, f"{key.kind}_{key.id}")}
    if key.kind == "company":
        entries["account_entry"] = clients.firestore.document(_ENTRIES, f"user_{key.id}")
    collection_of = clients.settings.collection_of
    documents = {
        field: clients.firestore.document(f"{collection_of(field)}/{key.id}") for field in fields
    }
    return {**documents, **entries}


def _is_entry(reference: firestore.DocumentReference) -> bool:
    return bool(reference.parent.id == _ENTRIES)


def add_write(
    batch: firestore.WriteBatch,
    reference: firestore.DocumentReference,
    fields: Mapping[str, Any],
    version: datetime | None,
    client: firestore.Client,
) -> None:
    """Add to ``batch`` a write that fails if the document changed since it was read.

    ``version`` is its update time when it was read; if None, the document is created, and has no
    field to delete.
    """
    fields = {**fields, "updatedAt": firestore.SERVER_TIMESTAMP}
    if version is None:
        deleted = firestore.DELETE_FIELD
        batch.create(reference, {name: one for name, one in fields.items() if one is not deleted})
    else:
        batch.update(reference, fields, client.write_option(last_update_time=version))


def commit(batch: firestore.WriteBatch, deadline: float) -> list[datetime] | None:
    """Commit all writes or none; the update time of each, or None if a precondition failed."""
    try:
        with temporary_failures_named():
            return [write.update_time for write in batch.commit(**until(deadline))]
    except (AlreadyExists, FailedPrecondition, NotFound):
        return None
