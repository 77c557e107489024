from __future__ import annotations

import json

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal

ANNS = {"members": {"$in": ["ann"]}}


@pytest.fixture
def messages(chat):
    """m1 to m5 of c1, whose members are Ann and Bea; m6 of c2, where Ann isn't."""
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}])
    channel = chat.channel("messaging", "c1", {"members": ["ann", "bea"]})
    channel.create("ann")
    image = {"type": "image", "image_url": "https://example.org/1.png"}
    for message, user_id in (
        ({"text": "Hello world, hello"}, "ann"),
        ({"text": "Goodbye, world"}, "bea"),
        ({"text": "a picture", "attachments": [image], "mentioned_users": ["bea"]}, "ann"),
        ({"text": "hello from a thread", "parent_id": "m1"}, "bea"),
        ({"text": "", "topic": "cats", "n": 5}, "ann"),
    ):
        number = len(channel.query()["messages"]) + 1
        number += number > 3 and "parent_id" not in message
        channel.send_message({"id": f"m{number}", **message}, user_id)
    other = chat.channel("messaging", "c2", {"members": ["bea"]})
    other.create("bea")
    other.send_message({"id": "m6", "text": "Hello elsewhere"}, "bea")
    return chat


def found(client, query, channels=ANNS, **options):
    results = client.search(channels, query, **options)["results"]
    return [result["message"]["id"] for result in results]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("hello", "m1 m4"),
        ("HELLO world", "m1"),
        ("wor", "m1 m2"),
        ("nothing", ""),
        ({"text": "hello"}, "m1 m4"),
        ({"text": {"$q": "goodbye"}}, "m2"),
        ({"text": {"$eq": "a picture"}}, "m3"),
        ({"text": {"$autocomplete": "pic"}}, "m3"),
        ({"id": {"$in": ["m1", "m6"]}}, "m1"),
        ({"user.id": "bea"}, "m2 m4"),
        ({"type": "reply"}, "m4"),
        ({"parent_id": "m1"}, "m4"),
        ({"reply_count": {"$gte": 1}}, "m1"),
        ({"attachments": {"$exists": True}}, "m3"),
        ({"attachments.type": "image"}, "m3"),
        ({"attachments.type": {"$in": ["file", "image"]}}, "m3"),
        ({"mentioned_users.id": {"$contains": "bea"}}, "m3"),
        ({"created_at": {"$gt": "2001-01-01T00:00:00Z"}}, "m1 m2 m3 m4 m5"),
        ({"pinned": False, "topic": "cats"}, "m5"),
        ({"$or": [{"n": {"$gt": 4}}, {"text": {"$q": "goodbye"}}]}, "m2 m5"),
    ],
    ids=str,
)
def test_a_search_finds(messages, query, expected):
    assert sorted(found(messages, query)) == expected.split()


def test_results_are_messages_with_their_channels(messages):
    [result] = messages.search({"cid": "messaging:c2"}, "elsewhere")["results"]
    message = result["message"]
    assert (message["text"], message["channel"]["cid"]) == ("Hello elsewhere", "messaging:c2")
    assert message["user"]["id"] == "bea"


def test_the_most_relevant_come_first_if_not_sorted(messages):
    everywhere = {"type": "messaging"}
    assert found(messages, "hello", everywhere) == ["m1", "m4", "m6"]
    newest = [{"created_at": -1}]
    assert found(messages, "hello", everywhere, sort=newest) == ["m6", "m4", "m1"]


def test_results_come_in_pages(messages):
    query = {"id": {"$gt": "m0"}}
    sort = [{"created_at": 1}]
    first = messages.search(ANNS, query, sort=sort, limit=2)
    assert [one["message"]["id"] for one in first["results"]] == ["m1", "m2"]
    assert "previous" not in first
    second = messages.search(ANNS, query, next=first["next"], limit=2)
    assert [one["message"]["id"] for one in second["results"]] == ["m3", "m4"]
    last = messages.search(ANNS, query, next=second["next"], limit=2)
    assert ([one["message"]["id"] for one in last["results"]], last.get("next")) == (["m5"], None)
    assert found(messages, query, next=last["previous"], limit=2) == ["m3", "m4"]
    assert found(messages, query, offset=3) == ["m4", "m5"]


def test_a_client_searches_what_it_can_read(messages, stream):
    ann = user_client(stream, "ann")
    assert found(ann, "hello", {"type": "messaging"}) == ["m1", "m4"]
    hide = {"clear_history": True}
    ann.post("channels/messaging/c1/hide", data=hide)
    assert found(ann, "hello", {"type": "messaging"}) == []
    assert found(user_client(stream, "bea"), "hello", {"type": "messaging"}) == ["m1", "m4", "m6"]


def test_deleted_and_system_messages_are_not_found(messages):
    messages.delete_message("m1")
    channel = messages.channel("messaging", "c1")
    channel.update({"name": "One"}, {"text": "hello system", "user_id": "ann"})
    assert found(messages, "hello") == ["m4"]


@pytest.mark.parametrize(
    ("channels", "query", "options"),
    [
        ({}, "hello", {}),
        (ANNS, "", {}),
        (ANNS, {"text": {"$q": " "}}, {}),
        (ANNS, {"text": {"$near": "x"}}, {}),
        (ANNS, {"id": 1}, {}),
        ({"id": 1}, "hello", {}),
        ({"hidden": True}, "hello", {}),
        (ANNS, "hello", {"limit": 301}),
        (ANNS, "hello", {"offset": 1001}),
        (ANNS, "hello", {"next": "x"}),
        (ANNS, "hello", {"next": "W10="}),
    ],
    ids=str,
)
def test_a_bad_search_is_refused(messages, channels, query, options):
    assert refusal(messages.search, channels, query, **options) == (400, 4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"query": "x", "message_filter_conditions": {}},
        {"query": "x", "filter_conditions": None},
        {"query": "x", "offset": 1, "next": "W251bGwsMV0="},
    ],
    ids=str,
)
def test_a_bad_payload_is_refused(messages, options):
    payload = json.dumps({"filter_conditions": {"type": "messaging"}, **options})
    assert refusal(messages.get, "search", params={"payload": payload}) == (400, 4)


def test_no_other_query_knows_the_operator_of_searches(messages):
    assert refusal(messages.query_channels, {"name": {"$q": "x"}}) == (400, 4)
