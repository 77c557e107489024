"""All settings: of the environment what is secret or belongs to the place, of the file the rest.

What is of the environment is declared as a parameter: the Firebase CLI asks for each that has no
value, and refuses without a terminal to ask in. STREAM_BASE_URL is none, since only the emulators
need it.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from firebase_functions.params import BoolParam, SecretParam, SelectInput, SelectOption, StringParam

from . import config as config_module
from .config import DEFAULTS, Config, Paths, parts_of
from .errors import SettingInvalid
from .ids import IdFormat, Key
from .users import FirebaseState, kind_of

STREAM_API_KEY = StringParam("STREAM_API_KEY", description="Key of the Stream app")
STREAM_API_SECRET = SecretParam("STREAM_API_SECRET", description="Secret of the Stream app")
REGION = StringParam(
    "CHATSYNC_REGION",
    default="asia-south1",
    description="Where the functions run: the region of your Firestore database, or one near it",
)
_NO_OR_YES = SelectInput([SelectOption(False, "no"), SelectOption(True, "yes")])
ENFORCE_APP_CHECK = BoolParam(
    "ENFORCE_APP_CHECK",
    default=False,
    input=_NO_OR_YES,
    description="Answer only to apps that Firebase App Check vouches for? Not before all do.",
)
BACKFILL_ON_INSTALL = BoolParam(
    "BACKFILL_ON_INSTALL",
    default=False,
    input=_NO_OR_YES,
    description="Create all accounts that exist already in Stream, once the functions are deployed?"
    " `chatsync backfill` does it later.",
)

BEFORE_THE_FILE = {
    "STREAM_USER_ID_FORMAT": "stream.user_id",
    "STREAM_COMPANY_ID_FORMAT": "stream.company_id",
    "STREAM_CHANNEL_ID_FORMAT": "stream.channel_id",
    "STREAM_CHANNEL_TYPE": "stream.channel_type",
    "STREAM_USER_ROLE": "stream.user_role",
    "STREAM_COMPANY_ROLE": "stream.company_role",
    "STREAM_SERVICE_USERS": "stream.service_users",
    "STREAM_DELETE_POLICY": "stream.delete_policy",
    "STREAM_TOKEN_LIFETIME_SECONDS": "stream.token_lifetime_seconds",
    "PROVISION_ANONYMOUS_USERS": "stream.provision_anonymous_users",
    "STREAM_EXTRA_FIELDS": "users.stream_fields",
}
"""Variables that were settings once, and the keys that are settings now."""

_ENTRY = ("kind", "streamUserId", "fingerprint", "verifiedAt", "revokedBefore", "deletedAt")
_STATS = ("createdAt", "conversationsStarted", "messagesSent", "lastActiveAt", "updatedAt")


@dataclass(frozen=True)
class ReadFields:
    """What is read of a kind of document that apps and users write too."""

    types: Mapping[str, str]
    """By path ``text``, ``picture`` or ``list``; texts are cut by it."""

    alternatives: tuple[Paths, ...]
    """Of names and of pictures: only the first of either and the one that counts are kept.

    Without fields that something else names too, or a path into them: these are always kept.
    """


@dataclass(frozen=True)
class Settings:
    """The settings by name; ``functions/.env.example`` and ``docs/settings.md`` tell of each."""

    stream_api_key: str
    stream_api_secret: str = field(repr=False)
    stream_base_url: str | None = None
    config: Config = field(default=DEFAULTS, hash=False)

    @cached_property
    def id_format(self) -> IdFormat:
        stream = self.config.stream
        return IdFormat(
            stream.user_id.removesuffix("{uid}"), stream.company_id.removesuffix("{id}")
        )

    @property
    def channel_id_prefix(self) -> str:
        return self.config.stream.channel_id.removesuffix("{id}")

    @property
    def channel_type(self) -> str:
        """The type of channels that have the plain id of their conversation."""
        return self.channel_type_of("direct")

    def channel_type_of(self, conversation_type: str) -> str:
        """The type of the channels of new conversations."""
        types = self.config.stream.channel_type
        if isinstance(types, str):
            return types
        return types["direct" if conversation_type == "direct" else "group"]

    def collection_of(self, field: str) -> str:
        """The collection of the documents in a field of ``FirebaseState``."""
        config = self.config
        return {
            "user": config.users.collection,
            "profile": config.profiles.collection,
            "stats": config.stats.collection,
            "company": config.companies.collection,
        }[field]

    @cached_property
    def fields_read(self) -> dict[str, ReadFields]:
        """By field of ``FirebaseState``; ``entry`` is the document in ``stream_users``."""
        config = self.config
        users, profiles, companies = config.users, config.profiles, config.companies
        chat = dict.fromkeys((users.role, *users.stream_fields.values()), "text")
        chat[users.teams] = "list"
        chat = {path: kind for path, kind in chat.items() if not path.startswith("claims:")}

        def fields(names: Paths, pictures: Paths, others: Mapping[str, str]) -> ReadFields:
            parts = [part for path in names for part in parts_of(path)]
            types = dict.fromkeys(parts, "text") | dict.fromkeys(pictures, "picture")
            wanted = [path.partition(".")[0] for path in (*parts, *pictures, *others)]
            alternatives = (
                tuple(path for path in paths if wanted.count(path) == 1)
                for paths in (names, pictures)
            )
            return ReadFields({**others, **types}, tuple(alternatives))

        of_kind = {users.company.field: "text"} if users.company.field else {}
        ours = {"displayName": "text", "photoURL": "picture"}
        mirrored = {f"mirrored.{name}": kind for name, kind in ours.items()}
        return {
            "user": fields(users.name, users.image, {**chat, **of_kind, "createdAt": "time"}),
            "profile": fields(
                tuple(path for path in profiles.name if path not in ours),
                tuple(path for path in profiles.image if path not in ours),
                {**ours, **mirrored, "createdAt": "time", "updatedAt": "time"},
            ),
            "stats": ReadFields(dict.fromkeys(_STATS, "number"), ()),
            "company": fields(companies.name, companies.image, chat),
            "entry": ReadFields(dict.fromkeys(_ENTRY, "text") | {"refused": "list"}, ()),
        }

    @cached_property
    def mask(self) -> frozenset[str]:
        """The fields of all documents together: Firestore sends no others.

        Whole fields: of a path into a field that is null Firestore would send nothing, as if it
        were absent.
        """
        return frozenset(
            path.partition(".")[0] for wanted in self.fields_read.values() for path in wanted.types
        )

    def key(self, stream_id: str) -> Key | None:
        """The key of a Stream user; None if it is no id of ours, or a service user's."""
        is_service = stream_id in self.config.stream.service_users
        return None if is_service else self.id_format.key(stream_id)

    def stream_id(self, key: Key, state: FirebaseState) -> str:
        """The Stream id of a user, who may be an account that is a company."""
        kind = kind_of(key, state, self.config) or key.kind
        return self.id_format.stream_id(Key(kind, key.id))


