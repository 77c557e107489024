"""The local stack: its addresses, its ports, and how the Firebase CLI is started."""

import http.client
import json
import os
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import psutil

from dev import setup
from stream_server.credentials import API_KEY as STREAM_API_KEY
from stream_server.credentials import API_SECRET as STREAM_API_SECRET

ROOT = setup.ROOT
FOLDER = Path(os.environ.get("LOCAL_STACK", ROOT))
"""Where the stack's configuration, functions and log are. Another folder, with another project id
and other ports, is another stack beside this one (examples/adopt)."""
CONFIG = FOLDER / "firebase.local.json"
_SOURCE = FOLDER / os.environ.get("LOCAL_STACK_SOURCE", "functions")
FUNCTIONS_ENVIRONMENT = _SOURCE / ".env.local"
FUNCTIONS_SECRETS = _SOURCE / ".secret.local"
CLI_PRELOAD = ROOT / "dev" / "firebase_cli.cjs"
HOST = "127.0.0.1"
PROJECT = os.environ.get("LOCAL_STACK_PROJECT", "demo-chatsync")
REGION = "asia-south1"

EMULATORS = ("auth", "functions", "firestore", "pubsub", "tasks", "eventarc")

_EMULATOR_CONFIG = json.loads((FOLDER / "firebase.json").read_text())["emulators"]
PORTS = {
    **{name: _EMULATOR_CONFIG[name]["port"] for name in (*EMULATORS, "hub", "logging")},
    "firestore websocket": _EMULATOR_CONFIG["firestore"]["websocketPort"],
    "local Stream server": int(os.environ.get("LOCAL_STREAM_PORT", "3030")),
    # It names the addresses of this repository's stack.
    **({"web example": 5173} if FOLDER == ROOT else {}),
}


def url(name: str) -> str:
    return f"http://{HOST}:{PORTS[name]}"


STREAM_BASE_URL = url("local Stream server")
FUNCTIONS_URL = f"{url('functions')}/{PROJECT}/{REGION}"
ACCOUNTS_URL = f"{url('auth')}/identitytoolkit.googleapis.com/v1/accounts"
QUEUES_URL = f"{url('tasks')}/projects/{PROJECT}/locations/{REGION}/queues"

# Points a client of any kind, and its SDKs, at the local stack.
CLIENT_ENVIRONMENT = {
    "GCLOUD_PROJECT": PROJECT,
    "GOOGLE_CLOUD_PROJECT": PROJECT,
    "FIREBASE_AUTH_EMULATOR_HOST": f"{HOST}:{PORTS['auth']}",
    "FIRESTORE_EMULATOR_HOST": f"{HOST}:{PORTS['firestore']}",
    "PUBSUB_EMULATOR_HOST": f"{HOST}:{PORTS['pubsub']}",
    "CLOUD_TASKS_EMULATOR_HOST": f"{HOST}:{PORTS['tasks']}",
    "STREAM_API_KEY": STREAM_API_KEY,
    "STREAM_API_SECRET": STREAM_API_SECRET,
    "STREAM_BASE_URL": STREAM_BASE_URL,
}


def use_local_stack() -> None:
    os.environ.update(CLIENT_ENVIRONMENT)
    warnings.filterwarnings("ignore", message="The HMAC key")  # the local secret is short


def stream_server_command(module: str = "stream_server") -> list[str]:
    port = PORTS["local Stream server"]
    command = [sys.executable, "-m", module, f"--host={HOST}", f"--port={port}"]
    return [*command, f"--parent={os.getpid()}"]


def web_example_command() -> list[str]:
    """Bundles examples/web anew at each request; ends with its standard input."""
    folder = ROOT / "examples" / "web"
    return [
        *(str(ROOT / "node_modules" / ".bin" / "esbuild"), str(folder / "app.jsx")),
        *("--bundle", "--jsx=automatic", "--log-level=warning", f"--outdir={folder / 'built'}"),
        *(f"--servedir={folder}", f"--serve={HOST}:{PORTS['web example']}"),
    ]


def cli_command(only: Sequence[str] = EMULATORS, config: Path = CONFIG) -> list[str]:
    """``config`` lies in ``FOLDER``."""
    return [
        str(ROOT / "node_modules" / ".bin" / "firebase"),
        "emulators:start",
        f"--project={PROJECT}",
        f"--config={config.relative_to(FOLDER)}",
        f"--only={','.join(only)}",
        "--non-interactive",
    ]


