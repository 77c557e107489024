"""Stop before an audit or backfill does to very many users what a wrong setting makes it do."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import NamedTuple

from ..clients import Clients
from ..clients.accounts import existing_keys
from ..clients.documents import temporary_failures_named, until
from ..errors import Unsafe
from ..settings import Settings
from ..side_by_side import BATCH
from .steps import DELETED, KINDS_OF_USERS, Finding, subject

LEAST_AFFECTED = 20
"""Fewer findings, or fewer Stream users, than these prove nothing."""

LEAST_SHARE_OF_OURS = 1 / 20
"""Of Stream's users. With a wrong ``stream.user_id`` nearly none belongs to an account."""

DOCUMENTS_OF_A_USER = 3
"""At most, each a finding of its own if its account is gone."""

SAMPLED_AFTER = ("", "A", "M", "a", "m")
"""Ids in Stream, after each of which a hundred users are looked at."""

SAMPLE_SECONDS = 30.0


class Sample(NamedTuple):
    """Some users of Stream, without service users and deactivated ones, whom the policy
    ``deactivate`` leaves, and without those who came after the first deployment: chatsync itself
    made them."""

    users: int
    ours: int
    """Those of an account or a company."""

    example: str = ""
    """The id of one who is nobody's."""

    @property
    def told(self) -> str:
        counted = f"of {self.users} users in Stream, {self.ours} belong to an account or company"
        return f"{counted}, and {self.example} does not" if self.example else counted

    @property
    def doubt(self) -> str:
        """Why the format of ids is doubtful; empty if it is not."""
        is_credible = self.users < LEAST_AFFECTED or self.ours >= LEAST_SHARE_OF_OURS * self.users
        return "" if is_credible else self.told


def sample(clients: Clients) -> Sample:
    """Look at users of Stream until they show that ids are made as ``[stream]`` says, five hundred
    at most. Raises what Stream, Auth and Firestore raise."""
    settings, deadline = clients.settings, time.monotonic() + SAMPLE_SECONDS
    nobodys, ours = set[str](), set[str]()
    deployed_at = _deployed_at(clients, deadline)
    for after in SAMPLED_AFTER:
        listed = clients.stream.list_users(after, deadline)
        people = {
            user["id"]
            for user in listed
            if not user.get("deactivated_at") and str(user["created_at"]) < deployed_at
        }
        people -= {*settings.config.stream.service_users}
        keys = {one: key for one in people if (key := settings.key(one))}
        existing = existing_keys(list(keys.values()), clients, deadline)
        ours |= {one for one, key in keys.items() if key in existing}
        nobodys |= people - ours
        found = Sample(len(nobodys | ours), len(ours), min(nobodys, default=""))
        is_all = after == "" and len(listed) < BATCH
        if is_all or (found.users >= LEAST_AFFECTED and not found.doubt):
            break
    return found


def _deployed_at(clients: Clients, deadline: float) -> str:
    """The time of the first deployment as Stream writes times, else one that never comes."""
    with temporary_failures_named():
        snapshot = clients.firestore.document("chatsync", "setup").get(**until(deadline))
    created = snapshot.create_time
    return created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if created else "9999"


def refuse_wrong_ids(clients: Clients) -> None:
    """Raise Unsafe if a repair would give everybody a second Stream user."""
    if not clients.settings.config.safety.check_ids:
        return
    if doubt := sample(clients).doubt:
        stream = clients.settings.config.stream
        raise Unsafe(
            f"{doubt}. Everybody would get a second Stream user if that is not how the app makes"
            f" Stream ids: is stream.user_id = {stream.user_id!r} in chatsync.toml right, and are"
            " bots in stream.service_users"
        )


def refuse_too_many(
    findings: Sequence[Finding], counts: Mapping[str, Mapping[str, int]], settings: Settings
) -> None:
    """Raise Unsafe if these findings of an audit, of which ``counts`` tells, are more of a kind
    than ``[safety] max_percent`` lets be removed or closed. An audit counts more than it saves."""
    most = settings.config.safety.max_percent
    subjects = Counter(kind for kind, _ in {(one.kind, subject(one, settings)) for one in findings})
    for kind in subjects:
        section = "users" if kind in KINDS_OF_USERS else "channels"
        counted = counts.get(section, {}).get(kind, 0)
        per_subject = DOCUMENTS_OF_A_USER if kind in DELETED else 1
        affected = max(subjects[kind], counted // per_subject)
        records = counts.get(section, {}).get("records", 0)
        # Channels that would be closed are records; users who would be removed are nobody's.
        seen = records + (affected if section == "users" else 0)
        if affected >= LEAST_AFFECTED and affected > most / 100 * seen:
            raise Unsafe(
                f"{affected} of {seen} {section} are {kind}, and [safety] max_percent lets"
                f" only {most:g} % be removed or closed at once. Are chatsync.toml and the project"
                " right"
            )
