"""functions.yaml says what the code says, and what the functions are allowed to do."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from firebase_admin import auth, functions
from firebase_functions.private import util
from werkzeug import Request

from chatsync import config
from chatsync.config import MANIFEST
from chatsync.errors import ChatsyncError, SettingInvalid
from chatsync.operator.manifest import manifest_for
from dev import setup

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"
STATED = yaml.safe_load((FUNCTIONS / MANIFEST).read_text())
INSTALL = (ROOT / "docs" / "install.md").read_text()


@pytest.fixture
def folder(tmp_path):
    """The deployed files, without settings of a place."""
    for name in ("main.py", MANIFEST, "chatsync.toml"):
        shutil.copy(FUNCTIONS / name, tmp_path)
    (tmp_path / "chatsync").symlink_to(FUNCTIONS / "chatsync")
    return tmp_path


# What is written


def test_it_is_what_the_command_writes_whatever_the_environment_says(monkeypatch):
    for name, value in (
        ("GCLOUD_PROJECT", "a-project"),
        ("CHATSYNC_REGION", "europe-west1"),
        ("ENFORCE_APP_CHECK", "true"),
        ("STREAM_USER_ROLE", "another"),
    ):
        monkeypatch.setenv(name, value)
    assert (FUNCTIONS / MANIFEST).read_text() == manifest_for(FUNCTIONS)


def test_another_folder_gets_the_triggers_of_its_own_settings(folder):
    stated = '[firestore]\ndatabase = "chat"\n[users]\ncollection = "people"\n'
    (folder / "chatsync.toml").write_text(stated)
    trigger = yaml.safe_load(manifest_for(folder))["endpoints"]["createUserProfile"]["eventTrigger"]
    assert trigger["eventFilters"]["database"] == "chat"
    assert trigger["eventFilterPathPatterns"] == {"document": "people/{id}"}


def test_check_tells_by_its_status_whether_it_is_still_right(command, monkeypatch, folder):
    monkeypatch.setattr(config, "FOLDER", folder)
    assert command("manifest", "--check").status == 0
    code = (folder / "main.py").read_text()
    (folder / "main.py").write_text(code.replace("memory=512", "memory=1024"))
    ran = command("manifest", "--check")
    assert (ran.status, "run `chatsync manifest`" in ran.out) == (1, True)
    assert command("manifest").status == 0
    assert command("manifest", "--check").status == 0
    assert (folder / MANIFEST).read_text().count("availableMemoryMb: 1024") == len(
        STATED["endpoints"]
    )


def test_code_that_python_cannot_import_is_told_in_one_line(folder):
    (folder / "main.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(ChatsyncError, match="No module named 'nothing_of_this_name'"):
        manifest_for(folder)


def test_a_mistake_in_the_settings_is_told_before_anything_is_deployed(folder):
    (folder / "chatsync.live.toml").write_text("[stream]\ntrust_hours = -1\n")
    with pytest.raises(SettingInvalid, match=r"chatsync\.live\.toml, line 2: stream\.trust_hours"):
        manifest_for(folder)


def test_every_function_runs_in_the_region_of_the_place():
    for endpoint in STATED["endpoints"].values():
        assert endpoint["region"] == ["{{ params.CHATSYNC_REGION }}"]


def test_the_hooks_send_what_a_task_function_takes():
    assert set(STATED["lifecycleHooks"]) == {"afterFirstDeploy", "afterRedeploy"}
    for hook in STATED["lifecycleHooks"].values():
        assert "taskQueueTrigger" in STATED["endpoints"][hook["task"]["function"]]
        sent = Request.from_values(method="POST", json=hook["task"]["body"])
        assert util.valid_on_call_request(sent)


# The settings of a place: without a terminal, the CLI refuses what has no value


def stated_in(text):
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


PARAMS = {one["name"] for one in STATED["params"] if one["type"] != "secret"}


def test_the_example_states_every_parameter_that_is_no_secret():
    assert set(stated_in((FUNCTIONS / ".env.example").read_text())) == PARAMS


def test_the_set_up_states_every_parameter_that_is_no_secret(tmp_path):
    setup.write_local_settings(tmp_path / ".env.local")
    assert set(stated_in((tmp_path / ".env.local").read_text())) >= PARAMS


def test_the_set_up_adds_what_is_missing_and_changes_nothing_else(tmp_path):
    file = tmp_path / ".env.local"
    file.write_text("STREAM_API_KEY=of-our-app\nENFORCE_APP_CHECK=true\n# CHATSYNC_REGION=nowhere")
    for _ in range(2):
        setup.write_local_settings(file)
        assert stated_in(file.read_text()) == {
            "STREAM_API_KEY": "of-our-app",  # at Stream's own address
            "ENFORCE_APP_CHECK": "true",
            "CHATSYNC_REGION": "asia-south1",
            "BACKFILL_ON_INSTALL": "false",
        }


def test_defaults_are_what_the_example_and_the_set_up_say():
    example = stated_in((FUNCTIONS / ".env.example").read_text())
    defaults = {
        one["name"]: str(one["default"]).lower() for one in STATED["params"] if "default" in one
    }
    assert defaults == setup.LATER_SETTINGS
    assert defaults.items() <= example.items()


# Another chatsync.toml than that of the manifest


def started(folder):
    """What Python says when the functions start in a folder; empty if they do."""
    ran = subprocess.run(
        [sys.executable, "-B", "-c", "import main"],
        cwd=folder,
        env={"GCLOUD_PROJECT": "demo-chatsync"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.stderr if ran.returncode else ""


SENTENCE = (
    "functions.yaml was made from another chatsync.toml than the one beside it:"
    " run `chatsync init` (in a clone `chatsync manifest`), and deploy again"
)


def test_functions_with_the_manifest_of_other_settings_do_not_start(folder):
    (folder / "chatsync.toml").write_text('[users]\ncollection = "people"\n')
    assert started(folder).rstrip().endswith(SENTENCE)


def test_functions_with_their_own_manifest_or_none_start(folder):
    (folder / "chatsync.toml").write_text('[users]\ncollection = "people"\n')
    (folder / MANIFEST).write_text(manifest_for(folder))
    assert started(folder) == ""
    (folder / MANIFEST).unlink()
    assert started(folder) == ""


@pytest.mark.parametrize(
    ("stated", "is_other"),
    [
        ('[users]\nrole = "a"\n[stream]\nuser_role = "b"\n', False),
        ("# why\r\n[stream]\r\nuser_role = \"b\" # so\r\n\r\n[users]\r\nrole = 'a'\r\n", False),
        ('[users]\nrole = "a"\n[stream]\nuser_role = "c"\n', True),
        ("", True),
    ],
)
def test_other_settings_are_other_values_and_not_other_words(tmp_path, stated, is_other):
    (tmp_path / "chatsync.toml").write_bytes(b'[users]\nrole = "a"\n[stream]\nuser_role = "b"\n')
    (tmp_path / MANIFEST).write_text(f"# sha256 {config.hash_of(tmp_path)}\nendpoints: {{}}\n")
    (tmp_path / "chatsync.toml").write_bytes(stated.encode())
    (tmp_path / "chatsync.demo.toml").write_text('[stream]\nuser_role = "of an overlay"\n')
    if is_other:
        with pytest.raises(SettingInvalid, match=re.escape(SENTENCE)):
            config.refuse_other_manifest(tmp_path)
    else:
        config.refuse_other_manifest(tmp_path)


def test_a_manifest_that_says_not_from_what_it_was_made_is_refused(tmp_path):
    (tmp_path / MANIFEST).write_text("endpoints: {}\n")
    with pytest.raises(SettingInvalid, match=re.escape(SENTENCE)):
        config.refuse_other_manifest(tmp_path)


def test_functions_that_would_run_a_chatsync_that_is_installed_do_not_start(folder):
    script = f"import sys; sys.path.append({str(folder)!r}); import importlib.util as u;"
    script += f"s = u.spec_from_file_location('main', {str(folder / 'main.py')!r});"
    script += "s.loader.exec_module(u.module_from_spec(s))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=FUNCTIONS, capture_output=True, text=True, check=False
    )
    assert "a chatsync that is installed hides the one beside main.py" in ran.stderr


# What the functions call, and what they are allowed to call

READER, ENQUEUER = "roles/firebaseauth.viewer", "roles/cloudtasks.enqueuer"
ROLE_OF_LIBRARY = {
    "google.cloud.firestore": "roles/datastore.user",
    "google.cloud.firestore_v1": "roles/datastore.user",
    # What these call is told by their methods, below.
    "firebase_admin.auth": "",
    "firebase_admin.functions": "",
    # No API of their own.
    "firebase_admin": "",
    "firebase_admin.exceptions": "",
    "google.api_core": "",
    "google.auth.exceptions": "",
    "google.auth.transport.requests": "",  # to ask who the account is
    "google.events": "",
    "google.rpc": "",
}
"""By library of Google. firebase_functions verifies tokens by public keys, for which nobody needs
a role."""

ROLE_OF_METHOD = {
    "firebase_admin.auth": {"get_users": READER, "list_users": READER},  # firebaseauth.users.get
    "firebase_admin.functions": {"enqueue": ENQUEUER},  # cloudtasks.tasks.create
}
METHODS = {
    "firebase_admin.auth": set(dir(auth.Client)) - {"tenant_id"},
    "firebase_admin.functions": set(dir(functions.TaskQueue)),
}
FETCHERS = {"requests", "httpx", "aiohttp", "urllib", "http", "urllib3", "googleapiclient", "grpc"}
"""With these code can call any API."""

MAY_FETCH = ("stream.py", "stream_calls.py", "sessions.py", "place.py")
"""Of the clients: those of Stream, that which sets up sessions and calls nothing, and that which
asks the emulators' hub for an address."""

