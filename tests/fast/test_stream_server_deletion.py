from __future__ import annotations

import pytest
from stream_chat.base.exceptions import StreamAPIException


@pytest.fixture
def ann(chat):
    chat.upsert_user({"id": "ann", "name": "Ann"})
    return chat


def refusal(call, *args, **kwargs):
    with pytest.raises(StreamAPIException) as caught:
        call(*args, **kwargs)
    error = caught.value
    return error.status_code, error.error_code, error.error_message.split('"')[1]


DELETED = (404, 16, "the user ann was deleted")
DEACTIVATED = (404, 16, "the user ann was deactivated")


def test_a_delete_is_soft_and_answers_the_user(ann):
    response = ann.delete_user("ann")
    assert response.status_code() == 200
    assert response["user"]["deleted_at"]


def test_a_deleted_user_cannot_be_written(ann):
    ann.delete_user("ann")
    assert refusal(ann.upsert_user, {"id": "ann"}) == DELETED
    assert refusal(ann.update_user_partial, {"id": "ann", "set": {"name": "x"}}) == DELETED


def test_one_deleted_user_fails_the_whole_upsert(ann):
    ann.delete_user("ann")
    refusal(ann.upsert_users, [{"id": "bea"}, {"id": "ann"}])
    assert ann.query_users({"id": "bea"})["users"] == []


def test_a_deleted_user_is_restored_as_it_was(ann):
    ann.delete_user("ann")
    assert ann.restore_users(["ann"]).status_code() == 201
    assert ann.query_users({"id": "ann"})["users"][0]["name"] == "Ann"


def test_a_hard_delete_needs_the_messages_marked(ann):
    assert refusal(ann.delete_user, "ann", hard_delete=True)[:2] == (400, 4)


def test_a_hard_deleted_user_cannot_be_restored(ann):
    ann.delete_user("ann", hard_delete=True, mark_messages_deleted=True)
    assert refusal(ann.restore_users, ["ann"])[:2] == (404, 16)


def test_a_hard_deleted_id_cannot_be_used_again(ann):
    ann.delete_user("ann", hard_delete=True, mark_messages_deleted=True)
    assert refusal(ann.upsert_user, {"id": "ann"}) == DELETED


def test_by_switch_a_hard_deleted_id_starts_anew(ann, stream):
    stream.switch(hard_delete_blocks_id_reuse=False)
    ann.delete_user("ann", hard_delete=True, mark_messages_deleted=True)
    assert "name" not in ann.upsert_user({"id": "ann"})["users"]["ann"]


@pytest.mark.parametrize("call", ["delete_user", "deactivate_user", "reactivate_user"])
def test_an_unknown_user_is_refused(chat, call):
    assert refusal(getattr(chat, call), "nobody")[:2] == (404, 16)


def test_deleting_twice_is_refused(ann):
    ann.delete_user("ann")
    assert refusal(ann.delete_user, "ann") == DELETED


def test_restoring_a_living_user_is_refused_with_the_whole_call(ann):
    ann.upsert_user({"id": "bea"})
    ann.delete_user("bea")
    assert refusal(ann.restore_users, ["bea", "ann"])[:2] == (404, 16)
    assert ann.query_users({"id": "bea"})["users"] == []


def test_by_switch_restoring_passes_over_living_users(ann, stream):
    stream.switch(restore_all_or_nothing=False)
    ann.upsert_user({"id": "bea"})
    ann.delete_user("bea")
    ann.restore_users(["bea", "ann"])
    assert len(ann.query_users({"id": "bea"})["users"]) == 1


def test_a_batch_delete_is_a_task(ann):
    response = ann.delete_users(["ann", "nobody"], "soft")
    assert response.status_code() == 201
    task = ann.get_task(response["task_id"])
    assert task["status"] == "completed"
    assert task["result"] == {"ann": {"status": "ok"}, "nobody": {"status": "ok"}}


def test_a_batch_soft_delete_can_be_restored(ann):
    ann.delete_users(["ann"], "soft")
    ann.restore_users(["ann"])
    assert len(ann.query_users({"id": "ann"})["users"]) == 1


def test_a_pruned_user_cannot_be_restored(ann):
    ann.delete_users(["ann"], "pruning")
    assert refusal(ann.restore_users, ["ann"])[:2] == (404, 16)


def test_a_batch_hard_delete_needs_hard_messages_and_conversations(ann):
    assert refusal(ann.delete_users, ["ann"], "hard", messages="hard")[:2] == (400, 4)
    assert ann.delete_users(["ann"], "hard", messages="hard", conversations="hard").is_ok()


@pytest.mark.parametrize("user_ids", [[], [f"u{n}" for n in range(101)], [1]])
def test_a_batch_holds_one_to_a_hundred_ids(chat, user_ids):
    assert refusal(chat.delete_users, user_ids, "soft")[:2] == (400, 4)


