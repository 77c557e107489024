"""Settings come from the environment, and a wrong one is named."""

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


def test_formats_become_prefixes():
    loaded = settings.load(
        {**REQUIRED, "STREAM_USER_ID_FORMAT": "crew_{uid}", "STREAM_COMPANY_ID_FORMAT": "{id}"}
    )
    assert loaded.id_format == IdFormat("crew_", "")


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
    ],
)
def test_an_unusable_setting_is_named(name, value):
    with pytest.raises(SettingInvalid, match=name):
        settings.load({**REQUIRED, name: value})


def test_extra_fields_are_a_list_with_commas():
    loaded = settings.load({**REQUIRED, "STREAM_EXTRA_FIELDS": "email, phoneNumber"})
    assert loaded.extra_fields == ("email", "phoneNumber")


def test_the_secret_stays_out_of_what_is_printed():
    assert "s3cr3t" not in repr(settings.load({**REQUIRED, "STREAM_API_SECRET": "s3cr3t"}))
