import os
import socket

from dev import emulators


def test_taken_port_is_named_with_its_owner() -> None:
    with socket.create_server((emulators.HOST, 0)) as server:
        port = server.getsockname()[1]
        [line] = emulators.taken_ports({"firestore": port})
    assert line.startswith(f"Port {port} (firestore) is taken by process {os.getpid()}: ")
    assert f"kill {os.getpid()}" in line


def test_free_port_is_not_mentioned() -> None:
    with socket.create_server((emulators.HOST, 0)) as server:
        port = server.getsockname()[1]
    assert emulators.taken_ports({"firestore": port}) == []


def test_the_developers_own_settings_of_the_functions_are_read(tmp_path, monkeypatch) -> None:
    settings = tmp_path / ".env.local"
    settings.write_text("# mine\nSTREAM_API_KEY=abc\nSTREAM_BASE_URL='https://example.com'\n")
    monkeypatch.setattr(emulators, "FUNCTIONS_ENVIRONMENT", settings)
    assert emulators.functions_environment() == {
        "STREAM_API_KEY": "abc",
        "STREAM_BASE_URL": "https://example.com",
    }
