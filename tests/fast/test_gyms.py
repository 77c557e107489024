"""Many tenants in one app: channels by pattern, teams by a custom field, documents of a backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable

from chatsync import audit as audits
from chatsync.audit import CREATING
from chatsync.audit.steps import CHANNEL_STEPS, KINDS
from chatsync.config import ChannelPattern
from chatsync.conversations import reconcile_conversations
from chatsync.conversations.create import create_conversation
from chatsync.conversations.document import Conversation
from chatsync.entry import webhooks
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import FirebaseUnavailable, InvalidArgument, PermissionDenied
from chatsync.operator import team_fixes
from tests.fast.failures import fails_with
from tests.fast.outbox import drain_until_settled, entries
from tests.settings import settings_with

PEOPLE = ("11", "8")
MEMBERS = [f"user_{uid}" for uid in PEOPLE]
GYMS = [f"gym_{n}" for n in range(1, 6)]

PATTERNS = (
    ChannelPattern(id="room_*", conversation_type="group"),
    ChannelPattern(id="event_{event}_*", conversation_type="group", owner="events/{event}"),
    ChannelPattern(id="direct_*", conversation_type="direct"),
    ChannelPattern(id="import_*", record=False),
)


@pytest.fixture
def clients(clients):
    settings = settings_with(
        clients.settings,
        stream={"user_id": "user_{uid}"},
        teams={"channel_field": "gym_id", "format": "gym_{value}"},
        channels=PATTERNS,
    )
    return replace(clients, settings=settings)


@pytest.fixture(autouse=True)
def people(accounts, firestore, clients) -> None:
    for uid in PEOPLE:
        accounts.sign_up(uid, displayName=uid)
        firestore.document(f"users/{uid}").set({"chat": {"teams": GYMS}})
        reconcile_after_sign_up(uid, clients)


@pytest.fixture
def channel(chat) -> Callable[..., Any]:
    """Make a channel; its team and gym_id agree unless said otherwise."""

    def channel(channel_id: str, gym: int | None, **fields: Any) -> Any:
        data: dict[str, Any] = {"members": MEMBERS, "team": f"gym_{gym}", "gym_id": gym}
        made = chat.channel("messaging", channel_id, {**data, **fields})
        made.create(MEMBERS[0])
        return made

    return channel


@pytest.fixture
def room(firestore) -> Callable[..., None]:
    """Write a document as the gyms' backend does, or with ``origin`` as chatsync does."""

    def room(channel_id: str, team: str | None, **fields: Any) -> None:
        document = {
            "cid": f"messaging:{channel_id}",
            "memberIds": MEMBERS,
            "participantIds": list(PEOPLE),
            "team": team,
            **({"status": "ready", "name": None} if "origin" in fields else {}),
        }
        firestore.document("conversations", channel_id).set({**document, **fields})

    return room


@pytest.fixture
def audit(clients) -> Callable[..., audits.Audit]:
    def audit(**options: Any) -> audits.Audit:
        done = audits.start("operator", clients, steps=CHANNEL_STEPS, **options)
        while done.state == "running":
            done = audits.run_page(done, clients)
        return done

    return audit


@pytest.fixture
def findings(audit, clients) -> Callable[..., dict[str, tuple[str, str]]]:
    """Kind and detail of the findings of an audit, by id of the channel."""

    def findings(**options: Any) -> dict[str, tuple[str, str]]:
        listed = list(audits.findings_of(audit(**options), clients))
        found = {one.key.partition(":")[2]: (one.kind, one.detail) for one in listed}
        assert len(found) == len(listed)
        return found

    return findings


@pytest.fixture
def documents(firestore_api) -> Callable[[], dict[str, Any]]:
    """All conversations, as Firestore has them."""

    def documents() -> dict[str, Any]:
        everything = firestore_api.documents.items()
        return {name: one for name, one in everything if "/conversations/" in name}

    return documents


@pytest.fixture
def stored(firestore) -> Callable[[str], dict[str, Any] | None]:
    return lambda channel_id: firestore.document("conversations", channel_id).get().to_dict()


def tell(clients, channel_id: str, kind: str = "channel.updated") -> None:
    """Handle an event about a channel, as the webhook does."""
    webhooks.handle({"type": kind, "cid": f"messaging:{channel_id}"}, clients)


