"""The local Stream server's inspector in Chromium, as a developer uses it. Needs no emulators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect
from stream_chat import StreamChat

from stream_server.control_client import LocalStream
from tests.emulator.test_report import LEAST_CONTRAST, WEAK_TEXTS

REPOSITORY = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror=alert(1)><b>Bob</b>"
PAGES = ("", "users", "user?id=bob", "channels", "channel?cid=messaging:general", "webhooks")
SMALL = {"width": 400, "height": 800}


@pytest.fixture
def stream(own_stream_server: LocalStream) -> LocalStream:
    own_stream_server.restore_limits()
    own_stream_server.reset()
    own_stream_server.webhook(None)
    return own_stream_server


@pytest.fixture
def chat(stream) -> StreamChat:
    chat = StreamChat(stream.key, stream.secret, base_url=stream.url)
    chat.upsert_users([{"id": "ann", "name": "Ann"}, {"id": "bob", "name": HOSTILE}])
    channel = chat.channel("messaging", "general", {"name": "General", "members": ["ann", "bob"]})
    channel.create("ann")
    channel.send_message({"text": HOSTILE}, "bob")
    return chat


@pytest.fixture
def page(browser, stream, chat) -> Iterator[Page]:
    """The first page; at the end nothing was asked for from elsewhere, and there was no error."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    errors: list[str] = []
    addresses: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(f"{stream.url}/_control/")
    yield page
    page.close()
    assert errors == []
    own = (f"{stream.url}/_control/", "data:,")
    assert [address for address in addresses if not address.startswith(own)] == []


def calls(page):
    return page.locator("#calls tbody tr")


def test_calls_appear_while_one_looks(page, chat):
    expect(calls(page)).to_have_count(3)
    chat.update_user_partial({"id": "ann", "set": {"name": "Ann Archer"}})
    expect(calls(page)).to_have_count(4)
    newest = calls(page).first
    expect(newest).to_contain_text("UpdateUsersPartial")
    expect(newest).to_contain_text("Ann Archer")
    expect(newest.locator(".status")).to_have_text("200")


def test_nothing_moves_when_live_is_switched_off(page, chat, stream):
    page.get_by_label("Live").uncheck()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    chat.update_user_partial({"id": "ann", "set": {"name": "Ann Archer"}})
    page.wait_for_timeout(1_500)  # longer than a page waits
    assert asked == []
    expect(calls(page)).to_have_count(3)


def test_a_call_is_opened_by_a_click_anywhere_in_its_row(page):
    box = calls(page).first.locator(".asked").bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    expect(page.get_by_role("heading", level=1)).to_contain_text("SendMessage")
    expect(page.get_by_role("region", name="Asked")).to_contain_text(HOSTILE)
    expect(page.get_by_role("region", name="Answered")).to_contain_text('"type": "regular"')
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("GetOrCreateChannel")


def test_calls_are_filtered(page):
    page.get_by_label("Operation").select_option("UpdateUsers")
    page.get_by_role("button", name="Filter").click()
    expect(calls(page)).to_have_count(1)
    page.get_by_role("link", name="Show all").click()
    page.get_by_label("User or channel").fill("messaging:general")
    page.keyboard.press("Enter")
    expect(calls(page)).to_have_count(2)


def test_the_keyboard_alone_is_enough_and_live_updates_keep_its_place(page, chat):
    page.locator("#calls a").first.focus()
    opened = page.evaluate("document.activeElement.id")
    chat.update_user_partial({"id": "ann", "set": {"name": "Ann Archer"}})
    expect(calls(page)).to_have_count(4)
    assert page.evaluate("document.activeElement.id") == opened
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("SendMessage")


def test_the_first_stop_of_the_keyboard_leads_to_the_content(page):
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()


def test_a_channel_is_found_with_its_messages_as_text(page):
    page.get_by_role("link", name="Channels").click()
    page.get_by_role("link", name="General").click()
    expect(page.locator(".messages .text")).to_have_text(HOSTILE)
    expect(page.locator("main b, main img")).to_have_count(0)


def test_an_opened_part_stays_open_while_messages_arrive(page, chat, stream):
    page.goto(f"{stream.url}/_control/channel?cid=messaging:general")
    page.get_by_text("JSON", exact=True).click()
    expect(page.get_by_label("The message as JSON")).to_be_visible()
    chat.channel("messaging", "general").send_message({"text": "another"}, "ann")
    expect(page.locator(".messages .text")).to_have_count(2)
    expect(page.get_by_label("The message as JSON").first).to_be_visible()


