"""Thirty nights of an invented app, as ``report`` reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from chatsync.audit import CREATING, Audit
from chatsync.audit.steps import CHANNEL_STEPS, USER_STEPS, Finding
from chatsync.daily import Day
from chatsync.operator.health import Health

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
HOSTILE = "</script></svg><script>alert(1)</script><b>"
WITHOUT_AUDIT = (12, 13)
"""Nights ago."""


def thirty_nights(teams: int = 20) -> Health:
    random = Random(3)
    audits, days = [], {}
    for ago in range(30):
        at = (NOW - timedelta(days=ago)).replace(hour=2, minute=0)
        used = {"QueryUsers": 0.4 * random.random(), "UpdateUsers": 0.85 if ago == 9 else 0.1}
        days[f"{at:%Y-%m-%d}"] = Day(200 if ago == 9 else ago % 4, 45 if ago == 9 else 2, 2, used)
        if ago not in WITHOUT_AUDIT:
            audits.append(_night(at, random, teams))
    parked = [
        {"kind": "user", "key": key, "reason": "rejected", "firstFailedAt": NOW, "lastError": "400"}
        for key in ("ann", HOSTILE)
    ]
    return Health(
        "demo-app",
        NOW,
        set_up={"webhookUrl": "https://x/streamWebhook", "auditId": "first"},
        parked=2,
        parked_entries=parked,
        audits=audits,
        days=dict(sorted(days.items())),
    )


def _night(at: datetime, random: Random, number: int) -> Audit:
    teams = {}
    for team in [HOSTILE, *(f"gym_{n}" for n in range(number - 1))]:
        records = random.randint(20, 400)
        teams[team] = {"records": records, "agreeing": records - random.choice([0, 0, 1, 3])}
    records = sum(one["records"] for one in teams.values())
    agreeing = sum(one["agreeing"] for one in teams.values())
    found = records - agreeing
    users = {"records": records, "agreeing": agreeing, "missing_stream_user": found}
    return Audit(
        f"{at:%Y-%m-%d}-020000-abcdef",
        "nightly",
        (*USER_STEPS, *CHANNEL_STEPS),
        repair=CREATING,
        state="done",
        counts={"users": users, "channels": {"wrong_team": 3}},
        teams=teams,
        findings=found + 3,
        repaired=found,
        started_at=at,
        finished_at=at + timedelta(minutes=4),
    )


def findings(number: int) -> list[Finding]:
    kinds = ("missing_stream_user", "orphan_documents", "wrong_team")
    keys = (HOSTILE, *(f"user:{n:05}" for n in range(1, number)))
    return [Finding(kinds[n % 3], key, f"gym_{n % 20}", "image") for n, key in enumerate(keys)]
