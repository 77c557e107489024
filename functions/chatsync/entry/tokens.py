"""Tokens for chat clients: issued to users who are in agreement, and revoked.

A Stream token is a JWT of ``user_id``, ``iat`` and ``exp``. Stream refuses one whose ``iat`` lies
in the future, or before the user's ``revoke_tokens_issued_before`` (Stream documentation, "Tokens
& Authentication").
"""

import math
import time
from datetime import UTC, datetime
from typing import Any

from .. import outbox
from ..clients import Clients
from ..clients.accounts import read_accounts
from ..errors import FailedPrecondition, NotFound, Postponed, Refusal
from ..ids import Key
from ..outcome import NotRepaired, Outcome
from ..reconcile import new_deadline

CLOCK_SKEW_SECONDS = 5
"""How far our clock may be ahead of Stream's."""

STALE_AFTER_SECONDS = 1.0
"""After a repair that took longer, Auth is asked again: the account may be gone by then."""


def issue_token(uid: str, clients: Clients) -> dict[str, Any]:
    """Repair the user, then ``{token, userId, streamUserId, apiKey, expiresAt}`` (Unix seconds).

    Raises the repair's error: no token for users who don't exist, are disabled or not in Stream.
    """
    outcome = _repaired(uid, clients)
    now = int(time.time())
    issued_at = max(now - CLOCK_SKEW_SECONDS, _revoked_before(outcome))
    expires_at = now + clients.settings.config.stream.token_lifetime_seconds
    return {
        "token": clients.stream.user_token(outcome.stream_id, issued_at, expires_at),
        "userId": uid,
        "streamUserId": outcome.stream_id,
        "apiKey": clients.settings.stream_api_key,
        "expiresAt": expires_at,
    }


def revoke_tokens(uid: str, clients: Clients) -> dict[str, Any]:
    """Make every token issued until now fail; ``{userId, streamUserId}``. Stream needs a moment.

    Raises the repair's error, and Postponed if called many times within seconds.
    """
    outcome = _repaired(uid, clients)
    now = int(time.time())
    # One second after the latest ``iat`` of the tokens issued until now.
    revoked_before = max(now - CLOCK_SKEW_SECONDS, _revoked_before(outcome)) + 1
    if revoked_before > now:
        raise Postponed("tokens have just been revoked several times")
    before = datetime.fromtimestamp(revoked_before, UTC)
    clients.stream.revoke_tokens(outcome.stream_id, before, new_deadline())
    return {"userId": uid, "streamUserId": outcome.stream_id}


def _repaired(uid: str, clients: Clients) -> Outcome:
    key = Key("user", uid)
    started = time.monotonic()
    [outcome] = outbox.reconcile([key], clients, check_accounts=True)
    if outcome.error:
        raise NotRepaired(outcome)
    if time.monotonic() - started > STALE_AFTER_SECONDS:
        account = read_accounts([key], clients.auth).get(key)
        if account is None:
            raise NotFound([uid])
        if account.disabled:
            raise FailedPrecondition([uid], Refusal.DISABLED)
    return outcome


def _revoked_before(outcome: Outcome) -> int:
    """In whole Unix seconds, rounded up; 0 if no token was ever revoked."""
    revoked = outcome.stream_user.get("revoke_tokens_issued_before")
    return math.ceil(datetime.fromisoformat(revoked).timestamp()) if revoked else 0
