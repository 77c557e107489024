"""What `firebase deploy` makes of the project: its own code, without an account or network."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = "demo-chatsync"
RUNTIME = f"python{sys.version_info.major}{sys.version_info.minor}"
DEADLINE_SECONDS = 60
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
FUNCTIONS = [
    "auditSync",
    "createConversation",
    "createStreamUser",
    "createUserProfile",
    "deleteStreamUser",
    "drainRepairs",
    "ensureStreamUser",
    "ensureUserProfile",
    "getStreamUserToken",
    "getUserStats",
    "revokeStreamUserTokens",
    "runSweep",
    "setUp",
    "streamWebhook",
    "syncCompanyToStream",
    "syncProfileToStream",
    "syncUserProfile",
    "wakeRepairs",
]
EVENT_FUNCTIONS = {
    "createStreamUser": "google.firebase.auth.user.v2.created",
    "deleteStreamUser": "google.firebase.auth.user.v2.deleted",
    "createUserProfile": "google.cloud.firestore.document.v1.created",
    "syncUserProfile": "google.cloud.firestore.document.v1.updated",
    "syncProfileToStream": "google.cloud.firestore.document.v1.written",
    "syncCompanyToStream": "google.cloud.firestore.document.v1.written",
}
NOT_CALLED_BY_APPS = [
    *("auditSync", "drainRepairs", "runSweep", "setUp", "streamWebhook", "wakeRepairs"),
]
QUEUES = {"drainRepairs": (1, 100, "10s"), "runSweep": (2, 100, "60s"), "setUp": (1, 120, "60s")}
"""By function: calls at once, calls in all, and the longest pause before it is called again."""


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Settings for a deployment; the CLI demands that they are inside of the project."""
    with tempfile.TemporaryDirectory(dir=ROOT / ".local", prefix="deploy-") as name:
        example = (ROOT / "functions" / ".env.example").read_text()
        every_setting = re.sub(r"^# (?=[A-Z_]+=)", "", example, flags=re.MULTILINE)
        (Path(name) / f".env.{PROJECT}").write_text(every_setting)
        yield Path(name)


