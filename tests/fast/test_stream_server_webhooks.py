from __future__ import annotations

import gzip

import pytest
import requests

from stream_server.user_client import user_client
from stream_server.webhook_receiver import WebhookReceiver
from tests.waiting import wait_for

RETRIED_QUICKLY = {"pause_ms": 1}


@pytest.fixture
def hooked(chat, stream, receiver):
    """Ann and Bea exist; from now on, events go to the receiver."""
    chat.upsert_users([{"id": "ann", "name": "Ann"}, {"id": "bea"}])
    stream.webhook(receiver.url)
    return chat


def create(chat, members=("ann", "bea"), **data):
    channel = chat.channel("messaging", "c1", {"members": list(members), **data})
    channel.create("ann")
    return channel


def attempts(stream):
    return [(one["attempt"], one["status"]) for one in stream.deliveries()]


def ended(stream):
    return all(one["status"] is not None for one in stream.deliveries())


def test_a_webhook_is_signed_over_the_bytes_that_it_sends(hooked, receiver):
    hooked.upsert_user({"id": "ann"})
    event = receiver.one("user.updated")
    assert event["user"]["id"] == "ann"
    (received,) = receiver.received
    assert hooked.verify_webhook(received.body, received.headers["x-signature"])
    tampered = received.body.replace(b"ann", b"bea")
    assert not hooked.verify_webhook(tampered, received.headers["x-signature"])


def test_a_webhook_names_its_app_id_and_attempt(hooked, receiver, stream):
    hooked.upsert_user({"id": "ann"})
    receiver.one("user.updated")
    headers = receiver.received[0].headers
    assert (headers["x-api-key"], headers["x-webhook-attempt"]) == (stream.key, "1")
    assert headers["x-webhook-id"] == stream.deliveries()[0]["webhook_id"]
    assert headers["content-type"] == "application/json"


def test_a_compressed_webhook_is_signed_over_the_uncompressed_bytes(hooked, receiver):
    hooked.update_app_settings(enable_hook_payload_compression=True)
    hooked.upsert_user({"id": "ann"})
    assert receiver.one("user.updated")["user"]["id"] == "ann"
    (received,) = receiver.received
    assert received.headers["content-encoding"] == "gzip"
    assert hooked.verify_webhook(gzip.decompress(received.body), received.headers["x-signature"])
    assert not hooked.verify_webhook(received.body, received.headers["x-signature"])


def test_a_webhook_says_who_made_the_call(hooked, receiver, stream):
    create(hooked).send_message({"text": "hi"}, "ann")
    info = receiver.one("message.new")["request_info"]
    assert info["type"] == "server"
    assert info["sdk"].startswith("stream-python-client")
    receiver.received.clear()
    channel = user_client(stream, "ann").channel("messaging", "c1")
    channel.send_message({"text": "hello"}, "ann")
    assert receiver.one("message.new")["request_info"]["type"] == "client"


def test_a_new_channel_is_told_with_its_members(hooked, receiver):
    create(hooked, team="a", name="Order", order_id=7)
    event = receiver.one("channel.created")
    assert (event["cid"], event["channel_type"], event["channel_id"]) == (
        "messaging:c1",
        "messaging",
        "c1",
    )
    assert (event["team"], event["channel_member_count"], event["channel_message_count"]) == (
        "a",
        2,
        0,
    )
    assert event["channel_custom"] == {"name": "Order", "order_id": 7}
    assert (event["channel"]["name"], event["channel"]["order_id"]) == ("Order", 7)
    assert (event["channel"]["member_count"], event["channel"]["config"]["name"]) == (
        2,
        "messaging",
    )
    assert [one["user_id"] for one in event["channel"]["members"]] == ["ann", "bea"]
    assert [one["user"]["id"] for one in event["members"]] == ["ann", "bea"]
    assert event["user"]["id"] == "ann"
    assert event["created_at"]


def test_getting_an_existing_channel_tells_nothing(hooked, receiver):
    create(hooked)
    create(hooked)
    hooked.upsert_user({"id": "bea"})
    for event_type in ("user.updated", "channel.created"):
        receiver.one(event_type)  # one may overtake the other
    assert receiver.types() == ["channel.created", "user.updated"]


def test_a_channels_changes_are_told(hooked, receiver):
    channel = create(hooked, name="old")
    channel.update_partial({"name": "new"})
    assert receiver.one("channel.updated")["channel"]["name"] == "new"
    channel.delete()
    event = receiver.one("channel.deleted")
    assert event["channel"]["deleted_at"]
    assert [one["user_id"] for one in event["members"]] == ["ann", "bea"]


