from __future__ import annotations

import pytest
from stream_chat.base.exceptions import StreamAPIException

from stream_server.user_client import user_client
from tests.fast.refusals import refusal


@pytest.fixture
def people(chat):
    chat.upsert_users(
        [
            {"id": "ann", "teams": ["a"], "name": "Ann"},
            {"id": "bea", "teams": ["a", "b"]},
            {"id": "cid"},
            {"id": "root", "role": "admin"},
        ]
    )
    return chat


@pytest.fixture
def as_user(people, stream):
    return lambda user_id: user_client(stream, user_id)


@pytest.fixture
def channel(people):
    """Made by Bea, with Ann as a member."""
    channel = people.channel("messaging", "c1", {"members": ["ann", "bea"], "team": "a"})
    channel.create("bea")
    return channel


@pytest.fixture
def tenants(people):
    people.update_app_settings(multi_tenant_enabled=True)


def of(client, channel_id="c1", **data):
    return client.channel("messaging", channel_id, data)


FORBIDDEN = (403, 17)


def test_a_client_creates_a_channel_in_its_users_name(as_user):
    state = of(as_user("ann"), "c2", members=["ann", "cid"]).query()
    assert state["channel"]["created_by"]["id"] == "ann"
    assert state["membership"]["user_id"] == "ann"
    assert "send-message" in state["channel"]["own_capabilities"]


def test_a_client_creates_no_channel_in_anothers_name(as_user):
    assert refusal(of(as_user("ann"), "c2", members=["ann"]).create, "bea") == FORBIDDEN


def test_a_client_hears_of_unknown_members(as_user):
    with pytest.raises(StreamAPIException, match=r"don't exist: \[x\]"):
        of(as_user("ann"), "c2", members=["ann", "x"]).query()


def test_a_client_makes_distinct_channels_only_for_itself(as_user):
    assert of(as_user("ann"), None, members=["ann", "cid"]).query().is_ok()
    with pytest.raises(StreamAPIException, match="the creator should be present as a member"):
        of(as_user("ann"), None, members=["bea", "cid"]).query()


@pytest.mark.parametrize("user_id", ["ann", "bea", "root"])
def test_who_belongs_to_a_channel_reads_and_writes_in_it(as_user, channel, user_id):
    client = as_user(user_id)
    assert of(client).send_message({"text": "hi"}, user_id)["message"]["user"]["id"] == user_id
    assert of(client).query()["messages"][0]["text"] == "hi"
    assert len(of(client).query_members({})) == 2
    assert of(client).mark_read(user_id).is_ok()


def test_a_stranger_has_no_access_to_a_channel(as_user, channel):
    stranger = of(as_user("cid"))
    expected = r"User 'cid' with role 'user' is not allowed to perform action ReadChannel in scope"
    with pytest.raises(StreamAPIException, match=expected):
        stranger.query()
    for call, arguments in (
        (stranger.query, ()),
        (stranger.send_message, ({"text": "hi"}, "cid")),
        (stranger.query_members, ({},)),
        (stranger.mark_read, ("cid",)),
        (stranger.add_members, (["cid"],)),
        (stranger.update, ({"name": "x"},)),
        (stranger.delete, ()),
    ):
        assert refusal(call, *arguments) == FORBIDDEN


def test_a_member_changes_nothing_but_may_leave(as_user, channel):
    member = of(as_user("ann"))
    for call, arguments in (
        (member.add_members, (["cid"],)),
        (member.remove_members, (["bea"],)),
        (member.update, ({"name": "x"},)),
        (member.update_partial, ({"name": "x"},)),
        (member.delete, ()),
    ):
        assert refusal(call, *arguments) == FORBIDDEN
    assert member.remove_members(["ann"]).is_ok()
    assert refusal(member.query) == FORBIDDEN


@pytest.mark.parametrize("user_id", ["bea", "root"])
def test_who_manages_a_channel_changes_it_but_not_its_team(as_user, channel, user_id):
    manager = of(as_user(user_id))
    assert manager.add_members(["cid"]).is_ok()
    assert manager.update_partial({"name": "x"}).is_ok()
    assert refusal(manager.update_partial, {"team": "b"}) == FORBIDDEN
    assert refusal(manager.update, {"team": "b"}) == FORBIDDEN
    assert refusal(manager.delete, hard=True) == FORBIDDEN
    assert manager.delete().is_ok()


def test_a_client_does_not_bring_back_a_deleted_channel(as_user, channel):
    channel.delete()
    with pytest.raises(StreamAPIException, match="perform action RecreateChannel"):
        of(as_user("bea"), members=["bea"]).query()
    channel.create("bea")
    channel.delete(hard=True)
    assert of(as_user("bea"), members=["bea"]).query().is_ok()


def test_a_client_finds_its_channels(as_user, channel):
    mine = as_user("ann").query_channels({"members": {"$in": ["ann"]}})["channels"]
    assert [state["channel"]["id"] for state in mine] == ["c1"]
    assert mine[0]["membership"]["user_id"] == "ann"


