"""When an entry of the outbox is tried again, and what its fields become. It reads no document."""

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.cloud import firestore

from ..errors import (
    ChatsyncError,
    FailedPrecondition,
    Paused,
    Postponed,
    Refusal,
    StreamCredentialsRejected,
    StreamRateLimited,
    Temporary,
    TooManyRefusals,
)
from ..outcome import Outcome

FIRST_ATTEMPT_SECONDS = 2.0

RECHECK_SECONDS = 30.0
"""After a lost answer: by then Stream has applied the call, or it never will."""

SHORTEST_PAUSE_SECONDS = 5.0

LONGEST_PAUSE_SECONDS = 600.0

_MAX_ERROR_LENGTH = 500


def fields_of_entry(outcome: Outcome, known: Mapping[str, Any]) -> dict[str, Any]:
    """What to write into an entry that holds the fields ``known``; empty for a new entry."""
    pause = FIRST_ATTEMPT_SECONDS if outcome.may_pass else RECHECK_SECONDS
    fields = {
        "kind": outcome.key.kind,
        "key": outcome.key.id,
        "attempts": firestore.Increment(0),
        # Changes at every report, so that a drain which tries the entry now does not delete it.
        "reports": firestore.Increment(1),
        "firstFailedAt": known.get("firstFailedAt") or firestore.SERVER_TIMESTAMP,
        "lastError": known.get("lastError", ""),
        **_state_fields(outcome, pause),
    }
    recheck_at = known.get("recheckAt")
    if outcome.is_parked and recheck_at and recheck_at.timestamp() > time.time():
        fields |= {"state": "waiting", "nextAttemptAt": recheck_at}
    waits = known.get("state") == "waiting" and known.get("attempts")
    if waits and outcome.may_pass:
        del fields["nextAttemptAt"]
    return fields


def fields_after_attempt(outcome: Outcome, attempts: int) -> dict[str, Any]:
    """What changes in an entry that the drain tried without success, after ``attempts`` others.

    Only an attempt that was made and failed counts: not one that a rate limit or a pause forbade.
    """
    error = outcome.error
    if isinstance(error, StreamRateLimited):
        return _state_fields(outcome, error.retry_after)
    if isinstance(error, Postponed | Paused) and not isinstance(error, TooManyRefusals):
        return _state_fields(outcome, SHORTEST_PAUSE_SECONDS)
    if not isinstance(error, Temporary | StreamCredentialsRejected):
        return _state_fields(outcome, RECHECK_SECONDS)
    pause = min(LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS * 2.0 ** min(attempts, 10))
    return {**_state_fields(outcome, pause * random.uniform(0.5, 1)), "attempts": attempts + 1}


def _state_fields(outcome: Outcome, pause: float) -> dict[str, Any]:
    parked = outcome.is_parked
    next_attempt = datetime.fromtimestamp(time.time() + pause, UTC)
    fields = {
        "state": "parked" if parked else "waiting",
        "nextAttemptAt": firestore.DELETE_FIELD if parked else next_attempt,
        "reason": outcome.reason,
    }
    if text := _error_text(outcome.error):
        fields["lastError"] = text[:_MAX_ERROR_LENGTH]
    if outcome.recheck:
        fields["recheckAt"] = datetime.fromtimestamp(time.time() + RECHECK_SECONDS, UTC)
    return {**fields, "removal": True} if outcome.removal else fields


def _error_text(error: ChatsyncError | None) -> str:
    """Empty if nothing new is known: refused values are not sent to Stream again."""
    if isinstance(error, FailedPrecondition) and error.reason == Refusal.REJECTED:
        return error.detail
    return str(error) if error else ""
