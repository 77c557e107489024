"""Accounts that are companies: one account has one Stream user, whatever comes first."""

from itertools import permutations

import pytest

from chatsync import audit, outbox
from chatsync.clients.documents import Entry, read_documents
from chatsync.clients.entries import write_entry
from chatsync.conversations.create import create_conversation
from chatsync.document_writes import DocumentWrites
from chatsync.entry import events, tokens, webhooks
from chatsync.errors import FailedPrecondition, NotFound
from chatsync.ids import Key
from chatsync.operator import options
from chatsync.outcome import NotRepaired
from chatsync.stream_writes import StreamWrites
from chatsync.users import FirebaseState
from tests.fast.outbox import drain_until_settled, entries

CREW = {"user_id": "onecrew_user_{uid}", "company_id": "onecrew_company_{id}"}
BY_TYPE = {"company": {"field": "type", "values": ["company"]}}


@pytest.fixture
def crew(with_settings):
    return with_settings(stream=CREW)


@pytest.fixture
def crew_by_type(with_settings):
    """An app whose user documents say which accounts are companies."""
    return with_settings(stream=CREW, users=BY_TYPE)


@pytest.fixture
def in_stream(chat):
    def in_stream() -> dict[str, str]:
        """The names of all Stream users, by id."""
        return {user["id"]: user.get("name", "") for user in chat.query_users({})["users"]}

    return in_stream


def kind_of(uid: str, clients) -> str | None:
    fields = clients.firestore.document(f"stream_users/user_{uid}").get().to_dict() or {}
    return fields.get("kind")


def write_user(uid: str, fields: dict, clients) -> None:
    """The app writes a user document, and its event comes."""
    clients.firestore.document(f"users/{uid}").set(fields)
    events.reconcile_after_creation(uid, clients)


def write_company(company_id: str, fields: dict, clients) -> None:
    clients.firestore.document(f"companies/{company_id}").set(fields)
    events.reconcile_company(company_id, FirebaseState(), FirebaseState(company=fields), clients)


HAPPENINGS = {
    "sign-up": lambda clients: events.reconcile_after_sign_up("acme", clients),
    "user document": lambda clients: write_user("acme", {"type": "company"}, clients),
    "company document": lambda clients: write_company("acme", {"name": "Acme"}, clients),
    "token": lambda clients: tokens.issue_token("acme", clients),
}


@pytest.mark.parametrize("order", list(permutations(HAPPENINGS)), ids=", ".join)
@pytest.mark.parametrize("says_type", [True, False], ids=["with a rule", "without"])
def test_whatever_comes_first_an_account_has_one_identity(
    order, says_type, accounts, crew, crew_by_type, in_stream
):
    clients = crew_by_type if says_type else crew
    accounts.sign_up("acme")
    for happening in order:
        HAPPENINGS[happening](clients)
        assert len(in_stream()) <= 1, happening
    drain_until_settled(clients)
    kind = kind_of("acme", clients)
    assert list(in_stream()) == [f"onecrew_{kind}_acme"]
    assert tokens.issue_token("acme", clients)["streamUserId"] == f"onecrew_{kind}_acme"
    first_of_two = min(order.index("company document"), order.index("user document"))
    if says_type:
        is_company = order.index("token") > first_of_two
    else:
        is_company = order[0] == "company document"
    assert kind == ("company" if is_company else "user")
    [outcome] = outbox.reconcile([Key("company", "acme")], clients)
    assert (outcome.key, outcome.stream_id) == (Key("user", "acme"), f"onecrew_{kind}_acme")


def test_before_anything_tells_what_an_account_is_nothing_is_created_in_stream(
    accounts, crew_by_type, in_stream, capsys
):
    accounts.sign_up("ann", displayName="Ann")
    events.reconcile_after_sign_up("ann", crew_by_type)
    assert (in_stream(), kind_of("ann", crew_by_type)) == ({}, None)
    assert "Left user ann as it is: user is undecided" in capsys.readouterr().out
    assert entries(crew_by_type) == {}
    write_user("ann", {"type": "person", "displayName": "Ann"}, crew_by_type)
    assert in_stream() == {"onecrew_user_ann": "Ann"}


