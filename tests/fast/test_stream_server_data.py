"""What the local Stream server keeps in a file, and what it is filled with."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest
import requests
from aiohttp import ClientSession, WSMessageTypeError
from stream_chat import StreamChat
from stream_chat.base.exceptions import StreamAPIException

from stream_server.control_client import LocalStream
from stream_server.data import NOT_KEPT, VERSION, Data, DataError, parts
from stream_server.operations import documented_limits
from stream_server.state import State
from tests.fast.stream_clients import me

REPOSITORY = Path(__file__).parents[2]
SEED = {
    "users": [{"id": "ann", "name": "Ann \ud800 \U0001f600"}, {"id": "bob", "role": "admin"}],
    "channels": [
        {
            "type": "messaging",
            "id": "general",
            "created_by_id": "ann",
            "members": ["ann", {"user_id": "bob", "channel_role": "channel_moderator"}],
            "name": "General",
            "messages": [
                {"id": "m1", "user_id": "ann", "text": "Hello"},
                {"user_id": "bob", "text": "Welcome", "parent_id": "m1"},
            ],
        },
        {"type": "team", "id": "empty", "created_by_id": "bob"},
    ],
}


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "stream_server", "--port", "0", *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(*arguments):
    """The server, and a client of Stream's SDK for it. It ends by a signal, as a developer does."""
    with start(*arguments) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            stream = LocalStream(line.split()[5])
            yield stream, StreamChat(stream.key, stream.secret, base_url=stream.url), process
            process.terminate()
            assert process.wait(timeout=10) in (0, -signal.SIGKILL)
        finally:
            process.kill()


def refusal(*arguments):
    """What a server says that doesn't start."""
    with start(*arguments) as process:
        output, error = process.communicate(timeout=20)
    assert (process.returncode, output) == (1, "")
    return error


def loaded(file):
    state = State(limits=documented_limits())
    data = Data(str(file))
    data.load(state)
    data.close()
    return state


@pytest.fixture
def file(tmp_path):
    return tmp_path / "stream.db"


@pytest.fixture
def seed_file(tmp_path):
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(SEED))
    return path


def everything(chat):
    """What Stream's operations answer, but for what is about the call."""
    channels = chat.query_channels({}, limit=30, message_limit=100)["channels"]
    general = chat.channel("messaging", "general")
    replies = general.get_replies("m1")["messages"]
    users = chat.query_users({}, limit=100)["users"]
    app = chat.get_app_settings()["app"]
    return channels, replies, users, app


def test_a_restart_loses_nothing(file, seed_file):
    with running("--data", file, "--seed", seed_file) as (_, chat, _):
        channel = chat.channel("messaging", "general")
        channel.send_message({"text": "a quote", "quoted_message_id": "m1"}, "bob")
        channel.mark_read("ann")
        channel.add_members(["bob"])
        chat.ban_user("bob", target_user_id="bob", banned_by_id="ann", timeout=60)
        chat.upsert_users([{"id": "gone"}, {"id": "erased"}, {"id": "left"}])
        chat.delete_user("gone")
        chat.delete_user("erased", hard_delete=True, mark_messages_deleted=True)
        chat.deactivate_user("left")
        chat.update_app_settings(enforce_unique_usernames="app", custom=1)
        chat.update_app_settings(custom=True)
        chat.channel("team", "empty").delete()
        before = everything(chat)
    with running("--data", file) as (stream, chat, _):
        assert everything(chat) == before
        assert chat.get_app_settings()["app"]["custom"] is True
        counts = stream.state()["counts"]
        assert (counts["deleted_users"], counts["erased_ids"]) == (1, 1)
        with pytest.raises(StreamAPIException, match="already exists"):
            chat.upsert_user({"id": "other", "name": SEED["users"][0]["name"]})


