"""The script of docs/sql-backend.md, run as it stands there."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatsync import audit as audits
from chatsync import config
from chatsync.conversations.create import create_conversation
from chatsync.entry import tenants, webhooks
from chatsync.entry.events import reconcile_after_sign_up
from chatsync.errors import PermissionDenied
from tests.settings import settings_with

PAGE = (Path(__file__).parents[2] / "docs" / "sql-backend.md").read_text()

TABLES = """
CREATE TABLE users (id INTEGER PRIMARY KEY);
CREATE TABLE memberships (user_id INTEGER, gym_id INTEGER);
CREATE TABLE rooms (stream_channel_id TEXT PRIMARY KEY, gym_id INTEGER, name TEXT);
CREATE TABLE room_members (stream_channel_id TEXT, user_id INTEGER);
CREATE TABLE events (id INTEGER PRIMARY KEY, title TEXT);
INSERT INTO users VALUES (8), (11), (12);
INSERT INTO memberships VALUES (8, 4), (11, 4), (11, 5), (12, 1);
INSERT INTO rooms VALUES ('room_General_4', 4, NULL), ('event_656_d3d94468', 4, 'Yoga');
INSERT INTO room_members VALUES ('room_General_4', 8), ('room_General_4', 11);
INSERT INTO room_members VALUES ('event_656_d3d94468', 8), ('event_656_d3d94468', 11);
INSERT INTO events VALUES (656, 'Yoga');
"""


@pytest.fixture
def sql() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(TABLES)
    return connection


@pytest.fixture
def bring(sql, firestore) -> Any:
    [script] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(script, "sql-backend.md", "exec"), names)
    return lambda: names["bring"](sql, firestore)


@pytest.fixture
def clients(clients, tmp_path):
    """With the settings of the page."""
    [settings] = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "chatsync.toml").write_text(settings)
    return replace(clients, settings=replace(clients.settings, config=config.load(folder=tmp_path)))


@pytest.fixture
def channels(chat, accounts, bring, clients) -> None:
    """The backend's people and channels, as SQL has them."""
    bring()
    for uid in ("8", "11", "12"):
        accounts.sign_up(uid, displayName=uid)
        reconcile_after_sign_up(uid, clients)
    for channel_id, name in (("room_General_4", None), ("event_656_d3d94468", "Yoga")):
        fields = {"members": ["user_8", "user_11"], "team": "gym_4", "gym_id": 4}
        named = {"name": name} if name else {}
        chat.channel("messaging", channel_id, {**fields, **named}).create("user_8")


def findings(clients) -> dict[str, tuple[str, str]]:
    audit = audits.start("operator", clients)
    while audit.state == "running":
        audit = audits.run_page(audit, clients)
    return {one.key: (one.kind, one.detail) for one in audits.findings_of(audit, clients)}


def test_what_the_script_brings_agrees_with_stream(channels, clients):
    assert findings(clients) == {}


def test_a_second_run_writes_nothing(channels, bring, firestore_api):
    before = dict(firestore_api.documents)
    calls: list[str] = []
    firestore_api.before_call = calls.append
    bring()
    assert firestore_api.documents == before
    assert "commit" not in calls


def test_what_is_gone_from_sql_is_gone_from_firestore(channels, sql, bring, clients, firestore):
    sql.execute("DELETE FROM events")
    sql.execute("DELETE FROM rooms WHERE stream_channel_id = 'event_656_d3d94468'")
    sql.execute("DELETE FROM memberships WHERE user_id = 8")
    bring()
    assert firestore.document("users/8").get().get("chat.teams") == []
    reconcile_after_sign_up("8", clients)
    assert findings(clients) == {
        "messaging:event_656_d3d94468": ("orphan_channel", "events/656 is gone")
    }


def test_a_room_that_the_webhook_recorded_first_becomes_the_backends(
    channels, sql, bring, clients, chat, firestore
):
    made = {"members": ["user_8", "user_11"], "team": "gym_4", "gym_id": 4}
    chat.channel("messaging", "room_New_4", made).create("user_8")
    webhooks.handle({"type": "channel.created", "cid": "messaging:room_New_4"}, clients)
    document = firestore.document("conversations/room_New_4")
    assert document.get().get("origin") == "webhook"
    sql.execute("INSERT INTO rooms VALUES ('room_New_4', 4, NULL)")
    sql.execute("INSERT INTO room_members VALUES ('room_New_4', 8), ('room_New_4', 11)")
    bring()
    assert "origin" not in document.get().to_dict()
    assert findings(clients) == {}


def test_the_script_leaves_alone_what_chatsync_made(channels, bring, clients, firestore):
    made = create_conversation("8", {"participantIds": ["11"]}, clients)
    assert made["team"] == "gym_4"
    bring()
    assert firestore.document("conversations", made["id"]).get().get("status") == "ready"
    assert findings(clients) == {}


# Statistics


def test_statistics_are_told_to_those_who_share_a_team(channels, clients):
    tenants.refuse_strangers("8", "11", clients)
    tenants.refuse_strangers("12", "12", clients)
    for uid, caller in (("8", "12"), ("12", "11"), ("12", "stranger")):
        with pytest.raises(PermissionDenied):
            tenants.refuse_strangers(uid, caller, clients)


def test_statistics_of_somebody_without_teams_are_told_to_all(clients, accounts):
    accounts.sign_up("free")
    tenants.refuse_strangers("free", "stranger", clients)


def test_teams_may_be_custom_claims(clients, accounts):
    claims = '{"teams": ["red"]}'
    for uid in ("ann", "bob"):
        accounts.sign_up(uid, customAttributes=claims)
    settings = settings_with(clients.settings, users={"teams": "claims:teams"})
    clients = replace(clients, settings=settings)
    tenants.refuse_strangers("ann", "bob", clients)
    with pytest.raises(PermissionDenied):
        tenants.refuse_strangers("ann", "eve", clients)
