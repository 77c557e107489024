"""Stream's webhooks: signed events keep Firestore true; everything else stays outside."""

from __future__ import annotations

import gzip
import hmac
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from functions_framework import create_app
from google.api_core.exceptions import InternalServerError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsync.clients import tasks as tasks_module
from chatsync.conversations.create import create_conversation
from chatsync.entry import webhooks
from chatsync.entry.events import reconcile_after_sign_up
from stream_server.webhook_receiver import Received
from tests.fast.interrupted import dies_before
from tests.fast.large_body import HELD_BYTES, Broken, send_large
from tests.fast.outbox import drain_until_settled, entries
from tests.fast.test_functions import MAIN, environment  # noqa: F401 (a fixture)


def signed(body: bytes, secret: str = "local-secret") -> str:
    return hmac.new(secret.encode(), body, sha256).hexdigest()


@pytest.fixture
def post(environment) -> Callable[..., int]:  # noqa: F811 (the imported fixture)
    """Post to the function as it is deployed; returns the status."""
    client = create_app("streamWebhook", str(MAIN), "http").test_client()

    def post(body: bytes, signature: str | None = None, **headers: str) -> int:
        if signature is None:
            signature = signed(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post("/", data=body, headers={"X-Signature": signature, **named}).status_code

    return post


@pytest.fixture
def send(post) -> Callable[..., int]:
    """Post a signed event."""
    return lambda event, **headers: post(json.dumps(event).encode(), **headers)


@pytest.fixture
def ann_and_bob(accounts) -> None:
    for uid in ("ann", "bob"):
        accounts.sign_up(uid, displayName=uid.title())


@pytest.fixture
def room(ann_and_bob, clients) -> str:
    """The id of a conversation of Ann and Bob."""
    asked = {"participantIds": ["bob"], "conversationType": "group", "name": "Room"}
    return create_conversation("ann", asked, clients)["id"]


@pytest.fixture
def channel(chat, room):
    return chat.channel("messaging", room)


@pytest.fixture
def document(firestore):
    return lambda conversation_id: firestore.document("conversations", conversation_id).get()


@pytest.fixture
def stats(firestore):
    return lambda uid="ann": firestore.document("user_stats", uid).get().to_dict()


@pytest.fixture
def happens(stream, receiver, post):
    """Do something in Stream, and deliver the events of a type that this causes."""

    def happens(event_type: str, action: Callable[[], Any]) -> list[Received]:
        stream.webhook(receiver.url, [event_type])
        before = len(receiver.received)
        action()
        receiver.wait_for(lambda: len(receiver.received) > before)
        received = receiver.received[before:]
        for one in received:
            assert deliver(post, one) == 200
        return received

    return happens


def deliver(post, received: Received) -> int:
    encoding = received.headers.get("content-encoding", "")
    return post(received.body, received.headers["x-signature"], Content_Encoding=encoding)


def message_event(room: str, **fields: Any) -> dict[str, Any]:
    message = {
        "id": "m1",
        "text": "hello",
        "html": "<p>hello</p>",
        "type": "regular",
        "user": {"id": "ann", "role": "user"},
        "attachments": [],
        "mentioned_users": [],
        "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        **fields,
    }
    return {
        "type": "message.new",
        "cid": f"messaging:{room}",
        "channel_type": "messaging",
        "channel_id": room,
        "channel_member_count": 2,
        "message": message,
        "message_id": message["id"],
        "user": {"id": "ann"},
        "watcher_count": 1,
        "members": [{"user_id": "ann"}, {"user_id": "bob"}],
        "created_at": message["created_at"],
        "request_info": {"type": "client", "ip": "127.0.0.1", "user_agent": "", "sdk": "js"},
    }


# What happened in Stream arrives in Firestore


def test_a_channel_created_in_stream_is_recorded(happens, chat, ann_and_bob, document):
    chat.upsert_users([{"id": "ann"}, {"id": "bob"}])
    made = chat.channel("messaging", "lobby", {"members": ["ann", "bob"], "name": "Lobby"})
    happens("channel.created", lambda: made.create("ann"))
    kept = document("lobby").to_dict()
    assert (kept["name"], kept["status"], kept["origin"]) == ("Lobby", "ready", "webhook")
    assert kept["participantIds"] == ["ann", "bob"]


def test_a_channel_that_stream_names_by_its_members_is_recorded_under_its_cid(
    happens, chat, ann_and_bob, firestore
):
    chat.upsert_users([{"id": "ann"}, {"id": "bob"}])
    distinct = chat.channel("messaging", None, {"members": ["ann", "bob"]})
    happens("channel.created", lambda: distinct.create("ann"))
    [name] = [one.id for one in firestore_documents(firestore)]
    assert name.startswith("messaging:!members-")


def firestore_documents(firestore):
    names = [name for name in firestore._firestore_api.documents if "/conversations/" in name]
    return [firestore.document(*name.split("/")[-2:]).get() for name in names]


def test_a_new_name_is_written_back(happens, channel, room, document):
    happens("channel.updated", lambda: channel.update_partial({"name": "New"}))
    assert document(room).get("name") == "New"


def test_a_new_member_may_read(happens, accounts, chat, channel, room, document):
    accounts.sign_up("eve")
    chat.upsert_user({"id": "eve"})
    happens("member.added", lambda: channel.add_members(["eve"]))
    assert set(document(room).get("participantIds")) == {"ann", "bob", "eve"}


def test_a_removed_member_may_not_read_any_more(happens, channel, room, document):
    happens("member.removed", lambda: channel.remove_members(["bob"]))
    assert document(room).get("participantIds") == ["ann"]


def test_a_channel_removed_in_stream_is_marked_deleted(happens, channel, room, document):
    happens("channel.deleted", lambda: channel.delete())
    assert document(room).get("status") == "deleted"


def test_a_compressed_event_is_understood(happens, chat, channel, room, document):
    chat.update_app_settings(enable_hook_payload_compression=True)
    [received] = happens("channel.updated", lambda: channel.update_partial({"name": "Zipped"}))
    assert received.headers["content-encoding"] == "gzip"
    assert document(room).get("name") == "Zipped"


@pytest.mark.parametrize("kind", ["no.such.event", "channel.truncated", "health.check", ""])
def test_an_unknown_event_is_accepted_and_ignored(send, room, kind, document, stream):
    since = stream.last_request()
    assert send({"type": kind, "cid": f"messaging:{room}"}) == 200
    assert stream.operations(since) == []


def test_an_old_event_that_comes_late_tells_nothing_but_that_something_changed(
    send, channel, room, document
):
    channel.update_partial({"name": "Newest"})
    late = {"type": "channel.updated", "cid": f"messaging:{room}"}
    assert send({**late, "channel": {"name": "Older", "cid": late["cid"]}}) == 200
    assert document(room).get("name") == "Newest"


def test_an_echo_of_our_own_call_costs_one_read(
    happens, clients, ann_and_bob, stream, receiver, post, firestore_api
):
    stream.webhook(receiver.url, ["channel.created", "member.added", "channel.updated"])
    asked = {"participantIds": ["bob"], "conversationType": "group", "name": "Echo"}
    create_conversation("ann", asked, clients)
    receiver.one("channel.created")
    since = stream.last_request()
    calls = len(firestore_api.calls)
    for received in receiver.received:
        assert deliver(post, received) == 200
    assert stream.operations(since) == []
    assert firestore_api.calls[calls:] == ["batch_get_documents"] * len(receiver.received)


@pytest.mark.parametrize("difference", [{"name": "Other"}, {"team": "red"}, {"member_count": 3}])
def test_an_event_that_says_something_else_has_stream_asked(send, room, stream, difference):
    channel = {"name": "Room", "member_count": 2, **difference}
    since = stream.last_request()
    event = {"type": "channel.updated", "cid": f"messaging:{room}", "channel": channel}
    assert send(event) == 200
    assert stream.operations(since) == ["QueryChannels"]


def test_an_echo_that_comes_before_the_conversation_is_ready_leaves_it_alone(
    room, send, document, stream, clients
):
    document(room).reference.update({"status": "pending"})
    since = stream.last_request()
    channel = {"cid": f"messaging:{room}", "name": "Room", "member_count": 2}
    assert send({"type": "channel.created", "cid": f"messaging:{room}", "channel": channel}) == 200
    assert document(room).get("status") == "pending"
    assert (stream.operations(since), entries(clients)) == ([], {})


def test_what_happens_while_a_conversation_is_made_is_looked_at_afterwards(
    room, send, document, clients
):
    document(room).reference.update({"status": "pending"})
    event = {"type": "member.added", "cid": f"messaging:{room}", "member": {"user_id": "eve"}}
    assert send(event) == 200
    assert [entry["key"] for entry in entries(clients).values()] == [room]


def test_what_stream_cannot_tell_now_is_left_to_the_outbox(
    send, channel, room, document, stream, clients
):
    channel.update_partial({"name": "New"})
    stream.fault("QueryChannels", "status", status=503, rate=1)
    assert send({"type": "channel.updated", "cid": f"messaging:{room}"}) == 200
    [entry] = entries(clients).values()
    assert (entry["kind"], entry["key"]) == ("conversation", room)
    stream.clear_faults()
    drain_until_settled(clients)
    assert document(room).get("name") == "New"


def test_an_event_is_sent_again_if_firestore_fails(send, room, firestore_api, capsys):
    def fail(call: str) -> None:
        raise InternalServerError("down")

    firestore_api.before_call = fail
    assert send({"type": "channel.updated", "cid": f"messaging:{room}"}) == 500
    assert "An event is to be sent again" in capsys.readouterr().err


def test_a_bug_is_logged_and_answered_with_a_plea_to_try_again(send, room, monkeypatch, capsys):
    def stumble(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(webhooks, "read", stumble)
    assert send({"type": "channel.updated", "cid": f"messaging:{room}"}) == 500
    assert "TypeError: a bug" in capsys.readouterr().err


# Messages are counted


def test_a_message_counts_for_its_sender(happens, channel, stats):
    happens("message.new", lambda: channel.send_message({"text": "hello"}, "ann"))
    assert (stats()["messagesSent"], stats("bob")["messagesSent"]) == (1, 0)
    assert datetime.now(UTC) - stats()["lastActiveAt"] < timedelta(minutes=1)


def test_a_message_counts_once_however_often_and_by_whatever_id_it_is_delivered(
    happens, post, channel, stats
):
    [received] = happens("message.new", lambda: channel.send_message({"text": "hello"}, "ann"))
    for n in range(5):
        signature = received.headers["x-signature"]
        assert post(received.body, signature, X_Webhook_Id=f"another-{n}") == 200
    assert stats()["messagesSent"] == 1


def test_two_messages_count_twice(send, room, stats):
    for message_id in ("m1", "m2"):
        assert send(message_event(room, id=message_id)) == 200
    assert stats()["messagesSent"] == 2


def test_a_message_counts_once_though_the_function_dies_anywhere(
    room, stats, clients, firestore_api, send
):
    event = message_event(room, id="fragile")
    at = 0
    while True:
        at += 1
        firestore_api.documents = {
            name: document
            for name, document in firestore_api.documents.items()
            if "/counted_messages/" not in name
        }
        clients.firestore.document("user_stats/ann").update({"messagesSent": 0})
        if not dies_before(at, lambda: webhooks.handle(event, clients), firestore_api):
            break
        webhooks.handle(event, clients)
        assert stats()["messagesSent"] == 1, f"killed before call {at}"
    assert at > 3


def test_a_message_in_an_unknown_channel_records_it(send, chat, ann_and_bob, document):
    chat.upsert_users([{"id": "ann"}, {"id": "bob"}])
    chat.channel("messaging", "old", {"members": ["ann", "bob"]}).create("ann")
    assert send(message_event("old")) == 200
    assert document("old").get("status") == "ready"


def test_a_message_of_somebody_without_stats_heals_them_and_counts(send, room, stats, firestore):
    firestore.document("user_stats/ann").delete()
    assert send(message_event(room)) == 200
    assert stats()["messagesSent"] == 1


def test_a_message_of_nobody_we_know_counts_for_nobody(send, room, stats, firestore):
    assert send(message_event(room, user={"id": "bot"})) == 200
    assert not firestore.document("user_stats/bot").get().exists


def test_a_message_that_cannot_be_counted_now_is_sent_again(
    send, room, stats, firestore, firestore_api
):
    firestore.document("user_stats/ann").delete()

    def fail(call: str) -> None:
        if call == "commit":
            raise InternalServerError("down")

    firestore_api.before_call = fail
    assert send(message_event(room)) == 500
    firestore_api.before_call = lambda _: None
    assert send(message_event(room)) == 200
    assert stats()["messagesSent"] == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"user": {"id": "a@2fb"}},
        {"user": {"id": "\ud800"}},
        {"user": {"id": "__bot__"}},
        {"id": "x" * 5000},
        {"created_at": "9999-12-31T23:59:59Z"},
        {"created_at": "0001-01-01T00:00:00Z"},
    ],
)
def test_a_signed_message_that_cannot_be_is_no_reason_to_ask_again(send, room, fields):
    assert send(message_event(room, **fields)) == 200