API_OF_ROLE = {
    "roles/datastore.user": "firestore.googleapis.com",
    READER: "identitytoolkit.googleapis.com",
    ENQUEUER: "cloudtasks.googleapis.com",
    "roles/eventarc.eventReceiver": "eventarc.googleapis.com",
}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{one.name}" for one in node.names)


def is_within(module, library):
    return f"{module}.".startswith(f"{library}.")


def roles_of(code, may_fetch=False):
    """The roles that some code needs. Fails where it calls what no role here covers."""
    tree = ast.parse(code)
    modules = set(imported(tree))
    roles = set()
    for module in modules:
        if module.partition(".")[0] in FETCHERS and not is_within(module, "urllib.parse"):
            assert may_fetch, f"{module} can call anything: no role covers it"
        if module.partition(".")[0] in ("google", "firebase_admin"):
            libraries = [one for one in ROLE_OF_LIBRARY if is_within(module, one)]
            if module.startswith("firebase_admin."):
                libraries = [one for one in libraries if one != "firebase_admin"]
            assert libraries, f"no role is known to cover {module}"
            roles.add(ROLE_OF_LIBRARY[max(libraries, key=len)])
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        for library, methods in METHODS.items():
            name = library.rpartition(".")[2]
            held = isinstance(node.value, ast.Attribute) and node.value.attr == name
            if node.attr in methods and (library in modules or held):
                covered = ROLE_OF_METHOD[library]
                assert node.attr in covered, f"no role covers {library}.{node.attr}"
                roles.add(covered[node.attr])
    return roles - {""}


