"""The operator's command, as it is typed: what it prints, what it does, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from stream_chat.channel import Channel

from chatsync import audit as audits
from chatsync import conversations, outbox, proof
from chatsync.audit import steps
from chatsync.clients import accounts as account_calls
from chatsync.clients.stream import Stream
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.entry.tokens import issue_token
from chatsync.errors import StreamRateLimited, StreamRejected, StreamUnavailable
from chatsync.ids import Key
from chatsync.operator import app_calls, doctor, health, options, team_fixes, terminal
from chatsync.operator import command as cli
from chatsync.outbox import entries as entries_module
from chatsync.outcome import Outcome
from dev import seed as seeds
from tests.fast.outbox import entries

FUNCTIONS = Path(__file__).parents[2] / "functions"


@pytest.fixture
def run_with(command):
    """The command as a terminal starts it, with no variables but these."""

    def run_with(*arguments: str, **environment: str):
        with mock.patch.dict(os.environ, environment, clear=True):
            return command(*arguments)

    return run_with


@pytest.fixture
def ann_and_bob(accounts, clients) -> None:
    for uid in ("ann", "bob"):
        accounts.sign_up(uid, displayName=uid.title())
        reconcile_after_sign_up(uid, clients)


def users_in(chat) -> list[str]:
    return sorted(user["id"] for user in chat.query_users({})["users"])


@pytest.fixture
def seed(ann_and_bob, clients, firestore, chat) -> None:
    for uid in ("ann", "bob"):
        firestore.document(f"users/{uid}").update({"chat": {"teams": seeds.TEAMS}})
    outbox.reconcile([Key("user", "ann"), Key("user", "bob")], clients)
    seeds.seed(firestore, chat, ["ann", "bob"])


# The story of the seed documents


def test_the_audit_finds_what_the_seed_documents_tell(run, seed):
    ran = run("audit", "--channels", "--json")
    assert ran.status == 1
    result = ran.json()
    assert round(result["syncRate"], 2) == 0.33
    assert result["counts"]["channels"] == {
        "records": 15,
        "agreeing": 5,
        "only_in_stream": 2,
        "only_in_firestore": 9,
        "wrong_team": 1,
    }
    teams = result["teams"]
    assert teams["gym_5"]["wrong_team"] == 1
    assert teams["gym_2"]["only_in_stream"] == 2
    assert teams["gym_4"]["only_in_firestore"] == 9
    assert teams["gym_3"] == {"records": 5, "agreeing": 5}


def test_people_read_a_table_and_the_sync_rate(run, seed):
    ran = run("audit", "--channels")
    assert "In sync: 33%" in ran.out
    for text in ("gym_4", "wrong team", "messaging:room_General_4", "gym_1 in Stream"):
        assert text in ran.out


def test_the_commands_fix_it_and_the_audit_says_so(run, seed):
    for command in seeds.COMMANDS_THAT_FIX_IT:
        assert run(*command).status == 0
    ran = run("audit", "--channels")
    assert ran.status == 0
    assert "In sync: 100%" in ran.out


@pytest.mark.parametrize(
    ("rate", "shown"), [(None, "-"), (5 / 15, "33%"), (0.29, "29%"), (0.9999, "99%"), (1, "100%")]
)
def test_only_agreement_of_all_is_called_100_percent(rate, shown):
    assert terminal.percent(rate) == shown


def test_one_teams_findings_can_be_told_apart(run, seed):
    result = run("audit", "--channels", "--team", "gym_4", "--json").json()
    assert set(result["teams"]) == {"gym_4"}
    assert {one["kind"] for one in result["findings"]} == {"only_in_firestore"}


def test_teams_without_findings_can_be_left_out(run, seed):
    assert "gym_3" not in run("audit", "--channels", "--only-issues").out


# audit


def test_an_audit_in_agreement_ends_well(run, ann_and_bob):
    ran = run("audit")
    assert (ran.status, "In sync: 100%" in ran.out) == (0, True)


def test_who_is_asked_sees_what_would_go_and_can_decline(run, ann_and_bob, chat, answers):
    chat.upsert_user({"id": "ghost"})
    ran = run("audit", "--repair", "orphan_stream_user", "--apply")
    assert (ran.status, "user:ghost" in ran.out) == (2, True)
    assert "1 orphan_stream_user? 2 records" in answers[0]
    assert "Nothing was removed or closed." in ran.err
    assert chat.query_users({"id": "ghost"})["users"]


def test_an_audit_repairs_only_if_told_to_apply(run, accounts, chat, ann_and_bob):
    accounts.sign_up("new")
    ran = run("audit", "--repair", "missing_stream_user")
    assert (ran.status, "--apply would repair 1 of these" in ran.out) == (1, True)
    assert len(chat.query_users({})["users"]) == 2
    kinds = ["--repair", "missing_stream_user", "--repair", "missing_documents"]
    assert run("audit", *kinds, "--apply").status == 0
    assert len(chat.query_users({})["users"]) == 3
    assert run("audit").status == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--repair", "wrong_team"], "fix-team"),
        (["--repair", "orphan_channel"], "delete-orphan"),
        (["--repair", "foreign_document"], "the app's own backend"),
        (["--repair", "everything"], "no kind of finding"),
        (["--repair", "[/x]"], "'[/x]' is no kind of finding"),
        (["--repair", "orphan_documents", "--channels"], "leaves out orphan_documents"),
        (["--repair", "orphan_documents", "--team", "red"], "have no team"),
        (["--apply"], "which names what to repair"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_a_wrong_use_is_told_in_one_line(run, arguments, problem):
    ran = run("audit", *arguments)
    assert ran.status == 2
    assert problem in ran.err
    assert "Traceback" not in ran.err
    assert len(ran.err.strip().splitlines()) == 1


@pytest.fixture
def answers(monkeypatch) -> list[str]:
    """The questions that were asked, each answered with no."""
    questions: list[str] = []
    monkeypatch.setattr(terminal.typer, "confirm", lambda question, **_: questions.append(question))
    return questions


def test_only_what_was_found_is_destroyed(run, chat, ann_and_bob, monkeypatch):
    chat.upsert_user({"id": "ghost"})

    def somebody_more(*_: Any, **__: Any) -> bool:
        chat.upsert_user({"id": "late-ghost"})
        return True

    monkeypatch.setattr(terminal.typer, "confirm", somebody_more)
    assert run("audit", "--users", "--repair", "orphan_stream_user", "--apply").status == 0
    assert {user["id"] for user in chat.query_users({})["users"]} == {"ann", "bob", "late-ghost"}


def test_nothing_is_asked_where_nothing_would_be_destroyed(run, ann_and_bob, answers):
    assert run("audit", "--repair", "orphan_stream_user", "--apply").status == 0
    assert answers == []


def test_an_audit_that_was_interrupted_is_not_left_running(run, clients, monkeypatch, ann_and_bob):
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(audits, "run_page", interrupt)
    assert run("audit").status == 2
    assert audits.recent(clients)[0].state == "stopped"


def test_an_audit_that_was_interrupted_while_counting_is_not_left_running(
    run, clients, monkeypatch
):
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "expected", interrupt)
    assert run("audit").status == 2
    assert audits.recent(clients)[0].state == "stopped"


def test_a_bug_is_no_finding(run, monkeypatch):
    def bug(*_: Any) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(cli, "expected", bug)
    ran = run("audit")
    assert (ran.status, "please report it" in ran.err) == (2, True)


def test_parts_of_an_audit_leave_parked_entries_alone(run, clients, ann_and_bob):
    refusal = StreamRejected("no", 400, 4)
    outbox.write_entries([Outcome(Key("user", "ann"), "ann", None, refusal)], clients)
    run("audit", "--users", "--repair", "missing_documents", "--apply")
    assert entries(clients)["user_ann"]["state"] == "parked"


def test_text_of_others_is_printed_as_it_is(run, seed, firestore):
    firestore.document("conversations/fine_1").update({"team": "[/b]:a:[bold]"})
    ran = run("audit", "--channels")
    assert (ran.status, "[/b]:a:[bold]" in ran.out) == (1, True)


def test_emulators_are_refused_for_a_real_project(run_with):
    """Stream's users would all look like orphans."""
    ran = run_with("--project", "p", "audit", FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099")
    assert (ran.status, "FIREBASE_AUTH_EMULATOR_HOST" in ran.err) == (2, True)


# repair and backfill


def test_repair_tells_first_and_heals_when_told_to(run, accounts):
    accounts.sign_up("new", displayName="New")
    dry = run("repair", "new", "--json")
    assert dry.status == 1
    assert {one["kind"] for one in dry.json()} == {"missing_documents", "missing_stream_user"}
    ran = run("repair", "user:new", "--apply", "--json")  # as findings have it
    assert (ran.status, ran.json()) == (0, [{"key": "user:new", "result": "created"}])
    assert run("repair", "new").out.strip() == "In agreement."


def test_repair_tries_parked_users_again_and_clears_their_entries(run, accounts, clients):
    accounts.sign_up("ann")
    refusal = StreamRejected("no", 400, 4)
    outbox.write_entries([Outcome(Key("user", "ann"), "ann", None, refusal)], clients)
    assert run("repair", "ann", "--apply").status == 0
    assert entries(clients) == {}


def test_repair_knows_companies(run, firestore, chat):
    firestore.document("companies/acme").set({"name": "Acme"})
    assert run("repair", "company:acme", "--apply").status == 0
    assert chat.query_users({})["users"][0]["id"] == "company_acme"
    ran = run("repair", "company:acme")
    assert (ran.status, ran.out.strip()) == (0, "In agreement.")


def test_what_an_account_is_can_be_corrected(run, ann_and_bob, chat, clients):
    shown = run("repair", "ann", "--kind", "company")
    assert (shown.status, "ann becomes a company: company_ann is created" in shown.out) == (1, True)
    assert "ann" in users_in(chat)
    assert run("repair", "ann", "--kind", "company", "--apply", "--yes").status == 0
    assert users_in(chat) == ["bob", "company_ann"]
    assert issue_token("ann", clients)["streamUserId"] == "company_ann"
    assert run("repair", "ann", "--kind", "company", "--apply", "--yes").status == 0
    assert run("repair", "nobody", "--kind", "user", "--apply").status == 2
    assert run("repair", "ann", "--kind", "boss").status == 2


@pytest.mark.parametrize("name", ["nobody", "company:none"])
def test_a_dry_repair_of_nobody_says_so(run, name):
    ran = run("repair", name)
    assert (ran.status, "no such account or company" in ran.out) == (1, True)


def test_a_dry_repair_would_not_remove_whom_the_policy_keeps(run, chat, with_settings, monkeypatch):
    chat.upsert_user({"id": "ghost"})
    keeping = with_settings(stream={"delete_policy": "keep"})
    monkeypatch.setattr(options, "connect", lambda: keeping)
    ran = run("repair", "ghost", "--json")
    assert [one["kind"] for one in ran.json()] == ["not_found"]


def test_repair_finishes_a_removal_that_waits(run, clients, chat):
    chat.upsert_user({"id": "ghost"})
    down = Outcome(Key("user", "ghost"), "ghost", None, StreamUnavailable("down"), removal=True)
    outbox.write_entries([down], clients)
    run("repair", "ghost", "--apply")
    assert chat.query_users({})["users"] == []
    assert entries(clients) == {}


def test_repair_leaves_an_entry_that_was_reported_meanwhile(run, accounts, clients, monkeypatch):
    accounts.sign_up("ann")
    refusal = Outcome(Key("user", "ann"), "ann", None, StreamRejected("no", 400, 4))
    outbox.write_entries([refusal], clients)
    reconcile = outbox.reconcile

    def reported_meanwhile(*args: Any) -> Any:
        outcomes = reconcile(*args)
        outbox.write_entries([refusal], clients)
        return outcomes

    monkeypatch.setattr(outbox, "reconcile", reported_meanwhile)
    run("repair", "ann", "--apply")
    assert set(entries(clients)) == {"user_ann"}


def test_repair_of_nobody_has_its_answer(run):
    ran = run("repair", "nobody", "--apply")
    assert (ran.status, "no such account" in ran.out) == (1, True)
    ran = run("repair", "a/b")
    assert (ran.status, "must not contain" in ran.err) == (2, True)


def test_backfill_brings_everybody_and_sends_nobody_twice(run, accounts, stream):
    for n in range(250):
        accounts.sign_up(f"user-{n:03}")
    assert "250 accounts" in run("backfill").out
    assert stream.requests() == []
    ran = run("backfill", "--apply")
    assert (ran.status, "250 compared, 250 created" in ran.out) == (0, True)
    sent = [one for call in upserts(stream) for one in call["ids"]]
    assert sorted(sent) == [f"user-{n:03}" for n in range(250)]
    since = stream.last_request()
    assert run("backfill", "--apply").status == 0
    assert upserts(stream, since) == []


def test_a_backfill_of_too_many_to_be_counted_first(run, accounts, monkeypatch):
    monkeypatch.setattr(accounts, "list_users", partial(accounts.list_users, max_results=10))
    monkeypatch.setattr(account_calls, "_MOST_COUNTED", 5)
    for n in range(20):
        accounts.sign_up(f"user-{n:02}")
    assert "very many accounts" in run("backfill").out
    ran = run("backfill", "--apply")
    assert (ran.status, "20 compared, 20 created" in ran.out) == (0, True)


def upserts(stream, since: int = 0) -> list[dict[str, Any]]:
    return [call for call in stream.requests(since) if call["operation"] == "UpdateUsers"]


def test_a_backfill_that_was_stopped_goes_on(run, accounts, stream, monkeypatch):
    monkeypatch.setattr(accounts, "list_users", partial(accounts.list_users, max_results=10))
    for n in range(50):
        accounts.sign_up(f"user-{n:02}")
    run_page, pages = audits.run_page, []

    def stop_after_two(*args: Any) -> Any:
        pages.append(1)
        if len(pages) == 3:
            raise KeyboardInterrupt
        return run_page(*args)

    monkeypatch.setattr(audits, "run_page", stop_after_two)
    ran = run("backfill", "--apply")
    assert (ran.status, "a backfill continues" in ran.err) == (2, True)
    assert len(pages) == 3
    ran = run("backfill", "--apply")
    assert ran.status == 0
    assert ": 20 are done" in ran.err
    sent = [one for call in upserts(stream) for one in call["ids"]]
    assert sorted(sent) == [f"user-{n:02}" for n in range(50)]


def test_a_backfill_that_is_under_way_is_watched_to_its_end(run, accounts, clients, monkeypatch):
    accounts.sign_up("ann")
    begun = audits.start("backfill", clients, steps=("accounts",), repair=steps.RECONCILED)
    looks: list[float] = []

    def look_after(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:  # the process that runs it
            audits.run_page(begun, clients)

    monkeypatch.setattr(cli.time, "sleep", look_after)
    ran = run("backfill", "--apply")
    assert (ran.status, "under way" in ran.err) == (0, True)
    assert "1 compared, 1 created or patched" in ran.out
    assert len(looks) == 2
    assert audits.read(begun.id, clients).page == 1


def test_a_backfill_whose_process_died_is_taken_over(run, accounts, clients, monkeypatch):
    accounts.sign_up("ann")
    begun = audits.start("backfill", clients, steps=("accounts",), repair=steps.RECONCILED)
    monkeypatch.setattr(health, "DEAD_AFTER", timedelta(0))
    ran = run("backfill", "--apply")
    assert (ran.status, "1 created or patched" in ran.out) == (0, True)
    assert audits.read(begun.id, clients).state == "done"


def test_a_backfill_waits_at_streams_rate_limit(run, accounts, clients, stream, monkeypatch):
    for n in range(300):
        accounts.sign_up(f"user-{n:03}")
    stream.limit("UpdateUsers", 2, window_s=600)
    waits: list[float] = []

    def until_the_next_window(seconds: float) -> None:
        waits.append(seconds)
        stream.limit("UpdateUsers", 2, window_s=600)
        clients.stream._calls._paces.clear()  # what is known of the last one

    sleep = cli.time.sleep
    monkeypatch.setattr(
        cli.time, "sleep", lambda s: until_the_next_window(s) if s >= 1 else sleep(s)
    )
    ran = run("backfill", "--apply")
    assert (ran.status, "300 compared, 300 created" in ran.out) == (0, True)
    assert stream.state()["counts"]["users"] == 300
    assert len(waits) >= 1


def test_the_command_leaves_room_in_streams_limits(accounts, clients, stream, monkeypatch):
    monkeypatch.setattr(options.client_module, "connect", lambda: clients)
    monkeypatch.setattr(options, "use_project", lambda: None)
    stream.limit("UpdateUsers", 2, window_s=60)
    operator = options.connect()
    for uid in ("ann", "bob"):
        accounts.sign_up(uid)
    [ann] = outbox.reconcile([Key("user", "ann")], operator)
    [bob] = outbox.reconcile([Key("user", "bob")], operator)
    assert (ann.status, type(bob.error)) == ("created", StreamRateLimited)


# Channels


def test_fix_team_keeps_history_and_other_fields(run, seed, chat):
    channel = chat.channel("messaging", "room_General_4")
    channel.send_message({"text": "hello"}, "ann")
    assert run("fix-team", "messaging:room_General_4", "--team", "gym_5").status == 1
    assert run("fix-team", "messaging:room_General_4", "--team", "gym_5", "--apply").status == 0
    [state] = chat.query_channels({"id": "room_General_4"})["channels"]
    assert (state["channel"]["team"], state["channel"]["gym_id"]) == ("gym_5", 5)
    assert [message["text"] for message in state["messages"]] == ["hello"]
    assert run("fix-team", "room_General_4", "--team", "gym_5").status == 0


def test_fix_team_files_the_document_too(run, seed, firestore):
    assert run("fix-team", "room_General_4", "--team", "gym_2", "--apply").status == 0
    assert firestore.document("conversations/room_General_4").get().get("team") == "gym_2"


def test_delete_orphan_refuses_whatever_is_known(run, seed, firestore, chat):
    firestore.document("conversations/elsewhere").set({"cid": "messaging:event_1", "status": "x"})
    for channel in ("fine_1", "room_General_4", "event_1", "no_such_channel", "lost_1"):
        ran = run("delete-orphan", channel, "--apply", "--yes")
        assert (ran.status, ran.out) == (2, "")
    ran = run("delete-orphan", "a/b", "--apply", "--yes")
    assert ran.status == 2
    assert len(chat.query_channels({}, limit=30)["channels"]) == 8


@pytest.mark.parametrize(
    ("where", "fields"),
    [
        ("event_1", {"memberIds": ["ann"]}),
        ("event_1", {"status": None}),
        ("elsewhere", {"cid": "messaging:event_1"}),
        ("elsewhere", {"channelId": "event_1", "channelType": "messaging", "status": "ready"}),
        ("elsewhere", {"channelId": "event_1"}),
        ("elsewhere", {"cid": "messaging:event_1", "channelType": None}),
        ("elsewhere", {"cid": "messaging:event_1", "channelType": "chat"}),
        ("messaging:event_1", {"participantIds": ["ann"]}),
    ],
)
def test_delete_orphan_refuses_what_a_document_of_any_shape_is_about(
    run, seed, firestore, chat, where, fields
):
    firestore.document("conversations", where).set(fields)
    ran = run("delete-orphan", "event_1", "--apply", "--yes")
    assert (ran.status, "is no orphan" in ran.err) == (2, True)
    assert len(chat.query_channels({"id": "event_1"})["channels"]) == 1


def test_delete_orphan_deletes_nothing_without_a_yes(run, seed, chat, answers):
    assert run("delete-orphan", "event_1", "--apply").status == 2
    assert len(answers) == 1
    assert len(chat.query_channels({"id": "event_1"})["channels"]) == 1


def test_delete_orphan_looks_again_after_the_yes(run, seed, clients, chat, monkeypatch):
    def recorded_meanwhile(*_: Any, **__: Any) -> bool:
        conversations.reconcile_conversations(["event_1"], clients)
        return True

    monkeypatch.setattr(terminal.typer, "confirm", recorded_meanwhile)
    ran = run("delete-orphan", "event_1", "--apply")
    assert (ran.status, "its document is ready" in ran.err) == (2, True)
    assert len(chat.query_channels({"id": "event_1"})["channels"]) == 1


@pytest.mark.parametrize("team", ["", "x" * 101])
def test_fix_team_refuses_what_no_team_is_called(run, seed, team):
    ran = run("fix-team", "room_General_4", "--team", team, "--apply")
    assert (ran.status, "team" in ran.err) == (2, True)


def test_fix_team_believes_only_what_it_sees(run, seed, monkeypatch):
    monkeypatch.setattr(Stream, "update_channel_partial", lambda *_: None)
    monkeypatch.setattr(team_fixes, "PAUSES_SECONDS", (0.01,))
    ran = run("fix-team", "room_General_4", "--team", "gym_5", "--apply")
    assert (ran.status, "still reports another team" in ran.err) == (2, True)


def test_fix_team_waits_for_a_channel_that_lags_behind(run, seed, monkeypatch):
    query_channels, looks = Stream.query_channels, []

    def lagging(*args: Any) -> Any:
        found = query_channels(*args)
        looks.append(found)
        if len(looks) == 2:
            found["messaging:room_General_4"]["channel"]["team"] = "gym_1"
        return found

    monkeypatch.setattr(Stream, "query_channels", lagging)
    assert run("fix-team", "room_General_4", "--team", "gym_5", "--apply").status == 0
    assert len(looks) == 3


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_sync_channel_leaves_to_the_outbox_what_is_being_made(run, seed, firestore, chat, status):
    firestore.document("conversations/fine_1").update({"status": status, "name": "New"})
    ran = run("sync-channel", "fine_1", "--apply")
    assert (ran.status, "the outbox finishes it" in ran.err) == (2, True)
    [state] = chat.query_channels({"id": "fine_1"})["channels"]
    assert not state["channel"].get("name")


def test_sync_channel_tells_what_it_cannot_correct(run, seed):
    for arguments in (["room_General_4"], ["room_General_4", "--apply"]):
        ran = run("sync-channel", *arguments)
        assert (ran.status, "wrong_team: gym_1 in Stream" in ran.out) == (1, True)
    assert run("sync-channel", "fine_1").status == 0


def test_delete_orphan_is_soft_unless_told_otherwise(run, seed, chat, monkeypatch):
    delete, deletions = Channel.delete, []

    def noted(channel: Channel, hard: bool) -> Any:
        deletions.append((channel.cid, hard))
        return delete(channel, hard)

    monkeypatch.setattr(Channel, "delete", noted)
    assert run("delete-orphan", "event_1").status == 1
    run("delete-orphan", "event_1", "--apply", "--yes")
    run("delete-orphan", "event_2", "--apply", "--yes", "--hard")
    assert deletions == [("messaging:event_1", False), ("messaging:event_2", True)]
    assert len(chat.query_channels({}, limit=30)["channels"]) == 6


def test_sync_channel_records_one_channel(run, seed, firestore):
    assert run("sync-channel", "event_1").status == 1
    assert not firestore.document("conversations/event_1").get().exists
    assert run("sync-channel", "event_1", "--apply").status == 0
    kept = firestore.document("conversations/event_1").get().to_dict()
    assert (kept["team"], kept["origin"], kept["status"]) == ("gym_2", "operator", "ready")


# status and doctor


def test_status_tells_of_outbox_and_last_audit(run, clients, ann_and_bob):
    assert run("status").status == 0
    refusal = StreamRejected("role no-such-role", 400, 4)
    outbox.write_entries([Outcome(Key("user", "ann"), "ann", None, refusal)], clients)
    run("audit")
    ran = run("status")
    assert ran.status == 1
    for text in ("1 thing is wrong", "parked, rejected (1: ann)", "100% in sync"):
        assert text in ran.out
    result = run("status", "--json").json()
    assert (result["parked"], result["parkedEntries"][0]["key"]) == (1, "ann")
    assert result["lastAudit"]["state"] == "done"


def test_status_counts_all_however_many_are_shown(run, clients, monkeypatch):
    monkeypatch.setattr(entries_module, "_MOST_SHOWN", 3)
    for error in (StreamUnavailable("no"), StreamRejected("no", 400, 4)):
        name = type(error).__name__
        keys = [Key("user", f"{name}{n}") for n in range(5)]
        outbox.write_entries([Outcome(key, key.id, None, error) for key in keys], clients)
    ran = run("status")
    assert (ran.status, "5 (of 3: 3 rejected)" in ran.out) == (1, True)
    assert "5 (of 3: 3 stream_unavailable) wait" in ran.out


def test_status_tells_what_the_last_audit_was_limited_to(run, ann_and_bob):
    run("audit", "--users", "--team", "red")
    run("backfill", "--apply")
    assert "operator, users only, team red, done" in run("status").out


@pytest.fixture
def no_webhook_afterwards(stream):
    yield
    stream.webhook(None)


def test_doctor_has_a_verdict_on_everything(run, chat, no_webhook_afterwards):
    verdicts = {one["check"]: one for one in run("doctor", "--json").json()}
    assert [verdicts[name]["ok"] for name in ("settings", "Firestore", "Auth", "Stream")] == [
        True
    ] * 4
    assert not verdicts["webhook"]["ok"]
    missing = ["message.new", "user.banned"]
    events = [one for one in proof.EVENTS if one not in missing]
    url = "https://functions.example/streamWebhook"
    chat.update_app_settings(webhook_url=url, webhook_events=events)
    verdict = run("doctor").out
    assert "does not get message.new, user.banned" in verdict
    chat.update_app_settings(webhook_events=[*events, *missing])
    assert run("doctor").status == 0


def test_doctor_tells_that_settings_changed_since_the_functions_were_made(
    run, tmp_path, monkeypatch
):
    (tmp_path / "functions.yaml").write_text("# From chatsync.toml, sha256 of another\n")
    (tmp_path / "chatsync.toml").write_text("[users]\n")
    monkeypatch.setattr(options.config_module, "FOLDER", tmp_path)
    verdicts = {one["check"]: one for one in run("doctor", "--json").json()}
    assert not verdicts["functions.yaml"]["ok"]
    assert "run `chatsync init`" in verdicts["functions.yaml"]["verdict"]


def test_doctor_knows_a_webhook_by_the_newer_setting_too(run, chat, no_webhook_afterwards):
    url = "https://streamwebhook-abc.run.example"
    chat.update_app_settings(event_hooks=[{"hook_type": "webhook", "webhook_url": url}])
    assert run("doctor").status == 0


@pytest.mark.parametrize(
    ("settings", "ok", "told"),
    [
        ({}, True, "nothing to take from clients"),
        ({"grants": {"user": ["flag-user", "search-user"]}}, True, "user has search-user;"),
        ({"grants": {"user": ["update-user-owner"]}}, True, "user has update-user-owner;"),
        ({"grants": {"admin": ["search-user"]}}, True, "nothing to take from clients"),
        ({"guest_user_creation_disabled": False}, True, "guests need no account"),
        ({"disable_permissions_checks": True}, False, "disable_permissions_checks: any client"),
        ({"disable_auth_checks": True}, False, "disable_auth_checks: any client"),
    ],
)
def test_doctor_tells_what_it_sees_of_clients_permissions(settings, ok, told):
    verdict = doctor._permissions_verdict(settings, "user")
    assert (verdict[0], told in verdict[1]) == (ok, True)


def test_doctor_tells_of_a_wrong_secret(run, clients, stream, monkeypatch):
    wrong = Stream("local-key", "wrong", stream.url)
    sides = replace(clients, stream=wrong)
    monkeypatch.setattr(options, "connect", lambda: sides)
    ran = run("doctor", "--json")
    assert ran.status == 1
    assert {one["check"]: one["ok"] for one in ran.json()}["Stream"] is False


def test_errors_say_what_to_do(run, clients, stream, monkeypatch, accounts):
    accounts.sign_up("ann")
    wrong = Stream("local-key", "wrong", stream.url)
    sides = replace(clients, stream=wrong)
    monkeypatch.setattr(options, "connect", lambda: sides)
    ran = run("audit")
    assert (ran.status, "STREAM_API_SECRET" in ran.err) == (2, True)
    nobody = Stream("local-key", "local-secret", "http://127.0.0.1:1")
    sides = replace(clients, stream=nobody)
    monkeypatch.setattr(terminal, "MAX_ATTEMPTS", 1)
    ran = run("audit")
    assert (ran.status, "make start" in ran.err) == (2, True)


# The process


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "chatsync", *arguments],
        cwd=FUNCTIONS,
        env={**kept, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_command_has_its_help(run_with):
    listed = process("--help")
    assert listed.returncode == 0
    for command in ("audit", "repair", "backfill", "fix-team", "delete-orphan", "sync-channel"):
        assert command in listed.stdout
        assert run_with(command, "--help").status == 0


def test_without_a_project_one_line_says_so(run_with):
    ran = run_with("status")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "before the command, as in `--project ID audit`" in ran.err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["status", "--nope"], "No such option: --nope. See --help."),
        (["statu"], "No such command 'statu'. Did you mean 'status'? See --help."),
        (
            ["status", "--project", "p"],
            "Put --project before the command, as in `--project ID audit`.",
        ),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_looked_for(run_with, arguments, problem):
    ran = run_with(*arguments)
    assert (ran.status, ran.err) == (2, f"{problem}\n")


def test_without_arguments_there_is_help_and_nothing_else():
    ran = process()
    assert ("Usage:" in ran.stdout + ran.stderr, "See --help" in ran.stderr) == (True, False)


def test_an_address_of_an_emulator_must_have_a_port(run_with):
    ran = run_with("--project", "demo-x", "status", FIREBASE_AUTH_EMULATOR_HOST="localhost")
    assert (ran.status, "must be host:port, not 'localhost'" in ran.err) == (2, True)


def test_without_emulators_one_line_says_so_at_once():
    nobody = "127.0.0.1:1"
    addresses = {"FIREBASE_AUTH_EMULATOR_HOST": nobody, "FIRESTORE_EMULATOR_HOST": nobody}
    began = time.monotonic()
    ran = process("--project", "demo-chatsync", "status", **addresses)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert f"No emulator answers at {nobody}: run `make start`" in ran.stderr
    assert time.monotonic() - began < 30


def test_a_python_without_the_packages_is_told_which_one_has_them():
    command = [sys.executable, "-S", "-m", "chatsync", "status"]
    ran = subprocess.run(command, cwd=FUNCTIONS, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "functions/venv/bin/python" in ran.stderr


@pytest.mark.parametrize("asked", [["status"], ["explain", "ann"], ["explain", "ann", "bob"]])
def test_missing_settings_are_named(run_with, asked):
    ran = run_with("--project", "somebody-elses", *asked)
    assert (ran.status, "STREAM_API_KEY is not set" in ran.err) == (2, True)
    assert "functions:secrets:access" not in ran.err
    ran = run_with("--project", "somebody-elses", *asked, STREAM_API_KEY="key")
    assert (ran.status, "STREAM_API_SECRET is not set" in ran.err) == (2, True)
    assert "functions:secrets:access" in ran.err
    assert ran.out == ""


def test_a_project_may_be_named_by_its_alias(run_with, tmp_path, monkeypatch):
    (tmp_path / ".firebaserc").write_text('{"projects": {"staging": "my-app-stg"}}')
    (tmp_path / ".env.my-app-stg").write_text("STREAM_API_KEY=key\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options.config_module, "FOLDER", tmp_path)
    assert "STREAM_API_SECRET is not set" in run_with("--project", "staging", "status").err


def test_a_projects_settings_come_from_its_own_file_too(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("STREAM_API_KEY=of-all\nSTREAM_USER_ROLE=guest\n")
    (tmp_path / ".env.a-project").write_text("STREAM_API_KEY='its-own'\n# STREAM_BASE_URL=none\n")
    monkeypatch.setattr(options.config_module, "FOLDER", tmp_path)
    monkeypatch.setattr(os, "environ", {"GOOGLE_CLOUD_PROJECT": "a-project"})
    options.use_project()
    settings = {name: value for name, value in os.environ.items() if name.startswith("STREAM_")}
    assert settings == {"STREAM_API_KEY": "its-own", "STREAM_USER_ROLE": "guest"}


def test_emulators_are_where_firebase_json_puts_them(tmp_path, monkeypatch):
    ports = {
        "auth": {"port": 1},
        "firestore": {"host": "localhost", "port": 2},
        "functions": {"port": 3},
    }
    stated = f"// ours\n{json.dumps({'emulators': ports})}"
    (tmp_path / "firebase.json").write_text(stated)
    monkeypatch.setattr(options.config_module, "FOLDER", tmp_path / "chatsync")
    monkeypatch.setattr(options, "refuse_without_emulators", lambda: None)
    monkeypatch.setattr(os, "environ", {"GOOGLE_CLOUD_PROJECT": "demo-x"})
    options.use_project()
    assert {name: os.environ[name] for name in os.environ if name.endswith("_EMULATOR_HOST")} == {
        "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:1",
        "FIRESTORE_EMULATOR_HOST": "localhost:2",
        "CLOUD_TASKS_EMULATOR_HOST": "127.0.0.1:9499",
    }
    assert app_calls.functions_url("demo-x").startswith("http://127.0.0.1:3/demo-x/")


def test_a_local_projects_settings_come_from_the_files_that_the_emulators_read(
    tmp_path, monkeypatch
):
    for name, text in {
        ".env": "STREAM_API_KEY=of-all\n",
        ".env.demo-x": "STREAM_API_KEY=its-own\nCHATSYNC_REGION=europe-west1\n",
        ".env.local": "STREAM_BASE_URL=http://127.0.0.1:3030\n",
        ".secret.local": "STREAM_API_SECRET=secret\n",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(options.config_module, "FOLDER", tmp_path)
    monkeypatch.setattr(options, "refuse_without_emulators", lambda: None)
    monkeypatch.setattr(os, "environ", {"GOOGLE_CLOUD_PROJECT": "demo-x"})
    options.use_project()
    settings = {name: os.environ[name] for name in os.environ if name.startswith(("STREAM", "CH"))}
    assert settings == {
        "STREAM_API_KEY": "its-own",
        "CHATSYNC_REGION": "europe-west1",
        "STREAM_BASE_URL": "http://127.0.0.1:3030",
        "STREAM_API_SECRET": "secret",
    }


def test_missing_google_credentials_are_told():
    settings = {"STREAM_API_KEY": "key", "STREAM_API_SECRET": "secret", "HOME": "/nonexistent"}
    ran = process("--project", "a-project", "status", **settings, NO_GCE_CHECK="true")
    assert ran.returncode == 2
    assert "gcloud auth application-default login" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_deployed_functions_do_without_the_commands_packages():
    code = "import sys, main; print({'typer', 'chatsync.operator'} & set(sys.modules))"
    environment = {"GCLOUD_PROJECT": "demo-chatsync"}
    kept = {"PATH": os.environ["PATH"], **environment}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=FUNCTIONS, env=kept, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "set()", ran.stderr