def test_a_bots_messages_cost_stream_nothing(send, room, stream):
    since = stream.last_request()
    for n in range(5):
        assert send(message_event(room, id=f"m{n}", user={"id": "bot"})) == 200
    assert stream.operations(since) == []


def test_a_refusal_of_streams_is_parked_and_not_sent_again(send, room, stream, clients):
    stream.fault("QueryChannels", "status", status=400, code=4, rate=1)
    assert send({"type": "channel.updated", "cid": f"messaging:{room}"}) == 200
    [entry] = entries(clients).values()
    assert (entry["state"], entry["reason"]) == ("parked", "rejected")


def test_an_answer_comes_within_streams_six_seconds_whatever_hangs(post, room, stream, monkeypatch):
    """Everything at a tenth of its time: the repair, the wake, the report, another wake."""
    monkeypatch.setattr(webhooks, "INLINE_SECONDS", webhooks.INLINE_SECONDS / 10)
    stream.fault("QueryChannels", "timeout", rate=1)
    event = {"type": "channel.updated", "cid": f"messaging:{room}"}
    started = time.monotonic()
    assert post(json.dumps(event).encode()) == 200
    assert time.monotonic() - started < 2
    wakes = 2 * tasks_module.ENQUEUE_SECONDS
    assert webhooks.INLINE_SECONDS * 10 + webhooks.REPORT_SECONDS + wakes <= 5.5


