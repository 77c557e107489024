"""Settings come from the environment and from ``chatsync.toml``, and a wrong one is named."""

from pathlib import Path

import pytest

from chatsync import config, settings
from chatsync.config import DEFAULTS
from chatsync.errors import SettingInvalid
from chatsync.ids import IdFormat

REQUIRED = {"STREAM_API_KEY": "key", "STREAM_API_SECRET": "secret"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the deployed folder's ``chatsync.toml`` lies."""
    monkeypatch.setattr(config, "FOLDER", tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "chatsync.toml") -> None:
    (folder / name).write_text(text)


def test_only_key_and_secret_are_required():
    assert settings.load(REQUIRED) == settings.Settings("key", "secret")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_required_setting_is_named(name):
    with pytest.raises(SettingInvalid, match=f"{name} is not set"):
        settings.load({**REQUIRED, name: " "})


def test_the_region_is_known_without_key_and_secret():
    assert settings.region({}) == "asia-south1"
    assert settings.region({"CHATSYNC_REGION": "europe-west1"}) == "europe-west1"


def test_the_address_of_stream_is_that_of_the_place():
    loaded = settings.load({**REQUIRED, "STREAM_BASE_URL": "https://chat.example.com/"})
    assert loaded.stream_base_url == "https://chat.example.com"
    with pytest.raises(SettingInvalid, match="STREAM_BASE_URL"):
        settings.load({**REQUIRED, "STREAM_BASE_URL": "chat.example.com"})


def test_app_check_is_demanded_only_where_it_says_so():
    assert settings.enforce_app_check({"ENFORCE_APP_CHECK": "True"})
    assert not settings.enforce_app_check({})
    with pytest.raises(SettingInvalid, match="ENFORCE_APP_CHECK"):
        settings.enforce_app_check({"ENFORCE_APP_CHECK": "yes"})


def test_the_secret_stays_out_of_what_is_printed():
    assert "s3cr3t" not in repr(settings.load({**REQUIRED, "STREAM_API_SECRET": "s3cr3t"}))


def test_the_file_lies_beside_the_package():
    assert (config.FOLDER / "main.py").exists()


def test_without_a_file_everything_has_its_default(folder):
    assert settings.load(REQUIRED).config == DEFAULTS


def test_a_file_changes_what_it_states_and_nothing_else(folder):
    write(
        folder,
        """
        [stream]
        user_id = "crew_{uid}"
        company_id = "{id}"
        channel_id = "chat-{id}"
        channel_type = {direct = "messaging", group = "team"}
        [users]
        name = ["username"]
        company = {field = "type", values = ["company"]}
        [[channels]]
        id = "event_{event}_*"
        owner = "events/{event}"
        """,
    )
    loaded = settings.load(REQUIRED)
    assert loaded.id_format == IdFormat("crew_", "")
    assert loaded.channel_id_prefix == "chat-"
    assert [loaded.channel_type_of(one) for one in ("direct", "group")] == ["messaging", "team"]
    assert loaded.config.users.name == ("username",)
    assert loaded.config.users.image == DEFAULTS.users.image
    assert loaded.config.channels[0].owner == "events/{event}"


def test_the_file_of_a_project_overlays_the_other_key_by_key(folder):
    write(folder, '[stream]\nuser_role = "member"\nservice_users = ["a", "b"]\n')
    write(folder, '[stream]\nservice_users = ["c"]\n', "chatsync.a-project.toml")
    stream = settings.load({**REQUIRED, "GCLOUD_PROJECT": "a-project"}).config.stream
    assert (stream.user_role, stream.service_users) == ("member", ("c",))
    assert settings.load(REQUIRED).config.stream.service_users == ("a", "b")


@pytest.mark.parametrize(
    "stated", ['[users]\ncollection = "people"', '[firestore]\ndatabase = "x"']
)
def test_what_triggers_are_made_of_stands_in_the_file_of_all_projects(folder, stated):
    write(folder, stated, "chatsync.a-project.toml")
    with pytest.raises(
        SettingInvalid, match=r"chatsync.a-project.toml, line 2: .*chatsync.toml only"
    ):
        settings.load({**REQUIRED, "GCLOUD_PROJECT": "a-project"})


MISTAKES = {
    'user_id = "{uid}"': r"line 1: user_id: is no key",
    '[stream]\n\nuser_idd = "{uid}"': r"line 3: stream.user_idd: is no key",
    "[people]\nx = 1": r"line 1: people: is no key",
    "[stream]\nuser_id = 7": r"line 2: stream.user_id: expected str, got int",
    '[stream]\nuser_id = "user"': r"line 2: stream.user_id: expected up to 64 of .* by \{uid\}",
    '[stream]\nuser_id = "{id}"': r"line 2: stream.user_id",
    '[stream]\nuser_id = "a b{uid}"': r"line 2: stream.user_id",
    '[stream]\nuser_id = "company_{uid}"': r"stream.company_id: expected another beginning",
    '[stream]\ncompany_id = "@{id}"': r"line 2: stream.company_id",
    f'[stream]\nchannel_id = "{"x" * 25}{{id}}"': r"line 2: stream.channel_id: expected up to 24",
    '[stream]\nchannel_type = "a b"': r"line 2: stream.channel_type",
    '[stream]\nchannel_type = {direct = "a"}': r"line 2: stream.channel_type: expected a type for",
    '[stream]\nchannel_type = {direct = "a", grup = "b"}': r"line 2: .*type: expected direct or",
    '[stream]\nchannel_type = {direct = 1, group = "b"}': r"line 2: stream.channel_type.direct: ",
    '[stream]\ndelete_policy = "sfot"': r"line 2: .*policy: expected soft or .*'sfot'",
    "[stream]\ntoken_lifetime_seconds = 59": r"line 2: stream.token_lifetime_seconds: .*>= 60",
    "[stream]\ntoken_lifetime_seconds = 2592001": r"line 2: .*<= 2592000",
    "[stream]\ntrust_hours = -1": r"line 2: stream.trust_hours: .*>= 0",
    "[stream]\ntrust_hours = inf": r"line 2: stream.trust_hours: .*<= 720",
    '[stream]\nprovision_anonymous_users = "no"': r"line 2: .*expected bool, got str",
    '[users]\nname = "username"': r"line 2: users.name: expected array, got str",
    '[users]\nname = ["a..b"]': r"line 2: users.name: expected a path such as a.b, not 'a..b'",
    '[users]\nname = ["first  last"]': r"line 2: users.name: expected a path such as a.b",
    '[users]\nimage = ["small large"]': r"line 2: users.image: expected a path such as a.b",
    '[users]\nrole = "claims:"': r"line 2: users.role: expected a path",
    '[users]\ncollection = "a/b"': r"line 2: users.collection: expected a collection",
    '[users]\ncollection = "tenants/{tenant}/users"': r"line 2: users.collection: expected",
    '[users]\nname = ["claims:name"]': r"line 2: users.name: expected a path such as a.b",
    '[users]\nrole = "__role__"': r"line 2: users.role: expected a path",
    '[users]\ncollection = "repairs"': r"line 2: users.collection: .* that of chatsync itself",
    '[profiles]\ncollection = "users"': r"line 2: profiles.collection: .* than that of users",
    '[users]\ncompany = {field = "type"}': r"line 2: users.company: expected both",
    '[users]\ncompany = {feild = "type"}': r"line 2: users.company.feild: is no key",
    '[users]\ncompany = {field = "claims:a", values = ["b"]}': r"line 2: users.company.field: ",
    "[users]\nstream_fields = {language = 3}": r"line 2: .*stream_fields.language: expected",
    '[users]\nstream_fields = {banned = "a.b"}': r"line 2: users.stream_fields.banned: is a field",
    '[users]\nstream_fields = {"a.b" = "a.b"}': r"line 2: users.stream_fields.a.b: is",
    '[users.stream_fields]\nname = "nick"': r"line 2: users.stream_fields.name: is a field that",
    '[stats]\npublic_fields = ["updatedAt"]': r"line 2: stats.public_fields: expected a field",
    "[profiles.defaults]\nx = 1\nborn = 2020-01-02": r"line 3: profiles.defaults.born: expected",
    '[teams]\nformat = "gym"': r"line 2: teams.format: expected \{value\} once",
    '[teams]\nformat = "{gym_{value}"': r"line 2: teams.format: expected \{value\} once",
    '[teams]\nchannel_field = "members"': r"line 2: teams.channel_field: expected a custom field",
    '[[channels]]\nid = "a"\n\n[[channels]]\nid = "b c"': r"line 5: channels\[1\].id: expected",
    '[[channels]]\nid = "{e}_{e}"': r"line 2: channels\[0\].id",
    '[[channels]]\nid = "event_{event_*"': r"line 2: channels\[0\].id: expected",
    '[[channels]]\nid = "event_{a-b}_*"': r"line 2: channels\[0\].id: expected",
    '[[channels]]\nid = "event_*"\nowner = "events/*"': r"line 3: channels\[0\].owner: expected",
    '[[channels]]\nid = "{e}"\nowner = "events/{{e}"': r"line 3: channels\[0\].owner: expected",
    '[[channels]]\nid = "a"\nowner = "events"': r"line 3: channels\[0\].owner",
    '[[channels]]\nid = "a"\nowner = "events/{e}"': r"line 3: channels\[0\].owner",
    "[[channels]]\nrecord = true": r"line 1: channels\[0\]: .*missing required field id",
    "[limits]\ntoken_per_minute = 0": r"line 2: limits.token_per_minute: .*>= 1",
    "[safety]\nmax_percent = 101": r"line 2: safety.max_percent: .*<= 100",
    '[conversations]\nforeign = "no"': r"line 2: .*foreign: expected report or ignore, not",
    "[stream\n": r"chatsync.toml: .*line 1",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items())
def test_a_mistake_is_told_with_file_line_key_and_what_was_expected(folder, text, message):
    write(folder, text)
    with pytest.raises(SettingInvalid, match=message) as raised:
        settings.load(REQUIRED)
    assert str(raised.value).startswith("chatsync.toml")


@pytest.mark.parametrize(
    "content",
    [
        '[users]\nname = ["Größe"]'.encode("latin-1"),
        "[users]\n".encode("utf-16"),
        b"x = " + b"9" * 5000,
    ],
    ids=["latin-1", "utf-16", "a huge number"],
)
def test_a_file_that_cannot_be_read_is_named(folder, content):
    (folder / "chatsync.toml").write_bytes(content)
    with pytest.raises(SettingInvalid, match=r"^chatsync\.toml: "):
        settings.load(REQUIRED)


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("STREAM_USER_ID_FORMAT", "crew_{uid}", "stream.user_id"),
        ("STREAM_COMPANY_ID_FORMAT", "{id}", "stream.company_id"),
        ("STREAM_CHANNEL_TYPE", "team", "stream.channel_type"),
        ("STREAM_CHANNEL_ID_FORMAT", "chat-{id}", "stream.channel_id"),
        ("STREAM_USER_ROLE", "member", "stream.user_role"),
        ("STREAM_COMPANY_ROLE", "business", "stream.company_role"),
        ("STREAM_EXTRA_FIELDS", "email, phoneNumber", "users.stream_fields"),
        ("STREAM_SERVICE_USERS", "bot, support", "stream.service_users"),
        ("STREAM_DELETE_POLICY", "keep", "stream.delete_policy"),
        ("STREAM_TOKEN_LIFETIME_SECONDS", "120", "stream.token_lifetime_seconds"),
        ("PROVISION_ANONYMOUS_USERS", "false", "stream.provision_anonymous_users"),
    ],
)
def test_a_variable_of_before_must_agree_with_the_file(folder, variable, value, key):
    with pytest.raises(SettingInvalid, match=rf"{variable} is .*{key} in chatsync.toml is"):
        settings.load({**REQUIRED, variable: value})


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ('[stream]\nuser_id = "app_{uid}"', {"STREAM_USER_ID_FORMAT": "App_{uid}"}),
        ('[stream]\ncompany_id = "C_{id}"', {"STREAM_COMPANY_ID_FORMAT": "c_{id}"}),
        ('[users]\nstream_fields = {email = "contact.mail"}', {"STREAM_EXTRA_FIELDS": "email"}),
    ],
)
def test_a_variable_of_before_that_differs_in_case_or_path_disagrees(folder, text, environ):
    """Ids are case-sensitive: with the file's format everybody would get a second Stream user."""
    write(folder, text)
    with pytest.raises(SettingInvalid, match=next(iter(environ))):
        settings.load({**REQUIRED, **environ})


def test_a_variable_of_before_that_agrees_does_no_harm(folder):
    stated = '[stream]\nservice_users = ["bot", "support"]\n'
    write(
        folder, stated + '[users]\nstream_fields = {email = "email", phoneNumber = "phoneNumber"}'
    )
    agreeing = {
        "STREAM_SERVICE_USERS": "bot, support",
        "STREAM_EXTRA_FIELDS": "email,phoneNumber",
        "PROVISION_ANONYMOUS_USERS": "true",
    }
    assert settings.load({**REQUIRED, **agreeing}).config.stream.service_users == ("bot", "support")
