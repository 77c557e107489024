"""The command ``report``: thirty nights on one page of HTML, which needs nothing from elsewhere."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ..audit import MAX_FINDINGS, findings_of
from . import options
from .explain.explanation import verdict_of
from .health import problems_of, read_health
from .options import FINDINGS, IN_SYNC, Refused
from .terminal import print_line, stderr

_NEEDS = "`report` needs two more packages: pip install 'chatsync[report]'"


def report(
    out: Annotated[Path, typer.Option(help="The file; one of before is replaced.")] = Path(
        "chatsync-report.html"
    ),
) -> int:
    """Write a page with charts of the last thirty nights, and the findings to filter and sort."""
    try:
        from .page import page_of  # by packages that only this command needs
    except ImportError as error:
        raise Refused(f"{_NEEDS} ({error.name} is missing).") from error
    with options.writing(out):
        if out.is_dir() or not out.absolute().parent.is_dir():
            raise Refused(f"--out: {out} is no file in a directory that exists.")
    clients = options.connect()
    stderr.print("Reading audits and findings ...")
    health = read_health(clients)
    audit = health.last_whole_audit
    found = list(islice(findings_of(audit, clients), MAX_FINDINGS)) if audit else []
    page, problems = page_of(health, found), problems_of(health)
    with options.writing(out):
        out.write_text(page, encoding="utf-8", errors="replace")
    print_line(f"Wrote {out}: {verdict_of(problems)}.")
    return FINDINGS if problems else IN_SYNC