def test_a_message_of_a_company_counts_for_nobody_and_costs_two_reads(
    send, room, accounts, clients, stats, firestore_api
):
    accounts.sign_up("acme")
    reconcile_after_sign_up("acme", clients)
    calls = len(firestore_api.calls)
    assert send(message_event(room, user={"id": "company_acme"})) == 200
    # Whether it is an account, and the conversation.
    assert firestore_api.calls[calls:] == ["batch_get_documents"] * 2
    assert stats("acme")["messagesSent"] == 0


def test_a_replay_after_the_memory_of_its_message_is_over_counts_for_nobody(send, room, stats):
    old = datetime.now(UTC) - webhooks.COUNTED_FOR - timedelta(minutes=1)
    assert send(message_event(room, created_at=old.isoformat())) == 200
    assert stats()["messagesSent"] == 0


def test_a_counted_message_is_remembered_longer_than_it_could_count_again(send, room, firestore):
    assert send(message_event(room)) == 200
    expires = firestore.document("counted_messages/m1").get().get("expireAt")
    assert expires > datetime.now(UTC) + webhooks.COUNTED_FOR


def test_a_message_that_comes_late_does_not_set_the_last_activity_back(send, room, stats):
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert send(message_event(room, id="m1")) == 200
    latest = stats()["lastActiveAt"]
    assert send(message_event(room, id="m2", created_at=hour_ago.isoformat())) == 200
    assert stats()["lastActiveAt"] == latest
    assert stats()["messagesSent"] == 2


