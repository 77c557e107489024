"""Settings come from the environment, and a wrong one is named."""

from dataclasses import asdict

import pytest

from chatsync import settings
from chatsync.errors import SettingInvalid
from chatsync.ids import IdFormat

REQUIRED = {"STREAM_API_KEY": "key", "STREAM_API_SECRET": "secret"}


def test_only_key_and_secret_are_required():
    assert settings.load(REQUIRED) == settings.Settings("key", "secret")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_required_setting_is_named(name):
    with pytest.raises(SettingInvalid, match=f"{name} is not set"):
        settings.load({**REQUIRED, name: " "})


def test_the_region_is_known_without_key_and_secret():
    assert settings.region({}) == "asia-south1"
    assert settings.region({"CHATSYNC_REGION": "europe-west1"}) == "europe-west1"


def test_every_setting_is_read_from_its_variable():
    loaded = settings.load(
        {
            "STREAM_API_KEY": "key",
            "STREAM_API_SECRET": "secret",
            "STREAM_BASE_URL": "https://chat.example.com/",
            "STREAM_USER_ID_FORMAT": "crew_{uid}",
            "STREAM_COMPANY_ID_FORMAT": "{id}",
            "STREAM_CHANNEL_TYPE": "team",
            "STREAM_CHANNEL_ID_FORMAT": "chat-{id}",
            "STREAM_USER_ROLE": "member",
            "STREAM_COMPANY_ROLE": "business",
            "STREAM_EXTRA_FIELDS": "email, phoneNumber",
            "STREAM_SERVICE_USERS": "bot, support",
            "STREAM_DELETE_POLICY": "keep",
            "STREAM_TOKEN_LIFETIME_SECONDS": "120",
            "PROVISION_ANONYMOUS_USERS": "false",
        }
    )
    assert loaded == settings.Settings(
        stream_api_key="key",
        stream_api_secret="secret",
        stream_base_url="https://chat.example.com",
        id_format=IdFormat("crew_", ""),
        channel_type="team",
        channel_id_prefix="chat-",
        user_role="member",
        company_role="business",
        extra_fields=("email", "phoneNumber"),
        service_users=("bot", "support"),
        delete_policy="keep",
        token_lifetime_seconds=120,
        provision_anonymous_users=False,
    )
    # A setting that is left out above would agree in its default.
    defaults = asdict(settings.Settings("", ""))
    left_out = [name for name, value in asdict(loaded).items() if value == defaults[name]]
    assert left_out == []


@pytest.mark.parametrize("policy", ["soft", "hard", "deactivate", "keep"])
def test_a_deleted_account_may_meet_four_policies(policy):
    loaded = settings.load({**REQUIRED, "STREAM_DELETE_POLICY": policy})
    assert loaded.delete_policy == policy


@pytest.mark.parametrize("seconds", [60, 30 * 24 * 3600])
def test_a_token_may_live_from_a_minute_to_thirty_days(seconds):
    loaded = settings.load({**REQUIRED, "STREAM_TOKEN_LIFETIME_SECONDS": str(seconds)})
    assert loaded.token_lifetime_seconds == seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STREAM_USER_ID_FORMAT", "user"),
        ("STREAM_USER_ID_FORMAT", "{id}"),
        ("STREAM_USER_ID_FORMAT", "a b{uid}"),
        ("STREAM_USER_ID_FORMAT", "{uid}_x"),
        ("STREAM_USER_ID_FORMAT", "company_{uid}"),
        ("STREAM_COMPANY_ID_FORMAT", "@{id}"),
        ("STREAM_BASE_URL", "chat.example.com"),
        ("STREAM_EXTRA_FIELDS", "email,birthday"),
        ("STREAM_CHANNEL_TYPE", "a b"),
        ("STREAM_CHANNEL_ID_FORMAT", "x" * 25 + "{id}"),
        ("STREAM_DELETE_POLICY", "forget"),
        ("STREAM_TOKEN_LIFETIME_SECONDS", "59"),
        ("STREAM_TOKEN_LIFETIME_SECONDS", "2592001"),
        ("STREAM_TOKEN_LIFETIME_SECONDS", "an hour"),
        ("PROVISION_ANONYMOUS_USERS", "no"),
    ],
)
def test_an_unusable_setting_is_named(name, value):
    with pytest.raises(SettingInvalid, match=name):
        settings.load({**REQUIRED, name: value})


def test_the_secret_stays_out_of_what_is_printed():
    assert "s3cr3t" not in repr(settings.load({**REQUIRED, "STREAM_API_SECRET": "s3cr3t"}))
