"""The people in a conversation: who belongs there, and who is repaired when it is recorded."""

from collections.abc import Collection, Iterable, Sequence

from .. import outbox
from ..clients import Clients
from ..clients.accounts import existing_keys
from ..clients.documents import read_documents
from ..errors import NotFound, Postponed
from ..ids import Key
from ..outcome import Outcome
from ..side_by_side import batches
from .document import Conversation


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


def without_deleted(
    members: Sequence[str], known: Collection[str], clients: Clients, deadline: float
) -> tuple[str, ...]:
    """These Stream ids, without those of deleted accounts that Stream still lists as members.

    It does so by the policies ``deactivate`` and ``keep``; by the others Stream takes them out of
    its channels itself. Who is ``known`` to belong there is not looked up. Raises
    FirebaseUnavailable.
    """
    if clients.settings.config.stream.delete_policy not in ("deactivate", "keep"):
        return tuple(members)
    keys = {one: key for one in members if one not in known and (key := clients.settings.key(one))}
    existing = existing_keys(list(keys.values()), clients, deadline)
    return tuple(one for one in members if one not in keys or keys[one] in existing)


def refuse_half_a_pair(document: Conversation) -> None:
    """Raise NotFound for a direct conversation that a deleted account has left."""
    if document.conversation_type == "direct" and len(document.member_ids) < 2:
        raise NotFound([])
