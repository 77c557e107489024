"""What Stream's own extension ``auth-chat`` was installed with, as the project's files say."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import firebase_json
from .firebase_json import ProjectRefused
from .plan import variables_in

_SECRET = re.compile(r"projects/[^/]+/secrets/([^/]+)(?:/versions/[^/]+)?")


@dataclass(frozen=True)
class Extension:
    instance: str
    key: str
    """Empty if it is kept as a secret, or not stated."""
    secret: str
    """The name of the secret in Secret Manager."""
    region: str


def extension_of(root: Path, firebase: str, names: Sequence[str]) -> Extension:
    """As the files of these names of the project say: aliases, then its id, as the Firebase CLI
    reads them. Raises ProjectRefused if there isn't just one, or nothing is said of it."""
    stated = firebase_json.parsed(firebase).value.get("extensions", {})
    instances = [name for name, ref in stated.items() if "/auth-chat" in f"/{ref}"]
    if len(instances) != 1:
        raise ProjectRefused(
            f"firebase.json names {len(instances) or 'no'} instances of the extension auth-chat."
            " `firebase ext:export` writes what the project has; or give --stream-key and --region"
        )
    [instance] = instances
    folder = root / "extensions"
    values: dict[str, str] = {}
    for suffix in ("", *(f".{name}" for name in names)):
        if (file := folder / f"{instance}.env{suffix}").is_file():
            values |= variables_in(file.read_text())
    if not values:
        raise ProjectRefused(
            f"extensions/{instance}.env is missing: `firebase ext:export` writes it"
        )
    return _extension(instance, values)


def _extension(name: str, values: Mapping[str, str]) -> Extension:
    key = values.get("STREAM_API_KEY", "")
    secret = _SECRET.fullmatch(values.get("STREAM_API_SECRET", ""))
    region = values.get("LOCATION") or values.get("firebaseextensions.v1beta.function/location")
    return Extension(
        name,
        "" if _SECRET.fullmatch(key) else key,
        secret[1] if secret else f"ext-{name}-STREAM_API_SECRET",
        region or "us-central1",
    )
