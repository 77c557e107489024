"""Errors that nobody expects, with their traceback in the log.

What the SDK and the framework print of them is no log entry of its own, and alerts don't see it.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from firebase_functions import logger

from ..errors import StreamCredentialsRejected, Temporary
from ..log_events import LogEvent


def log_unexpected(error: Exception) -> None:
    """Log the error that is being handled."""
    is_refusal = isinstance(error, StreamCredentialsRejected)
    event = LogEvent.CREDENTIALS if is_refusal else LogEvent.BUG
    logger.error(traceback.format_exc(), event=event)


@contextmanager
def unexpected_errors_logged() -> Iterator[None]:
    """Also a decorator. All errors are passed on: a Temporary one makes the platform call again."""
    try:
        yield
    except Temporary:
        raise
    except Exception as error:
        log_unexpected(error)
        raise
