"""The promises that ``verify`` tries, in their order. Each is a function of the run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jwt
from firebase_admin.exceptions import FirebaseError
from google.api_core.exceptions import GoogleAPICallError

from .. import conversations
from ..errors import StreamRejected, Temporary
from . import app_calls, throwaway
from .throwaway import PREFIX
from .verify_run import NotKept, Run, begin


class Promise(NamedTuple):
    """What was promised, and what was seen."""

    name: str
    kept: bool | None
    """None if it could not be tried."""
    seconds: float
    detail: str = ""


def stream_user_is_made(run: Run) -> str:
    user = run.until(run.stream_user, "Stream has no user")
    return f"id {user['id']}"


def document_is_made(name: str) -> Callable[[Run], str | None]:
    def document_is_made(run: Run) -> str | None:
        if name == "user" and not run.clients.settings.config.users.create:
            return "users.create is false: it is your app's to create"
        run.until(lambda: run.document(name), "Firestore has none")
        return None

    return document_is_made


def token_is_answered(run: Run) -> str:
    run.stream_token = str(run.call("getStreamUserToken", {}).get("token"))
    try:
        claims = jwt.decode(run.stream_token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise NotKept("what it answered is no token") from None
    if claims.get("user_id") != run.made.stream_ids[0]:
        raise NotKept("the token is of somebody else")
    lifetime = claims.get("exp", 0) - time.time()
    if lifetime <= 0:
        raise NotKept("the token does not expire, or has expired")
    return f"expires in {lifetime / 60:.0f} minutes"


def token_opens_stream(run: Run) -> None:
    """The first call of every chat app: which channels am I in?"""
    body = {"filter_conditions": {"members": {"$in": [run.made.stream_ids[0]]}}, "state": False}
    answer = run.stream.ask("POST", "/channels", body, token=run.stream_token)
    if not answer.is_ok:
        raise NotKept(f"QueryChannels with it is refused: {answer}")


def missing_person_is_made(run: Run) -> str:
    """Of whom Firebase sent no event: an import."""
    result = run.call("ensureStreamUser", {"userId": run.made.uids[1]})
    if result.get("streamUserId") != run.made.stream_ids[1]:
        raise NotKept("it names another Stream user")
    run.until(lambda: run.stream_user(1), "Stream has no user")
    return f"status {result.get('status')}"


def conversation_opens(run: Run) -> str:
    arguments: dict[str, Any] = {"participantIds": [run.made.uids[1]]}
    if run.clients.settings.config.teams.required:
        arguments["team"] = _join_team(run)
    cid = conversations.text_of(run.call("createConversation", arguments).get("cid"))
    if not conversations.is_cid(cid):
        raise NotKept("it names no channel")
    run.made = replace(run.made, cids=(cid,))
    throwaway.note(run.made, run.clients)
    members = run.clients.stream.query_members(cid, run.deadline)
    if set(members) != set(run.made.stream_ids):
        raise NotKept(f"its channel has {len(members)} members, not these two")
    return cid


def _join_team(run: Run) -> str:
    """Put both into a team, where no conversation is without one."""
    config = run.clients.settings.config
    team = config.teams.format.replace("{value}", f"{PREFIX}team")
    path = config.users.teams
    for number, uid in enumerate(run.made.uids):
        if path.startswith("claims:"):
            claims = {path.removeprefix("claims:"): [team]}
            run.clients.auth.set_custom_user_claims(uid, claims)
        else:
            run.write_user(number, path, [team])
    return team


def conversation_is_recorded(run: Run) -> None:
    run.until(lambda: run.conversation.get("status") == "ready", "its document is not ready")


def message_is_counted(run: Run) -> None:
    message = {"id": run.made.message_ids[0], "text": "verify", "user_id": run.made.stream_ids[0]}
    path = f"/channels/{run.made.cids[0].replace(':', '/')}/message"
    answer = run.stream.ask("POST", path, {"message": message, "skip_push": True})
    if not answer.is_ok:
        raise NotKept(f"Stream refuses the message: {answer}")

    def is_counted() -> bool:
        return (run.document("stats") or {}).get("messagesSent") == 1

    run.until(is_counted, "Firestore did not count it")


def rename_is_followed(run: Run) -> None:
    name = f"{PREFIX}renamed"
    fields = {"name": name}
    run.clients.stream.update_channel_partial(run.made.cids[0], fields, run.deadline)
    run.until(lambda: run.conversation.get("name") == name, "Firestore did not follow")


def name_is_copied(run: Run) -> str | None:
    if not run.name_path:
        return "users.name is empty: no name to change"
    name = f"{run.made.uids[0]}-new"
    run.write_user(0, run.name_path, name)

    def is_copied() -> bool:
        return (run.stream_user() or {}).get("name") == name

    run.until(is_copied, "Stream has not the new name")
    return None


def stream_user_is_removed(run: Run) -> str:
    run.clients.auth.delete_user(run.made.uids[0])
    policy = run.clients.settings.config.stream.delete_policy

    def is_removed() -> bool:
        user = run.stream_user()
        if policy == "deactivate":
            return bool(user and user.get("deactivated_at"))
        if policy == "keep":
            return bool(user and user.get("revoke_tokens_issued_before"))
        return user is None

    run.until(is_removed, "Stream still has the user")
    return f"policy {policy}"


def documents_are_removed(run: Run) -> None:
    def are_removed() -> bool:
        return not any(run.document(name) for name in ("user", "profile", "stats"))

    run.until(are_removed, "Firestore still has documents")


def conversation_is_left(run: Run) -> None:
    ann, stream_id = run.made.uids[0], run.made.stream_ids[0]

    def is_left() -> bool:
        found = run.conversation
        named = (*found.get("participantIds", ()), *found.get("memberIds", ()))
        return not {ann, stream_id} & {*named}

    run.until(is_left, "its document still names the account")


class Step(NamedTuple):
    """A promise. Those of a sign-up or a deletion are timed from it: it leads to events."""

    act: str
    promise: str
    keep: Callable[[Run], str | None]
    """What was seen, if that is worth telling; raises NotKept."""

    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.act}: {self.promise}"


_SIGN_UP, _TOKEN, _ENSURE = "sign-up", "getStreamUserToken", "ensureStreamUser"
_CREATE, _WEBHOOK, _DELETION = "createConversation", "webhook", "deletion"
_OPENS, _REMOVED = "a channel opens", "Stream's user is removed"
_HAS_CHANNEL = (f"{_CREATE}: {_OPENS}",)

STEPS = (
    Step(_SIGN_UP, "Stream has the user", stream_user_is_made),
    Step(_SIGN_UP, "Firestore has the user document", document_is_made("user")),
    Step(_SIGN_UP, "Firestore has the profile", document_is_made("profile")),
    Step(_SIGN_UP, "Firestore has the stats", document_is_made("stats")),
    Step(_TOKEN, "answers a token", token_is_answered),
    Step(_TOKEN, "the token opens Stream", token_opens_stream, (f"{_TOKEN}: answers a token",)),
    Step(_ENSURE, "a missing person is made", missing_person_is_made),
    Step(_CREATE, _OPENS, conversation_opens),
    Step(_CREATE, "Firestore has the conversation", conversation_is_recorded, _HAS_CHANNEL),
    Step(_WEBHOOK, "a message is counted", message_is_counted, _HAS_CHANNEL),
    Step(_WEBHOOK, "a new name of the channel comes", rename_is_followed, _HAS_CHANNEL),
    Step("a change", "a new name comes to Stream", name_is_copied),
    Step(_DELETION, _REMOVED, stream_user_is_removed),
    Step(_DELETION, "the documents are gone", documents_are_removed),
    Step(_DELETION, "the conversation is left", conversation_is_left, _HAS_CHANNEL),
)


def promises_of(run: Run, tell: Callable[[Promise], None]) -> list[Promise]:
    """Try each promise, and tell of each when it is known. What needs another is not tried without.

    Raises errors that are no promise's, such as credentials that are refused.
    """
    told: dict[str, Promise] = {}
    act, began = _SIGN_UP, begin(run)
    for step in STEPS:
        if step.act != act or act not in (_SIGN_UP, _DELETION):
            act, began = step.act, time.monotonic()
        promise = _tried(step, run, told, began)
        told[step.name] = promise
        tell(promise)
    return list(told.values())


def _tried(step: Step, run: Run, told: Mapping[str, Promise], began: float) -> Promise:
    if missing := [name for name in step.needs if not told[name].kept]:
        return Promise(step.name, None, 0.0, f"not tried without {missing[0]!r}")
    run.deadline = time.monotonic() + run.seconds
    try:
        kept, detail = True, step.keep(run) or ""
    except (NotKept, app_calls.CallRefused, StreamRejected, Temporary) as error:
        kept, detail = False, str(error)
    except (FirebaseError, GoogleAPICallError) as error:
        kept, detail = False, f"{type(error).__name__}: {str(error)[:200]}"
    return Promise(step.name, kept, time.monotonic() - began, detail)
