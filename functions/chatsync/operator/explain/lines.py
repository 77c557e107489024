"""An explanation as lines for a terminal; pure."""

import re
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from ... import users
from .explanation import Explanation

INDENT = 2
NARROWEST, WIDEST = 40, 100
"""Of lines, whatever the terminal is."""


def lines_of(explanation: Explanation, width: int) -> list[str]:
    """The explanation as lines of at most ``width`` cells."""
    lines = []
    for problem in explanation.problems:
        detail = f" ({problem.detail})" if problem.detail else ""
        lines += wrapped(f"{problem.name}{detail}: {problem.sentence.why}.", width)
        indent = " " * INDENT
        if problem.error:
            lines += wrapped(f"Last error: {problem.error}", width, indent)
        lines += [*wrapped(f"To do: {problem.sentence.do}.", width, indent), ""]
    if explanation.rows:
        lines += [*_table(explanation, width), ""]
    longest = max((cell_len(label) for label, _ in explanation.facts), default=0)
    room = min(longest + INDENT, width // 3)
    for label, texts in explanation.facts:
        shown = _cut(plain(label), room - INDENT)
        for text in texts:
            for line in wrapped(text, width - room):
                lines.append(f"{set_cell_size(shown, room)}{line}")
                shown = ""
    return [line.rstrip() for line in lines]


_MARK = "  <- differs"


def _table(explanation: Explanation, width: int) -> list[str]:
    """Columns of one width each; a value that is longer is cut in its middle."""
    count = len(explanation.heads) - 1
    longest = max(cell_len(row.label) for row in explanation.rows)
    first = min(longest + INDENT, width // 4)
    marks = len(_MARK) if any(row.differs for row in explanation.rows) else 0
    each = (width - first - marks) // count

    def line(label: str, cells: Sequence[str], mark: str = "") -> str:
        shown = (set_cell_size(_cut(plain(one), each - INDENT), each) for one in cells)
        return f"{set_cell_size(_cut(label, first - INDENT), first)}{''.join(shown)}{mark}"

    rows = (line(row.label, row.cells, _MARK if row.differs else "") for row in explanation.rows)
    return [line(explanation.heads[0], explanation.heads[1:]), *rows]


def _cut(text: str, width: int) -> str:
    """``text`` without its middle; ``width`` is 4 or more."""
    if len(text) <= width and cell_len(text) <= width:
        return text
    half = (width - 3) // 2
    end = text[-width:]
    while cell_len(end) > width - 3 - half:
        end = end[1:]
    return f"{set_cell_size(text[:half], half)}...{end}"


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """``text`` in lines of at most ``width`` cells; a wide character takes two."""
    room = width - len(indent)
    lines: list[str] = []
    for line in textwrap.wrap(plain(text), room, break_on_hyphens=False):
        while cell_len(line) > room:
            start = line
            while cell_len(start) > room:
                start = start[:-1]
            lines.append(start)
            line = line[len(start) :]
        lines.append(line)
    return [indent + line for line in lines]


_UNPRINTABLE = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    """``text`` without what a terminal could take for a command."""
    return _UNPRINTABLE.sub("?", users.CONTROL.sub("?", text))
