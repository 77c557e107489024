"""The local stack: its addresses, its ports, and how the Firebase CLI is started."""

import http.client
import json
import os
import socket
import sys

import psutil

from dev import setup

ROOT = setup.ROOT
CONFIG = ROOT / "firebase.local.json"
FUNCTIONS_ENVIRONMENT = ROOT / "functions" / ".env.local"
HOST = "127.0.0.1"
PROJECT = "demo-chatsync"
REGION = "asia-south1"

EMULATORS = ("auth", "functions", "firestore", "pubsub", "tasks", "eventarc")

_EMULATOR_CONFIG = json.loads((ROOT / "firebase.json").read_text())["emulators"]
PORTS = {
    **{name: _EMULATOR_CONFIG[name]["port"] for name in (*EMULATORS, "hub", "logging")},
    "firestore websocket": _EMULATOR_CONFIG["firestore"]["websocketPort"],
    "local Stream server": 3030,
}

STREAM_API_KEY = "local-key"
STREAM_API_SECRET = "local-secret"
STREAM_BASE_URL = f"http://{HOST}:{PORTS['local Stream server']}"
FUNCTIONS_URL = f"http://{HOST}:{PORTS['functions']}/{PROJECT}/{REGION}"

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


def stream_server_command() -> list[str]:
    port = PORTS["local Stream server"]
    return [sys.executable, "-m", "tests.stream_server", f"--host={HOST}", f"--port={port}"]


def cli_command() -> list[str]:
    return [
        str(ROOT / "node_modules" / ".bin" / "firebase"),
        "emulators:start",
        f"--project={PROJECT}",
        f"--config={CONFIG.name}",
        f"--only={','.join(EMULATORS)}",
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
        "METADATA_SERVER_DETECTION": "none",  # no search for Google Cloud credentials
    }


def functions_environment() -> dict[str, str]:
    """What functions/.env.local says, which a developer may have changed."""
    lines = FUNCTIONS_ENVIRONMENT.read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


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


def taken_ports(wanted: dict[str, int]) -> list[str]:
    """One line for every port that something else holds."""
    return [
        f"Port {port} ({name}) is taken by {port_owner(port)}."
        for name, port in wanted.items()
        if listens(port)
    ]


def port_owner(port: int) -> str:
    for process in psutil.process_iter():
        try:
            connections = process.net_connections(kind="tcp")
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections):
                command = " ".join(process.cmdline()) or process.name()
                return f"process {process.pid}: {command[:120]} (to stop it: kill {process.pid})"
        except psutil.Error:
            continue  # gone meanwhile, or another user's
    return "a process that cannot be named from here: another user's, or inside a container"
