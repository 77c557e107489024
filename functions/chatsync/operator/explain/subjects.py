"""What a subject names, and what two people would be answered."""

from dataclasses import replace

from ... import conversations, ids
from ...conversations.create import would_open
from ...errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Refusal,
    SettingInvalid,
)
from ...ids import Key
from ...outcome import Parked
from ...plan import Policy, plan
from ..options import Refused
from ..sentences import NO_CALLER, NO_KEY, NO_TEAM
from .conversation import explain_conversation
from .explanation import Explanation, Problem
from .person import PersonRead, explain_person
from .reading import Reader
from .two import explain_two

_NEW = "opens a new one"


def explain_one(subject: str, reader: Reader) -> list[Explanation]:
    """All that the subject may name, as far as it exists."""
    settings = reader.settings
    if key := key_named(subject):
        return [explain_person(reader.people([key])[key], settings)]
    if conversations.is_cid(subject):
        return [explain_conversation(reader.conversation(subject), settings)]
    found = [explain_person(one, settings) for one in _existing(subject, reader)]
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
        return [explain_person(replace(known, notes=("named by the Stream id",)), settings)]
    return [explain_person(replace(reader.people([nobody])[nobody], notes=(note,)), settings)]


def key_named(name: str) -> Key | None:
    """The key of ``company:ID``, or ``user:UID`` as in findings; None of a uid alone."""
    kind, _, key_id = name.partition(":")
    if key_id and kind == "company":
        return Key("company", key_id)
    return Key("user", key_id) if key_id and kind == "user" else None


def _existing(subject: str, reader: Reader) -> list[PersonRead]:
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


def explain_pair(subject: str, other: str, reader: Reader) -> Explanation:
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
    return explain_two(people, answers, problems, conversation, reader.settings)


def _person(name: str, reader: Reader) -> PersonRead:
    key = key_named(name)
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
    caller: PersonRead, called: PersonRead, reader: Reader
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
