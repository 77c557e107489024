"""Firebase for fast tests: the real clients of Firestore and Auth, on servers in memory.

What the emulators are asked in tests/emulator is answered here without Java: reads and writes of
documents by name, preconditions, server times, increments and transactions, and queries of one
collection; who has an account. No rules, no triggers. tests/conformance.py holds it against the
emulators. What it does not know, it refuses with NotImplementedError.

Only the servers are made up. Defaults, retries, deadlines, masks and errors are those of
google-cloud-firestore and firebase_admin, whose code runs as in production.
"""

import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import requests
from firebase_admin import _user_mgt, auth
from google.api_core import exceptions
from google.api_core.exceptions import InvalidArgument
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.services.firestore.client import FirestoreClient
from google.cloud.firestore_v1.services.firestore.transports.base import (
    DEFAULT_CLIENT_INFO,
    FirestoreTransport,
)
from google.cloud.firestore_v1.types import document as document_types
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from chatsync import clients
from tests.fast import firestore_values as values

PROJECT = "demo-chatsync"
ATTEMPTS_OF_AUTH = 2
"""firebase_admin repeats a request once that was not answered (DEFAULT_RETRY_CONFIG)."""

Answer = TypeVar("Answer")


def no_hook(call: str) -> None:
    """What is run before each call unless a test sets something else."""


def firestore_client(api: "MemoryFirestoreApi") -> firestore.Client:
    client = firestore.Client(project=PROJECT, credentials=AnonymousCredentials())
    client._firestore_api_internal = api
    return client


