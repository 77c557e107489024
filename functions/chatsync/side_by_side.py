"""Calls to other services side by side, in threads, each with a deadline."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import ParamSpec, TypeVar

from .errors import FirebaseUnavailable

Item = TypeVar("Item")
Name = TypeVar("Name")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

BATCH = 100
"""Users per call: the maximum of an Auth lookup, and of Stream's reads and writes."""

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
        future.cancel()  # a call that still waits for a thread is never made
        raise FirebaseUnavailable("no answer in time") from None


def joined(futures: Iterable[Future[dict[Name, Item]]], deadline: float) -> dict[Name, Item]:
    """The results of several calls as one; raises as :func:`result` does."""
    return {name: item for future in futures for name, item in result(future, deadline).items()}


def batches(items: Sequence[Item], size: int = BATCH) -> Iterator[Sequence[Item]]:
    """``items`` in pieces of ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def two_at_once(call: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """What ``call`` returns for each item, in the order of completion; two calls run at once.

    After an error no further call begins, and the running one is waited for. The calls have threads
    of their own: they wait for calls in the common threads, and could occupy all of those.
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
