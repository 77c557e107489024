"""The accounts of a run: made, changed and deleted as an app and its backend do, and what was last
said of each of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
import firebase_admin
from firebase_admin import auth
from google.api_core.exceptions import NotFound
from google.cloud import firestore

from dev import emulators


@dataclass
class Person:
    """An account, and everything that was last stated about it."""

    uid: str
    id_token: str | None
    """None for imported accounts, who haven't signed in."""
    display_name: str | None = None
    photo_url: str | None = None
    email: str | None = None
    stated: dict[str, Any] = field(default_factory=dict)
    """What was last written into ``users/{uid}``: displayName, photoURL, role, teams."""
    edited: dict[str, Any] = field(default_factory=dict)
    """What its owner last wrote into the profile: displayName, photoURL."""
    is_alive: bool = True
    has_returned: bool = False
    """Deleted once, and imported again under the same uid."""
    is_promised: bool = True
    """Whether something happened after which the person must get into Stream: an event, or a call
    that succeeded or said that the repair is queued. An import alone is no such thing."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Changes of one account happen one after the other, so that it is known which was the last."""

    def record(self) -> dict[str, Any]:
        """The user as an Auth event has it."""
        known = {
            "email": self.email,
            "displayName": self.display_name,
            "photoURL": self.photo_url,
        }
        fields = {name: value for name, value in known.items() if value}
        return {"uid": self.uid, **fields, "metadata": {}}


class Firebase:
    """Auth and Firestore, as an app and the backend of an app use them."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.app = firebase_admin.initialize_app(options={"projectId": emulators.PROJECT})
        self.documents = firestore.AsyncClient(project=emulators.PROJECT)

    async def sign_up(
        self, email: str | None, display_name: str | None, photo_url: str | None
    ) -> Person:
        """With a password, without an e-mail address anonymously, with a picture by Google."""
        body: dict[str, Any] = {"returnSecureToken": True}
        if photo_url:
            claims = {"sub": email, "email": email, "name": display_name, "picture": photo_url}
            token = urlencode({"id_token": json.dumps(claims), "providerId": "google.com"})
            body |= {"postBody": token, "requestUri": "http://localhost"}
            account = await self._accounts(":signInWithIdp?key=any", body)
        else:
            if email:
                body |= {"email": email, "password": "correct horse"}
            if display_name:
                body["displayName"] = display_name
            account = await self._accounts(":signUp?key=any", body)
        return Person(account["localId"], account["idToken"], display_name, photo_url, email)

    async def delete(self, person: Person) -> None:
        """By the person, or by the app's backend for those who never signed in."""
        if person.id_token and not person.has_returned:
            await self._accounts(":delete?key=any", {"idToken": person.id_token})
        else:
            await asyncio.to_thread(auth.delete_user, person.uid, self.app)

    async def import_people(self, people: list[Person]) -> None:
        """No event tells of them."""
        records = [
            auth.ImportUserRecord(
                person.uid,
                email=person.email,
                display_name=person.display_name,
                photo_url=person.photo_url,
            )
            for person in people
        ]
        result = await asyncio.to_thread(auth.import_users, records, None, self.app)
        if result.failure_count:
            raise RuntimeError(f"The import failed: {result.errors[0].reason}")

    async def accounts(self) -> dict[str, auth.ExportedUserRecord]:
        def listed() -> dict[str, auth.ExportedUserRecord]:
            pages = auth.list_users(app=self.app).iterate_all()
            return {record.uid: record for record in pages}

        return await asyncio.to_thread(listed)

    async def write_user(self, uid: str, fields: dict[str, Any]) -> None:
        """What the app writes into the user document, existing or not."""
        written = {**fields, "updatedAt": firestore.SERVER_TIMESTAMP}
        await self.documents.document("users", uid).set(written, merge=True)

    async def edit_profile(self, uid: str, fields: dict[str, Any]) -> bool:
        """What the owner edits; False if there is no profile yet."""
        written = {**fields, "updatedAt": firestore.SERVER_TIMESTAMP}
        try:
            await self.documents.document("user_profiles", uid).update(written)
        except NotFound:
            return False
        return True

    async def all_documents(self, collection: str) -> dict[str, dict[str, Any]]:
        return {
            document.id: document.to_dict() or {}
            async for document in self.documents.collection(collection).stream()
        }

    async def prove_that_events_arrive(self) -> None:
        """As after a night that found Stream's settings as they should be."""
        now = datetime.now(UTC)
        fields = {"lastUserEventAt": now, "checkedAt": now, "missingEvents": []}
        await self.documents.document("chatsync/webhook").set(fields)

    async def waiting_repairs(self) -> int:
        """Entries of the outbox that somebody still has to work off."""
        waiting = self.documents.collection("repairs").where(
            filter=firestore.FieldFilter("state", "==", "waiting")
        )
        counting: Any = waiting.count()  # which says that it returns the class
        [[count]] = await counting.get()
        return int(count.value)

    async def _accounts(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{emulators.ACCOUNTS_URL}{method}"
        async with self.session.post(url, json=body) as response:
            answer: dict[str, Any] = await response.json()
            if response.status != 200:
                raise RuntimeError(f"accounts{method} answered {answer}")
            return answer