def region(environ: Mapping[str, str] = os.environ) -> str:
    """Where the functions run. Read on its own: deploy discovery has no key and no secret."""
    return environ.get(REGION.name) or str(REGION.default)


def enforce_app_check(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether callables demand App Check. Read when the functions are declared, like region."""
    return _truth(ENFORCE_APP_CHECK.name, environ)


def backfill_on_install(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``setUp`` begins a backfill."""
    return _truth(BACKFILL_ON_INSTALL.name, environ)


def _truth(name: str, environ: Mapping[str, str]) -> bool:
    value = (environ.get(name) or "false").lower()
    if value not in ("true", "false"):
        raise SettingInvalid(f"{name} must be true or false")
    return value == "true"


def load_config(environ: Mapping[str, str] = os.environ) -> Config:
    """The file's settings. Raises SettingInvalid, also for a variable of before that differs."""
    config = config_module.load(config_module.project_of(environ))
    _refuse_other_variables(environ, config)
    return config


def declared(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that triggers are made of: deploy discovery has no key and no secret.

    Raises SettingInvalid too if ``functions.yaml``, by which the triggers were deployed, was made
    from another ``chatsync.toml``.
    """
    config_module.refuse_other_manifest()
    return Settings("", "", config=load_config(environ))


def load(environ: Mapping[str, str] = os.environ, *, with_secret: bool = True) -> Settings:
    """The settings. Raises SettingInvalid, which names the first missing or unusable one.

    A function that never calls Stream is deployed without the secret, and loads them without it.
    """
    return Settings(
        stream_api_key=_required(environ, STREAM_API_KEY.name),
        stream_api_secret=_required(environ, STREAM_API_SECRET.name) if with_secret else "",
        stream_base_url=_base_url(environ),
        config=load_config(environ),
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise SettingInvalid(
            f"{name} is not set. The key stands in .env.PROJECT beside chatsync.toml; the secret is"
            " set by `firebase functions:secrets:set`, for the emulators in .secret.local there"
            " (`make setup` writes it in a clone)."
        )
    return value


def _base_url(environ: Mapping[str, str]) -> str | None:
    url = environ.get("STREAM_BASE_URL", "").strip().rstrip("/")
    if url and not re.match(r"https?://[^/]", url):
        raise SettingInvalid("STREAM_BASE_URL must begin with https:// or http://")
    return url or None


def _refuse_other_variables(environ: Mapping[str, str], config: Config) -> None:
    """A variable of before the file that says something else must not be ignored."""
    for name, key in BEFORE_THE_FILE.items():
        section, _, field_name = key.partition(".")
        value = getattr(getattr(config, section), field_name)
        stated = environ.get(name, "").replace(", ", ",").strip()
        if isinstance(value, bool):
            stated = stated.capitalize()
        effective = _as_variable(value)
        if stated and stated != effective:
            raise SettingInvalid(
                f"{name} is {stated!r}, but {key} in chatsync.toml is {effective!r}: state it in"
                " the file, and remove the variable"
            )


def _as_variable(value: object) -> str:
    """A setting as the variables had it; those named fields of Stream by their path alone."""
    if isinstance(value, dict):
        value = [name if name == path else f"{name}={path}" for name, path in value.items()]
    return ",".join(value) if isinstance(value, tuple | list) else str(value)
