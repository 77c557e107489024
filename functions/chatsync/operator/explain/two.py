"""Why two people cannot chat, from what was read of both; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ... import users
from ...errors import Refusal
from ...settings import Settings
from ..sentences import DELETED, OBSTACLES
from .conversation import ConversationRead, explain_conversation, members_of, origin_of
from .explanation import (
    ABSENT,
    UNKNOWN,
    Explanation,
    Facts,
    Problem,
    Row,
    is_there,
    problems_as_json,
)
from .lines import plain
from .person import PersonRead, explain_person, sides


def explain_two(
    people: Sequence[PersonRead],
    answers: Mapping[str, str],
    refusals: Sequence[Problem],
    conversation: ConversationRead | None,
    settings: Settings,
) -> Explanation:
    """Why these two cannot chat.

    ``answers`` is what createConversation would answer, by the uid of the caller; ``refusals`` are
    the problems in it that neither has alone.
    """
    each = [explain_person(one, settings) for one in people]
    problems = [
        replace(problem, name=f"{plain(read.key.id)}: {problem.name}")
        for read, one in zip(people, each, strict=True)
        for problem in _obstacles(read, one, settings)
    ]
    problems += refusals
    facts: Facts = [(f"if {plain(uid)} calls", [answer]) for uid, answer in answers.items()]
    about = None
    if conversation is not None:
        about = explain_conversation(conversation, settings)
        problems += about.problems
        problems += [
            Problem(f"{plain(one)}: {Refusal.LEFT}", OBSTACLES[Refusal.LEFT])
            for one in conversation.document.left
        ]
        facts.append(("conversation", [conversation.document.id, origin_of(conversation)]))
        facts.append(("members", members_of(conversation)))
    columns = [_of_one(read, settings) for read in people]
    rows = [Row(name, tuple(one[name] for one in columns)) for name in columns[0]]
    data = {
        "what": "two",
        "people": [one.data for one in each],
        "conversation": about.data if about else None,
        "createConversation": dict(answers),
        "problems": problems_as_json(problems),
    }
    names = [plain(one.key.id) for one in people]
    return Explanation(" and ".join(names), problems, ("", *names), rows, facts, data)


def _obstacles(read: PersonRead, explanation: Explanation, settings: Settings) -> list[Problem]:
    """What keeps one of two from chatting: documents that lag behind don't."""
    if not read.has_account and read.key.id in settings.config.stream.service_users:
        return []
    harmless = ("missing_documents", "drifted_stream_user", "orphan_documents", "wrong_kind")
    problems = [one for one in explanation.problems if one.name not in harmless]
    observed = read.observed
    if observed and not problems and not users.exists(observed.key, observed.state):
        return [Problem("deleted account", DELETED)]
    account = observed.state.account if observed else None
    if account and account.disabled and Refusal.DISABLED not in [one.name for one in problems]:
        problems.append(Problem(Refusal.DISABLED, OBSTACLES[Refusal.DISABLED]))
    return problems


def _of_one(read: PersonRead, settings: Settings) -> dict[str, str]:
    """One of two, by the labels of the lines."""
    observed, waits = read.observed, str((read.outbox or {}).get("state", ABSENT))
    if observed is None:
        unknown = dict.fromkeys(("Stream id", "in Stream", "state", "teams"), ABSENT)
        return {"exists": is_there(read.has_account), **unknown, "outbox": waits}
    rows = {row.label: row.cells for row in sides(observed, settings, read.stream_failure)}
    states = [one for one in rows["state"] if one not in (ABSENT, UNKNOWN)]
    return {
        "exists": is_there(users.exists(observed.key, observed.state)),
        "Stream id": observed.stream_id,
        "in Stream": rows["exists"][2],
        "state": ", ".join(states) or ABSENT,
        "teams": ", ".join(users.teams_of(observed.state, settings.config)) or "none",
        "outbox": waits,
    }