def test_members_who_come_and_go_are_told_one_by_one(hooked, receiver):
    channel = create(hooked, members=["ann"])
    channel.add_members(["ann", "bea"])
    channel.remove_members(["bea"])
    channel.remove_members(["bea"])
    for event_type in ("member.added", "member.removed"):
        event = receiver.one(event_type)
        assert (event["member"]["user_id"], event["member"]["user"]["id"]) == ("bea", "bea")
        assert (event["member"]["channel_role"], event["member"]["status"]) == (
            "channel_member",
            "member",
        )
        assert (event["channel"]["cid"], event["user"]["id"]) == ("messaging:c1", "bea")
    receiver.one("channel.created")  # which the others may overtake
    assert receiver.types() == ["channel.created", "member.added", "member.removed"]


def test_a_message_is_told_with_its_channel_and_sender(hooked, receiver):
    message = create(hooked).send_message({"text": "hi", "order_id": 7}, "ann")["message"]
    event = receiver.one("message.new")
    assert (event["message"]["id"], event["message_id"]) == (message["id"], message["id"])
    assert (event["message"]["text"], event["message"]["order_id"]) == ("hi", 7)
    assert (event["user"]["id"], event["message"]["user"]["id"]) == ("ann", "ann")
    assert (event["watcher_count"], event["channel_message_count"]) == (0, 1)
    assert len(event["members"]) == 2


def test_every_user_of_an_upsert_is_told(hooked, receiver):
    hooked.upsert_users([{"id": "ann"}, {"id": "new"}])
    hooked.update_user_partial({"id": "bea", "set": {"name": "Bea"}})
    receiver.wait_for(lambda: len(receiver.received) == 3)
    assert {one.event()["user"]["id"] for one in receiver.received} == {"ann", "bea", "new"}


def test_the_life_of_a_user_is_told(hooked, receiver):
    hooked.deactivate_user("bea", created_by_id="ann")
    assert receiver.one("user.deactivated")["created_by"]["id"] == "ann"
    hooked.reactivate_user("bea")
    assert "deactivated_at" not in receiver.one("user.reactivated")["user"]
    hooked.delete_user("bea")
    event = receiver.one("user.deleted")
    assert event["user"]["deleted_at"]
    assert (event["delete_user"], event["delete_messages"], event["hard_delete"]) == (
        "soft",
        "",
        False,
    )


@pytest.mark.parametrize("event_type", ["user.banned", "user.unbanned"])
def test_a_ban_is_told_with_its_channel_if_it_has_one(hooked, receiver, event_type):
    channel = create(hooked)
    method = "ban_user" if event_type == "user.banned" else "unban_user"
    getattr(hooked, method)("bea", banned_by_id="ann", reason="spam")
    event = receiver.one(event_type)
    assert (event["user"]["id"], event["shadow"]) == ("bea", False)
    assert (event["created_by"]["id"], event["reason"]) == ("ann", "spam")
    assert event.keys().isdisjoint({"cid", "channel_id", "channel_type"})
    receiver.received.clear()
    getattr(channel, method)("bea", shadow=True)
    event = receiver.one(event_type)
    place = (event["cid"], event["channel_type"], event["channel_id"])
    assert place == ("messaging:c1", "messaging", "c1")
    assert (event["user"]["id"], event["shadow"]) == ("bea", True)


def test_a_users_own_client_is_told_of_as_well(hooked, receiver, stream):
    user_client(stream, "ann").update_user_partial({"id": "ann", "set": {"name": "Ann II"}})
    event = receiver.one("user.updated")
    assert (event["user"]["name"], event["request_info"]["type"]) == ("Ann II", "client")


def test_a_hard_deletion_with_conversations_is_told(hooked, receiver):
    create(hooked)
    hooked.delete_users(["bea"], "hard", messages="hard", conversations="hard")
    event = receiver.one("user.deleted")
    assert (event["delete_user"], event["delete_conversation"]) == ("hard", "hard")
    assert (event["hard_delete"], event["mark_messages_deleted"]) == (True, True)
    assert receiver.one("channel.deleted")["cid"] == "messaging:c1"


def test_a_deleted_user_leaves_channels_without_a_word(hooked, receiver):
    create(hooked)
    hooked.delete_user("bea")
    receiver.one("user.deleted")
    assert "member.removed" not in receiver.types()


def test_what_is_refused_is_not_told(hooked, receiver):
    with pytest.raises(Exception, match="don't exist"):
        create(hooked, members=["nobody"])
    hooked.upsert_user({"id": "ann"})
    receiver.one("user.updated")
    assert receiver.types() == ["user.updated"]


