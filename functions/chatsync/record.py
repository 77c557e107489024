"""What one reconciliation knows of each user, and has done."""

from collections.abc import Callable
from dataclasses import dataclass, field

from firebase_functions import logger

from .clients.documents import CreatedDocument
from .errors import ChatsyncError
from .ids import Key
from .outcome import Status
from .plan import Payload


@dataclass
class Record:
    """One user of a reconciliation."""

    key: Key
    stream_id: str
    stream_user: Payload | None = None
    """As it was read last; None if Stream has none."""

    status: Status | None = None
    error: ChatsyncError | None = None
    is_written: bool = False
    """A write concerned the user: from then on Auth is asked whether the account exists."""

    is_made: bool = False
    """The Stream user was made here, or may have been, and is taken back if need be."""

    documents: list[CreatedDocument] = field(default_factory=list)
    """Those that were made here, or may have been."""

    restorations: int = 0
    patch_was_refused: bool = False
    creation_unanswered: bool = False
    patch_unanswered: bool = False
    """Stream may still apply these, later than all that this reconciliation sees."""

    remembered: frozenset[str] | None = None
    """What was refused before, as it is written down; None until it was read."""

    refused: set[str] = field(default_factory=set)
    """What was refused here."""

    refusal_of_the_rest: str = ""
    """What is refused if Stream refuses more than name and picture."""

    def log(self, message: str, log: Callable[..., None] = logger.info) -> None:
        log(message, **{self.key.kind: self.key.id})

    def note_creation(self) -> None:
        if self.status is None:
            self.status = "created"
            self.log(f"Successfully repaired/created user {self.key.id} via Cloud Function")