def test_a_restart_keeps_what_was_uploaded(file, seed_file, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\0 as it is")
    with running("--data", file, "--seed", seed_file) as (_, chat, _):
        channel = chat.channel("messaging", "general")
        sent = channel.send_file(str(tmp_path / "a.txt"), "a.txt", {"id": "ann"}, "text/plain")
    with running("--data", file) as (stream, _, _):
        path = sent["file"].partition("/_files/")[2]
        assert requests.get(f"{stream.url}/_files/{path}", timeout=10).content == b"\0 as it is"


def test_after_a_restart_nobody_is_online(file):
    with running("--data", file) as (stream, chat, process):
        query = {
            "api_key": stream.key,
            "authorization": chat.create_token("ann"),
            "stream-auth-type": "jwt",
            "json": json.dumps({"user_id": "ann", "user_details": {"id": "ann", "name": "Ann"}}),
        }

        async def connect_and_die():
            async with (
                ClientSession() as session,
                session.ws_connect(f"{stream.url}/connect", params=query) as socket,
            ):
                assert (await socket.receive_json())["me"]["online"] is True
                process.send_signal(signal.SIGKILL)

        asyncio.run(connect_and_die())
    ann = loaded(file).users["ann"]
    assert (ann["name"], ann["online"]) == ("Ann", False)
    assert ann["last_active"]


def write_until_refused(url, number, answered):
    """Batches of ten users of one generation each, and messages, until the server is gone."""
    chat = StreamChat("local-key", "local-secret", base_url=url)
    channel = chat.channel("messaging", "general")
    for generation in range(1_000_000):
        names = {"name": f"generation {generation}"}
        message_id = f"{number}-{generation}-{time.monotonic_ns()}"
        try:
            chat.upsert_users([{"id": f"w{number}-{n}", **names} for n in range(10)])
            answered[number] = names["name"]
            channel.send_message({"id": message_id, "text": "x" * 1000}, "ann")
            answered["messages"].append(message_id)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return


def test_a_kill_in_the_middle_of_writes_loses_nothing_that_was_answered(file, seed_file):
    messages = []
    for lasting in (0.3, 0.5, 0.4):
        answered = {"messages": messages}
        with running("--data", file, "--seed", seed_file) as (stream, _, process):
            for operation in ("UpdateUsers", "SendMessage"):
                stream.remove_limit(operation)
            writers = [
                threading.Thread(target=write_until_refused, args=(stream.url, number, answered))
                for number in range(3)
            ]
            for writer in writers:
                writer.start()
            deadline = time.monotonic() + 20
            while len(answered) < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
            writers[0].join(timeout=lasting)  # it lasts until the kill
            process.send_signal(signal.SIGKILL)
            for writer in writers:
                writer.join()
        state = loaded(file)
        kept = state.channels["messaging:general"]["messages"]
        assert messages
        assert set(messages) <= kept.keys()
        times = [message["created_at"] for message in kept.values()]
        assert times == sorted(times)
        for number in range(3):
            names = {state.users[f"w{number}-{n}"]["name"] for n in range(10)}
            assert len(names) == 1, "half a call was kept"
            assert generation_of(*names) >= generation_of(answered[number])


def generation_of(name):
    return int(name.split()[1])


def test_the_state_read_is_the_state_written(file, seed_file):
    """Down to the order of everything, and to types that JSON lacks."""
    with running("--data", file, "--seed", seed_file) as (_, chat, _):
        chat.ban_user("bob", target_user_id="bob", banned_by_id="ann", timeout=60)
    state = loaded(file)
    assert [*state.bans] == [("bob", None, "banned")]
    assert list(state.users) == ["ann", "bob"]
    assert state.users["ann"]["name"] == SEED["users"][0]["name"]
    assert list(state.channels) == ["messaging:general", "team:empty"]
    assert isinstance(state.erased_ids, set)
    again = loaded(file)
    assert json.dumps(unordered_keys(parts(state))) == json.dumps(unordered_keys(parts(again)))


def unordered_keys(found):
    return {part: [[str(key), value] for key, value in one.items()] for part, one in found.items()}


def test_all_of_the_state_is_kept_but_what_is_named():
    """A new field of the state is kept by itself; if it can't be, name it in NOT_KEPT."""
    state = State(limits={})
    names = {field.name for field in fields(state)}
    assert names >= NOT_KEPT
    assert names - NOT_KEPT == parts(state).keys()
    assert all(isinstance(part, dict) for part in parts(state).values())


def test_a_reset_empties_the_file_too(file, seed_file):
    with running("--data", file, "--seed", seed_file) as (stream, _, _):
        stream.webhook("http://127.0.0.1:9/hook")
        stream.reset()
    state = loaded(file)
    assert (state.users, state.channels, state.message_cids) == ({}, {}, {})
    assert state.app["webhook_url"] == "http://127.0.0.1:9/hook"
    with running("--data", file, "--seed", seed_file) as (_, chat, _):
        assert len(chat.query_users({})["users"]) == 2, "an empty server is seeded"


def test_a_seed_leaves_alone_what_is_there(file, seed_file):
    with running("--data", file, "--seed", seed_file) as (_, chat, _):
        chat.upsert_user({"id": "ann", "name": "Another"})
    with running("--data", file, "--seed", seed_file) as (_, chat, _):
        users = chat.query_users({})["users"]
    assert {user["id"]: user.get("name") for user in users} == {"ann": "Another", "bob": None}


def test_the_seed_in_the_readme_is_one(tmp_path):
    text = (REPOSITORY / "stream_server" / "README.md").read_text(encoding="utf-8")
    path = tmp_path / "seed.json"
    path.write_text(text.split("```json\n")[1].split("```")[0])
    with running("--seed", path) as (_, chat, _):
        replies = chat.channel("messaging", "general").get_replies("m1")["messages"]
    assert [reply["user"]["name"] for reply in replies] == ["Bob"]


def test_a_seed_needs_no_file_of_data(seed_file):
    with running("--seed", seed_file) as (_, chat, _):
        (channel,) = chat.query_channels({"id": "general"})["channels"]
        assert [message["text"] for message in channel["messages"]] == ["Hello"]
        assert channel["messages"][0]["reply_count"] == 1


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("{", "must be a JSON object"),
        ([], "must be a JSON object"),
        ({"people": []}, "people: unknown field; known are users, channels"),
        ({"users": {}}, "users: must be an array"),
        ({"users": ["ann"]}, "users[0]: must be an object"),
        ({"users": [{"name": "Ann"}]}, "users[0].id: is required"),
        ({"users": [{"id": "a b"}]}, 'users[0]: user id "a b" must be 1 to 255 characters'),
        ({"users": [{"id": "a"}, {"id": "b", "role": "king"}]}, 'users[1]: role "king" provided'),
        ({"channels": [{"id": "c"}]}, "channels[0].type: is required"),
        (
            {"channels": [{"type": "messaging", "id": "c", "created_by_id": "x"}]},
            "channels[0]: The following users are involved in channel create operation",
        ),
        (
            {
                "users": [{"id": "a"}],
                "channels": [
                    {
                        "type": "messaging",
                        "id": "c",
                        "created_by_id": "a",
                        "messages": [{"user_id": "a"}, {"user_id": "b"}],
                    }
                ],
            },
            "channels[0].messages[1]: The following users are involved in message send operation",
        ),
    ],
)
def test_a_wrong_seed_is_refused_with_the_field_and_nothing_of_it_is_kept(
    file, tmp_path, given, problem
):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(given if isinstance(given, str) else json.dumps(given))
    error = refusal("--data", file, "--seed", wrong)
    assert error.startswith(f"{wrong}: {problem}")
    assert error.count("\n") == 1
    assert not any(parts(loaded(file))[part] for part in ("users", "channels"))