def test_an_unknown_task_is_refused(chat):
    assert refusal(chat.get_task, "x") == (404, 16, "Can't find task with id x")


def test_by_switch_a_task_keeps_running(ann, stream):
    stream.switch(task_status="running")
    task = ann.get_task(ann.delete_users(["ann"], "soft")["task_id"])
    assert task["status"] == "running"
    assert "result" not in task


def test_a_deactivated_user_cannot_be_written(ann):
    response = ann.deactivate_user("ann")
    assert response.status_code() == 201
    assert response["user"]["deactivated_at"]
    assert refusal(ann.upsert_user, {"id": "ann"}) == DEACTIVATED
    assert refusal(ann.update_user_partial, {"id": "ann", "set": {"name": "x"}}) == DEACTIVATED


def test_a_deactivated_user_can_be_reactivated(ann):
    ann.deactivate_user("ann")
    user = ann.reactivate_user("ann", name="Ann II")["user"]
    assert user["name"] == "Ann II"
    assert "deactivated_at" not in user


def test_a_deactivated_user_can_be_deleted(ann):
    ann.deactivate_user("ann")
    assert ann.delete_user("ann").is_ok()


def test_reactivating_an_active_user_is_refused(ann):
    assert refusal(ann.reactivate_user, "ann") == (400, 4, "the user ann is not deactivated")


def test_deactivating_twice_is_refused(ann):
    ann.deactivate_user("ann")
    assert refusal(ann.deactivate_user, "ann")[:2] == (400, 4)


def test_by_switch_deactivating_twice_is_accepted(ann, stream):
    stream.switch(repeated_deactivation="accepted")
    ann.deactivate_user("ann")
    assert ann.deactivate_user("ann").is_ok()


def test_reactivating_under_a_taken_name_is_refused(ann, stream):
    stream.switch(enforce_unique_usernames="app")
    ann.deactivate_user("ann")
    ann.upsert_user({"id": "bea", "name": "Ann"})
    assert refusal(ann.reactivate_user, "ann")[:2] == (400, 6)


def test_a_batch_is_deactivated_and_reactivated(ann):
    task = ann.get_task(ann.deactivate_users(["ann"])["task_id"])
    assert task["result"]["users"][0]["deactivated_at"]
    ann.post("users/reactivate", data={"user_ids": ["ann"]})
    assert ann.upsert_user({"id": "ann"}).is_ok()


@pytest.fixture
def said(ann):
    """Messages of Ann and Bea, who stays, and a reply of each."""
    ann.upsert_users([{"id": "bea"}, {"id": "cid"}])
    channel = ann.channel("messaging", "c1", {"members": ["ann", "bea", "cid"]})
    channel.create("bea")
    for message_id, user_id in (("m1", "ann"), ("m2", "bea")):
        channel.send_message({"id": message_id, "text": "hi"}, user_id)
        for name in ("ann", "bea"):
            reply = {"id": f"{message_id}-{name}", "text": "hi", "parent_id": message_id}
            channel.send_message(reply, name)

    def types():
        shown = [*channel.query()["messages"], *channel.get_replies("m2")["messages"]]
        return {message["id"]: message["type"] for message in shown}

    return types


def test_a_deletion_leaves_messages_unless_it_says_so(ann, said):
    ann.delete_user("ann")
    assert said() == {"m1": "regular", "m2": "regular", "m2-ann": "reply", "m2-bea": "reply"}


def test_a_deletion_can_mark_messages_deleted(ann, said):
    ann.delete_user("ann", mark_messages_deleted=True)
    assert said() == {"m1": "deleted", "m2": "regular", "m2-ann": "deleted", "m2-bea": "reply"}


def test_a_deletion_can_remove_messages(ann, said):
    ann.delete_users(["ann"], "soft", messages="hard")
    assert said() == {"m2": "regular", "m2-bea": "reply"}


def test_a_deactivation_can_mark_messages_deleted_until_it_ends(ann, said):
    kept = said()
    ann.deactivate_user("ann", mark_messages_deleted=True)
    marked = {**kept, "m1": "deleted", "m2-ann": "deleted"}
    assert said() == marked
    ann.reactivate_user("ann")
    assert said() == marked
    ann.deactivate_user("ann")
    ann.reactivate_user("ann", restore_messages=True)
    assert said() == kept


def test_a_batch_does_not_do_what_is_not_known(chat, ann):
    for path, option in (
        ("deactivate", "mark_channels_deleted"),
        ("reactivate", "restore_channels"),
    ):
        body = {"user_ids": ["ann"], option: True}
        assert refusal(chat.post, f"users/{path}", data=body)[:2] == (400, 4)
