"""The same beside functions that a team writes by hand in Node (``by_hand``).

Both are processes as in production. Those in Node check, repair and note nothing: they call Stream
when somebody signs up, and sign a token without looking whether its user exists.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import people, sizes
from .background import draining
from .figures import Figure
from .people import STREAM
from .processes import BY_HAND, OURS, Function, both, serving
from .serving import created_event, sign_ups, starts, until_in_stream, with_delays

_WINDOW_PATIENCE_SECONDS = 90.0
"""Stream's limits are of a minute."""


def token() -> Iterator[Figure]:
    """Of somebody who is known to agree; by hand, of anybody."""
    caller = people.caller()
    people.prove()
    with both("getStreamUserToken", BY_HAND) as functions:
        yield from with_delays(
            "getStreamUserToken, known to agree", functions, caller, ("<= 2", "")
        )


def sign_up() -> Iterator[Figure]:
    yield from sign_ups(BY_HAND, ("<= 1.5", "<= 2"))


def cold_start() -> Iterator[Figure]:
    """From the process's start until the first answer."""
    caller = people.caller()
    people.prove()
    with serving(OURS, "getStreamUserToken") as function:
        function.call({}, caller.id_token)
    fresh = iter(people.accounts(2 * sizes.STARTS + 2))
    asks: tuple[tuple[str, str, Callable[[Function], object]], ...] = (
        ("first token", "getStreamUserToken", lambda one: one.call({}, caller.id_token)),
        ("first sign-up", "createStreamUser", lambda one: until_in_stream(one, fresh)),
    )
    for what, function_name, ask in asks:
        ours, by_hand = starts(function_name, BY_HAND, ask)
        name, note = f"{what} after a start", f"median of {sizes.STARTS}"
        yield Figure(name, ours.seconds, by_hand.seconds, "s", "", note)


def burst() -> Iterator[Figure]:
    """Many sign-ups at once, until all are in Stream, or nobody comes any more.

    Ours may be there late, by the outbox: the drain runs. Once nearly without Stream's limits, and
    once with those that it has by default.
    """
    name = f"{sizes.BURST:,} sign-ups, {sizes.BURST_AT_ONCE} at once"
    (ours, seconds), (by_hand, their_seconds) = (_burst(one, False) for one in (OURS, BY_HAND))
    lost = f"lost: {sizes.BURST - ours}, by hand {sizes.BURST - by_hand}"
    note = f"until all are in Stream; {sizes.BURST_INSTANCES} instances each; {lost}"
    yield Figure(name, seconds, their_seconds, "s", "", note)
    (ours, seconds), (by_hand, their_seconds) = (_burst(one, True) for one in (OURS, BY_HAND))
    lost = f"lost for ever: {sizes.BURST - ours}, by hand {sizes.BURST - by_hand}"
    note = f"in Stream in the end, after {seconds:.0f} s and {their_seconds:.0f} s; {lost}"
    yield Figure(f"{name}, Stream's limits on", ours, by_hand, "users", "", note)


def _burst(source: Path, has_limits: bool) -> tuple[int, float]:
    """How many are in Stream in the end, and when the last was, in seconds from the first."""
    people.forget_in_stream()
    with contextlib.ExitStack() as stack:
        if source == OURS:
            stack.enter_context(draining(stack.enter_context(serving(OURS, "drainRepairs"))))
        instances = [
            stack.enter_context(serving(source, "createStreamUser"))
            for _ in range(sizes.BURST_INSTANCES)
        ]
        uids = people.accounts(sizes.BURST_INSTANCES + sizes.BURST)
        for instance in instances:
            instance.post(*created_event(instance, uids.pop()))
        people.forget_in_stream()
        if has_limits:
            STREAM.restore_limits()
            STREAM.switch(burst_guard=True)
            stack.callback(STREAM.switch, burst_guard=False)
        began = time.time()

        def sign_up(caller: int) -> None:
            """One of those at once, who always meets the same instance."""
            instance = instances[caller % sizes.BURST_INSTANCES]
            for uid in uids[caller :: sizes.BURST_AT_ONCE]:
                # Nobody who writes by hand asks for a second delivery; ours never need one.
                with contextlib.suppress(RuntimeError, OSError):
                    instance.post(*created_event(instance, uid))

        with ThreadPoolExecutor(sizes.BURST_AT_ONCE) as threads:
            signing_up = threads.map(sign_up, range(sizes.BURST_AT_ONCE))
            patience = _WINDOW_PATIENCE_SECONDS if source == OURS else 10.0
            count, at = people.arrivals(sizes.BURST, patience)
            list(signing_up)
    return count, at - began


MEASUREMENTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "node-cold-start": cold_start,
    "node-token": token,
    "node-sign-up": sign_up,
    "node-burst": burst,
}
