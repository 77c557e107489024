"""The operations of a run: a seeded random mix of what people, apps and backends do."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from .cloud import Platform
from .hostile import Hostile
from .people import Firebase, Person

CALLABLE_SECONDS = 60.0
"""The functions' own timeout; no client should wait for longer."""

WITHOUT_PROFILE = "no profile yet"

_FIRST = ("Ann", "Bob", "Çelik", "Dörte", "Eun-ji", "Fatou", "Иван", "李娜", "عمر", "Zoë 🎉")
_ROLES = ("user", "admin", "moderator", "guest")
_TEAMS = ("gym-1", "gym-2", "studio 3", "größe")

Operation = Callable[[], Awaitable[None]]

# Documented for callables, less what no operation here should meet.
_EXPECTED_CODES = {"ok", "not-found", "resource-exhausted", "unavailable"}


@dataclass
class Driver:
    """Does the operations, and remembers what they mean for the end."""

    platform: Platform
    firebase: Firebase
    random: Random
    people: dict[str, Person] = field(default_factory=dict)
    departed: list[Person] = field(default_factory=list)
    """Those whose accounts were deleted, in that order; some have returned."""
    operations: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By function and code; "ok" for a result."""
    seconds: list[float] = field(default_factory=list)
    """How long callables took, without the wait for an instance."""
    queued: int = 0
    """Answers that said that a repair is queued."""
    violations: list[str] = field(default_factory=list)
    emails: int = 0
    chats: dict[str, frozenset[str]] = field(default_factory=dict)
    """The two people of each direct conversation that was opened, by cid. Who leaves with their
    account has left it, also if they come back: Stream takes the deleted out of their channels."""

    hostile: Hostile = field(init=False)

    def __post_init__(self) -> None:
        self.hostile = Hostile(self.platform, self.firebase, Random(self.random.random()))

    def mix(self, count: int) -> list[Operation]:
        """``count`` operations in the order in which they begin."""
        weights: dict[Operation, int] = {
            self.sign_up: 30,
            self.sign_up_and_leave: 6,
            self.write_user_document: 15,
            self.edit_profile: 12,
            self.give_role_and_teams: 8,
            self.change_again_and_again: 3,
            self.delete_account: 5,
            self.import_accounts: 3,
            self.return_by_import: 2,
            self.ensure_self: 3,
            self.ensure_other: 9,
            self.ensure_many: 2,
            self.get_token: 10,
            self.get_profile: 2,
            self.get_stats: 2,
            self.open_chat: 6,
            self.hostile_deed: 13,  # a tenth
        }
        chosen = self.random.choices(list(weights), list(weights.values()), k=count)
        # Nobody can be changed before somebody signed up.
        return [*[self.sign_up] * min(10, count), *chosen[10:]]

    # Accounts

    async def sign_up(self) -> None:
        self.operations["sign-up"] += 1
        await self._sign_up(delay=0.0)

    async def _sign_up(self, delay: float) -> Person:
        email = self._email() if self.random.random() < 0.95 else None
        name = self._name() if email and self.random.random() < 0.8 else None
        picture = self._picture() if name and self.random.random() < 0.3 else None
        person = await self.firebase.sign_up(email, name, picture)
        self.people[person.uid] = person
        self.platform.auth_event("created", person.record(), delay)
        if self.random.random() < 0.3:
            # As apps do: right after the sign-up, and perhaps before any event function.
            await self._write(person, {"displayName": self._name()})
        return person

    async def sign_up_and_leave(self) -> None:
        """Deleted at once, often before the event of the sign-up is delivered."""
        self.operations["sign-up, deleted at once"] += 1
        person = await self._sign_up(delay=self.random.choice((0.0, 0.0, 2.0, 5.0)))
        await asyncio.sleep(self.random.choice((0.0, 0.05, 0.1, 0.5)))
        async with person.lock:
            if person.is_alive:  # or somebody else was faster
                await self._delete(person)

    async def delete_account(self, person: Person | None = None) -> None:
        self.operations["deletion"] += 1
        if person := person or self._living():
            async with person.lock:
                if person.is_alive:
                    await self._delete(person)

    async def _delete(self, person: Person) -> None:
        await self.firebase.delete(person)
        person.is_alive = False
        self.departed.append(person)
        self.chats = {cid: two for cid, two in self.chats.items() if person.uid not in two}
        self.platform.auth_event("deleted", person.record())

    async def import_accounts(self) -> None:
        """By an operator: no event, so somebody has to ask for them."""
        self.operations["import"] += 1
        people = [
            Person(f"legacy-{self.random.getrandbits(48):x}", None, self._name(), is_promised=False)
            for _ in range(self.random.randint(1, 5))
        ]
        await self.firebase.import_people(people)
        self.people |= {person.uid: person for person in people}
        for person in people:
            await self._ensure(person.uid)

    async def return_by_import(self) -> None:
        """A deleted account comes back under its uid, and the next chat asks for it.

        Often while its deletion is still under way.
        """
        self.operations["return of a deleted account"] += 1
        departed = [one for one in self.departed if not one.is_alive and one.display_name]
        if not departed:
            return
        person = self.random.choice((departed[-1], self.random.choice(departed)))
        async with person.lock:
            if person.is_alive:
                return
            await self.firebase.import_people([person])
            person.stated, person.edited = {}, {}
            person.is_alive = person.has_returned = True
            person.is_promised = False
            await self._ensure(person.uid)

    # Documents

    async def change_again_and_again(self) -> None:
        """One person's documents change faster than they are repaired, and then they may leave."""
        if person := self._living(editable=True):
            changes = (self.write_user_document, self.edit_profile, self.give_role_and_teams)
            for _ in range(self.random.randint(3, 6)):
                await self.random.choice(changes)(person)
                await asyncio.sleep(self.random.choice((0.0, 0.05, 0.5)))
            if self.random.random() < 0.2:
                await self.delete_account(person)

    async def write_user_document(self, person: Person | None = None) -> None:
        self.operations["change of users/{uid}"] += 1
        if person := person or self._living(editable=True):
            fields: dict[str, Any] = {}
            if self.random.random() < 0.8:
                fields["displayName"] = self._name()
            if not fields or self.random.random() < 0.4:
                has_none = self.random.random() < 0.2
                fields["photoURL"] = None if has_none else self._picture()
            await self._write(person, fields)

    async def give_role_and_teams(self, person: Person | None = None) -> None:
        """By the app's backend."""
        self.operations["change of role or teams"] += 1
        if person := person or self._living(editable=True):
            chat: dict[str, Any] = {}
            if self.random.random() < 0.6:
                chat["role"] = self.random.choice((*_ROLES, None))
            if not chat or self.random.random() < 0.6:
                chat["teams"] = self.random.sample(_TEAMS, self.random.randint(0, len(_TEAMS)))
            await self._write(person, {"chat": chat})

    async def _write(self, person: Person, fields: dict[str, Any]) -> None:
        async with person.lock:
            if not person.is_alive:
                return
            await self.firebase.write_user(person.uid, fields)
            person.stated |= fields.get("chat", fields)
            person.is_promised = True

    async def edit_profile(self, person: Person | None = None) -> None:
        self.operations["change of user_profiles/{uid}"] += 1
        if person := person or self._living(editable=True):
            async with person.lock:
                if not person.is_alive:
                    return
                fields: dict[str, Any] = {}
                if self.random.random() < 0.7:
                    fields["displayName"] = self._name()
                if not fields or self.random.random() < 0.4:
                    fields["photoURL"] = self._picture()
                if await self.firebase.edit_profile(person.uid, fields):
                    person.edited |= fields
                    person.is_promised = True
                else:
                    self.answers["edit of a profile", WITHOUT_PROFILE] += 1

    # Callables

    async def ensure_self(self) -> None:
        self.operations["ensureStreamUser, oneself"] += 1
        if person := self._caller():
            await self._ensure(person.uid, person)

    async def ensure_other(self) -> None:
        """Mostly somebody of whom it isn't known that they are in Stream."""
        self.operations["ensureStreamUser, another"] += 1
        unpromised = [one for one in self.people.values() if not one.is_promised and one.is_alive]
        others = unpromised if unpromised and self.random.random() < 0.5 else self.people.values()
        await self._ensure(self.random.choice(list(others)).uid)

    async def ensure_many(self) -> None:
        self.operations["ensureStreamUser, many"] += 1
        uids = self.random.sample(
            list(self.people), min(len(self.people), self.random.randint(2, 30))
        )
        result = await self._call("ensureStreamUser", {"userIds": uids}, self._caller(), uids)
        for one in result.get("results", []):
            error = one.get("error")
            self._note_ensured(one["userId"], error)
            if error:
                self._check_error("ensureStreamUser", error["code"], error, [one["userId"]])

    async def _ensure(self, uid: str, caller: Person | None = None) -> None:
        result = await self._call(
            "ensureStreamUser", {"userId": uid}, caller or self._caller(), [uid]
        )
        self._note_ensured(uid, result.get("error"))

    def _note_ensured(self, uid: str, error: dict[str, Any] | None) -> None:
        details = (error or {}).get("details") or {}
        if error is None or details.get("repairQueued"):
            self.people[uid].is_promised = True

    async def get_token(self) -> None:
        self.operations["getStreamUserToken"] += 1
        if person := self._caller(even_deleted=True):
            was_alive = person.is_alive
            result = await self._call("getStreamUserToken", {}, person, [person.uid])
            if "token" in result and not was_alive and not person.is_alive:
                self.violations.append(f"a token was issued to {person.uid}, who was deleted")

    async def open_chat(self) -> None:
        self.operations["createConversation"] += 1
        caller, other = self._caller(), self._living()
        if not caller or not other or caller is other:
            return
        asked = {"participantIds": [other.uid]}
        concerned, departed = [caller.uid, other.uid], len(self.departed)
        result = await self._call("createConversation", asked, caller, concerned)
        gone = {one.uid for one in self.departed[departed:]}
        if "cid" in result and not gone & {*concerned}:
            self.chats[result["cid"]] = frozenset(concerned)

    async def hostile_deed(self) -> None:
        self.operations["by a hostile account"] += 1
        honest = [one for one in self.people.values() if one.is_alive and one.id_token]
        await self.hostile.act(honest)

    async def get_profile(self) -> None:
        self.operations["ensureUserProfile"] += 1
        if person := self._caller():
            await self._call("ensureUserProfile", {}, person, [person.uid])

    async def get_stats(self) -> None:
        self.operations["getUserStats"] += 1
        uid = self.random.choice(list(self.people))
        await self._call("getUserStats", {"userId": uid}, self._caller(), [uid])

    async def _call(
        self, function: str, data: object, caller: Person | None, concerned: list[str]
    ) -> dict[str, Any]:
        """The result, or ``{"error": ...}``; whatever is against the contract is noted."""
        if caller is None:
            return {"error": {}}
        answer = await self.platform.call(function, data, caller.id_token)
        self.seconds.append(answer.seconds - answer.waited)
        if answer.seconds - answer.waited > CALLABLE_SECONDS or answer.status is None:
            self.answers[function, answer.failure or "late"] += 1
            self.violations.append(
                f"{function} gave no answer: {answer.failure} after {answer.seconds:.1f} s"
            )
            return {"error": {}}
        try:
            body = json.loads(answer.body)
            error = body.get("error")
            code = error["status"].lower().replace("_", "-") if error else "ok"
        except (ValueError, KeyError, AttributeError):
            self.answers[function, f"HTTP {answer.status}"] += 1
            self.violations.append(f"{function} answered HTTP {answer.status}: {answer.body!r}")
            return {"error": {}}
        self.answers[function, code] += 1
        if error:
            self._check_error(function, code, error, concerned)
            return {"error": error}
        result: dict[str, Any] = body["result"]
        return result

    def _check_error(
        self, function: str, code: str, error: dict[str, Any], concerned: list[str]
    ) -> None:
        details = error.get("details") or {}
        self.queued += bool(details.get("repairQueued"))
        # Statistics of somebody with teams are told to those who share one.
        # A conversation is of the team that its members share.
        of_teams = function in ("getUserStats", "createConversation")
        is_tenant = of_teams and code == "permission-denied"
        if details.get("reason") == "budget":
            self.violations.append(f"{function} refused an honest account for its budget")
        # An account that comes back is signed in anew: its ID tokens are from before.
        asking = self.people.get(concerned[0])
        is_outdated = code == "unauthenticated" and bool(asking and asking.has_returned)
        if code not in _EXPECTED_CODES and not is_tenant and not is_outdated:
            self.violations.append(f"{function} of {concerned} answered {error}")
        people = [self.people[uid] for uid in details.get("userIds", []) if uid in self.people]
        ever_deleted = [one for one in people if not one.is_alive or one.has_returned]
        if code == "not-found" and not ever_deleted:
            self.violations.append(f"{function} found no {concerned}, who exists")

    # Choices

    def _living(self, editable: bool = False) -> Person | None:
        """Somebody who is there; editable is who has not returned, being twice the same person."""
        living = [
            one
            for one in self.people.values()
            if one.is_alive and not (editable and (one.has_returned or not one.id_token))
        ]
        return self.random.choice(living) if living else None

    def _caller(self, even_deleted: bool = False) -> Person | None:
        callers = [
            one for one in self.people.values() if one.id_token and (one.is_alive or even_deleted)
        ]
        return self.random.choice(callers) if callers else None

    def _name(self) -> str:
        return f"{self.random.choice(_FIRST)} {self.random.getrandbits(32):08x}"

    def _picture(self) -> str:
        return f"https://pictures.example.com/{self.random.getrandbits(32):08x}.png"

    def _email(self) -> str:
        self.emails += 1
        return f"person-{self.emails}@example.com"
