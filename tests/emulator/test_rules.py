"""The security rules: who may do what from an app, as owner, participant, other, and stranger."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count, product
from typing import Any

import pytest

from chatsync.config import DEFAULTS, SERVER_ONLY
from tests.emulator.rules_client import REMOVED, SERVER_TIME, Denied, Person, sign_in

OWNER = "rules-owner"  # of the documents that most of this is about
PARTICIPANT = "rules-participant"  # is in a conversation with the owner
OTHER = "rules-other"  # is signed in, and that is all
STRANGER = "stranger"  # is not signed in

SIGNED_IN = [OWNER, PARTICIPANT, OTHER]
EVERYBODY = [*SIGNED_IN, STRANGER]
NOT_THE_OWNER = [PARTICIPANT, OTHER, STRANGER]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
BACKDATED = datetime(2000, 1, 1, tzinfo=UTC)
POSTDATED = datetime(2100, 1, 1, tzinfo=UTC)
TIMES = {"createdAt": LONG_AGO, "updatedAt": LONG_AGO}

USER = {
    **{"displayName": "Ann", "photoURL": "https://p/ann.png", "email": "ann@example.com"},
    "phoneNumber": "+15550100",
    "chat": {"role": "user", "teams": ["red"]},
    **TIMES,
}
MIRRORED = {"displayName": "Ann", "photoURL": "https://p/ann.png"}
PROFILE = {
    **MIRRORED,
    "preferences": {"theme": "light", "language": "de"},
    "mirrored": MIRRORED,
    **TIMES,
}
STATS = {"conversationsStarted": 1, "messagesSent": 2, "lastActiveAt": None, **TIMES}

USER_PATH = f"users/{OWNER}"
PROFILE_PATH = f"user_profiles/{OWNER}"
STATS_PATH = f"user_stats/{OWNER}"
COMPANY_PATH = "companies/rules-acme"
CONVERSATION_PATH = "conversations/rules-conversation"
OTHERS_CONVERSATION_PATH = "conversations/rules-others-conversation"
SERVER_ONLY_PATHS = [
    f"repairs/user_{OWNER}",
    "audits/rules-audit",
    "audits/rules-audit/findings/rules-finding",
    "counted_messages/rules-message",
    f"stream_users/user_{OWNER}",
    "pairs/rules-pair",
    f"budgets/{OWNER}",
    "chatsync/rules-keys",
    f"{USER_PATH}/private/notes",
    "unknown/document",
]

STORED: dict[str, dict[str, Any]] = {
    USER_PATH: USER,
    PROFILE_PATH: PROFILE,
    STATS_PATH: STATS,
    **{f"user_stats/{uid}": STATS for uid in (PARTICIPANT, OTHER)},
    **{f"users/{uid}": {"displayName": uid, **TIMES} for uid in (PARTICIPANT, OTHER)},
    COMPANY_PATH: {"name": "Acme", "chat": {"role": "user", "teams": ["red"]}},
    CONVERSATION_PATH: {"participantIds": [OWNER, PARTICIPANT], "status": "ready"},
    OTHERS_CONVERSATION_PATH: {"participantIds": [OTHER, PARTICIPANT], "status": "ready"},
    **{path: {"key": OWNER} for path in SERVER_ONLY_PATHS},
}

READERS = {
    USER_PATH: [OWNER],
    PROFILE_PATH: SIGNED_IN,
    STATS_PATH: [OWNER],
    COMPANY_PATH: SIGNED_IN,
    CONVERSATION_PATH: [OWNER, PARTICIPANT],
    **{path: [] for path in SERVER_ONLY_PATHS},
}

READ_ONLY_PATHS = [STATS_PATH, COMPANY_PATH, CONVERSATION_PATH, *SERVER_ONLY_PATHS]

# What the functions read in a user document that its owner writes, and how long it may be.
MOST_CHARACTERS = {
    **dict.fromkeys(DEFAULTS.users.name, 256),
    **dict.fromkeys(DEFAULTS.users.image, 2048),
    "email": 320,
    "phoneNumber": 32,
}
TOO_LONG = {field: "x" * (most + 1) for field, most in MOST_CHARACTERS.items()}
LEGACY_USER = {field: {"first": "Nora"} for field in MOST_CHARACTERS}

_numbers = count()


@pytest.fixture(scope="module")
def signed_in(firebase, firestore) -> Iterator[dict[str, Person]]:
    yield {uid: sign_in(uid, firebase) for uid in SIGNED_IN}
    for path in STORED:  # other tests wait for an empty outbox
        firestore.document(path).delete()


@pytest.fixture
def people(signed_in, stored) -> dict[str, Person]:
    """All four, each with the app in hands."""
    return {**signed_in, STRANGER: Person(STRANGER)}


@pytest.fixture
def owner(people) -> Person:
    return people[OWNER]


@pytest.fixture
def newcomer(firebase) -> Person:
    """Somebody whose account is so new that they have no documents yet."""
    return sign_in(f"rules-newcomer-{next(_numbers)}", firebase)


@pytest.fixture
def legacy_profile(firestore, newcomer) -> str:
    """The path of a profile of theirs, as an app may have written it before it had these rules."""
    path = f"user_profiles/{newcomer.uid}"
    firestore.document(path).set({"displayName": 42, "preferences": "none", "verified": True})
    return path


@pytest.fixture
def legacy_user(firestore, newcomer) -> str:
    """The path of their user document, as an app may have written it before it had these rules."""
    path = f"users/{newcomer.uid}"
    firestore.document(path).set({**LEGACY_USER, "locale": "de"})
    return path


@pytest.fixture
def stored(firestore) -> None:
    """The documents as in ``STORED``. Only what a test has changed is written again, since every
    write has functions run."""
    batch = firestore.batch()
    for snapshot in firestore.get_all([firestore.document(path) for path in STORED]):
        wanted = STORED[snapshot.reference.path]
        if snapshot.to_dict() != wanted:
            batch.set(snapshot.reference, wanted)
    batch.commit()


def cases(*rows: tuple[str, dict[str, object]]) -> Any:
    """Parametrizes ``fields`` with rows of (what it is, fields)."""
    return pytest.mark.parametrize(
        "fields", [fields for _, fields in rows], ids=[name for name, _ in rows]
    )


def each_by(people: list[str], paths: list[str]) -> Any:
    """Parametrizes ``path`` and ``person`` with every combination."""
    return pytest.mark.parametrize(("path", "person"), list(product(paths, people)))


def readings(allowed: bool) -> list[tuple[str, str]]:
    every = product(READERS, EVERYBODY)
    return [(path, person) for path, person in every if (person in READERS[path]) == allowed]


# Reading


@pytest.mark.parametrize(("path", "person"), readings(allowed=True))
def test_who_may_read_does(people, path, person):
    assert people[person].exists(path)


def test_a_newcomer_sees_that_they_have_no_user_document_yet(newcomer):
    assert not newcomer.exists(f"users/{newcomer.uid}")


@pytest.mark.parametrize(("path", "person"), readings(allowed=False))
def test_nobody_else_reads(people, path, person):
    with pytest.raises(Denied):
        people[person].exists(path)


@pytest.mark.parametrize(
    ("person", "own"),
    [(OWNER, [CONVERSATION_PATH]), (PARTICIPANT, [CONVERSATION_PATH, OTHERS_CONVERSATION_PATH])],
)
def test_a_participant_lists_their_own_conversations(people, person, own):
    found = people[person].query("conversations", ("participantIds", "ARRAY_CONTAINS", person))
    assert sorted(f"conversations/{name}" for name in found) == sorted(own)


@pytest.mark.parametrize("person", [OTHER, STRANGER])
def test_nobody_lists_the_conversations_of_another(people, person):
    with pytest.raises(Denied):
        people[person].query("conversations", ("participantIds", "ARRAY_CONTAINS", OWNER))


@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_lists_all_conversations(people, person):
    with pytest.raises(Denied):
        people[person].query("conversations")


@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_learns_whether_a_conversation_exists(people, person):
    with pytest.raises(Denied):
        people[person].exists("conversations/rules-not-there")


@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_finds_a_user_by_email(people, person):
    with pytest.raises(Denied):
        people[person].query("users", ("email", "EQUAL", USER["email"]))


LISTED_BY_NOBODY = ["users", "user_profiles", "user_stats", "companies", *SERVER_ONLY, "unknown"]


@pytest.mark.parametrize("collection", LISTED_BY_NOBODY)
@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_lists_what_others_own(people, collection, person):
    with pytest.raises(Denied):
        people[person].query(collection)


@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_lists_the_findings_of_all_audits(people, person):
    with pytest.raises(Denied):
        people[person].query("findings", all_descendants=True)


# What the server writes


@each_by(EVERYBODY, READ_ONLY_PATHS)
def test_nobody_updates_what_the_server_writes(people, path, person):
    with pytest.raises(Denied):
        people[person].update(path, {"status": "forged"})


@each_by(EVERYBODY, [USER_PATH, PROFILE_PATH, *READ_ONLY_PATHS])
def test_nobody_deletes_a_document(people, path, person):
    with pytest.raises(Denied):
        people[person].delete(path)


@each_by(EVERYBODY, [f"{path}-forged" for path in READ_ONLY_PATHS])
def test_nobody_creates_what_the_server_writes(people, path, person):
    with pytest.raises(Denied):
        people[person].create(path, {"participantIds": [person], "key": person})


@pytest.mark.parametrize("collection", ["companies", "conversations", "user_stats"])
def test_nobody_becomes_a_company_or_the_like_by_their_uid(newcomer, collection):
    with pytest.raises(Denied):
        newcomer.create(f"{collection}/{newcomer.uid}", {"participantIds": [newcomer.uid]})


@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_joins_a_conversation_by_writing_it(people, person):
    with pytest.raises(Denied):
        people[person].update(CONVERSATION_PATH, {"participantIds": [OWNER, person]})


# users/{uid}


@cases(
    ("a name", {"displayName": "Nora"}),
    ("times of the server", {"createdAt": SERVER_TIME, "updatedAt": SERVER_TIME}),
    ("private fields", {"email": "nora@example.com", "phoneNumber": "+15550101"}),
    ("a field of the app", {"locale": "de"}),
    ("a long field of the app", {"biography": "b" * 10_000}),
    ("the longest of everything", {name: "ä" * most for name, most in MOST_CHARACTERS.items()}),
    ("null for everything", dict.fromkeys(MOST_CHARACTERS)),
    ("nothing", {}),
)
def test_a_newcomer_creates_their_user_document(newcomer, fields):
    newcomer.create(f"users/{newcomer.uid}", fields)


def test_an_app_that_comes_before_the_functions_merges_the_name_at_sign_up(newcomer):
    newcomer.merge(f"users/{newcomer.uid}", {"displayName": "Nora", "updatedAt": SERVER_TIME})


def test_an_app_that_comes_after_the_functions_merges_the_name_at_sign_up(owner):
    owner.merge(USER_PATH, {"displayName": "Nora", "updatedAt": SERVER_TIME})


@cases(
    ("a role", {"chat": {"role": "admin"}}),
    ("a team", {"chat": {"teams": ["red"]}}),
    ("an empty chat", {"chat": {}}),
    ("an early creation time", {"createdAt": BACKDATED}),
    ("a late creation time", {"createdAt": POSTDATED}),
    ("no creation time", {"createdAt": None}),
    ("an early update time", {"updatedAt": BACKDATED}),
    ("a late update time", {"updatedAt": POSTDATED}),
)
def test_a_newcomer_cannot_create_their_user_document_with(newcomer, fields):
    with pytest.raises(Denied):
        newcomer.create(f"users/{newcomer.uid}", fields)


@pytest.mark.parametrize("field", MOST_CHARACTERS)
def test_a_newcomer_cannot_create_their_user_document_with_too_long(newcomer, field):
    with pytest.raises(Denied):
        newcomer.create(f"users/{newcomer.uid}", {field: TOO_LONG[field]})


@pytest.mark.parametrize("field", MOST_CHARACTERS)
def test_a_newcomer_cannot_create_their_user_document_with_other_than_text_in(newcomer, field):
    with pytest.raises(Denied):
        newcomer.create(f"users/{newcomer.uid}", {field: ["x"]})


@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_creates_the_user_document_of_another(people, newcomer, person):
    with pytest.raises(Denied):
        people[person].create(f"users/{newcomer.uid}", {"displayName": "Mallory"})


@cases(
    ("the name", {"displayName": "Annie"}),
    ("the name under a legacy field name", {"full_name": "Annie"}),
    ("the picture", {"photoURL": "https://p/annie.png"}),
    ("the e-mail address", {"email": "annie@example.com"}),
    ("the phone number", {"phoneNumber": "+15550102"}),
    ("a field of the app", {"locale": "de"}),
    ("a field of the app, to a long one", {"biography": "b" * 10_000}),
    ("a field of the app, to a map", {"address": {"city": "Pune"}}),
    ("the update time, to the server's", {"updatedAt": SERVER_TIME}),
    ("the phone number, to none", {"phoneNumber": REMOVED}),
    ("everything, to null", dict.fromkeys(MOST_CHARACTERS)),
    (
        "everything at once, to the longest",  # within what rules may evaluate in a request
        {name: "ä" * most for name, most in MOST_CHARACTERS.items()} | {"updatedAt": SERVER_TIME},
    ),
)
def test_the_owner_updates_in_the_user_document(owner, fields):
    owner.update(USER_PATH, fields)


def test_the_owner_writes_back_the_user_document_that_they_read(owner):
    owner.replace(USER_PATH, {**USER, "displayName": "Annie"})


@cases(
    ("the role", {"chat.role": "admin"}),
    ("the teams", {"chat.teams": ["red", "blue"]}),
    ("role and teams", {"chat": {"role": "admin", "teams": ["blue"]}}),
    ("role and teams, to none", {"chat": REMOVED}),
    ("the creation time, to an earlier one", {"createdAt": BACKDATED}),
    ("the creation time, to now", {"createdAt": SERVER_TIME}),
    ("the creation time, to none", {"createdAt": REMOVED}),
    ("the update time, to an earlier one", {"updatedAt": BACKDATED}),
    ("the update time, to a later one", {"updatedAt": POSTDATED}),
)
def test_the_owner_cannot_update_in_the_user_document(owner, fields):
    with pytest.raises(Denied):
        owner.update(USER_PATH, fields)


@pytest.mark.parametrize("field", MOST_CHARACTERS)
def test_the_owner_updates_to_the_longest(owner, field):
    owner.update(USER_PATH, {field: "x" * MOST_CHARACTERS[field]})


@pytest.mark.parametrize("field", MOST_CHARACTERS)
def test_the_owner_cannot_update_to_too_long(owner, field):
    with pytest.raises(Denied):
        owner.update(USER_PATH, {field: TOO_LONG[field]})


@pytest.mark.parametrize("field", MOST_CHARACTERS)
def test_the_owner_cannot_update_to_other_than_text(owner, field):
    with pytest.raises(Denied):
        owner.update(USER_PATH, {field: ["x"]})


@cases(
    ("a field of the app", {"locale": "en"}),
    *((f"{field} alone", {field: "Nora"}) for field in MOST_CHARACTERS),
)
def test_the_owner_updates_in_a_user_document_older_than_these_rules(newcomer, legacy_user, fields):
    newcomer.update(legacy_user, fields)


def test_the_owner_cannot_lengthen_what_is_too_long_since_before_these_rules(newcomer, legacy_user):
    with pytest.raises(Denied):
        newcomer.update(legacy_user, {"displayName": TOO_LONG["displayName"]})


@pytest.mark.parametrize("person", [PARTICIPANT, OTHER])
def test_nobody_gives_themselves_role_and_teams_for_the_first_time(people, person):
    with pytest.raises(Denied):
        people[person].merge(f"users/{person}", {"chat": {"role": "admin", "teams": ["red"]}})


def test_replacing_the_user_document_does_not_shed_role_and_teams(owner):
    with pytest.raises(Denied):
        owner.replace(USER_PATH, {"displayName": "Annie", "createdAt": LONG_AGO})


@pytest.mark.parametrize("person", NOT_THE_OWNER)
def test_nobody_updates_the_user_document_of_another(people, person):
    with pytest.raises(Denied):
        people[person].update(USER_PATH, {"displayName": "Mallory"})


# user_profiles/{uid}


@cases(
    ("the name", {"displayName": "Annie"}),
    ("the name, to none", {"displayName": None}),
    ("the name, to a long one", {"displayName": "n" * 256}),
    ("the picture", {"photoURL": "https://p/annie.png"}),
    ("the picture, to none", {"photoURL": None}),
    ("the picture, to a long address", {"photoURL": "u" * 2048}),
    ("one preference", {"preferences.theme": "dark"}),
    ("one preference, to none", {"preferences.theme": REMOVED}),
    ("all preferences", {"preferences": {"theme": "dark"}}),
    ("many preferences", {"preferences": {f"p{number}": True for number in range(100)}}),
    ("the preferences, to null", {"preferences": None}),
    ("the preferences, to a missing field", {"preferences": REMOVED}),
    ("the update time, to the server's", {"updatedAt": SERVER_TIME}),
    ("several at once", {"displayName": "A", "preferences.theme": "d", "updatedAt": SERVER_TIME}),
)
def test_the_owner_updates_in_the_profile(owner, fields):
    owner.update(PROFILE_PATH, fields)


def test_the_owner_merges_into_the_profile(owner):
    owner.merge(PROFILE_PATH, {"displayName": "Annie", "updatedAt": SERVER_TIME})


def test_the_owner_writes_back_the_profile_that_they_read(owner):
    owner.replace(PROFILE_PATH, {**PROFILE, "displayName": "Annie"})


def test_the_owner_updates_a_profile_that_is_older_than_these_rules(newcomer, legacy_profile):
    newcomer.update(legacy_profile, {"displayName": "Nora"})


@cases(
    ("the name, to a number", {"displayName": 42}),
    ("the name, to a map", {"displayName": {"first": "Ann"}}),
    ("the name, to one too long", {"displayName": "n" * 257}),
    ("the name, to a missing field", {"displayName": REMOVED}),
    ("the picture, to a number", {"photoURL": 42}),
    ("the picture, to an address too long", {"photoURL": "u" * 2049}),
    ("the picture, to a missing field", {"photoURL": REMOVED}),
    ("the preferences, to a text", {"preferences": "dark"}),
    ("the preferences, to a list", {"preferences": ["dark"]}),
    ("the preferences, to too many", {"preferences": {f"p{number}": 1 for number in range(101)}}),
    ("what was mirrored", {"mirrored": {"displayName": "Annie"}}),
    ("one field that was mirrored", {"mirrored.displayName": "Annie"}),
    ("what was mirrored, to a missing field", {"mirrored": REMOVED}),
    ("the creation time, to an earlier one", {"createdAt": BACKDATED}),
    ("the creation time, to now", {"createdAt": SERVER_TIME}),
    ("the creation time, to a missing field", {"createdAt": REMOVED}),
    ("the update time, to an earlier one", {"updatedAt": BACKDATED}),
    ("the update time, to a later one", {"updatedAt": POSTDATED}),
    ("the update time, to a missing field", {"updatedAt": REMOVED}),
    ("role and teams", {"chat": {"role": "admin", "teams": ["blue"]}}),
    ("a field of their own", {"verified": True}),
    ("a forgery beside an edit", {"displayName": "Annie", "mirrored.displayName": "Annie"}),
)
def test_the_owner_cannot_update_in_the_profile(owner, fields):
    with pytest.raises(Denied):
        owner.update(PROFILE_PATH, fields)


def test_nobody_adds_what_was_mirrored_to_a_profile_without(newcomer, legacy_profile):
    with pytest.raises(Denied):
        newcomer.update(legacy_profile, {"mirrored": {"displayName": "Nora"}})


@pytest.mark.parametrize("person", NOT_THE_OWNER)
def test_nobody_updates_the_profile_of_another(people, person):
    with pytest.raises(Denied):
        people[person].update(PROFILE_PATH, {"displayName": "Mallory"})


def test_a_newcomer_cannot_create_their_profile(newcomer):
    with pytest.raises(Denied):
        newcomer.create(f"user_profiles/{newcomer.uid}", {"displayName": "Nora"})


@pytest.mark.parametrize("person", EVERYBODY)
def test_nobody_creates_the_profile_of_another(people, newcomer, person):
    with pytest.raises(Denied):
        people[person].create(f"user_profiles/{newcomer.uid}", {"displayName": "Mallory"})
