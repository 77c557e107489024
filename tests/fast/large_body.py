"""Bodies of 32 MB, as large as the platform lets through, and what a function holds of one."""

from __future__ import annotations

import io
import tracemalloc
from typing import TYPE_CHECKING, Any

from flask.testing import FlaskClient

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SIZE = 32 * 1024 * 1024
HELD_BYTES = 8_000_000
"""More than is needed to take the body in, and far less than the body."""


class Body(io.RawIOBase):
    """``[[],[],...``, made when it is read, so that only what the reader holds counts."""

    def __init__(self) -> None:
        self.left = SIZE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        bytes_wanted = memoryview(buffer)
        size = min(len(bytes_wanted), self.left)
        bytes_wanted[:size] = (b"[],[" * (size // 4 + 1))[:size]
        self.left -= size
        return size


class Broken(Body):
    """Breaks off."""

    def readinto(self, buffer: WriteableBuffer) -> int:
        raise ValueError("as gunicorn's own errors are, of a malformed chunk")


def send_large(
    client: FlaskClient, headers: dict[str, str], chunked: bool, method: str = "POST"
) -> tuple[Any, int]:
    """Send it as gunicorn hands it over; returns the answer and the peak of memory held (bytes)."""
    environ = {"wsgi.input": Body(), "wsgi.input_terminated": True}
    if chunked:
        headers = {**headers, "Transfer-Encoding": "chunked"}
    else:
        environ["CONTENT_LENGTH"] = str(SIZE)
    tracemalloc.start()
    try:
        response = client.open("/", method=method, headers=headers, environ_overrides=environ)
        return response, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