def within(seconds: float | None, call: Callable[[], Answer]) -> Answer | None:
    """What ``call`` returns or raises, or None if it takes longer, and it goes on all the same."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 (as any future does)
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return future.result() if future.done() else None


class MemoryAuth(auth.Client):  # type: ignore[misc]  # firebase_admin has no types
    """The accounts, and the methods of ``auth.Client`` that the bundle calls.

    ``before_call`` is run with the name of each request before it is answered: ``get_users``,
    ``list_users``. What it raises is raised to the caller. If it takes longer than ``timeout``
    (seconds, the app's ``httpTimeout``), the client gives up and asks once more; after that it
    raises UnavailableError, never DeadlineExceededError. So a slow Auth blocks the calling thread
    for twice the timeout.

    A hook stands for the outcome of the client's repetitions: the real one asks five times within
    seven seconds before it raises what HTTP 500 or 503 become.
    """

    def __init__(self, timeout: float = clients._AUTH_TIMEOUT_SECONDS) -> None:
        self.accounts: dict[str, auth.UserRecord] = {}
        self.calls: list[str] = []
        self.before_call: Callable[[str], None] = no_hook
        self.timeout = timeout
        self._user_manager = _user_mgt.UserManager(self, PROJECT)

    def sign_up(self, uid: str, created_ms: int = 1_700_000_000_000, **fields: Any) -> None:
        """``fields`` as the Identity Toolkit API spells them: displayName, photoUrl, disabled."""
        self.accounts[uid] = auth.UserRecord(
            {"localId": uid, "createdAt": str(created_ms), **fields}
        )

    def delete(self, uid: str) -> None:
        del self.accounts[uid]

    def body_and_response(self, method: str, url: str, **options: Any) -> tuple[Any, Any]:
        """What the real client sends, as its ``http_client``."""
        response = requests.Response()
        response.status_code = 200
        match url.rpartition("/")[2]:
            case "accounts:lookup":
                body = self._answered("get_users", partial(self._lookup, **options["json"]))
            case "accounts:batchGet":
                body = self._answered("list_users", partial(self._page, **options["params"]))
            case name:
                raise NotImplementedError(name)
        return body, response

    def _answered(self, name: str, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        def answer() -> dict[str, Any]:
            self.before_call(name)
            self.calls.append(name)
            return look()

        if self.before_call is no_hook:
            return answer()
        for _ in range(ATTEMPTS_OF_AUTH):
            body = within(self.timeout, answer)
            if body is not None:
                return body
        # As requests calls it when urllib3 has used up its repetitions.
        raise requests.ConnectionError("Max retries exceeded (read timed out)")

    def _lookup(self, localId: list[str]) -> dict[str, Any]:  # noqa: N803 (as the API has it)
        found = [uid for uid in dict.fromkeys(localId) if uid in self.accounts]
        return {"users": [self.accounts[uid]._data for uid in found]} if found else {}

    def _page(self, maxResults: int, nextPageToken: str = "") -> dict[str, Any]:  # noqa: N803
        """In the order of their uids; a full page has a token, even if nobody comes after it."""
        uids = sorted(uid for uid in self.accounts if uid > nextPageToken)
        page = uids[:maxResults]
        more = {"nextPageToken": page[-1]} if len(page) == maxResults else {}
        return {"users": [self.accounts[uid]._data for uid in page], **more}


class MemoryTasks:
    """The task queues: what is to be called, and the ids that were ever used."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.used_ids: set[str] = set()
        self.before_call: Callable[[str], None] = no_hook

    def enqueue(self, function: str, data: dict[str, Any], task_id: str, at: float) -> bool:
        self.before_call("enqueue")
        if task_id in self.used_ids:
            return False
        self.used_ids.add(task_id)
        self.waiting.append({"function": function, "data": data, "id": task_id, "at": at})
        return True


class MemoryTransport(FirestoreTransport):
    """Brings what the generated client sends to a function instead of a server."""

    CALLS = tuple(
        name
        for name, value in vars(FirestoreTransport).items()
        if isinstance(value, property) and name not in ("host", "kind")
    )

    def __init__(self, serve: Callable[..., Any]) -> None:
        super().__init__(credentials=AnonymousCredentials())
        self._calls = {name: partial(serve, name) for name in self.CALLS}
        self._prep_wrapped_messages(DEFAULT_CLIENT_INFO)  # type: ignore[no-untyped-call]  # generated without types

    def close(self) -> None:
        pass


def _call_named(name: str) -> property:
    return property(lambda self: self._calls[name])


for _name in MemoryTransport.CALLS:
    setattr(MemoryTransport, _name, _call_named(_name))


class MemoryFirestoreApi(FirestoreClient):
    """Firestore's API as the client calls it, over a dictionary of documents by name.

    ``before_call`` is run with the name of each call before it takes effect, once for each
    attempt: the generated client repeats a call as the caller's ``retry`` says, by default what
    the generated ``transports/base.py`` has. If an attempt takes longer than ``timeout`` (seconds,
    by default 60 for writes and 300 for reads), DeadlineExceeded is raised then, and the call
    takes effect later, as a server may apply what its client has given up.

    With a hook, each attempt runs in a thread of its own.

    Transactions are optimistic: one is aborted if a document that it read has changed when it is
    committed. Firestore, and the emulator, lock what a transaction reads, and let others wait.
    Indexes are not modelled: no limit of 40,000 entries, and no query lacks one.
    """

    def __init__(self) -> None:
        self.documents: dict[str, document_types.Document] = {}
        self.calls: list[str] = []
        self.before_call: Callable[[str], None] = no_hook
        self._lock = threading.RLock()
        self._version = 0
        self._read_in: dict[bytes, dict[str, object]] = {}
        super().__init__(transport=MemoryTransport(self._serve))

    def age(self) -> None:
        """As if all documents had been written a minute before."""
        with self._lock:
            for document in self.documents.values():
                document.update_time -= timedelta(minutes=1)

    def left_documents(self) -> set[str]:
        """The paths of all documents, without the entries of deleted accounts."""
        return {
            name.partition("/documents/")[2]
            for name, document in self.documents.items()
            if "deletedAt" not in document.fields
        }

    def _serve(
        self, name: str, request: Any, timeout: float | None = None, metadata: object = ()
    ) -> Any:
        """One attempt, whose deadline is ``timeout``."""
        answers = {
            "batch_get_documents": self._batch_get_documents,
            "run_query": self._run_query,
            "run_aggregation_query": self._run_aggregation_query,
            "batch_write": self._batch_write,
            "commit": self._commit,
            "begin_transaction": self._begin_transaction,
            "rollback": self._rollback,
        }
        if name not in answers:
            raise NotImplementedError(name)

        def answer() -> tuple[Any]:
            if name != "rollback":  # nobody waits for its outcome
                self.before_call(name)
                self.calls.append(name)
            return (answers[name](request),)

        answered = answer() if self.before_call is no_hook else within(timeout, answer)
        if answered is None:
            raise exceptions.DeadlineExceeded("Deadline Exceeded")
        return answered[0]

    def _batch_get_documents(self, request: Any) -> Iterator[Any]:
        """Each once, however often it is asked for."""
        for name in request.documents:
            values.check_name(name, is_written=False)
        masked = types.BatchGetDocumentsRequest.pb(request).HasField("mask")
        paths = [values.parse_path(path) for path in request.mask.field_paths] if masked else None
        with self._lock:
            now = self._now()
            seen = self._transaction(request.transaction)
            answers = []
            for name in dict.fromkeys(request.documents):
                found = self.documents.get(name)
                if seen is not None:
                    seen[name] = found and found.update_time
                answer = {"found": _masked(found, paths)} if found else {"missing": name}
                answers.append(types.BatchGetDocumentsResponse(**answer, read_time=now))
        return iter(answers)

    def _run_query(self, request: Any) -> Iterator[Any]:
        asked = types.RunQueryRequest.pb(request).structured_query
        found = self._found(request.parent, asked)
        now = self._now()
        answers = [types.RunQueryResponse(document=one, read_time=now) for one in found]
        return iter(answers or [types.RunQueryResponse(read_time=now, done=True)])

    def _run_aggregation_query(self, request: Any) -> Iterator[Any]:
        """Counts only."""
        query = types.RunAggregationQueryRequest.pb(request).structured_aggregation_query
        [aggregation] = query.aggregations
        if not aggregation.HasField("count"):
            raise NotImplementedError("an aggregation that is no count")
        count = len(self._found(request.parent, query.structured_query))
        fields = {aggregation.alias: document_types.Value(integer_value=count)}
        result = types.AggregationResult(aggregate_fields=fields)
        return iter([types.RunAggregationQueryResponse(result=result, read_time=self._now())])

    def _found(self, parent: str, query: Any) -> list[document_types.Document]:
        """What is compared is that of the protocol: proto-plus is ten times slower."""
        known = {"select", "from_", "where", "order_by", "start_at", "limit"}
        [source] = query.from_
        clauses = {field.name for field, _ in query.ListFields()}
        if source.all_descendants or not clauses <= known:
            raise NotImplementedError("a query of more than one collection, or with more clauses")
        folder = f"{parent}/{source.collection_id}/"
        values.check_name(f"{folder}any", is_written=False)
        with self._lock:
            found = [
                document
                for name, document in self.documents.items()
                if name.startswith(folder) and "/" not in name[len(folder) :]
            ]
        conditions, orders = _conditions(query.where), _orders(query)
        keyed = [
            (keys, one)
            for one in found
            if all(_matches(one, *condition) for condition in conditions)
            if None not in (keys := [_sort_key(one, path) for path, _ in orders])
        ]
        for number, (_, reverse) in reversed(list(enumerate(orders))):
            keyed.sort(key=lambda each: each[0][number], reverse=reverse)
        if query.start_at.values:
            cursor = _cursor(query.start_at, orders)
            keyed = [each for each in keyed if _is_reached(each[0], orders, *cursor)]
        found = [one for _, one in keyed]
        if query.HasField("limit"):
            found = found[: query.limit.value]
        if query.HasField("select"):
            paths = [values.parse_path(field.field_path) for field in query.select.fields]
            found = [_masked(one, paths) for one in found]
        return found

    def _batch_write(self, request: Any) -> types.BatchWriteResponse:
        """Each write stands alone; what cannot be written gets its own status.

        But if one of them is malformed, or two are of one document, all are refused.
        """
        _check_writes(request)
        names = [_name_of(write) for write in request.writes]
        if len(set(names)) < len(names):
            raise InvalidArgument("two writes of one document")
        response = types.BatchWriteResponse()
        with self._lock:
            for write in request.writes:
                result = types.WriteResult()
                try:
                    result = self._write(write, self._now())
                    response.status.append(Status())
                except exceptions.GoogleAPICallError as error:
                    code: Any = error.grpc_status_code  # None for none of those raised here
                    response.status.append(Status(code=code.value[0]))
                response.write_results.append(result)
        return response

    def _commit(self, request: Any) -> types.CommitResponse:
        """All writes or none, at one time."""
        _check_writes(request)
        with self._lock:
            seen = self._transaction(request.transaction) or {}
            self._read_in.pop(request.transaction, None)
            if any(self._update_time(name) != time for name, time in seen.items()):
                raise exceptions.Aborted("a document changed since it was read")
            before, now = dict(self.documents), self._now()
            try:
                results = [self._write(write, now) for write in request.writes]
            except exceptions.GoogleAPICallError:
                self.documents = before
                raise
        return types.CommitResponse(write_results=results, commit_time=now)

    def _begin_transaction(self, request: Any) -> types.BeginTransactionResponse:
        with self._lock:
            self._version += 1
            name = str(self._version).encode()
            self._read_in[name] = {}
        return types.BeginTransactionResponse(transaction=name)

    def _rollback(self, request: Any) -> None:
        self._read_in.pop(request.transaction, None)

    def _transaction(self, name: bytes) -> dict[str, object] | None:
        """What was read in it, if it is one; raises InvalidArgument if it is over or unknown."""
        if name and name not in self._read_in:
            raise InvalidArgument("Transaction is invalid or closed.")
        return self._read_in.get(name)

    def _update_time(self, name: str) -> object:
        found = self.documents.get(name)
        return found and found.update_time

    def _write(self, write: Any, now: Timestamp) -> types.WriteResult:
        name = _name_of(write)
        present = self.documents.get(name)
        condition = types.Write.pb(write).current_document
        if condition.HasField("exists") and condition.exists != bool(present):
            raise exceptions.NotFound(name) if condition.exists else exceptions.AlreadyExists(name)
        if condition.HasField("update_time") and (
            not present or condition.update_time != document_types.Document.pb(present).update_time
        ):
            raise exceptions.FailedPrecondition(name)
        if write.delete:
            self.documents.pop(name, None)
            return types.WriteResult()
        result = types.WriteResult()
        changed = types.Write.pb(write)
        written = dict(changed.update.fields)
        if changed.HasField("update_mask"):
            fields = _fields(present) if present else {}
            for path in map(values.parse_path, write.update_mask.field_paths):
                _put(path, values.field_at(path, written), fields)
        else:
            fields = written
        for transform in changed.update_transforms:
            path = values.parse_path(transform.field_path)
            value = _transformed(transform, values.field_at(path, fields), now)
            _put(path, value, fields)
            result.transform_results.append(document_types.Value.wrap(value))
        if values.size_of_document(name, fields) > values.MAX_DOCUMENT_BYTES:
            raise InvalidArgument(f"{name} is larger than {values.MAX_DOCUMENT_BYTES} bytes")
        if present and _fields(present) == fields:
            result.update_time = present.update_time  # as Firestore: no change
            return result
        created = document_types.Document.pb(present).create_time if present else now
        self.documents[name] = _document(name, fields, created, now)
        result.update_time = now
        return result

    def _now(self) -> Timestamp:
        """The present time; no two calls share one, since the precondition lives on it."""
        self._version += 1
        moment = Timestamp()
        moment.FromMicroseconds(int(datetime.now(UTC).timestamp() * 1e6) + self._version)
        return moment


def _check_writes(request: Any) -> None:
    """Raise InvalidArgument for a request that Firestore does not even try to apply."""
    if type(request).pb(request).ByteSize() > values.MAX_REQUEST_BYTES:
        # The emulator has 4 MiB, and calls it RESOURCE_EXHAUSTED.
        raise InvalidArgument("the request is too large")
    for write in request.writes:
        values.check_name(_name_of(write))
        changed = types.Write.pb(write)
        values.check_fields(changed.update.fields)
        for path in changed.update_mask.field_paths:
            values.parse_path(path)
        if len(changed.update_transforms) > values.MAX_TRANSFORMS:
            # The emulator does not know of this limit.
            raise InvalidArgument("too many transformations")
        for transform in changed.update_transforms:
            values.parse_path(transform.field_path)
            if transform.HasField("increment") and values.kind_of(transform.increment) != "number":
                raise InvalidArgument("an increment by what is no number")


def _name_of(write: Any) -> str:
    match types.Write.pb(write).WhichOneof("operation"):
        case "update":
            return str(write.update.name)
        case "delete":
            return str(write.delete)
        case None:
            raise InvalidArgument("an empty write")
        case operation:
            raise NotImplementedError(f"a write that is a {operation}")


def _document(
    name: str, fields: Mapping[str, Any], created: Timestamp, updated: Timestamp
) -> document_types.Document:
    document = document_types.Document(name=name, create_time=created, update_time=updated)
    for key, value in fields.items():
        document_types.Document.pb(document).fields[key].CopyFrom(value)
    return document


def _fields(document: document_types.Document) -> dict[str, Any]:
    return dict(document_types.Document.pb(document).fields)


def _masked(
    document: document_types.Document, paths: list[list[str]] | None
) -> document_types.Document:
    """The document with the fields at ``paths`` only, if any are given."""
    if paths is None:
        return document
    whole = document_types.Document.pb(document)
    fields: dict[str, Any] = {}
    for path in paths:
        _put(path, values.field_at(path, whole.fields), fields)
    return _document(document.name, fields, whole.create_time, whole.update_time)


def _put(path: list[str], value: Any | None, fields: dict[str, Any]) -> None:
    """Make ``value`` the one at ``path``, in maps that are made if absent; None deletes it."""
    name, *rest = path
    if not rest:
        fields.pop(name, None)
        if value is not None:
            fields[name] = value
        return
    is_map = name in fields and values.kind_of(fields[name]) == "map_value"
    if value is None and not is_map:
        return
    inner = dict(fields[name].map_value.fields) if is_map else {}
    _put(rest, value, inner)
    outer = document_types.Value.pb(document_types.Value(map_value=document_types.MapValue()))
    for key, one in inner.items():
        outer.map_value.fields[key].CopyFrom(one)
    fields[name] = outer


def _transformed(transform: Any, before: Any | None, now: Timestamp) -> Any:
    """The value that a transformation makes of the one that is there.

    The server's time has milliseconds.
    """
    value = type(transform.increment)()
    if transform.WhichOneof("transform_type") == "remove_all_from_array":
        removed = [*map(values.comparable, transform.remove_all_from_array.values)]
        is_array = before is not None and values.kind_of(before) == "array_value"
        kept = before.array_value.values if is_array and before is not None else []
        value.array_value.values.extend(
            one for one in kept if values.comparable(one) not in removed
        )
        return value
    if transform.WhichOneof("transform_type") == "set_to_server_value":
        value.timestamp_value.CopyFrom(now)
        value.timestamp_value.nanos -= now.nanos % 1_000_000
        return value
    if transform.WhichOneof("transform_type") != "increment":
        raise NotImplementedError("a transformation that is not known here")
    number = _number(transform.increment)
    if before is not None and values.kind_of(before) == "number":
        number += _number(before)
    if isinstance(number, float):
        value.double_value = number
    else:
        value.integer_value = max(-(2**63), min(2**63 - 1, number))
    return value


def _number(value: Any) -> int | float:
    number: int | float = getattr(value, value.WhichOneof("value_type"))
    return number


def _orders(query: Any) -> list[tuple[list[str], bool]]:
    """The paths to sort by, and whether the largest comes first; at last by name."""
    descending = types.StructuredQuery.Direction.DESCENDING
    orders = [
        (values.parse_path(order.field.field_path), order.direction == descending)
        for order in query.order_by
    ]
    if orders == [(["__name__"], True)]:
        # The emulator's. In production an index could be made for it.
        raise exceptions.FailedPrecondition("Firestore does not support descending key scans")
    compared = _compared_paths(query.where)
    if not orders:
        orders = [(path, False) for path in compared]
    if any(path != orders[0][0] for path in compared):
        raise NotImplementedError("a query sorted by another field than the one it compares")
    if ["__name__"] not in [path for path, _ in orders]:
        orders.append((["__name__"], bool(orders) and orders[-1][1]))
    return orders


def _compared_paths(where: Any) -> list[list[str]]:
    """The paths of fields that a query compares by order: at most one."""
    conditions = where.composite_filter.filters or [where]
    paths = {
        one.field_filter.field.field_path
        for one in conditions
        if _operation(one.field_filter).startswith(("LESS", "GREATER"))
    }
    if len(paths) > 1:
        raise NotImplementedError("a query that compares several fields by order")
    return [values.parse_path(path) for path in paths]


def _operation(condition: Any) -> str:
    name: str = types.StructuredQuery.FieldFilter.Operator(condition.op).name
    return name


def _sort_key(document: document_types.Document, path: list[str]) -> Any:
    """None without such a field: the document is then not found."""
    stored = document_types.Document.pb(document)
    if path == ["__name__"]:
        return values.comparable_name(stored.name)
    value = values.field_at(path, stored.fields)
    return None if value is None else values.comparable(value)


def _cursor(cursor: Any, orders: Iterable[tuple[list[str], bool]]) -> tuple[list[Any], bool]:
    """The sort keys that it names, and whether it includes a document that has them."""
    wanted: list[Any] = []
    for (path, _), value in zip(orders, cursor.values, strict=False):
        if path == ["__name__"]:
            values.check_name(value.reference_value, is_written=False)
            wanted.append(values.comparable_name(value.reference_value))
        else:
            wanted.append(values.comparable(value))
    return wanted, cursor.before


def _is_reached(
    keys: Iterable[Any],
    orders: Iterable[tuple[list[str], bool]],
    wanted: Iterable[Any],
    included: bool,
) -> bool:
    """Whether a document comes after a cursor, or is at it and the cursor includes it."""
    for key, (_, reverse), other in zip(keys, orders, wanted, strict=False):
        if key != other:
            return bool((key < other) == reverse)
    return included


def _conditions(where: Any) -> list[tuple[list[str], str, list[Any]]]:
    """Path, operation and values of each comparison that a document must pass."""
    if where.composite_filter.filters:
        if where.composite_filter.op != types.StructuredQuery.CompositeFilter.Operator.AND:
            raise NotImplementedError("a query with OR")
        return [each for one in where.composite_filter.filters for each in _conditions(one)]
    if where.HasField("unary_filter"):
        raise NotImplementedError("a query for null or NaN")
    condition = where.field_filter
    if not condition.field.field_path:
        return []
    operation = _operation(condition)
    wanted = condition.value.array_value.values if operation == "IN" else [condition.value]
    path = values.parse_path(condition.field.field_path)
    return [(path, operation, list(map(values.comparable, wanted)))]


def _matches(
    document: document_types.Document, path: list[str], operation: str, wanted: list[Any]
) -> bool:
    value = values.field_at(path, document_types.Document.pb(document).fields)
    if value is None:
        return False
    if operation == "ARRAY_CONTAINS":
        held = value.array_value.values if values.kind_of(value) == "array_value" else []
        return wanted[0] in map(values.comparable, held)
    found = values.comparable(value)
    if operation == "IN":
        return found in wanted
    [other] = wanted
    comparisons = {
        "EQUAL": operator.eq,
        "LESS_THAN": operator.lt,
        "LESS_THAN_OR_EQUAL": operator.le,
        "GREATER_THAN": operator.gt,
        "GREATER_THAN_OR_EQUAL": operator.ge,
    }
    if operation not in comparisons:
        raise NotImplementedError(f"a query with {operation}")
    is_nan = found == values.NAN
    if found[0] != other[0] or (is_nan and operation != "EQUAL"):
        return False
    return bool(comparisons[operation](found, other))
