"""What `firebase deploy` makes of the functions: its own code, without an account or network."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import firebase_functions
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = "demo-chatsync"
# Deploy runs the file, not the module, which puts its folder first on the import path.
SERVING = Path(firebase_functions.__file__).parent / "private" / "serving.py"
DEADLINE_SECONDS = 30
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
    "streamWebhook",
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
}
NOT_CALLED_BY_APPS = ["auditSync", "drainRepairs", "runSweep", "streamWebhook", "wakeRepairs"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The functions as they describe themselves at deployment."""
    port = free_port()
    log = tmp_path_factory.mktemp("deploy") / "serving.log"
    environment = {
        **os.environ,
        "ADMIN_PORT": str(port),
        "FIREBASE_CONFIG": json.dumps({"projectId": PROJECT}),
        "GCLOUD_PROJECT": PROJECT,
        "GOOGLE_CLOUD_QUOTA_PROJECT": PROJECT,
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, SERVING],
            cwd=ROOT / "functions",
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_port(port, process)
        url = f"http://127.0.0.1:{port}/__/functions.yaml"
        with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as response:
            return yaml.safe_load(response)
    except OSError as error:
        pytest.fail(f"The functions don't describe themselves: {error}\n{log.read_text()}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def deployed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The functions as the CLI would create them, by name."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("This test runs the Firebase CLI's code: install Node.js.")
    if not (ROOT / "node_modules" / "firebase-tools").is_dir():
        pytest.fail("This test runs the Firebase CLI's code: run `npm ci` first.")
    result = subprocess.run(
        [node, Path(__file__).with_name("deploy_manifest.cjs")],
        input=json.dumps(manifest),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    if result.returncode != 0:
        pytest.fail(f"The Firebase CLI refuses the manifest:\n{result.stderr}")
    return json.loads(result.stdout)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("nothing is served")


def test_the_functions_of_the_bundle_are_deployed(deployed):
    assert sorted(deployed) == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_deployed_in_asia_south1(deployed, name):
    assert deployed[name]["name"] == f"projects/{PROJECT}/locations/asia-south1/functions/{name}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_stream_secret_is_bound(deployed, name):
    secrets = deployed[name]["serviceConfig"]["secretEnvironmentVariables"]
    assert [secret["key"] for secret in secrets] == ["STREAM_API_SECRET"]


@pytest.mark.parametrize(("name", "event_type"), EVENT_FUNCTIONS.items())
def test_a_failed_event_is_delivered_again(deployed, name, event_type):
    trigger = deployed[name]["eventTrigger"]
    assert (trigger["eventType"], trigger["retryPolicy"]) == (event_type, "RETRY_POLICY_RETRY")


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
            {"attribute": "document", "value": "users/{uid}", "operator": "match-path-pattern"},
        ],
        "retryPolicy": "RETRY_POLICY_RETRY",
    }


def test_one_drain_at_a_time_works_the_outbox_off_and_is_called_until_it_succeeds(manifest):
    trigger = manifest["endpoints"]["drainRepairs"]["taskQueueTrigger"]
    assert trigger["rateLimits"]["maxConcurrentDispatches"] == 1
    retries = trigger["retryConfig"]
    assert (retries["minBackoffSeconds"], retries["maxBackoffSeconds"]) == (1, 10)
    assert retries["maxAttempts"] == 100


def test_the_outbox_is_looked_at_every_five_minutes(manifest):
    assert manifest["endpoints"]["wakeRepairs"]["scheduleTrigger"]["schedule"] == "every 5 minutes"


@pytest.mark.parametrize(
    "name", sorted(set(FUNCTIONS) - set(EVENT_FUNCTIONS) - set(NOT_CALLED_BY_APPS))
)
def test_the_others_are_callables(deployed, name):
    assert deployed[name]["labels"]["deployment-callable"] == "true"
    assert "eventTrigger" not in deployed[name]


def test_stream_may_call_the_webhook(manifest):
    assert manifest["endpoints"]["streamWebhook"]["httpsTrigger"] is not None
