"""One walk of ``verify`` through the life of an account: its names, its clients, its patience."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from firebase_admin import auth

from .. import conversations
from ..clients import Clients
from ..clients.documents import references
from ..config import parts_of
from ..errors import ChatsyncError, Temporary
from ..ids import Key
from . import app_calls
from .options import Refused
from .stream_requests import StreamRequests
from .throwaway import PREFIX, Made

Found = TypeVar("Found")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_CALL_SECONDS = 10.0


class NotKept(ChatsyncError):
    """A promise is not kept; the message says what was seen instead."""


@dataclass
class Run:
    """One walk through the life of an account."""

    clients: Clients
    project: str
    web_api_key: str
    seconds: float
    """How long each promise may take."""

    made: Made
    id_token: str = ""
    stream_token: str = ""
    deadline: float = 0.0
    """Of the promise that is tried, in the time of ``time.monotonic()``."""

    def until(self, look: Callable[[], Found | None], otherwise: str) -> Found:
        """What ``look`` finds. Raises NotKept with what was seen ``otherwise`` at the deadline."""
        pause, problem = _FIRST_PAUSE, ""
        while True:
            try:
                if found := look():
                    return found
                problem = ""
            except Temporary as error:
                problem = f": {error}"
            if time.monotonic() + pause >= self.deadline:
                raise NotKept(f"{otherwise} within {self.seconds:g} s{problem}")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def call(self, function: str, data: object) -> Any:
        """The result of a callable, called again where clients call again."""
        return self.until(
            lambda: app_calls.call(function, data, self.id_token, self.project), "no answer"
        )

    @property
    def stream(self) -> StreamRequests:
        return StreamRequests(self.clients)

    def stream_user(self, number: int = 0) -> Mapping[str, Any] | None:
        stream_id = self.made.stream_ids[number]
        until = time.monotonic() + _CALL_SECONDS
        return self.clients.stream.query_users([stream_id], until).get(stream_id)

    def document(self, name: str, number: int = 0) -> Mapping[str, Any] | None:
        """A document of an account: ``user``, ``profile`` or ``stats``."""
        reference = references(Key("user", self.made.uids[number]), self.clients)[name]
        found: Mapping[str, Any] | None = reference.get().to_dict()
        return found

    def write_user(self, number: int, path: str, value: object) -> None:
        """Write a field of a user document, as the app or its backend does."""
        fields: Any = value
        for name in reversed(path.split(".")):
            fields = {name: fields}
        reference = references(Key("user", self.made.uids[number]), self.clients)["user"]
        reference.set(fields, merge=True)

    @property
    def name_path(self) -> str:
        """Where the app keeps names in a user document; empty if it does not."""
        return parts_of(next(iter(self.clients.settings.config.users.name), ""))[0]

    @property
    def conversation(self) -> Mapping[str, Any]:
        conversation_id = conversations.conversation_id_of(self.made.cids[0], self.clients.settings)
        collection = self.clients.settings.config.conversations.collection
        return self.clients.firestore.document(collection, conversation_id).get().to_dict() or {}


def plan(clients: Clients) -> Made:
    """The names of what a run is going to make."""
    run_id = secrets.token_hex(4)
    uids = tuple(f"{PREFIX}{run_id}-{name}" for name in ("ann", "bob"))
    stream_ids = tuple(clients.settings.id_format.stream_id(Key("user", uid)) for uid in uids)
    return Made(uids, stream_ids, message_ids=(f"{PREFIX}{run_id}-message",))


def begin(run: Run) -> float:
    """Make the accounts: one comes by an import, without an event, the other signs up and in.

    Returns when it signed up, in the time of ``time.monotonic()``. Raises what Firebase raises,
    and CallRefused where nobody can sign in.
    """
    ann, bob = run.made.uids
    password = secrets.token_urlsafe(24) + "aA1!"
    bob_record = auth.ImportUserRecord(bob, email=_email(bob), display_name=bob)
    result = run.clients.auth.import_users([bob_record])
    if result.errors:
        raise Refused(f"Firebase Auth imports no account: {result.errors[0].reason}")
    began = time.monotonic()
    run.clients.auth.create_user(uid=ann, email=_email(ann), password=password, display_name=ann)
    if run.clients.settings.config.users.company.field:
        # An account is undecided until the app has written its user document.
        for number, uid in enumerate(run.made.uids):
            run.write_user(number, run.name_path or "verify", uid)
    run.id_token = app_calls.sign_in(_email(ann), password, run.web_api_key)
    return began


def _email(uid: str) -> str:
    """A reserved domain: no letter ever arrives."""
    return f"{uid}@example.com"