def test_a_conversation_with_somebody_undecided_is_refused_before_anything_is_written(
    accounts, crew_by_type, firestore_api
):
    for uid in ("ann", "bob"):
        accounts.sign_up(uid)
    write_user("ann", {"type": "person"}, crew_by_type)
    before = dict(firestore_api.documents)
    with pytest.raises(FailedPrecondition, match="undecided: bob"):
        create_conversation("ann", {"participantIds": ["bob"]}, crew_by_type)
    assert firestore_api.documents == before


def test_the_field_that_makes_a_company_may_be_one_of_the_names(accounts, with_settings, in_stream):
    names = {"name": ["displayName", "category"]}
    by_category = {"company": {"field": "category", "values": ["company"]}}
    clients = with_settings(users={**names, **by_category})
    accounts.sign_up("acme")
    clients.firestore.document("users/acme").set({"displayName": "Acme", "category": "company"})
    events.reconcile_after_creation("acme", clients)
    assert in_stream() == {"company_acme": "Acme"}


@pytest.mark.parametrize("path", ["type", "createdAt", "names", "pictures"])
def test_the_field_that_makes_a_company_may_be_an_extra_field_of_any_name(
    accounts, with_settings, chat, path
):
    by_path = {"company": {"field": path, "values": ["company"]}}
    clients = with_settings(users={**by_path, "stream_fields": {"extra": path}})
    accounts.sign_up("acme")
    clients.firestore.document("users/acme").set({"displayName": "Acme", path: "company"})
    events.reconcile_after_creation("acme", clients)
    [user] = chat.query_users({"id": "company_acme"})["users"]
    assert user["extra"] == "company"


def test_a_company_missing_in_stream_is_repaired_however_it_is_named(accounts, crew, in_stream):
    crew.firestore.document("companies/ltd").set({"company_name": "Ltd"})
    accounts.sign_up("ann", displayName="Ann")
    for key in (Key("company", "ltd"), Key("user", "ltd")):
        [outcome] = outbox.reconcile([key], crew)
        assert (outcome.error, outcome.stream_id) == (None, "onecrew_company_ltd")
    assert in_stream() == {"onecrew_company_ltd": "Ltd"}


def test_a_plain_id_of_neither_account_nor_company_is_not_found(crew):
    [outcome] = outbox.reconcile([Key("user", "nobody")], crew)
    assert isinstance(outcome.error, NotFound)


def test_a_deleted_account_gets_no_token_though_a_company_has_its_id(accounts, crew):
    crew.firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme")
    assert tokens.issue_token("acme", crew)["streamUserId"] == "onecrew_company_acme"
    accounts.delete("acme")
    with pytest.raises(NotRepaired):
        tokens.issue_token("acme", crew)


@pytest.fixture
def conversation(accounts, crew):
    """Of Ann, an account that is a company, and a company without account."""
    accounts.sign_up("ann", displayName="Ann")
    accounts.sign_up("acme")
    for name in ("acme", "ltd"):
        crew.firestore.document(f"companies/{name}").set({"name": name.title()})
    return create_conversation("ann", {"participantIds": ["acme", "ltd"], "name": "Deal"}, crew)


def test_plain_ids_of_people_and_companies_make_one_conversation(conversation, crew, in_stream):
    assert conversation["participantIds"] == ["ann", "acme", {"companyId": "ltd"}]
    document = crew.firestore.document(f"conversations/{conversation['id']}").get().to_dict()
    assert document["participantIds"] == ["ann", "acme"]
    assert document["memberIds"] == [
        "onecrew_user_ann",
        "onecrew_company_acme",
        "onecrew_company_ltd",
    ]
    assert in_stream() == {
        "onecrew_user_ann": "Ann",
        "onecrew_company_acme": "Acme",
        "onecrew_company_ltd": "Ltd",
    }


