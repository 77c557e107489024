"""What is said of a user or company, from what was read of it; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ... import agreement, users
from ...audit.steps import judge, name_of
from ...errors import Refusal
from ...ids import Key
from ...outcome import Parked
from ...plan import Observed, Plan, Policy, plan
from ...settings import Settings
from ...users import Document, FirebaseState
from ..sentences import FINDINGS, NOT_FOUND, OBSTACLES, PARKED, WITHOUT_EVENT
from .explanation import (
    ABSENT,
    UNKNOWN,
    Explanation,
    Facts,
    Problem,
    Row,
    day,
    is_there,
    only,
    outbox_fact,
    problem_of_entry,
    problems_as_json,
    when,
)
from .lines import plain

SHOWN = ("name", "image", "role", "teams")
"""The fields of a Stream user whose values are shown; others are the app's own."""


@dataclass(frozen=True)
class PersonRead:
    """A user or company, as it was read on all sides."""

    key: Key
    observed: Observed | None
    """None if the id is impossible: then no document can have it."""

    has_account: bool
    read_at: datetime
    outbox: Document | None = None
    entry: Document | None = None
    """The document in ``stream_users``."""

    doubt: str = ""
    """Why no entry counts now."""

    stream_failure: str = ""
    personal: Mapping[str, Any] = field(default_factory=dict)
    """Documents, claims and the Stream user as a whole, if they were asked for."""

    notes: tuple[str, ...] = ()


def explain_person(read: PersonRead, settings: Settings) -> Explanation:
    """The three sides of a user or company, what is wrong, and what a repair would do."""
    title = f"{read.key.kind} {plain(read.key.id)}"
    problems = _problems_of(read, settings)
    facts: Facts = [("note", [one]) for one in read.notes]
    observed = read.observed
    if [one.name for one in problems] == ["not_found"]:
        return Explanation(title, problems, facts=facts, data=_data_of(read, None, problems))
    if observed is None:
        facts += [("account", ["exists" if read.has_account else "none"]), outbox_fact(read.outbox)]
        return Explanation(title, problems, facts=facts, data=_data_of(read, None, problems))
    planned = plan(observed, Policy(settings.config))
    facts += [
        ("Stream id", [observed.stream_id]),
        ("kind", [_kind(observed, settings)]),
        ("trust", [_trust(read, settings)]),
        outbox_fact(read.outbox),
        _history((read.entry or {}).get("history")),
        ("a repair", _repairs(planned, observed, settings)),
    ]
    if silent := _without_event(read, planned):
        facts.append(("perhaps", [f"Firebase sends no event for {' or for '.join(silent)}"]))
    heads = ("", "Auth", "documents", "Stream")
    rows = sides(observed, settings, read.stream_failure)
    if not planned.exists and not _is_left(observed):
        rows = []
    return Explanation(title, problems, heads, rows, facts, _data_of(read, planned, problems))


def _without_event(read: PersonRead, planned: Plan) -> list[str]:
    """What may have happened to an account of which nobody was told."""
    remembered = read.observed.state.remembered if read.observed else None
    if read.has_account:
        is_new = read.entry is None and planned.writes
        return [one for one in WITHOUT_EVENT if "deleted" not in one] if is_new else []
    is_left = read.observed is not None and _is_left(read.observed)
    if read.key.kind == "company" or not is_left or (remembered and remembered.deleted_at):
        return []
    return [one for one in WITHOUT_EVENT if "deleted" in one]


def _repairs(planned: Plan, observed: Observed, settings: Settings) -> list[str]:
    """What a repair would do, and why, by the plan that it would follow."""
    asked = _planned_by_hand(observed, settings)
    lines = _lines_of(planned, observed, settings)
    if asked != planned:
        lines.append("by itself nothing else: what was refused is not sent again until it changes")
        lines += [f"by `repair --apply`: {one}" for one in _lines_of(asked, observed, settings)]
    return lines


def _planned_by_hand(observed: Observed, settings: Settings) -> Plan:
    """As ``repair`` by a person plans it: refused values are tried again."""
    state = replace(observed.state, refused=frozenset())
    return plan(replace(observed, state=state), Policy(settings.config))


