"""JSON edited as text: what stands around an edit stays as it is, comments too. Pure.

It takes what the Firebase CLI takes: JSON, with comments of JavaScript.
"""

import json
import re
from dataclasses import dataclass
from json.decoder import JSONDecodeError
from typing import Any

_SPACE = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(r'"(?:\\.|[^"\\])*"|[^\s,\]}/"]+')
_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)


@dataclass(frozen=True)
class Node:
    """A value and its place in the text; ``begins`` is that of its key, if it has one."""

    value: Any
    begins: int
    start: int
    end: int
    items: "dict[str, Node] | list[Node]"

    @property
    def children(self) -> "list[Node]":
        return list(self.items.values()) if isinstance(self.items, dict) else self.items


def parse(text: str) -> Node:
    """The value that a text is. Raises ValueError."""
    node = _node(text, _after_space(text, 1 if text.startswith("\ufeff") else 0))
    rest = _after_space(text, node.end)
    if rest != len(text):
        raise JSONDecodeError("Something follows the value", text, rest)
    return node


def append(text: str, into: Node, value: Any, key: str | None = None) -> str:
    """The text with one more item at the end of an array, or member at the end of an object."""
    name = "" if key is None else f"{json.dumps(key)}: "
    newline = _newline_of(text)
    if not into.children:
        outer = _indent_at(text, into.begins)
        inner = outer + indent_of(text)
        item = f"{newline}{inner}{name}{rendered(value, text, inner)}"
        return f"{text[: into.start + 1]}{item}{newline}{outer}{text[into.end - 1 :]}"
    place = into.children[-1].end
    if "\n" not in text[into.start : into.end]:
        return f"{text[:place]}, {name}{json.dumps(value, ensure_ascii=False)}{text[place:]}"
    inner = _indent_at(text, into.children[-1].begins)
    return f"{text[:place]},{newline}{inner}{name}{rendered(value, text, inner)}{text[place:]}"


def in_list(text: str, node: Node) -> str:
    """The text with a list in a value's place, which has the value as its only item."""
    outer, newline = _indent_at(text, node.begins), _newline_of(text)
    inner = outer + indent_of(text)
    stated = text[node.start : node.end].replace("\n", "\n" + indent_of(text))
    listed = f"[{newline}{inner}{stated}{newline}{outer}]"
    return text[: node.start] + listed + text[node.end :]


def remove(text: str, parent: Node, child: Node) -> str:
    """The text without an item or member, and without the comma that parted it."""
    siblings = parent.children
    place = siblings.index(child)
    if place:
        return text[: siblings[place - 1].end] + text[child.end :]
    if len(siblings) > 1:
        return text[: child.begins] + text[siblings[1].begins :]
    return text[: parent.start + 1] + text[parent.end - 1 :]


def rendered(value: Any, text: str, indent: str) -> str:
    """A value as lines, of which all but the first are indented as those of the text are."""
    lines = json.dumps(value, indent=indent_of(text), ensure_ascii=False).split("\n")
    return (_newline_of(text) + indent).join(lines)


def indent_of(text: str) -> str:
    """One level of indentation."""
    found = _INDENT.search(text)
    return found[1] if found else "  "


def _newline_of(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent_at(text: str, place: int) -> str:
    line = text[text.rfind("\n", 0, place) + 1 : place]
    return line[: len(line) - len(line.lstrip())]


def _after_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


def _node(text: str, start: int, begins: int | None = None) -> Node:
    begins = start if begins is None else begins
    match text[start : start + 1]:
        case "{":
            members: dict[str, Node] = {}
            place = _after_space(text, start + 1)
            while text[place : place + 1] != "}" or members:
                key = _node(text, place)
                colon = _after_space(text, key.end)
                if not isinstance(key.value, str) or text[colon : colon + 1] != ":":
                    raise JSONDecodeError("A key in quotes and a colon are missing", text, place)
                member = members[key.value] = _node(text, _after_space(text, colon + 1), place)
                place, more = _next(text, member.end, "}")
                if not more:
                    break
            value: Any = {key: node.value for key, node in members.items()}
            return Node(value, begins, start, place + 1, members)
        case "[":
            items: list[Node] = []
            place = _after_space(text, start + 1)
            while text[place : place + 1] != "]" or items:
                items.append(_node(text, place))
                place, more = _next(text, items[-1].end, "]")
                if not more:
                    break
            return Node([node.value for node in items], begins, start, place + 1, items)
    scalar = _SCALAR.match(text, start)
    if not scalar:
        raise JSONDecodeError("A value is missing", text, start)
    try:
        return Node(json.loads(scalar[0]), begins, start, scalar.end(), [])
    except ValueError:
        raise JSONDecodeError("This is no value of JSON", text, start) from None


def _next(text: str, end: int, closing: str) -> tuple[int, bool]:
    """The place of the next item, or of the bracket; and whether it is an item."""
    place = _after_space(text, end)
    if text[place : place + 1] == ",":
        return _after_space(text, place + 1), True
    if text[place : place + 1] == closing:
        return place, False
    raise JSONDecodeError(f"A comma or {closing} is missing", text, place)
