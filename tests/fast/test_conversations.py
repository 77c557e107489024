"""Conversations always open: everybody healed, one channel, one document, whatever fails."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from google.api_core.exceptions import InternalServerError

from chatsync import outbox
from chatsync.clients.pacing import LEFT_BY_BACKGROUND
from chatsync.config import Config, Stream
from chatsync.conversations import channel as channel_module
from chatsync.conversations import cid_of, conversation_id_of, reconcile_conversations
from chatsync.conversations.create import create_conversation
from chatsync.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StreamUnavailable,
    Temporary,
)
from chatsync.ids import Key
from chatsync.outbox.drain import drain
from chatsync.outcome import NotRepaired, Outcome
from chatsync.settings import Settings
from tests.fast.failures import fails_with
from tests.fast.interrupted import Killed
from tests.fast.outbox import drain_until_settled, entries
from tests.fast.test_sync_interrupted import FAIL, World
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def short_conversation_pauses(monkeypatch):
    monkeypatch.setattr(channel_module, "PAUSES_SECONDS", (0.01, 0.01, 0.01, 0.05))


@pytest.fixture
def ann(accounts) -> None:
    accounts.sign_up("ann", displayName="Ann")


@pytest.fixture
def bob(accounts) -> None:
    accounts.sign_up("bob", displayName="Bob")


@pytest.fixture
def create(clients):
    """Ann starts a conversation."""

    def create(*participants: Any, caller: str = "ann", **fields: Any) -> dict[str, Any]:
        asked = {"participantIds": list(participants), **fields}
        return create_conversation(caller, asked, clients)

    return create


@pytest.fixture
def document(firestore):
    return lambda conversation_id: firestore.document("conversations", conversation_id).get()


@pytest.fixture
def channels(chat):
    """All channels in Stream, by id."""

    def channels() -> dict[str, dict[str, Any]]:
        found = chat.query_channels({}, limit=30, member_limit=100)["channels"]
        return {state["channel"]["id"]: state for state in found}

    return channels


def members(state: dict[str, Any]) -> set[str]:
    return {member["user_id"] for member in state["members"]}


def people(accounts, count: int) -> list[str]:
    uids = [f"user-{n}" for n in range(count)]
    for uid in uids:
        accounts.sign_up(uid)
    return uids


# Starting one


def test_a_direct_conversation_heals_both_and_opens(ann, bob, create, document, channels):
    result = create("bob")
    assert result["conversationType"] == "direct"
    assert result["participantIds"] == ["ann", "bob"]
    assert sorted(result["healed"]) == ["ann", "bob"]
    assert (result["existed"], result["name"], result["team"]) == (False, None, None)
    assert result["cid"] == f"messaging:{result['id']}"
    assert members(channels()[result["id"]]) == {"ann", "bob"}
    kept = document(result["id"]).to_dict()
    assert (kept["status"], kept["origin"], kept["createdBy"]) == ("ready", "app", "ann")
    assert kept["participantIds"] == kept["memberIds"] == ["ann", "bob"]
    assert kept["createdAt"].isoformat().replace("+00:00", "Z") == result["createdAt"]


def test_asking_again_continues_the_same_conversation(ann, bob, create, channels, document):
    first = create("bob")
    again = create("bob")
    other_side = create("ann", caller="bob")
    assert [again["id"], other_side["id"]] == [first["id"]] * 2
    assert again["existed"]
    assert again["healed"] == []
    assert again["createdAt"] == first["createdAt"]
    assert len(channels()) == 1


def test_a_group_has_a_name_and_all_members(accounts, ann, create, channels):
    result = create(*people(accounts, 3), name="Friends")
    assert (result["conversationType"], result["name"]) == ("group", "Friends")
    channel = channels()[result["id"]]
    assert channel["channel"]["name"] == "Friends"
    assert members(channel) == {"ann", "user-0", "user-1", "user-2"}


def test_two_groups_without_a_key_are_two(ann, bob, create, channels):
    first = create("bob", conversationType="group")
    second = create("bob", conversationType="group")
    assert first["id"] != second["id"]
    assert len(channels()) == 2


def test_a_group_with_a_key_is_one_however_often_it_is_asked_for(ann, bob, create, channels):
    asked = {"conversationType": "group", "idempotencyKey": "tap-1", "name": "Friends"}
    results = [create("bob", **asked) for _ in range(3)]
    assert len({result["id"] for result in results}) == 1
    assert [result["existed"] for result in results] == [False, True, True]
    assert len(channels()) == 1


def test_a_key_used_with_other_arguments_is_refused(ann, bob, accounts, create):
    accounts.sign_up("eve")
    create("bob", conversationType="group", idempotencyKey="tap-1")
    with fails_with(AlreadyExists):
        create("bob", "eve", conversationType="group", idempotencyKey="tap-1")
    with fails_with(AlreadyExists):
        create("bob", conversationType="group", idempotencyKey="tap-1", name="Other")


def test_a_guessed_key_of_somebody_else_leads_nowhere(ann, bob, accounts, create, document):
    accounts.sign_up("eve")
    anns = create("bob", conversationType="group", idempotencyKey="tap-1", name="Secret")
    eves = create("bob", caller="eve", conversationType="group", idempotencyKey="tap-1")
    assert eves["id"] != anns["id"]
    assert not eves["existed"]
    assert "eve" not in document(anns["id"]).get("participantIds")


def test_companies_can_be_members(ann, create, firestore, channels, document):
    firestore.document("companies/acme").set({"companyName": "Acme"})
    result = create({"companyId": "acme"})
    assert result["participantIds"] == ["ann", {"companyId": "acme"}]
    assert {"companyId": "acme"} in result["healed"]
    assert members(channels()[result["id"]]) == {"ann", "company_acme"}
    assert document(result["id"]).get("participantIds") == ["ann"]
    assert document(result["id"]).get("memberIds") == ["ann", "company_acme"]


def test_a_company_with_an_empty_document_takes_part(ann, create, firestore):
    firestore.document("companies/acme").set({})
    assert create({"companyId": "acme"})["participantIds"] == ["ann", {"companyId": "acme"}]


def test_the_caller_and_others_named_twice_are_members_once(ann, bob, create):
    assert create("bob", "ann", "bob")["participantIds"] == ["ann", "bob"]


def test_members_without_documents_get_them(ann, bob, create, firestore):
    create("bob")
    for collection in ("users", "user_profiles", "user_stats"):
        assert firestore.document(f"{collection}/bob").get().exists


def test_a_conversation_started_counts_once(ann, bob, create, firestore):
    for _ in range(3):
        create("bob")
    assert firestore.document("user_stats/ann").get().get("conversationsStarted") == 1
    assert firestore.document("user_stats/bob").get().get("conversationsStarted") == 0


def test_nothing_is_left_in_the_outbox(ann, bob, create, clients):
    create("bob")
    assert entries(clients) == {}


# Calls


def test_hundreds_of_members_are_added_by_the_hundred(accounts, ann, with_settings, chat, stream):
    uids = people(accounts, 299)
    large = with_settings(conversations={"max_members": 300})
    result = create_conversation("ann", {"participantIds": uids}, large)
    calls = stream.operations()
    assert calls.count("GetOrCreateChannel") == 1
    assert calls.count("UpdateChannel") == 2
    assert calls.count("QueryUsers") == calls.count("UpdateUsers") == 3
    assert len(calls) == 9
    [state] = chat.query_channels({"cid": result["cid"]})["channels"]
    assert state["channel"]["member_count"] == 300
    assert len(result["participantIds"]) == 300


# Refused: nothing is written anywhere


BAD_REQUESTS = [
    ({}, "participantIds"),
    ({"participantIds": "bob"}, "participantIds"),
    ({"participantIds": []}, "participantIds"),
    ({"participantIds": ["ann"]}, "participantIds"),
    ({"participantIds": ["bob"] * 1001}, "participantIds"),
    ({"participantIds": [f"u{n}" for n in range(1000)]}, "participantIds"),
    ({"participantIds": ["bob", 7]}, "participantIds[1]"),
    ({"participantIds": ["a/b"]}, "participantIds[0]"),
    ({"participantIds": [{"companyId": ""}]}, "participantIds[0].companyId"),
    ({"participantIds": [{"companyId": "x", "more": 1}]}, "participantIds[0]"),
    ({"participantIds": ["bob", "eve"], "conversationType": "direct"}, "participantIds"),
    ({"participantIds": ["bob"], "conversationType": "party"}, "conversationType"),
    ({"participantIds": ["bob"], "conversationType": ["direct"]}, "conversationType"),
    ({"participantIds": ["bob"], "name": 7}, "name"),
    ({"participantIds": ["bob"], "name": "  "}, "name"),
    ({"participantIds": ["bob"], "name": "x" * 257}, "name"),
    ({"participantIds": ["bob"], "name": "\ud800"}, "name"),
    ({"participantIds": ["bob"], "name": "\u202egnp.exe"}, "name"),
    ({"participantIds": ["bob"], "team": {}}, "team"),
    ({"participantIds": ["bob"], "team": "x" * 101}, "team"),
    ({"participantIds": ["bob"], "idempotencyKey": ""}, "idempotencyKey"),
    ({"participantIds": ["bob"], "idempotencyKey": "\n"}, "idempotencyKey"),
]


@pytest.mark.parametrize(("fields", "field"), BAD_REQUESTS)
def test_bad_input_is_refused_naming_the_field(
    ann, bob, clients, firestore_api, stream, tasks, fields, field
):
    with fails_with(InvalidArgument) as refusal:
        create_conversation("ann", fields, clients)
    assert refusal.value.field == field
    assert (firestore_api.documents, stream.requests(), tasks.waiting) == ({}, [], [])


def test_unknown_members_are_all_named_and_nothing_is_created(
    ann, bob, create, firestore_api, stream, tasks
):
    with fails_with(NotFound) as refusal:
        create("bob", "nobody", {"companyId": "none"}, "neither")
    assert refusal.value.ids == ["nobody", "none", "neither"]
    assert (firestore_api.documents, stream.requests(), tasks.waiting) == ({}, [], [])


def test_a_caller_whose_account_is_disabled_starts_nothing(accounts, bob, create, stream):
    accounts.sign_up("ann", disabled=True)
    with fails_with(FailedPrecondition) as refusal:
        create("bob")
    assert refusal.value.reason == "disabled"
    assert stream.requests() == []


# Teams


@pytest.fixture
def teams(firestore, ann, bob):
    firestore.document("users/ann").set({"displayName": "Ann", "chat": {"teams": ["red", "blue"]}})
    firestore.document("users/bob").set({"displayName": "Bob", "chat": {"teams": ["red"]}})


def test_a_conversation_of_a_team_is_filed_under_it(teams, create, channels, document):
    result = create("bob", team="red")
    assert result["team"] == "red"
    assert channels()[result["id"]]["channel"]["team"] == "red"
    assert document(result["id"]).get("team") == "red"


def test_the_same_pair_talks_apart_in_each_team(teams, create, firestore):
    firestore.document("users/bob").update({"chat": {"teams": ["red", "blue"]}})
    assert create("bob", team="red")["id"] != create("bob", team="blue")["id"]


def test_a_team_of_others_is_refused_and_logged(teams, create, stream, document, capsys):
    with fails_with(PermissionDenied) as refusal:
        create("ann", caller="bob", team="green")
    assert refusal.value.ids == []
    [line] = [line for line in capsys.readouterr().out.splitlines() if "WARN" in line]
    assert "of teams red asked for a conversation of team green" in line
    assert stream.requests() == []


def test_members_outside_the_team_are_refused_by_name(teams, create, accounts, firestore, stream):
    accounts.sign_up("eve")
    firestore.document("companies/acme").set({"name": "Acme", "chat": {"teams": ["blue"]}})
    with fails_with(PermissionDenied) as refusal:
        create("bob", "eve", {"companyId": "acme"}, team="blue")
    assert refusal.value.ids == ["bob", "eve"]
    assert stream.requests() == []


def test_a_channel_of_another_team_is_not_taken_over(teams, create, chat, document):
    chat.upsert_users([{"id": "ann"}, {"id": "bob"}])
    wanted = create("bob", team="red")
    chat.channel("messaging", wanted["id"]).delete(hard=True)
    chat.channel("messaging", wanted["id"], {"team": "green"}).create("bob")
    document(wanted["id"]).reference.update({"status": "pending"})
    with fails_with(FailedPrecondition) as refusal:
        create("bob", team="red")
    assert refusal.value.reason == "wrong_team"
    assert document(wanted["id"]).get("status") == "failed"


# Members who cannot chat


def test_a_failed_conversation_opens_when_its_reason_is_gone(
    ann, bob, create, chat, clients, document
):
    chat.upsert_user({"id": "bob"})
    chat.deactivate_user("bob")
    with fails_with(FailedPrecondition):
        create("bob")
    chat.reactivate_user("bob")
    result = create("bob")
    assert document(result["id"]).get("status") == "ready"
    assert entries(clients) == {}


def test_a_banned_member_does_not_keep_a_conversation_from_opening(ann, bob, create, chat):
    chat.upsert_users([{"id": "bob", "role": "user"}, {"id": "moderator"}])
    chat.ban_user("bob", banned_by_id="moderator")
    assert create("bob")["participantIds"] == ["ann", "bob"]


def test_a_member_lost_with_a_soft_deleted_user_is_back(ann, bob, create, chat, channels):
    result = create("bob")
    chat.delete_user("bob")
    again = create("bob")
    assert again["healed"] == ["bob"]
    assert members(channels()[result["id"]]) == {"ann", "bob"}


def test_who_was_removed_from_a_group_gets_no_word_of_it_any_more(
    accounts, ann, bob, create, chat, channels
):
    asked = {"conversationType": "group", "idempotencyKey": "tap-1"}
    accounts.sign_up("eve")
    result = create("bob", "eve", **asked)
    chat.channel("messaging", result["id"]).remove_members(["ann"])
    with fails_with(PermissionDenied):
        create("bob", "eve", **asked)
    assert members(channels()[result["id"]]) == {"bob", "eve"}


def test_others_whom_stream_added_don_t_keep_a_conversation_from_opening(
    ann, bob, create, chat, channels
):
    asked = {"conversationType": "group", "idempotencyKey": "tap-1"}
    result = create("bob", **asked)
    chat.upsert_users([{"id": "bot"}, {"id": "x@2fy"}, {"id": "gone"}])
    chat.channel("messaging", result["id"]).add_members(["bot", "x@2fy", "gone"])
    again = create("bob", **asked)
    assert again["existed"]
    assert members(channels()[result["id"]]) == {"ann", "bob", "bot", "x@2fy", "gone"}


def test_two_taps_with_one_key_and_other_members_are_not_confused(world, clients, accounts):
    """The second runs from start to end before each outside call of the first in turn."""

    def begin(sides, other: str) -> dict[str, Any]:
        asked = {"participantIds": [other], "conversationType": "group", "idempotencyKey": "tap"}
        return create_conversation("ann", asked, sides)

    at = 0
    while True:
        at += 1
        world.begin()
        for uid in ("ann", "bob", "eve"):
            world.accounts.sign_up(uid)
        ends: list[Any] = []

        def second(ends: list[Any] = ends) -> None:
            try:
                ends.append(begin(world.clients, "eve")["participantIds"])
            except AlreadyExists:
                ends.append("refused")

        try:
            result = world.repair_interrupted({at: second}, lambda sides: begin(sides, "bob"))
            first = result["participantIds"]
        except AlreadyExists:
            first = "refused"
        if world.calls < at:
            break
        # The first may be refused while the second, which interrupts a read of it, still goes on.
        wait_for(lambda ends=ends: ends)
        assert first in (["ann", "bob"], "refused"), f"before call {at}"
        assert ends[0] in (["ann", "eve"], "refused"), f"before call {at}"
        assert "refused" in (first, ends[0]), f"before call {at}"


def test_a_key_of_a_deleted_conversation_is_still_one_request(ann, bob, accounts, create, document):
    accounts.sign_up("eve")
    result = create("bob", conversationType="group", idempotencyKey="tap-1")
    document(result["id"]).reference.update({"status": "deleted"})
    with fails_with(AlreadyExists):
        create("bob", "eve", conversationType="group", idempotencyKey="tap-1")


def test_reopening_a_conversation_is_not_starting_one(ann, bob, create, document, firestore):
    result = create("bob")
    created_at = document(result["id"]).get("createdAt")
    document(result["id"]).reference.update({"status": "deleted"})
    create("bob")
    assert firestore.document("user_stats/ann").get().get("conversationsStarted") == 1
    assert document(result["id"]).get("createdAt") == created_at


def test_a_caller_deleted_meanwhile_leaves_no_documents(world, clients):
    at = 0
    while True:
        at += 1
        world.begin()
        world.sign_up("Ann")
        world.accounts.sign_up("bob")
        with contextlib.suppress(NotFound, NotRepaired, Temporary):
            world.repair_interrupted(
                {at: world.delete},
                lambda sides: create_conversation("ann", {"participantIds": ["bob"]}, sides),
            )
        if world.calls < at:
            break
        drain_until_settled(make_due(world.clients))
        left = [name.split("/")[-2:] for name in world.api.documents if name.endswith("/ann")]
        # What was begun today stays counted, and expires by itself.
        assert left in ([], [["budgets", "ann"]]), f"before call {at}"


def test_a_channel_update_that_stream_refuses_is_told_as_a_precondition(
    ann, bob, create, chat, stream
):
    result = create("bob")
    chat.channel("messaging", result["id"]).remove_members(["bob"])
    stream.fault("UpdateChannel", "status", status=400, code=4, rate=1)
    with fails_with(FailedPrecondition) as refusal:
        create("bob")
    assert refusal.value.reason == "rejected"


@pytest.mark.parametrize("refused", ["UpdateUsers", "GetOrCreateChannel"])
def test_a_conversation_that_stream_refuses_has_failed_and_the_log_says_why(
    accounts, create, clients, stream, firestore, refused, capsys
):
    for uid in ("ann", "bob"):
        accounts.sign_up(uid)
    stream.fault(refused, "status", status=400, code=4, rate=1)
    with fails_with(FailedPrecondition):
        create("bob")
    [document] = firestore.collection("conversations").get()
    assert (document.get("status"), document.get("failedReason")) == ("failed", "rejected")
    assert [one for one in entries(clients).values() if one["kind"] == "conversation"] == []
    assert f"Conversation {document.id} cannot open: " in (told := capsys.readouterr().err)
    assert "code 4" in told


def test_a_conversation_that_cannot_be_looked_at_now_is_left_to_the_outbox(
    ann, bob, create, clients, stream
):
    create("bob")
    stream.fault("QueryChannels", "status", status=503, rate=1)
    with fails_with(Temporary) as failure:
        create("bob")
    assert failure.is_queued
    stream.clear_faults()
    drain_until_settled(clients)
    assert entries(clients) == {}


# Stream says that users don't exist


def test_users_unknown_for_a_moment_after_they_were_written_are_waited_for(
    ann, bob, create, stream, monkeypatch
):
    monkeypatch.setattr(channel_module, "PAUSES_SECONDS", (0.2, 0.2, 0.4, 0.8))
    stream.switch(users_unknown_ms_after_upsert=300)
    result = create("bob")
    assert result["participantIds"] == ["ann", "bob"]
    assert stream.operations().count("UpdateUsers") == 1
    assert stream.operations().count("GetOrCreateChannel") >= 2


def test_a_user_who_goes_away_in_between_is_healed_and_the_call_repeated(
    ann, bob, create, stream, chat, clients, monkeypatch
):
    get_or_create = clients.stream.get_or_create_channel
    calls = []

    def go_away_first(*args):
        if not calls:
            chat.delete_user("bob", hard_delete=False)
        calls.append(args)
        return get_or_create(*args)

    monkeypatch.setattr(clients.stream, "get_or_create_channel", go_away_first)
    assert create("bob")["participantIds"] == ["ann", "bob"]
    assert len(calls) == 2


# Interrupted at every point


def KILL() -> None:  # noqa: N802 (a mark, compared by identity)
    """An intervention: the process dies there."""
    raise Killed


@pytest.fixture
def world(clients, firestore_api, stream) -> World:
    for operation in ("GetOrCreateChannel", "UpdateChannel", "QueryChannels"):
        stream.remove_limit(operation)
    return World(clients, firestore_api, stream)


@pytest.mark.parametrize("members_wanted", [["bob"], ["bob", "eve"]])
@pytest.mark.parametrize("intervention", ["kill", "fail", "lose_answer"])
@pytest.mark.parametrize("then", ["the same call", "the outbox"])
def test_interrupted_anywhere_one_channel_and_one_document_remain(
    world, channels, clients, intervention, then, members_wanted
):
    asked = {
        "participantIds": members_wanted,
        "conversationType": "direct" if len(members_wanted) == 1 else "group",
        "idempotencyKey": "tap-1",
    }

    def begin(sides) -> dict[str, Any]:
        return create_conversation("ann", asked, sides)

    intervene = {"kill": KILL, "fail": FAIL, "lose_answer": world.lose_answer}[intervention]
    at = 0
    while True:
        at += 1
        world.begin()
        for uid in ("ann", "bob", "eve"):
            world.accounts.sign_up(uid)
        where = f"{intervention} before call {at}, then {then}"
        with contextlib.suppress(Killed, NotRepaired, Temporary):
            world.repair_interrupted({at: intervene}, begin)
        if world.calls < at:
            break
        world.stream.clear_faults()
        begun = [name for name in world.api.documents if "/conversations/" in name]
        if then == "the same call" or not begun:
            begin(world.clients)
        drain_until_settled(make_due(world.clients))
        [state] = channels().values()
        assert members(state) == {"ann", *members_wanted}, where
        [name] = [name for name in world.api.documents if "/conversations/" in name]
        kept = world.clients.firestore.document(*name.split("/")[-2:]).get().to_dict()
        assert kept["status"] == "ready", where
        assert set(kept["memberIds"]) == {"ann", *members_wanted}, where
        assert entries(world.clients) == {}, where
    assert at > 8


def make_due(clients):
    """Entries of what was begun wait for the callable to end; here that time is over."""
    for document_id, entry in entries(clients).items():
        if entry["state"] == "waiting":
            now = entry["firstFailedAt"]
            clients.firestore.document("repairs", document_id).update({"nextAttemptAt": now})
    return clients


def test_a_failure_is_told_and_finished_by_the_outbox(ann, bob, create, clients, stream, channels):
    stream.fault("GetOrCreateChannel", "status", status=503, rate=1)
    with fails_with(Temporary) as failure:
        create("bob")
    assert failure.is_queued
    stream.clear_faults()
    drain_until_settled(clients)
    assert len(channels()) == 1


def test_two_who_start_the_same_conversation_at_once_get_one(world, channels, clients):
    """The second runs from start to end before each outside call of the first in turn."""

    def begin(sides) -> dict[str, Any]:
        return create_conversation("ann", {"participantIds": ["bob"]}, sides)

    at = 0
    while True:
        at += 1
        world.begin()
        world.accounts.sign_up("ann")
        world.accounts.sign_up("bob")
        world.repair_interrupted({at: lambda: begin(world.clients)}, begin)
        if world.calls < at:
            break
        [state] = channels().values()
        assert members(state) == {"ann", "bob"}
        [name] = [name for name in world.api.documents if "/conversations/" in name]
        stats = world.clients.firestore.document("user_stats/ann").get()
        assert stats.get("conversationsStarted") == 1, f"before call {at}"
        drain_until_settled(make_due(world.clients))
        kept = world.clients.firestore.document(*name.split("/")[-2:]).get()
        assert kept.get("status") == "ready", f"before call {at}"
    assert at > 8


# The authority table


@pytest.fixture
def reconcile(clients):
    def reconcile(conversation_id: str, **options) -> str | None:
        [outcome] = reconcile_conversations([conversation_id], clients, **options)
        assert outcome.error is None
        return outcome.status

    return reconcile


@pytest.fixture
def room(ann, bob, create) -> str:
    """The id of a conversation of Ann and Bob that is ready."""
    return create("bob", conversationType="group", name="Room")["id"]


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_pending_firestore_wins(room, reconcile, document, chat, channels, status):
    chat.upsert_user({"id": "eve"})
    channel = chat.channel("messaging", room)
    channel.remove_members(["bob"])
    channel.add_members(["eve"])
    channel.update_partial({"name": "Somebody else's"})
    document(room).reference.update({"status": status})
    assert reconcile(room) == "ready"
    assert members(channels()[room]) == {"ann", "bob"}
    assert channels()[room]["channel"]["name"] == "Room"
    assert document(room).get("status") == "ready"


def test_pending_without_channel_is_made(room, reconcile, document, chat, channels):
    chat.channel("messaging", room).delete(hard=True)
    document(room).reference.update({"status": "pending"})
    assert reconcile(room) == "ready"
    assert members(channels()[room]) == {"ann", "bob"}


def test_ready_stream_wins_for_name_and_members(room, reconcile, document, accounts, chat):
    accounts.sign_up("eve")
    chat.upsert_user({"id": "eve"})
    channel = chat.channel("messaging", room)
    channel.remove_members(["bob"])
    channel.add_members(["eve"])
    channel.update_partial({"name": "New name"})
    assert reconcile(room) == "ready"
    kept = document(room).to_dict()
    assert (kept["name"], set(kept["memberIds"])) == ("New name", {"ann", "eve"})
    assert set(kept["participantIds"]) == {"ann", "eve"}


def test_ready_and_in_agreement_nothing_is_written(room, reconcile, document):
    before = document(room).update_time
    reconcile(room)
    assert document(room).update_time == before


def test_ready_a_different_team_is_reported_and_left_to_a_person(
    room, reconcile, document, chat, channels, capsys
):
    chat.channel("messaging", room).update_partial({"team": "green"})
    assert reconcile(room) == "ready"
    assert document(room).get("team") is None
    assert channels()[room]["channel"]["team"] == "green"
    assert "of team None in Firestore, of green in Stream" in capsys.readouterr().err


def test_ready_and_absent_is_marked_deleted(room, reconcile, document, chat):
    chat.channel("messaging", room).delete()
    assert reconcile(room) == "deleted"
    assert document(room).get("status") == "deleted"


def test_who_may_not_close_leaves_what_is_absent_in_stream(room, reconcile, document, chat):
    chat.channel("messaging", room).delete()
    assert reconcile(room, may_close=False) == "ready"
    assert document(room).get("status") == "ready"


def test_deleted_stays_so_while_there_is_no_channel(room, reconcile, document, chat, channels):
    chat.channel("messaging", room).delete()
    reconcile(room)
    assert reconcile(room) == "deleted"
    assert room not in channels()


def test_only_asking_for_it_reopens_a_deleted_conversation(ann, bob, create, chat, reconcile):
    result = create("bob")
    chat.channel("messaging", result["id"]).delete()
    reconcile(result["id"])
    again = create("bob")
    assert again["id"] == result["id"]
    assert not again["existed"]


@pytest.mark.parametrize("before", ["absent", "deleted"])
def test_a_channel_that_firestore_does_not_know_is_recorded(room, reconcile, document, before):
    reference = document(room).reference
    if before == "absent":
        reference.delete()
    else:
        reference.update({"status": "deleted", "memberIds": [], "participantIds": []})
    assert reconcile(room, origin="operator") == "ready"
    kept = document(room).to_dict()
    assert (kept["cid"], kept["origin"], kept["createdBy"]) == (
        f"messaging:{room}",
        "operator",
        "ann",
    )
    assert set(kept["participantIds"]) == {"ann", "bob"}
    assert (kept["channelType"], kept["channelId"], kept["name"]) == ("messaging", room, "Room")


def test_a_channel_with_hundreds_of_members_is_recorded_with_all(
    accounts, ann, with_settings, document, reconcile
):
    large = with_settings(conversations={"max_members": 1000})
    asked = {"participantIds": people(accounts, 250)}
    room = create_conversation("ann", asked, large)["id"]
    document(room).reference.delete()
    reconcile(room)
    assert len(document(room).get("memberIds")) == 251


def test_many_conversations_are_looked_at_by_the_thirty(accounts, ann, create, clients, stream):
    rooms = [create(uid)["id"] for uid in people(accounts, 35)]
    since = stream.last_request()
    outcomes = reconcile_conversations(rooms, clients)
    assert [outcome.status for outcome in outcomes] == ["ready"] * 35
    assert stream.operations(since) == ["QueryChannels"] * 2


def test_ids_lead_to_channels_and_back():
    stream = Stream(channel_type="team", channel_id="room_{id}")
    settings = Settings("key", "secret", config=Config(stream=stream))
    for cid, kept_under in (
        ("team:room_42", "42"),
        ("team:lobby", "team:lobby"),
        ("messaging:room_42", "messaging:room_42"),
        ("team:room_", "team:room_"),
        ("team:room___x__", "team:room___x__"),
        ("messaging:!members-abc", "messaging:!members-abc"),
    ):
        assert conversation_id_of(cid, settings) == kept_under
        assert cid_of(kept_under, settings) == cid


def test_an_id_fits_stream_whatever_was_asked(ann, bob, create):
    asked = {"conversationType": "group", "idempotencyKey": "ü/😀" * 20}
    assert re.fullmatch(r"[0-9a-f]{32}", create("bob", **asked)["id"])


def test_the_conversations_entry_stands_for_its_members_too(ann, bob, create, clients, stream):
    stream.fault("UpdateUsers", "status", status=429, rate=1)
    with fails_with(Temporary):
        create("bob")
    assert [entry["kind"] for entry in entries(clients).values()] == ["conversation"]


def test_ready_conversations_in_the_outbox_wait_for_stream_like_everybody(
    accounts, ann, create, clients, stream
):
    rooms = [create(uid)["id"] for uid in people(accounts, 20)]
    keys = [Key("conversation", room) for room in rooms]
    down = StreamUnavailable("down")
    outbox.write_entries([Outcome(key, "", None, down) for key in keys], clients)
    for fault, reason in ((503, "stream_unavailable"), (429, "rate_limit")):
        stream.fault("QueryChannels", "status", status=fault, rate=1)
        since = stream.last_request()
        drain(0, clients.leaving(LEFT_BY_BACKGROUND))
        assert len(stream.operations(since)) <= 3
        assert {entry["reason"] for entry in entries(clients).values()} == {reason}
        stream.clear_faults()


def test_a_broken_outbox_at_the_start_leaves_nothing_begun(ann, bob, create, firestore_api, stream):
    def fail(call: str) -> None:
        if call == "commit":
            raise InternalServerError("down")

    firestore_api.before_call = fail
    with fails_with(Temporary):
        create("bob")
    assert [call for call in stream.requests() if call["method"] != "GET"] == []
