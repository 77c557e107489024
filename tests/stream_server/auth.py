"""Who calls: the API key and the token, checked in Stream's order."""

from __future__ import annotations

import time
from typing import Any

import jwt
from aiohttp import web

from . import errors
from .errors import not_allowed, unauthorized

API_KEY = "local-key"
API_SECRET = "local-secret"


def require_server_token(request: web.Request) -> None:
    if not request.query.get("api_key"):
        raise unauthorized(errors.BAD_KEY, "api_key or app_id not provided")
    if request.query["api_key"] != API_KEY:
        raise unauthorized(errors.BAD_KEY, "api_key not valid")
    auth_type = request.headers.get("stream-auth-type")
    if auth_type not in ("jwt", "anonymous"):
        raise unauthorized(errors.BAD_TOKEN, "stream-auth-type missing or invalid")
    if auth_type == "anonymous" or not verified_claims(request).get("server"):
        raise not_allowed("this endpoint can only be called server side")


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