def cli_environment() -> dict[str, str]:
    found = json.loads(setup.EMULATOR_ENVIRONMENT.read_text())
    return {
        **os.environ,
        **found,
        "PATH": os.pathsep.join([f"{found['JAVA_HOME']}/bin", os.environ.get("PATH", "")]),
        "CI": "true",  # no message of the day from the network
        "NO_UPDATE_NOTIFIER": "1",
        "NODE_OPTIONS": f'{os.environ.get("NODE_OPTIONS", "")} --require "{CLI_PRELOAD}"',
        "METADATA_SERVER_DETECTION": "none",  # no search for Google Cloud credentials
        # Seconds until a new Python worker must answer. The default of 30 is too short for a burst
        # of calls, each of which starts a worker, and the late ones would never be answered.
        "FUNCTIONS_DISCOVERY_TIMEOUT": "120",
    }


def functions_environment() -> dict[str, str]:
    """What functions/.env.local says, which a developer may have changed."""
    return _settings_in(FUNCTIONS_ENVIRONMENT)


def _settings_in(file: Path) -> dict[str, str]:
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def wrong_local_settings() -> str | None:
    """Says what the local Stream server would refuse in the functions' calls, if anything."""
    for file, name, known in (
        (FUNCTIONS_ENVIRONMENT, "STREAM_API_KEY", STREAM_API_KEY),
        (FUNCTIONS_SECRETS, "STREAM_API_SECRET", STREAM_API_SECRET),
    ):
        if _settings_in(file).get(name) != known:
            return (
                f"{file.relative_to(FOLDER)} must say {name}={known}: the local Stream server knows"
                " no other. Correct it, or delete the file and run `make setup`."
            )
    return None


def ports() -> dict[str, int]:
    """Every port that the next start will take."""
    ui = json.loads(CONFIG.read_text())["emulators"]["ui"]
    return {**PORTS, "ui": ui["port"]} if ui["enabled"] else PORTS


def listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except TimeoutError:
        return True  # a listener too busy to accept
    except OSError:
        return False


def answers(port: int) -> bool:
    """True if an HTTP server answers anything at all."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()


def loaded_functions() -> list[str]:
    connection = http.client.HTTPConnection(HOST, PORTS["functions"], timeout=5)
    connection.request("GET", "/backends")
    backends = json.load(connection.getresponse())["backends"]
    connection.close()
    return [trigger["name"] for backend in backends for trigger in backend["functionTriggers"]]


def is_free(port: int) -> bool:
    """Whether a server could listen there: a port can be taken without anybody listening."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return not listens(port)


def taken_ports(wanted: dict[str, int]) -> list[str]:
    """One line for every process that holds some of the ports."""
    taken = {port: name for name, port in wanted.items() if not is_free(port)}
    if not taken:
        return []
    owners = port_owners()
    ports_of: dict[str, list[str]] = {}
    for port, name in taken.items():
        ports_of.setdefault(owners.get(port, UNKNOWN_OWNER), []).append(f"{port} ({name})")
    return [
        f"Port{'s' if len(ports) > 1 else ''} {', '.join(ports)} taken by {owner}."
        for owner, ports in ports_of.items()
    ]


UNKNOWN_OWNER = (
    "a process that cannot be named from here: another user's, inside a container, or not"
    " listening yet"
)


def port_owners() -> dict[int, str]:
    """The process to stop, by the port on which it or a descendant listens."""
    owners = {}
    for process in psutil.process_iter():
        try:
            connections = process.net_connections(kind="tcp")
            listening = [c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN]
            if listening:
                owners.update(dict.fromkeys(listening, described(whole_of(process))))
        except psutil.Error:
            continue  # gone meanwhile, or another user's
    return owners


def whole_of(process: psutil.Process) -> psutil.Process:
    """What started it, if it is part of a stack of ours: that stops all parts in order."""
    starters = {"dev.start", "dev.demo", cli_command()[0]}
    family = [process, *process.parents()]
    return [process, *(one for one in family if starters.intersection(one.cmdline()))][-1]


def described(process: psutil.Process) -> str:
    command = " ".join(process.cmdline()) or process.name()
    one_line = " ".join(command.split())[:160]
    return f"process {process.pid}: {one_line} (to stop it: kill {process.pid})"
