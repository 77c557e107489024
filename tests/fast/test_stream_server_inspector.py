"""The inspector's pages over HTTP: what they show, hide, escape, change and refuse."""

from __future__ import annotations

import html
import re

import jwt
import pytest
import requests

from stream_server import bodies
from stream_server.inspector.texts import preview, shown, visible
from stream_server.own_origin import is_local_name
from tests.waiting import wait_for

HOSTILE = "<script>alert(1)</script>\" onload='x' \u202egnp \ud800 &amp;"
SHOWN = html.escape("<script>alert(1)</script>\" onload='x' \\u202egnp \\ud800 &amp;")
PAGES = ("", "users", "channels", "webhooks", "steering")


def get(stream, path="", **parameters):
    response = requests.get(f"{stream.url}/_control/{path}", params=parameters, timeout=5)
    assert response.status_code == 200, response.text
    return response.text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")


def post(stream, form, headers=None, **fields):
    return requests.post(
        f"{stream.url}/_control/forms/{form}", data=fields, headers=headers, timeout=5
    )


def call_page(stream, operation):
    entry = [one for one in stream.requests() if one["operation"] == operation][-1]
    return get(stream, "call", n=entry["n"])


@pytest.fixture
def channel(chat):
    chat.upsert_users([{"id": "ann", "name": "Ann"}, {"id": "bob", "name": HOSTILE}])
    channel = chat.channel("messaging", "general", {"name": HOSTILE, "members": ["ann", "bob"]})
    channel.create("ann")
    return channel


def shown_calls(page):
    return re.findall(r'<tr id="call-\d+">.*?>(\w+)</a>', page, re.S)


def test_calls_are_shown_newest_first_with_what_was_asked_and_answered(chat, stream):
    chat.upsert_user({"id": "ann", "name": "Ann Archer"})
    chat.query_users({"role": "admin"})
    page = get(stream)
    assert shown_calls(page) == ["QueryUsers", "UpdateUsers"]
    assert "Ann Archer" in page
    assert html.escape('"filter_conditions": {"role": "admin"}') in page
    assert '<span class="status good">201</span>' in page


def test_a_refusal_shows_its_reason(stream):
    headers = {"Authorization": "nonsense", "stream-auth-type": "jwt"}
    requests.get(f"{stream.url}/users?api_key=local-key", headers=headers, timeout=5)
    page = get(stream)
    assert '<span class="status refused">401</span>' in page
    assert "JWTAuth error: " in page
    assert "failed with error" not in page


def test_a_call_without_an_answer_says_so(stream):
    stream.fault("GetApp", "reset")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{stream.url}/app", timeout=5)
    assert '<span class="status none">no answer</span>' in get(stream)
    assert "There is no answer." in call_page(stream, "GetApp")


def test_a_call_has_a_page_with_both_bodies(chat, stream):
    chat.upsert_user({"id": "ann", "name": "Ann Archer"})
    page = call_page(stream, "UpdateUsers")
    assert page.count("Ann Archer") == 2
    assert "POST /users" in page
    assert "server" in page


def test_the_answer_of_a_fault_is_the_one_that_is_shown(stream):
    stream.fault("GetApp", "status", status=502, body="html")
    requests.get(f"{stream.url}/app", timeout=5)
    assert "upstream connect error" in call_page(stream, "GetApp")


def test_calls_are_filtered_by_operation_status_and_user(chat, stream, channel):
    channel.send_message({"text": "hello"}, "ann")
    requests.get(f"{stream.url}/app", timeout=5)
    ann = {"Authorization": chat.create_token("ann"), "stream-auth-type": "jwt"}
    url = f"{stream.url}/channels/messaging/general/message"
    body = {"message": {"text": "mine"}}
    requests.post(url, params={"api_key": "local-key"}, json=body, headers=ann, timeout=5)
    assert shown_calls(get(stream, operation="GetApp")) == ["GetApp"]
    assert shown_calls(get(stream, status="refused")) == ["GetApp"]
    assert shown_calls(get(stream, status="good", operation="GetApp")) == []
    mine = shown_calls(get(stream, user="ann"))
    assert mine == ["SendMessage", "GetOrCreateChannel", "UpdateUsers"]
    assert "SendMessage" in shown_calls(get(stream, user="messaging:general"))
    assert "No call is like this" in get(stream, user="nobody")
    assert get(stream, user='"><b>').count("<b>") == 0


