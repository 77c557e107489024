"""How much is measured. ``bench --smoke`` measures as little as it can."""

EVERY = 1
"""Of the kinds of a measurement so many are one that is measured: all of them."""

STARTS = 9
SAMPLES = 60
SAMPLES_WITHOUT_DELAY = 200
SIGN_UPS = 200
CONVERSATIONS = 9
CALLERS = 32
WARM_CALLS = 30
CPU_CALLS = 300
THROUGHPUT_SECONDS = 6.0

USERS = (1_000, 3_000, 10_000)
"""Of the work in the background; the goals are those of the last."""
DELAYED_USERS = 2_000
WARM_UP_USERS = 500
"""0: nothing is done before."""
WINDOW_SECONDS = 40
"""Of a limit. Not much shorter: ours takes 33 s for its share of any, since it takes each for a
minute's and keeps the thirtieth of it that Stream allows in a second."""
LIMIT = 75
"""Of UpdateUsers in a window: a quarter of what Stream allows in a minute."""
QUERIES = 250
"""The same of QueryUsers."""

BURST = 1_000
BURST_AT_ONCE = 50
BURST_INSTANCES = 4
"""Ours take 16 requests at once where they are deployed, which makes room for all. Node's take as
many as come."""

EMULATOR_STARTS = 5
SETTLE_SECONDS = 3.0
"""After a start, until the processes that it caused have started too."""
EMULATOR_SIGN_UPS = 100
EMULATOR_BURST = 200
EMULATOR_BURST_AT_ONCE = 20


SMOKE = {
    "EVERY": 3,
    "STARTS": 1,
    "SAMPLES": 2,
    "SAMPLES_WITHOUT_DELAY": 2,
    "SIGN_UPS": 2,
    "CONVERSATIONS": 1,
    "CALLERS": 4,
    "WARM_CALLS": 1,
    "CPU_CALLS": 4,
    "THROUGHPUT_SECONDS": 0.2,
    "USERS": (20,),
    "DELAYED_USERS": 20,
    "WARM_UP_USERS": 0,
    "WINDOW_SECONDS": 3,
    "LIMIT": 8,
    "QUERIES": 40,
    "BURST": 20,
    "BURST_AT_ONCE": 4,
    "BURST_INSTANCES": 2,
    "EMULATOR_STARTS": 1,
    "SETTLE_SECONDS": 1.0,
    "EMULATOR_SIGN_UPS": 2,
    "EMULATOR_BURST": 8,
    "EMULATOR_BURST_AT_ONCE": 4,
}


def shrink() -> None:
    """Tiny sizes for everything, to be called before anything is measured."""
    globals().update(SMOKE)
