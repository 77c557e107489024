"""The errors of Stream's API."""

from __future__ import annotations

from typing import Any

INTERNAL = -1
BAD_KEY = 2
BAD_INPUT = 4
BAD_TOKEN = 5
DUPLICATE_NAME = 6
RATE_LIMITED = 9
NOT_FOUND = 16
NOT_ALLOWED = 17
EVENT_NOT_SUPPORTED = 18
CHANNEL_FEATURE_OFF = 19
MESSAGE_TOO_LONG = 20
MULTIPLE_NESTING = 21
TOO_LARGE = 22
TOKEN_EXPIRED = 40
TOKEN_NOT_YET_VALID = 41
TOKEN_ISSUED_IN_FUTURE = 42
UNKNOWN_CONNECTION = 46
IN_COOLDOWN = 60
NO_ACCESS_TO_CHANNELS = 70

# The code that a bare HTTP status most likely comes with.
CODE_OF_STATUS = {
    400: BAD_INPUT,
    401: BAD_TOKEN,
    403: NOT_ALLOWED,
    404: NOT_FOUND,
    408: 23,
    413: TOO_LARGE,
    429: RATE_LIMITED,
}


class StreamError(Exception):
    """A refusal that the caller sees, in Stream's error envelope."""

    def __init__(
        self, status: int, code: int, detail: str, exception_fields: dict[str, str] | None = None
    ):
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.exception_fields = exception_fields

    def envelope(self, operation: str, duration: str = "0.00ms") -> dict[str, Any]:
        quoted = self.detail.replace("\\", r"\\").replace('"', r"\"")
        body = {
            "code": self.code,
            "message": f'{operation} failed with error: "{quoted}"',
            "StatusCode": self.status,
            "duration": duration,
            "more_info": "https://getstream.io/chat/docs/api_errors_response",
            "details": [],
        }
        if self.exception_fields:
            body["exception_fields"] = self.exception_fields
        return body


def bad_input(detail: str) -> StreamError:
    return StreamError(400, BAD_INPUT, detail)


def reserved_fields(paths: list[str]) -> StreamError:
    problems = {path: f"{path} is a reserved field" for path in paths}
    return StreamError(400, BAD_INPUT, ", ".join(problems.values()), problems)


def not_found(detail: str) -> StreamError:
    return StreamError(404, NOT_FOUND, detail)


def unauthorized(code: int, detail: str) -> StreamError:
    return StreamError(401, code, detail)


def not_allowed(detail: str) -> StreamError:
    return StreamError(403, NOT_ALLOWED, detail)


def too_large(detail: str) -> StreamError:
    return StreamError(413, TOO_LARGE, detail)
