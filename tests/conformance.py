"""What Firestore and Auth do, as far as the bundle relies on it.

The same tests are collected in tests/fast, against the servers in memory, and in tests/emulator,
against the emulators. The first must do what the second do. Where production is documented to
differ from both, a comment says so.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from firebase_admin import auth
from firebase_admin.exceptions import UnavailableError
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch
from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.types import Value
from google.cloud.firestore_v1.vector import Vector
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2

from tests.waiting import wait_for

PROJECT = "demo-chatsync"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Backend:
    """Firestore and Auth, in memory or emulated."""

    firestore: firestore.Client
    auth: auth.Client
    auth_timeout: float
    """The ``httpTimeout`` of ``auth``, in seconds. A busy emulator needs more than one."""
    add_account: Callable[..., None]
    """``add_account(uid, displayName=..., disabled=...)``, without any event."""
    unanswered: Callable[[], AbstractContextManager[None]]
    """Calls that arrive meanwhile get their answers afterwards; what they do, they do by then."""


@pytest.fixture
def client(backend: Backend) -> firestore.Client:
    return backend.firestore


@pytest.fixture
def collection(client: firestore.Client) -> firestore.CollectionReference:
    """An empty one, which no rule and no function knows."""
    return client.collection(f"c-{uuid4().hex[:12]}")


@pytest.fixture
def document(collection: firestore.CollectionReference) -> firestore.DocumentReference:
    """A document that does not exist."""
    return collection.document("one")


def call(client: firestore.Client, name: str, **request: Any) -> Any:
    """A call as the protocol has it: the client itself would refuse some of them."""
    request = {"database": client._database_string, **request}
    method = getattr(client._firestore_api, name)
    return method(request=request, metadata=client._rpc_metadata, retry=None, timeout=30)


def name_of(reference: firestore.DocumentReference) -> str:
    path: str = reference._document_path
    return path


def update(reference: firestore.DocumentReference, **fields: Any) -> dict[str, Any]:
    """A write of the protocol, of values of the protocol."""
    return {"update": {"name": name_of(reference), "fields": fields}}


def text(length: int) -> Value:
    return Value(string_value="x" * length)


def stored(client: firestore.Client, reference: firestore.DocumentReference) -> Any:
    """The fields as the protocol has them."""
    [answer] = call(client, "batch_get_documents", documents=[name_of(reference)])
    return answer.found.fields


def code_of(error: exceptions.GoogleAPICallError) -> int:
    assert error.grpc_status_code
    return int(error.grpc_status_code.value[0])


# Reads by name


def test_a_document_is_read_with_its_times(document):
    written = document.set({"a": 1}).update_time
    snapshot = document.get()
    assert snapshot.to_dict() == {"a": 1}
    assert snapshot.create_time == snapshot.update_time == written


def test_a_missing_document_does_not_exist(document):
    snapshot = document.get()
    assert (snapshot.exists, snapshot.to_dict(), snapshot.update_time) == (False, None, None)


def test_each_of_several_documents_is_answered_once(client, collection):
    collection.document("a").set({"n": 1})
    wanted = [collection.document(key) for key in ("b", "a", "b", "a")]
    found = [(one.id, one.to_dict()) for one in client.get_all(wanted)]
    assert sorted(found) == [("a", {"n": 1}), ("b", None)]


@pytest.mark.parametrize(
    ("mask", "seen"),
    [
        (["a"], {"a": 1}),
        (["m.x"], {"m": {"x": 1}}),
        (["m"], {"m": {"x": 1, "y": 2}}),
        (["m.x", "m"], {"m": {"x": 1, "y": 2}}),
        (["`b.c`"], {"b.c": 3}),
        (["a", "nothing.x", "m.z", "a.x"], {"a": 1}),
        (["l.q"], {}),
        (["__name__"], {}),
        ([], {}),
    ],
    ids=str,
)
def test_a_read_with_a_mask_sees_its_fields_only(document, mask, seen):
    document.set({"a": 1, "m": {"x": 1, "y": 2}, "b.c": 3, "l": [{"q": 1}]})
    snapshot = document.get(mask)
    assert (snapshot.exists, snapshot.to_dict()) == (True, seen)


@pytest.mark.parametrize("path", ["a..b", "b-c", "1a", "__x__", "a.__x__", "`", "", "a" * 1501])
def test_what_is_no_path_is_refused(client, document, path):
    mask = {"field_paths": [path]}
    with pytest.raises(exceptions.InvalidArgument):
        call(client, "batch_get_documents", documents=[name_of(document)], mask=mask)
    with pytest.raises(exceptions.InvalidArgument):
        call(client, "commit", writes=[{**update(document), "update_mask": mask}])


# Preconditions


def test_what_exists_cannot_be_created(document):
    document.create({"a": 1})
    with pytest.raises(exceptions.AlreadyExists):
        document.create({"a": 2})
    assert document.get().to_dict() == {"a": 1}


def test_what_is_missing_cannot_be_updated(document):
    with pytest.raises(exceptions.NotFound):
        document.update({"a": 1})
    assert not document.get().exists


def test_what_is_missing_can_be_deleted_unless_it_must_exist(client, document):
    document.delete()
    with pytest.raises(exceptions.NotFound):
        document.delete(client.write_option(exists=True))


def test_a_write_for_the_present_version_is_applied_once(client, document):
    version = client.write_option(last_update_time=document.set({"n": 1}).update_time)
    document.update({"n": 2}, version)
    with pytest.raises(exceptions.FailedPrecondition):
        document.update({"n": 3}, version)
    with pytest.raises(exceptions.FailedPrecondition):
        document.delete(version)
    assert document.get().to_dict() == {"n": 2}


def test_a_missing_document_has_no_version(client, document):
    with pytest.raises(exceptions.FailedPrecondition):
        document.update({"n": 3}, client.write_option(last_update_time=LONG_AGO))


# What a write makes of the fields


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"m.x": 3}, {"n": 1, "m": {"x": 3, "y": 2}}),
        ({"m": {}}, {"n": 1, "m": {}}),
        ({"m.x": firestore.DELETE_FIELD}, {"n": 1, "m": {"y": 2}}),
        ({"new.deep.er": 1}, {"n": 1, "m": {"x": 1, "y": 2}, "new": {"deep": {"er": 1}}}),
        ({"n.x": 1}, {"n": {"x": 1}, "m": {"x": 1, "y": 2}}),
        ({"n.x": firestore.DELETE_FIELD}, {"n": 1, "m": {"x": 1, "y": 2}}),
        ({"no.thing": firestore.DELETE_FIELD}, {"n": 1, "m": {"x": 1, "y": 2}}),
        ({"`a.b`.c": 1}, {"n": 1, "m": {"x": 1, "y": 2}, "a.b": {"c": 1}}),
    ],
    ids=str,
)
def test_an_update_changes_its_paths_only(document, fields, left):
    document.set({"n": 1, "m": {"x": 1, "y": 2}})
    document.update(fields)
    assert document.get().to_dict() == left


def test_a_merge_adds_to_what_is_there_or_creates(document):
    document.set({"m": {"x": 1}}, merge=True)
    document.set({"m": {"y": 2}}, merge=True)
    assert document.get().to_dict() == {"m": {"x": 1, "y": 2}}


def test_a_field_that_the_mask_does_not_name_is_not_written(client, document):
    mask = {"field_paths": ["a"]}
    write = {**update(document, a=text(1), b=text(1)), "update_mask": mask}
    call(client, "commit", writes=[write])
    assert document.get().to_dict() == {"a": "x"}


def test_a_write_that_changes_nothing_keeps_the_update_time(client, document):
    first = document.set({"n": 1, "m": {"x": 1}}).update_time
    assert document.set({"n": 1, "m": {"x": 1}}).update_time == first
    assert document.update({"m.x": 1}).update_time == first
    assert document.update({"n": firestore.Increment(0)}).update_time == first
    assert document.get().update_time == first


def test_a_change_moves_the_update_time_on_and_keeps_the_time_of_creation(document):
    first = document.set({"n": 1}).update_time
    second = document.set({"n": 2}).update_time
    snapshot = document.get()
    assert (snapshot.create_time, snapshot.update_time) == (first, second)
    assert first < second


# Transformations


def test_the_servers_time_has_milliseconds_and_is_one_for_the_whole_write(document):
    document.set({"a": firestore.SERVER_TIMESTAMP, "m": {"b": firestore.SERVER_TIMESTAMP}})
    snapshot = document.get()
    fields = snapshot.to_dict()
    assert fields["a"] == fields["m"]["b"]
    assert fields["a"].microsecond % 1000 == 0
    assert timedelta(0) <= snapshot.update_time - fields["a"] < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("before", "by", "after"),
    [
        ({}, 2, 2),
        ({"n": 1}, 2, 3),
        ({"n": 1}, -2, -1),
        ({"n": 1}, 0.5, 1.5),
        ({"n": 1.5}, 1, 2.5),
        ({"n": "text"}, 1, 1),
        ({"n": None}, 1, 1),
        ({"n": 2**63 - 2}, 5, 2**63 - 1),
        ({"n": -(2**63) + 1}, -5, -(2**63)),
    ],
    ids=str,
)
def test_an_increment_adds_to_a_number_and_replaces_the_rest(document, before, by, after):
    document.set(before)
    document.update({"n": firestore.Increment(by)})
    found = document.get().get("n")
    assert (found, type(found)) == (after, type(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"n": ["a", 1, "b", "a", 1.0]}, ["b"]),
        ({"n": ["b"]}, ["b"]),
        ({"n": "a"}, []),
        ({}, []),
    ],
    ids=str,
)
def test_what_is_removed_from_an_array_is_gone_wherever_it_was(document, before, after):
    document.set(before)
    document.update({"n": firestore.ArrayRemove(["a", 1])})
    assert document.get().get("n") == after


def test_an_increment_reaches_into_maps(document):
    document.set({"m": {"n": 1}})
    document.update({"m.n": firestore.Increment(2), "new.n": firestore.Increment(3)})
    assert document.get().to_dict() == {"m": {"n": 3}, "new": {"n": 3}}


def test_a_transformation_tells_what_it_made(document):
    document.set({"n": 1})
    result = document.update({"n": firestore.Increment(2)})
    assert [one.integer_value for one in result.transform_results] == [3]


# Commits and batches


def test_a_commit_is_applied_as_a_whole_at_one_time(client, collection):
    batch = client.batch()
    batch.set(collection.document("a"), {})
    batch.create(collection.document("b"), {})
    batch.delete(collection.document("c"))
    first, second, deletion = batch.commit()
    assert first.update_time == second.update_time
    assert "update_time" not in deletion


@pytest.mark.parametrize("bad", ["missing", "large"])
def test_a_commit_that_fails_has_written_nothing(client, collection, bad):
    batch = client.batch()
    batch.set(collection.document("a"), {})
    if bad == "missing":
        batch.update(collection.document("b"), {"a": 1})
    else:
        batch.set(collection.document("b"), {"a": "x" * 600_000, "b": "x" * 600_000})
    with pytest.raises((exceptions.NotFound, exceptions.InvalidArgument)):
        batch.commit()
    assert list(collection.stream()) == []


def test_a_commit_may_write_a_document_twice(client, document):
    batch = client.batch()
    batch.create(document, {"n": 1})
    batch.update(document, {"n": firestore.Increment(1)})
    batch.commit()
    assert document.get().to_dict() == {"n": 2}


def test_a_commit_has_no_limit_of_500_writes(client, collection):
    writes = [update(collection.document(str(n))) for n in range(501)]
    assert len(call(client, "commit", writes=writes).write_results) == 501


def test_a_request_of_more_than_10_mib_is_refused(client, collection):
    """As INVALID_ARGUMENT in production; the emulator calls it RESOURCE_EXHAUSTED, from 4 MiB."""
    writes = [update(collection.document(str(n)), a=text(1_000_000)) for n in range(11)]
    with pytest.raises((exceptions.InvalidArgument, exceptions.ResourceExhausted)):
        call(client, "commit", writes=writes)


def test_each_write_of_a_batch_stands_alone(client, collection):
    collection.document("there").set({})
    old = {"update_time": LONG_AGO}
    writes = [
        {**update(collection.document("there")), "current_document": {"exists": False}},
        {**update(collection.document("a")), "current_document": {"exists": True}},
        {**update(collection.document("b")), "current_document": old},
        {"delete": name_of(collection.document("c")), "current_document": {"exists": True}},
        {"delete": name_of(collection.document("d")), "current_document": {"exists": False}},
        {"delete": name_of(collection.document("e")), "current_document": old},
        update(collection.document("large"), a=text(600_000), b=text(600_000)),
        update(collection.document("new")),
    ]
    response = call(client, "batch_write", writes=writes)
    assert [status.code for status in response.status] == [
        *(code_pb2.ALREADY_EXISTS, code_pb2.NOT_FOUND, code_pb2.FAILED_PRECONDITION),
        *(code_pb2.NOT_FOUND, code_pb2.OK, code_pb2.FAILED_PRECONDITION),
        *(code_pb2.INVALID_ARGUMENT, code_pb2.OK),
    ]
    written = [bool(result.update_time) for result in response.write_results]
    assert written == [False] * 7 + [True]
    assert {one.id for one in collection.stream()} == {"there", "new"}


def test_a_malformed_write_fails_the_whole_batch(client, collection):
    """Unlike a document that is too large only as a whole. So the emulator; not documented."""
    for malformed in (
        update(collection.document("__x__")),
        update(collection.document("a"), __x__=text(1)),
        update(collection.document("a"), a=text(1_048_488)),
        update(collection.document("a"), a=Value()),
    ):
        with pytest.raises(exceptions.InvalidArgument):
            call(client, "batch_write", writes=[update(collection.document("good")), malformed])
    assert list(collection.stream()) == []


def test_a_batch_writes_no_document_twice(client, document):
    with pytest.raises(exceptions.InvalidArgument):
        call(client, "batch_write", writes=[update(document), update(document, a=text(1))])
    assert not document.get().exists


def test_a_batch_may_be_empty(client):
    assert not BulkWriteBatch(client).commit(retry=None).status
    assert client.batch().commit() == []


# Transactions


def test_a_transaction_and_another_write_are_both_kept(client, document):
    """Emulator and production let the other write wait; in memory, the transaction is repeated."""
    document.set({"n": 0})
    threads: list[threading.Thread] = []

    @firestore.transactional
    def add_one(transaction: firestore.Transaction) -> None:
        count = document.get(transaction=transaction).get("n")
        if not threads:
            threads.append(
                threading.Thread(target=document.update, args=[{"n": firestore.Increment(10)}])
            )
            threads[0].start()
        transaction.update(document, {"n": count + 1})

    add_one(client.transaction())
    threads[0].join()
    assert document.get().get("n") == 11


def begin(client: firestore.Client, *documents: firestore.DocumentReference) -> bytes:
    """A transaction that has read these documents."""
    transaction = call(client, "begin_transaction", options={"read_write": {}}).transaction
    names = list(map(name_of, documents))
    list(call(client, "batch_get_documents", documents=names, transaction=transaction))
    return bytes(transaction)


@pytest.mark.parametrize("exists", [True, False])
def test_one_of_two_transactions_over_one_document_is_aborted(client, document, exists):
    if exists:
        document.set({"n": "x"})
    outcomes: list[int] = []
    for transaction in [begin(client, document), begin(client, document)]:
        write = update(document, n=text(2 + len(outcomes)))
        try:
            call(client, "commit", writes=[write], transaction=transaction)
            outcomes.append(code_pb2.OK)
        except exceptions.Aborted as error:
            outcomes.append(code_of(error))
    assert sorted(outcomes) == [code_pb2.OK, code_pb2.ABORTED]
    assert len(document.get().get("n")) == 2 + outcomes.index(code_pb2.OK)


def test_a_transaction_that_is_over_or_unknown_is_refused(client, document):
    committed, given_up = begin(client, document), begin(client, document)
    call(client, "rollback", transaction=given_up)
    call(client, "commit", writes=[update(document)], transaction=committed)
    names = [name_of(document)]
    for over in (committed, given_up, b"unknown"):
        with pytest.raises(exceptions.InvalidArgument):
            call(client, "commit", writes=[update(document, a=text(1))], transaction=over)
        with pytest.raises(exceptions.InvalidArgument):
            list(call(client, "batch_get_documents", documents=names, transaction=over))
    assert document.get().to_dict() == {}


def test_a_transaction_that_fails_writes_nothing(client, collection):
    @firestore.transactional
    def fail(transaction: firestore.Transaction) -> None:
        transaction.set(collection.document("a"), {})
        raise KeyError

    with pytest.raises(KeyError):
        fail(client.transaction())
    assert list(collection.stream()) == []


# Queries


@pytest.fixture
def sorted_values(client: firestore.Client, collection: firestore.CollectionReference) -> list[str]:
    """Documents with one value of each type, and the ids in the order of the values."""
    values: dict[str, Any] = {
        "null": None,
        "false": False,
        "true": True,
        "nan": math.nan,
        "small": 1,
        "2": 2,
        "2.0": 2.0,
        "big": 10,
        "time": LONG_AGO,
        "Text": "Z",
        "text": "a",
        "wide": "é",
        "astral": "\U0001f600",
        "bytes": b"x",
        "reference": collection.document("x"),
        "place": firestore.GeoPoint(1, 2),
        "array": [1],
        "longer": [1, 0],
        "vector": Vector([1.0]),
        "map": {"a": 1},
    }
    for key, value in reversed(values.items()):
        collection.document(key).set({"v": value, "m": {"v": value}})
    collection.document("without").set({"other": 1})
    return list(values)


def ids(query: Any) -> list[str]:
    return [snapshot.id for snapshot in query.get()]


def test_documents_come_in_the_order_of_their_ids_bytes(collection):
    for key in ("é", "b", "B", "9", "10", "a", "ab", "~"):
        collection.document(key).set({})
        collection.document(key).collection("below").document("x").set({})
    expected = ["10", "9", "B", "a", "ab", "b", "~", "é"]
    assert ids(collection) == ids(collection.order_by("__name__")) == expected


def test_a_page_begins_after_the_last_id(collection):
    for key in "abcdef":
        collection.document(key).set({})
    query = collection.order_by("__name__").limit(2)
    assert ids(query) == ["a", "b"]
    assert ids(query.start_after({"__name__": collection.document("b")})) == ["c", "d"]
    assert ids(query.start_after({"__name__": collection.document("bb")})) == ["c", "d"]
    assert ids(query.start_at({"__name__": collection.document("b")})) == ["b", "c"]
    assert ids(query.start_after({"__name__": collection.document("f")})) == []


def test_a_field_sorts_by_type_then_value_and_leaves_out_who_lacks_it(collection, sorted_values):
    assert ids(collection.order_by("v")) == sorted_values
    assert ids(collection.order_by("m.v")) == sorted_values
    descending = collection.order_by("v", direction=firestore.Query.DESCENDING)
    assert ids(descending) == sorted_values[::-1]
    assert ids(collection.order_by("v").limit(3)) == sorted_values[:3]


def test_a_page_begins_after_a_value(collection, sorted_values):
    query = collection.order_by("v").limit(3)
    assert ids(query.start_after({"v": 2})) == ["big", "time", "Text"]
    assert ids(query.start_at({"v": 2})) == ["2", "2.0", "big"]
    assert ids(query.start_after(collection.document("2").get())) == ["2.0", "big", "time"]


def test_documents_are_found_by_a_key_of_a_map_a_page_at_a_time(collection):
    path = FieldPath("left", "x@2fy-1").to_api_repr()
    for number in range(3):
        left = {"x@2fy-1": LONG_AGO, "other": LONG_AGO} if number else {"other": LONG_AGO}
        collection.document(f"d{number}").set({"left": left, "origin": "app"})
    page = collection.order_by(path).limit(1).select(["origin", "left"])
    [first] = page.get()
    assert ids(page.start_after(first)) == ["d2"]
    first.reference.update({path: firestore.DELETE_FIELD})
    assert first.reference.get().to_dict() == {"left": {"other": LONG_AGO}, "origin": "app"}
    assert ids(page) == ["d2"]
    collection.document("d0").update({path: LONG_AGO})
    assert set(collection.document("d0").get().get("left")) == {"other", "x@2fy-1"}


@pytest.mark.parametrize(
    ("operation", "value", "found"),
    [
        ("==", 2, ["2", "2.0"]),
        ("==", "a", ["text"]),
        ("==", "2", []),
        ("==", True, ["true"]),
        ("==", {"a": 1}, ["map"]),
        ("==", [1], ["array"]),
        ("<", 2, ["small"]),
        ("<=", 2, ["small", "2", "2.0"]),
        (">", 2, ["big"]),
        (">=", 2, ["2", "2.0", "big"]),
        ("<=", datetime(2100, 1, 1, tzinfo=UTC), ["time"]),
        (">", "a", ["wide", "astral"]),
        (">=", False, ["false", "true"]),
        ("in", ["a", 10, "nothing"], ["big", "text"]),
    ],
    ids=str,
)
def test_a_comparison_finds_values_of_the_same_type(
    collection, sorted_values, operation, value, found
):
    for path in ("v", "m.v"):
        query = collection.where(filter=FieldFilter(path, operation, value))
        assert sorted(ids(query)) == sorted(found)
        if operation not in ("==", "in"):
            assert ids(query) == ids(query.order_by(path)) == found


def test_arrays_are_found_by_what_they_hold(collection):
    for key, value in {"a": ["x", 1], "b": ["y", ["x"][0]], "c": "x", "d": {"x": 1}}.items():
        collection.document(key).set({"v": value})
    query = collection.where(filter=FieldFilter("v", "array_contains", "x")).order_by("__name__")
    assert ids(query) == ["a", "b"]
    assert ids(query.start_after({"__name__": collection.document("a")})) == ["b"]
    assert ids(collection.where(filter=FieldFilter("v", "array_contains", 1.0))) == ["a"]


def test_conditions_add_up(collection):
    for key, fields in {"a": {"n": 1, "s": "x"}, "b": {"n": 1, "s": "y"}, "c": {"n": 1}}.items():
        collection.document(key).set(fields)
    query = collection.where(filter=FieldFilter("n", "==", 1))
    assert ids(query.where(filter=FieldFilter("s", "in", ["x", "z"]))) == ["a"]
    assert ids(query.order_by("__name__").start_after({"__name__": collection.document("a")})) == [
        "b",
        "c",
    ]


def test_a_selection_sees_its_fields_only(collection):
    collection.document("a").set({"n": 1, "m": {"x": 1, "y": 2}})
    collection.document("b").set({"other": 1})

    def seen(paths: list[str]) -> list[Any]:
        return [snapshot.to_dict() for snapshot in collection.select(paths).get()]

    assert seen(["n", "m.x"]) == [{"n": 1, "m": {"x": 1}}, {}]
    assert seen([]) == seen(["__name__"]) == [{}, {}]


def test_a_selection_keeps_the_times(collection):
    written = collection.document("a").set({"n": 1}).update_time
    [snapshot] = collection.select([]).get()
    assert (snapshot.create_time, snapshot.update_time) == (written, written)


def test_documents_are_counted(collection):
    def count(query: Any) -> int:
        [[counted]] = query.count().get()
        return int(counted.value)

    assert count(collection) == 0
    for n in range(5):
        collection.document(str(n)).set({"n": n})
    assert count(collection) == 5
    assert count(collection.where(filter=FieldFilter("n", "<=", 2))) == 3
    assert count(collection.limit(2)) == 2


def test_a_query_of_nothing_finds_nothing(collection):
    assert collection.get() == []


def test_names_cannot_be_read_backwards(collection):
    """Unless there is an index for it, which the emulator does not know, and the bundle lacks."""
    with pytest.raises(exceptions.FailedPrecondition):
        collection.order_by("__name__", direction=firestore.Query.DESCENDING).get()


# Names


GOOD_IDS = ["a b", "a\nb", "...", "__", "___", "__a", "a__", "__id7__", "\U0001f600", "é" * 750]
BAD_IDS = ["", ".", "..", "__a__", "__é__"]


@pytest.mark.parametrize("key", GOOD_IDS, ids=ascii)
def test_a_good_id_is_written_and_read(client, collection, key):
    reference = collection.document(key)
    reference.set({"a": 1})
    assert [one.id for one in client.get_all([reference])] == [key]
    assert ids(collection) == [key]


@pytest.mark.parametrize("key", BAD_IDS, ids=ascii)
def test_a_bad_id_is_neither_written_nor_read(client, collection, key):
    """Nor ``____``, as documented: the emulator takes that one."""
    name = name_of(collection.document("x"))[:-1] + key
    for write in ({"update": {"name": name}}, {"delete": name}):
        with pytest.raises(exceptions.InvalidArgument):
            call(client, "commit", writes=[write])
    with pytest.raises(exceptions.InvalidArgument):
        list(call(client, "batch_get_documents", documents=[name]))


@pytest.mark.parametrize("key", ["x" * 1501, "é" * 751], ids=["ascii", "wide"])
def test_too_long_an_id_is_not_written_and_not_found(collection, key):
    """To read it may be an error in production; that is not documented."""
    with pytest.raises(exceptions.InvalidArgument):
        collection.document(key).set({})
    assert not collection.document(key).get().exists


def test_what_is_no_name_is_refused(client, collection):
    parent = name_of(collection.document("x")).removesuffix("/x")
    for name in (parent, "garbage", "", f"{parent}/x/", f"{parent.partition('/documents/')[0]}"):
        with pytest.raises(exceptions.InvalidArgument):
            call(client, "commit", writes=[{"update": {"name": name}}])


@pytest.mark.parametrize(
    "name", ["__", "a.b", "a`b", "\\", "*", "a\0b", "[", "é" * 750, "x" * 1500], ids=ascii
)
def test_a_good_field_name_is_stored(client, document, name):
    call(client, "commit", writes=[update(document, **{name: text(1)})])
    assert document.get().to_dict() == {name: "x"}


@pytest.mark.parametrize(
    "name", ["", "__a__", "__name__", "__type__", "x" * 1501, "é" * 751], ids=ascii
)
def test_a_bad_field_name_is_refused(client, document, name):
    inner = Value(map_value={"fields": {name: text(1)}})
    for fields in ({name: text(1)}, {"m": inner}):
        with pytest.raises(exceptions.InvalidArgument):
            call(client, "commit", writes=[update(document, **fields)])


# Sizes


MAX_DOCUMENT_BYTES = 1_048_576
MAX_VALUE_BYTES = 1_048_487


def nested(depth: int) -> Value:
    value = Value(integer_value=1)
    for _ in range(depth):
        value = Value(map_value={"fields": {"a": value}})
    return value


def vector(*numbers: Value, **more: Value) -> Value:
    fields = {"value": Value(array_value={"values": numbers}), **more}
    return Value(map_value={"fields": {"__type__": Value(string_value="__vector__"), **fields}})


ONE = Value(double_value=1)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (Value(null_value=0), 1),
        (Value(boolean_value=True), 1),
        (Value(integer_value=1), 8),
        (Value(double_value=1.5), 8),
        (Value(timestamp_value=LONG_AGO), 8),
        (Value(geo_point_value={"latitude": 1}), 16),
        (Value(string_value="aé"), 4),
        (Value(bytes_value=b"abc"), 3),
        (Value(reference_value=f"projects/{PROJECT}/databases/(default)/documents/ab/c"), 21),
        (Value(array_value={"values": [text(1), Value(integer_value=1)]}), 10),
        (Value(map_value={"fields": {"ab": Value(integer_value=1), "c": text(1)}}), 15),
        (Value(map_value={}), 1),
        (Value(array_value={}), 1),
    ],
    ids=lambda value: value._pb.WhichOneof("value_type") if isinstance(value, Value) else "",
)
def test_a_document_may_have_a_mebibyte_by_the_documented_calculation(
    client, collection, value, size
):
    reference = collection.document("one")
    name_size = len(collection.id) + 1 + len("one") + 1 + 16
    half = text(500_000)
    used = 32 + name_size + (len("v") + 1 + size) + (len("h") + 1 + 500_001) + (len("p") + 1 + 1)
    padding = MAX_DOCUMENT_BYTES - used
    with pytest.raises(exceptions.InvalidArgument):
        call(client, "commit", writes=[update(reference, v=value, h=half, p=text(padding + 1))])
    assert not reference.get([]).exists
    call(client, "commit", writes=[update(reference, v=value, h=half, p=text(padding))])
    assert reference.get([]).exists


def test_a_document_cannot_grow_beyond_a_mebibyte(document):
    document.set({"a": "x" * 600_000})
    with pytest.raises(exceptions.InvalidArgument):
        document.update({"b": "x" * 600_000})
    assert document.get(["b"]).to_dict() == {}


@pytest.mark.parametrize("unit", ["x", "é", b"x"])
def test_a_text_or_bytes_may_have_a_mebibyte_less_89(document, unit):
    length = MAX_VALUE_BYTES // len(unit.encode() if isinstance(unit, str) else unit)
    document.set({"a": unit * length})
    assert document.get().get("a") == unit * length
    for fields in ({"a": unit * (length + 1)}, {"a": [unit * (length + 1)]}):
        with pytest.raises(exceptions.InvalidArgument):
            document.set(fields)


def test_maps_and_arrays_are_nested_twenty_deep(client, document):
    call(client, "commit", writes=[update(document, a=nested(20))])
    with pytest.raises(exceptions.InvalidArgument):
        call(client, "commit", writes=[update(document, a=nested(21))])
    with pytest.raises(exceptions.InvalidArgument):
        document.set({"a": [nested_dict(20)]})


def nested_dict(depth: int) -> Any:
    return {"a": nested_dict(depth - 1)} if depth else 1


# Values


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**63 - 1,
        -(2**63),
        1.5,
        math.inf,
        "",
        "a\0b",
        "\uffff",
        "\U0001f600",
        b"\0\xff",
        [],
        {},
        [1, "a", None, {"a": [{"b": []}]}],
        {"a": {"b": {"c": 1}}},
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        firestore.GeoPoint(-90, 180),
        Vector([1.0, -0.5]),
        Vector([1.0] * 2048),
        {"v": Vector([1.0])},
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_value_is_read_as_it_was_written(document, value):
    document.set({"a": value})
    assert document.get().to_dict() == {"a": value}


def test_not_a_number_is_read_as_it_was_written(document):
    document.set({"a": math.nan})
    assert math.isnan(document.get().get("a"))


def test_a_reference_is_read_as_it_was_written(collection, document):
    document.set({"a": collection.document("any"), "l": [document]})
    assert document.get().to_dict() == {"a": collection.document("any"), "l": [document]}


def time_value(seconds: int, nanos: int = 0) -> Value:
    value = Value(timestamp_value=LONG_AGO)
    Value.pb(value).timestamp_value.CopyFrom(Timestamp(seconds=seconds, nanos=nanos))
    return value


LAST_SECOND = 253_402_300_799


@pytest.mark.parametrize("seconds", [0, -1, LAST_SECOND])
def test_a_time_is_stored_with_microseconds(client, document, seconds):
    call(client, "commit", writes=[update(document, a=time_value(seconds, 999_999_999))])
    assert Value.pb(stored(client, document)["a"]).timestamp_value.nanos == 999_999_000
    assert document.get().get("a").microsecond == 999_999


FOREIGN = {
    "project": "projects/other/databases/(default)/documents/a/b",
    "database": f"projects/{PROJECT}/databases/other/documents/a/b",
}


@pytest.mark.parametrize("where", FOREIGN)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_reference_to_elsewhere_is_stored_and_breaks_the_clients_reading(
    client, collection, document, where, wrapped
):
    """Any client may store it. Then this one raises ValueError for all that it reads with it."""
    value = Value(reference_value=FOREIGN[where])
    if wrapped:
        value = Value(map_value={"fields": {"l": Value(array_value={"values": [value]})}})
    call(client, "commit", writes=[update(document, a=value, b=text(1))])
    assert stored(client, document)["a"] == value
    with pytest.raises(ValueError, match="does not correspond to the same database"):
        document.get()
    with pytest.raises(ValueError, match="does not correspond to the same database"):
        list(client.get_all([collection.document("another"), document]))
    with pytest.raises(ValueError, match="does not correspond to the same database"):
        collection.get()
    assert document.get(["b"]).to_dict() == {"b": "x"}


@pytest.mark.parametrize(
    "value",
    [
        Value(),
        Value(reference_value="garbage"),
        Value(reference_value=""),
        Value(reference_value=f"projects/{PROJECT}/databases/(default)/documents/a"),
        Value(reference_value=f"projects/{PROJECT}/databases/(default)/documents/a/__x__"),
        Value(geo_point_value={"latitude": 90.5}),
        Value(geo_point_value={"longitude": math.nan}),
        time_value(-62_135_596_801),
        time_value(LAST_SECOND + 1),
        time_value(0, -1),
        time_value(0, 10**9),
        Value(array_value={"values": [Value(array_value={})]}),
        Value(array_value={"values": [vector(ONE)]}),
        vector(),
        vector(*[ONE] * 2049),
        vector(Value(integer_value=1)),
        vector(Value(double_value=math.nan)),
        vector(ONE, more=ONE),
        Value(map_value={"fields": {"__type__": Value(string_value="other")}}),
    ],
    ids=lambda value: str(value).replace("\n", "")[:60],
)
def test_a_value_that_cannot_be_stored_is_refused(client, document, value):
    with pytest.raises(exceptions.InvalidArgument):
        call(client, "commit", writes=[update(document, a=value)])
    assert not document.get().exists


# No answer in time


TIMEOUT = 0.5


@pytest.fixture
def silence(
    backend: Backend, document: firestore.DocumentReference
) -> Callable[[], AbstractContextManager[None]]:
    """Makes the server silent to a client that is connected to it."""
    document.get()
    return backend.unanswered


def seconds_since(start: float) -> float:
    return time.monotonic() - start


def gives_up_in_time(call: Callable[[], object]) -> bool:
    start = time.monotonic()
    with pytest.raises(exceptions.DeadlineExceeded):
        call()
    return TIMEOUT * 0.9 < seconds_since(start) < TIMEOUT + 3


def test_a_call_without_repetition_is_given_up_at_its_timeout(client, collection, silence):
    options: dict[str, Any] = {"timeout": TIMEOUT, "retry": None}
    reference = collection.document("x")
    with silence():
        assert gives_up_in_time(lambda: reference.get(**options))
        assert gives_up_in_time(lambda: list(client.get_all([reference], **options)))
        assert gives_up_in_time(lambda: collection.get(**options))
        assert gives_up_in_time(lambda: collection.count().get(**options))
        assert gives_up_in_time(lambda: reference.set({}, **options))


def test_a_write_that_was_given_up_is_applied_all_the_same(client, collection, silence):
    batch = BulkWriteBatch(client)
    batch.create(collection.document("batch"), {})
    with silence():
        assert gives_up_in_time(lambda: collection.document("commit").set({}, timeout=TIMEOUT))
        assert gives_up_in_time(lambda: batch.commit(timeout=TIMEOUT))
    wait_for(lambda: {one.id for one in collection.stream()} == {"commit", "batch"})


def test_a_timeout_is_repeated_until_the_repetitions_own_timeout(document, silence):
    """Then RetryError: no DeadlineExceeded, and no ServerError."""
    repetition = Retry(if_exception_type(exceptions.DeadlineExceeded), initial=0.1, timeout=1.5)
    start = time.monotonic()
    with silence(), pytest.raises(exceptions.RetryError):
        document.get(timeout=TIMEOUT, retry=repetition)
    assert 2 * TIMEOUT * 0.9 < seconds_since(start) < 6


def test_what_is_not_to_be_repeated_is_given_up_at_once(document, silence):
    repetition = Retry(if_exception_type(exceptions.Aborted), initial=0.1, timeout=30)
    with silence():
        assert gives_up_in_time(lambda: document.get(timeout=TIMEOUT, retry=repetition))


def test_by_default_a_read_is_repeated_after_a_timeout_and_answered(document, silence):
    document.set({"a": 1})
    found = []
    with silence():
        thread = threading.Thread(target=lambda: found.append(document.get(timeout=TIMEOUT)))
        thread.start()
        thread.join(2 * TIMEOUT)
        assert not found
    thread.join(30)
    assert found[0].to_dict() == {"a": 1}


# Auth


@pytest.fixture
def prefix() -> str:
    return f"conformance-{uuid4().hex}-"


@pytest.fixture
def people(backend: Backend, prefix: str) -> list[str]:
    """Uids of accounts, in their order."""
    for name in "cBa":
        backend.add_account(prefix + name, displayName=name.upper(), disabled=name == "a")
    return [prefix + name for name in "Bac"]


def pages(client: auth.Client, size: int) -> Iterator[list[str]]:
    token: str | None = None
    while token != "":
        page = client.list_users(token, size)
        yield [record.uid for record in page.users]
        token = page.next_page_token


def test_accounts_are_looked_up_by_their_uids(backend, people, prefix):
    asked = [people[2], prefix + "nobody", people[0], people[2]]
    result = backend.auth.get_users([auth.UidIdentifier(uid) for uid in asked])
    assert sorted(record.uid for record in result.users) == [people[0], people[2]]
    assert [one.uid for one in result.not_found] == [prefix + "nobody"]


def test_a_disabled_account_is_found_and_listed_as_disabled(backend, people):
    result = backend.auth.get_users([auth.UidIdentifier(uid) for uid in people])
    found = {record.uid: (record.display_name, record.disabled) for record in result.users}
    assert found == {people[0]: ("B", False), people[1]: ("A", True), people[2]: ("C", False)}
    listed = {record.uid: record.disabled for record in backend.auth.list_users().iterate_all()}
    assert [listed[uid] for uid in people] == [False, True, False]


def test_nobody_is_found_for_uids_of_nobody(backend, prefix):
    asked = [auth.UidIdentifier(prefix + str(n)) for n in range(100)]
    result = backend.auth.get_users(asked)
    assert (result.users, result.not_found) == ([], asked)


def test_more_than_a_hundred_are_not_looked_up_at_once(backend):
    with pytest.raises(ValueError, match="100"):
        backend.auth.get_users([auth.UidIdentifier(str(n)) for n in range(101)])


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_pages_of_accounts_have_everybody_once_in_the_order_of_uids(backend, people, size):
    found = list(pages(backend.auth, size))
    assert all(len(page) <= size for page in found)
    everybody = [uid for page in found for uid in page]
    assert everybody == sorted(set(everybody))
    assert [uid for uid in everybody if uid in people] == people


def test_a_page_begins_after_a_token_though_its_account_is_gone(backend, people, prefix):
    [record] = backend.auth.list_users(prefix + "ab", 1).users
    assert record.uid == people[2]


def test_a_page_of_none_or_more_than_a_thousand_is_refused(backend):
    for size in (0, 1001):
        with pytest.raises(ValueError, match="Max results"):
            backend.auth.list_users(max_results=size)
    with pytest.raises(ValueError, match="token"):
        backend.auth.list_users("")


@pytest.mark.parametrize("name", ["get_users", "list_users"])
def test_an_auth_that_does_not_answer_blocks_for_two_timeouts_and_is_unavailable(backend, name):
    """The client repeats the request once. It never raises DeadlineExceededError."""
    arguments = [[auth.UidIdentifier("ann")]] if name == "get_users" else []
    start = time.monotonic()
    with backend.unanswered(), pytest.raises(UnavailableError):
        getattr(backend.auth, name)(*arguments)
    assert 1.8 * backend.auth_timeout < seconds_since(start) < 2 * backend.auth_timeout + 3


def test_an_auth_that_answers_again_is_heard(backend, people):
    with backend.unanswered(), pytest.raises(UnavailableError):
        backend.auth.get_users([auth.UidIdentifier(people[0])])
    assert backend.auth.get_users([auth.UidIdentifier(people[0])]).users
