import gc
import os
import re
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import pytest_timeout
from xprocess import ProcessStarter, XProcess

from dev import emulators as local
from dev.start import READY_LINE, StackError, refuse_unless_ready

LOG_EVENTS = Path(__file__).parent / "emulator" / "log_events.cjs"
# Shared tests, which pytest does not collect where they are.
pytest.register_assert_rewrite("tests.conformance")

UNTRACED = re.compile(
    "stream_server|test_dev_|test_locks|test_documents|conformance|side_by_side|test_model"
    "|test_memory|hostile|interrupted|kill_anywhere|attack|thousand|hundred|of_any_shape"
)
"""In the names of tests that run no function here, or one for very many cases: coverage is measured
without them, since tracing takes twice the time. They have the marker ``untraced``."""

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
SECONDS_ON_EMULATORS = 600
"""The time limit of a test there, whose first one starts them; pyproject.toml has the others'."""


class OutOfTime(BaseException):
    """Fails a test as pytest's own Failed does, which Hypothesis would catch, to try again."""


def pytest_configure() -> None:
    """A terminated run, or one whose terminal is closed, ends as on Ctrl-C: with all teardown."""
    for number in ENDING_SIGNALS:
        signal.signal(number, interrupt)


def interrupt(number: int, frame: object) -> None:
    for again in ENDING_SIGNALS:
        signal.signal(again, signal.SIG_IGN)  # the teardown is to happen
    signal.setitimer(signal.ITIMER_REAL, 0)  # the same of a test's time limit
    raise KeyboardInterrupt


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(
    item: pytest.Item, settings: pytest_timeout.Settings
) -> Generator[None, object, object]:
    """A test that takes too long fails with the stacks of all threads, and all teardown."""
    result = yield

    def end(number: int, frame: object) -> None:
        try:
            pytest_timeout.timeout_sigalrm(item, settings)
        except pytest.fail.Exception as error:
            raise OutOfTime(str(error)) from None

    signal.signal(signal.SIGALRM, end)
    return result


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the emulators come last: quick failures first, and no other test meets their
    environment variables. They have the marker ``emulators``."""
    items.sort(key=needs_emulators)
    for item in filter(needs_emulators, items):
        item.add_marker(pytest.mark.timeout(SECONDS_ON_EMULATORS))
        item.add_marker(pytest.mark.emulators)
    for item in items:
        if UNTRACED.search(item.nodeid):
            item.add_marker(pytest.mark.untraced)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Says that the emulators cannot start before all other tests, not after them."""
    if any(map(needs_emulators, session.items)) and not session.config.option.collectonly:
        try:
            refuse_unless_ready()
        except StackError as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.TESTS_FAILED)
    gc.freeze()  # what is there by now stays: no need to look through it again and again


def needs_emulators(item: pytest.Item) -> bool:
    return "emulators" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def emulators(xprocess: XProcess) -> Iterator[dict[str, str]]:
    """Runs the local stack and points this process at it."""
    # A name per test run: xprocess would take over a live process of the same name, with the
    # code that it was started with, or from under another run in this checkout.
    name = f"local-stack-{os.getpid()}"

    class Starter(ProcessStarter):  # type: ignore[misc]  # xprocess has no types
        args = [  # noqa: RUF012 (as xprocess has it)
            *(sys.executable, "-m", "dev.start", "--quiet"),
            *("--parent", os.getpid()),
        ]
        popen_kwargs = {"cwd": str(local.ROOT)}  # noqa: RUF012
        env = {  # noqa: RUF012
            **os.environ,
            "NODE_OPTIONS": f'{os.environ.get("NODE_OPTIONS", "")} --require "{LOG_EVENTS}"',
        }
        timeout = 180

        def startup_check(self) -> bool:
            log = Path(self.control_dir / "xprocess.log").read_text()
            if not xprocess.getinfo(name).isrunning():
                pytest.exit(log, returncode=pytest.ExitCode.TESTS_FAILED)
            return READY_LINE in log

    try:
        xprocess.ensure(name, Starter, persist_logs=False)
        with pytest.MonkeyPatch.context() as environment:
            for variable, value in local.CLIENT_ENVIRONMENT.items():
                environment.setenv(variable, value)
            yield local.CLIENT_ENVIRONMENT
    finally:
        info = xprocess.getinfo(name)
        info.terminate(kill_proc_tree=False, timeout=30)  # it stops its own processes, in order
        shutil.rmtree(info.controldir)
