"""The safeguard: a wrong setting stops an audit or backfill before it does harm to everybody."""

from __future__ import annotations

import pytest

from chatsync import audit as audits
from chatsync.audit import CREATING, pages
from chatsync.audit.safeguard import Sample, refuse_too_many, sample
from chatsync.audit.steps import RECONCILED, Finding
from chatsync.entry.events import reconcile_after_sign_up, remove_after_event
from chatsync.errors import Unsafe
from chatsync.operator import options


@pytest.fixture(autouse=True)
def no_limits(stream):
    for operation in ("QueryUsers", "UpdateUsers", "UpdateUsersPartial", "DeleteUser"):
        stream.remove_limit(operation)


@pytest.fixture
def a_live_app(accounts, chat) -> None:
    """Thirty accounts whose Stream ids the app has always made by a format of its own."""
    for n in range(30):
        accounts.sign_up(f"person-{n:02}")
    chat.upsert_users([{"id": f"app_person-{n:02}"} for n in range(30)])


def ids_in(chat) -> set[str]:
    users = []
    while page := chat.query_users({}, limit=100, offset=len(users))["users"]:
        users += page
    return {user["id"] for user in users}


# The format of ids


@pytest.mark.parametrize(
    ("users", "ours", "is_doubtful"),
    [(0, 0, False), (19, 0, False), (20, 0, True), (20, 1, False), (500, 24, True), (40, 2, False)],
)
def test_ids_are_doubtful_if_fewer_than_a_twentieth_of_twenty_or_more_are_ours(
    users, ours, is_doubtful
):
    assert bool(Sample(users, ours).doubt) == is_doubtful


def test_a_backfill_with_a_wrong_id_format_doubles_nobody(run, a_live_app, chat):
    before = ids_in(chat)
    ran = run("backfill", "--apply")
    assert ran.status == 2
    assert "of 30 users in Stream, 0 belong to an account" in ran.err
    assert "stream.user_id = '{uid}' in chatsync.toml" in ran.err
    assert "--i-know" in ran.err
    assert ids_in(chat) == before


@pytest.fixture
def run_with(run, with_settings, monkeypatch):
    """The command with some settings changed."""

    def run_with(sections, *arguments):
        monkeypatch.setattr(options, "connect", lambda: with_settings(**sections))
        return run(*arguments)

    return run_with


def test_with_the_right_format_the_same_backfill_goes_on(run_with, a_live_app, chat):
    before = ids_in(chat)
    assert run_with({"stream": {"user_id": "app_{uid}"}}, "backfill", "--apply").status == 0
    assert ids_in(chat) == before


def test_i_know_goes_on(run, a_live_app, chat):
    assert run("backfill", "--apply", "--i-know").status == 0
    assert len(ids_in(chat)) == 60


def test_a_nightly_audit_with_a_wrong_id_format_stops_and_says_why(
    a_live_app, chat, clients, tasks, run
):
    before = ids_in(chat)
    audits.begin_nightly(clients)
    [task] = [one for one in tasks.waiting if one["function"] == "runSweep"]
    audits.run(task["data"]["auditId"], clients)
    audit = audits.recent(clients)[0]
    assert audit.state == "unsafe"
    assert ids_in(chat) == before
    problems = {one["name"]: one["detail"] for one in run("status", "--json").json()["problems"]}
    assert problems["audit stopped"].startswith("of 30 users in Stream")


def test_an_operators_audit_that_creates_stops_as_well(run, a_live_app, chat):
    before = ids_in(chat)
    ran = run("audit", "--users", "--repair", "missing_documents", "--apply")
    assert (ran.status, "0 belong to an account" in ran.err) == (2, True)
    assert ids_in(chat) == before


def test_sign_ups_after_the_deployment_do_not_hide_a_wrong_id_format(
    run, a_live_app, accounts, chat, clients, firestore
):
    firestore.document("chatsync/setup").set({"serviceAccount": ""})
    for uid in ("new-1", "new-2", "new-3"):
        accounts.sign_up(uid)
        reconcile_after_sign_up(uid, clients)
    before = ids_in(chat)
    assert run("backfill", "--apply").status == 2
    assert ids_in(chat) == before


def test_an_app_that_began_with_chatsync_is_not_doubted(run, accounts, chat, firestore):
    firestore.document("chatsync/setup").set({"serviceAccount": ""})
    chat.upsert_users([{"id": f"guest-{n}"} for n in range(30)])
    accounts.sign_up("ann")
    assert run("backfill", "--apply").status == 0


def test_the_app_can_turn_it_off(run_with, a_live_app):
    assert run_with({"safety": {"check_ids": False}}, "backfill", "--apply").status == 0


def test_an_audit_that_only_looks_is_not_stopped(run, a_live_app):
    ran = run("audit", "--users")
    assert (ran.status, "missing stream user" in ran.out) == (1, True)


def test_service_users_do_not_count(run_with, accounts, chat):
    bots = [f"bot-{n}" for n in range(30)]
    chat.upsert_users([{"id": bot} for bot in bots])
    accounts.sign_up("ann")
    assert run_with({"stream": {"service_users": tuple(bots)}}, "backfill", "--apply").status == 0


def test_who_was_deactivated_when_their_account_was_deleted_does_not_count(with_settings, accounts):
    clients = with_settings(stream={"delete_policy": "deactivate"})
    for n in range(25):
        accounts.sign_up(f"gone-{n}")
        reconcile_after_sign_up(f"gone-{n}", clients)
        accounts.delete(f"gone-{n}")
        remove_after_event(f"gone-{n}", clients)
    assert sample(clients) == Sample(0, 0)