def roles_of_the_platform():
    """Those by which the platform calls the functions, and the functions write their log."""
    roles = {"roles/logging.logWriter"}
    for endpoint in STATED["endpoints"].values():
        if {"eventTrigger", "scheduleTrigger", "taskQueueTrigger"} & set(endpoint):
            roles.add("roles/run.invoker")
        if "eventTrigger" in endpoint:
            roles.add("roles/eventarc.eventReceiver")
    return roles


def test_the_functions_have_just_the_roles_for_what_they_call():
    package = FUNCTIONS / "chatsync"
    of_operators = (package / "operator", package / "__main__.py")
    deployed = [FUNCTIONS / "main.py", *package.rglob("*.py")]
    needed = roles_of_the_platform()
    for file in deployed:
        if not any(file.is_relative_to(one) for one in of_operators):
            may_fetch = file.parent.name == "clients" and file.name in MAY_FETCH
            needed |= roles_of(file.read_text(), may_fetch)
    assert set(STATED["requiredRoles"]) == needed


@pytest.mark.parametrize(
    "code",
    [
        "from google.cloud import storage",
        "from google.cloud import firestore_admin_v1",
        "import google.cloud.pubsub_v1",
        "from firebase_admin import messaging",
        "from firebase_admin import auth\nclient.create_custom_token('ann')",
        "clients.auth.delete_user('ann')",
        "from firebase_admin import functions\nfunctions.task_queue('q').delete('task')",
        "import requests",
        "from urllib.request import urlopen",
    ],
)
def test_a_call_that_no_role_covers_is_noticed(code):
    with pytest.raises(AssertionError, match=r"no role"):
        roles_of(code)


def test_every_role_has_its_api_and_its_line_with_the_same_reason():
    text = (FUNCTIONS / MANIFEST).read_text()
    reasons = {role: reason for reason, role in re.findall(r"^# (.+)\n- (roles/.+)$", text, re.M)}
    assert set(reasons) == set(STATED["requiredRoles"])
    apis = {one["api"]: one["reason"] for one in STATED["requiredAPIs"]}
    for role, reason in reasons.items():
        assert f"| `{role}` | {reason} |" in INSTALL
        assert role not in API_OF_ROLE or API_OF_ROLE[role] in apis
    assert all(apis.values())
