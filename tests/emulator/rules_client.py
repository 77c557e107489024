"""Firestore as an app's client SDK uses it: over REST, with the ID token of whoever is signed in.

The Admin SDK, and so the ``firestore`` fixture, passes the security rules by. Here they decide.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import firebase_admin
import requests
from firebase_admin import auth

from dev import emulators

TIMEOUT_SECONDS = 30
SERVER_TIME = object()
"""As a field's value: ``serverTimestamp()``."""
REMOVED = object()
"""As a field's value: ``deleteField()``."""

_FIRESTORE = f"{emulators.url('firestore')}/v1"
_RULES = f"{emulators.url('firestore')}/emulator/v1/projects/{{}}:securityRules"
_SIGN_IN = f"{emulators.ACCOUNTS_URL}:signInWithCustomToken?key=any"


_connection = requests.Session()


class Denied(Exception):
    """The security rules don't allow this."""


@dataclass(frozen=True)
class Person:
    """Somebody who holds the app in hands; without ``id_token`` they are not signed in."""

    uid: str
    id_token: str | None = None
    project: str = emulators.PROJECT

    @property
    def _root(self) -> str:
        return f"projects/{self.project}/databases/(default)/documents"

    def exists(self, path: str) -> bool:
        """Whether ``get()`` finds a document."""
        [answer] = self._post(f"{self._root}:batchGet", {"documents": [f"{self._root}/{path}"]})
        return "found" in answer

    def query(
        self,
        collection: str,
        where: tuple[str, str, object] | None = None,
        all_descendants: bool = False,
        limit: int | None = None,
    ) -> list[str]:
        """The ids of what is found. ``where`` is (field, operator as REST names it, value)."""
        parent, _, name = f"{self._root}/{collection}".rpartition("/")
        query: dict[str, Any] = {
            "from": [{"collectionId": name, "allDescendants": all_descendants}]
        }
        if limit is not None:
            query["limit"] = limit
        if where:
            field, operator, value = where
            condition = {"field": {"fieldPath": field}, "op": operator, "value": _encoded(value)}
            query["where"] = {"fieldFilter": condition}
        found = self._post(f"{parent}:runQuery", {"structuredQuery": query})
        return [row["document"]["name"].split("/")[-1] for row in found if "document" in row]

    def create(self, path: str, fields: Mapping[str, object]) -> None:
        """``set()`` of a document that must not exist yet."""
        self._write(path, fields, currentDocument={"exists": False})

    def replace(self, path: str, fields: Mapping[str, object]) -> None:
        """``set()`` without options: what is not in ``fields`` goes."""
        self._write(path, fields)

    def merge(self, path: str, fields: Mapping[str, object]) -> None:
        """``set()`` with merge: creates the document, or leaves its other fields alone."""
        self._write(path, fields, updateMask=_mask(fields))

    def update(self, path: str, fields: Mapping[str, object]) -> None:
        """``update()``: the keys are field paths, as in ``preferences.theme``."""
        self._write(path, fields, updateMask=_mask(fields), currentDocument={"exists": True})

    def delete(self, path: str) -> None:
        self._post(f"{self._root}:commit", {"writes": [{"delete": f"{self._root}/{path}"}]})

    def _write(self, path: str, fields: Mapping[str, object], **options: object) -> None:
        write = {
            "update": {"name": f"{self._root}/{path}", "fields": _nested(fields)},
            "updateTransforms": [
                {"fieldPath": field, "setToServerValue": "REQUEST_TIME"}
                for field, value in fields.items()
                if value is SERVER_TIME
            ],
            **options,
        }
        self._post(f"{self._root}:commit", {"writes": [write]})

    def _post(self, resource: str, body: object) -> Any:
        response = _connection.post(
            f"{_FIRESTORE}/{resource}",
            json=body,
            headers={"Authorization": f"Bearer {self.id_token}"} if self.id_token else {},
            timeout=TIMEOUT_SECONDS,
        )
        if response.status_code == requests.codes.forbidden:
            raise Denied(response.text)
        assert response.ok, response.text
        return response.json()


def sign_in(uid: str, firebase: firebase_admin.App) -> Person:
    """Somebody with an account, which no function has seen: an import sends no event.

    After a sign-up, the functions would write the very documents that a test writes.
    """
    auth.import_users([auth.ImportUserRecord(uid)], app=firebase)
    token = auth.create_custom_token(uid, app=firebase).decode()
    response = requests.post(
        _SIGN_IN, json={"token": token, "returnSecureToken": True}, timeout=TIMEOUT_SECONDS
    )
    response.raise_for_status()
    return Person(uid, response.json()["idToken"])


def use_rules(text: str, project: str) -> None:
    """Let rules decide in a project of its own, of which no function learns."""
    file = {"name": "firestore.rules", "content": text}
    response = requests.put(
        _RULES.format(project), json={"rules": {"files": [file]}}, timeout=TIMEOUT_SECONDS
    )
    assert response.ok, response.text


def pretend(uid: str, project: str, provider: str = "password") -> Person:
    """Somebody signed in to a project of their own; the emulator takes tokens of no signature.

    Of an anonymous account, ``provider`` is ``anonymous``.
    """
    claims: dict[str, Any] = {"sub": uid, "user_id": uid, "aud": project, "iat": int(time.time())}
    claims["firebase"] = {"sign_in_provider": provider}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "none", "typ": "JWT"}, claims)
    ]
    return Person(uid, ".".join([*parts, ""]), project)


def _mask(fields: Mapping[str, object]) -> dict[str, list[str]]:
    return {"fieldPaths": [field for field in fields if fields[field] is not SERVER_TIME]}


def _nested(fields: Mapping[str, object]) -> dict[str, Any]:
    """The fields of a document, from values by field path."""
    tree: dict[str, Any] = {}
    for path, value in fields.items():
        if value is SERVER_TIME or value is REMOVED:
            continue
        *parents, name = path.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    encoded: dict[str, Any] = _encoded(tree)["mapValue"]["fields"]
    return encoded


def _encoded(value: object) -> dict[str, Any]:
    """A value as REST writes it."""
    match value:
        case None:
            return {"nullValue": None}
        case bool():
            return {"booleanValue": value}
        case int():
            return {"integerValue": str(value)}
        case str():
            return {"stringValue": value}
        case datetime():
            return {"timestampValue": value.isoformat()}
        case Mapping():
            fields = {name: _encoded(item) for name, item in value.items()}
            return {"mapValue": {"fields": fields}}
        case list():
            return {"arrayValue": {"values": [_encoded(item) for item in value]}}
    raise TypeError(value)
