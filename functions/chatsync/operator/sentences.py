"""What each finding and reason means, and what to do about it, in one sentence each; pure.

The runbook in docs/operations.md has the same texts, and a test compares them. UID and CHANNEL
stand for the subject.
"""

import shlex
from typing import NamedTuple

from ..audit.steps import name_of
from ..errors import Refusal
from ..ids import Key
from ..outcome import Parked, Waiting


class Sentence(NamedTuple):
    why: str
    do: str

    def of_user(self, key: Key) -> "Sentence":
        """The same with commands that name this user."""
        is_plain = key.kind == "user" and ":" not in key.id and not key.id.startswith("-")
        named = key.id if is_plain else name_of(key)
        return self._replace(do=self.do.replace("UID", shlex.quote(named)))

    def of_channel(self, cid: str) -> "Sentence":
        """The same with commands that name this channel."""
        return self._replace(do=self.do.replace("CHANNEL", shlex.quote(cid)))


FINDINGS = {
    "missing_documents": Sentence(
        "an account lacks one of its documents, or its profile lags behind",
        "nothing: the nightly audit does it. Many at once: an import, which sends no events, or"
        " failing event functions",
    ),
    "missing_stream_user": Sentence(
        "an account or company is not in Stream",
        "nothing: the nightly audit does it; `repair UID --apply` does it now. If it is found again"
        " the next night, it is parked: see `status`",
    ),
    "drifted_stream_user": Sentence(
        "Stream has another value where Firebase states one",
        "nothing: the nightly audit does it. If it is the same users every night, something else"
        " writes to Stream, such as an app that passes a name to `connectUser`",
    ),
    "orphan_stream_user": Sentence(
        "a user in Stream without account or company",
        "read the list first: it has guests and users created in the dashboard too; name bots in"
        " `stream.service_users`. Then `audit --users --repair orphan_stream_user --apply`",
    ),
    "orphan_documents": Sentence(
        "documents without account",
        "check first: are accounts for these documents still to be imported? Then"
        " `audit --users --repair orphan_documents --apply`",
    ),
    "wrong_kind": Sentence(
        "an account is a person or a company, and its documents say otherwise; or Stream has users"
        " under both of its ids",
        "`repair UID --kind user` or `--kind company`: it gets the Stream id of that kind, and"
        " loses the other",
    ),
    "only_in_stream": Sentence(
        "a channel without document",
        "nothing: the nightly audit records it. If nobody wants the channel:"
        " `delete-orphan CHANNEL --apply`",
    ),
    "member_mismatch": Sentence(
        "members or name differ",
        "nothing: the nightly audit copies Stream's. If it happens often, the webhook doesn't"
        " arrive: see `doctor`",
    ),
    "only_in_firestore": Sentence(
        "a document whose channel is gone",
        "`audit --channels --repair only_in_firestore --apply`. It never brings a channel back;"
        " `createConversation` does",
    ),
    "wrong_team": Sentence(
        "document, channel and its custom field (`[teams] channel_field`) are of different teams",
        "with `[teams] channel_field`, `fix-team --all --apply` corrects what leaves no doubt. Of"
        " the others decide which team is right: `fix-team CHANNEL --team T --apply` corrects both"
        " sides",
    ),
    "orphan_channel": Sentence(
        "the document that owns the channel (`[[channels]] owner`) is gone",
        "if it should be there, bring it back. Else `delete-orphan CHANNEL --apply`. If its"
        " document was not recorded but written by the app or its backend, delete the conversation"
        " there",
    ),
    "foreign_document": Sentence(
        "a document that your backend wrote disagrees with its channel; the detail says how",
        "correct it there: docs/sql-backend.md. A `wrong_team` of its channel: `fix-team`",
    ),
    "taken_channel": Sentence(
        "somebody else created the channel of a direct conversation, or one under the id that two"
        " people had before there were pairs",
        "nothing must be done: it is not opened, and the two get another one. If nobody wants it:"
        " `delete-orphan CHANNEL --apply` takes those that were only recorded, Stream's dashboard"
        " all",
    ),
}
"""By kind of finding."""