# The state of five gyms, and what their operator sees of it


@pytest.fixture(params=["recorded", "of the backend"])
def drifted(request, channel, room) -> str:
    """Gym 1's channel that belongs to gym 5; gym 4's rooms, of which five of fourteen agree, and
    two channels of events that are gone. Documents are recorded by chatsync, or the backend's."""
    ours = {"origin": "operator"} if request.param == "recorded" else {}
    channel("room_General_4", 5, team="gym_1")
    room("room_General_4", "gym_5", **ours)
    for n in range(5):
        channel(f"room_fine_{n}", 4)
        room(f"room_fine_{n}", "gym_4", **ours)
    for n in range(9):
        room(f"room_lost_{n}", "gym_4", **ours)
    for event in ("656", "657"):
        channel(f"event_{event}_d3d94468", 4)
    return request.param


def test_the_audit_gives_the_figures_of_each_gym(drifted, run):
    ran = run("audit", "--channels", "--json")
    lost = "only_in_firestore" if drifted == "recorded" else "foreign_document"
    wrong = "wrong_team" if drifted == "recorded" else "foreign_document"
    result = ran.json()
    assert (ran.status, round(result["syncRate"], 2)) == (1, 0.33)
    assert result["teams"] == {
        "gym_1": {wrong: 1},
        "gym_4": {"records": 14, "agreeing": 5, "orphan_channel": 2, lost: 9},
        "gym_5": {"records": 1, "agreeing": 0, wrong: 1},
    }
    assert result["counts"]["channels"]["records"] == 15
    for gym in ("gym_1", "gym_5"):
        [finding] = run("audit", "--channels", "--team", gym, "--json").json()["findings"]
        assert finding["key"] == "messaging:room_General_4"
        assert "gym_1 in Stream, gym_5 by gym_id" in finding["detail"]
    shown = run("audit", "--channels").out
    assert "gym_5, gym_1" in shown
    assert "35%" in shown  # of gym 4
    assert "In sync: 33%" in shown


def test_after_the_mend_everything_is_in_sync(drifted, run, firestore, documents):
    before = documents()
    assert run("fix-team", "--all", "--apply").status == 0
    for event in ("656", "657"):
        assert run("delete-orphan", f"event_{event}_d3d94468", "--apply", "--yes").status == 0
    kinds = ["only_in_firestore", "only_in_stream", "member_mismatch"]
    repairs = [word for kind in kinds for word in ("--repair", kind)]
    run("audit", "--channels", *repairs, "--apply", "--yes")
    if drifted == "of the backend":
        assert documents() == before
        for n in range(9):  # by the backend's own script
            firestore.document(f"conversations/room_lost_{n}").delete()
    result = run("audit", "--channels", "--json").json()
    assert (result["syncRate"], result["findings"]) == (1.0, [])
    assert {team: one["records"] for team, one in result["teams"].items()} == {
        "gym_4": 5,
        "gym_5": 1,
    }


# Patterns: what channels are that others made


def test_a_recorded_channel_has_the_type_of_its_pattern(clients, channel, stored):
    channel("room_Two_4", 4)
    channel("direct_user_11_user_8", 4, name="You and me")
    for channel_id in ("room_Two_4", "direct_user_11_user_8"):
        tell(clients, channel_id, "channel.created")
    assert stored("room_Two_4")["conversationType"] == "group"
    assert stored("direct_user_11_user_8")["conversationType"] == "direct"


def test_what_is_not_to_be_recorded_is_neither_written_nor_found(
    clients,
    channel,
    room,
    documents,
    findings,
    run,
):
    channel("import_1", 4)
    room("import_2", "gym_4", origin="webhook")
    room("import_3", "gym_4")
    before = documents()
    for n in (1, 2, 3):
        tell(clients, f"import_{n}", "channel.deleted" if n > 1 else "channel.created")
    assert findings(repair=KINDS) == {}
    ran = run("sync-channel", "import_1", "--apply")
    assert (ran.status, "record = false" in ran.err) == (2, True)
    assert run("fix-team", "--all").status == 0
    assert (documents(), entries(clients)) == (before, {})


# Orphans: channels whose owner is gone