def test_a_page_has_a_hundred_calls_and_leads_to_older_ones(stream):
    for _ in range(101):
        requests.get(f"{stream.url}/app", timeout=5)
    page = get(stream)
    assert len(shown_calls(page)) == 100
    older = html.unescape(re.search(r'href="/_control/(\?before=\d+)"', page)[1])
    assert len(shown_calls(get(stream, older))) == 1


def test_bodies_are_kept_of_the_last_calls_only():
    kept = bodies.Bodies()
    for number in range(bodies.MAX_CALLS + 1):
        kept.keep(number, "", b"{}")
    assert kept.of(0) is None
    assert kept.of(1) is not None


def test_of_a_big_body_the_beginning_is_kept(stream):
    big = {"users": {"ann": {"id": "ann", "text": "x" * 100_000}}}
    headers = {"Authorization": jwt.encode({"server": True}, stream.secret)}
    query = {"api_key": stream.key}
    requests.post(f"{stream.url}/users", params=query, json=big, headers=headers, timeout=5)
    page = call_page(stream, "UpdateUsers")
    assert "(cut: all of it are" in page
    assert page.count("x" * 100) < 1_000


def test_no_page_shows_a_token_or_the_secret(chat, stream):
    token = chat.create_token("ann")
    chat.upsert_user(
        {"id": "ann", "access_token": "abc-1", "note": f"({token})", "x": "local-secret"}
    )
    chat.query_users({"id": "ann"}, options={"user_token": token})
    requests.get(f"{stream.url}/app?authorization=abc-1&token={token}", timeout=5)
    texts = [get(stream, page) for page in PAGES] + [get(stream, "user", id="ann")]
    texts += [get(stream, "call", n=one["n"]) for one in stream.requests()]
    for text in texts:
        assert token.split(".")[1] not in text
        assert "abc-1" not in text
        assert "local-secret" not in text
    assert "(hidden)" in texts[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"access_token": "a\\"b", "n": 1}', '{"access_token": "(hidden)", "n": 1}'),
        (b'{"userToken":"abc"}', '{"userToken": "(hidden)"}'),
        (b'{"credentials_json": "{\\"a\\": 1}"}', '{"credentials_json": "(hidden)"}'),
        (b'{"auth_key": "-----BEGIN"}', '{"auth_key": "(hidden)"}'),
        (
            b'{"key": "a", "revoke_tokens_issued_before": "b"}',
            '{"key": "a", "revoke_tokens_issued_before": "b"}',
        ),
        (b'{"revoke_tokens_issued_before": "2026"}', '{"revoke_tokens_issued_before": "2026"}'),
        (b'{"token": "never ending', '{"token": "(hidden)"'),
        (b"eyJhbGciOi.eyJ1c2VyX2.c2ln and eyJhbGciOi.eyJ1", "(hidden) and (hidden)"),
    ],
)
def test_secrets_are_hidden_however_they_are_written(content, expected):
    assert preview(bodies.body_of(content)) == expected


def test_a_body_that_is_no_text_is_only_counted():
    assert shown(bodies.body_of(b"\xff\xd8\xff")) == "(3 bytes that are no text)"
    assert preview(bodies.body_of(b"\xff\xd8\xff" * 50_000)) == "(150000 bytes that are no text)"
    assert shown(bodies.body_of(b"[" * 60_000)) == "[" * 60_000


def test_a_body_that_is_cut_within_a_character_is_text_all_the_same():
    content = "xä".encode() * 50_000
    assert shown(bodies.body_of(content[1:])).startswith("äx")
    assert shown(bodies.body_of(content)).startswith("xä")


def test_what_cannot_be_seen_is_spelled_out():
    assert visible("a\u202eb\x00\ud800\n👩‍🚀") == "a\\u202eb\\u0000\\ud800\n👩‍🚀"
    assert visible(None) is None


def test_what_people_wrote_is_escaped_on_every_page(stream, channel, receiver):
    stream.webhook(receiver.url)
    channel.send_message({"id": "m1", "text": HOSTILE, "attachments": [{"title": HOSTILE}]}, "bob")
    wait_for(lambda: stream.deliveries())
    delivery = stream.deliveries()[0]["n"]
    pages = {
        "users": get(stream, "users"),
        "user": get(stream, "user", id="bob"),
        "channels": get(stream, "channels"),
        "channel": get(stream, "channel", cid="messaging:general"),
    }
    others = [get(stream), get(stream, "webhooks"), get(stream, "delivery", n=delivery)]
    others.append(call_page(stream, "SendMessage"))
    for name, text in pages.items():
        assert SHOWN in text, name
    for text in (*pages.values(), *others):
        assert "<script>alert" not in text
        assert "\u202e" not in text


