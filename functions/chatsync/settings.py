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
from .ids import IdFormat
from .users import EXTRA_FIELDS

STREAM_API_KEY = StringParam("STREAM_API_KEY", description="Key of the Stream app")
STREAM_API_SECRET = SecretParam("STREAM_API_SECRET", description="Secret of the Stream app")


@dataclass(frozen=True)
class Settings:
    """The settings by name; ``functions/.env.example`` says what each one means."""

    stream_api_key: str
    stream_api_secret: str = field(repr=False)
    stream_base_url: str | None = None
    id_format: IdFormat = field(default_factory=IdFormat)
    user_role: str = "user"
    company_role: str = "user"
    extra_fields: tuple[str, ...] = ()


def region(environ: Mapping[str, str] = os.environ) -> str:
    """Where the functions run. Read on its own: deploy discovery has no key and no secret."""
    return environ.get("CHATSYNC_REGION") or "asia-south1"


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings, or SettingInvalid naming the first one that is missing or unusable."""
    return Settings(
        stream_api_key=_required(environ, STREAM_API_KEY.name),
        stream_api_secret=_required(environ, STREAM_API_SECRET.name),
        stream_base_url=_base_url(environ),
        id_format=_id_format(environ),
        user_role=environ.get("STREAM_USER_ROLE") or "user",
        company_role=environ.get("STREAM_COMPANY_ROLE") or "user",
        extra_fields=_extra_fields(environ),
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise SettingInvalid(
            f"{name} is not set. Locally, run `make setup`; deployed, set it in functions/.env"
            f" (key) or with `firebase functions:secrets:set` (secret)."
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


def _prefix(environ: Mapping[str, str], name: str, default: str) -> str:
    placeholder = default[default.index("{") :]
    value = environ.get(name) or default
    prefix = value.removesuffix(placeholder)
    if prefix == value or not re.fullmatch(r"[A-Za-z0-9_-]{0,64}", prefix):
        raise SettingInvalid(
            f"{name} must be up to 64 of A-Z a-z 0-9 _ - followed by {placeholder}"
        )
    return prefix


def _extra_fields(environ: Mapping[str, str]) -> tuple[str, ...]:
    names = (name.strip() for name in environ.get("STREAM_EXTRA_FIELDS", "").split(","))
    fields = tuple(name for name in names if name)
    for name in fields:
        if name not in EXTRA_FIELDS:
            raise SettingInvalid(
                f"STREAM_EXTRA_FIELDS may name {', '.join(EXTRA_FIELDS)}, not {name!r}"
            )
    return fields
