"""The outbox: what cannot be repaired now waits in Firestore's ``repairs`` until it can.

``entries`` reads and writes it, ``retry`` decides when an entry is tried again, ``wakes`` makes the
task queue call the drain, ``service`` enters unfinished repairs, and ``drain`` works them off.
"""

from .entries import Entry as Entry
from .entries import apply_outcomes as apply_outcomes
from .entries import begin_entry as begin_entry
from .entries import count as count
from .entries import document_id as document_id
from .entries import due as due
from .entries import entries_of as entries_of
from .entries import oldest as oldest
from .entries import retry_parked as retry_parked
from .entries import sample as sample
from .entries import waits_since_it_failed as waits_since_it_failed
from .entries import waking as waking
from .entries import write_entries as write_entries
from .service import complete as complete
from .service import enqueue_unfinished as enqueue_unfinished
from .service import reconcile as reconcile
from .service import remove as remove
from .wakes import try_to_wake as try_to_wake
