"""How the local stack is started."""

import subprocess

from dev import emulators


def test_the_cli_keeps_no_connection_that_its_other_end_may_be_closing(monkeypatch):
    """The Functions emulator would lose the event that it sends over it."""
    monkeypatch.setenv("NODE_OPTIONS", "--no-warnings")
    ran = subprocess.run(
        ["node", "--print", "http.globalAgent.keepAlive"],
        env=emulators.cli_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "false"
