"""What was sent, as text to be shown: indented, without secrets, and with nothing invisible."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl

from ..bodies import Body
from ..credentials import API_SECRET

HIDDEN = "(hidden)"
PREVIEW_BYTES = 2_000
PREVIEW_LENGTH = 200

_SECRET_FIELD = re.compile(
    r'("\w*(?:token|secret|password|authorization|(?:auth|private|secret)_?key|credentials\w*)"\s*:\s*)'
    r'"(?:[^"\\]|\\.)*"?',
    re.I,
)
_SECRET_PARAMETERS = ("authorization", "token")
_REFUSAL = re.compile(r'^\w+ failed with error: "(.*)"$')
_ROUTINE = ("api_key", "connection_id")
_TOKEN = re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?")
# Control characters, those that turn the direction of what follows, and halves of characters.
_INVISIBLE = {
    code: f"\\u{code:04x}"
    for code in (
        *(code for code in range(0x20) if code not in (0x09, 0x0A)),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    )
}


def visible(value: object) -> object:
    """Texts with what cannot be seen spelled out; anything else as it is."""
    return value.translate(_INVISIBLE) if isinstance(value, str) else value


def without_secrets(text: str) -> str:
    text = _SECRET_FIELD.sub(rf'\1"{HIDDEN}"', text)
    return _TOKEN.sub(HIDDEN, text).replace(API_SECRET, HIDDEN)


def shown(body: Body) -> str:
    """A whole body; "" if there was none."""
    text = text_of(body)
    if text is None:
        return no_text(body)
    if len(body.start) < body.size:
        return without_secrets(text) + f"\n\n(cut: all of it are {body.size} bytes)"
    return without_secrets(indented(text))


def text_of(body: Body) -> str | None:
    """None of what is no text, such as a picture."""
    try:
        return body.start.decode()
    except UnicodeDecodeError as error:
        # Where a body is cut, its last character may be, too.
        is_cut_there = len(body.start) < body.size and error.start >= len(body.start) - 3
        return body.start[: error.start].decode() if is_cut_there else None


def no_text(body: Body) -> str:
    return f"({body.size} bytes that are no text)"


def indented(text: str) -> str:
    """JSON one field a line; any other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def as_json(value: object) -> str:
    return without_secrets(json.dumps(value, indent=2, ensure_ascii=False))


def shown_query(query: str) -> list[tuple[str, str]]:
    """Its parameters, those of JSON indented."""
    return [(name, without_secrets(indented(value))) for name, value in parameters_of(query)]


def parameters_of(query: str) -> list[tuple[str, str]]:
    return [
        (name, HIDDEN if name.lower() in _SECRET_PARAMETERS else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]


def query_preview(query: str) -> str:
    parameters = [f"{name}={value}" for name, value in parameters_of(query) if name not in _ROUTINE]
    return cut(without_secrets(" ".join(parameters)))


def preview(body: Body | None) -> str:
    """The beginning on one line; of a refusal of Stream's, the reason."""
    if body is None or not body.size:
        return ""
    text = text_of(Body(body.start[:PREVIEW_BYTES], body.size))
    if text is None:
        return no_text(body)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return cut(without_secrets(text))
    if isinstance(content, dict) and "StatusCode" in content:
        reason = _REFUSAL.sub(r"\1", str(content.get("message"))).replace(r"\"", '"')
        return cut(without_secrets(reason))
    return cut(without_secrets(json.dumps(content, ensure_ascii=False)))


def cut(text: str) -> str:
    return text if len(text) <= PREVIEW_LENGTH else f"{text[:PREVIEW_LENGTH]}…"
