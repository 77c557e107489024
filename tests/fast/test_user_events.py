"""Stream's events about users: they end trust, and bring back what somebody overwrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from functions_framework import create_app
from google.api_core.exceptions import InternalServerError
from google.cloud import firestore as google_firestore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsync.entry import user_events, webhooks
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import Temporary
from chatsync.outbox.drain import drain
from stream_server.user_client import user_client
from tests.fast.outbox import drain_until_settled, entries
from tests.fast.proven import prove
from tests.fast.test_functions import MAIN, environment  # noqa: F401 (a fixture)
from tests.fast.test_webhooks import deliver, signed, values

NOW = datetime.now(UTC)
"""Of the start of the run: minutes ago, maybe, when a test begins."""

OF_MODERATION = [
    *("user.deleted", "user.deactivated", "user.reactivated", "user.banned", "user.unbanned")
]


@pytest.fixture
def post(environment) -> Callable[..., int]:  # noqa: F811 (the imported fixture)
    client = create_app("streamWebhook", str(MAIN), "http").test_client()

    def post(body: bytes, signature: str, **headers: str) -> int:
        return client.post("/", data=body, headers={"X-Signature": signature}).status_code

    return post


@pytest.fixture
def send(post) -> Callable[[dict[str, Any]], int]:
    """Post a signed event."""

    def send(event: dict[str, Any]) -> int:
        body = json.dumps(event).encode()
        return post(body, signed(body))

    return send


@pytest.fixture
def ann(accounts, clients) -> str:
    """She has signed up, and all sides agree; no event is to be noted."""
    accounts.sign_up("ann", displayName="Ann")
    reconcile_after_sign_up("ann", clients)
    prove(clients)
    return "ann"


@pytest.fixture
def entry(firestore, ann):
    """What is remembered of Ann; ``entry(field=value)`` changes it first."""

    def entry(of: str = "user_ann", **fields: Any) -> dict[str, Any]:
        reference = firestore.document("stream_users", of)
        if fields:
            reference.set(fields, merge=True)
        return reference.get().to_dict()

    entry(verifiedAt=NOW)
    return entry


@pytest.fixture
def handle(clients):
    def handle(kind: str, user: object = {"id": "ann"}, **fields: Any) -> None:
        event = {"type": kind, "user": user, "created_at": at(datetime.now(UTC)), **fields}
        webhooks.handle(event, clients)

    return handle


@pytest.fixture
def name_in_stream(chat):
    return lambda user_id="ann": chat.query_users({"id": user_id})["users"][0].get("name")


@pytest.fixture
def happens(stream, receiver, post):
    """Do something in Stream, and deliver the events of a type that this causes, in one order."""

    def happens(event_type: str, action: Callable[[], Any], times: int = 1) -> None:
        stream.webhook(receiver.url, [event_type])
        before = len(receiver.received)
        action()
        receiver.wait_for(lambda: len(receiver.received) > before)
        for one in receiver.received[before:] * times:
            assert deliver(post, one) == 200

    return happens


@pytest.fixture
def logged(monkeypatch) -> list[str]:
    lines: list[str] = []
    for name in ("info", "warn", "error"):
        monkeypatch.setattr(user_events.logger, name, lambda line, **_: lines.append(line))
    return lines


def at(moment: datetime) -> str:
    """As Stream writes a time, with nanoseconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}123Z"


def changed(at: datetime, *fields: str, did: str = "updated") -> dict[str, Any]:
    return {"at": at, "by": "drainRepairs", "did": did, "fields": list(fields)}


# Trust ends


@pytest.mark.parametrize("event_type", OF_MODERATION)
def test_an_event_of_moderation_ends_trust(happens, chat, entry, event_type, clients):
    if event_type == "user.reactivated":
        chat.deactivate_user("ann")
    before = entry(history=[changed(NOW, "name")])
    action = {
        "user.deleted": lambda: chat.delete_user("ann"),
        "user.deactivated": lambda: chat.deactivate_user("ann"),
        "user.reactivated": lambda: chat.reactivate_user("ann"),
        "user.banned": lambda: chat.ban_user("ann"),
        "user.unbanned": lambda: chat.unban_user("ann"),
    }[event_type]
    happens(event_type, action)
    after = entry()
    assert (after["verifiedAt"], after["history"][:-1]) == (None, before["history"])
    assert (after["history"][-1]["did"], after["history"][-1]["fields"]) == (event_type, [])
    assert after["invalidatedAt"]
    assert after.keys() - before.keys() == {"invalidatedAt"}
    assert entries(clients) == {}