def test_a_message_of_the_future_makes_nobody_active_there(send, room, stats):
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    assert send(message_event(room, created_at=in_an_hour.isoformat())) == 200
    assert stats()["messagesSent"] == 1
    assert stats()["lastActiveAt"] <= datetime.now(UTC)


@pytest.mark.parametrize("message_id", ["a/b", "..", "__x__", "\ud800", "x" * 255, "%2F"])
def test_any_message_id_is_counted(send, room, stats, message_id):
    for _ in range(2):
        assert send(message_event(room, id=message_id)) == 200
    assert stats()["messagesSent"] == 1


# What Stream did not send stays outside


@pytest.fixture
def outside(firestore_api, stream, room):
    """Checks that nothing was read, written or called."""
    documents, calls = dict(firestore_api.documents), len(firestore_api.calls)
    since = stream.last_request()

    def check() -> None:
        assert firestore_api.documents == documents
        assert len(firestore_api.calls) == calls
        assert stream.operations(since) == []

    return check


def test_a_wrong_signature_is_refused(post, room, outside):
    body = json.dumps(message_event(room)).encode()
    for signature in ("", "0" * 64, signed(body, "other-secret"), signed(body + b" "), "ü"):
        assert post(body, signature) == 401
    outside()


def test_a_body_changed_on_the_way_is_refused(post, room, outside):
    body = json.dumps(message_event(room)).encode()
    assert post(body.replace(b"ann", b"bob"), signed(body)) == 401
    outside()


