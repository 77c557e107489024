"""What ``init`` copies into a project: the functions of the version that runs it."""

import tempfile
from pathlib import Path

from ...config import MANIFEST
from ..manifest import manifest_for
from ..options import IS_WHEEL, PACKAGE

_NOT_DEPLOYED = ("operator", "deployable", "__pycache__")

SETTINGS = """\
# What this app calls things. Write only what differs from the defaults, for example
#
#   [users]
#   name = ["username"]
#   image = ["profileImageUrl"]
#   stream_fields = {language = "settings.language"}
#
# docs/settings.md of chatsync has all keys. After a change run `chatsync init` again, in the folder
# of firebase.json: it writes functions.yaml and our part of the rules anew. Then deploy both.
"""
_OF_DATABASE = """
[firestore]
database = "{}"
"""
_GITIGNORE = b"venv/\n__pycache__/\n.env.local\n.secret.local\n"


def settings_for(database: str) -> str:
    """A ``chatsync.toml`` to begin with."""
    return SETTINGS + ("" if database == "(default)" else _OF_DATABASE.format(database))


def deployable(settings: str) -> dict[str, bytes]:
    """The files by path from their folder, with the manifest for a ``chatsync.toml``."""
    beside = PACKAGE / "deployable" if IS_WHEEL else PACKAGE.parent
    names = ("main.py", "requirements.txt", ".env.example")
    files = {name: (beside / name).read_bytes() for name in names}
    for file in sorted(PACKAGE.rglob("*.py")):
        inside = file.relative_to(PACKAGE)
        if inside.parts[0] not in _NOT_DEPLOYED and inside.name != "__main__.py":
            files[f"chatsync/{inside.as_posix()}"] = file.read_bytes()
    with tempfile.TemporaryDirectory() as place:
        for name, content in {**files, "chatsync.toml": settings.encode()}.items():
            (Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(place) / name).write_bytes(content)
        files[MANIFEST] = manifest_for(Path(place)).encode()
    return {**files, ".gitignore": _GITIGNORE}
