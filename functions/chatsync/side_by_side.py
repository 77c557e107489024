"""Outside calls made side by side, and waited for no longer than until a deadline."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import ParamSpec, TypeVar

from .errors import FirebaseUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

BATCH = 100
"""Users per call: the most that Auth looks up, and that Stream writes and returns."""

# An instance takes 16 requests at once, each of which asks three sides at the most.
_threads = ThreadPoolExecutor(max_workers=48, thread_name_prefix="chatsync")


def begin(
    call: Callable[Arguments, Result], *args: Arguments.args, **options: Arguments.kwargs
) -> Future[Result]:
    return _threads.submit(call, *args, **options)


def result(future: Future[Result], deadline: float) -> Result:
    """What the call returned or raised; FirebaseUnavailable if it is not done at ``deadline``."""
    try:
        return future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        future.cancel()  # what waits for a thread still is not to happen after all
        raise FirebaseUnavailable("no answer in time") from None


def batches(items: Sequence[Item], size: int = BATCH) -> Iterator[Sequence[Item]]:
    """``items`` in pieces that one call takes."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def two_at_once(call: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """What ``call`` returns for each item, as they are done, with two of them under way.

    After an error no other begins, and the one under way is waited for. In threads of their own:
    calls that wait for others in the common ones could occupy all of them.
    """
    if len(items) == 1:
        yield call(items[0])
        return
    left = iter(items)
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="chatsync-two") as threads:
        under_way = {threads.submit(call, item) for item in islice(left, 2)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            results = [future.result() for future in done]
            under_way |= {threads.submit(call, item) for item in islice(left, len(done))}
            yield from results
