import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dev import emulators


def test_taken_port_is_named_with_its_owner() -> None:
    with socket.create_server((emulators.HOST, 0)) as server:
        port = server.getsockname()[1]
        [line] = emulators.taken_ports({"firestore": port})
    assert line.startswith(f"Port {port} (firestore) taken by process {os.getpid()}: ")
    assert f"kill {os.getpid()}" in line


def test_ports_of_one_process_share_a_line() -> None:
    with (
        socket.create_server((emulators.HOST, 0)) as one,
        socket.create_server((emulators.HOST, 0)) as two,
    ):
        ports = [server.getsockname()[1] for server in (one, two)]
        [line] = emulators.taken_ports({"auth": ports[0], "hub": ports[1]})
    assert line.startswith(f"Ports {ports[0]} (auth), {ports[1]} (hub) taken by process ")


def test_port_that_is_bound_without_a_listener_is_taken() -> None:
    with socket.socket() as bound:
        bound.bind((emulators.HOST, 0))
        port = bound.getsockname()[1]
        [line] = emulators.taken_ports({"firestore": port})
    assert line.startswith(f"Port {port} (firestore) taken by a process that cannot be named")


def test_command_of_several_lines_is_told_in_one() -> None:
    code = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n" + (
        "print(server.getsockname()[1], flush=True)\ninput()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        port = int(owner.stdout.readline())
        [line] = emulators.taken_ports({"firestore": port})
        owner.communicate("\n")
    assert "\n" not in line


def test_part_of_a_stack_is_told_as_the_stack() -> None:
    code = (
        "import subprocess, sys\n"
        'child = \'import socket; server = socket.create_server(("127.0.0.1", 0));'
        " print(server.getsockname()[1], flush=True); input()'\n"
        "subprocess.run([sys.executable, '-c', child])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "dev.start"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as stack:
        port = int(stack.stdout.readline())
        [line] = emulators.taken_ports({"firestore": port})
        stack.communicate("\n")
    assert f"kill {stack.pid})" in line


def test_free_port_is_not_mentioned() -> None:
    with socket.create_server((emulators.HOST, 0)) as server:
        port = server.getsockname()[1]
    assert emulators.taken_ports({"firestore": port}) == []


def test_the_developers_own_settings_of_the_functions_are_read(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / ".env.local"
    settings.write_text("# mine\nSTREAM_API_KEY=abc\nSTREAM_BASE_URL='https://example.com'\n")
    monkeypatch.setattr(emulators, "FUNCTIONS_ENVIRONMENT", settings)
    assert emulators.functions_environment() == {
        "STREAM_API_KEY": "abc",
        "STREAM_BASE_URL": "https://example.com",
    }


@pytest.mark.parametrize(
    ("key", "secret", "told"),
    [
        ("local-key", "local-secret", None),
        ("other", "local-secret", "functions/.env.local must say STREAM_API_KEY=local-key"),
        ("local-key", None, "functions/.secret.local must say STREAM_API_SECRET=local-secret"),
    ],
)
def test_settings_that_the_local_stream_server_refuses_are_told_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, secret: str | None, told: str | None
) -> None:
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / ".env.local").write_text(f"STREAM_API_KEY={key}\n")
    if secret:
        (functions / ".secret.local").write_text(f"STREAM_API_SECRET={secret}\n")
    monkeypatch.setattr(emulators, "FOLDER", tmp_path)
    monkeypatch.setattr(emulators, "FUNCTIONS_ENVIRONMENT", functions / ".env.local")
    monkeypatch.setattr(emulators, "FUNCTIONS_SECRETS", functions / ".secret.local")
    said = emulators.wrong_local_settings()
    assert said is None if told is None else said and said.startswith(told)