@pytest.fixture
def orphan(channel) -> str:
    channel("event_656_x", 4)
    return "event_656_x"


@pytest.fixture
def event(firestore) -> None:
    firestore.document("events/656").set({"title": "Yoga"})


def test_an_orphan_is_found_and_never_recorded(clients, orphan, findings, stored):
    tell(clients, orphan, "channel.created")
    assert findings(repair=CREATING) == {orphan: ("orphan_channel", "events/656 is gone")}
    assert (stored(orphan), entries(clients)) == (None, {})


def test_a_channel_whose_owner_lives_is_recorded(clients, orphan, event, findings, stored):
    assert findings() == {orphan: ("only_in_stream", "")}
    tell(clients, orphan, "channel.created")
    assert stored(orphan)["status"] == "ready"
    assert findings() == {}


def test_an_orphan_that_was_recorded_before_is_found_too(
    clients, orphan, event, findings, firestore, chat, stored
):
    tell(clients, orphan, "channel.created")
    firestore.document("events/656").delete()
    assert findings(repair=KINDS) == {orphan: ("orphan_channel", "events/656 is gone")}
    assert stored(orphan)["status"] == "ready"
    assert len(chat.query_channels({"id": orphan})["channels"]) == 1


def test_of_an_owner_that_cannot_be_looked_up_nothing_is_concluded(
    clients, orphan, event, findings, stored, firestore, monkeypatch
):
    get_all = firestore.get_all

    def no_events(references: list[Any], *args: Any, **options: Any) -> Any:
        if any(one.path.startswith("events/") for one in references):
            raise ServiceUnavailable("not now")
        return get_all(references, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(firestore, "get_all", no_events)
        [outcome] = reconcile_conversations([orphan], clients)
        assert isinstance(outcome.error, FirebaseUnavailable)
        assert stored(orphan) is None
        assert "orphan_channel" not in {kind for kind, _ in findings().values()}
        tell(clients, orphan, "channel.created")
        assert set(entries(clients)) == {f"conversation_{orphan}"}
    drain_until_settled(clients)
    assert stored(orphan)["status"] == "ready"


@pytest.mark.parametrize("origin", ["webhook", "operator"])
def test_delete_orphan_removes_both_sides_of_what_was_only_recorded(
    orphan,
    room,
    run,
    chat,
    stored,
    origin,
):
    room(orphan, "gym_4", origin=origin)
    shown = run("delete-orphan", orphan)
    assert (shown.status, f"recorded by {origin}" in shown.out) == (1, True)
    assert run("delete-orphan", orphan, "--apply").status == 2  # without an answer
    assert stored(orphan) is not None
    assert run("delete-orphan", orphan, "--apply", "--yes").status == 0
    assert (stored(orphan), chat.query_channels({"id": orphan})["channels"]) == (None, [])


@pytest.mark.parametrize("origin", ["app", "", None])
def test_delete_orphan_never_takes_what_somebody_wanted(
    orphan,
    room,
    run,
    chat,
    documents,
    origin,
):
    room(orphan, "gym_4", **({} if origin is None else {"origin": origin}))
    before = documents()
    ran = run("delete-orphan", orphan, "--apply", "--yes")
    assert (ran.status, "is no orphan" in ran.err) == (2, True)
    assert documents() == before
    assert len(chat.query_channels({"id": orphan})["channels"]) == 1


def test_delete_orphan_refuses_a_recorded_channel_whose_owner_lives(
    orphan,
    event,
    room,
    run,
    stored,
):
    room(orphan, "gym_4", origin="webhook")
    assert run("delete-orphan", orphan, "--apply", "--yes").status == 2
    assert stored(orphan)["status"] == "ready"


@pytest.mark.parametrize(
    ("channel_id", "told"), [("event_656_y", "events/656 exists"), ("import_7", "record = false")]
)
def test_delete_orphan_refuses_what_no_document_is_about_for_another_reason(
    channel,
    event,
    run,
    chat,
    channel_id,
    told,
):
    channel(channel_id, 4)  # its webhook is late, or it is never to be recorded
    ran = run("delete-orphan", channel_id, "--apply", "--yes")
    assert (ran.status, told in ran.err) == (2, True)
    assert len(chat.query_channels({"id": channel_id})["channels"]) == 1


def test_sync_channel_refuses_an_orphan(orphan, run, stored):
    ran = run("sync-channel", orphan, "--apply")
    assert (ran.status, "events/656 is gone" in ran.err) == (2, True)
    assert stored(orphan) is None


# Teams by a custom field


def test_a_wrong_team_is_found_though_firestore_agrees_with_it(channel, room, audit, findings):
    channel("room_1", 5, team="gym_1")
    room("room_1", "gym_1", origin="webhook")
    [(kind, detail)] = findings().values()
    assert (kind, detail) == (
        "wrong_team",
        "gym_1 in Stream, gym_1 in Firestore, gym_5 by gym_id",
    )
    done = audit()
    assert {team: one["wrong_team"] for team, one in done.teams.items()} == {"gym_1": 1, "gym_5": 1}
    assert (done.findings, done.counts["channels"]["wrong_team"]) == (1, 1)
    for gym in ("gym_1", "gym_5"):
        assert set(findings(team=gym)) == {"room_1"}
    assert findings(team="gym_2") == {}


@pytest.mark.parametrize("value", [5, "5", 5.0])
def test_a_gyms_number_may_be_a_text(channel, room, findings, value):
    channel("room_1", None, team="gym_5", gym_id=value)
    room("room_1", "gym_5", origin="webhook")
    assert findings() == {}


def test_a_channel_of_a_wrong_team_is_recorded_and_told(clients, channel, stored, audit, capsys):
    channel("room_1", 5, team="gym_1")
    kinds = audit(repair=CREATING).counts["channels"]
    assert kinds == {"only_in_stream": 1, "wrong_team": 1}
    assert stored("room_1")["team"] == "gym_1"
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [line] = [one for one in told if "by gym_id" in one["message"]]
    assert (line["conversation"], line["team"]) == ("room_1", "gym_1")
    assert audit().counts["channels"]["wrong_team"] == 1


def test_a_channel_of_a_wrong_team_is_found_for_the_other_team_before_it_is_recorded(
    channel, audit, clients
):
    channel("room_1", 5, team="gym_1")
    found = audits.findings_of(audit(team="gym_5"), clients)
    assert [one.kind for one in found] == ["wrong_team"]


def test_a_new_conversation_has_its_team_and_its_field(clients, chat):
    made = create_conversation("11", {"participantIds": ["8"], "team": "gym_4"}, clients)
    [state] = chat.query_channels({"cid": made["cid"]})["channels"]
    assert (state["channel"]["team"], state["channel"]["gym_id"]) == ("gym_4", 4)


def test_a_team_that_the_format_cannot_make_is_refused(clients, firestore, stream):
    for uid in PEOPLE:
        firestore.document(f"users/{uid}").set({"chat": {"teams": ["vip"]}})
    since = stream.last_request()
    with fails_with(InvalidArgument, "team"):
        create_conversation("11", {"participantIds": ["8"], "team": "vip"}, clients)
    assert stream.requests(since) == []


def test_fix_team_all_shows_and_corrects_what_leaves_no_doubt(
    channel,
    room,
    run,
    chat,
    firestore,
    documents,
):
    firestore.document("users/8").set({"chat": {"teams": ["gym_1", "gym_5"]}})
    channel("room_agreed", 5, team="gym_1")
    room("room_agreed", "gym_5", origin="webhook")
    channel("room_undocumented", "5", team="gym_1")
    channel("room_without_team", 5, team=None)
    channel("room_other_document", 5, team="gym_1")
    room("room_other_document", "gym_1", origin="webhook")
    channel("room_outsider", 4, team="gym_1")
    channel("room_without_field", None, team="gym_1")
    room("room_without_field", "gym_5", origin="webhook")
    channel("room_empty", 5, team="gym_1", members=[])
    channel("room_fine", 5)
    before = documents()

    shown = run("fix-team", "--all")
    assert shown.status == 1
    for reason in (
        "its document says gym_1",
        "not of gym_4: user_8",
        "the channel's field is missing",
        "it has no members",
        "--apply would correct 3 of 7",
    ):
        assert reason in shown.out
    assert teams_in(chat)["room_agreed"] == "gym_1"

    ran = run("fix-team", "--all", "--apply")
    assert (ran.status, "Corrected 3 of 7 channels; 4 are left to a person" in ran.out) == (1, True)
    assert teams_in(chat) == {
        "room_agreed": "gym_5",
        "room_undocumented": "gym_5",
        "room_without_team": "gym_5",
        "room_other_document": "gym_1",
        "room_outsider": "gym_1",
        "room_without_field": "gym_1",
        "room_empty": "gym_1",
        "room_fine": "gym_5",
    }
    assert documents() == before


def teams_in(chat) -> dict[str, str]:
    found = chat.query_channels({}, limit=30)["channels"]
    return {state["channel"]["id"]: state["channel"].get("team") for state in found}


def test_fix_team_all_keeps_history_and_field(channel, run, chat):
    channel("room_1", 5, team="gym_1").send_message({"text": "hello"}, MEMBERS[0])
    assert run("fix-team", "--all", "--apply").status == 0
    [state] = chat.query_channels({"id": "room_1"})["channels"]
    assert (state["channel"]["team"], state["channel"]["gym_id"]) == ("gym_5", 5)
    assert [message["text"] for message in state["messages"]] == ["hello"]


def test_fix_team_all_looks_again_before_each_correction(
    channel,
    run,
    chat,
    firestore,
    monkeypatch,
):
    channel("room_1", 5, team="gym_1")
    print_fixes = team_fixes._print_fixes

    def then_somebody_leaves_the_gym(fixes: Any) -> None:
        firestore.document("users/8").set({"chat": {"teams": ["gym_1"]}})
        print_fixes(fixes)

    monkeypatch.setattr(team_fixes, "_print_fixes", then_somebody_leaves_the_gym)
    assert run("fix-team", "--all", "--apply").status == 1
    assert teams_in(chat) == {"room_1": "gym_1"}


def test_fix_team_all_goes_through_many_channels_and_leaves_out_service_users(
    channel,
    run,
    chat,
    clients,
):
    chat.upsert_user({"id": "coach-bot", "teams": ["gym_1"]})
    settings = settings_with(clients.settings, stream={"service_users": ["coach-bot"]})
    object.__setattr__(clients, "settings", settings)
    for n in range(35):
        channel(f"room_{n}", 5, team="gym_1", members=[*MEMBERS, "coach-bot"])
    ran = run("fix-team", "--all", "--apply")
    assert (ran.status, "Corrected 35 of 35 channels" in ran.out) == (0, True)


@pytest.mark.parametrize(
    "arguments", [[], ["room_1", "--all"], ["--all", "--team", "gym_5"], ["room_1"]]
)
def test_fix_team_takes_one_channel_or_all(run, channel, arguments):
    channel("room_1", 5, team="gym_1")
    ran = run("fix-team", *arguments, "--apply")
    assert (ran.status, ran.out) == (2, "")


def test_what_an_operator_did_to_a_channel_is_logged(
    channel,
    room,
    run,
    monkeypatch,
):
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("chatsync.operator.terminal.tell_log", lines.append)
    channel("room_1", 5, team="gym_1")
    channel("room_2", 5, team="gym_1")
    room("room_2", "gym_1", origin="webhook")
    channel("event_1_x", 4)
    run("fix-team", "--all", "--apply")
    run("fix-team", "room_2", "--team", "gym_5", "--apply")
    run("delete-orphan", "event_1_x", "--apply", "--yes")
    told = [(one["conversation"], one["team"], one["message"]) for one in lines]
    assert [(conversation, team) for conversation, team, _ in told] == [
        ("room_1", "gym_5"),
        ("room_2", "gym_5"),
        ("room_2", "gym_5"),
        ("event_1_x", "gym_4"),
    ]
    assert all("gym_1" in message for *_, message in told[:3])
    assert "deleted" in told[3][2]


def test_a_rename_and_a_change_of_members_are_logged(clients, channel, capsys):
    made = channel("room_1", 4)
    tell(clients, "room_1", "channel.created")
    made.update_partial({"name": "Yoga"})
    made.remove_members([MEMBERS[1]])
    capsys.readouterr()
    tell(clients, "room_1")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["message"] for one in told] == [
        "Conversation room_1 has another name",
        "Conversation room_1 has other members: 0 came, 1 left",
    ]
    assert {(one["conversation"], one["team"]) for one in told} == {("room_1", "gym_4")}


