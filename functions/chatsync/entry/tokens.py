"""Tokens for chat clients: issued to users who are in agreement, and revoked.

A Stream token is a JWT of ``user_id``, ``iat`` and ``exp``. Stream refuses one whose ``iat`` lies
in the future, or before the user's ``revoke_tokens_issued_before`` (Stream documentation, "Tokens
& Authentication").
"""

import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jwt

from .. import outbox, proof
from ..agreement import change_of, revoked_before, still_agrees
from ..clients import Clients
from ..clients.accounts import check_signed_in, read_accounts
from ..clients.documents import read_documents
from ..clients.entries import withdraw
from ..errors import FailedPrecondition, FirebaseUnavailable, NotFound, Postponed, Refusal
from ..ids import Key
from ..outcome import NotRepaired
from ..reconcile import new_deadline
from ..side_by_side import begin, result

CLOCK_SKEW_SECONDS = 5
"""How far our clock may be ahead of Stream's."""

STALE_AFTER_SECONDS = 1.0
"""After a repair that took longer, Auth is asked again: the account may be gone by then."""


def issue_token(uid: str, clients: Clients, signed_in_at: float = math.inf) -> dict[str, Any]:
    """``{token, userId, streamUserId, apiKey, expiresAt}`` (Unix seconds).

    The user is repaired first, unless known to agree. Raises the repair's error: no token for users
    who don't exist, or are disabled, deactivated or banned; and Unauthenticated for a user who was
    signed out everywhere since ``signed_in_at`` (Unix seconds).
    """
    known = _known(uid, clients, signed_in_at)
    stream_id, last_revoked = known or _repaired(uid, clients, signed_in_at)
    now = int(time.time())
    issued_at = max(now - CLOCK_SKEW_SECONDS, last_revoked)
    expires_at = now + clients.settings.config.stream.token_lifetime_seconds
    claims = {"user_id": stream_id, "iat": issued_at, "exp": expires_at}
    return {
        "token": jwt.encode(claims, clients.settings.stream_api_secret, "HS256"),
        "userId": uid,
        "streamUserId": stream_id,
        "apiKey": clients.settings.stream_api_key,
        "expiresAt": expires_at,
    }


def revoke_tokens(uid: str, clients: Clients) -> dict[str, Any]:
    """Make every token issued until now fail; ``{userId, streamUserId}``. Stream needs a moment.

    Raises the repair's error, and Postponed if called many times within seconds.
    """
    stream_id, last_revoked = _repaired(uid, clients, math.inf)
    now = int(time.time())
    # One second after the latest ``iat`` of the tokens issued until now.
    revoking = max(now - CLOCK_SKEW_SECONDS, last_revoked) + 1
    if revoking > now:
        raise Postponed("tokens have just been revoked several times")
    deadline = new_deadline()
    clients.stream.revoke_tokens(stream_id, datetime.fromtimestamp(revoking, UTC), deadline)
    # The entry says when tokens were revoked last, and it was before.
    withdraw([Key("user", uid)], clients, deadline, change=change_of("revoked"))
    return {"userId": uid, "streamUserId": stream_id}


def _known(uid: str, clients: Clients, signed_in_at: float) -> tuple[str, int] | None:
    """The Stream id of a user who is known to agree, and when tokens were revoked last.

    None if Stream must be asked: the repair then says why there is no token, if there is none.
    """
    now = datetime.now(UTC)
    if not proof.is_proven(clients, now):
        return None
    key, deadline, config = Key("user", uid), new_deadline(), clients.settings.config
    asking = begin(read_accounts, [key], clients.auth)
    try:
        documents = read_documents([key], clients, deadline)[key]
        account = result(asking, deadline).get(key)
    except FirebaseUnavailable:
        return None  # the repair meets it too, and leaves it to the outbox
    check_signed_in(account, signed_in_at)
    if account is None or account.disabled:
        return None
    if account.anonymous and not config.stream.provision_anonymous_users:
        return None
    state = replace(documents, account=account)
    stream_id = clients.settings.stream_id(key, state)
    if state.remembered is None or not still_agrees(key, stream_id, state, config, now):
        return None
    return stream_id, state.remembered.revoked_before


def _repaired(uid: str, clients: Clients, signed_in_at: float) -> tuple[str, int]:
    """The same after a repair."""
    key = Key("user", uid)
    started = time.monotonic()
    [outcome] = outbox.reconcile([key], clients, ask_auth="decides")
    check_signed_in(outcome.account, signed_in_at)
    if outcome.error:
        raise NotRepaired(outcome)
    if time.monotonic() - started > STALE_AFTER_SECONDS:
        account = read_accounts([key], clients.auth).get(key)
        if account is None:
            raise NotFound([uid])
        check_signed_in(account, signed_in_at)
        if account.disabled:
            raise FailedPrecondition([uid], Refusal.DISABLED)
    return outcome.stream_id, revoked_before(outcome.stream_user)
