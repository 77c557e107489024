"""What one reconciliation knows of each user, and what it has done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from firebase_functions import logger

from .clients.documents import CreatedDocument
from .errors import ChatsyncError
from .ids import Key
from .outcome import Status
from .users import UserKind


@dataclass
class Record:
    """One user of a reconciliation."""

    key: Key
    stream_id: str
    kind: UserKind | None = None
    """What the user is in Stream: an account may be a company. None if nothing has told yet."""

    stream_user: Mapping[str, Any] | None = None
    """As it was read last; None if Stream has no such user."""

    is_decided_here: bool = False
    """Whether what the account is was written down here."""

    instead: Key | None = None
    """The key to be reconciled in place of this one."""

    status: Status | None = None
    error: ChatsyncError | None = None
    is_written: bool = False
    """A write concerned the user: from then on Auth is always asked about the account."""

    is_created: bool = False
    """The Stream user was created here, or may have been, and is removed if need be."""

    documents: list[CreatedDocument] = field(default_factory=list)
    """Those that were created here, or may have been."""

    restorations: int = 0
    patch_was_refused: bool = False
    creation_unanswered: bool = False
    patch_unanswered: bool = False
    """Stream may still apply these two, after this reconciliation has verified."""

    remembered: frozenset[str] | None = None
    """Refused values, as Firestore holds them; None until they were read."""

    refused: set[str] = field(default_factory=set)
    """Values that were refused here."""

    refusal_of_the_rest: str = ""
    """The refusal to note if Stream refuses more than name and picture."""

    def log(self, message: str, log: Callable[..., None] = logger.info) -> None:
        log(message, **{self.key.kind: self.key.id})

    def note_creation(self) -> None:
        if self.status is None:
            self.status = "created"
            self.log(f"Successfully repaired/created user {self.key.id} via Cloud Function")
