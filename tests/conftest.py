import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from xprocess import ProcessStarter, XProcess

from dev import emulators as local
from dev.start import READY_LINE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the emulators come last: quick failures first, and no other test meets their
    environment variables."""
    items.sort(key=lambda item: "emulators" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def emulators(xprocess: XProcess) -> Iterator[dict[str, str]]:
    """Runs the local stack and points this process at it."""

    class Starter(ProcessStarter):
        args = [sys.executable, "-m", "dev.start", "--quiet"]  # noqa: RUF012 (as xprocess has it)
        popen_kwargs = {"cwd": str(local.ROOT)}  # noqa: RUF012
        timeout = 180
        terminate_on_interrupt = True

        def startup_check(self) -> bool:
            log = Path(self.control_dir / "xprocess.log").read_text()
            if not xprocess.getinfo("local-stack").isrunning():
                pytest.fail(log, pytrace=False)
            return READY_LINE in log

    def stop() -> None:
        # It stops its own processes, in order.
        xprocess.getinfo("local-stack").terminate(kill_proc_tree=False, timeout=30)

    stop()  # a leftover of an interrupted run would serve stale code
    try:
        xprocess.ensure("local-stack", Starter, persist_logs=False)
        with pytest.MonkeyPatch.context() as environment:
            for name, value in local.CLIENT_ENVIRONMENT.items():
                environment.setenv(name, value)
            yield local.CLIENT_ENVIRONMENT
    finally:
        stop()