@pytest.mark.parametrize("event_type", ["user.banned", "user.unbanned"])
def test_a_ban_from_a_channel_ends_no_trust(happens, chat, entry, event_type):
    channel = chat.channel("messaging", "room", {"members": ["ann"]})
    channel.create("ann")
    ban = channel.ban_user if event_type == "user.banned" else channel.unban_user
    happens(event_type, lambda: ban("ann"))
    assert entry()["verifiedAt"] == NOW


def test_an_event_of_moderation_costs_one_read_and_one_write(handle, entry, firestore_api, stream):
    handle("user.updated", {})  # the proof is read
    firestore_api.calls.clear()
    since = stream.last_request()
    handle("user.banned")
    assert (firestore_api.calls, stream.operations(since)) == (
        ["batch_get_documents", "batch_write"],
        [],
    )


def test_trust_in_an_account_that_is_a_company_ends(handle, accounts, firestore, clients):
    firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme")
    reconcile_after_sign_up("acme", clients)
    entry = firestore.document("stream_users/user_acme")
    entry.update({"verifiedAt": NOW})
    handle("user.deactivated", {"id": "company_acme"})
    assert entry.get().get("verifiedAt") is None


def test_trust_in_a_company_without_account_ends(handle, firestore):
    entry = firestore.document("stream_users/company_acme")
    entry.set({"kind": "company", "verifiedAt": NOW})
    handle("user.deactivated", {"id": "company_acme"})
    assert entry.get().get("verifiedAt") is None


@pytest.mark.parametrize("event_type", [*OF_MODERATION, "user.updated"])
def test_a_bot_leads_to_nothing(handle, firestore_api, clients, stream, event_type):
    prove(clients)
    before = dict(firestore_api.documents)
    since = stream.last_request()
    handle(event_type, {"id": "bot", "name": "Bot"})
    assert (firestore_api.documents, stream.operations(since)) == (before, [])
    assert entries(clients) == {}


def test_a_service_user_costs_nothing(with_settings, firestore_api):
    clients = with_settings(stream={"service_users": ["bot"]})
    prove(clients)
    webhooks.handle({"type": "user.updated"}, clients)  # its time is known from then on
    firestore_api.calls.clear()
    webhooks.handle({"type": "user.updated", "user": {"id": "bot", "name": "Bot"}}, clients)
    webhooks.handle({"type": "user.banned", "user": {"id": "bot"}}, clients)
    assert firestore_api.calls == []


# Echoes


def test_an_echo_costs_one_read(happens, chat, handle, entry, firestore_api, stream, clients):
    handle("user.updated", {})  # the proof is read
    echo = chat.query_users({"id": "ann"})["users"][0]
    firestore_api.calls.clear()
    since = stream.last_request()
    handle("user.updated", echo)
    assert (firestore_api.calls, stream.operations(since)) == (["batch_get_documents"], [])
    assert (entry()["verifiedAt"], entries(clients)) == (NOW, {})


def test_an_own_repair_is_an_echo(happens, entry, firestore, clients):
    firestore.document("user_profiles/ann").update({"displayName": "Anna"})
    happens("user.updated", lambda: reconcile_after_sign_up("ann", clients))
    assert entries(clients) == {}


def test_a_field_that_firebase_does_not_state_is_no_difference(happens, chat, entry, clients):
    change = {"id": "ann", "set": {"shoe_size": 43, "role": "admin"}}
    happens("user.updated", lambda: chat.update_user_partial(change))
    assert (entry()["verifiedAt"], entries(clients)) == (NOW, {})


def test_a_refused_value_is_no_difference(handle, entry, clients, firestore):
    from chatsync.users import refusal

    firestore.document("user_profiles/ann").update({"displayName": "Rude"})
    entry(refused=[refusal("name", "Rude")])
    handle("user.updated", {"id": "ann", "name": "Ann"})
    assert (entry()["verifiedAt"], entries(clients)) == (NOW, {})


def test_a_second_identity_of_a_company_is_no_difference(handle, accounts, firestore, clients):
    firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme")
    reconcile_after_sign_up("acme", clients)
    handle("user.updated", {"id": "acme", "name": "Somebody"})
    assert entries(clients) == {}
    handle("user.updated", {"id": "company_acme", "name": "acme"})
    assert set(entries(clients)) == {"user_acme"}


def test_a_name_that_only_auth_states_is_compared(handle, entry, firestore, clients):
    for collection in ("users", "user_profiles"):
        firestore.document(collection, "ann").set({"createdAt": NOW})
    handle("user.updated", {"id": "ann", "name": "Ann"})
    assert entries(clients) == {}
    handle("user.updated", {"id": "ann", "name": "ann"})
    assert set(entries(clients)) == {"user_ann"}


