"""The Firebase side: accounts in Auth, and this project's documents in Firestore."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from firebase_admin import auth
from google.api_core.exceptions import from_grpc_status
from google.cloud import firestore
from google.cloud.firestore_v1.bulk_batch import BulkWriteBatch

from .ids import Key
from .users import Account, Firebase, missing_documents

_ALREADY_EXISTS = 6
"""See google.rpc.Code."""


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
    gone by now, and an existing one is never overwritten, however often the event is delivered.
    """
    references = _references(Key("user", uid), client)

    @firestore.transactional
    def create(transaction: firestore.Transaction) -> list[str]:
        snapshots = client.get_all(list(references.values()), transaction=transaction)
        documents = {snapshot.reference.path: snapshot.to_dict() for snapshot in snapshots}
        held = Firebase(None, *(documents[reference.path] for reference in references.values()))
        if held.user is None:
            return []
        missing = missing_documents(held, firestore.SERVER_TIMESTAMP)
        for field, document in missing.items():
            transaction.create(references[field], document)
        return [references[field].path for field in missing]

    paths: list[str] = create(client.transaction())
    return paths


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
