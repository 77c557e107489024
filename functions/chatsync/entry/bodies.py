"""The body of a request: a stranger decides its size and its content."""

from contextlib import suppress
from io import BytesIO

from flask import Request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

_PIECE_BYTES = 1024 * 1024
"""What gunicorn receives at once; for smaller pieces it copies the rest each time."""

_LARGEST_BYTES = 32 * 1024 * 1024
"""The platform's limit (Cloud Run documentation, "Quotas and limits": HTTP/1)."""


def read(request: Request, limit: int) -> bytes:
    """The body, of up to ``limit`` bytes. It can be read once: the request doesn't keep it.

    Raises RequestEntityTooLarge with no more than that in memory, and ClientDisconnected for a body
    that ends too early or is malformed as HTTP.
    """
    if (request.content_length or 0) > limit:
        raise RequestEntityTooLarge
    body = bytearray()
    try:
        while piece := request.stream.read(limit + 1 - len(body)):
            body += piece
    except Exception:  # noqa: BLE001 (the server's own errors)
        raise ClientDisconnected from None
    if len(body) > limit:
        raise RequestEntityTooLarge
    return bytes(body)


def discard(request: Request) -> None:
    """Read the rest of the body, and keep none of it in memory.

    Call it before each answer: else functions-framework reads the rest into memory, so that the
    client gets the answer and no reset connection (``read_request`` in its ``__init__.py``).
    """
    left = _LARGEST_BYTES
    with suppress(Exception):  # the server's own errors
        while left > 0 and (piece := request.stream.read(_PIECE_BYTES)):
            left -= len(piece)
    request.stream = BytesIO()