@pytest.mark.parametrize("size", [1_000_001, 10_000_000, 20_000_000])
def test_a_large_body_is_refused(post, outside, size):
    assert post(b"a" * size) == 413
    outside()


def test_a_large_body_of_unknown_length_is_refused(environment, outside):  # noqa: F811
    client = create_app("streamWebhook", str(MAIN), "http").test_client()
    body = b"a" * 1_000_001
    chunked = {"wsgi.input": BytesIO(body), "wsgi.input_terminated": True}
    headers = {"X-Signature": signed(body), "Transfer-Encoding": "chunked"}
    sent = client.post("/", headers=headers, environ_overrides=chunked)
    assert sent.status_code == 413
    outside()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_large_body_is_never_in_memory(environment, outside, chunked, encoding):  # noqa: F811
    client = create_app("streamWebhook", str(MAIN), "http").test_client()
    headers = {"X-Signature": "0" * 64, "Content-Encoding": encoding}
    response, held = send_large(client, headers, chunked)
    assert response.status_code == 413
    assert held < HELD_BYTES
    outside()


@pytest.mark.parametrize(("method", "status"), [("POST", 401), ("PUT", 405)])
def test_a_body_that_is_not_signed_is_never_in_memory(environment, outside, method, status):  # noqa: F811
    client = create_app("streamWebhook", str(MAIN), "http").test_client()
    response, held = send_large(client, {}, chunked=True, method=method)
    assert response.status_code == status
    assert held < HELD_BYTES
    outside()


def test_what_cannot_be_configured_holds_no_body_either(environment, monkeypatch):  # noqa: F811
    monkeypatch.delenv("STREAM_API_SECRET")
    client = create_app("streamWebhook", str(MAIN), "http").test_client()
    response, held = send_large(client, {"X-Signature": "0" * 64}, chunked=False)
    assert response.status_code == 500
    assert held < HELD_BYTES


def test_a_body_that_breaks_off_is_refused(environment, outside):  # noqa: F811
    client = create_app("streamWebhook", str(MAIN), "http").test_client()
    headers = {"X-Signature": "0" * 64, "Transfer-Encoding": "chunked"}
    environ = {"wsgi.input": Broken(), "wsgi.input_terminated": True}
    assert client.post("/", headers=headers, environ_overrides=environ).status_code == 400
    outside()


def test_a_gzip_bomb_is_refused_without_being_unpacked(post, outside):
    bomb = gzip.compress(b"\0" * 100_000_000)
    tracemalloc.start()
    try:
        assert post(bomb, Content_Encoding="gzip") == 400
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    outside()


