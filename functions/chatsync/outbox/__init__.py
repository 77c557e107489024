"""The outbox: what cannot be repaired now waits in Firestore's ``repairs`` until it can.

``entries`` keeps it, ``retry`` decides what is tried when, ``wakes`` has the drain called,
``service`` leaves to it what a repair could not do, and ``drain`` works it off.
"""

from .entries import (
    Entry,
    apply_outcomes,
    begin_entry,
    count,
    document_id,
    due,
    earliest,
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
    "earliest",
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
