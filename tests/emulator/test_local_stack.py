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


def test_the_auth_emulator_compiles_only_the_checks_that_it_needs():
    """All of them would take seconds at each start."""
    code = """
        const { default: Ajv } = require("ajv");
        const { compile } = Ajv.prototype;
        let count = 0;
        Ajv.prototype.compile = function (...given) { count++; return compile.apply(this, given); };
        const { createApp } = require("firebase-tools/lib/emulator/auth/server");
        createApp("demo-chatsync").then(() => console.log(count));
    """
    ran = subprocess.run(
        ["node", "--eval", code],
        cwd=emulators.ROOT,
        env=emulators.cli_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "0"
