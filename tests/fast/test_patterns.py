"""What a channel is by its id, and which team is its own: decided without a server."""

from __future__ import annotations

import pytest

from chatsync.config import ChannelPattern, Teams
from chatsync.conversations.patterns import (
    field_value_of,
    match_of,
    team_by_field,
    wrong_team_of,
)

ROOM = ChannelPattern(id="room_*", conversation_type="group")
EVENT = ChannelPattern(id="event_{event}_*", owner="events/{event}")
DIRECT = ChannelPattern(id="direct_*", conversation_type="direct")
GYMS = [ROOM, EVENT, DIRECT]
BY_GYM = Teams(channel_field="gym_id", format="gym_{value}")


@pytest.mark.parametrize(
    ("channel_id", "pattern"),
    [
        ("room_General_4", ROOM),
        ("event_656_d3d94468", EVENT),
        ("direct_user_11_user_8", DIRECT),
        ("event__d3d94468", None),
        ("event_656", None),
        ("my_room_4", None),
        ("roomXGeneral", None),
        ("", None),
    ],
)
def test_a_channel_matches_by_its_whole_id(channel_id, pattern):
    found = match_of(channel_id, GYMS)
    assert (found and found.pattern) == pattern


def test_an_owner_is_named_by_the_parts_of_the_id():
    assert match_of("event_656_d3_94468", GYMS).owner == "events/656"
    deep = ChannelPattern(id="{gym}-{day}_x", owner="gyms/{gym}/days/{day}")
    assert match_of("4-mon_x", [deep]).owner == "gyms/4/days/mon"
    assert match_of("room_General_4", GYMS).owner == ""


def test_an_owner_without_names_of_the_id_stands_for_itself():
    stars = ChannelPattern(id="event_*", owner="events/*")  # which the settings refuse
    assert match_of("event_5", [stars]).owner == "events/*"


def test_the_first_match_counts():
    anything = ChannelPattern(id="*")
    assert match_of("room_1", [anything, ROOM]).pattern == anything
    assert match_of("room_1", [ROOM, anything]).pattern == ROOM


def test_names_of_placeholders_may_be_numbers_and_other_signs_stand_for_themselves():
    odd = ChannelPattern(id="!{1}-*", owner="events/{1}")
    assert match_of("!7-", [odd]).owner == "events/7"
    assert match_of("x7-", [odd]) is None


@pytest.mark.parametrize(
    ("value", "team"),
    [
        (5, "gym_5"),
        (5.0, "gym_5"),
        ("5", "gym_5"),
        (" north ", "gym_north"),
        (0, "gym_0"),
        ("", None),
        ("  ", None),
        (None, None),
        (True, None),
        (5.5, None),
        ([5], None),
    ],
)
def test_a_team_is_made_from_a_number_or_a_text(value, team):
    assert team_by_field({"gym_id": value}, BY_GYM) == team


def test_without_the_setting_no_field_makes_a_team():
    assert team_by_field({"": 5, "gym_id": 5}, Teams()) is None


@pytest.mark.parametrize(
    ("team", "value"),
    [
        ("gym_5", 5),
        ("gym_north", "north"),
        ("gym_05", "05"),
        ("gym_12345678901234567890", "12345678901234567890"),
        ("gym_", None),
        ("gym_ 5", None),
        ("club_5", None),
        ("5", None),
    ],
)
def test_the_value_of_a_field_is_derived_back_from_the_team(team, value):
    assert field_value_of(team, BY_GYM) == value
    assert type(field_value_of(team, BY_GYM)) is type(value)
    if value is not None:
        assert team_by_field({"gym_id": value}, BY_GYM) == team


@pytest.mark.parametrize(
    ("in_stream", "by_field", "in_firestore", "expected"),
    [
        ("gym_5", 5, "gym_5", None),
        ("gym_5", None, "gym_5", None),
        (None, None, None, None),
        ("gym_1", 5, "gym_5", ("gym_5", "gym_1", "gym_1 in Stream, gym_5 by gym_id")),
        (
            "gym_1",
            5,
            "gym_1",
            ("gym_5", "gym_1", "gym_1 in Stream, gym_1 in Firestore, gym_5 by gym_id"),
        ),
        ("gym_5", 5, "gym_1", ("gym_5", "gym_1", "gym_1 in Firestore, gym_5 by gym_id")),
        ("gym_1", None, "gym_5", ("gym_5", "gym_1", "gym_1 in Stream")),
        (None, 5, "gym_5", ("gym_5", None, "no team in Stream, gym_5 by gym_id")),
    ],
)
def test_a_wrong_team_is_told_with_the_team_that_it_should_be(
    in_stream, by_field, in_firestore, expected
):
    channel = {"team": in_stream, "gym_id": by_field}
    assert wrong_team_of(channel, in_firestore, BY_GYM) == expected
