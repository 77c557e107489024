from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev import start

TESTS = """
import pathlib, time, pytest

here = pathlib.Path(__file__).parent

@pytest.fixture(scope="session")
def stack():
    (here / "up").touch()
    yield
    (here / "down").touch()

def test_long(stack):
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_test_run_with_its_teardown(tmp_path: Path, number: int) -> None:
    (tmp_path / "test_long.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    with subprocess.Popen(
        [*command, f"--rootdir={tmp_path}", tmp_path],
        cwd=start.emulators.ROOT,
        stdout=subprocess.DEVNULL,
    ) as run:
        deadline = time.monotonic() + 20
        while not (tmp_path / "up").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(number)
        assert run.wait(timeout=20) == pytest.ExitCode.INTERRUPTED
    assert (tmp_path / "down").exists()


HANGING = """
import pathlib, time, pytest
from hypothesis import given, settings, strategies

here = pathlib.Path(__file__).parent

@pytest.fixture(scope="session")
def stack():
    yield
    (here / "down").touch()

def test_hangs(stack):
    time.sleep(60)

@settings(deadline=None, database=None)
@given(strategies.integers())
def test_hangs_for_some(stack, n):
    if n > 1:
        time.sleep(60)

def test_next(stack):
    pass
"""


def test_a_test_that_hangs_fails_at_its_time_limit_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, f"--rootdir={tmp_path}", "--timeout=1", "--timeout-method=signal", tmp_path],
        cwd=start.emulators.ROOT,
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert "2 failed, 1 passed" in run.stdout
    assert "in test_hangs_for_some\n    time.sleep(60)" in run.stdout
    assert (tmp_path / "down").exists()


def test_a_stack_notices_that_its_parent_is_gone() -> None:
    start.Stack(parent=os.getppid()).check()
    with pytest.raises(start.StackError, match="is gone"):
        start.Stack(parent=os.getpid()).check()


def test_ctrl_c_while_the_demo_is_still_importing_leaves_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "dev.demo"],
        cwd=start.emulators.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        next(line for line in demo.stderr if "firebase_admin" in line)
        demo.send_signal(signal.SIGINT)
        assert "Traceback" not in demo.stderr.read()
    assert demo.returncode == -signal.SIGINT
