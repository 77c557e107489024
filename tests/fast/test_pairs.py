"""A pair has one direct conversation, however it came to be."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from chatsync.conversations import pairs
from chatsync.conversations.create import create_conversation, parse
from chatsync.conversations.reconcile import reconcile_conversations
from chatsync.entry.events import reconcile_after_sign_up, remove_after_event
from chatsync.errors import SettingInvalid


@pytest.fixture(autouse=True)
def people(accounts) -> None:
    for uid in ("ann", "bob", "eve"):
        accounts.sign_up(uid, displayName=uid.title())


@pytest.fixture
def create(clients):
    def create(caller: str = "ann", other: str = "bob", **fields) -> dict:
        return create_conversation(caller, {"participantIds": [other], **fields}, clients)

    return create


@pytest.fixture
def make_channel(chat, clients):
    """A channel that was made in Stream by other means, and recorded by a webhook."""

    def make_channel(channel_id: str, *members: str, by: str = "ann", **data) -> str:
        chat.upsert_users([{"id": one} for one in {*members, by}])
        channel = chat.channel("messaging", channel_id, {"members": list(members), **data})
        channel.create(by)
        [outcome] = reconcile_conversations([channel_id], clients, origin="webhook")
        assert outcome.status == "ready"
        return channel_id

    return make_channel


def cids(chat) -> set[str]:
    return {state["channel"]["cid"] for state in chat.query_channels({}, limit=30)["channels"]}


def members_in(chat, channel_id: str) -> set[str]:
    state = chat.channel("messaging", channel_id).query()
    return {one["user_id"] for one in state["members"]}


def pairs_in(clients) -> list[str]:
    return [one.get("conversationId") for one in clients.firestore.collection("pairs").get()]


def test_a_new_conversation_has_an_id_that_nobody_can_compute(create, clients):
    result = create()
    legacy = parse("ann", {"participantIds": ["bob"]}, clients.settings).legacy_id()
    assert result["id"] != legacy
    assert pairs_in(clients) == [result["id"]]
    assert create("bob", "ann")["id"] == result["id"]


def test_another_project_has_other_ids(create, firestore_api):
    first = create()["id"]
    firestore_api.documents.clear()
    pairs._keys.clear()
    assert create()["id"] != first


def test_a_conversation_of_before_keeps_its_id(create, clients, chat, make_channel):
    legacy = parse("ann", {"participantIds": ["bob"]}, clients.settings).legacy_id()
    make_channel(legacy, "ann", "bob")
    clients.firestore.document(f"conversations/{legacy}").update({"origin": "app"})
    for caller, other in (("ann", "bob"), ("bob", "ann")):
        result = create(caller, other)
        assert (result["id"], result["existed"]) == (legacy, True)
    assert cids(chat) == {f"messaging:{legacy}"}
    assert pairs_in(clients) == [legacy]


def test_the_oldest_direct_channel_of_other_origin_is_opened(create, make_channel, clients, chat):
    make_channel("direct_user_11_user_8", "ann", "bob")
    make_channel("direct_user_8_user_11", "bob", "ann", by="bob")
    reference = clients.firestore.document("conversations/direct_user_8_user_11")
    reference.update({"createdAt": datetime(2020, 1, 1, tzinfo=UTC)})
    result = create()
    assert (result["id"], result["existed"]) == ("direct_user_8_user_11", True)
    assert len(cids(chat)) == 2
    # A pair that names a living channel never changes.
    reference.update({"createdAt": datetime.now(UTC)})
    assert create("bob", "ann")["id"] == "direct_user_8_user_11"


@pytest.mark.parametrize(
    ("members", "by", "data"),
    [
        (("ann", "bob", "eve"), "ann", {}),
        (("ann", "bob"), "eve", {}),
        (("ann", "bob"), "ann", {"name": "Us two"}),
        (("ann", "bob"), "ann", {"team": "red"}),
        (("ann", "eve"), "ann", {}),
    ],
    ids=["three", "made by a stranger", "named", "of another team", "of another pair"],
)
def test_a_channel_that_is_not_just_theirs_is_not_opened(create, make_channel, members, by, data):
    make_channel("other", *members, by=by, **data)
    result = create()
    assert (result["id"] == "other", result["existed"]) == (False, False)


def test_a_recorded_channel_that_grew_is_left_as_it_is(create, make_channel, clients, chat):
    make_channel("direct_1", "ann", "bob")
    assert create()["id"] == "direct_1"
    chat.upsert_user({"id": "eve"})
    chat.channel("messaging", "direct_1").add_members(["eve"])
    reconcile_conversations(["direct_1"], clients)
    result = create()
    assert result["id"] != "direct_1"
    assert members_in(chat, "direct_1") == {"ann", "bob", "eve"}
    assert create("bob", "ann")["id"] == result["id"]


@pytest.mark.parametrize("adopted", [False, True], ids=["at first", "later"])
def test_a_recorded_channel_that_grew_keeps_everybody_though_its_event_is_late(
    create, make_channel, chat, clients, adopted
):
    make_channel("direct_1", "ann", "bob")
    if adopted:
        assert create()["id"] == "direct_1"
    chat.upsert_user({"id": "eve"})
    chat.channel("messaging", "direct_1").add_members(["eve"])
    result = create()
    assert result["id"] != "direct_1"
    assert members_in(chat, "direct_1") == {"ann", "bob", "eve"}
    assert pairs_in(clients) == [result["id"]]
    document = clients.firestore.document("conversations/direct_1").get()
    assert set(document.get("memberIds")) == {"ann", "bob", "eve"}


def test_of_several_recorded_channels_one_that_is_still_just_theirs_is_opened(
    create, make_channel, chat
):
    for channel_id in ("direct_1", "direct_2", "direct_3"):
        make_channel(channel_id, "ann", "bob")
    chat.upsert_user({"id": "eve"})
    chat.channel("messaging", "direct_1").add_members(["eve"])
    chat.channel("messaging", "direct_2").delete(hard=True)
    result = create()
    assert (result["id"], result["existed"]) == ("direct_3", True)


@pytest.mark.parametrize("policy", ["soft", "keep"])
def test_a_pair_keeps_its_recorded_channel_when_a_deleted_account_comes_back(
    policy, create, make_channel, accounts, clients, chat, with_settings
):
    clients = with_settings(stream={"delete_policy": policy})
    for uid in ("ann", "bob"):
        reconcile_after_sign_up(uid, clients)
    make_channel("direct_1", "ann", "bob")
    assert create()["id"] == "direct_1"
    accounts.delete("bob")
    remove_after_event("bob", clients)
    accounts.sign_up("bob")
    reconcile_after_sign_up("bob", clients)
    result = create_conversation("ann", {"participantIds": ["bob"]}, clients)
    assert (result["id"], result["participantIds"]) == ("direct_1", ["ann", "bob"])
    assert members_in(chat, "direct_1") == {"ann", "bob"}
    document = clients.firestore.document("conversations/direct_1").get()
    assert document.get("participantIds") == document.get("memberIds") == ["ann", "bob"]


def test_a_recorded_channel_that_is_gone_is_replaced(create, make_channel, chat, clients):
    make_channel("direct_1", "ann", "bob")
    assert create()["id"] == "direct_1"
    chat.channel("messaging", "direct_1").delete(hard=True)
    result = create()
    assert (result["id"] != "direct_1", result["existed"]) == (True, False)
    assert pairs_in(clients) == [result["id"]]
    status = clients.firestore.document("conversations/direct_1").get().get("status")
    assert status == "deleted"


def test_two_calls_at_once_make_one_channel(clients, chat):
    def call(caller: str) -> str:
        other = "bob" if caller == "ann" else "ann"
        return create_conversation(caller, {"participantIds": [other]}, clients)["id"]

    with ThreadPoolExecutor(2) as threads:
        ids = set(threads.map(call, ["ann", "bob"]))
    assert len(ids) == len(cids(chat)) == 1
    assert pairs_in(clients) == list(ids)


def test_a_lost_key_is_an_error_and_never_made_anew(create, clients):
    create()
    clients.firestore.document("chatsync/keys").delete()
    pairs._keys.clear()
    with pytest.raises(SettingInvalid, match="chatsync/keys is missing"):
        create("ann", "eve")
    assert not clients.firestore.document("chatsync/keys").get().exists


@pytest.mark.parametrize("is_first_call_of_a_process", [True, False])
def test_a_chat_of_before_the_two_had_a_team_is_opened(create, clients, is_first_call_of_a_process):
    before = create()["id"]
    for uid in ("ann", "bob"):
        clients.firestore.document(f"users/{uid}").set({"chat": {"teams": ["red"]}})
    if is_first_call_of_a_process:
        pairs._keys.clear()
    result = create()
    assert (result["id"], result["team"], result["existed"]) == (before, None, True)
    assert create(team="red")["id"] != before


def test_a_document_of_the_backend_that_a_pair_names_is_not_written(create, make_channel, clients):
    make_channel("direct_1", "ann", "bob")
    assert create()["id"] == "direct_1"
    reference = clients.firestore.document("conversations/direct_1")
    reference.set({"memberIds": ["ann", "bob"], "room": 7})
    assert create()["id"] != "direct_1"
    assert reference.get().to_dict() == {"memberIds": ["ann", "bob"], "room": 7}