def prepare(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None:
        pytest.fail("This test runs the Firebase CLI's code: install Node.js.")
    if not (ROOT / "node_modules" / "firebase-tools").is_dir():
        pytest.fail("This test runs the Firebase CLI's code: run `npm ci` first.")
    script = Path(__file__).with_name("deploy_manifest.cjs")
    return subprocess.run(
        [node, script, ROOT, directory, RUNTIME, *options],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


@pytest.fixture(scope="module")
def deployment(directory: Path) -> dict[str, Any]:
    """What the CLI would create."""
    done = prepare(directory, "--force")
    if done.returncode != 0:
        pytest.fail(f"The Firebase CLI refuses the project:\n{done.stderr}\n{done.stdout}")
    return json.loads((directory / "result.json").read_text())


@pytest.fixture(scope="module")
def deployed(deployment: dict[str, Any]) -> dict[str, Any]:
    """The functions, by name."""
    return deployment["functions"]


def test_the_functions_of_the_bundle_are_deployed(deployed):
    assert sorted(deployed) == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_deployed_in_asia_south1(deployed, name):
    assert deployed[name]["name"] == f"projects/{PROJECT}/locations/asia-south1/functions/{name}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_a_whole_cpu_serves_sixteen_at_once_and_has_twenty_instances(deployed, name):
    service = deployed[name]["serviceConfig"]
    assert (service["availableCpu"], service["availableMemory"]) == ("1", "512Mi")
    assert service["maxInstanceRequestConcurrency"] == 16
    assert service["maxInstanceCount"] == 20


WITHOUT_STREAM = ("ensureUserProfile", "getUserStats", "wakeRepairs")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_time_to_end_by_itself(deployed, name):
    # What works in the background ends after 45 seconds and what it has begun by then.
    seconds = 120 if name in QUEUES else 60
    assert deployed[name]["serviceConfig"]["timeoutSeconds"] == seconds


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_stream_secret_is_bound_to_functions_that_call_stream(deployed, name):
    secrets = deployed[name]["serviceConfig"].get("secretEnvironmentVariables", [])
    expected = [] if name in WITHOUT_STREAM else ["STREAM_API_SECRET"]
    assert [secret["key"] for secret in secrets] == expected


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_setting_of_the_example_reaches_the_functions(deployed, name):
    example = (ROOT / "functions" / ".env.example").read_text()
    settings = re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE)
    assert set(settings) <= set(deployed[name]["serviceConfig"]["environmentVariables"])


@pytest.mark.parametrize(("name", "event_type"), EVENT_FUNCTIONS.items())
def test_a_failed_event_is_delivered_again(deployed, name, event_type):
    trigger = deployed[name]["eventTrigger"]
    assert (trigger["eventType"], trigger["retryPolicy"]) == (event_type, "RETRY_POLICY_RETRY")


def test_without_force_nobody_is_there_to_agree_to_the_retries(directory):
    refused = prepare(directory)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert "--force" in OPERATIONS


def test_sign_up_triggers_create_stream_user_until_it_succeeds(deployed):
    assert deployed["createStreamUser"]["eventTrigger"] == {
        "eventType": "google.firebase.auth.user.v2.created",
        "eventFilters": [],
        "retryPolicy": "RETRY_POLICY_RETRY",
        "triggerRegion": "global",
    }


def test_a_new_user_document_triggers_create_user_profile_until_it_succeeds(deployed):
    assert deployed["createUserProfile"]["eventTrigger"] == {
        "eventType": "google.cloud.firestore.document.v1.created",
        "eventFilters": [
            {"attribute": "database", "value": "(default)"},
            {"attribute": "namespace", "value": "(default)"},
            {"attribute": "document", "value": "users/{id}", "operator": "match-path-pattern"},
        ],
        "retryPolicy": "RETRY_POLICY_RETRY",
        "triggerRegion": "asia-south1",
    }


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_calls_few_at_once_and_until_they_succeed(deployment, name):
    at_once, in_all, longest_pause = QUEUES[name]
    queue = deployment["queues"][name]
    assert queue["name"] == f"projects/{PROJECT}/locations/asia-south1/queues/{name}"
    assert queue["rateLimits"]["maxConcurrentDispatches"] == at_once
    retries = queue["retryConfig"]
    assert (retries["maxBackoff"], retries["maxAttempts"]) == (longest_pause, in_all)


def test_the_outbox_is_looked_at_every_five_minutes_and_all_is_audited_at_night(deployment):
    jobs = {name: (job["schedule"], job["timeZone"]) for name, job in deployment["jobs"].items()}
    assert jobs == {
        "wakeRepairs": ("every 5 minutes", "UTC"),
        "auditSync": ("every day 02:00", "UTC"),
    }


@pytest.mark.parametrize(
    "name", sorted(set(FUNCTIONS) - set(EVENT_FUNCTIONS) - set(NOT_CALLED_BY_APPS))
)
def test_the_others_are_callables(deployed, name):
    assert deployed[name]["labels"]["deployment-callable"] == "true"
    assert "eventTrigger" not in deployed[name]


@pytest.mark.parametrize("name", NOT_CALLED_BY_APPS)
def test_what_apps_dont_call_is_no_callable(deployed, name):
    assert "deployment-callable" not in deployed[name].get("labels", {})


def test_what_is_uploaded_is_the_functions_and_no_local_file(deployment, directory):
    with zipfile.ZipFile(directory / "source.zip") as source:
        names = source.namelist()
    source_folder = ROOT / "functions"
    files = (source_folder / "chatsync").rglob("*.py")
    package = {str(file.relative_to(source_folder)) for file in files}
    assert {"main.py", "requirements.txt", *package} <= set(names)
    # Also those of one's own deployments.
    settings = {name for name in names if name.startswith((".env", "chatsync."))}
    assert "chatsync.toml" in settings
    assert set(names) - package - settings == {"main.py", "requirements.txt"}
    assert not {".env.local", ".env.example"} & settings


def test_the_document_names_every_api_and_role_that_the_cli_asks_for(deployment):
    roles = {binding["role"] for binding in deployment["bindings"]}
    assert roles
    for name in (*deployment["apis"], *roles):
        assert f"`{name}`" in OPERATIONS, name


def test_what_expires_has_a_policy_and_its_time_no_index():
    indexes = json.loads((ROOT / "firestore.indexes.json").read_text())
    expire = [
        ("audits", "expireAt"),
        ("budgets", "chatsyncExpireAt"),
        ("conversations", "chatsyncExpireAt"),
        ("counted_messages", "expireAt"),
        ("findings", "expireAt"),
        ("stream_users", "chatsyncExpireAt"),
    ]
    assert indexes["fieldOverrides"] == [
        {"collectionGroup": name, "fieldPath": path, "ttl": True, "indexes": []}
        for name, path in expire
    ]
