"""One account, one Stream user: races, corrections, and companies that lose their account."""

import pytest

from chatsync import outbox
from chatsync.clients.documents import Entry, write_entry
from chatsync.document_writes import DocumentWrites
from chatsync.entry import events, tokens
from chatsync.ids import Key
from chatsync.stream_writes import StreamWrites
from chatsync.users import FirebaseState
from tests.fast.outbox import drain_until_settled

CREW = {"user_id": "onecrew_user_{uid}", "company_id": "onecrew_company_{id}"}
BY_TYPE = {"company": {"field": "type", "values": ["company"]}}


@pytest.fixture
def crew(with_settings):
    return with_settings(stream=CREW)


@pytest.fixture
def in_stream(chat):
    return lambda: sorted(user["id"] for user in chat.query_users({})["users"])


def kind_of(uid, clients):
    return (clients.firestore.document(f"stream_users/user_{uid}").get().to_dict() or {}).get(
        "kind"
    )


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
    accounts, crew, in_stream, stream, monkeypatch
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
    assert in_stream() == ["onecrew_company_acme"]


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
    from chatsync import audit

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
    from chatsync.operator import options

    clients = with_settings(stream=CREW, users=BY_TYPE)
    monkeypatch.setattr(options, "connect", lambda: clients)
    accounts.sign_up("ann")
    ran = run("repair", "ann", "--kind", "user", "--apply", "--yes")
    assert kind_of("ann", clients) == "user", ran.out


def test_a_corrected_kind_whose_first_attempt_failed_removes_the_old_user_at_the_second(
    accounts, crew, in_stream, stream, monkeypatch, run
):
    from chatsync.operator import options

    monkeypatch.setattr(options, "connect", lambda: crew)
    accounts.sign_up("acme", displayName="Acme")
    events.reconcile_after_sign_up("acme", crew)
    stream.fault("UpdateUsers", "status", status=503, rate=1)
    run("repair", "acme", "--kind", "company", "--apply", "--yes")
    stream.clear_faults()
    drain_until_settled(crew)
    assert run("repair", "acme", "--kind", "company", "--apply", "--yes").status == 0
    assert in_stream() == ["onecrew_company_acme"]


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
    assert (outcome.error, in_stream()) == (None, ["onecrew_company_acme"])


def test_the_night_finds_such_a_company_missing_in_stream(accounts, crew, chat):
    from chatsync import audit

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
    from chatsync import audit

    accounts.sign_up("acme")
    events.reconcile_after_sign_up("acme", clients)
    clients.firestore.document("companies/acme").set({"name": "Acme"})
    found = audit.start("operator", clients)
    while found.state == "running":
        found = audit.run_page(found, clients)
    assert found.findings == 1
