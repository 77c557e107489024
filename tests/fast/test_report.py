"""``report``: the nights that count, and what stands on the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree

import pytest

from chatsync import daily, outbox
from chatsync.audit import Audit
from chatsync.errors import StreamRejected
from chatsync.ids import Key
from chatsync.operator import charts
from chatsync.operator.health import Health
from chatsync.operator.nights import nights_of
from chatsync.operator.page import page_of
from chatsync.outcome import Outcome
from tests.operators_view import HOSTILE, NOW, findings, thirty_nights


def audited(ago: int, state: str = "done", mode: str = "nightly", hour: int = 2) -> Audit:
    at = (NOW - timedelta(days=ago)).replace(hour=hour)
    return Audit(f"{mode}-{ago}-{hour}", mode, (), state=state, started_at=at)


def dates(nights) -> list[tuple[str, str | None]]:
    return [(one.date, one.audit and one.audit.id) for one in nights]


def test_there_are_thirty_nights_in_their_order_and_none_is_left_out():
    nights = nights_of(thirty_nights().audits, NOW)
    assert len(nights) == 30
    assert [one.date for one in nights] == sorted(one.date for one in nights)
    assert sum(one.audit is None for one in nights) == 2


def test_the_nights_begin_with_the_first_audit():
    audits = [audited(0), audited(2, mode="setup")]
    assert dates(nights_of(audits, NOW)) == [
        ("2026-11-25", "setup-2-2"),
        ("2026-11-26", None),
        ("2026-11-27", "nightly-0-2"),
    ]


@pytest.mark.parametrize("state", ["running", "failed", "unsafe", "stopped"])
def test_an_audit_that_is_not_done_makes_no_night(state):
    assert dates(nights_of([audited(0, state)], NOW)) == [("2026-11-27", None)]


def test_what_operators_run_is_no_night():
    assert nights_of([audited(0, mode="operator"), audited(1, mode="backfill")], NOW) == []


def test_of_two_audits_in_a_night_the_later_one_counts():
    nights = nights_of([audited(0, hour=5), audited(0, hour=2)], NOW)
    assert dates(nights) == [("2026-11-27", "nightly-0-5")]


def test_a_night_that_is_not_over_is_not_missing():
    at_two = NOW.replace(hour=2, minute=1)
    assert dates(nights_of([audited(1)], at_two)) == [("2026-11-26", "nightly-1-2")]


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(thirty_nights(), findings(10_000))


def test_the_page_says_first_what_is_wrong(page):
    verdict = page[page.index('id="verdict"') :]
    assert "2 things are wrong." in verdict[:200]
    assert page.index('id="verdict"') < page.index("<svg")


def test_every_section_says_in_words_what_its_chart_shows(page):
    text = " ".join(page.split())
    for told in (
        "2 of 30 nights have no audit",
        "of 20 teams were not in sync on the last night. The 12 lowest are shown.",
        "The most was 200, on 2026-11-18.",
        "At most 85% of a minute&#39;s limit was used: UpdateUsers, on 2026-11-18.",
        "2 wait until a person acts.",
        "The audit of 2026-11-27 02:00 UTC found",
    ):
        assert told in text


def test_what_people_wrote_is_no_markup(page):
    assert HOSTILE not in page
    assert page.count("<script") == 2
    tables = json.loads(re.findall(r'id="tables">(.*?)</script>', page, re.DOTALL)[0])
    assert HOSTILE in {row[0] for row in tables[0]["rows"]}
    assert HOSTILE in {row[1] for row in tables[1]["rows"]}


def test_nothing_comes_from_elsewhere_and_only_its_own_script_runs(page):
    addresses = set(re.findall(r"""(?:src|href|url)\s*[=(]""", page))
    assert addresses == set()
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'" in page


def test_each_chart_is_a_drawing_in_the_colours_of_the_page(page):
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 5
    used = set(re.findall(r"var\(--(\w+)\)", "".join(drawings)))
    assert used <= set(re.findall(r"--(\w+):", page))
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', drawing))
        assert all(one.startswith("var(") or one in ("none", "transparent") for one in colours)


def test_a_thousand_teams_and_a_night_of_nothing_are_drawn():
    health = thirty_nights(teams=1000)
    empty = replace(health.audits[0], teams={}, counts={}, findings=0, repaired=0)
    assert "The 12 lowest are shown" in page_of(health, [])
    assert "<svg" in page_of(replace(health, audits=[empty, *health.audits[1:]]), [])


def test_a_new_project_has_a_page_without_charts():
    page = page_of(Health("demo-app", NOW), [])
    assert "<svg" not in page
    for told in ("Nothing is wrong.", "No nightly audit has ended yet", "has recorded no day yet"):
        assert told in page


def test_the_scale_of_the_rate_shows_small_differences():
    [*_, line, _] = charts.sync_rate(nights_of(thirty_nights().audits, NOW))["layer"]
    low, high = line["encoding"]["y"]["scale"]["domain"]
    assert (high, 0.9 < low < 1) == (1, True)


def test_the_command_writes_the_page_and_says_what_is_wrong(run, clients, tmp_path):
    refusal = StreamRejected("role no-such-role", 400, 4)
    outbox.write_entries([Outcome(Key("user", "ann"), "ann", None, refusal)], clients)
    daily.note(clients)
    assert run("audit").status == 0
    out = tmp_path / "report.html"
    ran = run("report", "--out", str(out))
    assert (ran.status, ran.out.strip()) == (1, f"Wrote {out}: 1 thing is wrong.")
    assert "parked, rejected" in out.read_text()


def test_a_file_that_cannot_be_written_is_named(run, tmp_path):
    for out in (tmp_path, tmp_path / "nowhere" / "report.html"):
        ran = run("report", "--out", str(out))
        assert (ran.status, str(out) in ran.err) == (2, True)


def test_without_its_packages_it_says_how_to_get_them(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "chatsync.operator.page", None)
    ran = run("report", "--out", str(tmp_path / "report.html"))
    assert (ran.status, "pip install 'chatsync[report]'" in ran.err) == (2, True)
