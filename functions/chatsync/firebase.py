"""The Firebase side: accounts in Auth, and this project's documents in Firestore."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from firebase_admin import auth
from google.api_core.exceptions import AlreadyExists, from_grpc_status
from google.cloud import firestore
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch

from .errors import Unsettled
from .ids import Key
from .users import Account, Firebase, missing_documents

_ALREADY_EXISTS = 6
"""See google.rpc.Code."""

_MAX_CONFLICTS = 3


def read_accounts(keys: Iterable[Key], client: auth.Client) -> dict[Key, Account]:
    """The accounts that exist among up to 100 users, in one call (accounts:lookup)."""
    identifiers = [auth.UidIdentifier(key.id) for key in keys]
    if not identifiers:
        return {}
    records = client.get_users(identifiers).users
    return {Key("user", record.uid): _account(record) for record in records}


def read_documents(keys: Iterable[Key], client: firestore.Client) -> dict[Key, Firebase]:
    """This project's documents of each key, in one call (BatchGetDocuments)."""
    found: dict[Key, dict[str, Any]] = {key: {} for key in keys}
    places = {
        reference.path: (key, field)
        for key in found
        for field, reference in _references(key, client).items()
    }
    for snapshot in client.get_all([client.document(path) for path in places]):
        key, field = places[snapshot.reference.path]
        found[key][field] = snapshot.to_dict()
    return {key: Firebase(**fields) for key, fields in found.items()}


def create_missing_documents(held: Mapping[Key, Firebase], client: firestore.Client) -> None:
    """Create the documents that these users lack, in one call (BatchWrite).

    What somebody else has created meanwhile stays untouched.
    """
    batch = BulkWriteBatch(client)
    for key, firebase in held.items():
        references = _references(key, client)
        for field, document in missing_documents(firebase, firestore.SERVER_TIMESTAMP).items():
            batch.create(references[field], document)
    if not len(batch):
        return
    for status in batch.commit().status:
        if status.code not in (0, _ALREADY_EXISTS):
            raise from_grpc_status(status.code, status.message)  # type: ignore[no-untyped-call]


def delete_documents(keys: Iterable[Key], client: firestore.Client) -> None:
    """Remove this project's documents of these users."""
    batch = client.batch()
    for key in keys:
        for reference in _references(key, client).values():
            batch.delete(reference)
    batch.commit()


def create_profile(uid: str, client: firestore.Client) -> list[str]:
    """Create ``user_profiles/{uid}`` and ``user_stats/{uid}`` where absent; returns their paths.

    In a transaction that reads ``users/{uid}``: no profile appears for a user document that is
    gone by now. An existing one is never overwritten, however often the event is delivered.
    """
    key = Key("user", uid)
    references = _references(key, client)

    @firestore.transactional
    def create(transaction: firestore.Transaction, held: Firebase) -> list[str]:
        # Only the user document is read here: its lock is shared, so that deliveries of the same
        # event don't abort each other.
        [user] = client.get_all([references["user"]], transaction=transaction)
        if not user.exists:
            return []
        held = replace(held, user=user.to_dict())
        missing = missing_documents(held, firestore.SERVER_TIMESTAMP)
        for field, document in missing.items():
            transaction.create(references[field], document)
        return [references[field].path for field in missing]

    # Each conflict means that another delivery has created a document since it was looked for.
    for _ in range(_MAX_CONFLICTS):
        held = read_documents([key], client)[key]
        if held.user is None or (held.profile is not None and held.stats is not None):
            return []
        with suppress(AlreadyExists):
            paths: list[str] = create(client.transaction(), held)
            return paths
    raise Unsettled(f"the profile of user {uid} kept changing")


def _references(key: Key, client: firestore.Client) -> dict[str, firestore.DocumentReference]:
    """Where each field of ``Firebase`` is kept."""
    if key.kind == "company":
        return {"user": client.document("companies", key.id)}
    return {
        "user": client.document("users", key.id),
        "profile": client.document("user_profiles", key.id),
        "stats": client.document("user_stats", key.id),
    }


def _account(record: auth.UserRecord) -> Account:
    created_at = datetime.fromtimestamp(record.user_metadata.creation_timestamp / 1000, UTC)
    return Account(
        uid=record.uid,
        created_at=created_at,
        display_name=record.display_name,
        photo_url=record.photo_url,
        email=record.email,
        phone_number=record.phone_number,
        disabled=record.disabled,
    )
