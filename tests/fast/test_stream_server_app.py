from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal


def test_a_new_app_has_streams_defaults(chat):
    app = chat.get_app_settings()["app"]
    assert (app["multi_tenant_enabled"], app["enforce_unique_usernames"]) == (False, "no")
    assert (app["webhook_url"], app["webhook_events"], app["event_hooks"]) == ("", [], [])
    assert app["revoke_tokens_issued_before"] is None


def test_settings_are_changed_one_by_one(chat):
    response = chat.update_app_settings(multi_tenant_enabled=True)
    assert response.status_code() == 200
    chat.update_app_settings(webhook_events=["message.new"], image_moderation_enabled=True)
    app = chat.get_app_settings()["app"]
    assert (app["multi_tenant_enabled"], app["webhook_events"]) == (True, ["message.new"])
    assert app["image_moderation_enabled"] is True


def test_names_become_unique_by_a_setting(chat, stream):
    chat.update_app_settings(enforce_unique_usernames="app")
    chat.upsert_user({"id": "ann", "name": "Ann"})
    assert refusal(chat.upsert_user, {"id": "bea", "name": "Ann"}) == (400, 6)
    assert stream.state()["switches"]["enforce_unique_usernames"] == "app"


def test_all_tokens_of_the_app_can_be_revoked(chat, stream):
    chat.upsert_user({"id": "ann"})
    now = datetime.now(UTC)
    chat.revoke_tokens(now)
    assert refusal(user_client(stream, "ann").query_users, {"id": "ann"}) == (401, 40)
    newer = user_client(stream, "ann", iat=int(time.time()))
    chat.revoke_tokens(now - timedelta(minutes=1))
    assert newer.query_users({"id": "ann"}).is_ok()
    chat.revoke_tokens(None)
    assert user_client(stream, "ann", iat=1).query_users({"id": "ann"}).is_ok()


def test_event_hooks_are_kept_with_an_id(chat):
    hook = {"hook_type": "sqs", "sqs_queue_url": "https://sqs.example/queue"}
    chat.update_app_settings(event_hooks=[hook])
    (kept,) = chat.get_app_settings()["app"]["event_hooks"]
    assert (kept["hook_type"], kept["enabled"], kept["event_types"]) == ("sqs", True, [])
    assert kept["id"]
    chat.update_app_settings(event_hooks=[])
    assert chat.get_app_settings()["app"]["event_hooks"] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"multi_tenant_enabled": "yes"},
        {"enforce_unique_usernames": "all"},
        {"webhook_events": [1]},
        {"event_hooks": [{"hook_type": "pigeon"}]},
        {"event_hooks": [{"hook_type": "webhook"}]},
        {"event_hooks": ["webhook"]},
        {"revoke_tokens_issued_before": "yesterday"},
    ],
    ids=str,
)
def test_a_bad_setting_is_refused(chat, settings):
    assert refusal(chat.update_app_settings, **settings) == (400, 4)


def test_a_reset_forgets_settings(chat, stream):
    chat.update_app_settings(multi_tenant_enabled=True)
    stream.reset()
    assert chat.get_app_settings()["app"]["multi_tenant_enabled"] is False


def test_settings_are_for_servers(chat, stream):
    chat.upsert_user({"id": "ann"})
    client = user_client(stream, "ann")
    assert refusal(client.update_app_settings, multi_tenant_enabled=True) == (403, 17)
    assert refusal(client.get_app_settings) == (403, 17)
