"""What a new app has for settings, and what of them its clients may read.

All fields that Stream's API promises in GetApp; what this server doesn't do is off. Who may do what
is not in ``grants`` here, but in permissions.py.
"""

from __future__ import annotations

from .channel_config import CHANNEL_TYPES, type_config
from .state import Json

# As Stream's own clients, made from its API, know the settings.
FOR_CLIENTS = (
    "async_url_enrich_enabled",
    "auto_translation_enabled",
    "file_upload_config",
    "id",
    "image_upload_config",
    "name",
    "placement",
)
UPLOADS = {
    "allowed_file_extensions": [],
    "allowed_mime_types": [],
    "blocked_file_extensions": [],
    "blocked_mime_types": [],
    "size_limit": 100 * 1024 * 1024,
}
OFF = (
    "allow_multi_user_devices",
    "async_url_enrich_enabled",
    "auto_translation_enabled",
    "campaign_enabled",
    "disable_auth_checks",
    "disable_permissions_checks",
    "enable_hook_payload_compression",
    "image_moderation_enabled",
    "moderation_audio_call_moderation_enabled",
    "moderation_enabled",
    "moderation_llm_configurability_enabled",
    "moderation_multitenant_blocklist_enabled",
    "moderation_video_call_moderation_enabled",
    "multi_tenant_enabled",
    "suspended",
    "user_response_time_enabled",
)
EMPTY_TEXTS = (
    "custom_action_handler_url",
    "moderation_webhook_url",
    "sns_key",
    "sns_secret",
    "sns_topic_arn",
    "sqs_key",
    "sqs_secret",
    "sqs_url",
    "suspended_explanation",
    "webhook_url",
)
EMPTY_LISTS = ("event_hooks", "user_search_disallowed_roles", "webhook_events")
PUSH = {
    "version": "v2",
    "offline_only": False,
    **{name: {"enabled": False} for name in ("apn", "firebase", "huawei", "xiaomi")},
}


def new_app() -> Json:
    return {
        **dict.fromkeys(OFF, False),
        **dict.fromkeys(EMPTY_TEXTS, ""),
        **{name: [] for name in EMPTY_LISTS},
        "id": 1,
        "name": "local",
        "organization": "local",
        "placement": "local",
        "permission_version": "v2",
        "use_hook_v2": True,
        # There is no call to create a guest.
        "guest_user_creation_disabled": True,
        "cdn_expiration_seconds": 0,
        "max_aggregated_activities_length": 0,
        "reminders_interval": 0,
        "revoke_tokens_issued_before": None,
        "call_types": {},
        "grants": {},
        "policies": {},
        "channel_configs": {name: type_config(name) for name in CHANNEL_TYPES},
        "file_upload_config": UPLOADS,
        "image_upload_config": UPLOADS,
        "push_notifications": PUSH,
    }