def test_a_company_that_signs_in_may_read_what_a_webhook_records(conversation, crew):
    reference = crew.firestore.document(f"conversations/{conversation['id']}")
    reference.delete()
    webhooks.handle({"type": "channel.updated", "cid": conversation["cid"]}, crew)
    assert reference.get().get("participantIds") == ["ann", "acme"]


def test_an_account_named_as_company_and_by_its_uid_is_one_member(conversation, crew):
    named = [["acme"], [{"companyId": "acme"}]]
    ids = [create_conversation("ann", {"participantIds": one}, crew)["id"] for one in named]
    ids.append(create_conversation("acme", {"participantIds": ["ann"]}, crew)["id"])
    assert len(set(ids)) == 1
    both = {"participantIds": ["acme", {"companyId": "acme"}], "name": "Twice"}
    assert create_conversation("ann", both, crew)["participantIds"] == ["ann", "acme"]


def test_an_account_that_is_a_company_goes_with_its_stream_user(
    accounts, crew_by_type, in_stream, firestore_api
):
    accounts.sign_up("acme")
    write_user("acme", {"type": "company", "displayName": "Acme"}, crew_by_type)
    assert in_stream() == {"onecrew_company_acme": "Acme"}
    accounts.delete("acme")
    events.remove_after_event("acme", crew_by_type)
    assert (in_stream(), firestore_api.left_documents()) == ({}, set())


def test_a_removal_that_stream_cannot_do_now_still_knows_the_company(
    accounts, crew_by_type, in_stream, stream, firestore_api
):
    accounts.sign_up("acme")
    write_user("acme", {"type": "company", "displayName": "Acme"}, crew_by_type)
    accounts.delete("acme")
    stream.fault("DeleteUser", "status", status=503, rate=1)
    events.remove_after_event("acme", crew_by_type)
    stream.clear_faults()
    drain_until_settled(crew_by_type)
    assert (in_stream(), firestore_api.left_documents()) == ({}, set())


def test_a_company_outlives_an_account_of_its_id(accounts, crew, in_stream):
    crew.firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme")
    tokens.issue_token("acme", crew)
    accounts.delete("acme")
    events.remove_after_event("acme", crew)
    assert in_stream() == {"onecrew_company_acme": "Acme"}
    entry = crew.firestore.document("stream_users/user_acme").get().to_dict()
    assert (bool(entry["deletedAt"]), entry["kind"]) == (True, "company")


def test_the_audit_finds_nothing_where_companies_and_accounts_agree(conversation, crew, in_stream):
    found = audit.start("operator", crew)
    while found.state == "running":
        found = audit.run_page(found, crew)
    assert (found.findings, found.sync_rate) == (0, 1.0)


def test_a_message_of_an_account_that_is_a_company_counts_for_it(conversation, crew):
    message = {
        "id": "1",
        "user": {"id": "onecrew_company_acme"},
        "created_at": conversation["createdAt"],
    }
    event = {"type": "message.new", "cid": conversation["cid"], "message": message}
    webhooks.handle(event, crew)
    assert crew.firestore.document("user_stats/acme").get().get("messagesSent") == 1


def test_one_person_and_an_assistant_make_a_conversation(accounts, with_settings, chat):
    clients = with_settings(stream={"service_users": ["assistant"]})
    chat.upsert_user({"id": "assistant", "name": "Assistant"})
    accounts.sign_up("ann", displayName="Ann")
    first = create_conversation("ann", {"participantIds": ["assistant"]}, clients)
    again = create_conversation("ann", {"participantIds": ["assistant"]}, clients)
    assert first["conversationType"] == "direct"
    assert (again["id"], again["existed"]) == (first["id"], True)
    assert first["participantIds"] == ["ann", "assistant"]
    document = clients.firestore.document(f"conversations/{first['id']}").get().to_dict()
    assert document["participantIds"] == ["ann"]
    assert sorted(document["memberIds"]) == ["ann", "assistant"]


# Races, corrections, and companies that lose their account


