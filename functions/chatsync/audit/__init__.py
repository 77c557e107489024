"""The audit: compares the sides page by page, and repairs the kinds of findings it was asked to.

``steps`` finds, ``repair`` repairs, ``store`` saves audits and findings, ``pages`` runs the pages.
"""

from .pages import begin_nightly, run, run_page
from .repair import CREATING, Wait, repair_findings
from .store import (
    LAST_STEP,
    MAX_FINDINGS,
    Audit,
    findings_of,
    latest,
    read,
    set_state,
    start,
    unfinished,
)

__all__ = [
    "CREATING",
    "LAST_STEP",
    "MAX_FINDINGS",
    "Audit",
    "Wait",
    "begin_nightly",
    "findings_of",
    "latest",
    "read",
    "repair_findings",
    "run",
    "run_page",
    "set_state",
    "start",
    "unfinished",
]
