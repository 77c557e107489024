"""Outside calls made side by side, and waited for no longer than until a deadline."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .errors import FirebaseUnavailable

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

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
