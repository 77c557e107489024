"""Every setting, read from the environment and checked in one place.

Only the key and the secret are declared as parameters: the Firebase CLI asks in the terminal for
each declared parameter that has no value, at every emulator start.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from firebase_functions.params import SecretParam, StringParam

from .errors import SettingInvalid
from .ids import IdFormat, Kind
from .plan import Policy
from .users import EXTRA_FIELDS

STREAM_API_KEY = StringParam("STREAM_API_KEY", description="Key of the Stream app")
STREAM_API_SECRET = SecretParam("STREAM_API_SECRET", description="Secret of the Stream app")


DELETE_POLICIES = ("soft", "hard", "deactivate", "keep")
MAX_TOKEN_LIFETIME_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Settings:
    """The settings by name; ``functions/.env.example`` says what each one means."""

    stream_api_key: str
    stream_api_secret: str = field(repr=False)
    stream_base_url: str | None = None
    id_format: IdFormat = field(default_factory=IdFormat)
    channel_type: str = "messaging"
    channel_id_prefix: str = ""
    user_role: str = "user"
    company_role: str = "user"
    extra_fields: tuple[str, ...] = ()
    service_users: tuple[str, ...] = ()
    """Stream ids of bots and other users without an account."""

    delete_policy: str = DELETE_POLICIES[0]
    token_lifetime_seconds: int = 3600
    provision_anonymous_users: bool = True

    def policy(self, kind: Kind) -> Policy:
        """The settings for users of one kind, as :func:`plan.plan` needs them."""
        return Policy(
            default_role=self.user_role if kind == "user" else self.company_role,
            extra_fields=self.extra_fields,
            provision_anonymous=self.provision_anonymous_users,
        )


def region(environ: Mapping[str, str] = os.environ) -> str:
    """Where the functions run. Read on its own: deploy discovery has no key and no secret."""
    return environ.get("CHATSYNC_REGION") or "asia-south1"


def enforce_app_check(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether callables demand App Check. Read when the functions are declared, like region."""
    return _switch(environ, "ENFORCE_APP_CHECK", False)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings. Raises SettingInvalid, which names the first missing or unusable one."""
    return Settings(
        stream_api_key=_required(environ, STREAM_API_KEY.name),
        stream_api_secret=_required(environ, STREAM_API_SECRET.name),
        stream_base_url=_base_url(environ),
        id_format=_id_format(environ),
        channel_type=_channel_type(environ),
        channel_id_prefix=_prefix(environ, "STREAM_CHANNEL_ID_FORMAT", "{id}", 24),
        user_role=environ.get("STREAM_USER_ROLE") or Settings.user_role,
        company_role=environ.get("STREAM_COMPANY_ROLE") or Settings.company_role,
        extra_fields=_extra_fields(environ),
        service_users=_names(environ, "STREAM_SERVICE_USERS"),
        delete_policy=_one_of(environ, "STREAM_DELETE_POLICY", DELETE_POLICIES),
        token_lifetime_seconds=_seconds(environ, "STREAM_TOKEN_LIFETIME_SECONDS"),
        provision_anonymous_users=_switch(
            environ, "PROVISION_ANONYMOUS_USERS", Settings.provision_anonymous_users
        ),
    )


def _one_of(environ: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """The first choice is the default."""
    value = environ.get(name) or choices[0]
    if value not in choices:
        raise SettingInvalid(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _seconds(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name) or str(Settings.token_lifetime_seconds)
    if not re.fullmatch(r"[0-9]{1,9}", value) or not 60 <= int(value) <= MAX_TOKEN_LIFETIME_SECONDS:
        raise SettingInvalid(f"{name} must be from 60 to {MAX_TOKEN_LIFETIME_SECONDS} (30 days)")
    return int(value)


def _switch(environ: Mapping[str, str], name: str, default: bool) -> bool:
    value = (environ.get(name) or str(default)).lower()
    if value not in ("true", "false"):
        raise SettingInvalid(f"{name} must be true or false")
    return value == "true"


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise SettingInvalid(
            f"{name} is not set. Locally, run `make setup`; deployed, set it in"
            " functions/.env.PROJECT (key) or with `firebase functions:secrets:set` (secret)."
        )
    return value


def _base_url(environ: Mapping[str, str]) -> str | None:
    url = environ.get("STREAM_BASE_URL", "").strip().rstrip("/")
    if url and not re.match(r"https?://[^/]", url):
        raise SettingInvalid("STREAM_BASE_URL must begin with https:// or http://")
    return url or None


def _id_format(environ: Mapping[str, str]) -> IdFormat:
    formats = IdFormat(
        user_prefix=_prefix(environ, "STREAM_USER_ID_FORMAT", "{uid}"),
        company_prefix=_prefix(environ, "STREAM_COMPANY_ID_FORMAT", "company_{id}"),
    )
    if formats.user_prefix == formats.company_prefix:
        raise SettingInvalid(
            "STREAM_USER_ID_FORMAT and STREAM_COMPANY_ID_FORMAT must begin differently,"
            " or a user and a company could share one Stream id"
        )
    return formats


def _prefix(environ: Mapping[str, str], name: str, default: str, longest: int = 64) -> str:
    placeholder = default[default.index("{") :]
    value = environ.get(name) or default
    prefix = value.removesuffix(placeholder)
    if prefix == value or not re.fullmatch(rf"[A-Za-z0-9_-]{{0,{longest}}}", prefix):
        raise SettingInvalid(
            f"{name} must be up to {longest} of A-Z a-z 0-9 _ - followed by {placeholder}"
        )
    return prefix


def _channel_type(environ: Mapping[str, str]) -> str:
    value = environ.get("STREAM_CHANNEL_TYPE") or Settings.channel_type
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        raise SettingInvalid("STREAM_CHANNEL_TYPE must be up to 64 of A-Z a-z 0-9 _ -")
    return value


def _extra_fields(environ: Mapping[str, str]) -> tuple[str, ...]:
    fields = _names(environ, "STREAM_EXTRA_FIELDS")
    for name in fields:
        if name not in EXTRA_FIELDS:
            raise SettingInvalid(
                f"STREAM_EXTRA_FIELDS may name {', '.join(EXTRA_FIELDS)}, not {name!r}"
            )
    return fields


def _names(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """A comma list."""
    names = (one.strip() for one in environ.get(name, "").split(","))
    return tuple(one for one in names if one)