def test_a_user_has_a_page_with_channels(stream, channel):
    page = get(stream, "user", id="ann")
    assert 'href="/_control/channel?cid=messaging%3Ageneral"' in page
    assert 'href="/_control/?user=ann"' in page


def test_users_and_channels_are_found_by_a_part_of_id_or_name(chat, stream, channel):
    chat.upsert_user({"id": "carla", "name": "Carla"})
    assert "Carla" in get(stream, "users", q="CARL")
    assert "Carla" not in get(stream, "users", q="ann")
    assert "messaging:general" in get(stream, "channels", q="ann")
    assert "messaging:general" not in get(stream, "channels", q="carla")


def test_a_channel_shows_its_messages_in_order_and_its_members(stream, channel):
    channel.send_message({"id": "m1", "text": "first"}, "ann")
    channel.send_message({"text": "in the thread", "parent_id": "m1"}, "bob")
    channel.send_message({"text": "last"}, "bob")
    channel.send_reaction("m1", {"type": "love"}, "bob")
    page = get(stream, "channel", cid="messaging:general")
    texts = re.findall(r'<p class="text" dir="auto">(.*?)</p>', page)
    assert texts == ["first", "in the thread", "last"]
    assert "1 in its thread" in page
    assert "<bdi>love</bdi> 1" in page
    assert page.index("channel_member") > page.index("Members")


def test_a_delivery_is_shown_and_sent_again(chat, stream, receiver):
    stream.webhook(receiver.url)
    chat.upsert_user({"id": "ann", "name": "Ann Archer"})
    wait_for(lambda: stream.deliveries() and stream.deliveries()[0]["status"])
    assert "user.updated" in get(stream, "webhooks")
    (delivery,) = stream.deliveries()
    assert "Ann Archer" in get(stream, "delivery", n=delivery["n"])
    assert post(stream, "again", n=delivery["n"]).url == f"{stream.url}/_control/webhooks"
    wait_for(lambda: len(stream.deliveries()) == 2)
    assert post(stream, "again", n="99999999").status_code == 400


def test_what_is_not_there_has_a_page_that_says_so(stream):
    for path in ("call?n=99999999", "call?n=x", "user?id=x", "channel?cid=x", "delivery?n=x"):
        response = requests.get(f"{stream.url}/_control/{path}", timeout=5)
        assert response.status_code == 404
        assert "Not found" in response.text


def test_a_fault_is_added_and_removed_by_a_click(stream):
    page = post(stream, "fault", operation="GetApp", kind="status", status="503", times="2").text
    assert "The fault was added." in page
    assert "2 more times" in page
    assert requests.get(f"{stream.url}/app", timeout=5).status_code == 503
    assert stream.state()["faults"] == [{"operation": "GetApp", "kind": "status", "times": 1}]
    post(stream, "faults")
    assert stream.state()["faults"] == []


def test_a_share_of_all_calls_fails(stream):
    fields = {"operation": "*", "kind": "delay", "delay_ms": "5", "status": "500", "times": "1"}
    assert "50.0 % of all calls" in post(stream, "fault", rate="0.5", **fields).text


