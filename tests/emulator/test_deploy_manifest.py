"""What `firebase deploy` makes of the project: its own code, without an account or network."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatsync.config import MANIFEST

ROOT = Path(__file__).parents[2]
PROJECT = "demo-chatsync"
EXAMPLE = (ROOT / "functions" / ".env.example").read_text()
ACCOUNT = f"firebase-fn-0000000001@{PROJECT}.iam.gserviceaccount.com"
DEADLINE_SECONDS = 60
INSTALL = (ROOT / "docs" / "install.md").read_text()
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
    "auditSync",
    "drainRepairs",
    "runSweep",
    "setUp",
    "streamWebhook",
    "wakeRepairs",
]
QUEUES = {"drainRepairs": (1, "1s", "10s"), "runSweep": (2, "1s", "60s"), "setUp": (1, "5s", "60s")}
"""By function: calls at once, and the shortest and longest pause before it is called again."""


Result = dict[str, Any]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of the project as somebody has it who deploys: with settings, and without venv."""

    def project(settings: str) -> Path:
        folder = tmp_path_factory.mktemp("project")
        source = ROOT / "functions"
        shutil.copytree(source, folder / "functions", ignore=shutil.ignore_patterns("venv"))
        for name in ("firebase.json", "firestore.indexes.json"):
            shutil.copy(ROOT / name, folder)
        (folder / "functions" / f".env.{PROJECT}").write_text(settings)
        return folder

    return project