def test_only_the_types_asked_for_are_sent(hooked, receiver, stream):
    stream.webhook(receiver.url, ["message.new"])
    create(hooked).send_message({"text": "hi"}, "ann")
    receiver.one("message.new")
    assert receiver.types() == ["message.new"]


def test_an_event_hook_of_the_app_gets_events(hooked, receiver, stream):
    stream.webhook(None)
    hook = {"hook_type": "webhook", "webhook_url": receiver.url, "event_types": ["user.updated"]}
    hooked.update_app_settings(event_hooks=[hook])
    assert hooked.get_app_settings()["app"]["event_hooks"][0]["id"]
    hooked.upsert_user({"id": "ann"})
    receiver.one("user.updated")


def test_a_disabled_event_hook_gets_none(hooked, receiver, stream):
    stream.webhook(None)
    hook = {"hook_type": "webhook", "webhook_url": receiver.url}
    hooked.update_app_settings(event_hooks=[{**hook, "enabled": False}])
    hooked.upsert_user({"id": "ann"})
    assert stream.deliveries() == []


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([204], [(1, 204)]),
        ([500, 200], [(1, 500), (2, 200)]),
        ([503, 429, 200], [(1, 503), (2, 429), (3, 200)]),
        ([408, 500, 502, 200], [(1, 408), (2, 500), (3, 502)]),
        ([400, 200], [(1, 400)]),
        ([302, 200], [(1, 302)]),
    ],
    ids=str,
)
def test_a_delivery_is_repeated_while_there_is_hope(hooked, receiver, stream, answers, expected):
    stream.webhook(receiver.url, **RETRIED_QUICKLY)
    receiver.answers += answers
    hooked.upsert_user({"id": "ann"})
    wait_for(lambda: len(attempts(stream)) == len(expected) and ended(stream))
    assert attempts(stream) == expected
    headers = [one.headers for one in receiver.received]
    assert len({one["x-webhook-id"] for one in headers}) == 1
    assert [one["x-webhook-attempt"] for one in headers] == [str(n) for n, _ in expected]
    assert len({one.body for one in receiver.received}) == 1


def test_a_silent_receiver_is_tried_three_times(hooked, receiver, stream):
    stream.webhook(receiver.url, timeout_ms=50, **RETRIED_QUICKLY)
    receiver.answers += [None, None, None]
    hooked.upsert_user({"id": "ann"})
    expected = [(1, "timeout"), (2, "timeout"), (3, "timeout")]
    wait_for(lambda: attempts(stream) == expected)


def test_a_delivery_is_given_up_when_its_time_is_over(hooked, receiver, stream):
    stream.webhook(receiver.url, timeout_ms=10_000, total_ms=50, **RETRIED_QUICKLY)
    receiver.answers += [None]
    hooked.upsert_user({"id": "ann"})
    wait_for(lambda: attempts(stream) == [(1, "timeout")])


def test_a_receiver_that_cannot_be_reached_is_tried_twice(chat, stream):
    stream.webhook("http://127.0.0.1:9/stream", **RETRIED_QUICKLY)
    chat.upsert_user({"id": "ann"})
    wait_for(lambda: attempts(stream) == [(1, "unreachable"), (2, "unreachable")])
    stream.webhook(None)


def test_no_answer_waits_for_a_webhook(hooked, receiver):
    receiver.answers += [None]
    assert hooked.upsert_user({"id": "ann"}).is_ok()
    receiver.wait_for(lambda: receiver.received)


@pytest.mark.parametrize(("options", "most"), [({}, 5), ({"at_once": 12}, 12)], ids=str)
def test_a_target_gets_few_events_at_once_unless_told_otherwise(
    hooked, receiver, stream, options, most
):
    """Firebase's emulator starts a process for each: fifty kept two processors busy for long."""
    stream.webhook(receiver.url, timeout_ms=300, total_ms=300, **options)
    receiver.answers += [None] * 12
    hooked.upsert_users([{"id": f"u{n}"} for n in range(12)])
    under_way = []

    def are_over():
        statuses = [one["status"] for one in stream.deliveries()]
        under_way.append(statuses.count(None))
        return statuses == ["timeout"] * 12

    wait_for(are_over)
    assert max(under_way) == most


