"""Who calls: the API key and the token, checked in Stream's order."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jwt
from aiohttp import web

from . import errors
from .credentials import API_KEY, API_SECRET
from .errors import bad_input, not_allowed, not_found, unauthorized
from .state import Caller, State
from .user_checks import refuse_deactivated, refuse_deleted

if TYPE_CHECKING:
    from jwt.types import Options


def authorize(request: web.Request, state: State, client_side: bool) -> Caller:
    """Let a server call everything, and a user's client what is ``client_side``."""
    headers = request.headers
    auth_type = headers.get("stream-auth-type")
    claims = verified_claims(request, auth_type, headers.get("Authorization"))
    origin = str(request.url.origin())
    if claims.get("server"):
        return Caller(request_info=request_info(request, "server"), origin=origin)
    if not client_side or "user_id" not in claims:
        raise not_allowed("this endpoint can only be called server side")
    user_id = tokens_user(state, claims)
    if user_id not in state.users:
        raise not_found(f"the user {user_id} does not exist")
    connection_id = request.query.get("connection_id")
    return Caller(user_id, connection_id, request_info(request, "client"), origin)


def authorize_connection(request: web.Request, state: State) -> str:
    """The user whose client connects, who need not exist yet. All is in the URL."""
    query = request.query
    claims = verified_claims(request, query.get("stream-auth-type"), query.get("authorization"))
    if claims.get("server") or "user_id" not in claims:
        raise bad_input("Websocket connection with server side authentication isn't supported")
    return tokens_user(state, claims)


def request_info(request: web.Request, kind: str) -> dict[str, str]:
    return {
        "type": kind,
        "ip": request.remote or "",
        "user_agent": request.headers.get("User-Agent", ""),
        "sdk": request.headers.get("X-Stream-Client", ""),
        "ext": "",
    }


def tokens_user(state: State, claims: dict[str, Any]) -> str:
    """Who the token is for must be able to connect, and the token must not be revoked.

    Stream's code for an unknown user is assumed.
    """
    user_id = claims["user_id"]
    if not isinstance(user_id, str):
        raise unauthorized(errors.BAD_TOKEN, "JWTAuth error: user_id is not a string")
    refuse_deleted(state, user_id)
    refuse_deactivated(state, user_id)
    for revoked_before in (
        state.users.get(user_id, {}).get("revoke_tokens_issued_before"),
        state.app.get("revoke_tokens_issued_before"),
    ):
        if not revoked_before:
            continue
        if claims.get("iat", 0) < datetime.fromisoformat(revoked_before).timestamp():
            detail = "This token has been revoked, please generate a new token"
            raise unauthorized(errors.TOKEN_EXPIRED, detail)
    return user_id


def verified_claims(
    request: web.Request, auth_type: str | None, token: str | None
) -> dict[str, Any]:
    if not request.query.get("api_key"):
        raise unauthorized(errors.BAD_KEY, "api_key or app_id not provided")
    if request.query["api_key"] != API_KEY:
        raise unauthorized(errors.BAD_KEY, "api_key not valid")
    if auth_type not in ("jwt", "anonymous"):
        raise unauthorized(errors.BAD_TOKEN, "stream-auth-type missing or invalid")
    if auth_type == "anonymous":
        return {}
    if not token:
        raise unauthorized(errors.BAD_TOKEN, "Authorization header missing")
    if token.count(".") != 2:
        detail = "JWTAuth error: token contains an invalid number of segments"
        raise unauthorized(errors.BAD_TOKEN, detail)
    try:
        # The times are checked below: PyJWT has other errors for them than Stream.
        times: Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims = jwt.decode(token, API_SECRET, algorithms=["HS256"], options=times)
    except jwt.InvalidSignatureError:
        raise unauthorized(errors.BAD_TOKEN, "Token signature is invalid") from None
    except jwt.InvalidTokenError:
        raise unauthorized(errors.BAD_TOKEN, "JWTAuth error: token is malformed") from None
    refuse_outside_its_time(claims)
    return claims


def refuse_outside_its_time(claims: dict[str, Any]) -> None:
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