def test_fix_team_refuses_a_team_that_contradicts_the_channels_field(channel, run, chat):
    channel("room_1", 4)
    ran = run("fix-team", "room_1", "--team", "gm_4", "--apply")
    assert (ran.status, "gym_id says gym_4" in ran.err) == (2, True)
    assert teams_in(chat) == {"room_1": "gym_4"}


# Who may start a conversation in which team


@pytest.fixture
def teams(firestore) -> Callable[[str, list[str]], None]:
    return lambda uid, teams: firestore.document(f"users/{uid}").set({"chat": {"teams": teams}})


def test_without_a_team_the_one_that_all_share_is_taken(clients, teams):
    teams("11", ["gym_1", "gym_4"])
    teams("8", ["gym_4", "gym_5"])
    made = create_conversation("11", {"participantIds": ["8"]}, clients)
    assert made["team"] == "gym_4"
    again = create_conversation("8", {"participantIds": ["11"], "team": "gym_4"}, clients)
    assert (again["id"], again["existed"]) == (made["id"], True)


@pytest.mark.parametrize(
    ("theirs", "told"),
    [(["gym_1", "gym_4"], "name one of .*: gym_1, gym_4"), ([], "^the members share no team")],
)
def test_who_shares_several_teams_has_to_name_one_and_who_shares_none_is_told(
    clients, teams, stream, theirs, told
):
    teams("11", ["gym_1", "gym_4"])
    teams("8", theirs)
    since = stream.last_request()
    with fails_with(PermissionDenied, told):
        create_conversation("11", {"participantIds": ["8"]}, clients)
    assert stream.requests(since) == []


