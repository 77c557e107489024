"""Bodies of uploads (multipart/form-data), as Stream's SDKs send them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from .errors import bad_input


@dataclass(frozen=True)
class Part:
    name: str
    filename: str | None
    content_type: str
    content: bytes


def form_fields(raw: bytes, content_type: str) -> dict[str, Any]:
    """{"file": Part, ...}; what is no file is JSON."""
    header = EmailMessage()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise bad_input("multipart/form-data is required")
    fields: dict[str, Any] = {}
    for part in parts(raw, boundary.encode()):
        fields[part.name] = part if part.filename is not None else json_value(part)
    return fields


def parts(raw: bytes, boundary: bytes) -> list[Part]:
    """What is between the delimiters, each of which is a line of its own."""
    pieces = (b"\r\n" + raw).split(b"\r\n--" + boundary)
    found: list[Part] = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return found
        head, separator, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = message_from_bytes(head + b"\r\n\r\n", policy=policy.HTTP)
        name = headers.get_param("name", header="content-disposition")
        if not separator or not isinstance(name, str):
            break
        found.append(Part(name, headers.get_filename(), headers.get_content_type(), content))
    raise bad_input("the body is not valid multipart/form-data")


def json_value(part: Part) -> Any:
    try:
        return json.loads(part.content)
    except ValueError:
        raise bad_input(f"{part.name} must be JSON") from None
