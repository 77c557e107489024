"""What a client hears of each error of the package, as docs/callables.md tells."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chatsync import errors
from chatsync.entry.callables import https_error
from chatsync.errors import ChatsyncError
from chatsync.ids import Key
from chatsync.outcome import NotRepaired, Outcome

CAUSE = "what Stream or Firebase said"

TOLD = [
    (errors.Unauthenticated("sign in first"), "unauthenticated", None),
    (errors.InvalidArgument("userId", "must be"), "invalid-argument", {"field": "userId"}),
    (errors.NotFound(["ann"]), "not-found", {"userIds": ["ann"]}),
    (errors.PermissionDenied("not theirs", ["ann"]), "permission-denied", {"userIds": ["ann"]}),
    (errors.PermissionDenied("not yours", []), "permission-denied", None),
    (errors.AlreadyExists("used before"), "already-exists", None),
    (
        errors.BudgetUsedUp(60),
        "resource-exhausted",
        {"retryAfterSeconds": 60, "reason": "budget", "repairQueued": False},
    ),
    (
        errors.FailedPrecondition(["ann"], "disabled"),
        "failed-precondition",
        {"userIds": ["ann"], "reason": "disabled"},
    ),
]
TEMPORARY = [
    (errors.Temporary(CAUSE), "unavailable", {}),
    (errors.FirebaseUnavailable(CAUSE), "unavailable", {}),
    (errors.StreamUnavailable(CAUSE), "unavailable", {}),
    (errors.StreamRateLimited(CAUSE, 7), "resource-exhausted", {"retryAfterSeconds": 7}),
    (errors.Postponed(CAUSE), "unavailable", {}),
    (errors.Paused(datetime.now(UTC)), "unavailable", {"reason": "paused"}),
    (errors.TooManyRefusals(CAUSE), "unavailable", {}),
    (errors.Unsettled(CAUSE), "unavailable", {}),
    (errors.Unexpected(CAUSE), "unavailable", {}),
]
WITHHELD = [
    errors.StreamRejected(CAUSE, 400, 4),
    errors.StreamCredentialsRejected(CAUSE),
    errors.SettingInvalid(CAUSE),
    errors.Unsafe(CAUSE),
]


@pytest.mark.parametrize(("error", "code", "details"), TOLD)
def test_what_concerns_the_caller_is_told(error, code, details):
    answer = https_error(error)
    assert (answer.code.value, answer.message, answer.details) == (code, str(error), details)


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize(("error", "code", "details"), TEMPORARY)
def test_of_what_may_pass_is_told_whether_the_repair_follows(error, code, details, queued):
    outcome = Outcome(Key("user", "ann"), "ann", None, error, is_queued=queued)
    answer = https_error(NotRepaired(outcome))
    assert (answer.code.value, answer.details) == (code, {**details, "repairQueued": queued})
    assert CAUSE not in answer.message


@pytest.mark.parametrize("error", WITHHELD)
def test_what_only_an_operator_can_mend_is_withheld(error):
    answer = https_error(error)
    assert (answer.code.value, answer.message, answer.details) == ("internal", "INTERNAL", None)


def test_no_error_is_left_out_here():
    listed = {type(error) for error in (*(row[0] for row in [*TOLD, *TEMPORARY]), *WITHHELD)}
    types = [one for one in vars(errors).values() if isinstance(one, type)]
    named = {one for one in types if issubclass(one, ChatsyncError)}
    assert listed == named - {ChatsyncError}
