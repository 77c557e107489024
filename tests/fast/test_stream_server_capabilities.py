from __future__ import annotations

import pytest

from stream_server.capabilities import CHANGING, MANAGING, MODERATING, READING, SENDING
from stream_server.channel_config import BUILT
from stream_server.operations import OPERATION_NAMES
from stream_server.user_client import user_client
from tests.fast.refusals import refusal

# The operation without which a capability, or a feature of a channel, would be a lie.
NEEDED = {
    "ban-channel-members": "Ban",
    "connect-events": "StopWatchingChannel",
    "create-attachment": "SendMessage",
    "create-mention": "SendMessage",
    "custom_events": "SendEvent",
    "delete-any-message": "DeleteMessage",
    "delete-channel": "DeleteChannel",
    "delete-own-message": "DeleteMessage",
    "delivery-events": "MarkDelivered",
    "flag-message": "Flag",
    "freeze-channel": "UpdateChannelPartial",
    "leave-channel": "UpdateChannel",
    "mute-channel": "MuteChannel",
    "mutes": "MuteChannel",
    "pin-message": "UpdateMessagePartial",
    "quote-message": "SendMessage",
    "read-events": "MarkRead",
    "replies": "GetReplies",
    "quotes": "SendMessage",
    "search": "Search",
    "search-messages": "Search",
    "send-custom-events": "SendEvent",
    "send-links": "SendMessage",
    "send-message": "SendMessage",
    "reactions": "SendReaction",
    "send-reaction": "SendReaction",
    "send-reply": "GetReplies",
    "send-typing-events": "SendEvent",
    "set-channel-cooldown": "UpdateChannel",
    "skip-slow-mode": "SendMessage",
    "typing-events": "SendEvent",
    "update-any-message": "UpdateMessage",
    "update-channel": "UpdateChannel",
    "update-channel-members": "UpdateChannel",
    "update-own-message": "UpdateMessage",
    "upload-file": "UploadChannelFile",
    "uploads": "UploadChannelFile",
    **{
        name.replace("-", "_"): operation
        for name, operation in {
            "connect-events": "StopWatchingChannel",
            "delivery-events": "MarkDelivered",
            "read-events": "MarkRead",
            "typing-events": "SendEvent",
        }.items()
    },
}


@pytest.fixture
def channel(chat):
    """Made by Bea, with Ann and a moderator as members."""
    chat.upsert_users(
        [{"id": "ann"}, {"id": "bea"}, {"id": "mod"}, {"id": "root", "role": "admin"}]
    )
    channel = chat.channel("messaging", "c1", {"members": ["ann", "bea", "mod"]})
    channel.create("bea")
    channel.add_moderators(["mod"])
    return channel


@pytest.fixture
def capabilities(stream, channel):
    def capabilities(user_id, channel_type="messaging"):
        own = user_client(stream, user_id).channel(channel_type, "c1")
        return own.query()["channel"]["own_capabilities"]

    return capabilities


def test_every_capability_and_feature_has_its_operation():
    advertised = {*READING, *SENDING, *CHANGING, *MANAGING, *MODERATING, *BUILT}
    advertised.add("leave-channel")
    for name in advertised:
        assert NEEDED[name] in OPERATION_NAMES, name


def test_a_member_reads_and_writes(capabilities):
    found = capabilities("ann")
    assert found == sorted({*READING, *SENDING, *CHANGING, "leave-channel"})


def test_who_manages_a_channel_can_do_more(capabilities):
    member = set(capabilities("ann"))
    assert set(capabilities("bea")) - member == set(MANAGING)
    assert set(capabilities("mod")) - member == {*MANAGING, *MODERATING}
    assert "leave-channel" not in capabilities("root")


def test_a_banned_user_reads_only(channel, capabilities):
    channel.ban_user("ann")
    assert capabilities("ann") == sorted({*READING, "leave-channel"})