def once(monkeypatch, owner, name, happening):
    """Let something happen just before the first call of a method."""
    method = getattr(owner, name)
    left = [happening]

    def patched(self, *args, **options):
        if left:
            left.pop()()
        return method(self, *args, **options)

    monkeypatch.setattr(owner, name, patched)


def test_account_and_company_document_that_come_at_once_make_one_identity(
    accounts, crew, in_stream, monkeypatch
):
    """The sign-up's repair has read "no company"; before it writes, the company's repair runs."""
    accounts.sign_up("acme")

    def company_comes():
        fields = {"name": "Acme"}
        crew.firestore.document("companies/acme").set(fields)
        after = FirebaseState(company=fields)
        events.reconcile_company("acme", FirebaseState(), after, crew)

    once(monkeypatch, DocumentWrites, "begin", company_comes)
    events.reconcile_after_sign_up("acme", crew)
    drain_until_settled(crew)
    tokens.issue_token("acme", crew)
    assert len(in_stream()) == 1


def test_a_change_in_auth_during_the_first_repair_does_not_decide_the_kind_anew(
    accounts, crew, in_stream, monkeypatch
):
    """A backend creates the account, sets its name, and writes the company, within a second."""
    accounts.sign_up("acme")

    def backend_goes_on():
        accounts.sign_up("acme", displayName="Acme")
        crew.firestore.document("companies/acme").set({"name": "Acme"})

    once(monkeypatch, StreamWrites, "create", backend_goes_on)
    events.reconcile_after_sign_up("acme", crew)
    drain_until_settled(crew)
    tokens.issue_token("acme", crew)
    assert len(in_stream()) == 1


def test_a_repair_that_runs_meanwhile_does_not_undo_a_corrected_kind(
    accounts, crew, in_stream, monkeypatch
):
    """The repair read "user"; a person says "company"; then Stream refuses a value."""
    accounts.sign_up("acme", displayName="Acme")
    events.reconcile_after_sign_up("acme", crew)
    assert kind_of("acme", crew) == "user"
    crew.firestore.document("users/acme").update({"photoURL": "https://x.y/" + "z" * 2000})
    remember = DocumentWrites.remember_refused

    def person_decides(self, keys, *args):
        write_entry(Key("user", "acme"), Entry("company", "onecrew_company_acme"), crew, 1e18)
        self._records[Key("user", "acme")].refused.add("0" * 16)
        return remember(self, keys, *args)

    monkeypatch.setattr(DocumentWrites, "remember_refused", person_decides)
    outbox.reconcile([Key("user", "acme")], crew)
    assert kind_of("acme", crew) == "company"


def test_a_repair_that_runs_meanwhile_does_not_create_the_identity_of_before(
    accounts, crew, in_stream, chat, monkeypatch
):
    """The repair read "user" and finds the Stream user missing; a person says "company"."""
    accounts.sign_up("acme", displayName="Acme")
    events.reconcile_after_sign_up("acme", crew)
    chat.delete_user("onecrew_user_acme", mark_messages_deleted=False, hard=False)

    def person_decides():
        write_entry(Key("user", "acme"), Entry("company", "onecrew_company_acme"), crew, 1e18)

    once(monkeypatch, StreamWrites, "create", person_decides)
    outbox.reconcile([Key("user", "acme")], crew)
    outbox.reconcile([Key("user", "acme")], crew)
    assert sorted(in_stream()) == ["onecrew_company_acme"]


def test_an_account_whose_document_says_company_can_be_named_as_one_before_it_was_repaired(
    accounts, with_settings, in_stream
):
    """Imported accounts send no event: on the day of the switch nothing is written down yet."""
    clients = with_settings(stream=CREW, users=BY_TYPE)
    accounts.sign_up("acme")
    clients.firestore.document("users/acme").set({"type": "company", "displayName": "Acme"})
    [outcome] = outbox.reconcile([Key("company", "acme")], clients)
    assert (outcome.error, outcome.stream_id) == (None, "onecrew_company_acme")


