"""Firebase for fast tests: the real Firestore client on an in-memory API, and Auth accounts.

What the emulators are asked in tests/emulator is answered here without Java: reads and writes of
documents by name, preconditions, server times and transactions, and queries of one collection that
compare and sort by one field. No rules, no triggers.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from firebase_admin import auth
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.types import document as document_types
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

PROJECT = "demo-chatsync"


def firestore_client(api: "MemoryFirestoreApi") -> firestore.Client:
    client = firestore.Client(project=PROJECT, credentials=AnonymousCredentials())
    client._firestore_api_internal = api
    return client


class MemoryAuth:
    """The accounts, and the methods of ``auth.Client`` that the bundle calls."""

    def __init__(self) -> None:
        self.accounts: dict[str, auth.UserRecord] = {}
        self.calls: list[str] = []
        self.before_call: Callable[[str], None] = lambda name: None

    def sign_up(self, uid: str, created_ms: int = 1_700_000_000_000, **fields: Any) -> None:
        """``fields`` as the Identity Toolkit API spells them: displayName, photoUrl, disabled."""
        self.accounts[uid] = auth.UserRecord(
            {"localId": uid, "createdAt": str(created_ms), **fields}
        )

    def delete(self, uid: str) -> None:
        del self.accounts[uid]

    def list_users(
        self, page_token: str | None = None, max_results: int = 1000
    ) -> auth.ListUsersPage:
        """In the order of their uids, as the service lists them."""

        def download(page_token: str | None, max_results: int) -> dict[str, Any]:
            self.before_call("list_users")
            self.calls.append("list_users")
            uids = sorted(uid for uid in self.accounts if uid > (page_token or ""))
            page = uids[:max_results]
            more = {"nextPageToken": page[-1]} if len(uids) > max_results else {}
            return {"users": [self.accounts[uid]._data for uid in page], **more}

        return auth.ListUsersPage(download, page_token, max_results)

    def get_users(self, identifiers: list[auth.UidIdentifier]) -> auth.GetUsersResult:
        if len(identifiers) > 100:
            raise ValueError("the service looks up a hundred at once")
        self.before_call("get_users")
        self.calls.append("get_users")
        asked = {identifier.uid for identifier in identifiers}
        found = [record for uid, record in self.accounts.items() if uid in asked]
        return auth.GetUsersResult(users=found, not_found=[])


class MemoryTasks:
    """The task queues: what is to be called, and the ids that were ever used."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []
        self.used_ids: set[str] = set()
        self.before_call: Callable[[str], None] = lambda name: None

    def enqueue(self, function: str, data: dict[str, Any], task_id: str, at: float) -> bool:
        self.before_call("enqueue")
        if task_id in self.used_ids:
            return False
        self.used_ids.add(task_id)
        self.waiting.append({"function": function, "data": data, "id": task_id, "at": at})
        return True