PARKED = {
    Parked.REJECTED: Sentence(
        "Stream refuses what Firebase says, such as a role it doesn't know: `lastError` quotes its"
        " code",
        "correct the document or Stream's settings, or leave the app's own roles out by"
        " `stream.allowed_roles`; then `repair UID --apply`, else the nightly audit does it",
    ),
    Parked.DELETED: Sentence(
        "the Stream user was deleted and cannot be restored",
        "give the person another account, or ask Stream's support to free the id",
    ),
    Parked.INVALID_ID: Sentence(
        "the uid cannot be made into a Stream id (over 255 characters when escaped) or a document"
        " id",
        "nothing can be done for this uid; make another account",
    ),
}

UNKNOWN_REASON = Sentence(
    "this version of chatsync knows no such reason",
    "`explain UID`; `repair UID --apply` tries it again",
)


FAILED = {
    "banned": Sentence(
        "the caller is banned in Stream", "nothing, or unban them in Stream's dashboard"
    ),
    "deactivated": Sentence(
        "a member is deactivated in Stream", "nothing, or reactivate them in Stream's dashboard"
    ),
    "disabled": Sentence(
        "a member without Stream user, or the caller, has a disabled account",
        "nothing, or enable it in Firebase Auth",
    ),
    "anonymous": Sentence(
        "a member's account is anonymous, and such accounts are not provisioned"
        " (`stream.provision_anonymous_users`)",
        "nothing: it can chat when it has signed up",
    ),
    "undecided": Sentence(
        "nobody knows yet whether a member is a person or a company",
        "nothing: its user document or its first token decides it",
    ),
    "not_found": Sentence(
        "a member's account is gone",
        "nothing: one of two people can no longer open, a group is begun without them by another"
        " call",
    ),
    "deleted": Sentence(
        "the Stream user of a member was deleted and cannot be restored",
        "give the person another account, or ask Stream's support to free the id",
    ),
    "rejected": Sentence(
        "Stream refuses a member or the channel: the log quotes its code",
        "correct the member's document, or what Stream refuses of the channel; the app's next call"
        " then opens it",
    ),
    "taken": Sentence(
        "somebody else created a channel with its id",
        "nothing: the same call begins another one",
    ),
    "wrong_team": Sentence(
        "its channel belongs to another team, or it has no team and `teams.required` is set",
        "`fix-team CHANNEL --team T --apply`. Without team: nothing; the app's next call begins"
        " another one, with a team",
    ),
}
"""By ``failedReason`` of a conversation."""

WAITING = {
    Waiting.STREAM_UNAVAILABLE: Sentence(
        "Stream cannot be reached, is slow, or answers 5xx", "Stream's status page; nothing here"
    ),
    Waiting.RATE_LIMIT: Sentence(
        "Stream's limit is used up",
        "nothing. If it stays: ask Stream to raise the limit of UpdateUsers",
    ),
    Waiting.ANSWER_LOST: Sentence(
        "a write's answer was lost; the user is checked again after half a minute", "nothing"
    ),
    Waiting.POSTPONED: Sentence(
        "no time was left, the account kept changing, or Stream refused too many of the same batch",
        "nothing",
    ),
    Waiting.PAUSED: Sentence(
        "somebody has paused all writing to Stream: `status` says since when", "`resume`"
    ),
    Waiting.BEGUN: Sentence(
        "a conversation is being created, or its function died: due after 50 s", "nothing"
    ),
    Waiting.FIREBASE_UNAVAILABLE: Sentence(
        "Firestore or Auth failed", "Google's status page; `doctor`"
    ),
    Waiting.CREDENTIALS: Sentence(
        "Stream refuses key or secret, or the app may not do this",
        "`doctor`; docs/operations.md, Secrets",
    ),
    Waiting.INTERNAL: Sentence(
        "a bug, with its traceback in the log", "report it; the entry is tried again"
    ),
}

