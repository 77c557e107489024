from __future__ import annotations

import asyncio

import pytest

from stream_server.user_client import user_client, user_token
from tests.fast.refusals import refusal
from tests.fast.stream_clients import me, opened


@pytest.fixture
def people(chat):
    chat.upsert_users([{"id": "ann"}, {"id": "bea"}])
    return chat


def ids(chat, user_id):
    return [one["id"] for one in chat.get_devices(user_id)["devices"]]


def test_a_device_is_kept_until_it_is_deleted(people, stream):
    people.add_device("d1", "apn", "ann", push_provider_name="main")
    people.add_device("d2", "firebase", "ann")
    first, second = people.get_devices("ann")["devices"]
    assert (first["id"], first["push_provider"], first["user_id"]) == ("d1", "apn", "ann")
    assert first["push_provider_name"] == "main"
    assert "push_provider_name" not in second
    assert me(stream, "ann")["devices"] == [first, second]
    people.delete_device("d1", "ann")
    assert ids(people, "ann") == ["d2"]
    people.delete_device("d1", "ann")


def test_a_client_has_its_own_devices(people, stream):
    ann = user_client(stream, "ann")
    ann.post("devices", data={"id": "d1", "push_provider": "firebase"})
    assert ids(people, "ann") == [one["id"] for one in ann.get("devices")["devices"]] == ["d1"]
    user_client(stream, "bea").delete("devices", {"id": "d1"})
    assert ids(people, "ann") == ["d1"]
    ann.delete("devices", {"id": "d1"})
    assert ids(people, "ann") == []


def test_a_device_comes_with_a_connection(people, stream):
    async def connect():
        device = {"id": "d1", "push_provider": "apn"}
        async with opened(stream, user_token(stream, "ann"), device=device) as client:
            return (await client.event("health.check"))["me"]["devices"]

    assert [one["id"] for one in asyncio.run(connect())] == ["d1"]
    assert ids(people, "ann") == ["d1"]


def test_a_device_is_one_users_unless_the_app_allows_more(people):
    people.add_device("d1", "apn", "ann")
    people.add_device("d1", "apn", "bea")
    assert (ids(people, "ann"), ids(people, "bea")) == ([], ["d1"])
    people.update_app_settings(allow_multi_user_devices=True)
    people.add_device("d1", "apn", "ann")
    assert (ids(people, "ann"), ids(people, "bea")) == (["d1"], ["d1"])


def test_a_bad_device_is_refused(people):
    assert refusal(people.add_device, "", "apn", "ann") == (400, 4)
    assert refusal(people.add_device, "d1", "pigeon", "ann") == (400, 4)
    assert refusal(people.add_device, 1, "apn", "ann") == (400, 4)
    assert refusal(people.add_device, "d1", "apn", "ghost") == (400, 4)
    assert refusal(people.get_devices, "") == (400, 4)
    assert refusal(people.delete_device, "", "ann") == (400, 4)
