"""``status``: what it finds wrong with the whole, and its screen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from chatsync.audit import Audit
from chatsync.audit.steps import CHANNEL_STEPS, USER_STEPS
from chatsync.daily import Day
from chatsync.operator.health import Health, problems_of
from chatsync.operator.sentences import OF_THE_WHOLE
from chatsync.operator.status import facts_of, screen

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
NIGHT = NOW.replace(hour=2, minute=0)
SET_UP = {"webhookUrl": "https://x/streamWebhook", "auditId": "first"}
CREATING = ("missing_stream_user", "drifted_stream_user")

COLUMNS, LINES = 80, 24


def night(state: str = "done", **fields: Any) -> Audit:
    steps = (*USER_STEPS, *CHANNEL_STEPS)
    ends = {"finished_at": NIGHT + timedelta(minutes=4)} if state == "done" else {}
    known = {"started_at": NIGHT, "version": NIGHT, "repair": CREATING, **ends}
    return Audit("a", "nightly", steps, state=state, **(known | fields))


HEALTHY = Health("demo-app", NOW, set_up=SET_UP, audits=[night()])


def parked(reason: str, *keys: str) -> list[dict[str, str]]:
    return [{"kind": "user", "key": key, "reason": reason, "state": "parked"} for key in keys]


def waiting(minutes: int, reason: str = "stream_unavailable") -> Health:
    oldest = NOW - timedelta(minutes=minutes)
    entry = {"kind": "user", "key": "ann", "reason": reason}
    return replace(HEALTHY, waiting=1, oldest=oldest, waiting_entries=[entry])


def names(health: Health) -> list[str]:
    return [one.name for one in problems_of(health)]


def test_a_healthy_project_has_nothing_wrong():
    assert names(HEALTHY) == []


def test_a_project_before_its_first_deployment_has_nothing_wrong():
    assert names(Health("demo-app", NOW)) == []


@pytest.mark.parametrize(
    ("health", "name"),
    [
        (replace(HEALTHY, paused_since=NIGHT), "paused"),
        (replace(HEALTHY, set_up={"serviceAccount": "x", "auditId": "a"}), "not set up"),
        (replace(HEALTHY, missing_events=["user.banned"]), "events missing"),
        (replace(HEALTHY, audits=[night("unsafe", reason="ids"), night()]), "audit stopped"),
        (
            replace(HEALTHY, audits=[replace(night("running"), mode="backfill"), night()]),
            "backfill stopped",
        ),
        (replace(HEALTHY, audits=[]), "no audit"),
        (replace(HEALTHY, days={"2026-11-26": Day(limits={"QueryUsers": 0.81})}), "limit"),
        (waiting(11), "waiting, stream_unavailable"),
        (waiting(11, "something new"), "waiting, something new"),
        (
            replace(HEALTHY, parked=1, parked_entries=parked("rejected", "ann")),
            "parked, rejected",
        ),
        (
            replace(HEALTHY, audits=[night(counts={"users": {"orphan_documents": 2}})]),
            "orphan_documents",
        ),
    ],
)
def test_each_thing_that_is_wrong_is_found(health, name):
    assert names(health) == [name]


def test_every_sentence_about_the_whole_is_told_by_some_state():
    """The states above; the list must not lag behind."""
    told = {"paused", "not set up", "events missing", "audit stopped", "backfill stopped"}
    assert {*told, "no audit", "limit"} == set(OF_THE_WHOLE)


@pytest.mark.parametrize(
    "health",
    [
        waiting(9),
        replace(waiting(60), paused_since=None, oldest=NOW),
        replace(HEALTHY, audits=[night(counts={"users": {"missing_stream_user": 9}})]),
        replace(HEALTHY, audits=[night(counts={"channels": {"taken_channel": 1}})]),
        replace(HEALTHY, audits=[night("running"), night()]),
        replace(
            HEALTHY,
            audits=[replace(night("running"), mode="backfill", version=NOW), night()],
        ),
        replace(HEALTHY, days={"2026-11-25": Day(limits={"QueryUsers": 1.0})}),
        replace(HEALTHY, days={"2026-11-27": Day(limits={"QueryUsers": 0.8})}),
    ],
)
def test_what_is_usual_is_not_wrong(health):
    assert names(health) == []


def test_a_first_audit_has_a_day_to_end():
    young = replace(night("running"), mode="setup", started_at=NOW - timedelta(hours=25))
    assert names(replace(HEALTHY, audits=[young])) == []
    old = replace(young, started_at=NOW - timedelta(hours=27))
    assert names(replace(HEALTHY, audits=[young, old])) == ["no audit"]
    assert names(replace(HEALTHY, audits=[])) == ["no audit"]


def test_what_is_parked_for_an_unknown_reason_is_wrong_too():
    entries = [*parked("something new", "ann"), *parked("rejected", "bob")]
    health = replace(HEALTHY, parked=2, parked_entries=entries)
    assert names(health) == ["parked, rejected", "parked, something new"]


def test_a_parked_problem_quotes_the_last_error_and_counts_beyond_what_is_read():
    entries = [one | {"lastError": "code 4: role x"} for one in parked("rejected", "ann", "bob")]
    [problem] = problems_of(replace(HEALTHY, parked=2, parked_entries=entries))
    assert (problem.detail, problem.error) == ("2: ann, bob", "code 4: role x")
    [problem] = problems_of(replace(HEALTHY, parked=5, parked_entries=entries))
    assert problem.detail == "2 of the first 2: ann, bob"


def test_the_reason_that_is_told_is_that_of_those_that_are_late():
    fresh = [{"state": "waiting", "reason": "begun", "firstFailedAt": NOW}] * 5
    late = {**fresh[0], "reason": "credentials", "firstFailedAt": NOW - timedelta(hours=1)}
    health = replace(waiting(60), waiting=6, waiting_entries=[late, *fresh])
    assert names(health) == ["waiting, credentials"]


@pytest.mark.parametrize("odd", [None, 7, "yesterday", NOW + timedelta(hours=1)])
def test_an_odd_time_is_borne(odd):
    entries = [{"reason": "begun", "firstFailedAt": odd, "state": "waiting"}]
    oldest = odd if isinstance(odd, datetime) else None
    health = replace(HEALTHY, waiting=1, waiting_entries=entries, oldest=oldest)
    assert names(health) == []
    assert "-" not in dict(facts_of(health))["outbox"][0]


def test_findings_of_users_and_of_channels_are_of_the_last_audit_of_each():
    whole = night(counts={"users": {"orphan_documents": 1}, "channels": {"only_in_firestore": 1}})
    of_users = replace(
        whole, mode="operator", steps=USER_STEPS, counts={"users": {"wrong_kind": 1}}
    )
    assert names(replace(HEALTHY, audits=[of_users, whole])) == ["wrong_kind", "only_in_firestore"]
    running = replace(of_users, state="running")
    expected = ["orphan_documents", "only_in_firestore"]
    assert names(replace(HEALTHY, audits=[running, whole])) == expected


def test_it_says_how_findings_go_away():
    found = replace(HEALTHY, audits=[night(counts={"users": {"wrong_kind": 3}})])
    told = " ".join(screen(found, problems_of(found), COLUMNS, LINES))
    assert "`audit` looks again" in told
    assert "looks again" not in " ".join(screen(WORST, problems_of(waiting(60)), COLUMNS, LINES))


def test_an_audit_of_some_users_hides_no_finding_of_the_last_whole_one():
    whole = night(counts={"users": {"orphan_documents": 1}})
    some = replace(whole, mode="operator", team="red", counts={})
    assert names(replace(HEALTHY, audits=[some, whole])) == ["orphan_documents"]


WORST = replace(
    HEALTHY,
    project="demo-a-project-with-quite-a-long-name",
    paused_since=NIGHT,
    set_up={"serviceAccount": "x"},
    waiting=120_000,
    oldest=NOW - timedelta(days=3),
    waiting_entries=[{"kind": "user", "key": "x" * 128, "reason": "stream_unavailable"}] * 2000,
    parked=9000,
    parked_entries=[*parked("rejected", *("é" * 128,) * 1000), *parked("deleted", "bob")],
    audits=[
        night("unsafe", reason="of 30 users in Stream, 12 have ids of no account or company"),
        night(counts={"users": {"orphan_documents": 2, "wrong_kind": 3, "orphan_stream_user": 7}}),
        replace(night("stopped"), mode="backfill", seen=1_000_000, failed=3),
    ],
    missing_events=["member.added", "member.removed", "user.banned", "user.unbanned"],
    days={"2026-11-27": Day(9, 9, 9, {"UpdateUsersPartial": 1.0, "QueryUsers": 0.9})},
)


LONG = "x" * 100_000
OF_LONG_TEXTS = [
    replace(
        WORST,
        paused_since=None,
        set_up=SET_UP,
        missing_events=[],
        waiting=12,
        parked_entries=[{"kind": LONG, "key": LONG, "reason": one, "lastError": LONG}],
        waiting_entries=[{"kind": LONG, "key": LONG, "reason": LONG}],
        audits=[night("unsafe", reason=LONG), night()],
        days={"2026-11-27": Day(limits={LONG: 1.0})},
    )
    for one in ("rejected", LONG)
]
OF_LONG_TEXTS += [
    replace(HEALTHY, missing_events=[LONG] * 9),
    replace(HEALTHY, audits=[night("unsafe", reason=LONG), night()]),
]


@pytest.mark.parametrize(
    "health", [HEALTHY, waiting(30), Health("demo-app", NOW), WORST, *OF_LONG_TEXTS]
)
def test_it_fits_a_screen_of_80_by_24(health):
    lines = screen(health, problems_of(health), COLUMNS, LINES - 1)
    assert len(lines) < LINES, "\n".join(lines)
    assert all(cell_len(line) <= COLUMNS for line in lines)


def test_it_says_first_whether_anything_is_wrong():
    assert screen(HEALTHY, [], COLUMNS, LINES)[0] == "demo-app: nothing is wrong."
    lines = screen(WORST, problems_of(WORST), COLUMNS, LINES)
    assert lines[0] == "demo-a-project-with-quite-a-long-name: 11 things are wrong."
    assert lines[2].startswith("paused (since 2026-11-27 02:00 UTC): ")


def test_what_has_no_room_is_named():
    text = " ".join(screen(WORST, problems_of(WORST), COLUMNS, LINES))
    for problem in problems_of(WORST):
        assert problem.name in text