def test_who_has_no_team_talks_without_one_unless_teams_are_required(clients, teams):
    teams("11", [])
    made = create_conversation("11", {"participantIds": ["8"]}, clients)
    assert made["team"] is None
    settings = settings_with(clients.settings, teams={"required": True})
    with fails_with(PermissionDenied, "needs a team"):
        create_conversation("11", {"participantIds": ["8"]}, replace(clients, settings=settings))


@pytest.fixture
def before_teams(clients, teams, chat, firestore) -> Callable[[str], str]:
    """A conversation of two who had no team then, with its status; it lives if ``ready``."""

    def before_teams(status: str) -> str:
        for uid in PEOPLE:
            teams(uid, [])
        conversation = create_conversation("11", {"participantIds": ["8"]}, clients)["id"]
        if status != "ready":
            chat.channel("messaging", conversation).delete(hard=True)
        if status == "a stranger's":
            chat.upsert_user({"id": "eve"})
            chat.channel("messaging", conversation, {"members": MEMBERS}).create("eve")
        if status in ("failed", "pending"):
            firestore.document("conversations", conversation).update({"status": status})
        for uid in PEOPLE:
            teams(uid, ["gym_4"])
        return conversation

    return before_teams


@pytest.mark.parametrize(
    ("status", "required", "team"),
    [
        ("ready", False, None),
        ("ready", True, "gym_4"),
        ("gone", False, "gym_4"),
        ("a stranger's", False, "gym_4"),
        ("failed", False, "gym_4"),
        ("failed", True, "gym_4"),
        ("pending", False, "gym_4"),
        ("pending", True, "gym_4"),
    ],
)
def test_only_a_living_chat_goes_on_without_a_team_and_only_where_none_is_required(
    clients, before_teams, status, required, team
):
    before = before_teams(status)
    settings = settings_with(clients.settings, teams={"required": required})
    clients = replace(clients, settings=settings)
    result = create_conversation("11", {"participantIds": ["8"]}, clients)
    assert (result["team"], result["id"] == before) == (team, team is None)


