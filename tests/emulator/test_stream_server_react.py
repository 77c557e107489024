"""The local Stream server, judged by Stream's React UI in Chromium: two people, a day of chat.

Needs no emulators. The tests are steps of one story, in this order.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    expect,
)
from stream_chat import StreamChat
from stream_chat.channel import Channel

from stream_server.control_client import LocalStream
from stream_server.user_client import user_token

REPOSITORY = Path(__file__).parents[2]
MODULES = REPOSITORY / "node_modules"
APP = Path(__file__).with_name("stream_server_react.jsx")
PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<link rel="stylesheet" href="stream_server_react.css">
<style>
  #root, .str-chat { height: 700px }
  .str-chat__channel-list { float: left; width: 260px }
</style>
<div id="root"></div><script src="stream_server_react.js"></script>"""
SEEN_MS = 60_000
"""What one person does is seen by the other within this time."""
# A picture of one pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4"
    "890000000d49444154789c6360f8cfc0f01f00050001ff56c7d5a40000000049"
    "454e44ae426082"
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(own_stream_server: LocalStream) -> LocalStream:
    return own_stream_server


@pytest.fixture(scope="module")
def chat(server: LocalStream) -> StreamChat:
    """With Ann and Bea, and channel One of both, in which Ann wrote before."""
    chat = StreamChat(server.key, server.secret, base_url=server.url)
    chat.upsert_users([{"id": "ann", "name": "Ann"}, {"id": "bea", "name": "Bea"}])
    one = create(chat, "one", "One")
    for text in ("first", "second"):
        one.send_message({"text": text}, "ann")
    return chat


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built app."""
    if not (MODULES / "stream-chat-react").exists():
        pytest.skip("stream-chat-react is not installed")
    folder = tmp_path_factory.mktemp("app")
    (folder / "index.html").write_text(PAGE)
    esbuild = MODULES / ".bin" / "esbuild"
    options = ("--bundle", "--jsx=automatic", "--log-level=warning", f"--outdir={folder}")
    subprocess.run([esbuild, APP, *options], cwd=REPOSITORY, check=True, timeout=120)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as files:
        Thread(target=files.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{files.server_address[1]}/"
        files.shutdown()


@pytest.fixture(scope="module")
def people(
    server: LocalStream, chat: StreamChat, app: str, browser: Browser
) -> Iterator[dict[str, Page]]:
    """Ann's and Bea's pages; at the end nothing failed, in their consoles or on the network."""
    failed: list[str] = []
    pages = {name: opened(browser, address(app, server, name), failed) for name in ("ann", "bea")}
    yield pages
    assert failed == []


def opened(browser: Browser, url: str, failed: list[str]) -> Page:
    def said(message: ConsoleMessage) -> None:
        # A hint about a part of the UI that this app has left out.
        if message.type in ("error", "warning") and "useChatViewContext" not in message.text:
            failed.append(message.text)

    def answered(response: Response) -> None:
        if response.status >= 400:
            failed.append(f"{response.status} {response.url}")

    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.set_default_timeout(SEEN_MS)
    page.on("console", said)
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("response", answered)
    page.goto(url)
    see(page.get_by_text("first", exact=True).first)
    return page


def address(app: str, server: LocalStream, name: str) -> str:
    fields = {"user": name, "token": user_token(server, name), "url": server.url}
    return f"{app}?{urlencode(fields)}"


@pytest.fixture
def ann(people: dict[str, Page]) -> Page:
    return people["ann"]


@pytest.fixture
def bea(people: dict[str, Page]) -> Page:
    return people["bea"]


def create(chat: StreamChat, channel_id: str, name: str) -> Channel:
    channel = chat.channel("messaging", channel_id, {"members": ["ann", "bea"], "name": name})
    channel.create("ann")
    return channel


def see(place: Locator) -> None:
    expect(place).to_be_visible(timeout=SEEN_MS)


def write(page: Page | Locator, text: str) -> None:
    page.get_by_test_id("message-input").first.press_sequentially(text)


def say(page: Page | Locator, text: str) -> None:
    write(page, text)
    page.get_by_test_id("message-input").first.press("Enter")


def message(page: Page, text: str) -> Locator:
    main_list = page.locator(".str-chat__main-panel .str-chat__message")
    return main_list.filter(has=page.get_by_text(text, exact=True)).first


def press(page: Page, text: str, button: str) -> None:
    """A button of the message with this text, that shows when the pointer is there and stays."""
    page.keyboard.press("Escape")
    message(page, text).get_by_test_id(button).dispatch_event("click")


def choose(page: Page, text: str, action: str) -> None:
    """From the menu of the message with this text."""
    press(page, text, "message-actions-toggle-button")
    page.get_by_text(action, exact=True).first.click()


def test_a_message_is_seen_at_once(ann, bea):
    say(ann, "Hello Bea")
    see(message(bea, "Hello Bea"))


def test_others_are_seen_typing_and_reading(ann, bea):
    write(bea, "Hello")
    see(ann.get_by_text("typing").first)
    bea.get_by_test_id("message-input").first.press("Enter")
    see(message(ann, "Hello"))
    say(ann, "Did you read this?")
    see(message(ann, "Did you read this?").get_by_test_id("message-status-read-by"))


def test_a_reaction_is_seen(ann, bea):
    press(bea, "Hello Bea", "message-reaction-action")
    bea.get_by_test_id("reaction-selector").get_by_role("button").first.click()
    see(message(ann, "Hello Bea").locator(".str-chat__message-reactions").first)


def test_an_edit_is_seen(ann, bea):
    choose(ann, "Hello Bea", "Edit Message")
    ann.get_by_test_id("message-input").first.press("End")
    say(ann, "!")
    see(message(bea, "Hello Bea!"))


def test_a_quote_is_seen(ann, bea):
    choose(bea, "Hello Bea!", "Quote Reply")
    say(bea, "I quote you")
    quote = message(ann, "I quote you").locator(".str-chat__quoted-message-preview")
    see(quote.get_by_text("Hello Bea!"))


def test_a_pin_is_kept(chat, bea):
    choose(bea, "Hello Bea!", "Pin")
    see(message(bea, "Hello Bea!").get_by_text("Pinned by").first)
    (pinned,) = chat.channel("messaging", "one").query()["pinned_messages"]
    assert (pinned["text"], pinned["pinned_by"]["id"]) == ("Hello Bea!", "bea")


def test_an_image_is_seen(ann, bea):
    picture = {"name": "dot.png", "mimeType": "image/png", "buffer": PNG}
    ann.locator("input[type=file]").first.set_input_files(picture)
    see(ann.get_by_test_id("attachment-preview-list").or_(ann.locator("img[src^=blob]")).first)
    say(ann, "A dot")
    see(message(bea, "A dot").locator("img[src*=_files]"))


def test_a_deletion_is_seen(ann, bea):
    say(ann, "Oops")
    see(message(bea, "Oops"))
    choose(ann, "Oops", "Delete message")
    ann.get_by_role("button", name="Delete").last.click()
    expect(bea.get_by_text("Oops", exact=True)).to_have_count(0, timeout=SEEN_MS)


def test_a_new_channel_appears_and_its_badge_clears(chat, bea):
    two = create(chat, "two", "Two")
    see(bea.get_by_text("Two", exact=True).first)
    two.send_message({"text": "News"}, "ann")
    see(bea.get_by_text("1 unread in all"))
    bea.get_by_text("Two", exact=True).first.click()
    see(message(bea, "News"))
    see(bea.get_by_text("0 unread in all"))


def test_who_comes_back_sees_what_happened(chat, server, app, bea):
    bea.goto("about:blank")
    chat.channel("messaging", "one").send_message({"text": "While you were away"}, "ann")
    bea.goto(address(app, server, "bea"))
    see(message(bea, "While you were away"))
    # The list opens its first channel by itself: one was unread, but maybe for a moment only.
    count = bea.get_by_text("0 unread in all")
    see(count)
    assert "1" in (count.get_attribute("data-counts") or "").split()


def test_a_thread_is_seen(ann, bea):
    press(ann, "I quote you", "thread-action")
    say(ann.locator(".str-chat__thread"), "In the thread")
    see(ann.locator(".str-chat__thread").get_by_text("In the thread").first)
    see(message(bea, "I quote you").get_by_text("1 reply"))
