"""Write the table of operations into the README of the local Stream server."""

import re
import sys

from dev.setup import ROOT
from stream_server.operations import OPERATIONS

README = ROOT / "stream_server" / "README.md"
_BEGIN, _END = "<!-- operations -->\n", "<!-- end of operations -->"


def table() -> str:
    """A row for each operation; those of two paths have one."""
    calls: dict[str, list[str]] = {}
    of_clients = {one.name for one in OPERATIONS if one.client_side}
    for one in OPERATIONS:
        calls.setdefault(one.name, []).append(f"`{one.method} {one.path}`")
    rows = [
        f"| {name} | {', '.join(dict.fromkeys(paths))} | {'yes' if name in of_clients else ''} |"
        for name, paths in sorted(calls.items())
    ]
    return "\n".join(["| operation | call | clients too |", "|---|---|---|", *rows, ""])


def with_table(text: str) -> str:
    """The README with the table as it is now."""
    return re.sub(f"(?<={_BEGIN}).*(?={_END})", lambda _: table(), text, flags=re.DOTALL)


def main() -> None:
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"Wrote {README}", file=sys.stderr)


if __name__ == "__main__":
    main()
