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
from chatsync.audit.steps import Finding
from chatsync.daily import Day
from chatsync.errors import StreamRejected
from chatsync.ids import Key
from chatsync.operator import charts
from chatsync.operator.health import Health
from chatsync.operator.nights import nights_of
from chatsync.operator.page import charts_of, page_of
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


def rated(*rates: tuple[int, int]) -> Health:
    """Nights in their order, each with its records and how many agree."""
    audits = [
        replace(audited(ago), counts={"users": {"records": records, "agreeing": agreeing}})
        for ago, (records, agreeing) in enumerate(reversed(rates))
    ]
    return Health("demo-app", NOW, audits=audits)


def labels(drawing: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", drawing)


def drawing_of(health: Health, section: str) -> str:
    [chart] = [one for one in charts_of(health) if one.id == section]
    return chart.svg


@pytest.mark.parametrize(
    "rates", [[(9, 9)] * 30, [(100_000, 99_990)] * 30, [(10, 10), (10, 0)], [(1, 1)], [(1, 0)]]
)
def test_the_axis_of_the_rate_has_no_label_twice_and_none_that_cannot_be(rates):
    shown = [one for one in labels(drawing_of(rated(*rates), "sync")) if one.endswith("%")][:-1]
    assert len(shown) == len(set(shown)) > 1
    assert all(re.fullmatch(r"\d+\.\d%", one) for one in shown)


def test_only_what_agrees_whole_is_told_as_whole():
    [sync, *_] = charts_of(rated((100_000, 100_000), (100_000, 99_999)))
    assert sync.caption.startswith("99.9% when the last audit began")
    assert labels(sync.svg).count("100.0%") + labels(sync.svg).count("100%") <= 1


def test_a_team_without_any_agreement_is_not_in_sync():
    teams = {"a": {"records": 3, "agreeing": 0}, "b": {"records": 3, "agreeing": 3}}
    [_, shown, *_] = charts_of(Health("demo-app", NOW, audits=[replace(audited(0), teams=teams)]))
    assert shown.caption.startswith("1 of 2 teams were not in sync")


def test_teams_with_the_same_beginning_have_a_row_each():
    teams = {f"organisation-north-{n}": {"records": 10, "agreeing": 9} for n in range(3)}
    drawn = drawing_of(Health("demo-app", NOW, audits=[replace(audited(0), teams=teams)]), "teams")
    assert len([one for one in labels(drawn) if "n-north-" in one]) == 3


def test_few_nights_are_drawn_as_narrow_as_many():
    health = thirty_nights()
    for few in (1, 2):
        days = dict(list(health.days.items())[-few:])
        for one in charts_of(replace(health, audits=health.audits[:few], days=days)):
            dates = [text for text in labels(one.svg) if re.match("Oct|Nov", text)]
            assert dates[: len(set(dates))] == list(dict.fromkeys(dates)), one.id


def test_days_that_were_not_recorded_are_told_and_no_zero():
    health = thirty_nights()
    days = {date: day for date, day in health.days.items() if date not in ("2026-11-20",)}
    for one in charts_of(replace(health, days=days)):
        if one.id in ("outbox", "limits"):
            assert "1 of 30 days was not recorded: it is marked." in one.caption
            assert ("2026-11-20", "not recorded") in [row[:2] for row in one.rows]


def test_only_the_last_thirty_days_are_shown_and_none_to_come():
    days = {"2026-01-01": Day(waiting=5), "2026-11-27": Day(waiting=1), "9999-12-31": Day(7)}
    [outbox] = [c for c in charts_of(Health("demo-app", NOW, days=days)) if c.id == "outbox"]
    assert [row[0] for row in outbox.rows] == ["2026-11-27"]
    assert "The most was 1, on 2026-11-27." in outbox.caption


def test_a_file_that_cannot_hold_the_page_is_named(run, tmp_path):
    for out in ("/dev/full", str(tmp_path / ("x" * 300))):
        ran = run("report", "--out", out)
        assert (ran.status, out in ran.err, "bug" in ran.err) == (2, True, False)


@pytest.mark.parametrize("odd", [None, 7, b"x", NOW, {"a": 1}, "\ud800\u2028\u202e`x`{{7*7}}"])
def test_a_finding_or_an_entry_of_another_type_is_shown(odd):
    health = thirty_nights()
    entry = dict.fromkeys(("kind", "key", "reason", "lastError", "firstFailedAt"), odd)
    finding = Finding("wrong_team", odd, odd, odd)
    page = page_of(replace(health, parked_entries=[entry]), [finding])
    assert json.loads(re.findall(r'id="tables">(.*?)</script>', page, re.DOTALL)[0])
    assert "49" not in re.findall(r"<section.*?</section>", page, re.DOTALL)[0]


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
    [*_, line, _] = charts.sync_rate(nights_of(thirty_nights().audits, NOW), NOW)["layer"]
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