def test_a_seed_that_is_not_there_is_refused(tmp_path):
    missing = tmp_path / "missing.json"
    assert refusal("--seed", missing) == f"{missing}: No such file or directory\n"


def test_two_processes_do_not_share_a_file(file, seed_file):
    with running("--data", file, "--seed", seed_file) as (_, chat, _):
        assert refusal("--data", file) == f"{file} is in use by another process\n"
        chat.upsert_user({"id": "carl"})
    assert "carl" in loaded(file).users


def of_another_version(file):
    database = sqlite3.connect(file)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()


def of_another_program(file):
    file.unlink()
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE recipes (name TEXT)")
    database.close()


def overwritten(file):
    file.write_text("My diary\n" * 1000)


def cut(file):
    file.write_bytes(file.read_bytes()[:-3000])


def with_a_damaged_page(file):
    content = bytearray(file.read_bytes())
    content[4096:6000] = bytes(1904)
    file.write_bytes(content)


def with_half_an_entry(file):
    database = sqlite3.connect(file)
    with database:
        database.execute("UPDATE entries SET value = substr(value, 9) WHERE part = 'users'")
    database.close()


def with_messages_of_no_channel(file):
    database = sqlite3.connect(file)
    with database:
        database.execute("DELETE FROM entries WHERE part = 'channels'")
    database.close()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (of_another_version, f"is of version {VERSION + 1}, this server reads version {VERSION}"),
        (of_another_program, "holds no data of a local Stream server"),
        (overwritten, "cannot be used: file is not a database"),
        (cut, "is broken: *** in database main ***"),
        (with_a_damaged_page, "is broken: "),
        (with_half_an_entry, "is broken: JSONDecodeError"),
        (with_messages_of_no_channel, "is broken: KeyError: 'messaging:general'"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_stays_as_it_is(file, seed_file, damage, problem):
    with running("--data", file, "--seed", seed_file):
        pass
    damage(file)
    before = file.read_bytes()
    error = refusal("--data", file, "--seed", seed_file)
    assert error.startswith(f"{file} {problem}")
    assert error.count("\n") == 1
    assert file.read_bytes() == before


def test_data_in_no_folder_is_refused(tmp_path):
    file = tmp_path / "missing" / "stream.db"
    assert refusal("--data", file) == f"{file} cannot be used: unable to open database file\n"


def fill_up(chat):
    for number in range(100):
        chat.upsert_user({"id": f"u{number}", "text": "x" * 4000})


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can fill up a file")
def test_what_could_not_be_written_was_not_answered_with_success(file):
    """A full disk, say. Once there is room again, the next write makes up for it."""
    with running("--data", file) as (stream, chat, process):
        limit = file.stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        with pytest.raises(StreamAPIException, match="internal server error"):
            fill_up(chat)
        with pytest.raises(WSMessageTypeError):
            me(stream, "ann")
        assert stream.state()["counts"]["connections"] == 0
        no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, no_limit)
        chat.upsert_user({"id": "last"})
        ids = {user["id"] for user in chat.query_users({}, limit=100)["users"]}
    assert loaded(file).users.keys() == ids


def test_data_is_of_one_process_at_a_time_within_it_too(file):
    data = Data(str(file))
    with pytest.raises(DataError, match="is in use by another process"):
        Data(str(file))
    data.close()
