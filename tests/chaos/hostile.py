"""A tenth of the population poisons, floods, squats and scrapes, while the others live.

Their documents are written past the rules, as by an app with weaker ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from stream_chat import StreamChat

from dev import emulators
from stream_server.credentials import API_KEY, API_SECRET

from .cloud import Platform
from .people import Firebase, Person

_CALLS_AT_ONCE = 15

# All in one document stay below the 1,048,576 bytes that Firestore allows.
_POISON: tuple[dict[str, Any], ...] = (
    {"displayName": "x" * 600_000},
    {"displayName": "\u202egnp.exe\x00\x07"},
    {"displayName": {"first": "Eve"}},
    {"displayName": ["Eve"] * 1_000},
    {"displayName": 7, "photoURL": False},
    {"photoURL": "javascript:alert(1)"},
    {"photoURL": "https://pictures.example.com/" + "x" * 5_000},
    {"chat": "admin"},
    {"chat": {"role": 5, "teams": "all"}},
    {"chat": {"role": "no-such-role", "teams": ["x" * 200] * 300}},
    {"createdAt": "long ago", "displayName": ""},
    {"history": ["x" * 1_000] * 300, "fingerprint": "x", "verifiedAt": "soon"},
)

_SECRETS = ("repairs", "stream_users", "budgets", "pairs", "chatsync", "audits", "counted_messages")
_LISTS = ("users", "user_profiles", "user_stats", "companies", "conversations", *_SECRETS)

_FLOODED = ("ensureStreamUser", "getStreamUserToken", "revokeStreamUserTokens")


class Hostile:
    """What hostile accounts do, and what they are answered."""

    def __init__(self, platform: Platform, firebase: Firebase, random: Random) -> None:
        self.platform, self.firebase, self.random = platform, firebase, random
        self.people: list[Person] = []
        self.operations: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.violations: list[str] = []
        self._chat = StreamChat(API_KEY, API_SECRET, base_url=emulators.STREAM_BASE_URL)

    @property
    def uids(self) -> set[str]:
        return {person.uid for person in self.people}

    async def act(self, honest: Sequence[Person]) -> None:
        """One hostile deed; ``honest`` are the living others."""
        if len(self.people) < 3 or self.random.random() < 0.2:
            await self._sign_up()
            return
        person = self.random.choice(self.people)
        deed = self.random.choice((self._poison, self._flood, self._scrape))
        self.operations[deed.__name__.strip("_")] += 1
        await deed(person)
        if len(honest) >= 2:
            self.operations["squat"] += 1
            await self._squat(person, self.random.sample(list(honest), 2))

    async def _sign_up(self) -> None:
        """Every second one anonymously."""
        is_anonymous = self.random.random() < 0.5
        email = None if is_anonymous else f"hostile-{self.random.getrandbits(48):x}@example.com"
        person = await self.firebase.sign_up(email, None if is_anonymous else "Eve", None)
        self.people.append(person)
        self.platform.auth_event("created", person.record())

    async def _poison(self, person: Person) -> None:
        await self.firebase.write_user(person.uid, self.random.choice(_POISON))

    async def _flood(self, person: Person) -> None:
        """One callable many times at once, about people who don't exist and oneself."""
        function = self.random.choice((*_FLOODED, "createConversation"))
        calls = [self._call(function, self._asked(function), person) for _ in range(_CALLS_AT_ONCE)]
        await asyncio.gather(*calls)

    def _asked(self, function: str) -> dict[str, Any]:
        nobody = [f"nobody-{self.random.getrandbits(64):x}" for _ in range(50)]
        match function:
            case "ensureStreamUser":
                return {"userIds": nobody if self.random.random() < 0.5 else nobody[:1]}
            case "createConversation":
                others = [one.uid for one in self.people]
                return {"participantIds": others[:20], "conversationType": "group", "name": "x"}
        return {}

    async def _call(self, function: str, data: object, person: Person) -> None:
        answer = await self.platform.call(function, data, person.id_token)
        try:
            body = json.loads(answer.body)
            error = body.get("error")
            status = error["status"] if error else "OK"
            reason = ((error or {}).get("details") or {}).get("reason")
        except (ValueError, KeyError, AttributeError):
            status, reason = f"HTTP {answer.status} {answer.failure}", None
            self.violations.append(f"{function} of a hostile account answered {status}")
        if status == "INTERNAL":
            self.violations.append(f"{function} of a hostile account answered {body}")
        self.answers[f"{function}: {status}" + (f", {reason}" if reason else "")] += 1

    async def _scrape(self, person: Person) -> None:
        """List what others own, with an ID token."""
        collection = self.random.choice(_LISTS)
        root = f"{emulators.url('firestore')}/v1/projects/{emulators.PROJECT}/databases/(default)"
        headers = {"Authorization": f"Bearer {person.id_token}"}
        url = f"{root}/documents/{collection}?pageSize=100"
        async with self.firebase.session.get(url, headers=headers) as response:
            self.answers[f"list of {collection}: HTTP {response.status}"] += 1
            if response.status == 200:
                self.violations.append(f"a hostile account listed {collection}")

    async def _squat(self, person: Person, pair: Sequence[Person]) -> None:
        """Make the channel of two others first, under the id that anybody can compute."""
        keys = sorted(["user", one.uid] for one in pair)
        text = json.dumps(["direct", None, keys])
        channel_id = hashlib.sha256(text.encode()).hexdigest()[:32]
        members = [one.uid for one in pair] + [person.uid] * (self.random.random() < 0.5)

        def make() -> None:
            # Stream fails now and then, with answers of every kind, and may not know one of them.
            with contextlib.suppress(Exception):
                channel = self._chat.channel("messaging", channel_id, {"members": members})
                channel.create(person.uid)

        await asyncio.to_thread(make)


def share_of_limits(
    calls: Sequence[dict[str, Any]], uids: set[str], limits: dict[str, int], windows: float
) -> list[tuple[str, str]]:
    """Of each of Stream's limits, how much went to calls about hostile accounts and nobody."""

    def is_hostile(ids: Sequence[str]) -> bool:
        return bool(ids) and all(one in uids or one.startswith("nobody-") for one in ids)

    used = Counter(call["operation"] for call in calls if is_hostile(call["ids"]))
    return [
        (name, f"{count:>7}  ({count / (limits[name] * windows):.1%} of {windows:.1f} windows)")
        for name, count in sorted(used.items())
        if limits.get(name)
    ]
