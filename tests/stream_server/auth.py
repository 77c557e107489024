"""Who calls: the API key and the token, checked in Stream's order."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import jwt
from aiohttp import web

from . import errors
from .errors import not_allowed, not_found, unauthorized
from .state import State
from .users import refuse_deactivated, refuse_deleted

API_KEY = "local-key"
API_SECRET = "local-secret"


def authorize(request: web.Request, state: State, client_side: bool) -> None:
    """Let a server call everything, and a user's client what is ``client_side``."""
    if not request.query.get("api_key"):
        raise unauthorized(errors.BAD_KEY, "api_key or app_id not provided")
    if request.query["api_key"] != API_KEY:
        raise unauthorized(errors.BAD_KEY, "api_key not valid")
    auth_type = request.headers.get("stream-auth-type")
    if auth_type not in ("jwt", "anonymous"):
        raise unauthorized(errors.BAD_TOKEN, "stream-auth-type missing or invalid")
    claims = {} if auth_type == "anonymous" else verified_claims(request)
    if claims.get("server"):
        return
    if not client_side or "user_id" not in claims:
        raise not_allowed("this endpoint can only be called server side")
    refuse_unusable_user(state, claims)


def refuse_unusable_user(state: State, claims: dict[str, Any]) -> None:
    """Who the token is for must be able to connect, and the token must not be revoked.

    Stream's codes for an unknown user and for a revoked token are assumed.
    """
    user_id = claims["user_id"]
    if not isinstance(user_id, str):
        raise unauthorized(errors.BAD_TOKEN, "JWTAuth error: user_id is not a string")
    refuse_deleted(state, user_id)
    refuse_deactivated(state, user_id)
    if user_id not in state.users:
        raise not_found(f"the user {user_id} does not exist")
    revoked_before = state.users[user_id].get("revoke_tokens_issued_before")
    if revoked_before:
        revoked_at = datetime.fromisoformat(revoked_before).timestamp()
        if claims.get("iat", 0) < revoked_at:
            raise unauthorized(errors.TOKEN_EXPIRED, "JWTAuth error: token was revoked")


def verified_claims(request: web.Request) -> dict[str, Any]:
    token = request.headers.get("Authorization")
    if not token:
        raise unauthorized(errors.BAD_TOKEN, "Authorization header missing")
    if token.count(".") != 2:
        detail = "JWTAuth error: token contains an invalid number of segments"
        raise unauthorized(errors.BAD_TOKEN, detail)
    try:
        # The times are checked below: PyJWT has other errors for them than Stream.
        times = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims = jwt.decode(token, API_SECRET, algorithms=["HS256"], options=times)
    except jwt.InvalidSignatureError:
        raise unauthorized(errors.BAD_TOKEN, "Token signature is invalid") from None
    except jwt.InvalidTokenError:
        raise unauthorized(errors.BAD_TOKEN, "JWTAuth error: token is malformed") from None
    now = time.time()
    for claim in ("exp", "nbf", "iat"):
        if claim in claims and type(claims[claim]) is not int:
            detail = f"JWTAuth error: json: cannot unmarshal {claim} of type int64"
            raise unauthorized(errors.BAD_TOKEN, detail)
    if claims.get("exp", now + 1) <= now:
        raise unauthorized(errors.TOKEN_EXPIRED, "JWTAuth error: token is expired (exp)")
    if claims.get("nbf", now) > now:
        raise unauthorized(errors.TOKEN_NOT_YET_VALID, "JWTAuth error: token is not valid yet")
    if claims.get("iat", now) > now:
        detail = "JWTAuth error: token used before issue at (iat)"
        raise unauthorized(errors.TOKEN_ISSUED_IN_FUTURE, detail)
    return claims
