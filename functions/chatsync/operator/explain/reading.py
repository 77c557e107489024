"""Read a user or a conversation on all sides."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from ... import conversations, ids, proof
from ...audit.steps import Finding, judge_conversation
from ...clients import Clients
from ...clients.accounts import existing_keys, read_accounts
from ...clients.documents import read_whole, references, temporary_failures_named, until
from ...conversations.document import reference_of
from ...departures import conversations_of
from ...errors import (
    SettingInvalid,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
)
from ...ids import Key
from ...observe import begin_reads, observed_of
from ...outbox import entries as outbox_entries
from ...plan import Observed
from ...side_by_side import batches, begin, result
from ...users import Account
from ..terminal import in_one_line
from .conversation import ConversationRead
from .person import PersonRead

SECONDS = 15.0
"""For each reading: a side that is down is soon called unknown."""


_MOST_CONVERSATIONS = 1000

_SECRET = re.compile("token|secret|passw|pwd|credential|keys?$|devices", re.IGNORECASE)

_NO_SECRETS = ("revoke_tokens_issued_before",)

_OF_STREAM = (StreamUnavailable, StreamRateLimited, StreamCredentialsRejected, StreamRejected)


Answer = TypeVar("Answer")


class Reader:
    """Reads all sides. If Stream fails, it says why, and the others are read all the same."""

    def __init__(self, clients: Clients, personal: bool) -> None:
        self.clients, self.settings = clients, clients.settings
        self._now = datetime.now(UTC)
        self.stream_failure = ""
        self._personal = personal
        self._doubt = proof.doubt(clients, self._now)

    @property
    def deadline(self) -> float:
        """Of a reading that begins now."""
        return time.monotonic() + SECONDS

    def ask(self, call: Callable[[], Answer], otherwise: Answer) -> Answer:
        """What Stream answers; after a failure ``otherwise``."""
        if self.stream_failure:
            return otherwise
        try:
            return call()
        except _OF_STREAM as error:
            self.stream_failure = in_one_line(error)
            return otherwise

    def people(self, keys: Sequence[Key]) -> dict[Key, PersonRead]:
        """Users and companies, whether they exist or not."""
        possible = [key for key in keys if ids.is_possible(key, self.settings.id_format)]
        uids = {Key("user", key.id) for key in keys}
        asking = begin(read_accounts, uids, self.clients.auth)
        observed = self._observed(possible) if possible else {}
        outbox = {key: outbox_entries.reference_of(key, self.clients) for key in keys}
        entries = {key: references(key, self.clients)["entry"] for key in possible}
        documents = read_whole([*outbox.values(), *entries.values()], self.clients, self.deadline)
        accounts = result(asking, self.deadline)
        read = {}
        for key in keys:
            account, one = accounts.get(Key("user", key.id)), observed.get(key)
            read[key] = PersonRead(
                key,
                one.with_account(account) if one else None,
                has_account=account is not None and key.kind == "user",
                read_at=self._now,
                outbox=documents.get(outbox[key].path),
                entry=documents.get(entries[key].path) if key in entries else None,
                doubt=self._doubt,
                stream_failure=self.stream_failure,
                personal=self._data_of(key, account, one) if self._personal and one else {},
            )
        return read

    def _observed(self, keys: Sequence[Key]) -> dict[Key, Observed]:
        reads = begin_reads(keys, self.clients, self.deadline)
        try:
            observed, failure = observed_of(reads, self.clients, self.deadline)
            self.stream_failure = in_one_line(failure) if failure else self.stream_failure
        except (StreamCredentialsRejected, StreamRejected) as error:
            self.stream_failure = in_one_line(error)
            unanswered: Future[Any] = Future()
            unanswered.set_exception(StreamUnavailable(str(error)))
            reads = replace(reads, stream_users=unanswered)
            observed, _ = observed_of(reads, self.clients, self.deadline)
        return observed

    def _data_of(self, key: Key, account: Account | None, observed: Observed) -> dict[str, Any]:
        """All that is held of a person, without tokens and the like."""
        named = [one for name, one in references(key, self.clients).items() if name != "entry"]
        named.append(self.clients.firestore.document("budgets", key.id))
        whole = read_whole(named, self.clients, self.deadline)
        uid = key.id if key.kind == "user" else observed.stream_id
        found = dict[str, None]()
        for query in conversations_of(uid, observed.stream_id, self.clients):
            names = query.select(["__name__"]).limit(_MOST_CONVERSATIONS)
            with temporary_failures_named():
                found |= {one.id: None for one in names.get(**until(self.deadline))}
        return {
            "email": account.email if account else None,
            "phoneNumber": account.phone_number if account else None,
            "claims": _without_secrets(account.claims) if account else None,
            "documents": {path: _without_secrets(fields) for path, fields in whole.items()},
            "streamUser": _without_secrets(observed.stream_user),
            "conversations": list(found)[:_MOST_CONVERSATIONS],
        }

    def conversation(self, name: str) -> ConversationRead:
        """A conversation by its id, or by the cid of its channel."""
        settings = self.settings
        conversation_id = conversations.conversation_id_of(name, settings) if ":" in name else name
        document = conversations.read(conversation_id, self.clients, self.deadline)
        cid = name if ":" in name else conversations.channel_of(document, settings)
        if not conversations.is_cid(cid):
            return self._compared(cid, document, None)
        if not document.status:
            about = conversations.documents_of([cid], self.clients, self.deadline)[cid]
            document = about[0] if about else document
        stream = self.clients.stream
        state = self.ask(lambda: stream.query_channels([cid], self.deadline).get(cid), None)
        return self._compared(cid, document, state)

    def _compared(
        self, cid: str, document: conversations.Conversation, state: Mapping[str, Any] | None
    ) -> ConversationRead:
        clients, members = self.clients, list[str]()
        if state:
            members = self.ask(lambda: conversations.members_of(state, clients, self.deadline), [])
        findings: list[Finding] = self.ask(lambda: judge_conversation(document, state, clients), [])
        people = tuple(dict.fromkeys([*document.member_ids, *members, *document.left]))
        fields = reference_of(document.id, clients)
        outbox = outbox_entries.reference_of(Key("conversation", document.id), clients)
        whole = read_whole([fields, outbox], clients, self.deadline)
        shown = _without_secrets if self._personal else lambda value: value
        is_of_two = document.conversation_type == "direct" and len(people) == 2
        return ConversationRead(
            cid,
            document,
            fields=shown(whole.get(fields.path, {})),
            state=shown(state),
            members=members,
            findings=findings,
            exist=self._exist(people),
            outbox=whole.get(outbox.path),
            pair_names=self._pair(document.team, people) if is_of_two else None,
            is_left_out=conversations.is_left_out(document, self.settings),
            stream_failure=self.stream_failure,
            is_personal=self._personal,
        )

    def _exist(self, people: Iterable[str]) -> dict[str, bool | None]:
        """Of each Stream id whether there is an account or company; None of a service user."""
        keys = {one: self.settings.key(one) for one in people}
        named = [key for key in keys.values() if key]
        existing = {
            key
            for batch in batches(named)
            for key in existing_keys(batch, self.clients, self.deadline)
        }
        bots = self.settings.config.stream.service_users
        return {one: None if one in bots else key in existing for one, key in keys.items()}

    def _pair(self, team: str | None, people: Sequence[str]) -> str | None:
        try:
            return conversations.conversation_of_pair(team, people, self.clients, self.deadline)
        except SettingInvalid:
            return None


def _without_secrets(value: Any) -> Any:
    """``value`` without what fields called token, secret and the like hold."""
    if isinstance(value, Mapping):
        return {
            name: "(left out)"
            if _SECRET.search(str(name)) and name not in _NO_SECRETS
            else _without_secrets(one)
            for name, one in value.items()
        }
    return [_without_secrets(one) for one in value] if isinstance(value, list) else value