def test_a_picture_that_only_auth_states_is_compared(handle, entry, clients, accounts):
    picture = "https://example.com/ann.png"
    accounts.sign_up("ann", displayName="Ann", photoUrl=picture)
    handle("user.updated", {"id": "ann", "name": "Ann", "image": picture})
    assert entries(clients) == {}
    handle("user.updated", {"id": "ann", "name": "Ann", "image": "https://example.com/x.png"})
    assert set(entries(clients)) == {"user_ann"}


# What somebody overwrote


def test_a_name_that_a_client_overwrote_is_back(happens, entry, stream, clients, name_in_stream):
    client = user_client(stream, "ann")
    happens("user.updated", lambda: client.upsert_user({"id": "ann", "name": "ann"}))
    assert entry()["verifiedAt"] is None
    [waiting] = entries(clients).values()
    assert (waiting["state"], waiting["reason"]) == ("waiting", "postponed")
    assert name_in_stream() == "ann"
    drain_until_settled(clients)
    assert name_in_stream() == "Ann"


def test_the_drain_is_woken_within_seconds(handle, entry, clients, tasks, monkeypatch):
    monkeypatch.setattr("chatsync.outbox.retry.FIRST_ATTEMPT_SECONDS", 2.0)
    handle("user.updated", {"id": "ann", "name": "ann"})
    [waiting] = entries(clients).values()
    assert waiting["nextAttemptAt"] - datetime.now(UTC) <= timedelta(seconds=2)
    [wake] = tasks.waiting
    assert wake["at"] - datetime.now(UTC).timestamp() <= 12


def test_the_same_event_again_changes_nothing_more(
    happens, entry, stream, clients, name_in_stream, logged
):
    client = user_client(stream, "ann")
    happens("user.updated", lambda: client.upsert_user({"id": "ann", "name": "ann"}), times=3)
    drain_until_settled(clients)
    assert (name_in_stream(), entries(clients)) == ("Ann", {})
    assert not any("twice" in line for line in logged)


def test_an_event_from_before_our_repair_is_not_taken_for_another_writer(
    handle, entry, clients, logged
):
    now = datetime.now(UTC)
    entry(history=[changed(now - timedelta(seconds=5), "name")])
    old = at(now - timedelta(seconds=6))
    handle("user.updated", {"id": "ann", "name": "ann"}, created_at=old)
    assert (entries(clients), entry()["verifiedAt"]) == ({}, None)
    assert not any("twice" in line for line in logged)


# Two writers


def test_a_second_overwriting_within_a_minute_is_left_to_the_audit(handle, entry, clients, logged):
    entry(history=[changed(datetime.now(UTC) - timedelta(seconds=30), "name")])
    handle("user.updated", {"id": "ann", "name": "ann"})
    assert (entries(clients), entry()["verifiedAt"]) == ({}, None)
    assert "Stream user ann was overwritten twice within a minute: left to the audit" in logged


def test_a_name_that_is_overwritten_again_and_again_is_repaired_once(
    happens, entry, stream, clients, name_in_stream, logged
):
    names = []
    for _ in range(3):
        client = user_client(stream, "ann")
        happens("user.updated", lambda one=client: one.upsert_user({"id": "ann", "name": "ann"}))
        drain_until_settled(clients)
        names.append(name_in_stream())
    assert names == ["Ann", "ann", "ann"]
    assert sum("twice within a minute" in line for line in logged) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda now: changed(now - timedelta(seconds=70), "name"),
        lambda now: changed(now, "image"),
        lambda now: changed(now, "name", did="created"),
        lambda _: {"at": "now", "did": "updated", "fields": ["name"]},
        lambda now: {"at": now, "did": "updated", "fields": None},
        lambda _: {},
    ],
)
def test_other_changes_do_not_keep_a_name_from_coming_back(handle, entry, clients, change):
    entry(history=[change(datetime.now(UTC))])
    handle("user.updated", {"id": "ann", "name": "ann"})
    assert set(entries(clients)) == {"user_ann"}


def test_a_writer_who_answers_before_our_repair_is_over_does_not_loop(
    handle, entry, clients, logged, name_in_stream
):
    """The event withdraws the entry while the repair works: so the repair leaves no history."""
    handle("user.updated", {"id": "ann", "name": "theirs"})
    drain(0, clients)
    assert entries(clients) == {}
    firestore = clients.firestore
    firestore.document("stream_users/user_ann").update({"history": google_firestore.DELETE_FIELD})
    handle("user.updated", {"id": "ann", "name": "theirs"})
    assert entries(clients) == {}
    assert sum("twice within a minute" in line for line in logged) == 1


