"""The switch of a statistics service: a lost event costs nobody their record, nor does Stream."""

import time
from pathlib import Path

import pytest

from dev.app_client import CallFailed
from examples.adopt.live_system import SECONDS, running
from tests.waiting import wait_for

SECONDS_ALLOWED = 8.0
"""For both calls, on emulators that share a machine; who waited for Stream would take ten."""


@pytest.mark.timeout(SECONDS)
def test_a_record_whose_event_was_lost_is_made_on_reading_without_stream() -> None:
    with running(Path(__file__).parent) as app:
        kira, before = app.sign_in("kira"), app.document("user_stats/kira")
        app.deploy()
        kira.call("getUserStats", {})  # a function starts cold here

        # Stream hangs, and nobody waits for it.
        app.stream.fault("*", "timeout", rate=1)
        started = time.monotonic()
        found = kira.call("getUserStats", {})
        made = kira.call("getUserStats", {"userId": "levi"})
        assert time.monotonic() - started < SECONDS_ALLOWED
        assert (found["xp"], found["level"]) == (1250, 7)
        assert made["createdAt"].startswith("2025-06-15T18:00:00")
        assert (made["xp"], made["messagesSent"]) == (None, 0)
        assert "Self-healing triggered for user levi" in app.log()

        # A true 404.
        with pytest.raises(CallFailed) as nobody:
            kira.call("getUserStats", {"userId": "nobody"})
        assert nobody.value.code == "not-found"

        # Your row is as it was, and Stream follows when it is back.
        assert app.document("user_stats/kira") == before
        app.stream.clear_faults()
        wait_for(lambda: app.stream_user("levi"), seconds=120)
        app.operator("backfill --apply")
        assert "In sync: 100%" in app.operator("audit")
        assert app.document("user_stats/kira") == before
