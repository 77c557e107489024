"""``repair --kind``: a person corrects what an account is."""

import time
from collections.abc import Sequence

from firebase_functions import logger

from ..clients import Clients
from ..clients.accounts import read_accounts
from ..clients.documents import Entry, read_documents, write_entry
from ..ids import Key
from ..users import UserKind
from .options import SECONDS, Refused
from .terminal import confirm, print_line


def change_kind(
    keys: Sequence[Key], stated: str, apply: bool, yes: bool, clients: Clients
) -> list[tuple[Key, str]]:
    """Write down that these accounts are of this kind; with ``apply``, after a confirmation.

    Returns the accounts whose kind differed, with their Stream ids of before. The caller creates
    the new Stream users, and then removes the old ones.
    """
    deadline = time.monotonic() + SECONDS
    if stated not in ("user", "company"):
        raise Refused(f"--kind must be user or company, not {stated!r}.")
    kind: UserKind = "user" if stated == "user" else "company"
    if not all(key.kind == "user" for key in keys):
        raise Refused("--kind is of accounts: name them by their uid.")
    accounts = read_accounts(keys, clients.auth)
    if missing := [key.id for key in keys if key not in accounts]:
        raise Refused(f"No such account: {', '.join(missing)}.")
    states = read_documents(keys, clients, deadline, of=("user", "company", "entry"))
    stream_ids = {key: clients.settings.stream_id(key, state) for key, state in states.items()}
    new_ids = {key: clients.settings.id_format.stream_id(Key(kind, key.id)) for key in keys}
    changing = [key for key in keys if stream_ids[key] != new_ids[key]]
    for key in changing:
        print_line(
            f"{key.id} becomes a {kind}: {new_ids[key]} is created in Stream, and"
            f" {stream_ids[key]} is removed with its memberships."
        )
    if not changing or not apply:
        return [(key, stream_ids[key]) for key in changing]
    confirm(f"Change {len(changing)} accounts?", yes)
    for key in changing:
        write_entry(key, Entry(kind, new_ids[key]), clients, deadline)
        logger.info(f"Account {key.id} is a {kind} from now on", user=key.id)
    return [(key, stream_ids[key]) for key in changing]


def remove_old(changed: Sequence[tuple[Key, str]], clients: Clients) -> None:
    """Remove the Stream users of before, by the delete policy."""
    policy = clients.settings.config.stream.delete_policy
    for key, stream_id in changed:
        clients.stream.remove_user(stream_id, policy, time.monotonic() + SECONDS)
        logger.info(f"Removed Stream user {stream_id} of account {key.id}", user=key.id)
