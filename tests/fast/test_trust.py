"""Stream is not asked about people who are known to agree, and only about them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from chatsync import audit, proof
from chatsync.clients.entries import withdraw
from chatsync.conversations import channel
from chatsync.conversations.create import create_conversation
from chatsync.entry import tokens
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.entry.records import ensure_profile, read_stats
from chatsync.errors import StreamRejected
from chatsync.ids import Key
from chatsync.outcome import NotRepaired
from chatsync.reconcile import reconcile_users
from tests.fast.outbox import drain_until_settled, entries

ANN = Key("user", "ann")
PEOPLE = ("ann", "bob", "eve")


@pytest.fixture(autouse=True)
def people(accounts, clients, firestore_api, proven):
    for uid in PEOPLE:
        accounts.sign_up(uid, displayName=uid.upper())
        reconcile_after_sign_up(uid, clients)
    firestore_api.age()


@pytest.fixture
def entry(firestore):
    return firestore.document("stream_users/user_ann")


@pytest.fixture
def asked(stream):
    """What Stream was asked by a call."""

    def asked(call) -> list[str]:
        since = stream.last_request()
        call()
        return stream.operations(since)

    return asked


def token_of_ann(clients):
    return lambda: tokens.issue_token("ann", clients)


# Tokens


def test_a_token_works_though_stream_was_not_asked(clients, asked, stream):
    issued = {}
    assert asked(lambda: issued.update(tokens.issue_token("ann", clients))) == []
    assert issued["streamUserId"] == "ann"
    claims = jwt.decode(issued["token"], stream.secret, algorithms=["HS256"])
    assert claims["user_id"] == "ann"


def test_people_in_agreement_get_tokens_while_stream_is_down(clients, stream):
    stream.fault("*", "status", status=503, rate=1)
    assert tokens.issue_token("ann", clients)["token"]


def set_entry(**fields):
    return lambda firestore, **_: firestore.document("stream_users/user_ann").update(fields)


def set_proof(**fields):
    return lambda firestore, **_: firestore.document("chatsync/webhook").update(fields)


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def rename(firestore, **_):
    firestore.document("users/ann").update({"displayName": "Anna"})


def drop_stats(firestore, **_):
    firestore.document("user_stats/ann").delete()


@pytest.mark.parametrize(
    "doubt",
    [
        set_entry(verifiedAt=hours_ago(24.1)),
        set_entry(verifiedAt=None),
        set_entry(verifiedAt="soon"),
        set_entry(fingerprint="other"),
        set_proof(lastUserEventAt=hours_ago(24.1)),
        set_proof(missingEvents=["user.deleted"]),
        set_proof(checkedAt=hours_ago(24 * 8)),
        rename,
        drop_stats,
    ],
)
def test_stream_is_asked_in_doubt(clients, firestore, asked, doubt):
    doubt(firestore)
    assert asked(token_of_ann(clients))[0] == "QueryUsers"


def test_a_picture_that_only_auth_states_costs_no_call(clients, accounts, firestore, asked):
    """Who repairs Ann without asking Auth does not see the picture."""
    accounts.sign_up("ann", displayName="ANN", photoUrl="https://example.com/ann.png")
    tokens.issue_token("ann", clients)
    firestore._firestore_api.age()
    reconcile_users([ANN], clients)
    assert asked(token_of_ann(clients)) == []


def test_a_doubtful_entry_is_verified_by_the_next_token(clients, entry, asked):
    withdraw([ANN], clients, time.monotonic() + 60)
    entry._client._firestore_api.age()
    assert asked(token_of_ann(clients)) == ["QueryUsers"]
    assert asked(token_of_ann(clients)) == []


def test_trust_of_0_hours_asks_stream_every_time(with_settings, asked):
    clients = with_settings(stream={"trust_hours": 0})
    for _ in range(2):
        assert asked(token_of_ann(clients)) == ["QueryUsers"]


@pytest.mark.parametrize("state", ["disabled", "deleted"])
def test_an_account_that_auth_refuses_gets_no_token_whatever_is_known(clients, accounts, state):
    if state == "deleted":
        accounts.delete("ann")
    else:
        accounts.sign_up("ann", displayName="ANN", disabled=True)
    with pytest.raises(NotRepaired):
        tokens.issue_token("ann", clients)


def test_who_is_no_longer_provisioned_gets_no_token_whatever_is_known(
    clients, accounts, firestore_api, with_settings
):
    accounts.sign_up("anon")
    reconcile_after_sign_up("anon", clients)
    firestore_api.age()
    assert tokens.issue_token("anon", clients)
    with pytest.raises(NotRepaired, match="anonymous"):
        tokens.issue_token("anon", with_settings(stream={"provision_anonymous_users": False}))


@pytest.mark.parametrize("change", ["ban", "deactivate", "delete"])
def test_what_stream_says_counts_once_it_was_told(clients, chat, change):
    match change:
        case "ban":
            chat.ban_user("ann", user_id="bob")
        case "deactivate":
            chat.deactivate_user("ann")
        case "delete":
            chat.delete_user("ann")
    withdraw([ANN], clients, time.monotonic() + 60)
    if change == "delete":
        assert tokens.issue_token("ann", clients)
        assert chat.query_users({"id": "ann"})["users"]
        return
    for _ in range(2):
        with pytest.raises(NotRepaired):
            tokens.issue_token("ann", clients)


def test_a_token_after_a_revocation_is_valid(clients, firestore_api, asked, chat):
    tokens.issue_token("ann", clients)
    tokens.revoke_tokens("ann", clients)
    revoked = chat.query_users({"id": "ann"})["users"][0]["revoke_tokens_issued_before"]
    firestore_api.age()
    for calls in (["QueryUsers"], []):
        issued = {}
        assert asked(lambda issued=issued: issued.update(tokens.issue_token("ann", clients))) == (
            calls
        )
        issued_at = jwt.decode(issued["token"], options={"verify_signature": False})["iat"]
        assert issued_at >= datetime.fromisoformat(revoked).timestamp()


def test_the_proof_is_read_once_a_minute(clients, firestore_api, monkeypatch):
    tokens.issue_token("ann", clients)
    firestore_api.calls.clear()
    tokens.issue_token("ann", clients)
    assert firestore_api.calls == ["batch_get_documents"]
    reads = proof.READ_EVERY
    monkeypatch.setattr(proof, "READ_EVERY", timedelta())
    tokens.issue_token("ann", clients)
    assert len(firestore_api.calls) == 3
    monkeypatch.setattr(proof, "READ_EVERY", reads)


# Conversations


def group(clients, *others):
    fields = {"participantIds": list(others), "conversationType": "group"}
    return create_conversation("ann", fields, clients)


def test_a_conversation_that_exists_is_opened_with_one_call(clients, asked):
    for calls in (["GetOrCreateChannel"], ["QueryChannels"]):
        assert asked(lambda: create_conversation("ann", {"participantIds": ["bob"]}, clients)) == (
            calls
        )


def test_only_those_in_doubt_are_looked_up(clients, asked, stream):
    withdraw([Key("user", "eve")], clients, time.monotonic() + 60)
    assert asked(lambda: group(clients, "bob", "eve")) == ["QueryUsers", "GetOrCreateChannel"]
    [query] = [one for one in stream.requests() if one["operation"] == "QueryUsers"][-1:]
    assert "eve" in str(query)
    assert "bob" not in str(query)


def test_exactly_those_whom_stream_misses_are_healed(clients, chat, asked, firestore):
    """Their entries were wrong: no event told of the deletion."""
    chat.delete_user("bob")
    answer = {}
    assert asked(lambda: answer.update(group(clients, "bob", "eve"))) == [
        *("GetOrCreateChannel", "QueryUsers", "UpdateUsers", "RestoreUsers", "QueryUsers"),
        "GetOrCreateChannel",
    ]
    assert answer["healed"] == ["bob"]
    channel = chat.channel("messaging", answer["id"]).query()
    assert {one["user_id"] for one in channel["members"]} == set(PEOPLE)
    history = firestore.document("stream_users/user_bob").get().get("history")
    assert [one["did"] for one in history] == ["created", "restored"]


def test_a_group_opens_however_many_stream_misses(clients, accounts, chat, firestore_api, asked):
    """Stream names one deleted user at a time."""
    uids = [f"user{n}" for n in range(12)]
    for uid in uids:
        accounts.sign_up(uid, displayName=uid)
        reconcile_after_sign_up(uid, clients)
    firestore_api.age()
    for uid in uids:
        chat.delete_user(uid)
    answer = {}
    operations = asked(lambda: answer.update(group(clients, *uids)))
    assert sorted(answer["healed"]) == sorted(uids)
    assert operations.count("GetOrCreateChannel") == 3


def test_after_a_repair_stream_has_time_to_know_the_others(clients, chat, monkeypatch):
    monkeypatch.setattr(channel, "PAUSES_SECONDS", (0.01, 0.01, 0.01, 0.2))
    chat.delete_user("bob")
    get_or_create = clients.stream.get_or_create_channel
    refusals = iter([frozenset({"bob"}), *[frozenset({"eve"})] * 3])
    pauses = []

    def lagging(*arguments):
        if words := next(refusals, None):
            raise StreamRejected("", 400, 4, words)
        return get_or_create(*arguments)

    monkeypatch.setattr(clients.stream, "get_or_create_channel", lagging)
    monkeypatch.setattr(channel.time, "sleep", pauses.append)
    assert group(clients, "bob", "eve")["healed"] == ["bob"]
    assert pauses == [0.01, 0.01, 0.2]


def test_an_entry_of_another_stream_id_is_not_trusted(with_settings, asked):
    clients = with_settings(stream={"user_id": "new_{uid}"})
    assert asked(lambda: group(clients, "bob", "eve"))[0] == "QueryUsers"


def test_without_proof_everybody_is_looked_up(clients, asked, firestore):
    firestore.document("chatsync/webhook").delete()
    assert asked(lambda: group(clients, "bob", "eve")) == ["QueryUsers", "GetOrCreateChannel"]


# Reading records, and the audit


@pytest.mark.parametrize(
    "read", [ensure_profile, lambda uid, clients: read_stats(uid, "", clients)]
)
def test_reading_a_record_of_who_was_not_seen_lately_leads_to_a_repair(clients, chat, entry, read):
    read("ann", clients)
    assert entries(clients) == {}
    chat.delete_user("ann")
    withdraw([ANN], clients, time.monotonic() + 60)
    entry._client._firestore_api.age()
    read("ann", clients)
    drain_until_settled(clients)
    assert chat.query_users({"id": "ann"})["users"][0]["name"] == "ANN"


def test_with_trust_of_0_hours_reading_a_record_leads_to_no_repair(with_settings, clients):
    read_stats("ann", "bob", with_settings(stream={"trust_hours": 0}))
    assert entries(clients) == {}


@pytest.mark.parametrize("steps", [["accounts"], ["stream_users"]])
def test_an_audit_that_repairs_nothing_withdraws_what_it_doubts(
    clients, chat, accounts, entry, firestore, steps
):
    chat.update_user_partial({"id": "ann", "set": {"name": "x"}})
    accounts.delete("bob")
    found = audit.start("operator", clients, steps=steps)
    while found.state == "running":
        found = audit.run_page(found, clients)
    assert found.findings == 1
    doubted = {"accounts": "ann", "stream_users": "bob"}[steps[0]]
    read = {uid: firestore.document(f"stream_users/user_{uid}").get() for uid in PEOPLE}
    assert [uid for uid in PEOPLE if read[uid].get("verifiedAt") is None] == [doubted]


def test_an_audit_refreshes_no_entry(clients, entry):
    entry.update({"verifiedAt": hours_ago(13)})
    before = entry.get().to_dict()
    found = audit.start("operator", clients)
    while found.state == "running":
        found = audit.run_page(found, clients)
    assert entry.get().to_dict() == before