def test_a_delivery_is_sent_again_by_a_click(page, chat, stream):
    stream.webhook(f"{stream.url}/nowhere")
    chat.update_user_partial({"id": "ann", "set": {"name": "Ann Archer"}})
    page.get_by_role("link", name="Webhooks").click()
    deliveries = page.locator("#deliveries tbody tr")
    expect(deliveries).to_have_count(1)
    expect(deliveries.first.locator(".status")).to_have_text("404")
    page.get_by_role("button", name="Send again").click()
    expect(deliveries).to_have_count(2)
    expect(deliveries.first).to_contain_text("attempt 2")


def test_a_fault_is_added_seen_and_removed(page, stream):
    page.get_by_role("link", name="Faults, limits and switches").click()
    form = page.locator("form", has=page.get_by_role("button", name="Add the fault"))
    form.get_by_label("Operation").select_option("QueryUsers")
    form.get_by_label("Status of an error answer").fill("503")
    page.get_by_role("button", name="Add the fault").click()
    expect(page.get_by_role("status").filter(has_text="The fault was added.")).to_be_visible()
    assert requests.get(f"{stream.url}/users", timeout=5).status_code == 503
    expect(page.locator("#fault-list")).to_contain_text("There are none.")


def test_switches_and_limits_are_set_by_clicks(page, stream):
    page.get_by_role("link", name="Faults, limits and switches").click()
    group = page.get_by_role("group", name="task_status")
    group.get_by_role("button", name="failed").click()
    expect(group.get_by_role("button", name="failed")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Calls of GetApp", exact=True).fill("7")
    page.get_by_role("button", name="Set the limit of GetApp", exact=True).click()
    expect(page.locator("#left-GetApp")).to_have_text("7 of 7")
    assert stream.state()["switches"]["task_status"] == "failed"


def test_everything_is_forgotten_only_after_a_second_click(page, stream):
    page.get_by_role("link", name="Faults, limits and switches").click()
    button = page.get_by_role("button", name="Forget everything")
    expect(button).not_to_be_visible()
    page.get_by_text("Forget all users, channels and messages").click()
    button.click()
    expect(page.get_by_text("Everything was forgotten.")).to_be_visible()
    assert stream.state()["counts"]["users"] == 0


def test_a_page_of_another_origin_cannot_reset_the_server(browser, stream, chat):
    other = browser.new_page()
    other.route("http://evil.example/", lambda route: route.fulfill(body="<p>A page of others"))
    other.goto("http://evil.example/")
    with other.expect_response(f"{stream.url}/_control/forms/reset") as answer:
        other.evaluate(
            """address => {
              const form = Object.assign(document.createElement("form"), {action: address});
              form.method = "post";
              document.body.append(form);
              form.submit();
            }""",
            f"{stream.url}/_control/forms/reset",
        )
    assert answer.value.status == 403
    other.close()
    assert stream.state()["counts"]["users"] == 2


def test_a_server_that_is_gone_is_told(page):
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError()); }")
    expect(page.get_by_text("The server does not answer.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(page, stream, scheme):
    page.emulate_media(color_scheme=scheme)
    call = f"call?n={stream.last_request()}"
    for path in (*PAGES, "steering", call):
        page.goto(f"{stream.url}/_control/{path}", wait_until="load")
        texts = page.locator("h1, h2, p, li, td, th, a, dt, dd, label, pre, summary")
        assert texts.evaluate_all(WEAK_TEXTS, LEAST_CONTRAST) == [], path


def test_a_small_screen_needs_no_scrolling_to_the_side(page, stream):
    page.set_viewport_size(SMALL)
    for path in (*PAGES, "steering"):
        page.goto(f"{stream.url}/_control/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= SMALL["width"], path


def test_it_is_usable_without_javascript(browser, stream, chat):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{stream.url}/_control/")
    expect(calls(page)).to_have_count(3)
    expect(page.get_by_label("Live")).not_to_be_visible()
    page.get_by_role("link", name="Faults, limits and switches").click()
    page.get_by_role("button", name="Add the fault").click()
    expect(page.get_by_text("The fault was added.")).to_be_visible()
    context.close()
