"""Who may learn of whom, where people belong to teams."""

from dataclasses import replace

from .. import users
from ..clients import Clients
from ..clients.accounts import read_accounts
from ..clients.documents import read_documents
from ..errors import PermissionDenied
from ..ids import Key
from ..reconcile import new_deadline


def refuse_strangers(uid: str, caller: str, clients: Clients) -> None:
    """Raise PermissionDenied if the user has teams, of which the caller shares none."""
    if uid == caller:
        return
    keys, config = (Key("user", uid), Key("user", caller)), clients.settings.config
    states = read_documents(keys, clients, new_deadline(), of=("user", "company", "entry"))
    accounts = read_accounts(keys, clients.auth) if users.needs_claims(config) else {}
    theirs, own = (
        users.teams_of(replace(states[key], account=accounts.get(key)), config) for key in keys
    )
    if theirs and not set(theirs) & set(own):
        raise PermissionDenied("the caller shares no team with this user", [])