def test_a_query_that_meets_a_strangers_channel_is_refused(as_user, channel):
    assert refusal(as_user("cid").query_channels, {"type": "messaging"}) == (403, 70)


def test_a_user_writes_only_their_own_record(as_user):
    ann = as_user("ann")
    ann.upsert_user({"id": "ann", "name": "Ann II"})
    assert ann.query_users({"id": "ann"})["users"][0]["name"] == "Ann II"
    for call in (ann.upsert_user, ann.update_user_partial):
        with pytest.raises(StreamAPIException, match="is not allowed to perform action UpdateUser"):
            call({"id": "bea", "set": {}})
    assert refusal(ann.upsert_user, {"id": "bea"}) == FORBIDDEN


def test_a_user_keeps_role_and_teams(as_user, people):
    ann = as_user("ann")
    ann.upsert_user({"id": "ann"})
    assert people.query_users({"id": "ann"})["users"][0]["teams"] == ["a"]
    for field, value in (("role", "admin"), ("teams", ["a", "b"])):
        assert refusal(ann.upsert_user, {"id": "ann", field: value}) == FORBIDDEN
        change = {"id": "ann", "set": {field: value}}
        assert refusal(ann.update_user_partial, change) == FORBIDDEN


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("delete_user", ["ann"]),
        ("delete_users", [["ann"], "soft"]),
        ("restore_users", [["ann"]]),
        ("deactivate_user", ["ann"]),
        ("query_message_flags", [{}]),
        ("delete_channels", [["messaging:c1"]]),
        ("get_task", ["x"]),
        ("get_rate_limits", []),
    ],
)
def test_what_is_for_servers_is_refused(as_user, channel, method, arguments):
    with pytest.raises(StreamAPIException, match="can only be called server side"):
        getattr(as_user("ann"), method)(*arguments)


def test_watching_needs_a_connection(as_user, channel):
    ann = of(as_user("ann"))
    with pytest.raises(StreamAPIException, match="requires an active websocket connection"):
        ann.query(watch=True)
    body = {"watch": True}
    path = "channels/messaging/c1/query?connection_id=unknown"
    assert refusal(as_user("ann").post, path, data=body) == (400, 46)


def test_clients_do_not_use_up_the_servers_limit(as_user, channel, stream):
    stream.limit("GetOrCreateChannel", 0)
    response = of(as_user("ann")).query()
    assert response.rate_limit() is None


def test_teams_do_not_matter_unless_the_app_has_tenants(as_user):
    assert of(as_user("cid"), "c2", members=["cid"], team="z").query().is_ok()


def test_with_tenants_a_channel_is_for_its_team(as_user, channel, tenants, people):
    assert of(as_user("ann")).query().is_ok()
    channel.update_partial({"team": "b"})
    assert refusal(of(as_user("ann")).query) == FORBIDDEN
    assert of(as_user("bea")).query().is_ok()
    assert refusal(of(as_user("root")).query) == FORBIDDEN
    people.update_user_partial({"id": "bea", "set": {"teams": []}})
    assert refusal(of(as_user("bea")).query) == FORBIDDEN


def test_with_tenants_a_channel_without_team_is_for_who_has_none(as_user, people, tenants):
    people.channel("messaging", "c2", {"members": ["ann", "cid"]}).create("cid")
    assert of(as_user("cid"), "c2").query().is_ok()
    with pytest.raises(StreamAPIException, match="does not belong to any team"):
        of(as_user("ann"), "c2").query()


def test_with_tenants_a_channel_is_created_in_an_own_team(as_user, tenants):
    assert of(as_user("ann"), "c2", members=["ann"], team="a").query().is_ok()
    expected = r'user from teams \[\\"a\\"\] cannot create a channel for team \\"b\\"'
    with pytest.raises(StreamAPIException, match=expected):
        of(as_user("ann"), "c3", members=["ann"], team="b").query()
    assert refusal(of(as_user("ann"), "c3", members=["ann"]).query) == FORBIDDEN


def test_with_tenants_a_query_of_users_names_its_team(as_user, tenants):
    ann = as_user("ann")
    with pytest.raises(StreamAPIException, match="you must include a team filter"):
        ann.query_users({"id": "bea"})
    found = ann.query_users({"teams": {"$contains": "a"}})["users"]
    assert {user["id"] for user in found} == {"ann", "bea"}
    assert refusal(ann.query_users, {"teams": {"$in": ["a", "b"]}}) == FORBIDDEN


def test_with_tenants_servers_are_not_restricted(people, channel, tenants):
    assert channel.add_members(["cid"]).is_ok()
    assert len(people.query_users({})["users"]) == 4
    assert people.channel("messaging", "c2", {"members": ["ann", "cid"]}).create("cid").is_ok()
