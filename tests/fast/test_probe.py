"""``verify --probe`` says what Stream does: here the local Stream server, either way."""

from __future__ import annotations

from typing import Any

import pytest

from chatsync.operator import probe, throwaway
from stream_server.state import SWITCHES

UNKNOWN_MS = 300
TRUE_STREAM = {"burst_guard": True}
"""Documented by Stream, and off by default in the local server: a test's calls would be bursts."""

OTHERWISE = [
    (name, value)
    for name, switch in SWITCHES.items()
    for value in ((UNKNOWN_MS,) if isinstance(switch.choices, range) else switch.choices)
    if value != TRUE_STREAM.get(name, switch.default)
]


@pytest.fixture(autouse=True)
def short_looks(monkeypatch):
    monkeypatch.setattr(throwaway, "_PAUSE_SECONDS", 0.01)


@pytest.fixture
def probed(run, stream):
    """What the probe saw by switch, and its exit status, with some switches turned."""

    def probed(**switches: Any) -> tuple[int, dict[str, Any]]:
        stream.switch(**switches)
        ran = run("verify", "--probe", "--live", "a-project", "--seconds", "2", "--json")
        return ran.status, {row["switch"]: row for row in ran.json()}

    return probed


def test_every_switch_of_the_local_stream_server_is_an_assumption_that_is_tried():
    assumed = {one.switch: one.assumed for one in probe.ASSUMPTIONS}
    assert assumed == {name: one.default for name, one in SWITCHES.items()} | TRUE_STREAM


def test_all_assumptions_agree_with_a_stream_that_is_as_assumed(probed):
    status, rows = probed(**TRUE_STREAM)
    assert {name: row["seen"] for name, row in rows.items() if not row["agrees"]} == {}
    assert status == 0


@pytest.mark.parametrize(("switch", "value"), OTHERWISE)
def test_what_is_otherwise_is_seen_and_nothing_else(probed, switch, value):
    status, rows = probed(**{switch: value})
    assert status == 1
    differing = {name: row["seen"] for name, row in rows.items() if not row["agrees"]}
    assert differing.keys() == {switch, *TRUE_STREAM}
    if switch == "users_unknown_ms_after_upsert":
        assert UNKNOWN_MS / 2 < differing[switch] < 10 * UNKNOWN_MS
    else:
        assert differing[switch] == value


def test_what_it_made_is_gone_and_so_is_the_note_of_it(probed, stream, firestore_api):
    probed()
    assert stream.state()["counts"]["users"] == 0
    assert stream.state()["counts"]["deleted_users"] == 0
    assert stream.state()["counts"]["channels"] == 0
    assert firestore_api.left_documents() == set()


def test_what_a_killed_one_left_is_removed_by_the_next(probed, run, stream, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(throwaway, "remove", killed)
        patched.setattr(probe, "_line", killed)
        run("verify", "--probe", "--live", "a-project")
    assert stream.state()["counts"]["users"] > 0
    probed()
    assert stream.state()["counts"]["users"] == 0


def test_each_assumption_is_a_line_with_what_is_assumed_and_what_is_seen(run, stream):
    stream.switch(burst_guard=True, repeated_deactivation="accepted")
    ran = run("verify", "--probe", "--live", "a-project")
    lines = {line.split()[1]: line.split() for line in ran.out.splitlines()}
    assert lines.keys() == SWITCHES.keys()
    line = lines["repeated_deactivation"]
    assert line[:6] == ["no", "repeated_deactivation", "assumed", '"refused"', "seen", '"accepted"']


def test_it_is_refused_unless_the_project_is_named_once_more(run, stream):
    ran = run("verify", "--probe")
    assert (ran.status, ran.out) == (2, "")
    assert "--live a-project" in ran.err
    assert stream.requests() == []
