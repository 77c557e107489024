"""Documents of odd types: `status`, `report` and the look every five minutes bear them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chatsync import audit, daily

ODD: list[Any] = [None, 7, "x", [], [7], {}, {"a": 1}, True, 0.5, b"x"]
SET_UP_FIELDS = ("webhookUrl", "auditId", "backfillId", "serviceAccount")
ENTRY_FIELDS = ("kind", "key", "reason", "lastError", "attempts", "firstFailedAt", "nextAttemptAt")
AUDIT_FIELDS = (
    *("mode", "steps", "repair", "team", "state", "reason", "counts", "teams", "findings"),
    *("repaired", "failed", "seen", "streamCalls", "startedAt", "finishedAt", "step", "cursor"),
)


@pytest.fixture
def bears(run, tmp_path):
    def bears() -> None:
        for command in (
            ["status"],
            ["status", "--json"],
            ["report", "--out", f"{tmp_path}/r.html"],
        ):
            ran = run(*command)
            assert ran.status in (0, 1), (command, ran.err)
            assert "bug" not in ran.err

    return bears


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_set_up_webhook_or_pause(firestore, bears, odd):
    firestore.document("chatsync/setup").set(dict.fromkeys(SET_UP_FIELDS, odd))
    firestore.document("chatsync/webhook").set({"missingEvents": odd})
    firestore.document("chatsync/pause").set({"since": odd})
    bears()


@pytest.mark.parametrize("state", ["waiting", "parked"])
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_entry_of_the_outbox(firestore, clients, bears, state, odd):
    for name in ENTRY_FIELDS:
        entry = {"kind": "user", "key": "ann", "firstFailedAt": datetime.now(UTC), name: odd}
        firestore.document(f"repairs/user_{name}").set({**entry, "state": state})
    firestore.document("repairs/user_bare").set({"state": state})
    daily.note(clients)
    bears()


@pytest.mark.parametrize("field", AUDIT_FIELDS)
def test_an_odd_audit(firestore, clients, bears, field):
    begun = audit.start("nightly", clients)
    audit.run(begun.id, clients)
    known = firestore.document(f"audits/{begun.id}").get().to_dict()
    variants: list[dict[str, Any]] = [
        {**known, field: odd} for odd in (None, 7, "x", [7], {"a": 1})
    ]
    if field == "counts":
        variants += [{**known, field: {"users": {"records": "x", "a": 7, "wrong_kind": "x"}}}]
    if field == "teams":
        odd_team = {"team": 7, "records": "x", "agreeing": None}
        variants += [{**known, field: [odd_team, {"team": "a", "records": 1, "agreeing": "x"}]}]
    variants += [{name: value for name, value in known.items() if name != field}]
    for variant in variants:
        firestore.document("audits/odd").set(variant)  # it is newer by its id
        bears()


def test_an_odd_finding(firestore, clients, bears):
    begun = audit.start("operator", clients)
    audit.run(begun.id, clients)
    for number, odd in enumerate(ODD):
        stored = dict.fromkeys(("kind", "key", "team", "detail"), odd)
        firestore.document(f"audits/{begun.id}/findings/odd-{number}").set(stored)
    firestore.document(f"audits/{begun.id}/findings/bare").set({"detail": "x"})
    bears()
