"""What the Firebase CLI calls after a deployment, on the emulators."""

import pytest

from dev import emulators
from examples.adopt.live_system import run_hook_after_deployment
from tests.emulator.commands import run_command
from tests.waiting import wait_for


@pytest.fixture
def no_webhook(stream):
    stream.webhook(None)
    yield
    stream.webhook(None)


def test_the_hook_of_a_deployment_begins_an_audit_that_repairs_nothing(no_webhook, firestore):
    run_hook_after_deployment(emulators.url("tasks"), emulators.FUNCTIONS_URL)
    setup = firestore.document("chatsync/setup")
    wait_for(lambda: "auditId" in (setup.get().to_dict() or {}))
    done = setup.get().to_dict()
    assert done["webhookUrl"] == f"{emulators.FUNCTIONS_URL}/streamWebhook"
    assert "backfillId" not in done
    audit = firestore.document("audits", done["auditId"])
    wait_for(lambda: audit.get().get("state") == "done")
    assert audit.get().get("repair") == []
    assert "set-up         done" in run_command("status").stdout