def test_a_target_that_keeps_silent_holds_up_no_other(hooked, receiver, stream):
    with WebhookReceiver() as silent:
        silent.answers += [None]
        stream.webhook(receiver.url, at_once=1, timeout_ms=60_000, total_ms=60_000)
        hook = {"hook_type": "webhook", "webhook_url": silent.url}
        hooked.update_app_settings(event_hooks=[hook])
        hooked.upsert_users([{"id": f"u{n}"} for n in range(5)])
        receiver.wait_for(lambda: len(receiver.received) == 5)
        assert len(silent.received) == 1


def test_duplicates_come_on_demand_with_the_same_id(hooked, receiver, stream):
    stream.webhook(receiver.url, duplicates=2)
    hooked.upsert_user({"id": "ann"})
    receiver.wait_for(lambda: len(receiver.received) == 3)
    assert len({one.headers["x-webhook-id"] for one in receiver.received}) == 1


def test_duplicates_can_have_ids_of_their_own(hooked, receiver, stream):
    stream.webhook(receiver.url, duplicates=1, new_id_on_duplicate=True)
    hooked.upsert_user({"id": "ann"})
    receiver.wait_for(lambda: len(receiver.received) == 2)
    assert len({one.headers["x-webhook-id"] for one in receiver.received}) == 2
    assert len({one.body for one in receiver.received}) == 1


def test_the_order_can_be_shuffled(hooked, receiver, stream):
    stream.webhook(receiver.url, shuffle_ms=300, seed=1)
    ids = [f"u{n}" for n in range(10)]
    hooked.upsert_users([{"id": user_id} for user_id in ids])
    receiver.wait_for(lambda: len(receiver.received) == 10)
    order = [one.event()["user"]["id"] for one in receiver.received]
    assert order != ids
    assert sorted(order) == ids


def test_a_delivery_can_be_repeated_at_any_time(hooked, receiver, stream):
    hooked.upsert_user({"id": "ann"})
    receiver.wait_for(lambda: receiver.received)
    stream.deliver_again(stream.deliveries()[0]["n"])
    receiver.wait_for(lambda: len(receiver.received) == 2)
    first, second = receiver.received
    assert first.body == second.body
    assert first.headers["x-webhook-id"] == second.headers["x-webhook-id"]
    assert second.headers["x-webhook-attempt"] == "2"


def test_deliveries_are_listed_with_what_was_sent(hooked, receiver, stream):
    hooked.upsert_user({"id": "ann"})
    receiver.one("user.updated")
    wait_for(lambda: ended(stream))
    (entry,) = stream.deliveries(body=True)
    assert (entry["type"], entry["attempt"], entry["status"]) == ("user.updated", 1, 200)
    assert (entry["url"], entry["body"]["user"]["id"]) == (receiver.url, "ann")
    assert "body" not in stream.deliveries()[0]
    assert stream.deliveries(since=entry["n"]) == []
    assert stream.last_delivery() == entry["n"]


def test_a_reset_keeps_the_target_and_forgets_deliveries_and_options(hooked, receiver, stream):
    stream.webhook(receiver.url, ["user.updated"], duplicates=3)
    hooked.upsert_user({"id": "ann"})
    receiver.wait_for(lambda: len(receiver.received) == 4)
    last = stream.last_delivery()
    stream.reset()
    assert stream.deliveries() == []
    webhook = stream.state()["webhook"]
    assert (webhook["url"], webhook["events"]) == (receiver.url, ["user.updated"])
    assert webhook["duplicates"] == 0
    hooked.upsert_user({"id": "ann"})
    wait_for(lambda: [one["n"] for one in stream.deliveries()] == [last + 1])


def test_a_target_can_be_removed(hooked, receiver, stream):
    stream.webhook(None)
    hooked.upsert_user({"id": "ann"})
    assert stream.deliveries() == []
    assert hooked.get_app_settings()["app"]["webhook_url"] == ""


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("webhook", {}, "url"),
        ("webhook", {"url": "ftp://x"}, "url"),
        ("webhook", {"url": 1}, "url"),
        ("webhook", {"url": None, "events": "all"}, "events"),
        ("webhook", {"url": None, "duplicates": -1}, "duplicates"),
        ("webhook", {"url": None, "at_once": 0}, "at_once"),
        ("webhook", {"url": None, "shuffle_ms": True}, "shuffle_ms"),
        ("webhook", {"url": None, "often": 1}, "often"),
        ("deliveries/999999/again", {}, "n"),
        ("deliveries/x/again", {}, "n"),
    ],
    ids=str,
)
def test_a_bad_control_request_is_explained(stream, path, body, field):
    response = requests.post(f"{stream.url}/_control/{path}", json=body, timeout=10)
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"{field}: ")
