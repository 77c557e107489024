"""What differs of a user, and what to do about it: decided without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsync import audit, outbox
from chatsync.audit.steps import disagreements_of
from chatsync.config import CompanyRule, Config, Stream, Users
from chatsync.errors import Refusal
from chatsync.ids import Key
from chatsync.plan import Observed, Plan, Policy, plan
from chatsync.users import Account, FirebaseState, refusal, refusal_of_the_rest

ANN = Key("user", "ann")
ACME = Key("company", "acme")
CREATED = datetime(2026, 1, 2, tzinfo=UTC)

ACCOUNT = Account("ann", CREATED, "Ann", email="ann@example.com")
USER = {"displayName": "Ann"}
PROFILE = {"displayName": "Ann", "photoURL": None, "mirrored": {"displayName": "Ann"}}
STATS = {"messagesSent": 0}
IN_AGREEMENT = FirebaseState(ACCOUNT, USER, PROFILE, STATS)
IN_STREAM = {"id": "ann", "name": "Ann", "role": "user"}


def state(**changed: Any) -> FirebaseState:
    return replace(IN_AGREEMENT, **changed)


def account(**changed: Any) -> Account:
    return Account(**{**vars(ACCOUNT), **changed})


def decide(
    state: FirebaseState = IN_AGREEMENT,
    stream_user: dict[str, Any] | None = None,
    policy: Policy | None = None,
    key: Key = ANN,
    **known: bool,
) -> Plan:
    observed = Observed(key, key.id, state, stream_user, **known)
    return plan(observed, policy or Policy())


WITHOUT_ANONYMOUS = Config(stream=Stream(provision_anonymous_users=False))

WITH_COMPANIES = Config(
    stream=Stream(company_role="business"),
    users=Users(company=CompanyRule(field="type", values=("company",))),
)
WITH_CLAIMS = Config(users=Users(role="claims:role"))
WITHOUT_ADMINS = Config(stream=Stream(allowed_roles=("user",)))

NEW = {"id": "ann", "name": "Ann", "role": "user", "teams": []}
NEW_NAME = {"id": "ann", "set": {"name": "Ann"}, "unset": []}

CASES = {
    "agreement": (decide(IN_AGREEMENT, IN_STREAM), Plan()),
    "nobody": (decide(state(account=None), IN_STREAM), Plan(exists=False)),
    "missing in Stream": (decide(IN_AGREEMENT, None), Plan(create=NEW)),
    "another name in Stream": (decide(IN_AGREEMENT, {"id": "ann"}), Plan(patch=NEW_NAME)),
    "no profile": (decide(state(profile=None), IN_STREAM), Plan(documents=True)),
    "no documents, and missing": (
        decide(FirebaseState(ACCOUNT), None),
        Plan(documents=True, create=NEW),
    ),
    "disabled, and missing": (
        decide(state(account=account(disabled=True)), None),
        Plan(obstacle=Refusal.DISABLED),
    ),
    "disabled, and there": (decide(state(account=account(disabled=True)), IN_STREAM), Plan()),
    "disabled, there, not to be served": (
        decide(state(account=account(disabled=True)), IN_STREAM, Policy(serves_disabled=False)),
        Plan(obstacle=Refusal.DISABLED),
    ),
    "deactivated, and another name": (
        decide(IN_AGREEMENT, {"id": "ann", "deactivated_at": "2026"}),
        Plan(obstacle=Refusal.DEACTIVATED),
    ),
    "banned, and another name": (
        decide(IN_AGREEMENT, {"id": "ann", "banned": True}),
        Plan(patch=NEW_NAME, obstacle=Refusal.BANNED),
    ),
    "anonymous, not to be provisioned": (
        decide(FirebaseState(account(anonymous=True)), None, Policy(WITHOUT_ANONYMOUS)),
        Plan(obstacle=Refusal.ANONYMOUS),
    ),
    "Stream unknown": (
        decide(state(profile=None), None, stream_is_known=False),
        Plan(documents=True),
    ),
    "account unknown, in agreement": (
        decide(state(account=None), IN_STREAM, account_is_known=False),
        Plan(),
    ),
    "account unknown, something to write": (
        decide(state(account=None), None, account_is_known=False),
        Plan(ask_auth=True),
    ),
    "account unknown, no name": (
        decide(FirebaseState(None, {}, {}, {}), {"id": "ann"}, account_is_known=False),
        Plan(ask_auth=True),
    ),
    "account unknown, banned": (
        decide(state(account=None), {**IN_STREAM, "banned": True}, account_is_known=False),
        Plan(obstacle=Refusal.BANNED),
    ),
    "a name refused before": (
        decide(state(refused=frozenset([refusal("name", "Ann")])), {"id": "ann"}),
        Plan(),
    ),
    "a role refused before": (
        decide(
            state(
                user={**USER, "chat": {"role": "no-such-role"}},
                refused=frozenset([refusal_of_the_rest({"role": "no-such-role"}, "user")]),
            ),
            IN_STREAM,
        ),
        Plan(obstacle=Refusal.REJECTED),
    ),
    "a company": (
        decide(
            FirebaseState(company={"name": "Acme"}),
            None,
            None,
            ACME,
            account_is_known=False,
        ),
        Plan(create={"id": "acme", "name": "Acme", "role": "user", "teams": []}),
    ),
    "an account of which nobody has written down what it is": (
        decide(IN_AGREEMENT, IN_STREAM, kind_is_recorded=False),
        Plan(entry=True),
    ),
    "an account before its user document, where that tells whether it is a company": (
        decide(FirebaseState(ACCOUNT), None, Policy(WITH_COMPANIES)),
        Plan(obstacle=Refusal.UNDECIDED),
    ),
    "an account that is a company": (
        decide(
            state(user={"name": "Acme", "type": "company"}, profile=PROFILE),
            None,
            Policy(WITH_COMPANIES),
        ),
        Plan(create={**NEW, "name": "Acme", "role": "business"}, documents=True),
    ),
    "a role in the claims of an account that was not asked for": (
        decide(IN_AGREEMENT, IN_STREAM, Policy(WITH_CLAIMS), account_is_known=False),
        Plan(ask_auth=True),
    ),
    "a role in the claims": (
        decide(state(account=account(claims={"role": "coach"})), IN_STREAM, Policy(WITH_CLAIMS)),
        Plan(patch={"id": "ann", "set": {"role": "coach"}, "unset": []}),
    ),
    "a role that is not allowed": (
        decide(state(user={**USER, "chat": {"role": "admin"}}), IN_STREAM, Policy(WITHOUT_ADMINS)),
        Plan(),
    ),
    "a company of whose id an account was known": (
        decide(FirebaseState(company={}), {"id": "acme"}, None, ACME, is_account=True),
        Plan(),
    ),
    "a company that is an account": (
        decide(FirebaseState(ACCOUNT, company={}), {"id": "acme"}, None, ACME, is_account=True),
        Plan(instead=Key("user", "acme")),
    ),
    "a plain id that is a company's": (
        decide(FirebaseState(company={"name": "Acme"}), None),
        Plan(exists=False, instead=Key("company", "ann")),
    ),
    "a company without document": (
        decide(FirebaseState(), None, key=ACME, account_is_known=False),
        Plan(exists=False, instead=Key("user", "acme")),
    ),
}


@pytest.mark.parametrize(("decided", "expected"), CASES.values(), ids=CASES.keys())
def test_what_is_decided(decided, expected):
    assert decided == expected


def test_what_the_audit_reports_is_what_the_repair_would_write():
    writes = Plan(documents=True, create=NEW, patch=NEW_NAME)
    kinds = [kind for kind, _ in disagreements_of(writes, FirebaseState(ACCOUNT, USER), Config())]
    assert kinds == ["missing_documents", "missing_stream_user", "drifted_stream_user"]
    assert disagreements_of(Plan(obstacle=Refusal.BANNED), IN_AGREEMENT, Config()) == []


users = st.fixed_dictionaries(
    {},
    optional={
        "displayName": st.sampled_from(["Ann", "Anna", "", None, 7]),
        "photoURL": st.sampled_from(["https://p/1", "javascript:x", None]),
        "chat": st.sampled_from([{"role": "admin"}, {"teams": ["red"]}, {}, None]),
    },
)
profiles = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"displayName": st.sampled_from(["Ann", "Annie", None])},
        optional={"mirrored": st.sampled_from([{"displayName": "Ann"}, {}, None])},
    ),
)
stream_users = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"name": st.sampled_from(["Ann", "Annie", "Zoe"])},
        optional={"image": st.just("https://p/1"), "role": st.just("admin")},
    ),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    user=st.one_of(st.none(), users),
    profile=profiles,
    has_stats=st.booleans(),
    stream_user=stream_users,
    is_disabled=st.booleans(),
    is_banned=st.booleans(),
)
def test_the_audit_finds_something_just_where_the_repair_writes(
    user,
    profile,
    has_stats,
    stream_user,
    is_disabled,
    is_banned,
    accounts,
    clients,
    firestore_api,
    stream,
    chat,
):
    stream.reset()
    firestore_api.documents.clear()
    accounts.sign_up("ann", displayName="Ann", disabled=is_disabled)
    for path, fields in (
        ("users/ann", user),
        ("user_profiles/ann", profile),
        ("user_stats/ann", {} if has_stats else None),
    ):
        if fields is not None:
            clients.firestore.document(path).set(fields)
    if stream_user:
        chat.upsert_user({"id": "ann", **stream_user})
        if is_banned:
            chat.upsert_user({"id": "moderator"})
            chat.ban_user("ann", user_id="moderator")
    before = dict(firestore_api.documents)

    def without_entry() -> dict[str, Any]:
        documents = firestore_api.documents.items()
        return {name: one for name, one in documents if "/stream_users/" not in name}

    found = audit.start("operator", clients, steps=["accounts"])
    page = audit.run_page(found, clients)
    firestore_api.documents = dict(before)
    since = stream.last_request()
    outbox.reconcile([ANN], clients)
    wrote = without_entry() != before or any(
        operation.startswith("UpdateUsers") for operation in stream.operations(since)
    )
    assert bool(page.findings) == wrote