def test_where_teams_are_required_the_outbox_finishes_no_conversation_without_one(
    clients, before_teams, chat, stored
):
    before = before_teams("pending")
    settings = settings_with(clients.settings, teams={"required": True})
    [outcome] = reconcile_conversations([before], replace(clients, settings=settings))
    assert outcome.is_done
    assert (stored(before)["status"], stored(before)["failedReason"]) == ("failed", "wrong_team")
    assert chat.query_channels({"id": before})["channels"] == []


# The backend's own documents


def test_documents_of_the_backend_are_told_and_nothing_touches_them(
    clients, channel, room, findings, documents, audit
):
    channel("room_mismatch", 4)
    room("room_mismatch", "gym_4", memberIds=MEMBERS[:1])
    room("room_gone", "gym_4", status="pending")
    channel("room_renamed", 4, name="Yoga")
    room("room_renamed", "gym_4", name="Pilates")
    channel("room_wrong", 5, team="gym_1")
    room("room_wrong", "gym_5")
    channel("event_656_x", 4)
    room("event_656_x", "gym_4")
    channel("room_deleted", 4)
    room("room_deleted", "gym_4", status="deleted")
    channel("room_fine", 4, name="Fine")
    room("room_fine", "gym_4")
    before = documents()
    told = findings(repair=KINDS)
    assert {kind for kind, _ in told.values()} == {"foreign_document"}
    assert {channel_id: detail for channel_id, (_, detail) in told.items()} == {
        "room_mismatch": "member_mismatch: 1 here, 2 in Stream",
        "room_gone": "only in Firestore",
        "room_renamed": "member_mismatch: the name differs",
        "room_wrong": "wrong_team: gym_1 in Stream, gym_5 by gym_id",
        "event_656_x": "orphan_channel: events/656 is gone",
        "room_deleted": "only in Stream",
    }
    for channel_id in [*told, "room_fine"]:
        for kind in ("channel.updated", "member.added", "channel.deleted"):
            tell(clients, channel_id, kind)
    reconcile_conversations([*told], clients)
    assert (documents(), entries(clients)) == (before, {})
    done = audit()
    assert (done.teams["gym_1"], done.sync_rate) == ({"foreign_document": 1}, 1 / 7)


