"""The nightly audit over the task queue, and the operator's commands as processes."""

import json
import uuid

import pytest
import requests
from firebase_admin import auth
from google.cloud.firestore import FieldFilter

from dev.emulators import HOST, PORTS, PROJECT, REGION
from dev.seed import COMMANDS_THAT_FIX_IT, TEAMS, seed
from tests.emulator.commands import run_command
from tests.waiting import wait_for


@pytest.fixture
def people(caller, firebase, firestore, stream_user):
    """Two users of all the teams of the seed."""
    friend = f"friend-{uuid.uuid4().hex[:6]}"
    auth.import_users([auth.ImportUserRecord(friend)], app=firebase)
    for uid in (caller.uid, friend):
        firestore.document("users", uid).set({"chat": {"teams": TEAMS}}, merge=True)
        caller.call("ensureStreamUser", {"userId": uid})
        wait_for(lambda uid=uid: stream_user(uid).get("teams") == TEAMS)
    return [caller.uid, friend]


def teams_of(*arguments):
    """Exit status and, by team of the seed, what the audit printed."""
    ran = run_command("audit", "--channels", "--json", *arguments)
    assert ran.stdout, ran.stderr
    audit = json.loads(ran.stdout)
    return ran.returncode, {team: audit["teams"][team] for team in TEAMS if team in audit["teams"]}


def test_the_audit_finds_what_drifted_apart_and_the_commands_mend_it(people, firestore, chat):
    seed(firestore, chat, people)
    status, teams = teams_of()
    assert status == 1
    assert teams == {
        "gym_1": {"wrong_team": 1},
        "gym_2": {"only_in_stream": 2},
        "gym_3": {"records": 5, "agreeing": 5},
        "gym_4": {"records": 9, "agreeing": 0, "only_in_firestore": 9},
        "gym_5": {"records": 1, "agreeing": 0, "wrong_team": 1},
    }
    for command in COMMANDS_THAT_FIX_IT:
        ran = run_command(*command)
        assert ran.returncode in (0, 1), ran.stderr  # other tests' channels may be findings
    _, teams = teams_of()
    assert teams == {
        "gym_2": {"records": 1, "agreeing": 1},
        "gym_3": {"records": 5, "agreeing": 5},
        "gym_5": {"records": 1, "agreeing": 1},
    }
    [room] = chat.query_channels({"id": "room_General_4"})["channels"]
    assert room["channel"]["gym_id"] == 5


def test_the_nightly_audit_heals_over_the_task_queue_and_deletes_nothing(
    firebase, firestore, chat, stream_user
):
    names = [f"import-{uuid.uuid4().hex[:6]}-{n}" for n in range(120)]
    auth.import_users([auth.ImportUserRecord(name) for name in names], app=firebase)
    ghost = f"ghost-{uuid.uuid4().hex[:6]}"
    chat.upsert_user({"id": ghost})
    schedule = f"http://{HOST}:{PORTS['functions']}/functions/projects/{PROJECT}/triggers"
    answer = requests.post(f"{schedule}/{REGION}-auditSync-0", json={}, timeout=60)
    assert answer.ok, answer.text

    def finished():
        query = firestore.collection("audits").where(filter=FieldFilter("mode", "==", "nightly"))
        return next((one for one in query.get() if one.get("state") == "done"), None)

    audit = wait_for(finished)
    counts = audit.get("counts")["users"]
    assert counts["missing_stream_user"] >= len(names)
    findings = [one.to_dict() for one in audit.reference.collection("findings").get()]
    assert ("orphan_stream_user", f"user:{ghost}") in {
        (one["kind"], one["key"]) for one in findings
    }
    assert all(stream_user(name) for name in (*names, ghost))
    collections = ("users", "user_profiles", "user_stats")
    documents = [firestore.document(one, name) for one in collections for name in names]
    assert all(snapshot.exists for snapshot in firestore.get_all(documents))


def test_backfill_and_doctor_and_status_work_from_a_shell(firebase, stream_user):
    name = f"legacy-{uuid.uuid4().hex[:6]}"
    auth.import_users([auth.ImportUserRecord(name)], app=firebase)
    dry = run_command("backfill")
    assert (dry.returncode, stream_user(name)) == (0, None)
    ran = run_command("backfill", "--apply", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["repaired"] >= 1
    assert stream_user(name)
    checks = {one["check"]: one["ok"] for one in json.loads(run_command("doctor", "--json").stdout)}
    assert {name for name, ok in checks.items() if ok} >= {
        "settings",
        "Firestore",
        "Auth",
        "Stream",
    }
    assert "lastAudit" in json.loads(run_command("status", "--json").stdout)