def run_cli(
    folder: Path, *options: str, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    """``path``: where programs are looked for; by default where there is Node and nothing else."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("This test runs the Firebase CLI's code: install Node.js.")
    if not (ROOT / "node_modules" / "firebase-tools").is_dir():
        pytest.fail("This test runs the Firebase CLI's code: run `npm ci` first.")
    only_node = folder / "bin"
    only_node.mkdir(exist_ok=True)
    if not (only_node / "node").exists():
        (only_node / "node").symlink_to(node)
    return subprocess.run(
        [node, Path(__file__).with_name("deploy_manifest.cjs"), ROOT, folder, *options],
        env={"PATH": path or str(only_node), "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def result_of(folder: Path, *options: str, path: str | None = None) -> Result:
    done = run_cli(folder, *options, path=path)
    if done.returncode != 0:
        pytest.fail(f"The Firebase CLI refuses the project:\n{done.stderr}\n{done.stdout}")
    result: Result = json.loads((folder / "result.json").read_text())
    return result


@pytest.fixture(scope="module")
def directory(project: Callable[[str], Path]) -> Path:
    """A project with every setting of the example."""
    return project(re.sub(r"^# (?=[A-Z_]+=)", "", EXAMPLE, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def deployment(directory: Path) -> Result:
    """What the CLI would create."""
    return result_of(directory, "--force")


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


WITHOUT_STREAM = ("ensureUserProfile", "getUserStats")


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
    settings = re.findall(r"^(?:# )?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert set(settings) <= set(deployed[name]["serviceConfig"]["environmentVariables"])


@pytest.mark.parametrize(("name", "event_type"), EVENT_FUNCTIONS.items())
def test_a_failed_event_is_delivered_again(deployed, name, event_type):
    trigger = deployed[name]["eventTrigger"]
    assert (trigger["eventType"], trigger["retryPolicy"]) == (event_type, "RETRY_POLICY_RETRY")


def test_without_force_nobody_is_there_to_agree_to_the_retries(directory):
    refused = run_cli(directory, "--used")
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert "--force" in INSTALL


def test_without_force_nobody_is_there_to_agree_to_apis_that_were_never_used(directory):
    refused = run_cli(directory)
    assert (refused.returncode, refused.stderr) == (1, "Must enable required APIs to deploy.\n")


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
        "serviceAccountEmail": ACCOUNT,
    }


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_calls_few_at_once_and_until_they_succeed(deployment, name):
    at_once, *pauses = QUEUES[name]
    queue = deployment["queues"][name]
    assert queue["name"] == f"projects/{PROJECT}/locations/asia-south1/queues/{name}"
    assert queue["rateLimits"]["maxConcurrentDispatches"] == at_once
    retries = queue["retryConfig"]
    assert [retries["minBackoff"], retries["maxBackoff"]] == pauses
    assert retries["maxAttempts"] == 100


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
    files = [file.relative_to(source_folder) for file in source_folder.glob("chatsync/**/*.py")]
    of_operators = ("chatsync/operator/", "chatsync/__main__.py")
    package = {str(file) for file in files if not str(file).startswith(of_operators)}
    assert {"main.py", "requirements.txt", MANIFEST, *package} <= set(names)
    # Also those of one's own deployments.
    settings = {name for name in names if name.startswith((".env", "chatsync."))}
    assert "chatsync.toml" in settings
    assert set(names) - package - settings == {"main.py", "requirements.txt", MANIFEST}
    assert not {".env.local", ".env.example"} & settings


# Without Python


def test_no_other_program_is_started_to_deploy(deployment):
    assert deployment["started"] == []


def test_no_other_program_is_started_to_load_the_functions_into_the_emulators(directory):
    emulated = result_of(directory, "--emulators")
    assert emulated["started"] == []
    assert emulated["questions"] == []
    assert sorted(trigger["name"] for trigger in emulated["triggers"]) == FUNCTIONS
    assert {trigger["region"] for trigger in emulated["triggers"]} == {"asia-south1"}
    assert emulated["environment"]["CHATSYNC_REGION"] == "asia-south1"


def test_each_function_is_as_python_itself_declares_it(deployment, project):
    """The CLI asks Python where there is no manifest."""
    folder = project(EXAMPLE)
    (folder / "functions" / MANIFEST).unlink()
    (folder / "functions" / "venv").symlink_to(ROOT / "functions" / "venv")
    config = json.loads((folder / "firebase.json").read_text())
    config["functions"][0]["runtime"] = f"python{sys.version_info.major}{sys.version_info.minor}"
    (folder / "firebase.json").write_text(json.dumps(config))
    by_python = result_of(folder, "--force", path=os.environ["PATH"])
    assert any("python" in command for command in by_python["started"])

    def compared(result: Result) -> Result:
        functions = copy.deepcopy(result["functions"])
        for function in functions.values():
            function["buildConfig"].pop("runtime")
            # Only the manifest asks for an account with roles; the hash is of all files.
            function["serviceConfig"].pop("serviceAccountEmail")
            function.get("eventTrigger", {}).pop("serviceAccountEmail", None)
            function["labels"].pop("firebase-declarative-security-etag", None)
            function["labels"].pop("firebase-functions-hash")
            # Of the example alone.
            function["serviceConfig"]["environmentVariables"].pop("STREAM_BASE_URL", None)
        jobs = copy.deepcopy(result["jobs"])
        for job in jobs.values():
            job["httpTarget"]["oidcToken"].pop("serviceAccountEmail")
        return {"functions": functions, "queues": result["queues"], "jobs": jobs}

    assert compared(deployment) == compared(by_python)


# Parameters


def test_a_parameter_of_the_project_wins_and_reaches_the_functions(project):
    folder = project(EXAMPLE.replace("asia-south1", "europe-west1"))
    (folder / "functions" / ".env").write_text("CHATSYNC_REGION=us-central1\n")
    for name, function in result_of(folder, "--force")["functions"].items():
        assert function["name"].split("/")[3] == "europe-west1", name
        environment = function["serviceConfig"]["environmentVariables"]
        assert environment["CHATSYNC_REGION"] == "europe-west1"
        if "firestore" in function.get("eventTrigger", {}).get("eventType", ""):
            assert function["eventTrigger"]["triggerRegion"] == "asia-south1"  # of the database


ASKED = ("CHATSYNC_REGION", "ENFORCE_APP_CHECK", "BACKFILL_ON_INSTALL")


def test_without_a_terminal_a_parameter_without_value_is_refused_in_spite_of_its_default(project):
    refused = run_cli(project("STREAM_API_KEY=key\n"), "--force")
    assert refused.returncode == 1
    assert ", ".join(ASKED) in refused.stderr


def test_in_a_terminal_what_is_missing_is_asked_for_and_kept(project):
    folder = project("STREAM_API_KEY=key\n")
    asked = result_of(folder, "--ask")
    questions = [one for one in asked["questions"] if one["kind"] != "confirm"]
    assert [one["preset"] for one in questions] == ["asia-south1", "false", "false"]
    for question, name in zip(questions, ASKED, strict=True):
        assert name in question["message"]
    kept = (folder / "functions" / f".env.{PROJECT}").read_text()
    assert kept == (
        "STREAM_API_KEY=key\n"
        "CHATSYNC_REGION=asia-south1\nENFORCE_APP_CHECK=false\nBACKFILL_ON_INSTALL=false\n"
    )
    for function in asked["functions"].values():
        environment = function["serviceConfig"]["environmentVariables"]
        assert environment["CHATSYNC_REGION"] == "asia-south1"


def test_whoever_deploys_is_told_the_roles_and_the_reason_of_each_further_api(project):
    asked = result_of(project(EXAMPLE), "--ask")
    told = "\n".join(one["message"] for one in asked["questions"] if one["kind"] == "confirm")
    for role in asked["plan"]["rolesToAdd"]:
        assert f"* {role}" in told
    for api in ("firestore.googleapis.com", "identitytoolkit.googleapis.com"):
        [reason] = [one["reason"] for one in asked["requiredAPIs"] if one["api"] == api]
        assert f"{api}: {reason}" in told


# Roles, APIs, and what is called after the deployment


def test_the_functions_run_as_an_account_that_has_the_roles_of_the_manifest(deployment):
    plan = deployment["plan"]
    assert plan["serviceAccountToCreate"] == ACCOUNT
    text = (ROOT / "functions" / MANIFEST).read_text()
    assert sorted(plan["rolesToAdd"]) == sorted(re.findall(r"^- (roles/.*)$", text, re.MULTILINE))
    for function in deployment["functions"].values():
        assert function["serviceConfig"]["serviceAccountEmail"] == ACCOUNT


def test_the_account_may_read_the_secret(deployment):
    assert deployment["plan"]["secretAccessPlan"] == {"STREAM_API_SECRET": [ACCOUNT]}


@pytest.mark.parametrize("deployed_before", [False, True])
def test_the_functions_are_set_up_after_each_deployment(deployment, deployed_before):
    task = deployment["tasks"][deployed_before]
    assert task["queue"] == f"projects/{PROJECT}/locations/asia-south1/queues/setUp"
    assert (task["url"], task["httpMethod"]) == ("https://setUp", "POST")
    assert json.loads(task["body"]) == {"data": {}}  # a task function refuses any other
    assert task["oidcToken"]["serviceAccountEmail"] == ACCOUNT


def test_the_document_names_every_api_and_role_that_the_cli_asks_for(deployment):
    roles = {binding["role"] for binding in deployment["bindings"]}
    assert roles
    for name in (*deployment["apis"], *roles, *deployment["plan"]["rolesToAdd"]):
        assert re.search(rf"`{name}`|enable .*{name}", INSTALL), name


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
