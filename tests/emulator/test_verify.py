"""``verify`` on the emulators: every promise kept, and nothing left behind on any side."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from chatsync import proof
from chatsync.operator.throwaway import PREFIX
from dev.emulators import FUNCTIONS_URL, PROJECT
from tests.emulator.commands import FUNCTIONS, run_command
from tests.emulator.snapshot import left
from tests.emulator.test_webhooks import PATIENCE, URL


def ran(*options: str) -> subprocess.CompletedProcess[str]:
    return run_command("verify", *options)


def begun() -> subprocess.Popen[str]:
    """A run in a process of its own, to be ended early."""
    command = [sys.executable, "-m", "chatsync", "--project", PROJECT, "verify"]
    return subprocess.Popen(command, cwd=FUNCTIONS, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def webhook(stream) -> Iterator[Callable[[str], None]]:
    """Where Stream's events go: to our function, unless it is called with something else."""

    def webhook(url: str) -> None:
        stream.webhook(url, proof.EVENTS, **PATIENCE)

    webhook(URL)
    yield webhook
    stream.webhook(None)


def test_every_promise_is_kept_and_nothing_is_left_behind(webhook, everything):
    before = everything()

    done = ran("--json")

    told = json.loads(done.stdout)
    assert [one for one in told["promises"] if not one["kept"]] == []
    assert (done.returncode, told["kept"]) == (0, True)
    assert len(told["promises"]) == 16
    assert left(before, everything()) == {}


def test_a_webhook_that_leads_nowhere_fails_its_promises_only(webhook, everything):
    before = everything()
    webhook(f"{FUNCTIONS_URL}/nowhere")

    done = ran("--seconds", "15")

    assert done.returncode == 1
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("no ")]
    assert [" ".join(line.split()[3:5]) for line in failed] == ["webhook: a", "webhook: a"]
    assert lines[-1] == "2 of 16 promises are not kept."
    assert left(before, everything()) == {}


def test_what_a_killed_run_left_is_removed_by_the_next(webhook, everything):
    before = everything()
    killed = begun()
    for line in killed.stdout:
        if "createConversation" in line:
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    found = left(before, everything())
    assert any(uid.startswith(PREFIX) for uid in found["accounts"])
    assert any(path.startswith("conversations/") for path in found["documents"])
    assert "chatsync/verify" in found["documents"]

    done = ran()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "an interrupted run" in done.stderr
    assert left(before, everything()) == {}


def test_ctrl_c_removes_what_was_made(webhook, everything):
    before = everything()
    stopped = begun()
    for line in stopped.stdout:
        if "getStreamUserToken" in line:
            break
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(timeout=120) == 2
    assert left(before, everything()) == {}


def test_a_probe_leaves_nothing_behind_though_the_functions_hear_of_it(webhook, everything):
    before = everything()
    done = ran("--probe", "--live", PROJECT, "--json", "--seconds", "5")
    told = json.loads(done.stdout)
    # A burst is refused by Stream, but not here, where a test's calls come in bursts.
    assert [one["switch"] for one in told if not one["agrees"]] == ["burst_guard"]
    assert done.returncode == 1
    assert left(before, everything()) == {}
