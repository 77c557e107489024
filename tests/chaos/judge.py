"""Whether everybody is where they belong, read from Auth, Firestore and Stream themselves.

Expectations are made here, from what the driver did last and from what is stored; not by the code
under test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
from stream_chat import StreamChat

from dev import emulators
from stream_server.credentials import API_KEY, API_SECRET

from .people import Firebase, Person

_COLLECTIONS = ("users", "user_profiles", "user_stats")
_NOTHING = object()


@dataclass
class Verdict:
    """``problems`` by uid: every one is somebody who is lost."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    parked: list[dict[str, Any]] = field(default_factory=list)
    waiting: int = 0
    living: int = 0
    deleted: int = 0
    not_promised: int = 0
    """Imported accounts for whom no call succeeded; they may be missing in Stream."""

    def add(self, uid: str, problem: str) -> None:
        self.problems.setdefault(uid, []).append(problem)


async def judge(
    firebase: Firebase,
    people: dict[str, Person],
    chats: Mapping[str, frozenset[str]],
    hostile: Collection[str],
) -> Verdict:
    """``hostile`` accounts get what they deserve; nobody else may be lost."""
    accounts = await firebase.accounts()
    documents = {name: await firebase.all_documents(name) for name in _COLLECTIONS}
    repairs = await firebase.all_documents("repairs")
    stream_users = await asyncio.to_thread(_stream_users)

    verdict = Verdict(
        parked=[entry for entry in repairs.values() if entry.get("state") == "parked"],
        waiting=sum(entry.get("state") != "parked" for entry in repairs.values()),
        living=sum(person.is_alive for person in people.values()),
        deleted=sum(not person.is_alive for person in people.values()),
    )
    for uid in accounts.keys() - people.keys() - set(hostile):
        verdict.add(uid, "has an account that nobody made")
    for uid, person in people.items():
        in_auth = accounts.get(uid)
        if in_auth and (in_auth.display_name, in_auth.photo_url) != _in_auth(person):
            verdict.add(uid, f"is not in Auth as expected: {in_auth.display_name}")
        if person.is_alive != (uid in accounts):
            verdict.add(uid, "should have an account" if person.is_alive else "has an account")
        elif person.is_alive:
            held = {name: documents[name].get(uid) for name in _COLLECTIONS}
            stream_user = stream_users.get(uid)
            if not person.is_promised and stream_user is None:
                verdict.not_promised += 1
                continue
            for problem in _problems_of(person, held, stream_user):
                verdict.add(uid, problem)
    for uid, user in stream_users.items():
        if uid not in accounts:
            verdict.add(uid, f"is in Stream without an account: {user}")
    for name, found in documents.items():
        for uid in found.keys() - accounts.keys():
            verdict.add(uid, f"has {name}/{{uid}} without an account: {found[uid]}")
    members_of = await asyncio.to_thread(_members_of, list(chats))
    for cid, two in chats.items():
        if all(uid in accounts for uid in two) and set(members_of.get(cid, ())) != two:
            for uid in two:
                verdict.add(uid, f"is in {cid} with {members_of.get(cid)}, and not as one of two")
    return verdict


def _members_of(cids: Sequence[str]) -> dict[str, list[str]]:
    """The members of these channels, by cid."""
    chat = StreamChat(API_KEY, API_SECRET, base_url=emulators.STREAM_BASE_URL)
    found = {}
    for start in range(0, len(cids), 30):
        condition = {"cid": {"$in": cids[start : start + 30]}}
        for state in chat.query_channels(condition, limit=30)["channels"]:
            found[state["channel"]["cid"]] = [one["user_id"] for one in state["members"]]
    return found


def _in_auth(person: Person) -> tuple[str | None, str | None]:
    return person.display_name, person.photo_url


def _stream_users() -> dict[str, dict[str, Any]]:
    """All that are not deleted, by id, which here is the uid."""
    response = requests.get(f"{emulators.STREAM_BASE_URL}/_chaos/users", timeout=30)
    response.raise_for_status()
    return {user["id"]: user for user in response.json() if "deleted_at" not in user}


def _problems_of(
    person: Person, held: dict[str, dict[str, Any] | None], stream_user: dict[str, Any] | None
) -> list[str]:
    problems = [f"has no {name}/{{uid}}" for name, document in held.items() if document is None]
    user, profile = held["users"] or {}, held["user_profiles"] or {}
    chat = user.get("chat") or {}
    in_user = {**user, **{name: chat[name] for name in ("role", "teams") if name in chat}}
    for name, value in person.stated.items():
        if in_user.get(name) != value:
            problems.append(f"users/{{uid}}.{name} is {in_user.get(name)!r}, written was {value!r}")
    for name, value in person.edited.items():
        if profile.get(name) != value:
            problems.append(
                f"user_profiles/{{uid}}.{name} is {profile.get(name)!r}, edited was {value!r}"
            )
    if stream_user is None:
        return [*problems, "is not in Stream"]
    expected = {
        "by documents": _expected(person, _edits(profile), in_user),
        # Who came back may have found the documents of the first life.
        "by deeds": {} if person.has_returned else _expected(person, person.edited, person.stated),
    }
    for why, fields in expected.items():
        for name, value in fields.items():
            found = stream_user.get(name)
            if name == "teams":
                found, value = sorted(found or []), sorted(value)
            if found != value:
                problems.append(f"{name} in Stream is {found!r}, {why} it should be {value!r}")
    for name in ("displayName", "photoURL"):
        followed = _public(name, person, _edits(profile), in_user)
        if profile and followed is not _NOTHING and profile.get(name) != followed:
            problems.append(
                f"user_profiles/{{uid}}.{name} is {profile.get(name)!r}, it should be {followed!r}"
            )
    return problems


def _edits(profile: dict[str, Any]) -> dict[str, Any]:
    """What its owner edited: where the profile differs from what was last copied into it."""
    mirrored = profile.get("mirrored") or {}
    return {
        name: profile[name]
        for name in ("displayName", "photoURL")
        if name in profile and profile[name] != mirrored.get(name)
    }


def _expected(person: Person, edited: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    """The Stream user's fields: the profile's if edited, else the user document's, else Auth's."""
    name = _public("displayName", person, edited, stated)
    picture = _public("photoURL", person, edited, stated)
    expected = {
        "name": "User" if name is _NOTHING else name,
        "image": None if picture is _NOTHING else picture,
        "role": stated.get("role") or "user",
        "teams": stated.get("teams") or [],
    }
    if person.has_returned:
        # What Firebase doesn't state stays in Stream as it was in the first life.
        unstated = {"name": name is _NOTHING, "image": picture is _NOTHING}
        unstated |= {field: field not in stated for field in ("role", "teams")}
        return {field: value for field, value in expected.items() if not unstated[field]}
    return expected


def _public(name: str, person: Person, edited: dict[str, Any], stated: dict[str, Any]) -> Any:
    """``_NOTHING`` if nobody ever said anything of it; None if it was to be without."""
    if name in edited:
        return edited[name]
    in_auth = person.display_name if name == "displayName" else person.photo_url
    if stated.get(name) is not None:
        return stated[name]
    if in_auth:
        return in_auth
    return None if name in stated else _NOTHING
