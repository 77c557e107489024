"""The people in a conversation: who of them is repaired when it is recorded."""

from collections.abc import Iterable

from .. import outbox
from ..clients import Clients
from ..clients.documents import read_documents
from ..errors import Postponed
from ..ids import Key
from ..outcome import Outcome
from ..side_by_side import batches


def repair_incomplete(uids: Iterable[str], clients: Clients, deadline: float) -> None:
    """Enter into the outbox who lacks a document: no conversation names people without profile.

    Call it before the conversation is written: after a failure it is then recorded once more.
    Raises FirebaseUnavailable.
    """
    waiting = Postponed("a conversation names them")
    for batch in batches([Key("user", uid) for uid in uids]):
        found = read_documents(batch, clients, deadline, of=("user", "profile", "stats"))
        incomplete = [
            Outcome(key, "", None, waiting)
            for key, state in found.items()
            if None in (state.user, state.profile, state.stats)
        ]
        if incomplete:
            outbox.write_entries(incomplete, clients)
