"""What a deployment does by itself: the webhook, a first audit, and a backfill if asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from firebase_admin.exceptions import PermissionDeniedError
from firebase_functions import logger

from chatsync import audit as audits
from chatsync import clients as client_module
from chatsync import proof
from chatsync.clients import Clients, place
from chatsync.clients import tasks as task_calls
from chatsync.clients.stream import Stream
from chatsync.entry import set_up as module
from chatsync.entry.set_up import set_up, with_ours
from chatsync.errors import FirebaseUnavailable, Temporary
from chatsync.operator import options
from tests.fast.firebase_in_memory import PROJECT
from tests.fast.interrupted import dies_before

ADDRESS = f"https://asia-south1-{PROJECT}.cloudfunctions.net/streamWebhook"
OTHERS = [
    {
        "id": "1",
        "hook_type": "webhook",
        "webhook_url": "https://app.example/stream",
        "enabled": True,
    },
    {"id": "2", "hook_type": "sqs", "sqs_queue_url": "https://sqs.example/q", "enabled": False},
]


@pytest.fixture
def told(monkeypatch):
    """What the log says."""
    entries: list[str] = []
    monkeypatch.setattr(logger, "write", lambda entry: entries.append(entry["message"]))
    return lambda: "\n".join(entries)


@pytest.fixture(autouse=True)
def an_app_with_hooks(stream, chat, monkeypatch):
    stream.remove_limit("UpdateApp")
    monkeypatch.setattr(module, "webhook_address", lambda project: ADDRESS)
    chat.update_app_settings(event_hooks=OTHERS, webhook_url="", webhook_events=[])
    yield
    stream.webhook(None)


def hooks_in(chat) -> list[dict[str, Any]]:
    return chat.get_app_settings()["app"]["event_hooks"]


def places(chat) -> list[str]:
    return [one.get("webhook_url") or one["sqs_queue_url"] for one in hooks_in(chat)]


def recorded(firestore) -> dict[str, Any]:
    return firestore.document("chatsync/setup").get().to_dict() or {}


def audits_in(firestore) -> list[str]:
    return sorted(one.get("mode") for one in firestore.collection("audits").get())


def sweeps(tasks) -> list[str]:
    return [task["data"]["auditId"] for task in tasks.waiting if task["function"] == "runSweep"]


# The webhook


def test_stream_sends_its_events_to_us_and_other_hooks_stay(chat, clients):
    before = hooks_in(chat)
    set_up(clients, with_backfill=False)
    after = hooks_in(chat)
    assert [{**one, "updated_at": ""} for one in after[:2]] == [
        {**one, "updated_at": ""} for one in before
    ]
    assert (after[2]["webhook_url"], set(after[2]["event_types"])) == (ADDRESS, set(proof.EVENTS))
    assert after[2]["enabled"]


def test_what_stream_sends_is_noted_as_the_night_does(clients, firestore):
    set_up(clients, with_backfill=False)
    assert firestore.document("chatsync/webhook").get().get("missingEvents") == []


def test_a_webhook_that_was_set_by_hand_is_left_alone(chat, clients):
    url = "https://streamwebhook-abc123-el.a.run.app"
    chat.update_app_settings(webhook_url=url, webhook_events=list(proof.EVENTS))
    set_up(clients, with_backfill=False)
    assert len(hooks_in(chat)) == 2


@pytest.mark.parametrize(
    ("ours", "types"),
    [
        ({"enabled": False, "event_types": ["message.new"]}, {"message.new", *proof.EVENTS}),
        ({"enabled": True, "event_types": ["x.y", *proof.EVENTS]}, {"x.y", *proof.EVENTS}),
        ({"enabled": True, "event_types": []}, set()),
    ],
)
def test_a_hook_of_ours_is_completed(ours, types):
    hook = {"id": "3", "hook_type": "webhook", "webhook_url": ADDRESS, "product": "chat", **ours}
    [*others, after] = with_ours([*OTHERS, hook], ADDRESS, None)
    assert others == OTHERS
    assert (after["id"], after["product"], after["enabled"]) == ("3", "chat", True)
    assert set(after["event_types"]) == types


def test_another_region_moves_the_hook(chat, clients, monkeypatch):
    set_up(clients, with_backfill=False)
    [*_, before] = hooks_in(chat)
    there = ADDRESS.replace("asia-south1", "us-central1")
    monkeypatch.setattr(module, "webhook_address", lambda project: there)
    set_up(clients, with_backfill=False)
    [*_, after] = hooks_in(chat)
    assert (after["id"], after["webhook_url"], len(hooks_in(chat))) == (before["id"], there, 3)


def test_what_is_recorded_is_only_checked(chat, clients, tasks, told):
    set_up(clients, with_backfill=True)
    chat.update_app_settings(event_hooks=OTHERS)
    tasks.waiting.clear()
    set_up(clients, with_backfill=True)
    assert places(chat) == [OTHERS[0]["webhook_url"], OTHERS[1]["sqs_queue_url"]]
    assert sweeps(tasks) == []
    assert "Stream does not send" in told()


def test_hooks_that_stream_lost_are_told(clients, monkeypatch, told):
    send = Stream.set_event_hooks
    monkeypatch.setattr(
        Stream, "set_event_hooks", lambda self, hooks, deadline: send(self, hooks[1:], deadline)
    )
    set_up(clients, with_backfill=False)
    assert "Stream lost the event hook 1 (app.example): add it again" in told()


def test_a_hook_that_does_not_appear_is_no_success(clients, firestore, monkeypatch):
    monkeypatch.setattr(Stream, "set_event_hooks", lambda *_: None)
    monkeypatch.setattr(module, "VISIBLE_AFTER_SECONDS", 0.1)
    with pytest.raises(Temporary, match="does not show the webhook"):
        set_up(clients, with_backfill=False)
    assert "webhookUrl" not in recorded(firestore)


def test_the_address_is_that_of_the_second_generation(monkeypatch):
    monkeypatch.setenv("CHATSYNC_REGION", "europe-west1")
    expected = "https://europe-west1-my-project.cloudfunctions.net/streamWebhook"
    assert place.webhook_address("my-project") == expected


def test_the_hook_of_another_project_is_not_taken_for_ours(chat, clients):
    """Two projects may share a Stream app for a while, or the project moved to another region."""
    theirs = {
        "hook_type": "webhook",
        "webhook_url": "https://asia-south1-staging.cloudfunctions.net/streamWebhook",
        "enabled": True,
        "event_types": list(proof.EVENTS),
    }
    chat.update_app_settings(event_hooks=[*OTHERS, theirs])
    set_up(clients, with_backfill=False)
    assert places(chat)[2:] == [theirs["webhook_url"], ADDRESS]


# The first audit, and the backfill


def test_a_first_audit_repairs_nothing(accounts, clients, firestore, tasks, chat):
    accounts.sign_up("ann")
    set_up(clients, with_backfill=False)
    assert audits_in(firestore) == ["setup"]
    [audit_id] = sweeps(tasks)
    audits.run(audit_id, clients)
    audit = audits.read(audit_id, clients)
    assert (audit.state, audit.findings, audit.repaired) == ("done", 2, 0)
    assert chat.query_users({})["users"] == []


def test_with_backfill_the_server_brings_everybody(accounts, clients, firestore, tasks, chat):
    accounts.sign_up("ann")
    set_up(clients, with_backfill=True)
    assert audits_in(firestore) == ["backfill", "setup"]
    for audit_id in sweeps(tasks):
        audits.run(audit_id, clients)
    assert [user["id"] for user in chat.query_users({})["users"]] == ["ann"]


def test_the_safeguard_stops_the_backfill_and_the_next_deployment_tries_again(
    accounts, clients, firestore, tasks, chat
):
    accounts.sign_up("ann")
    chat.upsert_users([{"id": f"app_person-{n}"} for n in range(30)])
    set_up(clients, with_backfill=True)
    for audit_id in sweeps(tasks):
        audits.run(audit_id, clients)
    stopped = audits.read(recorded(firestore)["backfillId"], clients)
    assert (stopped.state, len(chat.query_users({}, limit=100)["users"])) == ("unsafe", 30)
    set_up(clients, with_backfill=True)
    assert audits_in(firestore) == ["backfill", "backfill", "setup"]


def test_a_backfill_that_an_operator_stopped_goes_on(clients, firestore):
    begun = audits.start("backfill", clients, steps=("accounts",), repair=("missing_documents",))
    audits.set_state(begun, "stopped", clients)
    set_up(clients, with_backfill=True)
    assert recorded(firestore)["backfillId"] == begun.id
    assert audits.read(begun.id, clients).state == "running"


def test_an_installation_begins_no_second_backfill_later(clients, firestore, tasks):
    set_up(clients, with_backfill=True)
    for audit_id in sweeps(tasks):
        audits.run(audit_id, clients)
    set_up(clients, with_backfill=True)
    assert audits_in(firestore) == ["backfill", "setup"]


def test_a_redeployment_after_the_audits_expired_begins_no_second_backfill(clients, firestore):
    """Audits are kept for 90 days."""
    set_up(clients, with_backfill=True)
    for one in firestore.collection("audits").get():
        one.reference.delete()
    set_up(clients, with_backfill=True)
    assert audits_in(firestore) == []


# Failures


def test_without_the_role_it_says_what_prints_it(clients, monkeypatch, chat, run):
    """The account of the functions has a name only after the first deployment."""

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionDeniedError("The principal lacks iam.serviceAccounts.actAs")

    queues = task_calls.TaskQueues(client_module.firebase_app(), "asia-south1")
    monkeypatch.setattr(task_calls.functions, "task_queue", forbidden)
    monkeypatch.setattr(module, "service_account", lambda: "ext@local.iam.gserviceaccount.com")
    with pytest.raises(Temporary, match="`doctor` prints the role"):
        set_up(replace(clients, tasks=queues), with_backfill=True)
    assert places(chat)[2] == ADDRESS  # what can be done is done
    verdicts = {one["check"]: one for one in run("doctor", "--json").json()}
    assert not verdicts["set-up"]["ok"]
    assert (
        "gcloud iam service-accounts add-iam-policy-binding ext@local.iam.gserviceaccount.com"
        " --member=serviceAccount:ext@local.iam.gserviceaccount.com"
        " --role=roles/iam.serviceAccountUser" in verdicts["set-up"]["verdict"]
    )
    set_up(clients, with_backfill=True)
    verdicts = {one["check"]: one for one in run("doctor", "--json").json()}
    assert verdicts["set-up"]["ok"]


def test_a_pause_puts_the_webhook_off_until_it_ends(clients, firestore, chat, tasks):
    clients.pause.pause()
    with pytest.raises(Temporary, match="paused since"):
        set_up(clients, with_backfill=True)
    assert len(hooks_in(chat)) == 2
    assert "auditId" in recorded(firestore)
    clients.pause.resume()
    tasks.waiting.clear()
    module.go_on(clients)
    assert [task["function"] for task in tasks.waiting] == ["setUp"]
    set_up(clients, with_backfill=True)
    assert places(chat)[2] == ADDRESS


def test_a_region_that_changed_in_a_long_pause_is_followed_after_it(
    clients, tasks, run, monkeypatch
):
    set_up(clients, with_backfill=False)
    there = ADDRESS.replace("asia-south1", "us-central1")
    monkeypatch.setattr(module, "webhook_address", lambda project: there)
    clients.pause.pause()
    with pytest.raises(Temporary, match="paused since"):
        set_up(clients, with_backfill=False)
    tasks.waiting.clear()
    assert run("resume").status == 0
    assert "setUp" in [task["function"] for task in tasks.waiting]


def test_resume_completes_the_set_up_though_it_failed_to_at_first(clients, tasks, run):
    clients.pause.pause()
    with pytest.raises(Temporary):
        set_up(clients, with_backfill=False)
    tasks.waiting.clear()
    tasks.before_call = lambda *_: (_ for _ in ()).throw(FirebaseUnavailable("down"))
    ran = run("resume")
    assert (ran.status, ran.out.split(":")[0]) == (2, "Resumed")
    assert ran.err.splitlines()[-1] == "setUp is not called (down): resume again, or deploy."
    tasks.before_call = lambda *_: None
    assert run("resume").out.startswith("Nothing was paused.\n`setUp` is called")
    assert "setUp" in [task["function"] for task in tasks.waiting]


def test_where_nothing_was_deployed_it_is_called_in_an_apps_emulators_only(
    clients, tasks, run, monkeypatch
):
    module.go_on(clients)
    assert tasks.waiting == []
    monkeypatch.setattr(options, "IS_WHEEL", True)
    assert "`setUp` is called" in run("resume").out
    assert [task["function"] for task in tasks.waiting] == ["setUp"]


def test_status_says_what_is_not_set_up(clients, run):
    assert "not deployed yet" in run("status").out
    clients.firestore.document("chatsync/setup").set({"serviceAccount": "ours"})
    assert "not set up (the webhook is not set by it; no audit has begun)" in run("status").out
    set_up(clients, with_backfill=True)
    out = run("status").out
    assert "set-up         done" in out
    assert "users only, running: 0 compared" in out


def killed_before(number: int, clients: Clients, firestore_api, tasks, monkeypatch) -> bool:
    """Whether a set-up made so many calls, and was killed before the one of this number."""
    call = clients.stream._calls._call

    def watched(*args: Any, **options: Any) -> Any:
        firestore_api.before_call("Stream")
        return call(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(clients.stream._calls, "_call", watched)
        return dies_before(
            number, lambda: set_up(clients, with_backfill=True), firestore_api, tasks
        )


def test_it_may_be_killed_anywhere(clients, firestore, firestore_api, tasks, chat, monkeypatch):
    number = 0
    was_killed = True
    while was_killed:
        number += 1
        firestore_api.documents.clear()
        tasks.waiting.clear()
        tasks.used_ids.clear()
        chat.update_app_settings(event_hooks=OTHERS)
        was_killed = killed_before(number, clients, firestore_api, tasks, monkeypatch)
        set_up(clients, with_backfill=True)
        assert len(hooks_in(chat)) == 3, number
        assert places(chat)[2] == ADDRESS, number
        assert audits_in(firestore) == ["backfill", "setup"], number
        done = recorded(firestore)
        assert sorted(sweeps(tasks)) == sorted([done["auditId"], done["backfillId"]]), number
    assert number > 15


@pytest.mark.parametrize("side", ["Stream", "tasks"])
def test_what_fails_for_now_is_called_again(side, clients, stream, tasks, firestore):
    if side == "Stream":
        stream.fault("UpdateApp", "status", status=503)
    else:
        tasks.before_call = lambda *_: (_ for _ in ()).throw(FirebaseUnavailable("down"))
    with pytest.raises(Temporary):
        set_up(clients, with_backfill=False)
    done = recorded(firestore)
    assert ("auditId" in done, "webhookUrl" in done) == (side == "Stream", side == "tasks")
