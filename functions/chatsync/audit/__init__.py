"""The audit: compares the sides page by page, and repairs the kinds of findings it was asked to.

``steps`` finds, ``repair`` repairs, ``store`` saves audits and findings, ``pages`` runs the pages.
"""

from .pages import begin_nightly as begin_nightly
from .pages import run as run
from .pages import run_in_background as run_in_background
from .pages import run_page as run_page
from .repair import CREATING as CREATING
from .repair import repair_findings as repair_findings
from .store import LAST_STEP as LAST_STEP
from .store import MAX_FINDINGS as MAX_FINDINGS
from .store import Audit as Audit
from .store import findings_of as findings_of
from .store import read as read
from .store import recent as recent
from .store import set_state as set_state
from .store import start as start
from .store import unfinished as unfinished
