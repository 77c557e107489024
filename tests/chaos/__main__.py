"""Runs the chaos, or with --burst thousands of sign-ups at once. Exit status 0: nothing lost."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from dev import emulators
from dev.start import StackError

from .backends import running_backends
from .burst import run_burst
from .chaos import run_chaos

MIN_OPERATIONS = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the choices; default: a new one")
    parser.add_argument("--operations", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=3.0, help="over which they are spread")
    parser.add_argument("--burst", type=int, metavar="USERS", help="sign-ups at once, instead")
    arguments = parser.parse_args()
    if arguments.operations < MIN_OPERATIONS:
        parser.error(f"--operations must be at least {MIN_OPERATIONS}")
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed

    print(f"Seed {seed}. Starting the emulators and the functions ...", flush=True)
    emulators.use_local_stack()
    try:
        with running_backends() as backends:
            if arguments.burst:
                work = run_burst(backends, seed, arguments.burst)
            else:
                seconds = 60 * arguments.minutes
                work = run_chaos(backends, seed, arguments.operations, seconds)
            is_well = asyncio.run(work)
    except StackError as error:
        sys.exit(str(error))
    print(f"Seed {seed}.")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
