"""What happens in Stream alone, as from its dashboard, comes to Firestore by webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from firebase_admin import auth
from stream_chat.channel import Channel

from chatsync import proof
from dev.emulators import FUNCTIONS_URL
from tests.emulator.test_app_clients import LOCAL, play_in_node
from tests.waiting import wait_for

URL = f"{FUNCTIONS_URL}/streamWebhook"
EVENTS = [
    *("channel.created", "channel.updated", "channel.deleted"),
    *("member.added", "member.updated", "member.removed"),
    "message.new",
]
# Where all its processes are busy, the emulator starts one more, for which Stream would not wait.
PATIENCE = {"timeout_ms": 20_000, "total_ms": 55_000}
# Wide enough that it doesn't start a dozen at once, each of which keeps a processor busy.
TWICE_AND_IN_ANY_ORDER = {"duplicates": 1, "new_id_on_duplicate": True, "shuffle_ms": 3000}

_numbers = count()


@pytest.fixture
def stream_calls(stream) -> Iterator[Callable[..., None]]:
    """Has Stream call the function; to be called again for other options of the control surface."""

    def stream_calls(**options: Any) -> None:
        stream.webhook(URL, EVENTS, **PATIENCE, **options)

    stream_calls()
    yield stream_calls
    stream.webhook(None)
    wait_for(lambda: all(one["status"] is not None for one in stream.deliveries()))


@pytest.fixture
def stream_tells_of_users(stream) -> Iterator[None]:
    stream.webhook(URL, proof.EVENTS, **PATIENCE)
    yield
    stream.webhook(None)
    wait_for(lambda: all(one["status"] is not None for one in stream.deliveries()))


@pytest.fixture
def people(firebase, chat) -> list[str]:
    """The uids of three who have an account and are in Stream, but have no documents."""
    uids = [f"webhook-{name}-{next(_numbers)}" for name in ("ann", "bea", "cid")]
    auth.import_users([auth.ImportUserRecord(uid) for uid in uids], app=firebase)
    chat.upsert_users([{"id": uid, "name": uid} for uid in uids])
    return uids


@pytest.fixture
def create(chat, people) -> Callable[[], Channel]:
    """Makes a channel of Ann and Bea as Stream's dashboard does."""

    def create() -> Channel:
        data = {"members": people[:2], "name": "Support"}
        channel = chat.channel("messaging", f"dashboard-{next(_numbers)}", data)
        channel.create(people[0])
        return channel

    return create


@pytest.fixture
def document_of(firestore) -> Callable[[Channel], Any]:
    def document_of(channel: Channel) -> dict[str, Any] | None:
        return firestore.document(f"conversations/{channel.id}").get().to_dict()

    return document_of


@pytest.fixture
def recorded(stream_calls, create, document_of) -> Channel:
    """A channel that has come to Firestore."""
    channel = create()
    wait_for(lambda: document_of(channel))
    return channel


@pytest.fixture
def messages_sent(firestore) -> Callable[[str], int]:
    def messages_sent(uid: str) -> int:
        stats = firestore.document(f"user_stats/{uid}").get().to_dict()
        return stats["messagesSent"] if stats else 0

    return messages_sent


@pytest.fixture
def compressed(chat) -> Iterator[None]:
    chat.update_app_settings(enable_hook_payload_compression=True)
    yield
    chat.update_app_settings(enable_hook_payload_compression=False)


def test_a_channel_from_the_dashboard_becomes_a_conversation(
    stream_calls, create, document_of, people
):
    channel = create()

    document = wait_for(lambda: document_of(channel))

    assert (document["cid"], document["status"]) == (channel.cid, "ready")
    assert (document["name"], document["origin"]) == ("Support", "webhook")
    assert sorted(document["participantIds"]) == people[:2]
    assert document["createdBy"] == people[0]


def test_a_compressed_event_is_understood(compressed, stream_calls, create, document_of):
    channel = create()
    assert wait_for(lambda: document_of(channel))["status"] == "ready"


def test_many_changes_told_twice_and_in_any_order_end_as_the_channel_is(
    recorded, stream_calls, stream, document_of, people
):
    stream_calls(**TWICE_AND_IN_ANY_ORDER)
    since = stream.last_delivery()
    recorded.add_members([people[2]])
    for number in range(4):
        recorded.update_partial(to_set={"name": f"Name {number}"})
    recorded.remove_members([people[1]])

    wait_until_told(stream, since, events=6)

    wait_for(lambda: document_of(recorded)["name"] == "Name 3")
    wait_for(lambda: set(document_of(recorded)["participantIds"]) == {people[0], people[2]})


def test_a_message_that_is_told_twice_and_out_of_order_counts_once(
    recorded, stream_calls, stream, people, messages_sent
):
    stream_calls(**TWICE_AND_IN_ANY_ORDER)
    since = stream.last_delivery()
    for number in range(3):
        recorded.send_message({"text": f"{number}"}, people[0])
    recorded.send_message({"text": "and one"}, people[1])

    wait_until_told(stream, since, events=4)

    assert [messages_sent(uid) for uid in people] == [3, 1, 0]


def wait_until_told(stream, since: int, events: int) -> None:
    """Until so many events, and their duplicates, have been answered."""

    def answered() -> int:
        statuses = [one["status"] for one in stream.deliveries(since)]
        return statuses.count(200)

    wait_for(lambda: answered() >= 2 * events)


def test_a_name_that_a_client_overwrote_is_back_within_seconds(
    stream_tells_of_users, stream, firebase, firestore, stream_user
):
    uid = f"webhook-lena-{next(_numbers)}"
    auth.import_users([auth.ImportUserRecord(uid, display_name="Lena")], app=firebase)
    token = auth.create_custom_token(uid, app=firebase).decode()
    since = stream.last_delivery()
    lena = {"uid": uid, "token": token}

    name = play_in_node({"scene": "nameless", "local": LOCAL, "people": {"lena": lena}})
    assert name == uid

    wait_for(lambda: stream_user(uid)["name"] == "Lena", seconds=30)
    told = [one["body"]["user"]["name"] for one in stream.deliveries(since, body=True)]
    assert told[:2] == ["Lena", uid]

    # Stream's settings were checked too, as the nightly audit does elsewhere.
    webhook = wait_for(lambda: firestore.document("chatsync/webhook").get().to_dict())
    assert webhook["lastUserEventAt"]
    wait_for(lambda: firestore.document("chatsync/webhook").get().get("missingEvents") == [])