def _lines_of(planned: Plan, observed: Observed, settings: Settings) -> list[str]:
    state = observed.state
    if planned.instead:
        return [f"nothing here: {name_of(planned.instead)} is repaired in its place"]
    if not planned.exists:
        return ["nothing: there is no account, and nobody is brought back"]
    lines = []
    if planned.entry:
        kind = users.kind_of(observed.key, state, settings.config)
        lines.append(f"note that the account is a {_WORD_OF[kind]}, since nothing says it yet")
    if planned.documents:
        if lacking := list(map(settings.collection_of, users.lacking(state, settings.config))):
            lines.append(f"create {', '.join(lacking)}, since the account lacks them")
        if update := users.profile_update(state, settings.config):
            names = ", ".join(name for name in update if not name.startswith("mirrored"))
            lines.append(f"update {names} in the profile, whose owner did not edit it")
    if planned.create:
        names = ", ".join(name for name in planned.create if name != "id")
        lines.append(f"create {observed.stream_id} in Stream with {names}, since it is missing")
    if planned.patch:
        if to_set := ", ".join(planned.patch["set"]):
            lines.append(f"set {to_set} in Stream, since Firebase states something else")
        if to_unset := ", ".join(planned.patch["unset"]):
            lines.append(f"unset {to_unset} in Stream, since Firebase says null")
    if not observed.stream_is_known:
        lines.append("in Stream: unknown")
    if planned.obstacle == Refusal.REJECTED:
        return lines
    if planned.obstacle:
        lines.append(f"leave this: {OBSTACLES[planned.obstacle].why}")
    return lines or ["nothing: the sides agree"]


def _trust(read: PersonRead, settings: Settings) -> str:
    """Whether tokens and conversations ask Stream about the user, and why."""
    observed = read.observed
    remembered = observed.state.remembered if observed else None
    if observed is None or remembered is None:
        return "not trusted: no repair has ended in agreement yet"
    if remembered.deleted_at and not read.has_account:
        expires = (read.entry or {}).get("chatsyncExpireAt")
        until = f"until {when(expires)}" if expires else "while Stream has the user"
        return f"the account was deleted {when(remembered.deleted_at)}; this is kept {until}"
    if remembered.verified_at is None:
        withdrawn = (read.entry or {}).get("invalidatedAt")
        if isinstance(withdrawn, datetime):
            return f"not trusted: withdrawn {when(withdrawn)}; nobody saw agreement since"
        return "not trusted: nobody saw agreement yet"
    seen, config = f"seen in agreement {when(remembered.verified_at)}", settings.config
    if not agreement.is_fresh(observed.state, config, read.read_at):
        return f"not trusted: {seen}, which counts for {config.stream.trust_hours:g} hours"
    stated = (observed.key, observed.stream_id, observed.state, config, read.read_at)
    if observed.key.kind == "user" and not agreement.still_agrees(*stated):
        return f"not trusted: {seen}, and Firebase states something else since"
    return f"not trusted: {seen}, but {read.doubt}" if read.doubt else f"trusted: {seen}"


_WORD_OF = {"user": "person", "company": "company", None: "person or a company"}


def _kind(observed: Observed, settings: Settings) -> str:
    if observed.key.kind == "company":
        return "a company"
    kind = users.kind_of(observed.key, observed.state, settings.config)
    if kind is None:
        return "not decided: neither a person nor a company yet"
    if observed.state.account is None:
        return f"of a {_WORD_OF[kind]}, whose account is gone"
    noted = "" if observed.kind_is_recorded else ", which is not noted yet"
    return f"an account that is a {_WORD_OF[kind]}{noted}"


def _problems_of(read: PersonRead, settings: Settings) -> list[Problem]:
    """The gravest first: what the nightly audit corrects comes last."""
    observed, problems = read.observed, list[Problem]()
    if observed is not None:
        if obstacle := _planned_by_hand(observed, settings).obstacle:
            problems.append(Problem(obstacle, OBSTACLES[obstacle]))
        problems += problem_of_entry(read.outbox)
        remembered = observed.state.remembered
        was_deleted = bool(remembered and remembered.deleted_at and not read.has_account)
        for kind, _, _, detail, _ in judge(observed, settings):
            if kind != "not_found":
                problems.append(Problem(kind, FINDINGS[kind], detail))
            elif not _is_other(observed) and not was_deleted and not _is_left(observed):
                problems.append(Problem(kind, NOT_FOUND))
    elif read.outbox:
        problems += problem_of_entry(read.outbox)
    elif read.has_account:
        problems.append(Problem(Parked.INVALID_ID, PARKED[Parked.INVALID_ID]))
    else:
        problems.append(Problem("not_found", NOT_FOUND))
    return [replace(one, sentence=one.sentence.of_user(read.key)) for one in problems]


def _is_other(observed: Observed) -> bool:
    """Whether the id names somebody of the other kind, who is repaired in its place."""
    state = observed.state
    return state.company is not None or (observed.key.kind == "company" and bool(state.account))