def test_nothing_is_recorded_beside_a_document_of_the_backend(
    clients, channel, room, documents, findings, stored
):
    channel("room_1", 4)
    room("sql-17", "gym_4", cid="messaging:room_1")
    tell(clients, "room_1", "channel.created")
    assert findings(repair=KINDS) == {}
    assert (stored("room_1"), len(documents())) == (None, 1)


def test_documents_of_the_backend_can_be_left_out(clients, channel, room, run, documents):
    channel("room_1", 5, team="gym_1")
    room("room_1", "gym_5")
    room("room_2", "gym_4")
    settings = settings_with(clients.settings, conversations={"foreign": "ignore"})
    object.__setattr__(clients, "settings", settings)
    result = run("audit", "--channels", "--json").json()
    assert (result["findings"], result["syncRate"]) == ([], None)


def test_fix_team_leaves_the_backends_document_to_the_backend(
    channel,
    room,
    run,
    documents,
    chat,
):
    channel("room_1", 5, team="gym_1")
    room("room_1", "gym_5")
    before = documents()
    assert run("fix-team", "room_1", "--team", "gym_2", "--apply").status == 2
    assert run("fix-team", "room_1", "--team", "gym_5", "--apply").status == 0
    assert (documents(), teams_in(chat)) == (before, {"room_1": "gym_5"})


def test_sync_channel_takes_over_a_document_of_the_backend_only_when_told_to(
    channel,
    room,
    run,
    stored,
    documents,
):
    channel("room_1", 4, name="Yoga")
    room("room_1", "gym_4", memberIds=MEMBERS[:1], color="red")
    before = documents()
    ran = run("sync-channel", "room_1", "--apply")
    assert (ran.status, "--take-over" in ran.err) == (2, True)
    assert run("sync-channel", "room_1", "--take-over").status == 1
    assert documents() == before
    assert run("sync-channel", "room_1", "--take-over", "--apply").status == 0
    kept = stored("room_1")
    assert (kept["origin"], kept["name"], kept["color"]) == ("operator", "Yoga", "red")
    assert set(kept["memberIds"]) == set(MEMBERS)


def test_a_conversation_that_the_app_made_is_ours_whatever_its_id_looks_like(clients):
    assert Conversation("room_1", "ready", origin="app").is_foreign is False
    assert Conversation("room_1").is_foreign is False
    assert Conversation("room_1", "ready").is_foreign is True
