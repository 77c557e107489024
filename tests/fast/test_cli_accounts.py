"""``audit --users --all``: every account, with its state on every side."""

from __future__ import annotations

import pytest

from chatsync.clients.stream import Stream
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import StreamRateLimited
from chatsync.operator import accounts as listing
from chatsync.operator import options

DAY_MS = 24 * 3600 * 1000
NEW_YEAR_MS = 1_767_225_600_000


@pytest.fixture
def people(accounts, clients, firestore, chat) -> None:
    """From the oldest: in agreement, differs, deactivated, disabled, imported, lacks a profile."""
    for day, uid in enumerate(("fine", "differs", "deactivated", "disabled", "imported", "lacks")):
        fields = {"disabled": True} if uid == "disabled" else {}
        created_ms = NEW_YEAR_MS + day * DAY_MS
        accounts.sign_up(uid, created_ms, displayName=uid, email=f"{uid}@example.com", **fields)
        if uid not in ("disabled", "imported"):
            reconcile_after_sign_up(uid, clients)
    chat.update_user_partial({"id": "differs", "set": {"name": "Other"}})
    chat.deactivate_user("deactivated")
    firestore.document("user_profiles/lacks").delete()


STATES = {
    "lacks": ["exists", "missing", "exists", "exists"],
    "imported": ["missing", "missing", "missing", "missing"],
    "disabled": ["missing", "missing", "missing", "disabled"],
    "deactivated": ["exists", "exists", "exists", "deactivated"],
    "differs": ["exists", "exists", "exists", "differs"],
    "fine": ["exists", "exists", "exists", "exists"],
}


def test_every_account_is_listed_with_its_states_newest_first(run, people):
    ran = run("audit", "--users", "--all")
    assert ran.status == 1
    header, *lines, total = ran.out.splitlines()
    assert header.split() == ["created", "users", "profile", "stats", "stream", "uid"]
    assert {line.split()[-1]: line.split()[2:-1] for line in lines} == STATES
    assert [line.split()[-1] for line in lines] == list(STATES)
    assert lines[-1].startswith("2026-01-01 00:00")
    assert total.startswith("6 accounts, 2 of them in agreement.")
    assert "Missing: 2 users, 3 profile, 2 stats, 1 stream." in total
    assert "@" not in ran.out


def test_a_line_with_a_uid_of_firebase_has_less_than_a_hundred_characters(
    run,
    accounts,
):
    accounts.sign_up("a" * 28)
    assert max(map(len, run("audit", "--users", "--all").out.splitlines())) < 100


def test_only_what_is_an_issue_may_be_listed(run, people):
    lines = run("audit", "--users", "--all", "--only-issues").out.splitlines()[1:-1]
    assert [line.split()[-1] for line in lines] == ["lacks", "imported", "disabled", "differs"]


def test_machines_get_json(run, people):
    listed = run("audit", "--users", "--all", "--json").json()
    assert [one["uid"] for one in listed] == list(STATES)
    assert listed[0] == {
        "uid": "lacks",
        "createdAt": "2026-01-06T00:00:00+00:00",
        **dict(zip(("users", "profile", "stats", "stream"), STATES["lacks"], strict=True)),
        "streamUserId": "lacks",
    }


def test_nobody_is_a_list_too(run):
    ran = run("audit", "--users", "--all", "--json")
    assert (ran.status, ran.json()) == (0, [])


def test_all_pages_are_listed_however_many_are_sorted_together(
    run,
    accounts,
    monkeypatch,
):
    monkeypatch.setattr(listing, "MOST_SORTED", 1_000)
    for n in range(1_200):
        accounts.sign_up(f"u{n:04}", NEW_YEAR_MS + n)
    listed = run("audit", "--users", "--all", "--json").json()
    uids = [one["uid"] for one in listed]
    assert uids == sorted(uids[:1000], reverse=True) + sorted(uids[1000:], reverse=True)
    assert len(set(uids)) == 1_200


def test_who_is_not_provisioned_or_not_decided_is_no_issue(
    run,
    accounts,
    with_settings,
    monkeypatch,
):
    anonymous = with_settings(stream={"provision_anonymous_users": False})
    accounts.sign_up("guest")
    monkeypatch.setattr(options, "connect", lambda: anonymous)
    ran = run("audit", "--users", "--all")
    assert ran.status == 0
    assert ran.out.splitlines()[1].split()[2:] == ["-", "-", "-", "anonymous", "guest"]


def test_a_uid_that_cannot_be_in_stream_is_listed(run, accounts, stream):
    accounts.sign_up("ä" * 100)
    [listed] = run("audit", "--users", "--all", "--json").json()
    assert listed["stream"] == "impossible"


def test_it_waits_for_streams_rate_limit(run, people, monkeypatch):
    query, limited = Stream.query_users, [StreamRateLimited("limited", 0)]

    def query_once_limited(self, *arguments):
        if limited:
            raise limited.pop()
        return query(self, *arguments)

    monkeypatch.setattr(Stream, "query_users", query_once_limited)
    assert len(run("audit", "--users", "--all", "--json").json()) == len(STATES)


@pytest.mark.parametrize("more", [["--channels"], ["--team", "x"], ["--apply"], []])
def test_it_lists_and_does_nothing_else(run, more):
    arguments = ["--users", *more] if more else []
    assert run("audit", "--all", *arguments).status == 2
