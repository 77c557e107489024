"""Firebase Auth: which accounts there are."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from firebase_admin import auth

from ..errors import Unauthenticated
from ..ids import MAX_KEY_LENGTH, Key
from ..side_by_side import batches, begin, joined, result
from ..users import MAX_PICTURE_LENGTH, Account
from . import Clients
from .documents import MAX_TEXT_LENGTH, read_documents, temporary_failures_named

_MOST_COUNTED = 100_000


def read_accounts(keys: Iterable[Key], client: auth.Client) -> dict[Key, Account]:
    """The accounts that exist among up to 100 keys, in one call (accounts:lookup).

    Companies have no account; nor has a document's id that is too long for a uid.
    """
    identifiers = [
        auth.UidIdentifier(key.id)
        for key in keys
        if key.kind == "user" and len(key.id) <= MAX_KEY_LENGTH
    ]
    if not identifiers:
        return {}
    with temporary_failures_named():
        records = client.get_users(identifiers).users
    return {Key("user", record.uid): _account(record) for record in records}


def check_signed_in(account: Account | None, signed_in_at: float) -> None:
    """Raise Unauthenticated if every session that began at ``signed_in_at`` (Unix seconds) was
    ended since: by "sign out everywhere", or with a new password."""
    if account and signed_in_at < account.valid_since:
        raise Unauthenticated("sign in again")


def list_accounts(page_token: str, client: auth.Client) -> tuple[dict[Key, Account], str]:
    """A thousand accounts, and the token of the next page, empty at the end (batchGet)."""
    with temporary_failures_named():
        page = client.list_users(page_token or None)
    accounts = {Key("user", record.uid): _account(record) for record in page.users}
    return accounts, page.next_page_token or ""


def count_accounts(client: auth.Client) -> int | None:
    """The number of accounts. Auth can only list them, a thousand per call.

    None if there are more than 100,000: counting would take minutes, or hours for millions.
    """
    count, page_token = 0, ""
    while count <= _MOST_COUNTED:
        accounts, page_token = list_accounts(page_token, client)
        count += len(accounts)
        if not page_token:
            return count
    return None


def existing_keys(keys: Sequence[Key], clients: Clients, deadline: float) -> set[Key]:
    """The keys that exist: users have an account in Auth, companies a document.

    They are looked up a hundred at a time, side by side.
    """
    people = [key for key in keys if key.kind == "user"]
    companies = [key for key in keys if key.kind == "company"]
    accounts = [begin(read_accounts, batch, clients.auth) for batch in batches(people)]
    reading = [begin(read_documents, batch, clients, deadline) for batch in batches(companies)]
    existing = set(joined(accounts, deadline))
    companies_of_accounts = []
    for key, state in joined(reading, deadline).items():
        if state.company is not None:
            existing.add(key)
        elif state.kind == "company":
            companies_of_accounts.append(Key("user", key.id))
    for batch in batches(companies_of_accounts):
        found = result(begin(read_accounts, batch, clients.auth), deadline)
        existing |= {Key("company", key.id) for key in found}
    return existing


def _account(record: auth.UserRecord) -> Account:
    return Account(
        uid=record.uid,
        created_at=_created_at(record.user_metadata.creation_timestamp),
        display_name=_storable(record.display_name),
        photo_url=_storable(record.photo_url, MAX_PICTURE_LENGTH + 1),
        email=_storable(record.email),
        phone_number=_storable(record.phone_number),
        disabled=record.disabled,
        claims=record.custom_claims or {},
        anonymous=not (record.provider_data or record.email or record.phone_number),
        valid_since=record.tokens_valid_after_timestamp // 1000,
    )


def _created_at(milliseconds: int | None) -> datetime | None:
    """None for imported accounts, whose time may be missing or impossible."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
    except (OverflowError, ValueError):
        return None


def _storable(text: str | None, longest: int = MAX_TEXT_LENGTH) -> str | None:
    """``text``, cut; None with lone surrogates, which JSON allows but Firestore doesn't."""
    try:
        return text.encode().decode()[:longest] if text else None
    except UnicodeEncodeError:
        return None
