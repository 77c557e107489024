"""Backfill and audit of many accounts: time, calls to Stream, and memory.

Each size begins with nothing but its accounts in Auth. Then the operator's own command runs in its
own process, once as ``backfill``, once as ``audit``. Exit status 1: a goal was missed.

The emulators themselves don't grow well: Auth's sorts all accounts for every page of them, and
Firestore's looks at a whole collection for every query. The audit asks both page by page, and slows
down with them; what is ours is the processor's time, the calls and the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import string
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from firebase_admin import auth

from dev import emulators
from dev.start import StackError
from tests.chaos.backends import running_backends

from . import people
from .people import STREAM
from .processes import COMMANDS

SIZES = (10_000, 30_000, 100_000)

MEMORY_RATIO = 1.2
"""Peak memory of the largest size, compared with the smallest."""

CALLS_RATIO = 1.05
"""The same of calls to Stream per account: the last page of each step need not be full."""

REFUSED = 5
"""Calls beyond Stream's limits: one at most in a window, until its answer tells what is left."""

_UID = string.ascii_letters + string.digits
_UID_LENGTH = 28
_RSS_UNITS_PER_MB = 2**20 if sys.platform == "darwin" else 2**10


class MeasurementError(Exception):
    """A command did not do what is measured: the message says what happened instead."""


@dataclass(frozen=True)
class Measurement:
    """One command in its own process, at one number of accounts."""

    command: str
    accounts: int
    seconds: float
    cpu_seconds: float
    """Of the process itself: the rest is the emulators', the network's, and others'."""

    calls: dict[str, int]
    """To Stream, by operation, the refused ones included."""

    refused: int
    """Calls that Stream answered with 429."""

    peak_mb: float
    """The most memory that the process ever held."""

    load: float
    """Of the machine, when the command began: processes that ran or wanted to."""

    @property
    def per_second(self) -> float:
        return self.accounts / self.seconds

    @property
    def calls_per_100(self) -> float:
        return 100 * sum(self.calls.values()) / self.accounts


@dataclass(frozen=True)
class Goal:
    what: str
    measured: float
    at_most: float

    @property
    def is_met(self) -> bool:
        return self.measured <= self.at_most


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument(
        "--accounts",
        type=_sizes,
        default=SIZES,
        metavar="N,...",
        help=f"the sizes, by default {','.join(map(str, SIZES))}",
    )
    parser.add_argument("--limits", action="store_true", help="keep Stream's rate limits")
    arguments = parser.parse_args()

    # The local secret is shorter than JWT libraries like.
    os.environ |= {**emulators.CLIENT_ENVIRONMENT, "PYTHONWARNINGS": "ignore:The HMAC key"}
    people.connect()
    measured: list[Measurement] = []
    try:
        for accounts in sorted(arguments.accounts):
            measured += measure(accounts, arguments.limits)
    except (MeasurementError, StackError, RuntimeError) as error:
        sys.exit(str(error))
    goals = goals_of(measured, arguments.limits)
    print("\n".join(_table(measured)), *map(_verdict, goals), sep="\n")
    return 0 if all(goal.is_met for goal in goals) else 1


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(one) for one in text.split(","))
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError("a size must be 1 or more")
    return sizes


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measure(accounts: int, limits: bool) -> list[Measurement]:
    """Backfill and audit of so many accounts, in emulators that were empty before."""
    _say(f"{accounts:,} accounts: starting the emulators ...")
    with running_backends():
        set_limits(limits)
        # The emulator's first answer takes longer than a command waits for one.
        people.documents().document("any/one").get()
        began = time.monotonic()
        choice = random.Random(0)
        people.import_accounts(_account(number, choice) for number in range(accounts))
        _say(f"  imported in {time.monotonic() - began:.0f} s")
        measured = []
        for command in COMMANDS:
            one, result = run(command, accounts)
            _say(f"  {command}: {one.seconds:.0f} s")
            expect(command, result, accounts)
            measured.append(one)
        return measured