# What fails


@pytest.mark.parametrize("call", ["batch_get_documents", "commit", "batch_write"])
def test_an_event_that_firestore_did_not_take_comes_again(
    send,
    entry,
    clients,
    firestore_api,
    call,
    logged,
):
    event = {"type": "user.updated", "user": {"id": "ann", "name": "ann"}}

    def fail(called: str) -> None:
        if called == call:
            raise InternalServerError("down")

    firestore_api.before_call = fail
    assert send(event) == 500
    firestore_api.before_call = lambda _: None
    assert send(event) == 200
    assert (set(entries(clients)), entry()["verifiedAt"]) == ({"user_ann"}, None)
    assert not any("twice" in line for line in logged)


def test_a_withdrawal_that_fails_comes_again(handle, entry, firestore_api):
    def fail(called: str) -> None:
        raise InternalServerError("down")

    firestore_api.before_call = fail
    with pytest.raises(Temporary):
        handle("user.banned")


# The proof


@pytest.mark.parametrize(
    "event",
    [
        {"type": "user.updated", "user": {"id": "nobody"}},
        {"type": "user.banned", "user": {"id": "nobody"}, "cid": "messaging:room"},
        {"type": "user.presence.changed"},
    ],
    ids=str,
)
def test_every_event_of_a_user_is_proof(clients, firestore, event):
    webhooks.handle(event, clients)
    noted = firestore.document("chatsync/webhook").get().get("lastUserEventAt")
    assert datetime.now(UTC) - noted < timedelta(seconds=30)


def test_other_events_and_unsigned_ones_are_no_proof(clients, firestore, post):
    webhooks.handle({"type": "channel.updated", "cid": "messaging:room"}, clients)
    assert post(b'{"type": "user.updated", "user": {"id": "ann"}}', "0" * 64) == 401
    assert not firestore.document("chatsync/webhook").get().exists


def test_an_event_that_could_not_be_handled_is_no_proof(entry, handle, firestore_api, clients):
    firestore = clients.firestore
    firestore.document("chatsync/webhook").delete()

    def fail(called: str) -> None:
        if called == "batch_write":
            raise InternalServerError("down")

    firestore_api.before_call = fail
    with pytest.raises(Temporary):
        handle("user.banned")
    firestore_api.before_call = lambda _: None
    assert not firestore.document("chatsync/webhook").get().exists


# Anything may be in a signed event


def test_no_log_line_has_a_name(handle, entry, logged):
    for _ in range(2):
        handle("user.updated", {"id": "ann", "name": "Secret", "email": "secret@example.com"})
    handle("user.banned", {"id": "ann", "name": "Secret"}, reason="Secret")
    assert len(logged) >= 3
    assert "secret" not in "".join(logged).lower()


ids = st.sampled_from(
    [
        *(
            "ann",
            "company_ann",
            "",
            "a/b",
            "..",
            "__x__",
            "a\x00b",
            "@",
            "@ff",
            "company_",
            "x" * 255,
        ),
        *("x" * 100_000, "\u202eann", "ann ", "@2e@2e", "ä", "\ud800"),
    ]
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from([*OF_MODERATION, "user.updated", "user.", "user.unknown"]),
    user=values
    | st.fixed_dictionaries(
        {"id": ids | values},
        optional={
            field: values | st.just("x" * 50_000)
            for field in ("name", "image", "role", "teams", "deactivated_at", "banned")
        },
    ),
    fields=st.dictionaries(st.sampled_from(["cid", "created_at", "channel", "type2"]), values),
)
def test_a_signed_event_of_any_shape_never_fails(entry, send, clients, kind, user, fields):
    assert send({"type": kind, "user": user, **fields}) == 200
    assert set(entries(clients)) <= {"user_ann"}
    documents = clients.firestore._firestore_api.documents
    remembered = {name.rpartition("/")[2] for name in documents if "/stream_users/" in name}
    assert remembered == {"user_ann"}


def test_teams_in_any_shape_are_compared(send, entry, clients, firestore):
    firestore.document("users/ann").set({"chat": {"teams": ["red"]}}, merge=True)
    for teams in (None, "red", [{"red": 1}], ["x"] * 10_000, 5):
        assert send({"type": "user.updated", "user": {"id": "ann", "name": "Ann", "teams": teams}})
    assert set(entries(clients)) == {"user_ann"}
    body = json.dumps({"type": "user.updated", "user": {"id": "ann", "teams": ["red"]}})
    assert len(body) < webhooks.MAX_BYTES
