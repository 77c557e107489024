"""What one person writes into their documents stays theirs: it never stops another's repair."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore as google_firestore
from google.cloud.firestore_v1.vector import Vector
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from chatsync import audit, outbox
from chatsync.clients import Clients
from chatsync.clients.documents import create_profile, read_documents
from chatsync.config import DEFAULTS
from chatsync.conversations.create import create_conversation
from chatsync.entry.events import reconcile_after_creation, reconcile_after_sign_up
from chatsync.entry.records import ensure_profile, read_stats
from chatsync.errors import Postponed
from chatsync.ids import Key
from chatsync.outcome import Outcome
from chatsync.reconcile import reconcile_users
from tests.fast.outbox import drain_until_settled, entries
from tests.settings import settings_with

NAMES, PICTURES = DEFAULTS.users.name, DEFAULTS.users.image
MEBIBYTE = 1_048_576
ELSEWHERE = google_firestore.Client("another-project", AnonymousCredentials()).document("a/b")
"""A reference that Firestore stores, and that its Python client raises for when it is read."""

HOSTILE = Key("user", "hostile")
HOSTILE_COMPANY = Key("company", "hostile-ltd")
HONEST = [Key("user", f"honest-{number:02}") for number in range(99)]
SOME = HONEST[:29]

DOCUMENTS = {
    "users/hostile": (*NAMES, *PICTURES, "email", "chat", "createdAt", "anything"),
    "user_profiles/hostile": ("displayName", "photoURL", "mirrored", "preferences", "createdAt"),
    "user_stats/hostile": ("createdAt", "messagesSent", "conversationsStarted", "lastActiveAt"),
    "companies/hostile-ltd": (
        *DEFAULTS.companies.name,
        *DEFAULTS.companies.image,
        "chat",
        "createdAt",
    ),
}


@pytest.fixture
def people(accounts) -> None:
    for key in (HOSTILE, *HONEST):
        accounts.sign_up(key.id, displayName=key.id)


@pytest.fixture
def ensure(clients) -> Callable[..., list[Outcome]]:
    return lambda *uids: outbox.reconcile([Key("user", uid) for uid in uids], clients)


def in_stream(chat: Any, uid: str) -> dict[str, Any] | None:
    return next(iter(chat.query_users({"id": uid})["users"]), None)


# Sizes


def test_a_name_without_end_is_cut(accounts, ensure, firestore, chat):
    accounts.sign_up("ann")
    firestore.document("users/ann").set({"displayName": "x" * 600_000})
    assert ensure("ann")[0].status == "created"
    assert in_stream(chat, "ann")["name"] == "x" * 256
    profile = firestore.document("user_profiles/ann").get()
    assert profile.get("mirrored")["displayName"] == profile.get("displayName") == "x" * 256
    assert ensure("ann")[0].status == "ok"


def test_a_profile_without_room_does_not_follow_and_is_not_tried_again(
    accounts, ensure, firestore, firestore_api, chat, capsys
):
    accounts.sign_up("ann")
    ensure("ann")
    full = {"preferences": {"x": "x" * (MEBIBYTE - 600)}}
    firestore.document("user_profiles/ann").update(full)
    firestore.document("users/ann").update({"displayName": "y" * 256})
    [outcome] = ensure("ann")
    assert (outcome.status, outcome.error) == ("updated", None)
    assert in_stream(chat, "ann")["name"] == "y" * 256
    assert "Firestore refuses documents of user ann" in capsys.readouterr().out
    firestore_api.age()
    ensure("ann")  # remembers that both agree otherwise
    firestore_api.calls.clear()
    assert ensure("ann")[0].status == "ok"
    assert firestore_api.calls == ["batch_get_documents"]


def test_ninety_nine_follow_though_one_profile_has_no_room(people, ensure, firestore):
    uids = [key.id for key in (*HONEST, HOSTILE)]
    ensure(*uids)
    full = {"preferences": {"x": "x" * (MEBIBYTE - 600)}}
    firestore.document("user_profiles/hostile").update(full)
    for uid in uids:
        firestore.document(f"users/{uid}").update({"displayName": "y" * 256})
    assert [outcome.error for outcome in ensure(*uids)] == [None] * 100
    for key in HONEST:
        profile = firestore.document(f"user_profiles/{key.id}").get()
        assert profile.get("displayName") == "y" * 256


@pytest.mark.parametrize(
    ("stated", "copied"),
    [
        ("  Ann \n Lee\x00 ", "Ann  Lee"),
        ("\u202eAnn\u2066", "Ann"),
        ("\x00 \x1f", "ann"),
        ("x" * 255 + "  y", "x" * 255),
        ("\N{WHALE}" * 300, "\N{WHALE}" * 256),
    ],
)
def test_a_copied_name_is_trimmed_and_free_of_control_characters(
    accounts, ensure, firestore, chat, stated, copied
):
    accounts.sign_up("ann", displayName="ann")
    firestore.document("users/ann").set({"displayName": stated})
    assert ensure("ann")[0].status == "created"
    assert in_stream(chat, "ann")["name"] == copied
    assert ensure("ann")[0].status == "ok"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "gs://bucket/ann.png",
        "https://p/\x00",
        "https://p/\u202egnp.exe",
        "https://p/" + "x" * 2048,
    ],
)
def test_a_picture_that_is_no_address_or_too_long_is_left_out(
    accounts, ensure, firestore, chat, address
):
    accounts.sign_up("ann", displayName="Ann", photoUrl="https://p/auth.png")
    firestore.document("users/ann").set({"photoURL": address})
    assert ensure("ann")[0].status == "created"
    assert in_stream(chat, "ann")["image"] == "https://p/auth.png"
    firestore.document("user_profiles/ann").update({"photoURL": address})
    assert ensure("ann")[0].status == "ok"
    assert in_stream(chat, "ann")["image"] == "https://p/auth.png"


WIDE = "\N{WHALE}" * 4_000
"""Python takes four bytes for each of its characters, and for each ASCII one beside it."""


@pytest.mark.parametrize(
    "fields",
    [
        dict.fromkeys((*NAMES, *PICTURES, "email", "phoneNumber"), WIDE),
        dict.fromkeys(NAMES, "\x00" + WIDE) | dict.fromkeys(PICTURES, "https:" + WIDE),
        {"displayName": b"x" * 1_000_000},
        {"displayName": "A", "mirrored": {"displayName": b"x" * 1_000_000, "photoURL": WIDE}},
        {"chat": {"role": WIDE, "teams": [WIDE] * 60}},
        {"chat": {"teams": [b"x" * 10_000] * 60}},
    ],
    ids=["texts", "unusable texts", "bytes", "mirrored", "teams", "teams of bytes"],
)
def test_of_a_full_document_little_stays_in_memory(fields, clients, firestore):
    for collection in ("users", "user_profiles", "user_stats"):
        firestore.document(collection, HOSTILE.id).set(fields)
    deadline = time.monotonic() + 10
    held = read_documents([HOSTILE], clients, deadline)[HOSTILE]
    assert len(pickle.dumps((held.user, held.profile, held.stats))) < 64_000


def test_a_name_stands_though_others_are_beside_it(accounts, ensure, firestore, chat):
    accounts.sign_up("ann", displayName="ann")
    pictures = {"photoURL": "no address", "image": "https://p/1.png", "imageUrl": "https://p/2.png"}
    names = {"displayName": " ", "name": 7, "fullName": "Ann Lee", "full_name": "Ltd"}
    firestore.document("users/ann").set({**pictures, **names})
    assert ensure("ann")[0].status == "created"
    user = in_stream(chat, "ann")
    assert (user["name"], user["image"]) == ("Ann Lee", "https://p/1.png")


def test_a_custom_field_is_free_of_control_characters_but_for_lines(
    accounts, with_settings, firestore, chat
):
    clients = with_settings(users={"stream_fields": {"about": "about", "mood": "mood"}})
    accounts.sign_up("ann")
    stated = {"about": "\u202eI sing.\r\n\tAnd\x00 dance.", "mood": "\x00\u2066"}
    firestore.document("users/ann").set(stated)
    [outcome] = reconcile_users([Key("user", "ann")], clients)
    assert outcome.status == "created"
    assert in_stream(chat, "ann")["about"] == "I sing.\n\tAnd dance."
    assert "mood" not in in_stream(chat, "ann")
    [outcome] = reconcile_users([Key("user", "ann")], clients)
    assert outcome.status == "ok"


def test_a_picture_is_left_out_rather_than_cut(accounts, ensure, firestore, chat):
    accounts.sign_up("ann", displayName="Ann")
    firestore.document("users/ann").set({"photoURL": " " * 3_000 + "https://p/" + "x" * 3_000})
    ensure("ann")
    assert "image" not in in_stream(chat, "ann")


# References to other projects


def test_a_reference_to_another_project_stops_nobody(people, ensure, firestore, clients):
    firestore.document("users/hostile").set({"displayName": ELSEWHERE, "x": [ELSEWHERE]})
    reconcile_after_creation("hostile", clients)
    firestore.document("user_profiles/hostile").update({"preferences": {"x": ELSEWHERE}})
    assert [outcome.error for outcome in ensure("honest-01", "hostile")] == [None, None]
    assert ensure_profile("hostile", clients)["preferences"] == {"x": "a/b"}
    assert read_stats("hostile", "hostile", clients)["messagesSent"] == 0


# One bad user never blocks the others of a hundred


def through_the_events(clients: Clients) -> None:
    for key in (HOSTILE, *SOME[:3]):
        create_profile(key.id, clients)
        reconcile_after_creation(key.id, clients)
        reconcile_after_sign_up(key.id, clients)


def through_ensure_stream_user(clients: Clients) -> None:
    keys = [*SOME[:15], HOSTILE, HOSTILE_COMPANY, *SOME[15:]]
    outcomes = outbox.reconcile(keys, clients)
    assert [
        one for one in outcomes if one.error and one.key not in (HOSTILE, HOSTILE_COMPANY)
    ] == []


def through_a_conversation(clients: Clients) -> None:
    ids = [{"companyId": HOSTILE_COMPANY.id}, *(key.id for key in (HOSTILE, *SOME[1:]))]
    roomy = settings_with(clients.settings, conversations={"max_members": 1000})
    create_conversation("honest-00", {"participantIds": ids}, replace(clients, settings=roomy))


def through_the_outbox(clients: Clients) -> None:
    keys = [*SOME[:15], HOSTILE, HOSTILE_COMPANY, *SOME[15:]]
    outbox.write_entries([Outcome(key, "", None, Postponed("later")) for key in keys], clients)
    drain_until_settled(clients)


def through_backfill(clients: Clients) -> None:
    run_whole(
        audit.start("backfill", clients, steps=["accounts", "companies"], repair=audit.CREATING),
        clients,
    )


def through_the_nightly_audit(clients: Clients) -> None:
    run_whole(audit.start("nightly", clients, repair=audit.CREATING), clients)


def run_whole(begun: audit.Audit, clients: Clients) -> None:
    while begun.state == "running":
        begun = audit.run_page(begun, clients)


texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["x" * 600_000, "\N{WHALE}" * 100_000, "\x00", "\u202e", "javascript:x"]),
)
plain_values = st.one_of(
    texts,
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=20),
    st.just(b"x" * 1_000_000),
    st.just(ELSEWHERE),
    st.just(google_firestore.GeoPoint(90, 180)),
    st.just(Vector([1.0] * 2048)),
    st.sampled_from([datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)]),
)
values = st.one_of(
    plain_values,
    st.lists(plain_values, max_size=3),
    st.dictionaries(
        st.sampled_from(["role", "teams", "displayName", "x"]), plain_values, max_size=3
    ),
    st.fixed_dictionaries({"teams": st.lists(plain_values, max_size=3)}),
    st.just({str(number): {} for number in range(1_000)}),
    st.just([None] * 5_000),
)
places = st.sampled_from([(path, name) for path, names in DOCUMENTS.items() for name in names])


@pytest.mark.parametrize(
    "door",
    [
        through_the_events,
        through_ensure_stream_user,
        through_a_conversation,
        through_the_outbox,
        through_backfill,
        through_the_nightly_audit,
    ],
)
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(place=places, value=values, is_new=st.booleans())
def test_no_value_of_one_persons_documents_stops_the_others(
    door, place, value, is_new, clients, accounts, firestore_api, stream, chat
):
    stream.reset()
    firestore_api.documents.clear()
    accounts.accounts.clear()
    for key in (HOSTILE, *SOME):
        accounts.sign_up(key.id, displayName=key.id)
    path, name = place
    clients.firestore.document("companies/hostile-ltd").set({"name": "Hostile Ltd"})
    if not is_new:
        outbox.reconcile([HOSTILE, HOSTILE_COMPANY], clients)
    try:
        clients.firestore.document(path).set({name: value}, merge=True)
    except InvalidArgument:
        reject()  # what Firestore doesn't take harms nobody
    door(clients)
    healed = SOME[:3] if door is through_the_events else SOME
    found = chat.query_users({"id": {"$in": [key.id for key in healed]}}, limit=100)["users"]
    assert {user["id"] for user in found} == {key.id for key in healed}
    for key in healed[::7]:
        for collection in ("users", "user_profiles", "user_stats"):
            assert clients.firestore.document(collection, key.id).get().exists
    left = {entry["key"] for entry in entries(clients).values() if entry["kind"] == "user"}
    assert left <= {"hostile", "hostile-ltd"}


def test_a_long_picture_of_an_account_leads_to_no_other_address(accounts, ensure, chat):
    accounts.sign_up("ann", displayName="Ann", photoUrl="https://p/" + "x" * 3000)
    assert ensure("ann")[0].status == "created"
    assert "image" not in in_stream(chat, "ann")


@pytest.mark.parametrize("named", ["theirs", "messaging:theirs"])
def test_a_reference_to_another_database_in_a_backends_conversation_stops_no_audit(
    people, ensure, firestore, clients, chat, run, named
):
    ensure("hostile", HONEST[0].id)
    chat.channel("messaging", "theirs", {"members": ["hostile"]}).create("hostile")
    fields = {"cid": "messaging:theirs", "memberIds": ["hostile"], "elsewhere": ELSEWHERE}
    firestore.document("conversations", named).set(fields)
    assert create_conversation("hostile", {"participantIds": [HONEST[0].id]}, clients)["id"]
    begun = audit.start("nightly", clients, steps=audit.steps.CHANNEL_STEPS)
    audit.run(begun.id, clients)
    assert audit.read(begun.id, clients).state == "done"
    assert run("explain", named).status == 0