def set_limits(limits: bool) -> None:
    """Stream's real limits, bursts included, or none."""
    STREAM.switch(burst_guard=limits)
    if not limits:
        for operation in STREAM.state()["limits"]:
            STREAM.remove_limit(operation)


def _account(number: int, choice: random.Random) -> auth.ImportUserRecord:
    # Of a uid's real form: in no order that the numbers have.
    return auth.ImportUserRecord(
        uid="".join(choice.choices(_UID, k=_UID_LENGTH)),
        display_name=f"Person {number}",
        email=f"person{number}@example.com",
        photo_url=f"https://example.com/{number}.png" if number % 2 else None,
    )


def run(command: str, accounts: int) -> tuple[Measurement, dict[str, Any]]:
    """Run a command as an operator does; returns what it took, and what it printed."""
    before = calls_so_far()
    load = os.getloadavg()[0]
    began = time.monotonic()
    # A child's peak is never below what this process holds when it starts it: two thirds of it.
    process = subprocess.Popen(
        COMMANDS[command], cwd=emulators.ROOT / "functions", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise MeasurementError(f"{command} ended with {process.returncode}: {output.decode()}")
    calls = calls_so_far() - before
    by_operation: Counter[str] = Counter()
    for (operation, _), count in calls.items():
        by_operation[operation] += count
    return Measurement(
        command=command,
        accounts=accounts,
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        calls=dict(by_operation),
        refused=sum(count for (_, answer), count in calls.items() if answer == "429"),
        peak_mb=usage.ru_maxrss / _RSS_UNITS_PER_MB,
        load=load,
    ), json.loads(output)


def calls_so_far() -> Counter[tuple[str, str]]:
    """By operation and status."""
    calls = STREAM.state()["calls"]
    return Counter(
        {
            (operation, status): count
            for operation, statuses in calls.items()
            for status, count in statuses.items()
        }
    )


def expect(command: str, printed: dict[str, Any], accounts: int) -> None:
    """Raises MeasurementError unless everybody was looked at, and agrees in the audit."""
    users = printed["counts"]["users"]
    if users["records"] != accounts or printed["failed"]:
        raise MeasurementError(f"{command} has not looked at everybody: {printed}")
    if command == "audit" and (printed["syncRate"] != 1 or printed["findings"]):
        raise MeasurementError(f"{command} finds disagreement: {str(printed)[:1000]}")


def goals_of(measured: Sequence[Measurement], limits: bool) -> list[Goal]:
    goals = []
    for command in COMMANDS:
        of_command = [one for one in measured if one.command == command]
        first, last = of_command[0], of_command[-1]
        sizes = f"{command}, {last.accounts:,} accounts against {first.accounts:,}"
        memory = last.peak_mb / first.peak_mb
        calls = last.calls_per_100 / first.calls_per_100
        if last.accounts > first.accounts:
            goals.append(Goal(f"{sizes}: peak memory", memory, MEMORY_RATIO))
            goals.append(Goal(f"{sizes}: calls per account", calls, CALLS_RATIO))
        if limits:
            goals.append(Goal(f"{command}: calls answered with 429", last.refused, REFUSED))
    return goals


def _table(measured: Sequence[Measurement]) -> list[str]:
    operations = sorted({operation for one in measured for operation in one.calls})
    titles = ["command", "accounts", "seconds", "accounts/s", "CPU s", *operations]
    titles += ["calls per 100", "429s", "peak MB", "load"]
    rows = [titles]
    for one in measured:
        calls = [f"{one.calls.get(operation, 0):,}" for operation in operations]
        row = [one.command, f"{one.accounts:,}", f"{one.seconds:.1f}", f"{one.per_second:,.0f}"]
        row += [f"{one.cpu_seconds:.1f}", *calls, f"{one.calls_per_100:.2f}", str(one.refused)]
        rows.append([*row, f"{one.peak_mb:.1f}", f"{one.load:.1f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _verdict(goal: Goal) -> str:
    word = "met" if goal.is_met else "MISSED"
    return f"{goal.what}: {goal.measured:.2f} (at most {goal.at_most:g}): {word}"


if __name__ == "__main__":
    sys.exit(main())
