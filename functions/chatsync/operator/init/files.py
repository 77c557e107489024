"""A project's files: read, and changed all at once or not at all."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import ChatsyncError
from . import firebase_json
from .plan import FIREBASE, Files

WORK = ".chatsync-init"
"""A folder in the project while its files are changed: what they were, and a journal."""

_OF_OTHERS = ("venv", ".venv", "__pycache__", "node_modules", ".git")


class Interrupted(ChatsyncError):
    """Files could not be put back; the message names them."""


def read(root: Path, folder: str) -> Files:
    """What a plan is made of: ``firebase.json``, what it names, and the files of our folder."""
    firebase = root / FIREBASE
    if not firebase.is_file():
        return {}
    content = firebase.read_bytes()
    text = content.decode(errors="replace")
    ours = root / (firebase_json.source_of(text) or folder)
    paths = [root / path for path in firebase_json.paths(text)]
    paths += [root / "firestore.rules", root / "firestore.indexes.json", *walk(ours)]
    found = {os.path.relpath(path, root): path for path in paths if path.is_file()}
    return {FIREBASE: content, **{name: path.read_bytes() for name, path in found.items()}}


def walk(folder: Path) -> Iterator[Path]:
    """The files in a folder, without what others installed there."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - set(_OF_OTHERS))
        yield from (Path(place) / name for name in sorted(names))


def change(root: Path, changes: Mapping[str, bytes | None]) -> None:
    """Make the changes, by path. Whatever stops it, all files are as before, or will be by the
    next ``recover``."""
    work = root / WORK
    work.mkdir()
    steps = []
    for number, (path, content) in enumerate(sorted(changes.items())):
        existed = (root / path).exists()
        if existed:
            shutil.copy2(root / path, work / f"{number}.before")
        if content is not None:
            (work / f"{number}.after").write_bytes(content)
            if existed:
                shutil.copymode(root / path, work / f"{number}.after")
        steps.append({"path": path, "existed": existed, "removed": content is None})
    folders = {str(one) for path in changes for one in Path(path).parents if str(one) != "."}
    made = sorted(one for one in folders if not (root / one).exists())
    journal = {"steps": steps, "folders": made}
    _write_at_once(work / "journal.json", json.dumps(journal).encode())
    try:
        for number, step in enumerate(steps):
            target = _target(root, str(step["path"]))
            if step["removed"]:
                target.unlink(missing_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                copy = work / f"{number}.next"
                shutil.copy2(work / f"{number}.after", copy)
                os.replace(copy, target)
    except BaseException:
        recover(root)
        raise
    (work / "journal.json").unlink()  # from here on it is done
    shutil.rmtree(work)
    for one in sorted(folders, reverse=True):
        if (root / one).is_dir() and not any((root / one).iterdir()):
            (root / one).rmdir()


def recover(root: Path) -> bool:
    """Put back what an interrupted change left; whether there was something. Raises Interrupted.

    A file that somebody changed since stays as they made it, and is named.
    """
    work = root / WORK
    if not work.exists():
        return False
    foreign = []
    if (work / "journal.json").exists():
        journal = json.loads((work / "journal.json").read_text())
        for number, step in enumerate(journal["steps"]):
            target = _target(root, step["path"])
            before, after = work / f"{number}.before", work / f"{number}.after"
            now = target.read_bytes() if target.exists() else None
            if now == (before.read_bytes() if step["existed"] else None):
                continue
            if now != (None if step["removed"] else after.read_bytes()):
                foreign.append(step["path"])
            elif step["existed"]:
                target.parent.mkdir(parents=True, exist_ok=True)
                copy = work / f"{number}.next"
                shutil.copy2(before, copy)
                os.replace(copy, target)
            else:
                target.unlink()
        for one in reversed(journal["folders"]):
            if (root / one).is_dir() and not any((root / one).iterdir()):
                (root / one).rmdir()
    if foreign:
        raise Interrupted(
            f"An earlier run was interrupted, and {', '.join(foreign)} was changed since. Put it"
            f" right by hand (what was before is in {WORK}), then remove {WORK}"
        )
    shutil.rmtree(work)
    return True


def _target(root: Path, path: str) -> Path:
    """Where a file really is: a link stays one."""
    return (root / path).resolve()


def _write_at_once(path: Path, content: bytes) -> None:
    written = path.with_suffix(".next")
    written.write_bytes(content)
    os.replace(written, path)