def test_what_is_no_gzip_is_refused(post, outside):
    for body in (b"", b"{}", b"\x1f\x8b", gzip.compress(b"{}")[:-4], zlib.compress(b"{}")):
        assert post(body, Content_Encoding="gzip") == 400
    outside()


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000],
)
def test_a_signed_body_that_is_no_json_object_is_refused(post, outside, body):
    assert post(body) == 400
    outside()


def test_other_methods_are_refused(environment, outside):  # noqa: F811
    client = create_app("streamWebhook", str(MAIN), "http").test_client()
    for method in ("GET", "PUT", "DELETE"):
        assert client.open("/", method=method).status_code == 405
    outside()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)
kinds = st.sampled_from(
    [
        *("message.new", "channel.created", "channel.updated", "channel.deleted", "member.added"),
        *("user.updated", "user.banned", "user.deleted", "user.presence.changed"),
    ]
)
names = ("cid", "channel", "member", "message", "user", "channel_id", "created_at")


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=kinds,
    cid=st.sampled_from(["messaging:room", "messaging:__x__", "a:b:c", "messaging:!m-1", "x"]),
    fields=st.dictionaries(st.sampled_from(names), values, max_size=4),
    message=st.dictionaries(
        st.sampled_from(["id", "user", "created_at"]),
        values | st.just("2026-11-20T10:00:00Z") | st.just({"id": "ann"}),
    ),
)
def test_a_signed_event_of_any_shape_never_fails(send, kind, cid, fields, message):
    event = {"type": kind, "cid": cid, "message": message, **fields}
    assert send(event) == 200


# Stream waits six seconds


STREAM_WAITS_SECONDS = 6.0


@pytest.fixture
def slow_tasks(tasks) -> None:
    """Cloud Tasks takes as long as our own limit allows."""
    tasks.before_call = lambda _: time.sleep(tasks_module.ENQUEUE_SECONDS)


def took(work: Callable[[], int]) -> float:
    started = time.monotonic()
    assert work() in (200, 500)
    return time.monotonic() - started


def test_an_event_is_answered_in_time_though_auth_hangs(
    send, room, firestore, accounts, slow_tasks
):
    firestore.document("user_stats/ann").delete()
    accounts.before_call = lambda _: time.sleep(5)
    assert took(lambda: send(message_event(room))) < STREAM_WAITS_SECONDS - 1


@pytest.mark.parametrize("call", ["commit", "batch_get_documents", "batch_write"])
def test_an_event_is_answered_in_time_though_firestore_hangs(
    send, room, firestore, firestore_api, slow_tasks, call
):
    firestore.document("user_stats/ann").delete()

    def hang(called: str) -> None:
        if called == call:
            time.sleep(7)

    firestore_api.before_call = hang
    assert took(lambda: send(message_event(room))) < STREAM_WAITS_SECONDS


def test_a_first_message_leaves_what_else_is_missing_to_the_outbox(
    send, room, stats, firestore, clients
):
    for collection in ("user_stats", "user_profiles"):
        firestore.document(collection, "ann").delete()
    assert send(message_event(room)) == 200
    assert stats()["messagesSent"] == 1
    assert set(entries(clients)) == {"user_ann"}
    drain_until_settled(clients)
    assert firestore.document("user_profiles/ann").get().exists


def test_a_record_made_for_an_account_that_goes_meanwhile_goes_too(
    send, room, accounts, firestore, firestore_api, clients
):
    firestore.document("user_stats/ann").delete()

    def delete(call: str) -> None:
        if call == "commit":
            accounts.accounts.pop("ann", None)

    firestore_api.before_call = delete
    assert send(message_event(room)) == 200
    drain_until_settled(clients)
    assert not firestore.document("user_stats/ann").get().exists


def test_two_first_messages_at_once_are_both_counted(send, room, stats, firestore, firestore_api):
    firestore.document("user_stats/ann").delete()

    def second(call: str) -> None:
        if call == "commit":
            firestore_api.before_call = lambda _: None
            assert send(message_event(room, id="second")) == 200

    firestore_api.before_call = second
    assert send(message_event(room, id="first")) == 200
    assert stats()["messagesSent"] == 2
