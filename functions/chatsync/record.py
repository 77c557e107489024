"""What one reconciliation knows of each user, and what it has done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from firebase_functions import logger

from .clients.documents import CreatedDocument
from .errors import ChatsyncError, NotFound
from .ids import Key
from .outcome import Status
from .users import Document, FirebaseState, Remembered, UserKind


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

    profile_followed: bool = False
    """Whether the profile was updated here, since its owner did not edit it."""

    entry: Remembered | None = None
    """What ``stream_users`` said when the user was read last."""

    entry_is_certain: bool = False
    """Whether it said so already before Stream was read."""

    history: tuple[Document, ...] | None = None
    """Of the entry, read only after something was written for the user; None if it was not read."""

    agreed: FirebaseState | None = None
    """What Firebase said when Stream was read last, or written."""

    differed: bool = False
    """Whether Stream said something else than Firebase."""

    patched_fields: set[str] = field(default_factory=set)
    """Of the Stream user, which were patched here."""

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

    def note_entry(self, entry: Remembered | None, elapsed: timedelta) -> None:
        """``elapsed`` is the time since the user began to be read."""
        self.entry = entry
        is_ours = entry is not None and entry.version == self.entry_created_at
        self.entry_is_certain = entry is None or is_ours or entry.was_there_before(elapsed)

    @property
    def entry_created_at(self) -> datetime | None:
        """Firestore's time of the entry, if it was created here."""
        return next((one.update_time for one in self.documents if one.is_entry), None)

    @property
    def is_agreed(self) -> bool:
        """Whether Stream was seen, or brought, to say what Firebase says in ``agreed``."""
        is_open = self.creation_unanswered or self.patch_unanswered
        return self.error is None and self.agreed is not None and not is_open

    @property
    def is_to_be_withdrawn(self) -> bool:
        """Whether the entry claims an agreement that Stream did not show."""
        is_trusted = self.entry is not None and self.entry.verified_at is not None
        return is_trusted and self.differed and not self.is_agreed

    @property
    def is_said_gone(self) -> bool:
        """Whether the entry says that the account was deleted."""
        return self.entry is not None and self.entry.deleted_at is not None

    @property
    def has_returned(self) -> bool:
        """Whether the entry says that the account was deleted, which Auth has."""
        is_there = self.agreed is not None and self.agreed.account is not None
        return self.is_said_gone and is_there and not isinstance(self.error, NotFound)

    @property
    def known_refused(self) -> frozenset[str]:
        """Refused values, as they are remembered by now."""
        return (self.remembered or frozenset()) | self.refused

    def note_creation(self) -> None:
        if self.status is None:
            self.status = "created"
            self.log(f"Successfully repaired/created user {self.key.id} via Cloud Function")