def _is_left(observed: Observed) -> bool:
    """Whether something is left of an account: then that is what is wrong."""
    state = observed.state
    return bool(observed.stream_user) or (state.user, state.profile, state.stats) != (None,) * 3


def _history(history: object) -> tuple[str, Sequence[str]]:
    changes = [one for one in history if isinstance(one, dict)] if isinstance(history, list) else []
    lines = []
    for one in changes:
        names = ", ".join(map(str, one.get("fields") or ()))
        did = f"{one.get('did')} {names}".rstrip()
        lines.append(f"{when(one.get('at'))}  {did}, by {one.get('by')}")
    return "history", lines or ["none"]


def sides(observed: Observed, settings: Settings, failure: str) -> list[Row]:
    """What each side says of each field, and where Stream differs."""
    state, config, in_stream = observed.state, settings.config, observed.stream_user or {}
    is_company = observed.key.kind == "company"
    account = None if is_company else state.account
    missing = UNKNOWN if failure else ABSENT
    stated = [FirebaseState(account=account), replace(state, account=None)]
    sides = [users.owned_fields(one, config) for one in stated]
    patch = _planned_by_hand(observed, settings).patch or {}
    differing = {*patch.get("set", ()), *patch.get("unset", ())}

    def row(name: str) -> Row:
        is_shown = name in SHOWN

        def cell(side: Mapping[str, Any]) -> str:
            return (_shown(side[name]) if is_shown else "stated") if name in side else ABSENT

        there = cell(in_stream) if in_stream else missing
        return Row(name, (*map(cell, sides), there), name in differing)

    in_auth = ABSENT if is_company else is_there(account)
    exist = (in_auth, _documents(observed), is_there(in_stream, failure))
    # Accounts of custom tokens have no provider either.
    words = ["disabled"] if account and account.disabled else []
    words += ["no provider"] if account and account.anonymous else []
    told = {"deactivated": "deactivated_at", "banned": "banned"}
    there = ", ".join(word for word, name in told.items() if in_stream.get(name))
    times = (
        account.created_at if account else None,
        (state.user or {}).get("createdAt"),
        in_stream.get("created_at"),
    )
    return [
        Row("exists", exist),
        *map(row, dict.fromkeys((*SHOWN, *config.users.stream_fields))),
        Row("state", (", ".join(words) or ABSENT, ABSENT, there or missing)),
        Row("made on", tuple(map(day, times))),
    ]


def _documents(observed: Observed) -> str:
    state = observed.state
    if observed.key.kind == "company":
        return "yes" if state.company is not None else "no"
    fields = {"user": state.user, "profile": state.profile, "stats": state.stats}
    lacking = [name for name, document in fields.items() if document is None]
    return {0: "all three", 3: "none"}.get(len(lacking), f"no {', no '.join(lacking)}")


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


_OF_STREAM_USER = (
    *("id", *SHOWN, "banned", "deactivated_at"),
    *("created_at", "updated_at", "last_active", "revoke_tokens_issued_before"),
)


def _data_of(read: PersonRead, planned: Plan | None, problems: Sequence[Problem]) -> dict[str, Any]:
    """Everything that was read; what is personal only if it was asked for."""
    observed = read.observed
    state = observed.state if observed else FirebaseState()
    account, patch = state.account, planned.patch if planned and planned.patch else {}
    fields = ("user", "profile", "stats", "company")
    return {
        "what": read.key.kind,
        "id": read.key.id,
        "streamUserId": observed.stream_id if observed else None,
        "kind": state.kind,
        "hasAccount": read.has_account,
        "account": account
        and {
            "createdAt": account.created_at,
            "displayName": account.display_name,
            "photoURL": account.photo_url,
            "disabled": account.disabled,
            "anonymous": account.anonymous,
        },
        "documents": {name: getattr(state, name) is not None for name in fields},
        "streamIsKnown": not read.stream_failure,
        "streamUser": only(_OF_STREAM_USER, observed.stream_user if observed else None),
        "entry": read.entry,
        "outbox": read.outbox,
        "plan": planned
        and {
            "exists": planned.exists,
            "instead": name_of(planned.instead) if planned.instead else None,
            "documents": planned.documents,
            "create": [*(planned.create or ())],
            "set": [*patch.get("set", ())],
            "unset": [*patch.get("unset", ())],
            "obstacle": planned.obstacle,
        },
        "problems": problems_as_json(problems),
        "personal": dict(read.personal) or None,
    }