@pytest.mark.parametrize(
    ("form", "fields", "problem"),
    [
        ("fault", {"operation": "GetApp", "kind": "status", "status": "<b>"}, "status: must be"),
        ("fault", {"operation": "GetApp", "kind": "delay"}, "delay_ms: is required"),
        ("fault", {}, "operation: is required"),
        ("limit", {"operation": "<b>", "limit": "1"}, "is not the OperationId"),
        ("limit", {"operation": "GetApp", "limit": "many"}, "GetApp.limit: must be"),
        ("switch", {"name": "<b>"}, "unknown switch"),
        ("switch", {"name": "task_status", "value": "<b>"}, "task_status: must be one of"),
        ("switch", {"name": "burst_guard", "value": "1"}, "burst_guard: must be one of"),
        ("webhook", {"url": "ftp://x"}, "url: must be an http URL"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_changes(stream, form, fields, problem):
    before = stream.state()
    response = post(stream, form, **fields)
    assert response.status_code == 400
    assert problem in response.text
    assert "<b>" not in response.text
    assert stream.state() == before


def test_limits_switches_and_the_webhook_are_set_by_a_click(stream):
    post(stream, "limit", operation="GetApp", limit="1", window_s="30")
    post(stream, "limit", operation="UpdateUsers", limit="", window_s="60")
    limits = stream.state()["limits"]
    assert limits["GetApp"]["limit"] == 1
    assert "UpdateUsers" not in limits
    post(stream, "limits")
    assert stream.state()["limits"]["UpdateUsers"]["limit"] == 300
    post(stream, "switch", name="burst_guard", value="on")
    post(stream, "switch", name="task_status", value="failed")
    post(stream, "switch", name="users_unknown_ms_after_upsert", value="5")
    switches = stream.state()["switches"]
    assert (switches["burst_guard"], switches["task_status"]) == (True, "failed")
    assert switches["users_unknown_ms_after_upsert"] == 5
    post(stream, "webhook", url="http://127.0.0.1:9/x", events="message.new, member.added")
    assert stream.state()["webhook"]["events"] == ["message.new", "member.added"]
    post(stream, "webhook", url="", events="")
    assert stream.state()["webhook"]["url"] is None


def test_everything_is_forgotten_by_a_click(chat, stream):
    chat.upsert_user({"id": "ann"})
    assert "Everything was forgotten." in post(stream, "reset").text
    assert stream.state()["counts"]["users"] == 0


OWN, OTHER, NULL = "own", "http://evil.example", "null"


@pytest.mark.parametrize(
    ("origin", "site", "is_allowed"),
    [
        (None, None, True),  # curl
        (OWN, "same-origin", True),
        (OWN, None, True),  # an old browser
        (OTHER, "cross-site", False),
        (OTHER, None, False),
        (NULL, "cross-site", False),
        (NULL, None, False),
        ("http://127.0.0.1:1", "same-site", False),  # another port of this machine
        (None, "cross-site", False),
        (None, "none", False),
    ],
)
@pytest.mark.parametrize("path", ["forms/reset", "reset"])
def test_only_own_pages_and_what_is_no_browser_change_anything(
    chat, stream, path, origin, site, is_allowed
):
    chat.upsert_user({"id": "ann"})
    headers = {"Origin": stream.url if origin == OWN else origin, "Sec-Fetch-Site": site}
    given = {name: value for name, value in headers.items() if value}
    response = requests.post(f"{stream.url}/_control/{path}", headers=given, timeout=5)
    assert response.status_code == (200 if is_allowed else 403)
    assert stream.state()["counts"]["users"] == (0 if is_allowed else 1)


def test_a_name_of_others_that_leads_to_this_machine_is_another_origin(chat, stream):
    """DNS rebinding: to the browser it is the same origin."""
    chat.upsert_user({"id": "ann"})
    headers = {"Host": "evil.example:3030", "Origin": "http://evil.example:3030"}
    assert post(stream, "reset", headers).status_code == 403
    # To read, a browser sends no Origin to what it takes for the page's own.
    read = requests.get(f"{stream.url}/_control/state", headers={"Host": "evil.example"}, timeout=5)
    assert read.status_code == 403
    assert stream.state()["counts"]["users"] == 1


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1:3030", True),
        ("[::1]:3030", True),
        ("localhost:3030", True),
        ("stream", True),
        ("app.localhost:80", True),
        ("host.docker.internal:3030", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.", False),
    ],
)
def test_names_of_this_machine_are_told_from_others(host, is_local):
    assert is_local_name(host) is is_local


@pytest.mark.parametrize("path", [*PAGES, "inspector.js", "inspector.css"])
def test_a_page_lets_nothing_in_from_elsewhere(stream, path):
    response = requests.get(f"{stream.url}/_control/{path}", timeout=5)
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.findall(r'(?:src|href|action)="(?!/_control/|#|\?|data:,")', response.text)
    assert "style=" not in response.text


def test_the_address_without_the_slash_leads_there_too(stream):
    response = requests.get(f"{stream.url}/_control", timeout=5)
    assert response.url == f"{stream.url}/_control/"


def test_a_reset_forgets_the_bodies_too(chat, stream):
    chat.upsert_user({"id": "ann", "name": "Ann Archer"})
    stream.reset()
    assert "Ann Archer" not in get(stream)
    assert "Nobody has called yet" in get(stream)


def test_odd_records_do_not_break_a_page(chat, stream):
    """Custom fields can have any name and type."""
    chat.upsert_user({"id": "ann", "items": 1, "get": None, "deactivated": [], "x": {"y": [1.5]}})
    chat.channel("messaging", "odd", {"name": {"a": 1}, "last": None}).create("ann")
    for path in (*PAGES, "user?id=ann", "channel?cid=messaging:odd"):
        get(stream, path)
