"""The command ``explain``: it reads a user, a conversation or two people on all sides."""

import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from .. import conversations, ids, proof
from ..as_json import json_value
from ..audit.steps import Finding, judge_conversation
from ..clients import Clients
from ..clients.accounts import existing_keys, read_accounts
from ..clients.documents import read_whole, references, temporary_failures_named, until
from ..conversations.create import would_open
from ..conversations.document import reference_of
from ..departures import conversations_of
from ..errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Paused,
    PermissionDenied,
    Refusal,
    SettingInvalid,
    StreamCredentialsRejected,
    StreamRateLimited,
    StreamRejected,
    StreamUnavailable,
)
from ..ids import Key
from ..observe import begin_reads, observed_of
from ..outbox import entries as outbox_entries
from ..outcome import Parked
from ..plan import Observed, Policy, plan
from ..side_by_side import batches, begin, result
from ..users import Account
from . import options
from .explained import (
    ConversationRead,
    Explanation,
    PersonRead,
    Problem,
    explain_conversation,
    explain_person,
    explain_two,
    lines_of,
    plain,
    wrapped,
)
from .options import FAILED, FINDINGS, IN_SYNC, AsJson, Refused
from .sentences import NO_CALLER, NO_KEY, NO_TEAM
from .terminal import in_one_line, print_json

SECONDS = 15.0
"""For each reading: a side that is down is soon called unknown."""

WIDEST, NARROWEST = 100, 40

_MOST_CONVERSATIONS = 1000

_SECRET = re.compile("token|secret|passw|pwd|credential|keys?$|devices", re.IGNORECASE)
_NO_SECRETS = ("revoke_tokens_issued_before",)

_OF_STREAM = (StreamUnavailable, StreamRateLimited, StreamCredentialsRejected, StreamRejected)

_NEW = "opens a new one"

Answer = TypeVar("Answer")


