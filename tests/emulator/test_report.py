"""The page of ``report`` in Chromium: in light, in dark, printed, and with 10,000 findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from chatsync.audit.steps import Finding
from chatsync.operator.page import page_of
from tests.emulator.commands import run_command
from tests.operators_view import HOSTILE, findings, thirty_nights

FINDINGS = 10_000
LEAST_CONTRAST = 4.5
"""Of text, by WCAG 2.2, level AA."""

WEAK_TEXTS = """
(elements, least) => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((part) => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const page = luminance(getComputedStyle(document.body).backgroundColor);
  return elements.filter((element) => {
    const style = getComputedStyle(element);
    const text = luminance(element.closest('svg') ? style.fill : style.color);
    return (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05) < least;
  }).map((element) => element.textContent);
}
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(page_of(thirty_nights(), findings(FINDINGS)), encoding="utf-8")
    return file


@pytest.fixture
def page(browser, written) -> Iterator[Page]:
    """The page; at the end nothing was asked for from elsewhere, and there was no error."""
    page = browser.new_page(viewport={"width": 900, "height": 1200})
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.on("request", lambda request: told.append(request.url))
    page.goto(written.as_uri())
    yield page
    page.close()
    assert told == [written.as_uri()]


def rows(page: Page) -> Locator:
    return page.locator("#findings table").last.locator("tbody tr")


def test_of_ten_thousand_findings_two_hundred_are_drawn_at_once(page):
    assert rows(page).count() == 200
    assert page.get_by_text(f"200 of {FINDINGS} are shown.").is_visible()
    page.locator("#findings").get_by_role("button", name="Show more").click()
    assert rows(page).count() == 400


def test_findings_are_filtered_by_what_is_typed_and_by_kind(page):
    page.get_by_label("Filter findings").fill("USER:0999")
    assert rows(page).count() == 10
    page.get_by_label("kind").select_option("wrong_team")
    assert set(rows(page).locator("td:first-child").all_inner_texts()) == {"wrong_team"}
    page.get_by_label("Filter findings").fill("nobody at all")
    assert rows(page).count() == 0


def test_findings_are_sorted_by_a_column_and_back(page):
    last = f"user:{FINDINGS - 1:05}"
    head = page.locator("#findings").get_by_role("button", name="who or what")
    head.click()
    assert rows(page).first.locator("td").nth(1).inner_text() == HOSTILE
    head.click()
    assert rows(page).first.locator("td").nth(1).inner_text() == last
    assert page.get_by_role("columnheader", name="who or what").get_attribute("aria-sort") == (
        "descending"
    )


def test_what_people_wrote_is_shown_as_text(page):
    assert page.get_by_role("cell", name=HOSTILE).count() == 2
    assert page.locator("b").count() == 0


def test_every_text_can_be_read(page):
    texts = page.locator("svg text, h2, p, li, td, th, button, summary")
    assert texts.count() > 1000
    for shown in product(("light", "dark"), ("screen", "print")):
        page.emulate_media(color_scheme=shown[0], media=shown[1])
        assert texts.evaluate_all(WEAK_TEXTS, LEAST_CONTRAST) == [], shown


def test_print_is_light_and_without_what_is_to_be_clicked(page):
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.get_by_label("Filter findings").is_visible()
    assert not page.get_by_role("button", name="Show more").is_visible()


def test_a_small_screen_needs_no_scrolling_to_the_side(page):
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_long_words_of_people_need_no_scrolling_to_the_side(browser, tmp_path):
    word = "x" * 5000
    entry = {"kind": "user", "key": word, "reason": word, "lastError": word}
    file = tmp_path / "report.html"
    health = replace(thirty_nights(), parked_entries=[entry], missing_events=[word])
    file.write_text(page_of(health, [Finding(word, word, word, word)]), encoding="utf-8")
    for width in (380, 900):
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()


def test_on_a_small_screen_charts_keep_their_size_and_show_the_last_nights(page):
    page.set_viewport_size({"width": 380, "height": 800})
    size = page.locator("#sync svg text").first.evaluate("e => e.getBoundingClientRect().height")
    assert size >= 9
    [last] = [t for t in page.locator("#sync svg text").all() if t.inner_html() == "99.4%"][-1:]
    box = last.bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= 380


def test_an_operator_writes_it_beside_the_emulators(emulators, browser, tmp_path):
    file = tmp_path / "report.html"
    ran = run_command("report", "--out", str(file))
    assert ran.returncode in (0, 1), ran.stderr
    assert ran.stdout.startswith(f"Wrote {file}: ")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.get_by_role("heading", name="Outbox").is_visible()
    page.close()
