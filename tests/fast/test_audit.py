"""The audit: each disagreement is found, told by kind and team, and repaired where asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest

from chatsync import audit as audit_module
from chatsync import outbox
from chatsync.audit import CREATING, Audit
from chatsync.audit import pages as audit_run
from chatsync.audit import repair as audit_repair
from chatsync.audit import steps as findings_module
from chatsync.audit import store as audit_store
from chatsync.audit.steps import CHANNEL_STEPS, USER_STEPS
from chatsync.clients import Clients
from chatsync.clients import accounts as account_calls
from chatsync.clients import stream as stream_module
from chatsync.clients.pacing import LEFT_BY_BACKGROUND
from chatsync.clients.stream import Stream
from chatsync.conversations.create import create_conversation
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import StreamRateLimited, StreamRejected, Temporary
from chatsync.ids import Key
from chatsync.outcome import Outcome
from tests.fast.interrupted import dies_before
from tests.fast.outbox import drain_until_settled, entries


@pytest.fixture(autouse=True)
def no_limits(stream):
    for operation in ("QueryUsers", "UpdateUsers", "UpdateUsersPartial", "DeleteUser"):
        stream.remove_limit(operation)
    for operation in ("GetOrCreateChannel", "QueryChannels", "UpdateChannel", "DeleteUsers"):
        stream.remove_limit(operation)


def go_on(audit: Audit, clients: Clients) -> Audit:
    """Page by page, as an operator's command does."""
    while audit.state == "running":
        audit = audit_module.run_page(audit, clients)
    return audit


@pytest.fixture
def run(clients) -> Callable[..., Audit]:
    """A whole audit."""

    def run(clients: Clients = clients, **options: Any) -> Audit:
        return go_on(audit_module.start("operator", clients, **options), clients)

    return run


@pytest.fixture
def found(run, clients) -> Callable[..., set[tuple[str, str]]]:
    """Kind and key of each finding of a whole audit."""

    def found(**options: Any) -> set[tuple[str, str]]:
        audit = run(**options)
        findings = list(audit_module.findings_of(audit, clients))
        assert len(findings) == audit.findings
        return {(finding.kind, finding.key) for finding in findings}

    return found


@pytest.fixture
def nightly(clients, tasks) -> Callable[[], Audit]:
    """A whole nightly audit, called by the queue as often as it asks for."""

    def nightly() -> Audit:
        audit_module.begin_nightly(clients)
        while waiting := [task for task in tasks.waiting if task["function"] == "runSweep"]:
            tasks.waiting.clear()
            [task] = waiting
            audit_module.run(task["data"]["auditId"], clients)
        return audit_module.recent(clients)[0]

    return nightly


@pytest.fixture
def people(accounts, clients) -> list[str]:
    """Three who are in agreement everywhere."""
    uids = ["ann", "bob", "eve"]
    for uid in uids:
        accounts.sign_up(uid, displayName=uid.title())
        reconcile_after_sign_up(uid, clients)
    return uids


@pytest.fixture
def room(people, clients) -> str:
    """A conversation of Ann and Bob that is in agreement."""
    asked = {"participantIds": ["bob"], "conversationType": "group", "name": "Room"}
    return create_conversation("ann", asked, clients)["id"]


def names(chat) -> set[str]:
    return {user["id"] for user in chat.query_users({}, limit=100)["users"]}


def test_agreement_has_no_findings(room, run, found):
    audit = run()
    assert audit.findings == 0
    assert audit.sync_rate == 1
    assert audit.counts["users"] == {"records": 3, "agreeing": 3}
    assert audit.counts["channels"] == {"records": 1, "agreeing": 1}


def test_an_empty_project_has_nothing_to_compare(run):
    audit = run()
    assert (audit.state, audit.findings, audit.sync_rate) == ("done", 0, None)


def test_an_audit_writes_nothing_but_itself(room, run, firestore_api, stream, accounts):
    accounts.sign_up("new")
    before = {
        name: document
        for name, document in firestore_api.documents.items()
        if "/audits/" not in name
    }
    since = stream.last_request()
    run()
    after = {n: d for n, d in firestore_api.documents.items() if "/audits/" not in n}
    assert after == before
    operations = set(stream.operations(since))
    assert operations <= {"QueryUsers", "QueryChannels"}


# Each kind, made for real; found, repaired, and gone