def explain(
    subject: Annotated[
        str, typer.Argument(help="A uid, company:ID, a conversation's id, or a channel, type:id.")
    ],
    other: Annotated[
        str, typer.Argument(help="Another person: why can these two not chat?", show_default=False)
    ] = "",
    personal: Annotated[
        bool,
        typer.Option(
            "--personal",
            help="With --json: also e-mail, phone, and the app's own fields, all that is held of a"
            " person.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Tell what is known of a user, a conversation, or two people, and what to do."""
    if personal and not as_json:
        raise Refused("--personal goes with --json.")
    if not subject:
        raise Refused("Of whom? The subject is empty.")
    clients = options.connect()
    since = clients.pause.since(0)
    reader = _Reader(clients, personal)
    found = [_two(subject, other, reader)] if other else _one(subject, reader)
    notes = [str(Paused(since))] if since else []
    if reader.stream_failure:
        notes.append(f"Stream's side is unknown. {reader.stream_failure}")
    if len(found) > 1:
        named = " and ".join(one.title for one in found)
        notes.append(f"{plain(subject)} names {len(found)} things: {named}.")
    if as_json:
        report = {
            "subject": [one for one in (subject, other) if one],
            "pausedSince": since,
            "streamFailure": reader.stream_failure or None,
            "found": [one.data for one in found],
        }
        print_json(json_value(report))
    else:
        lines = [line for note in notes for line in [*wrapped(note, _width()), ""]]
        for one in found:
            lines += _lines_of(one, bool(reader.stream_failure), bool(other))
        if any("`" in problem.sentence.do for one in found for problem in one.problems):
            command = f"`chatsync --project {clients.firestore.project}`"
            lines += wrapped(f"Commands go after {command}.", _width())
        # Not by rich, which would wrap a line anew.
        print("\n".join(lines).rstrip())
    if any(one.problems for one in found):
        return FINDINGS
    return FAILED if reader.stream_failure else IN_SYNC


def _width() -> int:
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))


def _lines_of(one: Explanation, is_unsure: bool, is_two: bool) -> list[str]:
    headline = wrapped(_headline(one, is_unsure, is_two), _width())
    return [*headline, "", *lines_of(one, _width()), ""]


def _headline(one: Explanation, is_unsure: bool, is_two: bool) -> str:
    count = len(one.problems)
    amount = f"{count} things are" if count > 1 else "1 thing is"
    seen = ", as far as it can be seen" if is_unsure else ""
    if is_two:
        is_barred = f" cannot chat: {amount} in the way." if count else f" can chat{seen}."
        return f"{one.title}{is_barred}"
    return f"{one.title}: {f'{amount} wrong' if count else f'nothing is wrong{seen}'}."


class _Reader:
    """Reads all sides. If Stream fails, it says why, and the others are read all the same."""

    def __init__(self, clients: Clients, personal: bool) -> None:
        self.clients, self.settings = clients, clients.settings
        self.now = datetime.now(UTC)
        self.stream_failure = ""
        self._personal = personal
        self._doubt = proof.doubt(clients, self.now)

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
        clients, nobody, unjudged = self.clients, list[str](), list[Finding]()
        members = nobody
        if state:
            members = self.ask(
                lambda: conversations.members_of(state, clients, self.deadline), nobody
            )
        findings = self.ask(lambda: judge_conversation(document, state, clients), unjudged)
        people = tuple(dict.fromkeys([*document.member_ids, *members, *document.left]))
        fields = reference_of(document.id, clients)
        outbox = outbox_entries.reference_of(Key("conversation", document.id), clients)
        whole = read_whole([fields, outbox], clients, self.deadline)
        shown = _without_secrets if self._personal else lambda value: value
        is_of_two = document.conversation_type == "direct" and len(people) == 2
        return ConversationRead(
            cid,
            document,
            shown(whole.get(fields.path, {})),
            shown(state),
            tuple(members),
            tuple(findings),
            self._exist(people),
            whole.get(outbox.path),
            self._pair(document.team, people) if is_of_two else None,
            conversations.is_left_out(document, self.settings),
            self.stream_failure,
            self._personal,
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


def _one(subject: str, reader: _Reader) -> list[Explanation]:
    """All that the subject may name, as far as it exists."""
    settings, now = reader.settings, reader.now
    if key := _explicit(subject):
        return [explain_person(reader.people([key])[key], settings, now)]
    if conversations.is_cid(subject):
        return [explain_conversation(reader.conversation(subject), settings)]
    found = [explain_person(one, settings, now) for one in _existing(subject, reader)]
    if ids.is_possible(Key("conversation", subject), settings.id_format):
        read = reader.conversation(subject)
        if read.document.status or read.state or read.outbox:
            found.append(explain_conversation(read, settings))
    if found:
        return found
    nobody = Key("user", subject)
    note = "no conversation and no channel has this id either"
    named = settings.key(subject)
    if named and named.id != subject and _is_known(known := reader.people([named])[named]):
        return [explain_person(replace(known, notes=("named by the Stream id",)), settings, now)]
    return [explain_person(replace(reader.people([nobody])[nobody], notes=(note,)), settings, now)]


def _explicit(subject: str) -> Key | None:
    """The key of ``company:ID`` or ``user:UID``."""
    kind, _, key_id = subject.partition(":")
    if key_id and kind == "company":
        return Key("company", key_id)
    return Key("user", key_id) if key_id and kind == "user" else None


def _existing(subject: str, reader: _Reader) -> list[PersonRead]:
    """The account and the company with this id; an account that is a company is one."""
    user, company = Key("user", subject), Key("company", subject)
    read = reader.people([user, company])
    known = {key: one for key, one in read.items() if _is_known(one)}
    other = read[company].observed if user in known and company in known else None
    if other and plan(other, Policy(reader.settings.config)).instead == user:
        note = "an account and a company have this id: both are one, the account"
        return [replace(read[user], notes=(note,))]
    return list(known.values())


def _is_known(read: PersonRead) -> bool:
    """Whether any side knows something of a user."""
    state = read.observed.state if read.observed else None
    fields = ("company",) if read.key.kind == "company" else ("user", "profile", "stats")
    has_documents = any(getattr(state, name, None) is not None for name in fields)
    is_other = read.key.kind == "user" and state is not None and state.company is not None
    in_stream = bool(read.observed and read.observed.stream_user) and not is_other
    return bool(read.has_account or has_documents or read.entry or read.outbox or in_stream)


def _two(subject: str, other: str, reader: _Reader) -> Explanation:
    people = [_person(name, reader) for name in (subject, other)]
    if people[0].key == people[1].key:
        raise Refused("These two are the same.")
    answers, problems, named = dict[str, str](), list[Problem](), ""
    for caller, called in (people, people[::-1]):
        if not caller.has_account:
            continue
        answer, document, problem = _answer_to(caller, called, reader)
        answers[caller.key.id] = answer
        named = named or (document.id if document and document.status else "")
        problems += [problem] if problem and problem not in problems else []
    if not answers:
        problems.append(Problem("no account", NO_CALLER))
    conversation = reader.conversation(named) if named else None
    if conversation and any(one.kind == "taken_channel" for one in conversation.findings):
        answers = {uid: one.replace(f"opens {named}", _NEW) for uid, one in answers.items()}
    return explain_two(people, answers, problems, conversation, reader.settings, reader.now)


def _person(name: str, reader: _Reader) -> PersonRead:
    key = _explicit(name)
    existing = [] if key else _existing(name, reader)
    existing.sort(key=lambda read: not read.has_account)
    if existing:
        return existing[0]
    key = key or Key("user", name)
    read = reader.people([key])[key]
    account = Key("user", key.id)
    planned = plan(read.observed, Policy(reader.settings.config)) if read.observed else None
    if planned and planned.exists and planned.instead == account:
        return reader.people([account])[account]  # a company that is an account
    return read


def _answer_to(
    caller: PersonRead, called: PersonRead, reader: _Reader
) -> tuple[str, conversations.Conversation | None, Problem | None]:
    """What createConversation would answer this caller, the conversation, and a problem that is of
    neither person alone."""
    try:
        document = would_open(caller.key, called.key, reader.clients, reader.deadline)
    except PermissionDenied as error:
        return f"refused: {error}", None, Problem("no team", NO_TEAM, str(error))
    except SettingInvalid as error:
        return f"fails: {error}", None, Problem("no key", NO_KEY, str(error))
    except (NotFound, FailedPrecondition, InvalidArgument) as error:
        return f"refused: {error}", None, None
    policy = Policy(reader.settings.config)
    for one in (caller, called):
        obstacle = plan(one.observed, policy).obstacle if one.observed else None
        if _is_missing(one, policy) and (one.outbox or {}).get("reason") == Parked.DELETED:
            obstacle = Refusal.DELETED
        if obstacle and (one is caller or obstacle != Refusal.BANNED):
            return f"refused: {one.key.id} is {obstacle}", document, None
    mine = caller.observed.stream_id if caller.observed else ""
    if away := [one for one in (*document.left, *document.leaving) if one != mine]:
        return f"refused: {', '.join(away)} has left", document, None
    missing = [one.key.id for one in (caller, called) if _is_missing(one, policy)]
    first = f"creates {' and '.join(missing)} in Stream, then " if missing else ""
    opens = f"opens {document.id}" if document.status else _NEW
    return f"{first}{opens}", document, None


def _is_missing(read: PersonRead, policy: Policy) -> bool:
    return bool(read.observed and plan(read.observed, policy).create)


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
