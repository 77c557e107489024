from __future__ import annotations

import asyncio

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal
from tests.fast.stream_clients import connected, in_thread


def heard(stream, event_type, call, *arguments, **options):
    """The next event of the type that Bea, who watches, hears of the call."""

    async def connect():
        async with connected(stream, "bea") as bea:
            await bea.watch()
            await in_thread(call, *arguments, **options)
            return await bea.event(event_type), bea.seen

    return asyncio.run(connect())


def test_who_watches_sees_others_type(channel, stream):
    event, _ = heard(
        stream,
        "typing.start",
        channel.send_event,
        {"type": "typing.start", "parent_id": "m"},
        "ann",
    )
    assert (event["user"]["id"], event["cid"], event["parent_id"]) == ("ann", "messaging:c1", "m")


def test_an_event_of_the_apps_own_carries_its_fields(channel, stream):
    sent = channel.send_event({"type": "price.changed", "price": {"eur": 7}}, "ann")
    assert sent.status_code() == 201
    assert (sent["event"]["type"], sent["event"]["price"]) == ("price.changed", {"eur": 7})
    event, _ = heard(stream, "poke", channel.send_event, {"type": "poke", "strength": 3}, "ann")
    assert (event["strength"], event["user"]["id"]) == (3, "ann")


def test_a_client_sends_events_in_its_own_name(channel, stream):
    of_ann = user_client(stream, "ann").channel("messaging", "c1")
    event = of_ann.send_event({"type": "poke"}, "bea")["event"]
    assert event["user"]["id"] == "ann"


@pytest.mark.parametrize(
    ("event", "sender", "expected"),
    [
        ({"type": "message.new"}, "ann", (400, 18)),
        ({"type": "typing.pause"}, "ann", (400, 18)),
        ({"type": ""}, "ann", (400, 4)),
        ({"type": "poke"}, "nobody", (400, 4)),
        ({"type": "poke", "note": "x" * 5200}, "ann", (413, 22)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_event_is_refused(channel, event, sender, expected):
    assert refusal(channel.send_event, event, sender) == expected


def test_strangers_and_banned_users_send_no_events(chat, channel, stream):
    for user_id in ("cid", "ann"):
        chat.ban_user("ann")
        own = user_client(stream, user_id).channel("messaging", "c1")
        assert refusal(own.send_event, {"type": "typing.start"}, user_id) == (403, 17)


def test_who_hides_typing_is_not_seen_typing(chat, channel, stream):
    hide = {"privacy_settings": {"typing_indicators": {"enabled": False}}}
    chat.update_user_partial({"id": "ann", "set": hide})

    def type_and_say():
        channel.send_event({"type": "typing.start"}, "ann")
        channel.send_message({"text": "hi"}, "ann")

    _, seen = heard(stream, "message.new", type_and_say)
    assert "typing.start" not in seen


def test_who_hides_reading_is_not_seen_reading(chat, channel, stream):
    hide = {"privacy_settings": {"read_receipts": {"enabled": False}}}
    chat.update_user_partial({"id": "ann", "set": hide})

    def read_and_say():
        channel.mark_read("ann")
        channel.send_message({"text": "hi"}, "ann")

    _, seen = heard(stream, "message.new", read_and_say)
    assert "message.read" not in seen

    def readers(user_id):
        state = user_client(stream, user_id).channel("messaging", "c1").query()
        return {one["user"]["id"] for one in state["read"]}

    assert (readers("bea"), readers("ann")) == ({"bea"}, {"ann", "bea"})


def test_a_delivery_is_seen_and_kept(chat, channel, stream):
    for number in (1, 2):
        channel.send_message({"id": f"m{number}", "text": "hi"}, "bea")
    event, _ = heard(
        stream, "message.delivered", chat.mark_delivered_simple, "ann", "m2", "messaging:c1"
    )
    assert (event["user"]["id"], event["last_delivered_message_id"]) == ("ann", "m2")
    chat.mark_delivered_simple("ann", "m1", "messaging:c1")
    read = next(one for one in channel.query()["read"] if one["user"]["id"] == "ann")
    assert read["last_delivered_message_id"] == "m2"
    assert read["last_delivered_at"] == event["last_delivered_at"]


@pytest.mark.parametrize(
    ("message_id", "cid", "expected"),
    [("x", "messaging:c1", (400, 4)), ("m1", "messaging:x", (404, 16))],
)
def test_an_unknown_delivery_is_refused(chat, channel, message_id, cid, expected):
    assert refusal(chat.mark_delivered_simple, "ann", message_id, cid) == expected


def test_a_stranger_confirms_no_delivery(channel, stream):
    channel.send_message({"id": "m1", "text": "hi"}, "ann")
    confirmed = {"latest_delivered_messages": [{"cid": "messaging:c1", "id": "m1"}]}
    stranger = user_client(stream, "cid")
    assert refusal(stranger.post, "channels/delivered", data=confirmed) == (403, 17)
    assert refusal(stranger.post, "channels/delivered", data={}) == (400, 4)
