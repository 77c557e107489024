"""The switch of many gyms in one database: what drifted apart is told by gym, and mended."""

import os
from pathlib import Path

import pytest
import requests

from dev.app_client import AppUser, CallFailed
from examples.adopt.live_system import SECONDS, running
from tests.waiting import wait_for

ORPHANS = ("event_656_d3d94468", "event_655_11aa22bb")
CLOSED = [f"room_Closed{n}_4" for n in range(1, 10)]


@pytest.mark.timeout(SECONDS)
def test_a_third_in_sync_becomes_all_and_no_document_of_the_backend_is_touched() -> None:
    with running(Path(__file__).parent, BACKFILL_ON_INSTALL="true") as gyms:
        rooms = {one.id: one.to_dict() for one in gyms.firestore.collection("conversations").get()}
        found = gyms.operator("audit --channels", status=1)
        assert "In sync: 33%" in found  # 5 of 15
        assert all(f"orphan_channel   │ messaging:{one}" in found for one in ORPHANS)
        assert all(f"foreign_document │ messaging:{one}" in found for one in CLOSED)
        assert "room_General_4" in gyms.operator(
            "audit --channels --team gym_5 --only-issues", status=1
        )
        gyms.deploy()

        # The deployment's own backfill; the operator's command waits for its end.
        begun = wait_for(lambda: (gyms.document("chatsync/setup") or {}).get("backfillId"))
        assert "compared" in gyms.operator("backfill --apply")
        backfill = gyms.document(f"audits/{begun}")
        assert backfill
        assert (backfill["state"], backfill["mode"]) == ("done", "backfill")
        assert "1 of 1" in gyms.operator("fix-team --all", status=1)
        gyms.operator("fix-team --all --apply")
        general = gyms.channel("messaging:room_General_4")
        assert general
        assert (general["channel"]["team"], general["channel"]["gym_id"]) == ("gym_5", 5)
        for orphan in ORPHANS:
            gyms.operator(f"delete-orphan {orphan} --apply --yes")
            assert gyms.channel(f"messaging:{orphan}") is None
        gyms.operator("sync-channel direct_user_11_user_8 --apply")

        # The backend deletes the rooms in SQL, and its script brings that over.
        for room in CLOSED:
            gyms.firestore.document("conversations", room).delete()
        assert "In sync: 100%" in gyms.operator("audit")
        for room in rooms.keys() - {*CLOSED}:
            assert gyms.document(f"conversations/{room}") == rooms[room]

        # The backend makes a channel whose room is not here yet: the webhook records it.
        fields = {"members": ["user_8", "user_12"], "team": "gym_4", "gym_id": 4}
        gyms.chat.channel("messaging", "room_Sauna_4", fields).create("user_8")
        recorded = wait_for(lambda: gyms.document("conversations/room_Sauna_4"))
        assert (recorded["origin"], recorded["team"]) == ("webhook", "gym_4")

        # A conversation of two: in the gym that both share, or in the one that is named.
        caro, ben = gyms.sign_in("12"), gyms.sign_in("11")
        made = caro.call("createConversation", {"participantIds": ["11"]})
        channel = gyms.channel(made["cid"])
        assert channel
        assert (channel["channel"]["team"], channel["channel"]["gym_id"]) == ("gym_4", 4)
        assert status_of_writing("name", {"stringValue": "Caro L."}, caro) == 200
        gym_5 = {"arrayValue": {"values": [{"stringValue": "gym_5"}]}}
        promotion = {"mapValue": {"fields": {"teams": gym_5}}}
        assert status_of_writing("chat", promotion, caro) == 403
        with pytest.raises(CallFailed) as several:
            ben.call("createConversation", {"participantIds": ["8"]})
        assert several.value.code == "permission-denied"
        known = ben.call("createConversation", {"participantIds": ["8"], "team": "gym_4"})
        assert (known["cid"], known["existed"]) == ("messaging:direct_user_11_user_8", True)


def status_of_writing(field: str, value: dict[str, object], caller: AppUser) -> int:
    """The answer if somebody writes a field of their own document, with Firestore's REST API."""
    users = f"projects/demo-adopt-gyms/databases/(default)/documents/users/{caller.uid}"
    answer = requests.patch(
        f"http://{os.environ['FIRESTORE_EMULATOR_HOST']}/v1/{users}",
        params={"updateMask.fieldPaths": field},
        json={"fields": {field: value}},
        headers={"Authorization": f"Bearer {caller.id_token}"},
        timeout=60,
    )
    return answer.status_code