def missing_documents(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    firestore.document("user_stats/ann").delete()
    return "missing_documents", "user:ann"


def lagging_profile(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    firestore.document("users/ann").update({"photoURL": "https://p/new.png"})
    chat.update_user_partial({"id": "ann", "set": {"image": "https://p/new.png"}})
    return "missing_documents", "user:ann"


def missing_stream_user(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    accounts.sign_up("new", displayName="New")
    reconcile_after_sign_up("new", clients)
    chat.delete_user("new", hard_delete=False)
    return "missing_stream_user", "user:new"


def missing_company(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    firestore.document("companies/acme").set({"name": "Acme"})
    return "missing_stream_user", "company:acme"


def drifted_stream_user(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    chat.update_user_partial({"id": "ann", "set": {"name": "Somebody else"}})
    return "drifted_stream_user", "user:ann"


def orphan_stream_user(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    chat.upsert_user({"id": "ghost"})
    return "orphan_stream_user", "user:ghost"


def orphan_company(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    chat.upsert_user({"id": "company_ghost"})
    return "orphan_stream_user", "company:ghost"


def orphan_documents(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    firestore.document("user_profiles/ghost").set({"displayName": "Ghost"})
    return "orphan_documents", "user_profiles/ghost"


def only_in_stream(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    chat.channel("messaging", "lobby", {"members": ["ann"]}).create("ann")
    return "only_in_stream", "messaging:lobby"


def only_in_firestore(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    chat.channel("messaging", room).delete(hard=True)
    return "only_in_firestore", f"messaging:{room}"


def member_mismatch(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    chat.channel("messaging", room).add_members(["eve"])
    return "member_mismatch", f"messaging:{room}"


def other_name(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    chat.channel("messaging", room).update_partial({"name": "Other"})
    return "member_mismatch", f"messaging:{room}"


def wrong_team(accounts, clients, firestore, chat, room) -> tuple[str, str]:
    chat.channel("messaging", room).update_partial({"team": "green"})
    return "wrong_team", f"messaging:{room}"


INCONSISTENCIES = [
    missing_documents,
    lagging_profile,
    missing_stream_user,
    missing_company,
    drifted_stream_user,
    orphan_stream_user,
    orphan_company,
    orphan_documents,
    only_in_stream,
    only_in_firestore,
    member_mismatch,
    other_name,
    wrong_team,
]


@pytest.mark.parametrize("make", INCONSISTENCIES, ids=lambda make: make.__name__)
def test_a_disagreement_is_found_under_its_kind(
    make, accounts, clients, firestore, chat, room, found
):
    finding = make(accounts, clients, firestore, chat, room)
    assert found() == {finding}


@pytest.mark.parametrize(
    "make",
    [make for make in INCONSISTENCIES if make is not wrong_team],
    ids=lambda make: make.__name__,
)
def test_a_disagreement_is_repaired_when_asked_and_gone_in_the_next_audit(
    make, accounts, clients, firestore, chat, room, found, run
):
    kind, _ = make(accounts, clients, firestore, chat, room)
    audit = run(repair=[kind])
    assert (audit.repaired, audit.failed) == (1, 0)
    assert found() == set()


def test_only_the_kinds_that_were_named_are_repaired(
    accounts, clients, firestore, chat, room, run, found
):
    made = {make(accounts, clients, firestore, chat, room) for make in (missing_documents,)}
    made.add(orphan_stream_user(accounts, clients, firestore, chat, room))
    run(repair=["missing_documents"])
    assert found() == {("orphan_stream_user", "user:ghost")}


def test_the_nightly_audit_never_deletes_moves_or_closes(
    accounts, clients, firestore, chat, room, nightly
):
    for make in (orphan_stream_user, orphan_documents, only_in_firestore):
        make(accounts, clients, firestore, chat, room)
    chat.channel("messaging", "lobby", {"members": ["ann"], "team": "red"}).create("ann")
    of_blue = {"memberIds": ["ann"], "team": "blue", "origin": "operator"}
    firestore.document("conversations/lobby").set(of_blue)
    before = names(chat)
    assert nightly().findings == 4
    assert names(chat) == before
    assert firestore.document("user_profiles/ghost").get().exists
    assert firestore.document("conversations", room).get().get("status") == "ready"
    assert firestore.document("conversations/lobby").get().get("team") == "blue"


def test_an_orphans_other_side_stays_unless_it_is_named_too(firestore, chat, people, run):
    chat.upsert_user({"id": "ghost"})
    firestore.document("users/ghost").set({"note": "valuable"})
    run(repair=["orphan_stream_user"])
    assert "ghost" not in names(chat)
    assert firestore.document("users/ghost").get().exists
    chat.upsert_user({"id": "spirit"})
    firestore.document("users/spirit").set({})
    run(repair=["orphan_documents"])
    assert "spirit" in names(chat)
    assert not firestore.document("users/spirit").get().exists


def test_all_findings_of_a_user_count_as_repaired(accounts, people, run):
    accounts.sign_up("new", displayName="New")
    audit = run(repair=CREATING)
    assert (audit.findings, audit.repaired) == (2, 2)


def test_a_swap_among_more_than_a_hundred_members_is_found(chat, found, run):
    crowd = [f"m{n:03}" for n in range(103)]
    for batch in (crowd[:100], crowd[100:]):
        chat.upsert_users([{"id": one} for one in batch])
    channel = chat.channel("messaging", "crowd", {"members": crowd[:100]})
    channel.create(crowd[0])
    channel.add_members(crowd[100:102])
    run(steps=CHANNEL_STEPS, repair=["only_in_stream"])
    assert found(steps=CHANNEL_STEPS) == set()
    channel.remove_members([crowd[101]])
    channel.add_members([crowd[102]])
    assert found(steps=CHANNEL_STEPS) == {("member_mismatch", "messaging:crowd")}


# What somebody else wrote


@pytest.mark.parametrize("status", [None, 5, "active", {}])
def test_a_document_without_a_status_of_ours_claims_its_channel(
    people, firestore, chat, found, status
):
    fields = {"memberIds": ["ann"], "team": "blue", "status": status, "origin": "operator"}
    firestore.document("conversations/gone").set(fields)
    firestore.document("conversations/moved").set(fields)
    chat.channel("messaging", "moved", {"members": ["ann"], "team": "red"}).create("ann")
    assert found() == {
        ("only_in_firestore", "messaging:gone"),
        ("wrong_team", "messaging:moved"),
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"memberIds": None},
        {"memberIds": 5},
        {"memberIds": [{"id": "ann"}, "ann", "ann"]},
        {"team": {"id": "red"}},
        {"team": ["red"]},
        {"name": 5, "createdAt": "yesterday", "createdBy": None},
    ],
)
def test_a_document_of_any_shape_is_audited_and_mended(people, firestore, chat, run, found, fields):
    chat.channel("messaging", "odd", {"members": ["ann"]}).create("ann")
    firestore.document("conversations/odd").set({"status": "ready", "origin": "operator", **fields})
    run(repair=["member_mismatch"])
    assert found() == set()


def test_what_others_keep_in_a_document_stays(people, firestore, chat, run):
    chat.channel("messaging", "odd", {"members": ["ann", "bob"]}).create("ann")
    theirs = {
        "createdBy": {"ref": "ann"},
        "conversationType": ["club"],
        "color": "red",
        "origin": "operator",
    }
    firestore.document("conversations/odd").set({"memberIds": ["ann"], **theirs})
    firestore.document("conversations/gone").set({"participantIds": ["ann"], **theirs})
    run(repair=["member_mismatch", "only_in_firestore"])
    odd, gone = (
        firestore.document("conversations", one).get().to_dict() for one in ("odd", "gone")
    )
    assert odd.items() >= {**theirs, "memberIds": ["ann", "bob"], "status": "ready"}.items()
    assert gone.items() >= {**theirs, "participantIds": ["ann"], "status": "deleted"}.items()


def test_a_document_that_is_not_where_its_channel_belongs_is_left_alone(
    people, firestore, chat, run, found
):
    chat.channel("messaging", "lobby", {"members": ["ann"]}).create("ann")
    run(repair=["only_in_stream"])
    fields = {"cid": "messaging:lobby", "status": "ready", "origin": "operator", "team": "red"}
    for name in ("abc", "messaging:lobby", "!x"):
        firestore.document("conversations", name).set(fields)
    assert found() == set()


def test_channels_and_users_of_any_shape_are_audited(people, chat, run, monkeypatch):
    chat.upsert_users([{"id": f"ghost-{n}"} for n in range(4)])
    for n in range(4):
        chat.channel("messaging", f"odd_{n}", {"members": ["ann"]}).create("ann")
    run(repair=["only_in_stream"])
    list_users, query_channels = Stream.list_users, Stream.query_channels
    odd_teams = [5, {}, "red", None]
    odd_members = [[{"role": "member"}, None], None, 5, {}]

    def odd_users(*args: Any) -> Any:
        users = list_users(*args)
        ghosts = [user for user in users if user["id"].startswith("ghost")]
        for user, teams in zip(ghosts, odd_teams, strict=True):
            user["teams"] = teams
        return users

    def odd_channels(*args: Any) -> Any:
        states = query_channels(*args)
        for state, members in zip(states.values(), odd_members, strict=True):
            state["members"], state["channel"]["member_count"] = members, None
        return states

    monkeypatch.setattr(Stream, "list_users", odd_users)
    monkeypatch.setattr(Stream, "query_channels", odd_channels)
    audit = run()
    assert audit.counts["users"]["orphan_stream_user"] == 4
    assert audit.counts["channels"]["member_mismatch"] == 4


def test_an_orphan_of_several_teams_is_found_under_each(people, chat, clients, run):
    chat.upsert_user({"id": "ghost", "teams": ["red", "blue"]})
    for team in ("red", "blue"):
        [finding] = audit_module.findings_of(run(team=team), clients)
        assert (finding.key, finding.team) == ("user:ghost", team)


def test_a_channel_with_an_empty_name_agrees_with_a_document_without(people, chat, run, found):
    chat.channel("messaging", "odd", {"members": ["ann"], "name": ""}).create("ann")
    run(repair=["only_in_stream"])
    assert found() == set()


def test_ids_that_nobody_can_have_stop_no_audit(
    people, accounts, clients, firestore, chat, nightly
):
    for uid in ("a/b", "__x__"):
        accounts.sign_up(uid)
    for stream_id in ("company_a@2fb", "company_@2e@2e", "company___x__", "u" * 200):
        chat.upsert_user({"id": stream_id})
    firestore.document("users", "u" * 200).set({})
    ours = {"status": "ready", "origin": "operator"}
    firestore.document("conversations", "%" * 1_400).set(ours)
    audit = nightly()
    assert audit.state == "done"
    findings = {(one.kind, one.key) for one in audit_module.findings_of(audit, clients)}
    assert findings == {
        ("missing_stream_user", "user:a/b"),
        ("missing_stream_user", "user:__x__"),
        ("orphan_documents", f"users/{'u' * 200}"),
        ("only_in_firestore", f"messaging:{'%' * 1_400}"),
    }
    assert entries(clients)["user_a%2Fb"]["reason"] == "invalid_id"


def test_service_users_are_no_orphans(people, chat, run, clients, with_settings):
    for stream_id in ("support-bot", "ghost"):
        chat.upsert_user({"id": stream_id})
    audit = run(with_settings(stream={"service_users": ("support-bot",)}))
    assert [one.key for one in audit_module.findings_of(audit, clients)] == ["user:ghost"]


def test_a_user_of_several_teams_is_found_under_the_one_that_is_asked_for(
    people, firestore, chat, clients, run
):
    firestore.document("users/ann").update({"chat": {"teams": ["red", "blue"]}})
    for team in ("red", "blue"):
        [finding] = audit_module.findings_of(run(team=team), clients)
        assert (finding.kind, finding.key, finding.team) == (
            "drifted_stream_user",
            "user:ann",
            team,
        )


# What is no finding


def test_who_is_left_alone_on_purpose_is_no_finding(accounts, clients, chat, people, found):
    accounts.sign_up("disabled", disabled=True)
    reconcile_after_sign_up("disabled", clients)
    chat.deactivate_user("eve")
    chat.upsert_user({"id": "former"})
    chat.delete_user("former")
    assert found() == set()


def test_anonymous_accounts_that_are_not_provisioned_are_no_records(accounts, run, with_settings):
    accounts.sign_up("guest")
    audit = run(with_settings(stream={"provision_anonymous_users": False}))
    assert (audit.findings, audit.sync_rate) == (0, None)


@pytest.mark.parametrize("policy", ["keep", "deactivate"])
def test_what_a_delete_policy_leaves_is_no_orphan(people, accounts, run, with_settings, policy):
    clients = with_settings(stream={"delete_policy": policy})
    accounts.delete("eve")
    outbox.remove([Key("user", "eve")], clients)
    assert run(clients).findings == 0


def test_a_conversation_that_is_being_made_is_left_to_the_outbox(room, firestore, chat, found):
    firestore.document("conversations", room).update({"status": "pending"})
    chat.channel("messaging", room).delete(hard=True)
    assert found() == set()


# Teams and steps


def test_findings_and_rates_are_told_by_team(people, clients, firestore, chat, run):
    for uid, team in (("ann", "red"), ("bob", "blue")):
        firestore.document(f"users/{uid}").update({"chat": {"teams": [team]}})
        outbox.reconcile([Key("user", uid)], clients)
    chat.update_user_partial({"id": "bob", "set": {"name": "Somebody else"}})
    audit = run(steps=USER_STEPS)
    assert audit.teams["red"] == {"records": 1, "agreeing": 1}
    assert audit.teams["blue"] == {"records": 1, "agreeing": 0, "drifted_stream_user": 1}
    assert audit.teams["(none)"] == {"records": 1, "agreeing": 1}
    only_red = run(steps=USER_STEPS, team="red")
    assert (only_red.findings, only_red.sync_rate) == (0, 1)
    assert set(only_red.teams) == {"red"}


def test_names_of_teams_that_are_too_long_to_be_one_stop_no_audit(accounts, firestore, run):
    for n in range(300):
        accounts.sign_up(f"user-{n}", displayName="Name")
        firestore.document(f"users/user-{n}").set(
            {"chat": {"teams": [f"{n:03}" + "\N{WHALE}" * 1_000]}}
        )
    audit = run(steps=["accounts"])
    assert (audit.state, audit.counts["users"]["records"]) == ("done", 300)


def test_of_very_many_teams_the_document_keeps_what_it_has_room_for(
    accounts, firestore, run, monkeypatch
):
    monkeypatch.setattr(audit_run, "MAX_TEAMS", 2)
    for n in range(5):
        accounts.sign_up(f"user-{n}", displayName="Name")
        firestore.document(f"users/user-{n}").set({"chat": {"teams": [f"team-{n}"]}})
    audit = run(steps=["accounts"])
    assert set(audit.teams) == {"team-0", "team-1", "(others)"}
    assert audit.teams["(others)"]["records"] == 3
    assert audit.counts["users"]["records"] == 5


def test_users_and_channels_can_be_audited_apart(room, chat, accounts, run):
    accounts.sign_up("new")
    chat.channel("messaging", "lobby", {"members": ["ann"]}).create("ann")
    assert set(run(steps=USER_STEPS).counts) == {"users"}
    assert set(run(steps=CHANNEL_STEPS).counts) == {"channels"}


# Pages


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(findings_module, "_DOCUMENTS_PER_PAGE", 3)


def test_many_pages_find_everybody_once(accounts, clients, chat, run, monkeypatch, firestore):
    monkeypatch.setattr(findings_module, "_DOCUMENTS_PER_PAGE", 30)
    for n in range(250):
        accounts.sign_up(f"user-{n:03}", displayName="Name")
    for start in range(0, 250, 50):
        keys = [Key("user", f"user-{n:03}") for n in range(start, start + 50)]
        outbox.reconcile(keys, clients)
    chat.upsert_users([{"id": f"ghost-{n}"} for n in range(100)])
    firestore.document("users/user-100x").set({})
    audit = run()
    assert audit.counts["users"]["records"] == audit.counts["users"]["agreeing"] == 250
    assert audit.counts["users"]["orphan_stream_user"] == 100
    assert audit.counts["users"]["orphan_documents"] == 1


@pytest.mark.parametrize(("step", "count"), [("companies", 101), ("conversations", 31)])
def test_what_fills_a_page_is_followed_by_the_next(firestore, run, step, count):
    for n in range(count):
        firestore.document(step, f"one-{n:03}").set({"name": "One"})
    assert run(steps=[step]).seen == count


def test_a_page_is_a_thousand_so_that_the_audits_document_is_seldom_written(
    chat, firestore, run, found, monkeypatch
):
    of_a_hundred, documents = findings_module._LISTS_PER_PAGE, findings_module._DOCUMENTS_PER_PAGE
    assert 100 * of_a_hundred == documents == 1000
    monkeypatch.setattr(findings_module, "_LISTS_PER_PAGE", 2)
    monkeypatch.setattr(findings_module, "_DOCUMENTS_PER_PAGE", 200)
    for start in range(0, 300, 100):
        chat.upsert_users([{"id": f"ghost-{n:04}"} for n in range(start, start + 100)])
    assert run(steps=["stream_users"]).page == 2
    assert len(found(steps=["stream_users"])) == 300
    for n in range(300):
        firestore.document(f"users/ghost-{n:04}").set({})
    assert run(steps=["documents"]).page == 4  # the two other collections are empty
    assert len(found(steps=["documents"])) == 300


def test_firestore_is_not_asked_about_stream_users_unless_they_are_companies(
    people, firestore, firestore_api, chat, found
):
    calls: list[str] = []
    firestore_api.before_call = calls.append
    assert found(steps=["stream_users"]) == set()
    assert "batch_get_documents" not in calls
    firestore.document("companies/here").set({})
    chat.upsert_users([{"id": "company_here"}, {"id": "company_gone"}])
    assert found(steps=["stream_users"]) == {("orphan_stream_user", "company:gone")}


def test_a_company_is_not_taken_for_the_account_of_its_id(accounts, chat, found):
    accounts.sign_up("acme")
    chat.upsert_users([{"id": "acme"}, {"id": "company_acme"}])
    assert found(steps=["stream_users"]) == {("orphan_stream_user", "company:acme")}


def test_more_than_a_hundred_companies_are_no_orphans(firestore, chat, found):
    ids = [f"c{n}" for n in range(101)]
    for company in ids:
        firestore.document(f"companies/{company}").set({})
    chat.upsert_users([{"id": f"company_{company}"} for company in ids[:100]])
    chat.upsert_users([{"id": f"company_{ids[100]}"}])
    assert found(steps=["stream_users"]) == set()


def test_counting_beforehand_ends_where_it_would_take_long(accounts, clients, monkeypatch):
    for n in range(2001):
        accounts.sign_up(f"user-{n:04}")
    assert findings_module.expected(["accounts"], clients) == 2001
    monkeypatch.setattr(account_calls, "_MOST_COUNTED", 999)
    calls: list[str] = []
    accounts.before_call = calls.append
    assert findings_module.expected(["accounts", "stream_users"], clients) is None
    assert len(calls) == 1


def test_channels_of_one_and_the_same_time_are_all_seen(people, chat, found, monkeypatch):
    make_channels(chat, 75)
    list_channels = Stream.list_channels
    times: list[str] = []

    def of_the_first_ones_time(*args: Any) -> Any:
        listed = list_channels(*args)
        times.extend(channel["created_at"] for channel in listed)
        return [{**channel, "created_at": times[0]} for channel in listed]

    monkeypatch.setattr(Stream, "list_channels", of_the_first_ones_time)
    assert len(found(steps=["channels"])) == 75


def test_an_audit_gets_past_more_channels_of_one_time_than_stream_lets_it_see(
    people, chat, run, monkeypatch, capsys
):
    make_channels(chat, 61)
    for module in (findings_module, stream_module):
        monkeypatch.setattr(module, "MAX_OFFSET", 0)
    assert run(steps=["channels"]).seen == 61
    assert "some are not looked at" in capsys.readouterr().out


def make_channels(chat, count: int) -> None:
    for n in range(count):
        chat.channel("messaging", f"c{n}", {"members": ["ann"]}).create("ann")


def test_a_hundred_channels_are_seen_page_by_page(people, chat, found, stream):
    make_channels(chat, 100)
    since = stream.last_request()
    assert len(found(steps=["channels"])) == 100
    assert len(stream.requests(since)) == 4


@pytest.mark.parametrize("repair", [(), CREATING])
def test_a_kill_anywhere_neither_loses_nor_doubles_anything(
    accounts, clients, chat, stream, firestore_api, people, repair, small_pages
):
    """Killed before each outside call in turn, and gone on with from what Firestore says."""

    for n in range(2):
        accounts.sign_up(f"new-{n}", displayName="New")
    chat.upsert_user({"id": "ghost"})
    chat.channel("messaging", "lobby", {"members": ["ann"]}).create("ann")
    base = dict(firestore_api.documents)
    users_before = names(chat)
    at = 0
    while True:
        at += 1
        firestore_api.documents = dict(base)
        for uid in names(chat) - users_before:
            chat.delete_user(uid, hard_delete=True, mark_messages_deleted=True)
        stream.switch(hard_delete_blocks_id_reuse=False)
        audit = audit_module.start("operator", clients, repair=repair)
        if not dies_before(at, partial(go_on, audit, clients), firestore_api, accounts):
            break
        audit = go_on(audit_module.read(audit.id, clients), clients)
        where = f"killed before call {at}"
        assert audit.counts["users"]["records"] == 5, where
        assert audit.counts["users"]["orphan_stream_user"] == 1, where
        if not repair:
            assert audit.counts["users"]["missing_stream_user"] == 2, where
            assert len(list(audit_module.findings_of(audit, clients))) == audit.findings, where
        else:
            assert names(chat) >= {"new-0", "new-1"}, where
    assert at > 10


def test_a_page_run_twice_at_once_counts_once(people, clients):
    audit = audit_module.start("operator", clients)
    first = audit_module.run_page(audit, clients)
    second = audit_module.run_page(audit, clients)
    assert first == second
    assert second.counts["users"]["records"] == 3


def test_a_rate_limit_counts_nothing_and_is_waited_for(people, clients, stream, tasks):
    audit = audit_module.start("nightly", clients)
    stream.limit("QueryUsers", 0, window_s=30)
    with pytest.raises(StreamRateLimited):
        audit_module.run_page(audit, clients)
    assert audit_module.read(audit.id, clients) == audit
    audit_module.run(audit.id, clients)
    [again] = tasks.waiting
    assert again["function"] == "runSweep"
    assert again["data"] == {"auditId": audit.id}
    assert again["at"] > time.time() + 20


# The task queue


def test_the_nightly_audit_runs_over_the_task_queue_until_it_is_done(
    room, accounts, clients, tasks, chat, monkeypatch, capsys
):
    monkeypatch.setattr(audit_run, "BUDGET_SECONDS", 0.0001)
    accounts.sign_up("new", displayName="New")
    audit_module.begin_nightly(clients)
    runs = 0
    while waiting := [task for task in tasks.waiting if task["function"] == "runSweep"]:
        tasks.waiting.clear()
        [task] = waiting
        audit_module.run(task["data"]["auditId"], clients)
        runs += 1
    audit = audit_module.recent(clients)[0]
    assert (audit.state, audit.mode, audit.repaired) == ("done", "nightly", 2)
    assert runs > 3
    assert "new" in names(chat)
    log = capsys.readouterr().out
    assert f'"message": "Audit {audit.id} is done: 80.0% in sync"' in log
    assert '"findings": 2, "event": "chatsync.audit_done"' in log


def test_a_nightly_audit_that_was_left_unfinished_goes_on(people, clients, tasks):
    audit_module.begin_nightly(clients)
    unfinished = audit_module.recent(clients)[0]
    tasks.waiting.clear()
    tasks.used_ids.clear()
    audit_module.begin_nightly(clients)
    assert tasks.waiting[0]["data"] == {"auditId": unfinished.id}


@pytest.mark.parametrize(("seconds", "tasks_in_all"), [(5, 1), (3600, 2)])
def test_a_night_that_is_called_twice_makes_one_task_and_a_later_call_another(
    people, clients, tasks, monkeypatch, seconds, tasks_in_all
):
    """Two tasks would run all pages twice, and count as found what the other did not mend yet."""
    two_o_clock = datetime(2026, 11, 27, 2, tzinfo=UTC).timestamp()
    for now in (two_o_clock, two_o_clock + seconds):
        monkeypatch.setattr(audit_run, "time", Mock(time=lambda now=now: now))
        audit_module.begin_nightly(clients)
    assert len({task["data"]["auditId"] for task in tasks.waiting}) == 1
    assert len(tasks.waiting) == tasks_in_all


def test_a_nightly_audit_that_gets_nowhere_is_given_up(people, clients, monkeypatch, capsys):
    audit_module.begin_nightly(clients)
    stuck = audit_module.recent(clients)[0]
    monkeypatch.setattr(audit_run, "STALLED_AFTER", timedelta(seconds=-1))
    audit_module.begin_nightly(clients)
    assert audit_module.read(stuck.id, clients).state == "failed"
    audit_module.run(stuck.id, clients)
    assert "is done:" not in capsys.readouterr().out
    assert audit_module.unfinished("nightly", clients).id != stuck.id


def test_a_task_that_could_not_pass_on_is_called_again(people, clients, tasks, monkeypatch):
    """Its own name is taken as long as it runs."""
    audit = audit_module.start("nightly", clients)

    def limited(*_: Any) -> None:
        raise StreamRateLimited("limited", 1)

    monkeypatch.setattr(audit_run, "run_page", limited)
    monkeypatch.setattr(tasks, "enqueue", lambda *_: False)
    with pytest.raises(Temporary):
        audit_module.run(audit.id, clients)


def test_a_late_answer_is_remembered_though_a_rate_limit_ends_the_page(
    people, accounts, clients, run, monkeypatch
):
    accounts.sign_up("late")
    late = Outcome(Key("user", "late"), "late", "created", None, recheck=True)
    limited = Outcome(Key("user", "new"), "new", None, StreamRateLimited("limited", 1))
    monkeypatch.setattr(audit_repair, "reconcile_users", lambda *_, **__: [limited, late])
    with pytest.raises(StreamRateLimited):
        run(repair=CREATING)
    assert set(entries(clients)) == {"user_late"}


def test_while_one_hundred_is_written_the_next_is_read(accounts, clients, stream):
    for number in range(350):
        accounts.sign_up(f"user-{number}", displayName="Somebody")
    for operation in ("QueryUsers", "UpdateUsers"):
        stream.limit(operation, 1000)
    stream.fault("UpdateUsers", "delay", rate=1.0, delay_ms=1000)
    audit = audit_module.start("operator", clients, steps=["accounts"], repair=CREATING)
    audit_module.run_page(audit, clients.leaving(LEFT_BY_BACKGROUND))
    assert stream.state()["counts"]["users"] == 350
    calls = stream.requests()
    written = [call for call in calls if call["operation"] == "UpdateUsers"]
    sent = [stream_id for call in written for stream_id in call["ids"]]
    assert len(sent) == len(set(sent)) == 350
    written_at = [came_at(call) for call in written]
    read_at = [came_at(call) for call in calls if call["operation"] == "QueryUsers"]
    assert any(began < at < began + 1 for began in written_at for at in read_at)
    assert all(later - at >= 1 for at, later in pairwise(written_at))


def came_at(call: dict[str, Any]) -> float:
    return datetime.fromisoformat(call["at"]).timestamp()


def test_a_hundred_under_way_is_kept_though_a_rate_limit_meets_the_other(
    accounts, clients, run, monkeypatch
):
    for number in range(300):
        accounts.sign_up(f"user-{number:03}")
    began: list[str] = []
    both = threading.Barrier(2, timeout=10)

    def reconcile(keys, *_, **__):
        began.append(keys[0].id)
        both.wait()
        if keys[0].id == "user-000":
            return [Outcome(key, key.id, None, StreamRateLimited("limited", 1)) for key in keys]
        time.sleep(0.1)
        return [Outcome(key, key.id, "created", None, recheck=True) for key in keys]

    monkeypatch.setattr(audit_repair, "reconcile_users", reconcile)
    with pytest.raises(StreamRateLimited):
        run(repair=CREATING)
    assert sorted(began) == ["user-000", "user-100"]
    assert set(entries(clients)) == {f"user_user-{number}" for number in range(100, 200)}


def test_a_task_of_an_audit_that_is_gone_is_done_with(clients, tasks):
    audit_module.run("no-such-audit", clients)
    assert tasks.waiting == []


def test_parked_entries_are_tried_again_by_an_audit_that_repairs(people, clients, run):
    refusal = StreamRejected("no", 400, 4)
    outbox.write_entries([Outcome(Key("user", "ann"), "ann", None, refusal)], clients)
    run()
    assert entries(clients)["user_ann"]["state"] == "parked"
    run(repair=CREATING)
    drain_until_settled(clients)
    assert entries(clients) == {}


def test_the_details_kept_are_limited_and_the_counts_are_not(accounts, clients, run, monkeypatch):
    monkeypatch.setattr(audit_store, "MAX_FINDINGS", 5)
    for n in range(20):
        accounts.sign_up(f"user-{n}")
    audit = run(steps=["accounts"])
    assert audit.counts["users"]["missing_stream_user"] == 20
    assert len(list(audit_module.findings_of(audit, clients))) == 5


def test_an_audit_and_its_findings_expire(accounts, firestore, run):
    accounts.sign_up("new")
    audit = run(steps=["accounts"])
    kept = firestore.document("audits", audit.id)
    for snapshot in (kept.get(), *kept.collection("findings").stream()):
        assert snapshot.get("expireAt") == audit.started_at + audit_store.KEPT_FOR
