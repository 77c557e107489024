"""The outbox: what cannot be repaired now waits in Firestore's ``repairs`` until it can.

``entries`` reads and writes it, ``retry`` decides when an entry is tried again, ``wakes`` makes the
task queue call the drain, ``service`` enters unfinished repairs, and ``drain`` works them off.
"""

from .entries import (
    Entry,
    apply_outcomes,
    begin_entry,
    count,
    document_id,
    due,
    entries_of,
    retry_parked,
    sample,
    write_entries,
)
from .service import complete, enqueue_unfinished, reconcile, remove
from .wakes import try_to_wake, wake

__all__ = [
    "Entry",
    "apply_outcomes",
    "begin_entry",
    "complete",
    "count",
    "document_id",
    "due",
    "enqueue_unfinished",
    "entries_of",
    "reconcile",
    "remove",
    "retry_parked",
    "sample",
    "try_to_wake",
    "wake",
    "write_entries",
]