class MemoryFirestoreApi:
    """The part of Firestore's API that the client calls, over a dictionary.

    ``before_call`` is run with the name of each call before it takes effect.
    """

    def __init__(self) -> None:
        self.documents: dict[str, document_types.Document] = {}
        self.calls: list[str] = []
        self.before_call: Callable[[str], None] = lambda name: None
        self._lock = threading.RLock()
        self._version = 0
        self._read_in: dict[bytes, dict[str, object]] = {}

    def batch_get_documents(self, request: Any, **_: object) -> Iterator[Any]:
        self._called("batch_get_documents")
        with self._lock:
            now = self._now()
            seen = self._read_in.get(request.get("transaction") or b"")
            answers = []
            for name in request["documents"]:
                found = self.documents.get(name)
                if seen is not None:
                    seen[name] = found and found.update_time
                answer = {"found": found} if found else {"missing": name}
                answers.append(types.BatchGetDocumentsResponse(**answer, read_time=now))
        return iter(answers)

    def run_query(self, request: Any, **_: object) -> Iterator[Any]:
        self._called("run_query")
        query = types.StructuredQuery(request["structured_query"])
        folder = f"{request['parent']}/{query.from_[0].collection_id}/"
        with self._lock:
            found = [
                document
                for name, document in self.documents.items()
                if name.startswith(folder) and "/" not in name[len(folder) :]
                if _matches(document, query.where)
            ]
            now = self._now()
        for order in reversed(query.order_by):
            found = _ordered(found, order)
        if query.start_at.values:
            fields = [order.field.field_path for order in query.order_by]
            passed = tuple(map(_comparable, query.start_at.values))
            found = [one for one in found if _position(one, fields) > passed]
        if query.limit:
            found = found[: query.limit]
        return iter([types.RunQueryResponse(document=one, read_time=now) for one in found])

    def run_aggregation_query(self, request: Any, **options: object) -> Iterator[Any]:
        """Counts only."""
        query = types.StructuredAggregationQuery(request["structured_aggregation_query"])
        inner = {"parent": request["parent"], "structured_query": query.structured_query}
        count = len(list(self.run_query(inner, **options)))
        [aggregation] = query.aggregations
        fields = {aggregation.alias: document_types.Value(integer_value=count)}
        result = types.AggregationResult(aggregate_fields=fields)
        return iter([types.RunAggregationQueryResponse(result=result, read_time=self._now())])

    def batch_write(self, request: Any, **_: object) -> types.BatchWriteResponse:
        """Each write stands alone; what cannot be written gets its own status."""
        self._called("batch_write")
        response = types.BatchWriteResponse()
        with self._lock:
            for write in request["writes"]:
                result = types.WriteResult()
                try:
                    result.update_time = self._write(write)
                    response.status.append(Status())
                except exceptions.GoogleAPICallError as error:
                    response.status.append(Status(code=error.grpc_status_code.value[0]))
                response.write_results.append(result)
        return response

    def commit(self, request: Any, **_: object) -> types.CommitResponse:
        """All writes or none."""
        self._called("commit")
        with self._lock:
            seen = self._read_in.pop(request.get("transaction") or b"", {})
            if any(self._update_time(name) != time for name, time in seen.items()):
                raise exceptions.Aborted("a document changed since it was read")
            before = dict(self.documents)
            try:
                times = [self._write(write) for write in request["writes"]]
            except exceptions.GoogleAPICallError:
                self.documents = before
                raise
        results = [types.WriteResult(update_time=time) for time in times]
        return types.CommitResponse(write_results=results, commit_time=self._now())

    def begin_transaction(self, **_: object) -> types.BeginTransactionResponse:
        self._called("begin_transaction")
        with self._lock:
            self._version += 1
            name = str(self._version).encode()
            self._read_in[name] = {}
        return types.BeginTransactionResponse(transaction=name)

    def rollback(self, request: Any, **_: object) -> None:
        self._read_in.pop(request["transaction"], None)

    def _called(self, name: str) -> None:
        self.before_call(name)
        self.calls.append(name)

    def _update_time(self, name: str) -> object:
        found = self.documents.get(name)
        return found and found.update_time

    def _write(self, write: Any) -> Timestamp:
        name = write.delete or write.update.name
        present = self.documents.get(name)
        condition = types.Write.pb(write).current_document
        if condition.HasField("exists") and condition.exists != bool(present):
            raise exceptions.NotFound(name) if condition.exists else exceptions.AlreadyExists(name)
        if condition.HasField("update_time") and (
            not present or condition.update_time != document_types.Document.pb(present).update_time
        ):
            raise exceptions.FailedPrecondition(name)
        now = self._now()
        if write.delete:
            self.documents.pop(name, None)
            return now
        if types.Write.pb(write).HasField("update_mask"):
            fields = dict(present.fields) if present else {}
            for path in write.update_mask.field_paths:
                _copy_field(path.split("."), dict(write.update.fields), fields)
        else:
            fields = dict(write.update.fields)
        for transform in write.update_transforms:
            if "increment" in transform:
                before = fields.get(transform.field_path, document_types.Value())
                total = before.integer_value + transform.increment.integer_value
                fields[transform.field_path] = document_types.Value(integer_value=total)
            else:
                fields[transform.field_path] = document_types.Value(timestamp_value=now)
        if present and dict(present.fields) == fields:
            return document_types.Document.pb(present).update_time  # as Firestore: no change
        created = present.create_time if present else now
        self.documents[name] = document_types.Document(
            name=name, fields=fields, create_time=created, update_time=now
        )
        return now

    def _now(self) -> Timestamp:
        """The present time; no two writes share one, since the precondition lives on it."""
        self._version += 1
        moment = Timestamp()
        moment.FromMicroseconds(int(datetime.now(UTC).timestamp() * 1e6) + self._version)
        return moment


def _ordered(documents: list[Any], order: Any) -> list[Any]:
    """By one field, which all of them must have, or by name."""
    field, reverse = order.field.field_path, order.direction.name == "DESCENDING"
    if field == "__name__":
        return sorted(documents, key=lambda one: one.name, reverse=reverse)
    having = [one for one in documents if field in one.fields]
    return sorted(having, key=lambda one: _comparable(one.fields[field]), reverse=reverse)


def _position(document: Any, fields: list[str]) -> tuple[Any, ...]:
    """Where a document stands in the order of these fields."""
    return tuple(
        document.name if field == "__name__" else _comparable(document.fields[field])
        for field in fields
    )


def _matches(document: Any, where: Any) -> bool:
    if where.composite_filter.filters:
        return all(_matches(document, one) for one in where.composite_filter.filters)
    condition = where.field_filter
    field = condition.field.field_path
    if not field:
        return True
    if field not in document.fields:
        return False
    value = _comparable(document.fields[field])
    if condition.op.name == "IN":
        return value in [_comparable(one) for one in condition.value.array_value.values]
    wanted = _comparable(condition.value)
    comparisons = {"LESS_THAN_OR_EQUAL": value <= wanted, "EQUAL": value == wanted}
    return comparisons[condition.op.name]


def _comparable(value: Any) -> Any:
    return getattr(value, value._pb.WhichOneof("value_type"))


def _copy_field(path: list[str], source: dict[str, Any], target: dict[str, Any]) -> None:
    """Make the field at ``path`` in ``target`` what it is in ``source``, where it may be absent."""
    name, *rest = path
    if not rest:
        target.pop(name, None)
        if name in source:
            target[name] = source[name]
        return
    inner = dict(target[name].map_value.fields) if name in target else {}
    _copy_field(rest, dict(source[name].map_value.fields) if name in source else {}, inner)
    target[name] = document_types.Value(map_value=document_types.MapValue(fields=inner))