def test_in_a_frozen_channel_nobody_sends(channel, capabilities):
    channel.update_partial({"frozen": True})
    assert not set(SENDING) & {*capabilities("ann"), *capabilities("root")}
    assert {"freeze-channel", *CHANGING} <= set(capabilities("mod"))


def test_a_frozen_channel_takes_events_as_its_capabilities_say(channel, capabilities, stream):
    channel.update_partial({"frozen": True})
    own = user_client(stream, "ann").channel("messaging", "c1")
    for event_type in ("typing.start", "poke"):
        own.send_event({"type": event_type}, "ann")
    assert {"send-typing-events", "send-custom-events"} <= set(capabilities("ann"))


def test_slow_mode_shows(channel, capabilities):
    assert "slow-mode" not in capabilities("ann")
    channel.update_partial({"cooldown": 10})
    assert "slow-mode" in capabilities("ann")
    assert {"slow-mode", "skip-slow-mode"} <= set(capabilities("mod"))


def test_a_disabled_channel_has_no_capabilities(channel, stream):
    channel.update_partial({"disabled": True})
    found = user_client(stream, "ann").query_channels({"cid": "messaging:c1"})["channels"]
    assert found[0]["channel"]["own_capabilities"] == []


def test_everybody_sends_in_a_livestream(chat, channel, capabilities):
    chat.channel("livestream", "c1", {}).create("bea")
    found = capabilities("ann", "livestream")
    assert "send-message" in found
    assert "leave-channel" not in found


def test_a_server_has_no_capabilities(channel):
    assert "own_capabilities" not in channel.query()["channel"]


def test_what_a_channel_overrides_shows_and_holds(channel, capabilities):
    off = {"typing_events": False, "replies": False, "quotes": False, "max_message_length": 5}
    channel.update_partial({"config_overrides": off})
    state = channel.query()["channel"]
    assert {name: state["config"][name] for name in off} == off == state["config_overrides"]
    found = capabilities("ann")
    assert not {"send-reply", "quote-message", "typing-events", "send-typing-events"} & set(found)
    channel.send_message({"id": "m1", "text": "hello"}, "ann")
    for message, expected in (
        ({"text": "hi", "parent_id": "m1"}, (400, 19)),
        ({"text": "hi", "quoted_message_id": "m1"}, (400, 19)),
        ({"text": "too long"}, (400, 20)),
    ):
        assert refusal(channel.send_message, message, "ann") == expected
    assert refusal(channel.send_event, {"type": "typing.start"}, "ann") == (400, 18)
    channel.update_partial(to_unset=["config_overrides.replies"])
    assert "send-reply" in capabilities("ann")
    assert "quote-message" not in capabilities("ann")


def test_overrides_can_come_with_the_channel(chat, channel):
    new = chat.channel("messaging", "c2", {"config_overrides": {"replies": False}})
    assert new.create("ann")["channel"]["config"]["replies"] is False
    new.update({"config_overrides": {"quotes": False}})
    config = new.query()["channel"]["config"]
    assert (config["replies"], config["quotes"]) == (True, False)


@pytest.mark.parametrize(
    "overrides",
    [
        {"polls": True},
        {"replies": 1},
        {"max_message_length": 5001},
        {"max_message_length": True},
        [],
    ],
    ids=str,
)
def test_bad_overrides_are_refused(channel, overrides):
    assert refusal(channel.update_partial, {"config_overrides": overrides}) == (400, 4)
    assert refusal(channel.update, {"config_overrides": overrides}) == (400, 4)


def test_a_banned_moderator_moderates_nothing(chat, channel, capabilities, stream):
    channel.ban_user("mod")
    assert not set(MODERATING) & set(capabilities("mod"))
    own = user_client(stream, "mod").channel("messaging", "c1")
    assert refusal(own.unban_user, "mod") == (403, 17)
    chat.ban_user("root")
    assert refusal(user_client(stream, "root").unban_user, "root") == (403, 17)