def test_the_second_identity_of_an_account_is_an_orphan_of_the_audit(accounts, crew, chat):
    """However it came to be: nobody else would ever find it."""
    crew.firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme")
    tokens.issue_token("acme", crew)
    chat.upsert_user({"id": "onecrew_user_acme"})
    found = audit.start("operator", crew)
    while found.state == "running":
        found = audit.run_page(found, crew)
    assert found.findings == 1


def test_a_person_can_decide_what_an_undecided_account_is(
    accounts, with_settings, monkeypatch, run
):
    """``repair --kind user`` is the operator's only door for an account without user document."""
    clients = with_settings(stream=CREW, users=BY_TYPE)
    monkeypatch.setattr(options, "connect", lambda: clients)
    accounts.sign_up("ann")
    ran = run("repair", "ann", "--kind", "user", "--apply", "--yes")
    assert kind_of("ann", clients) == "user", ran.out


def test_a_corrected_kind_whose_first_attempt_failed_removes_the_old_user_at_the_second(
    accounts, crew, in_stream, stream, monkeypatch, run
):
    monkeypatch.setattr(options, "connect", lambda: crew)
    accounts.sign_up("acme", displayName="Acme")
    events.reconcile_after_sign_up("acme", crew)
    stream.fault("UpdateUsers", "status", status=503, rate=1)
    run("repair", "acme", "--kind", "company", "--apply", "--yes")
    stream.clear_faults()
    drain_until_settled(crew)
    assert run("repair", "acme", "--kind", "company", "--apply", "--yes").status == 0
    assert sorted(in_stream()) == ["onecrew_company_acme"]


@pytest.mark.parametrize("named", ["company", "user"])
def test_a_company_whose_account_was_deleted_without_an_event_is_still_repaired(
    named, accounts, crew, in_stream, chat
):
    """Batch deletions send no event: the entry of the account stays, and so does the company."""
    crew.firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme")
    tokens.issue_token("acme", crew)
    accounts.delete("acme")
    chat.delete_user("onecrew_company_acme", mark_messages_deleted=False, hard=False)
    [outcome] = outbox.reconcile([Key(named, "acme")], crew)
    assert (outcome.error, sorted(in_stream())) == (None, ["onecrew_company_acme"])


def test_the_night_finds_such_a_company_missing_in_stream(accounts, crew, chat):
    crew.firestore.document("companies/acme").set({"name": "Acme"})
    accounts.sign_up("acme")
    tokens.issue_token("acme", crew)
    accounts.delete("acme")
    chat.delete_user("onecrew_company_acme", mark_messages_deleted=False, hard=False)
    found = audit.start("operator", crew)
    while found.state == "running":
        found = audit.run_page(found, crew)
    assert "missing_stream_user" in {one.kind for one in audit.findings_of(found, crew)}


def test_the_audit_tells_of_an_account_whose_company_document_came_too_late(clients, accounts):
    """The sign-up's event was faster than the backend's write: a person for ever, told nowhere."""
    accounts.sign_up("acme")
    events.reconcile_after_sign_up("acme", clients)
    clients.firestore.document("companies/acme").set({"name": "Acme"})
    found = audit.start("operator", clients)
    while found.state == "running":
        found = audit.run_page(found, clients)
    assert found.findings == 1


def test_an_account_and_a_company_of_one_id_are_read_together_as_they_are_apart(clients, firestore):
    firestore.document("companies/acme").set({"name": "Acme"})
    firestore.document("users/acme").set({"displayName": "Ann"})
    firestore.document("stream_users/user_acme").set({"kind": "company", "streamUserId": "x"})
    keys = [Key("user", "acme"), Key("company", "acme")]

    def read(*keys: Key) -> list[tuple]:
        states = read_documents(keys, clients, 1e18).values()
        return [(one.kind, one.user, one.company, one.remembered_id) for one in states]

    ann, acme = {"displayName": "Ann"}, {"name": "Acme"}
    assert read(*keys) == [("company", ann, acme, "x"), ("company", None, acme, "")]
    assert read(*keys) == [*read(keys[0]), *read(keys[1])]