def test_a_few_strangers_in_stream_prove_nothing(run, accounts, chat):
    chat.upsert_users([{"id": f"test-user-{n}"} for n in range(19)])
    accounts.sign_up("ann")
    assert run("backfill", "--apply").status == 0


def test_ours_may_stand_behind_a_hundred_strangers(run, accounts, chat, clients):
    chat.upsert_users([{"id": f"1-stranger-{n:03}"} for n in range(100)])
    for n in range(30):
        accounts.sign_up(f"person-{n:02}")
        reconcile_after_sign_up(f"person-{n:02}", clients)
    accounts.sign_up("new")
    assert run("backfill", "--apply").status == 0


def test_the_format_is_checked_once_in_a_run(a_live_app, clients, monkeypatch):
    looked = []
    monkeypatch.setattr(pages, "refuse_wrong_ids", looked.append)
    monkeypatch.setattr(pages, "repair_page", lambda *_: {"repaired": 0, "failed": 0})
    audit = audits.start("backfill", clients, steps=("accounts", "accounts"), repair=RECONCILED)
    while audit.state == "running":
        audit = audits.run_page(audit, clients)
    assert len(looked) == 1


@pytest.mark.parametrize(
    ("in_stream", "is_right", "told"),
    [
        (["ann", "bob"], True, "of 2 users in Stream, 2 belong to an account or company"),
        (
            ["ann", "doc_1"],
            True,
            "doc_1 does not: if that is neither guest nor bot, is stream.user",
        ),
        (["app_ann"], False, "is stream.user_id = '{uid}' right?"),
        ([f"app_{n}" for n in range(20)], False, "is stream.user_id = '{uid}' right?"),
    ],
)
def test_doctor_names_a_wrong_format_before_anything_is_deployed(
    run, accounts, chat, in_stream, is_right, told
):
    accounts.sign_up("ann")
    accounts.sign_up("bob")
    chat.upsert_users([{"id": one} for one in in_stream])
    verdicts = {one["check"]: one for one in run("doctor", "--json").json()}
    assert (verdicts["ids"]["ok"], told in verdicts["ids"]["verdict"]) == (is_right, True)


def test_an_audit_of_before_the_safeguard_goes_on(accounts, clients, firestore):
    accounts.sign_up("ann")
    audit = audits.start("nightly", clients, repair=CREATING)
    document = firestore.document(f"audits/{audit.id}")
    fields = document.get().to_dict()
    document.set({name: fields[name] for name in fields if name not in ("reason", "idsAreChecked")})
    assert audits.read(audit.id, clients).ids_are_checked is False


# How much is removed or closed


def orphans(number: int) -> list[Finding]:
    return [Finding("orphan_stream_user", f"user:ghost-{n}") for n in range(number)]


@pytest.mark.parametrize(
    ("affected", "records", "is_refused"),
    [(19, 0, False), (20, 0, True), (20, 380, False), (21, 379, True), (1000, 30_000, False)],
)
def test_more_than_five_percent_are_not_removed_at_once(affected, records, is_refused, clients):
    counts = {"users": {"records": records}}
    try:
        refuse_too_many(orphans(affected), counts, clients.settings)
        assert not is_refused
    except Unsafe:
        assert is_refused


def test_three_documents_of_one_person_are_one(clients):
    collections = ("users", "user_profiles", "user_stats")
    findings = [
        Finding("orphan_documents", f"{one}/u{n}") for one in collections for n in range(19)
    ]
    refuse_too_many(findings, {}, clients.settings)


def test_findings_that_were_counted_and_not_saved_are_affected_as_well(clients):
    """An audit saves ten thousand, and the next one would save the next ten thousand."""
    saved = [Finding("only_in_firestore", f"messaging:c{n}") for n in range(100)]
    counts = {"channels": {"records": 3000, "only_in_firestore": 3000}}
    with pytest.raises(Unsafe, match="3000 of 3000 channels are only_in_firestore"):
        refuse_too_many(saved, counts, clients.settings)
    documents = [Finding("orphan_documents", f"users/u{n}") for n in range(19)]
    refuse_too_many(documents, {"users": {"orphan_documents": 57}}, clients.settings)


def test_channels_that_would_be_closed_are_a_share_of_all_channels(clients):
    findings = [Finding("only_in_firestore", f"messaging:c{n}") for n in range(20)]
    refuse_too_many(findings, {"channels": {"records": 400}}, clients.settings)
    with pytest.raises(Unsafe, match="20 of 399 channels are only_in_firestore"):
        refuse_too_many(findings, {"channels": {"records": 399}}, clients.settings)


def test_the_share_is_the_apps_own(with_settings):
    settings = with_settings(safety={"max_percent": 60.0}).settings
    refuse_too_many(orphans(50), {"users": {"records": 50}}, settings)


def test_too_many_orphans_are_not_removed_and_nobody_is_asked(run, chat, accounts):
    chat.upsert_users([{"id": f"ghost-{n:02}"} for n in range(25)])
    accounts.sign_up("ann")
    asked = ("audit", "--users", "--repair", "orphan_stream_user", "--apply")
    ran = run(*asked, "--yes")
    assert ran.status == 2
    assert "25 of 26 users are orphan_stream_user" in ran.err
    assert "Nothing was" not in ran.err  # what is to be created was created before
    assert len(ids_in(chat)) == 25
    assert run(*asked, "--yes", "--i-know").status == 1  # ann is missing
    assert ids_in(chat) == set()
