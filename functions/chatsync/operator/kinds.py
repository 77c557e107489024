"""``repair --kind``: a person corrects what an account is."""

import time
from collections.abc import Sequence

from firebase_functions import logger

from ..clients import Clients
from ..clients.accounts import read_accounts
from ..clients.documents import WITH_HISTORY, Entry, read_documents
from ..clients.entries import write_entry
from ..ids import Key
from ..users import UserKind
from .options import SECONDS, Refused
from .terminal import confirm, print_line


def change_kind(
    keys: Sequence[Key], stated: str, apply: bool, yes: bool, clients: Clients
) -> list[tuple[Key, str]]:
    """Write down that these accounts are of this kind; with ``apply``, after a confirmation.

    Returns the accounts to be corrected, with the Stream ids that they must not have. The caller
    creates the Stream users that are missing, and then removes these.
    """
    deadline = time.monotonic() + SECONDS
    if stated not in ("user", "company"):
        raise Refused(f"--kind must be user or company, not {stated!r}.")
    kind: UserKind = "user" if stated == "user" else "company"
    other: UserKind = "company" if stated == "user" else "user"
    if not all(key.kind == "user" for key in keys):
        raise Refused("--kind is of accounts: name them by their uid.")
    accounts = read_accounts(keys, clients.auth)
    if missing := [key.id for key in keys if key not in accounts]:
        raise Refused(f"No such account: {', '.join(missing)}.")
    states = read_documents(keys, clients, deadline, of=["entry"], whole=WITH_HISTORY)
    id_format = clients.settings.id_format
    wrong_ids = {key: id_format.stream_id(Key(other, key.id)) for key in keys}
    in_stream = clients.stream.query_users(list(wrong_ids.values()), deadline)
    changing = [key for key in keys if states[key].kind != kind or wrong_ids[key] in in_stream]
    for key in changing:
        right_id = id_format.stream_id(Key(kind, key.id))
        print_line(f"{key.id} becomes a {kind}: {right_id} is created in Stream if it is missing.")
        if wrong_ids[key] in in_stream:
            print_line(f"{wrong_ids[key]} is removed from Stream with its memberships.")
    if changing and apply:
        confirm(f"Correct {len(changing)} accounts?", yes)
        for key in changing:
            remembered = states[key].remembered
            history = remembered.history if remembered else ()
            entry = Entry(kind, id_format.stream_id(Key(kind, key.id)), history)
            write_entry(key, entry, clients, deadline)
            logger.info(f"Account {key.id} is a {kind} from now on", user=key.id)
    return [(key, wrong_ids[key]) for key in changing]


def remove_wrong(changed: Sequence[tuple[Key, str]], clients: Clients) -> None:
    """Remove the Stream users that these accounts must not have, by the delete policy."""
    policy = clients.settings.config.stream.delete_policy
    for key, stream_id in changed:
        clients.stream.remove_user(stream_id, policy, time.monotonic() + SECONDS)
        logger.info(f"Removed Stream user {stream_id} of account {key.id}", user=key.id)