_BY_REASON = {str(one): text for table in (WAITING, PARKED) for one, text in table.items()}


def sentence_of_entry(state: object, reason: str) -> Sentence:
    """Of an entry of the outbox. One that waits again may still say why it was parked."""
    unknown = UNKNOWN_REASON if state == "parked" else WAITING[Waiting.INTERNAL]
    return _BY_REASON.get(reason, unknown)


WITHOUT_EVENT = {
    "the first sign-in by a custom token": "`repair UID --apply`",
    "accounts imported (`firebase auth:import`, `importUsers`)": "`backfill --apply`",
    "many accounts deleted in one call (`deleteUsers`)": (
        "`audit --users --repair orphan_stream_user --repair orphan_documents --apply`"
    ),
}
"""What Firebase sends no event for, and what to do at once."""

OBSTACLES = {
    Refusal.DISABLED: Sentence(
        "the account is disabled in Firebase Auth", "nothing, or enable it in Firebase Auth"
    ),
    Refusal.ANONYMOUS: Sentence(
        "the account is anonymous, and such accounts are not provisioned"
        " (`stream.provision_anonymous_users`)",
        "nothing: it can chat when it has signed up",
    ),
    Refusal.UNDECIDED: Sentence(
        "nobody knows yet whether the account is a person or a company",
        "nothing: its user document or its first token decides it",
    ),
    Refusal.DEACTIVATED: Sentence(
        "the user is deactivated in Stream", "nothing, or reactivate them in Stream's dashboard"
    ),
    Refusal.BANNED: Sentence(
        "the user is banned in Stream: no token, and no conversation of their own",
        "nothing, or unban them in Stream's dashboard",
    ),
    Refusal.REJECTED: PARKED[Parked.REJECTED],
    Refusal.DELETED: PARKED[Parked.DELETED],
    Refusal.WRONG_TEAM: FAILED["wrong_team"],
    Refusal.TAKEN: FAILED["taken"],
    Refusal.LEFT: Sentence(
        "the user has left the conversation: nobody else brings them back",
        "nothing: their own call of `createConversation` opens it for both",
    ),
}
"""By the ``reason`` of a refused user or conversation."""

OF_THE_WHOLE = {
    "paused": Sentence(
        "somebody has paused all writing to Stream", "`resume`, when the reason is gone"
    ),
    "not set up": Sentence("the last deployment is not complete", "`doctor` says what is missing"),
    "events missing": Sentence(
        "when it was last looked, Stream did not send all events: Firestore lags behind it",
        "`doctor` says what to set; then `resume` looks again, else the nightly audit does",
    ),
    "audit stopped": Sentence(
        "the safeguard stopped an audit or backfill, since a setting seems wrong",
        "correct the setting: docs/settings.md, Safety",
    ),
    "backfill stopped": Sentence(
        "a backfill was begun and is not at its end", "`backfill --apply` continues it"
    ),
    "no audit": Sentence(
        "no nightly audit has ended for 26 hours",
        "read the log of `auditSync` and `runSweep`; the next night begins a new one",
    ),
    "limit": Sentence(
        "more than four fifths of a limit of Stream were used, and people wait at its end",
        "ask Stream to raise it",
    ),
}
"""What ``status`` finds wrong besides."""

NOT_FOUND = Sentence(
    "no account and no company has this id",
    "compare the id with Firebase Auth: upper and lower case differ",
)

DELETED = Sentence(
    "the account was deleted", "nothing: a deleted account is not brought back; make another one"
)

NO_CONVERSATION = Sentence(
    "neither Firestore nor Stream has it", "compare the id with the app's log"
)

NO_CALLER = Sentence(
    "neither is an account, and only an account calls `createConversation`",
    "nothing, or compare the ids with Firebase Auth",
)

NO_TEAM = Sentence(
    "`createConversation` finds no team for the two",
    "correct their teams (`users.teams` in chatsync.toml says where), or let the app name a team",
)

NO_KEY = Sentence(
    "the key of all direct conversations is missing", "restore it: docs/operations.md, Backups"
)
