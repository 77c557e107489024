from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from stream_server.user_client import user_client
from tests.fast.refusals import refusal

# The required fields of AppResponseFields in Stream's generated SDKs.
PROMISED = (
    *("allow_multi_user_devices", "async_url_enrich_enabled", "auto_translation_enabled"),
    *("campaign_enabled", "cdn_expiration_seconds", "custom_action_handler_url"),
    *("disable_auth_checks", "disable_permissions_checks", "enforce_unique_usernames"),
    *("guest_user_creation_disabled", "id", "image_moderation_enabled"),
    *("max_aggregated_activities_length", "moderation_audio_call_moderation_enabled"),
    *("moderation_enabled", "moderation_llm_configurability_enabled"),
    *("moderation_multitenant_blocklist_enabled", "moderation_video_call_moderation_enabled"),
    *("moderation_webhook_url", "multi_tenant_enabled", "name", "organization"),
    *("permission_version", "placement", "reminders_interval", "sns_key", "sns_secret"),
    *("sns_topic_arn", "sqs_key", "sqs_secret", "sqs_url", "suspended"),
    *("suspended_explanation", "use_hook_v2", "user_response_time_enabled", "webhook_url"),
    *("event_hooks", "user_search_disallowed_roles", "webhook_events", "call_types"),
    *("channel_configs", "file_upload_config", "grants", "image_upload_config", "policies"),
    "push_notifications",
)


def test_a_new_app_has_streams_defaults(chat):
    app = chat.get_app_settings()["app"]
    assert (app["multi_tenant_enabled"], app["enforce_unique_usernames"]) == (False, "no")
    assert (app["webhook_url"], app["webhook_events"], app["event_hooks"]) == ("", [], [])
    assert app["revoke_tokens_issued_before"] is None


def test_an_app_has_all_settings_that_streams_api_promises(chat):
    app = chat.get_app_settings()["app"]
    assert set(PROMISED) <= app.keys()
    assert app["channel_configs"]["messaging"]["typing_events"] is True
    assert app["guest_user_creation_disabled"] is True


def test_a_client_reads_only_some_settings(chat, stream):
    chat.upsert_user({"id": "ann"})
    app = user_client(stream, "ann").get_app_settings()["app"]
    assert app["image_upload_config"]["size_limit"] > 0
    assert (app["name"], app["auto_translation_enabled"]) == ("local", False)
    assert not {"webhook_url", "event_hooks", "sqs_secret", "grants"} & app.keys()


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


def test_settings_are_changed_by_servers_only(chat, stream):
    chat.upsert_user({"id": "ann"})
    client = user_client(stream, "ann")
    assert refusal(client.update_app_settings, multi_tenant_enabled=True) == (403, 17)
