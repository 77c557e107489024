"""examples/web in Chromium, played to its end: the crash, its repair, and a chat of two people."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

from dev import emulators

DEADLINE_MS = 60_000
SEEN_MS = 10_000
"""What one person does is seen by the other within this time."""

CRASH = "400 /channels/messaging/query"
"""Of the crash and of the attempt before the repair; the console has a line for each too."""


@pytest.fixture(scope="module")
def page(nothing_is_left, browser: Browser) -> Iterator[Page]:
    """The example; at the end nothing failed but the crash, and nothing was asked for elsewhere."""
    failed: list[str] = []
    asked: list[str] = []

    def answered(request: Request) -> None:
        response = request.response()
        if response and response.status >= 400:
            failed.append(f"{response.status} {urlsplit(request.url).path}")

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            failed.append(f"{message.text} {urlsplit(message.location['url']).path}")

    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(DEADLINE_MS)
    page.on("requestfinished", answered)
    page.on("requestfailed", lambda request: failed.append(f"{request.failure} {request.url}"))
    page.on("console", said)
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(emulators.url("web example"))
    yield page
    assert sorted(one for one in failed if not one.startswith("Failed to load")) == [CRASH] * 2
    assert len(failed) == 4, failed
    assert {urlsplit(one).hostname for one in asked if not one.startswith("data:")} == {
        emulators.HOST
    }
    page.close()


def app_of(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=f"{name}'s app")


def click(page: Page, step: str) -> None:
    """Returns when the step is done."""
    button = page.get_by_role("button", name=step, exact=True)
    button.click()
    expect(button).to_have_class("done", timeout=DEADLINE_MS)


def see(place: Locator) -> None:
    expect(place).to_be_visible(timeout=SEEN_MS)


def write(app: Locator, text: str) -> None:
    app.get_by_test_id("message-input").press_sequentially(text)


def messages(app: Locator, text: str) -> Locator:
    return app.get_by_role("listitem").get_by_text(text)


def test_people_who_sign_up_can_chat(page):
    click(page, "Ann and Ben sign up")
    ann, ben = app_of(page, "Ann"), app_of(page, "Ben")
    click(page, "Ann chats with Ben")
    write(ann, "Hi Ben\n")
    see(ben.get_by_role("option", name="Ann"))


def test_a_chat_with_somebody_missing_crashes(page):
    click(page, "Lena is imported")
    see(app_of(page, "Lena").get_by_text("not in Stream"))
    click(page, "Ann opens a chat with Lena")
    see(app_of(page, "Ann").get_by_role("alert").get_by_text("don't exist: [lena-"))


def test_the_repair_opens_the_chat(page):
    click(page, "Repair")
    ann = app_of(page, "Ann")
    expect(ann.get_by_role("alert")).to_have_count(0)
    expect(app_of(page, "Lena").get_by_text("not in Stream")).to_have_count(0)
    see(page.get_by_text('"status":"created"'))


def test_both_see_each_other_write_and_read(page):
    click(page, "Lena opens her app")
    ann, lena = app_of(page, "Ann"), app_of(page, "Lena")
    for one, name, other in [(ann, "Ann", lena), (lena, "Lena", ann)]:
        write(one, f"{name} says hello")
        see(other.get_by_text(f"{name} is typing").first)
        one.get_by_test_id("message-input").press("Enter")
        see(messages(other, f"{name} says hello"))
        see(one.get_by_test_id("message-status-read-by").last)
