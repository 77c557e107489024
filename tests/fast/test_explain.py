"""``explain``: each finding and reason is met by the code that leads to it, and told."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from chatsync import audit, outbox
from chatsync.audit.steps import KINDS
from chatsync.clients.entries import withdraw
from chatsync.config import ChannelPattern
from chatsync.conversations import reconcile_conversations
from chatsync.conversations.create import create_conversation
from chatsync.entry import events
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import (
    ChatsyncError,
    FirebaseUnavailable,
    Paused,
    Postponed,
    Refusal,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamUnavailable,
    Unexpected,
)
from chatsync.ids import Key
from chatsync.operator import options
from chatsync.operator.explain.lines import NARROWEST, WIDEST, plain, wrapped
from chatsync.operator.sentences import FAILED, FINDINGS, OBSTACLES, PARKED, WAITING
from chatsync.outcome import Outcome, Parked, Waiting
from tests.fast.proven import prove
from tests.settings import settings_with

ANN, BOB = Key("user", "ann"), Key("user", "bob")
LONG_UID = "é" * 100  # 600 characters when escaped
COLUMNS = 80


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


class Told:
    """What ``explain`` said: the whole text on one line, and the names of the problems."""

    def __init__(self, ran: Any, found: list[dict[str, Any]]) -> None:
        self.status, self.lines, self.found = ran.status, ran.out.splitlines(), found
        self.text = " ".join(ran.out.split())
        self.problems = [one["name"] for thing in found for one in thing["problems"]]


@pytest.fixture
def told(run, firestore_api):
    def told(*subject: str) -> Told:
        ran = run("explain", *subject)
        assert ran.status in (0, 1, 2), ran.err
        assert not ran.err
        assert all(cell_len(line) <= COLUMNS for line in ran.out.splitlines()), ran.out
        writes = {"batch_write", "commit"}
        firestore_api.calls.clear()
        as_json = run("explain", *subject, "--json")
        assert not writes & set(firestore_api.calls)
        assert as_json.status == ran.status
        return Told(ran, as_json.json()["found"])

    return told


@pytest.fixture
def use(monkeypatch, clients):
    """The command works with other settings."""

    def use(**sections: Any):
        changed = replace(clients, settings=settings_with(clients.settings, **sections))
        monkeypatch.setattr(options, "connect", lambda: changed)
        return changed

    return use


@pytest.fixture
def people(three_people, firestore_api):
    firestore_api.age()


@pytest.fixture
def room(people, create) -> str:
    return create()["id"]


# Findings, parked, waiting and failed: each has its sentence, with what to do


def missing_documents(world):
    world.firestore.document("user_stats/ann").delete()
    return "ann", "stats"


def missing_stream_user(world):
    world.accounts.sign_up("imported", displayName="Imported")
    return "imported", "`repair imported --apply`"


def drifted_stream_user(world):
    world.chat.update_user_partial({"id": "ann", "set": {"name": "Somebody"}})
    return "ann", "<- differs"


def orphan_stream_user(world):
    world.chat.upsert_user({"id": "ghost", "name": "Ghost"})
    return "ghost", "`audit --users --repair orphan_stream_user --apply`"


def orphan_documents(world):
    world.accounts.delete("ann")
    return "ann", "`audit --users --repair orphan_documents --apply`"


def wrong_kind(world):
    world.firestore.document("companies/ann").set({"name": "Ann & Co"})
    return "ann", "`repair ann --kind user`"


def only_in_stream(world):
    world.chat.channel("messaging", "lobby", {"members": ["ann", "bob"]}).create("ann")
    return "lobby", "`delete-orphan messaging:lobby --apply`"


def member_mismatch(world):
    world.chat.channel("messaging", world.room).remove_members(["bob"])
    return world.room, "bob: not in the channel"


def only_in_firestore(world):
    world.chat.channel("messaging", world.room).delete(hard=True)
    return world.room, "ready"


def wrong_team(world):
    world.firestore.document("conversations", world.room).update({"team": "gym_1"})
    return world.room, f"`fix-team messaging:{world.room} --team T --apply`"


def orphan_channel(world):
    patterns = (ChannelPattern(id="event_{event}", owner="events/{event}"),)
    world.use(channels=patterns)
    world.chat.channel("messaging", "event_1", {"members": ["ann", "bob"]}).create("ann")
    return "event_1", "events/1 is gone"


def foreign_document(world):
    world.firestore.document("conversations/theirs").set({"memberIds": ["ann"], "name": "Theirs"})
    return "theirs", "written by the app's backend"


def taken_channel(world):
    world.chat.channel("messaging", world.room).delete(hard=True)
    world.chat.channel("messaging", world.room, {"members": ["ann", "bob"]}).create("eve")
    return world.room, f"`delete-orphan messaging:{world.room} --apply`"


@pytest.fixture
def world(request, people, accounts, clients, firestore, chat, stream, create, use):
    class World:
        pass

    world = World()
    for name in ("accounts", "clients", "firestore", "chat", "stream", "create", "use"):
        setattr(world, name, locals()[name])
    world.room = create()["id"]
    return world


DISAGREEMENTS = (
    *(missing_documents, missing_stream_user, drifted_stream_user, orphan_stream_user),
    *(orphan_documents, wrong_kind, only_in_stream, member_mismatch, only_in_firestore),
    *(wrong_team, orphan_channel, foreign_document, taken_channel),
)


def in_one_line(sentence: Any) -> str:
    return " ".join(sentence.why.split())


@pytest.mark.parametrize("disagree", DISAGREEMENTS, ids=lambda one: one.__name__)
def test_a_finding_is_told_with_what_to_do(world, told, disagree):
    subject, words = disagree(world)
    answer = told(subject)
    assert answer.status == 1
    assert disagree.__name__ in answer.problems
    assert in_one_line(FINDINGS[disagree.__name__]) in answer.text
    assert words in answer.text
    assert "To do:" in answer.text


def test_every_finding_is_met():
    assert {one.__name__ for one in DISAGREEMENTS} == set(KINDS) == set(FINDINGS)


@pytest.mark.parametrize("disagree", DISAGREEMENTS, ids=lambda one: one.__name__)
def test_it_finds_what_the_audit_finds(world, told, disagree):
    subject, _ = disagree(world)
    clients = options.connect()
    found = audit.start(
        "operator", clients, steps=[*audit.steps.USER_STEPS, *audit.steps.CHANNEL_STEPS]
    )
    while found.state == "running":
        found = audit.run_page(found, clients)
    kinds = {one.kind for one in audit.findings_of(found, clients) if subject in one.key}
    assert set(told(subject).problems) == kinds


def rejected(world):
    world.firestore.document("users/ann").update({"chat": {"role": "no-such-role"}})
    outbox.reconcile([ANN], world.clients)
    return "ann", "`repair ann --apply`"


def deleted(world):
    world.chat.delete_user("ann", hard_delete=True, mark_messages_deleted=True)
    outbox.reconcile([ANN], world.clients)
    return "ann", "Stream's support"


def invalid_id(world):
    world.accounts.sign_up(LONG_UID)
    outbox.reconcile([Key("user", LONG_UID)], world.clients)
    return LONG_UID, "make another account"


@pytest.mark.parametrize("park", [rejected, deleted, invalid_id], ids=lambda one: one.__name__)
def test_a_parked_entry_is_told_with_what_to_do(world, told, park):
    subject, words = park(world)
    answer = told(subject)
    assert f"parked, {park.__name__}" in answer.problems
    assert in_one_line(PARKED[Parked(park.__name__)]) in answer.text
    assert words in answer.text
    assert "first failed" in answer.text


def test_an_entry_that_is_parked_for_an_unknown_reason_is_no_bug_that_is_tried_again(world, told):
    subject, _ = rejected(world)
    world.clients.firestore.document("repairs", "user_ann").update({"reason": "something new"})
    answer = told(subject)
    assert "parked, something new" in answer.problems
    assert "knows no such reason" in answer.text
    assert "a bug" not in answer.text


def test_a_refusal_by_stream_is_quoted_and_a_repair_would_try_again(world, told):
    subject, _ = rejected(world)
    text = told(subject).text
    assert "Last error: Stream answered 400, code 4" in text
    assert "not sent again until it changes" in text
    assert "set role in Stream" in text


ERRORS = {
    Waiting.STREAM_UNAVAILABLE: StreamUnavailable("503"),
    Waiting.RATE_LIMIT: StreamRateLimited("429", 30),
    Waiting.POSTPONED: Postponed("later"),
    Waiting.PAUSED: Paused(datetime.now(UTC)),
    Waiting.FIREBASE_UNAVAILABLE: FirebaseUnavailable("down"),
    Waiting.CREDENTIALS: StreamCredentialsRejected("401"),
    Waiting.INTERNAL: Unexpected("KeyError"),
    Waiting.ANSWER_LOST: None,
}


@pytest.mark.parametrize("reason", ERRORS)
def test_a_waiting_entry_is_told_with_what_to_do(people, clients, told, reason):
    recheck = reason == Waiting.ANSWER_LOST
    outbox.write_entries([Outcome(ANN, "ann", None, ERRORS[reason], recheck=recheck)], clients)
    answer = told("ann")
    assert (answer.status, answer.problems) == (1, [f"waiting, {reason}"])
    assert in_one_line(WAITING[reason]) in answer.text
    assert "next attempt" in answer.text


def test_a_conversation_that_is_being_created_is_told(world, told, firestore):
    batch = firestore.batch()
    key = Key("conversation", world.room)
    outbox.begin_entry(key, batch, world.clients, 50)
    batch.update(firestore.document("conversations", world.room), {"status": "pending"})
    batch.commit()
    answer = told(world.room)
    assert answer.problems == ["waiting, begun"]
    assert in_one_line(WAITING[Waiting.BEGUN]) in answer.text


def test_every_reason_to_wait_is_met():
    assert {*ERRORS, Waiting.BEGUN} == set(WAITING) == set(Waiting)


def fails_banned(world):
    world.chat.ban_user("ann", user_id="bob")


def fails_deactivated(world):
    world.chat.deactivate_user("bob")


def fails_disabled(world):
    world.accounts.sign_up("ann", displayName="Ann", disabled=True)


def fails_not_found(world):
    world.accounts.accounts.pop("bob")


def fails_rejected(world):
    world.stream.fault("GetOrCreateChannel", "status", status=400, code=4, rate=1)


def fails_wrong_team(world):
    world.firestore.document("conversations", world.room).update({"team": "red"})


def fails_taken(world):
    taken_channel(world)


def fails_deleted(world):
    world.chat.delete_user("bob", hard_delete=True, mark_messages_deleted=True)


def fails_anonymous(world):
    world.chat.delete_user("bob")
    return world.use(stream={"provision_anonymous_users": False})


def fails_undecided(world):
    world.firestore.document("users/bob").delete()
    world.firestore.document("stream_users/user_bob").delete()
    return world.use(users={"company": {"field": "type", "values": ["company"]}})


FAILURES = (
    *(fails_banned, fails_deactivated, fails_disabled, fails_not_found, fails_rejected),
    *(fails_wrong_team, fails_taken, fails_deleted, fails_anonymous, fails_undecided),
)


@pytest.mark.parametrize("fail", FAILURES, ids=lambda one: one.__name__)
def test_a_failed_conversation_is_told_with_what_to_do(world, told, fail):
    reason = fail.__name__.removeprefix("fails_")
    clients = fail(world) or world.clients
    world.firestore.document("conversations", world.room).update({"status": "pending"})
    [outcome] = reconcile_conversations([world.room], clients)
    assert outcome.document.status == "failed"
    answer = told(world.room)
    assert f"failed, {reason}" in answer.problems
    assert in_one_line(FAILED[reason]) in answer.text
    assert "expires" in answer.text


def test_every_failure_is_met():
    assert {one.__name__.removeprefix("fails_") for one in FAILURES} == set(FAILED)


# A person


def test_who_agrees_is_told_so(people, told, clients):
    prove(clients)
    answer = told("ann")
    assert (answer.status, answer.problems) == (0, [])
    assert "user ann: nothing is wrong." in answer.text
    assert "trusted: seen in agreement" in answer.text
    assert "created, by operator" in answer.text
    assert "a repair nothing: the sides agree" in answer.text


def test_nobody_is_told_of_without_a_table(people, told):
    answer = told("nobody")
    assert (answer.status, answer.problems) == (1, ["not_found"])
    assert "no conversation and no channel has this id either" in answer.text
    assert "exists" not in answer.text


def test_a_deleted_account_of_which_nothing_is_left_is_in_order(people, accounts, clients, told):
    accounts.delete("ann")
    events.remove_after_event("ann", clients)
    answer = told("ann")
    assert (answer.status, answer.problems) == (0, [])
    assert "the account was deleted" in answer.text
    assert "deleted, by operator" in answer.text


@pytest.mark.parametrize(
    ("reason", "act"),
    [
        (Refusal.BANNED, lambda world: world.chat.ban_user("ann", user_id="bob")),
        (Refusal.DEACTIVATED, lambda world: world.chat.deactivate_user("ann")),
        (Refusal.ANONYMOUS, fails_anonymous),
        (Refusal.UNDECIDED, lambda world: undecided(world)),
        (Refusal.DISABLED, lambda world: disabled_and_missing(world)),
    ],
)
def test_who_cannot_chat_is_told_why(world, told, reason, act):
    act(world)
    answer = told("ann")
    assert reason in answer.problems
    assert in_one_line(OBSTACLES[reason]) in answer.text


def undecided(world):
    world.firestore.document("users/ann").delete()
    world.firestore.document("stream_users/user_ann").delete()
    return world.use(users={"company": {"field": "type", "values": ["company"]}})


def disabled_and_missing(world):
    world.accounts.sign_up("ann", displayName="Ann", disabled=True)
    world.chat.delete_user("ann")


def test_a_repair_of_the_plain_id_of_a_company_names_no_orphan(people, firestore, clients, run):
    firestore.document("companies/acme").set({"name": "Acme"})
    outbox.reconcile([Key("company", "acme")], clients)
    assert "orphan" not in run("repair", "acme").out


def test_accounts_that_were_deleted_without_event_are_told_of(people, accounts, told):
    accounts.delete("ann")
    assert "Firebase sends no event for many accounts deleted in one call" in told("ann").text


def test_every_reason_of_a_refusal_has_a_sentence():
    assert set(OBSTACLES) == set(Refusal)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verifiedAt": datetime.now(UTC) - timedelta(days=3)}, "which counts for 24 hours"),
        ({"fingerprint": "other"}, "Firebase states something else since"),
        ({"verifiedAt": None}, "nobody saw agreement"),
    ],
)
def test_why_an_entry_is_not_trusted_is_told(people, firestore, clients, told, fields, words):
    prove(clients)
    firestore.document("stream_users/user_ann").update(fields)
    text = told("ann").text
    assert "not trusted:" in text
    assert words in text


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        ({"lastUserEventAt": datetime(2020, 1, 1, tzinfo=UTC)}, "no event of a user for 24 hours"),
        ({"missingEvents": ["user.banned"]}, "does not send all events"),
        ({"checkedAt": datetime(2020, 1, 1, tzinfo=UTC)}, "was not checked for two days"),
    ],
)
def test_why_no_entry_is_trusted_is_told(people, clients, told, proof, words):
    prove(clients, **proof)
    assert words in told("ann").text


def test_a_withdrawn_entry_says_since_when(people, clients, told):
    withdraw([ANN], clients, time.monotonic() + 60)
    assert f"withdrawn {datetime.now(UTC):%Y-%m-%d}" in told("ann").text


def test_a_company_and_its_id_are_told(clients, firestore, told, people):
    firestore.document("companies/acme").set({"name": "Acme"})
    outbox.reconcile([Key("company", "acme")], clients)
    for subject in ("acme", "company:acme", "company_acme"):
        answer = told(subject)
        assert (answer.status, answer.problems) == (0, [])
        assert "company acme: nothing is wrong." in answer.text
        assert "Stream id company_acme" in answer.text


def test_an_account_and_a_company_of_one_id_are_told_as_one(clients, firestore, accounts, told):
    firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme", displayName="Acme")
    reconcile_after_sign_up("acme", clients)
    answer = told("acme")
    assert len(answer.found) == 1
    assert "an account and a company have this id: both are one" in answer.text


def test_an_id_that_names_two_things_is_told_of_both(world, told, firestore, accounts):
    accounts.sign_up(world.room, displayName="Odd")
    reconcile_after_sign_up(world.room, world.clients)
    answer = told(world.room)
    assert [one["what"] for one in answer.found] == ["user", "conversation"]
    assert f"{world.room} names 2 things: user" in answer.text
    firestore.document("companies/bob").set({"name": "Bob's"})
    firestore.document("stream_users/user_bob").delete()
    assert {one["what"] for one in told("bob").found} == {"user", "company"}


def test_no_subject_is_refused(people, run):
    ran = run("explain", "")
    assert (ran.status, ran.out) == (2, "")
    assert "bug" not in ran.err


def test_bytes_that_are_no_text_are_told_in_valid_json(people, run):
    ran = run("explain", "a\udcffb", "--json")
    assert ran.status == 1
    assert json.loads(ran.out.encode())["subject"] == ["a\udcffb"]


@pytest.mark.parametrize("columns", [1, 40, 80, 200])
def test_no_width_is_too_narrow_for_an_apps_long_names(world, run, use, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    world.firestore.document("users/ann").update({"displayName": "漢" * 300})
    use(users={"stream_fields": {"the_name_of_a_field_of_an_app_" * 3: "hobby"}})
    lines = run("explain", "ann").out.splitlines()
    assert max(map(cell_len, lines)) <= max(40, columns)


# A conversation


def test_a_name_that_is_no_text_is_told(room, told, chat):
    chat.channel("messaging", room).update_partial({"name": {"a": 5}})
    assert "{'a': 5}" in told(room).text


def test_of_many_members_with_something_to_tell_the_rest_is_not_called_fine(room, told, firestore):
    at = datetime.now(UTC)
    left = {f"gone{number}": at for number in range(30)}
    firestore.document("conversations", room).update({"left": left})
    assert "and 12 more: --json has all" in told(room).text


def test_a_conversation_in_order_is_told_by_id_and_by_cid(room, told):
    for subject in (room, f"messaging:{room}"):
        answer = told(subject)
        assert (answer.status, answer.problems) == (0, [])
        assert "this is the conversation of the two" in answer.text
        assert "made by `createConversation`" in answer.text


def test_who_left_and_who_has_no_account_is_told(room, told, firestore, chat):
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    chat.upsert_user({"id": "ghost"})
    chat.channel("messaging", room).add_members(["ghost"])
    firestore.document("conversations", room).update({"left": {"eve": at}})
    text = told(room).text
    assert "eve: left 2026-01-02 03:04 UTC" in text
    assert "ghost: not in the document, has no account" in text


def test_a_channel_that_nobody_has_is_told(people, told):
    answer = told("messaging:nowhere")
    assert (answer.status, answer.problems) == (1, ["not_found"])


def test_of_many_members_those_with_something_to_tell_come_first(
    people, accounts, told, clients, firestore
):
    members = [f"user{number:03}" for number in range(60)]
    for uid in members:
        accounts.sign_up(uid)
    outbox.reconcile([Key("user", uid) for uid in members], clients)
    room = create_conversation(
        "ann", {"participantIds": members, "conversationType": "group"}, clients
    )
    firestore.document("conversations", room["id"]).update({"left": {"zoe": datetime.now(UTC)}})
    answer = told(room["id"])
    assert "members zoe: left" in answer.text
    assert "more, of whom nothing is to be told" in answer.text
    assert len(answer.found[0]["members"]) == 61


# Two people


def test_two_who_can_chat_are_told_so(room, told):
    answer = told("ann", "bob")
    assert (answer.status, answer.problems) == (0, [])
    assert "ann and bob can chat." in answer.text
    assert f"if ann calls opens {room}" in answer.text


def test_two_without_conversation_begin_one(people, told, firestore):
    answer = told("ann", "bob")
    assert answer.status == 0
    assert "if ann calls opens a new one" in answer.text
    assert not firestore.document("chatsync/keys").get().exists


@pytest.mark.parametrize(
    ("problem", "act"),
    [
        ("bob: deactivated", lambda world: world.chat.deactivate_user("bob")),
        ("bob: banned", lambda world: world.chat.ban_user("bob", user_id="ann")),
        ("bob: missing_stream_user", lambda world: world.chat.delete_user("bob")),
        ("bob: not_found", lambda world: world.accounts.delete("bob") or forget(world)),
        ("bob: deleted account", lambda world: leave(world)),
        ("bob: parked, deleted", lambda world: outbox_of_bob(world)),
        ("bob: left", lambda world: left(world)),
        ("taken_channel", taken_channel),
        ("wrong_team", wrong_team),
        ("no team", lambda world: other_teams(world)),
        ("no key", lambda world: world.firestore.document("chatsync/keys").delete()),
    ],
)
def test_why_two_cannot_chat_is_told(world, told, problem, act):
    act(world)
    from chatsync.conversations import pairs

    pairs._keys.clear()
    answer = told("ann", "bob")
    assert answer.status == 1
    assert problem in answer.problems
    assert "ann and bob cannot chat: " in answer.text
    assert "To do:" in answer.text


def forget(world):
    for collection in ("users", "user_profiles", "user_stats"):
        world.firestore.document(collection, "bob").delete()
    world.firestore.document("stream_users/user_bob").delete()
    world.chat.delete_user("bob")


def leave(world):
    world.accounts.delete("bob")
    events.remove_after_event("bob", world.clients)


def outbox_of_bob(world):
    world.chat.delete_user("bob", hard_delete=True, mark_messages_deleted=True)
    outbox.reconcile([BOB], world.clients)


def left(world):
    world.chat.channel("messaging", world.room).remove_members(["bob"])
    reference = world.firestore.document("conversations", world.room)
    reference.update({"leaving": {"bob": datetime.now(UTC)}})
    reconcile_conversations([world.room], world.clients)


def other_teams(world):
    for uid, team in (("ann", "red"), ("bob", "green")):
        world.firestore.document("users", uid).update({"chat": {"teams": [team]}})
        outbox.reconcile([Key("user", uid)], world.clients)


def test_what_a_call_would_answer_is_what_it_answers(world, told):
    left(world)
    answer = told("ann", "bob")
    assert "if ann calls refused: bob has left" in answer.text
    assert f"if bob calls opens {world.room}" in answer.text
    with pytest.raises(ChatsyncError, match="left"):
        world.create("ann", "bob")
    assert world.create("bob", "ann")["id"] == world.room


def of_one_team_since(world):
    for uid in ("ann", "bob"):
        world.firestore.document("users", uid).update({"chat": {"teams": ["red"]}})
        outbox.reconcile([Key("user", uid)], world.clients)


def leaving(world):
    world.chat.channel("messaging", world.room).remove_members(["bob"])
    at = {"bob": datetime.now(UTC)}
    world.firestore.document("conversations", world.room).update({"leaving": at})


def nothing(world):
    pass


def banned(world):
    world.chat.ban_user("bob", user_id="ann")


def disabled(world):
    world.accounts.sign_up("bob", displayName="Bob", disabled=True)


@pytest.mark.parametrize(
    "act",
    [
        *(nothing, of_one_team_since, leaving, left, banned, disabled, taken_channel),
        *(outbox_of_bob, other_teams, only_in_firestore),
    ],
)
@pytest.mark.parametrize("caller", ["ann", "bob"])
def test_what_a_call_would_answer_is_what_it_answers_in_every_state(world, told, act, caller):
    act(world)
    [two] = told("ann", "bob").found
    said = two["createConversation"][caller]
    try:
        opened = world.create(caller, "bob" if caller == "ann" else "ann")["id"]
        assert said == ("opens a new one" if opened != world.room else f"opens {opened}")
    except ChatsyncError:
        assert said.startswith("refused: ")
        assert two["problems"]


def test_two_of_whom_nobody_can_call_are_told_so(people, told, firestore, clients):
    for name in ("acme", "other"):
        firestore.document("companies", name).set({"name": name})
        outbox.reconcile([Key("company", name)], clients)
    assert told("company:acme", "company:other").problems == ["no account"]


def test_a_service_user_is_nobody_who_was_deleted(world, told):
    world.chat.upsert_user({"id": "bot", "name": "Bot"})
    world.use(stream={"service_users": ["bot"]})
    answer = told("ann", "bot")
    assert (answer.status, answer.problems) == (0, [])
    assert "ann and bot can chat" in answer.text


@pytest.mark.parametrize("subjects", [["company:nowhere"], ["ann", "company:nowhere"]])
def test_a_company_that_nobody_knows_is_not_found(people, told, subjects):
    answer = told(*subjects)
    assert answer.status == 1
    assert answer.problems[-1].endswith("not_found")


def test_an_account_and_the_company_that_it_is_are_the_same(
    people, firestore, accounts, clients, run
):
    firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme", displayName="Acme")
    reconcile_after_sign_up("acme", clients)
    assert run("explain", "acme", "company:acme").status == 2


def test_the_same_person_twice_is_refused(people, run):
    ran = run("explain", "ann", "user:ann")
    assert (ran.status, ran.out) == (2, "")


# While something is down or paused


def test_with_stream_down_firebases_sides_are_told(world, told, stream):
    stream.fault("*", "status", status=503, rate=1)
    for subject in (("ann",), (world.room,), ("ann", "bob")):
        answer = told(*subject)
        assert answer.status == 2
        assert "Stream's side is unknown." in answer.text
        assert "as far as it can be seen" in answer.text
        assert "unknown" in answer.text


def test_what_is_wrong_in_firebase_is_told_with_stream_down(world, told, stream, firestore):
    firestore.document("user_profiles/ann").delete()
    stream.fault("*", "status", status=503, rate=1)
    answer = told("ann")
    assert (answer.status, answer.problems) == (1, ["missing_documents"])


def test_with_a_wrong_secret_streams_side_is_unknown(people, told, stream):
    stream.fault("*", "status", status=401, code=5, rate=1)
    answer = told("ann")
    assert answer.status == 2
    assert "Stream refuses STREAM_API_KEY or STREAM_API_SECRET" in answer.text


def test_while_paused_it_says_so(people, told, run):
    assert run("pause").status == 0
    answer = told("ann")
    assert answer.status == 0
    assert answer.text.startswith("Nothing is written to Stream: paused since")


def test_before_anything_is_deployed_it_works(accounts, told):
    accounts.sign_up("ann", displayName="Ann")
    answer = told("ann")
    assert answer.problems == ["missing_documents", "missing_stream_user"]
    assert "Firebase sends no event for" in answer.text


# What must not be told


SECRETS = {
    "fcmToken": "t0ken-of-a-phone",
    "nested": {"password": "pa55", "list": [{"apiKey": "k3y"}]},
}


@pytest.fixture
def private(accounts, clients, firestore):
    accounts.sign_up("ann", displayName="Ann", email="ann@example.com", phoneNumber="+4912345")
    reconcile_after_sign_up("ann", clients)
    firestore.document("users/ann").update({"hobby": "chess", **SECRETS})


def test_what_is_personal_is_told_only_if_asked_for(private, run):
    without = run("explain", "ann", "--json").out + run("explain", "ann").out
    for value in ("ann@example.com", "+4912345", "chess", "hobby"):
        assert value not in without
    personal = run("explain", "ann", "--json", "--personal").json()["found"][0]["personal"]
    assert (personal["email"], personal["phoneNumber"]) == ("ann@example.com", "+4912345")
    assert personal["documents"]["users/ann"]["hobby"] == "chess"
    assert personal["conversations"] == []


def test_all_conversations_that_name_somebody_are_told_if_asked_for(private, world, run, clients):
    room = world.room
    other = create_conversation("ann", {"participantIds": ["eve"]}, clients)["id"]
    for one, fields in ((room, {"left": {"ann": datetime.now(UTC)}}), (other, {})):
        fields |= {"memberIds": ["bob"], "participantIds": ["bob"]}
        fields |= {"createdBy": "bob"} if one == room else {}
        world.firestore.document("conversations", one).update(fields)
    personal = run("explain", "ann", "--json", "--personal").json()["found"][0]["personal"]
    assert set(personal["conversations"]) == {room, other}


def test_whose_id_tells_of_a_token_is_told_all_the_same(accounts, clients, run):
    accounts.sign_up("tokens", displayName="Tokens")
    reconcile_after_sign_up("tokens", clients)
    personal = run("explain", "tokens", "--json", "--personal").json()["found"][0]["personal"]
    assert personal["documents"]["users/tokens"]["displayName"] == "Tokens"


def test_secrets_of_conversations_are_never_told(room, firestore, chat, run):
    firestore.document("conversations", room).update({"inviteToken": "1nvite", "accessKey": "k"})
    chat.channel("messaging", room).update_partial({"joinSecret": "1nvite"})
    out = run("explain", room, "--json", "--personal").out
    assert "1nvite" not in out
    assert out.count("(left out)") == 3


def test_tokens_and_secrets_are_never_told(private, run, clients):
    told = run("explain", "ann", "--json", "--personal").out
    for value in ("t0ken-of-a-phone", "pa55", "k3y", clients.settings.stream_api_secret):
        assert value not in told
    assert told.count("(left out)") >= len(SECRETS)


def test_personal_is_refused_without_json(private, run):
    assert run("explain", "ann", "--personal").status == 2


def test_own_fields_of_the_app_are_told_without_values(private, use, told):
    clients = use(users={"stream_fields": {"hobby": "hobby"}})
    answer = told("ann")
    assert "drifted_stream_user (hobby)" in answer.text
    assert "chess" not in answer.text
    outbox.reconcile([ANN], clients)
    assert "chess" not in told("ann").text


HOSTILE = "\x1b[2J\u202egnp.\x07 " + "名" * 300


def test_hostile_names_do_no_harm_to_a_terminal(people, chat, told):
    chat.update_user_partial({"id": "ann", "set": {"name": HOSTILE}})
    answer = told("ann")
    assert not set("\x1b\x07\u202e") & set("".join(answer.lines))


@pytest.mark.parametrize("uid", ["a b", "a'b", "-x", "a:b", "company:x"])
def test_commands_can_be_typed_for_odd_ids(accounts, told, uid):
    accounts.sign_up(uid)
    subject = f"user:{uid}" if uid[0] == "-" or ":" in uid else uid
    text = told(subject).text
    assert {"a b": "repair 'a b' --apply", "-x": "repair user:-x --apply"}.get(
        uid, "repair"
    ) in text


@pytest.mark.parametrize("text", ["", "word", "a " * 200, "x" * 500, "名" * 300, "né " * 90])
@pytest.mark.parametrize("width", [40, 79, 80])
def test_lines_are_as_wide_as_the_terminal_at_most(text, width):
    lines = wrapped(text, width, "  ")
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(plain(text).split())


def test_a_narrow_and_a_wide_terminal_are_borne(people, run, monkeypatch):
    for columns, most in ((20, NARROWEST), (60, 60), (300, WIDEST)):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = run("explain", "ann").out.splitlines()
        assert max(map(len, lines)) <= most
