"""The switch of onecrew, played from the state before to the last audit."""

from pathlib import Path

import pytest
from stream_chat.base.exceptions import StreamAPIException

from dev.app_client import AppUser, CallFailed
from examples.adopt.live_system import SECONDS, LiveSystem, running
from stream_server.user_client import user_client

INES = "3f0c2f0e-6f6e-4d0a-9d41-5a3f1f6a0001"
BRAM = "7b1de4a2-1c55-4b8f-8a6c-9c20e4aa0002"
TOMASZ = "dda3aaa6-d123-4e57-aeef-f0661ec61352"
NORTHERN = "c0a80101-5d1f-4f0e-9f3b-2b7d6f0c0011"
GRIP = "c0a80102-77aa-4c3e-8d2e-0e9a4b1d0012"
OLD_CHANNEL = "messaging:onecrew_b7e6a0c4-0000-4000-8000-000000000021"


@pytest.mark.timeout(SECONDS)
def test_people_and_companies_chat_under_the_ids_that_they_have() -> None:
    with running(Path(__file__).parent) as onecrew:
        # Before anything is deployed: the settings fit, and the missing are named.
        found = onecrew.operator("audit", status=1)
        for missing in (f"user:{TOMASZ}", f"company:{GRIP}"):
            assert f"missing_stream_user │ {missing}" in found
        assert "orphan" not in found  # else the settings would not fit the ids in Stream
        onecrew.deploy()

        # The client meets the error of today, and its loop of three tries mends it.
        ines = onecrew.sign_in(INES)
        assert open_channel(onecrew, ines, [TOMASZ, GRIP]) == 2
        assert name_of(onecrew, f"onecrew_user_{TOMASZ}") == "Tomasz Lis"
        assert name_of(onecrew, f"onecrew_company_{GRIP}") == "Grip & Co"

        # createConversation takes the plain ids of both kinds, as the endpoint did.
        made = ines.call("createConversation", {"participantIds": [BRAM, GRIP, TOMASZ]})
        assert made["conversationType"] == "group"
        assert made["cid"] == f"messaging:onecrew_{made['id']}"
        people = [f"onecrew_user_{uid}" for uid in (INES, BRAM, TOMASZ)]
        assert members_of(onecrew, made["cid"]) == sorted([*people, f"onecrew_company_{GRIP}"])

        # A company signs in for the first time: its token is the company's, and it stays one user.
        grip = onecrew.sign_in(GRIP)
        token = grip.call("getStreamUserToken", {})
        assert token["streamUserId"] == f"onecrew_company_{GRIP}"
        direct = grip.call("createConversation", {"participantIds": [TOMASZ]})
        again = onecrew.sign_in(TOMASZ).call("createConversation", {"participantIds": [GRIP]})
        assert (again["cid"], again["existed"]) == (direct["cid"], True)
        assert onecrew.stream_user(f"onecrew_user_{GRIP}") is None

        # An id that nobody has is told apart, and costs no retries.
        with pytest.raises(CallFailed) as nobody:
            ines.call("ensureStreamUser", {"userId": "5e0ff0a7-0000-4000-8000-00000000dead"})
        assert nobody.value.code == "not-found"

        # The others, the roles of companies, and the channels of before.
        onecrew.operator("backfill --apply")
        northern = onecrew.stream_user(f"onecrew_company_{NORTHERN}")
        assert northern
        assert northern["role"] == "user"
        onecrew.operator("audit --channels --repair only_in_stream --apply", status=0)
        assert "In sync: 100%" in onecrew.operator("audit")
        bram = onecrew.sign_in(BRAM)
        known = bram.call("createConversation", {"participantIds": [INES]})
        assert (known["cid"], known["existed"]) == (OLD_CHANNEL, True)


def open_channel(onecrew: LiveSystem, caller: AppUser, others: list[str]) -> int:
    """What the client does today: up to three tries, the missing repaired between them.

    The number of tries; the app pauses 1 to 3 seconds between them, and this test doesn't.
    """
    chat = user_client(onecrew.stream, f"onecrew_user_{caller.uid}")
    members = [f"onecrew_user_{caller.uid}", f"onecrew_user_{others[0]}"]
    members += [f"onecrew_company_{company}" for company in others[1:]]
    for attempt in (1, 2, 3):
        try:
            chat.channel("messaging", None, {"members": members}).create(members[0])
        except StreamAPIException as error:
            if "don't exist" not in str(error) or attempt == 3:
                raise
            answer = caller.call("ensureStreamUser", {"userIds": others})
            assert [one["status"] for one in answer["results"]] == ["created", "created"]
        else:
            return attempt
    raise AssertionError


def name_of(onecrew: LiveSystem, stream_id: str) -> str:
    user = onecrew.stream_user(stream_id)
    assert user, stream_id
    return str(user["name"])


def members_of(onecrew: LiveSystem, cid: str) -> list[str]:
    channel = onecrew.channel(cid)
    assert channel, cid
    return sorted(member["user_id"] for member in channel["members"])
