"""A project's files: read, and changed all at once or not at all."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ...errors import ChatsyncError
from . import firebase_json
from .plan import FIREBASE, Files

WORK = ".chatsync-init"
"""A folder in the project while its files are changed: what they were, and a journal."""

_OF_OTHERS = ("venv", ".venv", "__pycache__", "node_modules", ".git")

_JOURNAL = "journal.json"


class Interrupted(ChatsyncError):
    """Files could not be put back, or another command is at work; the message says it."""


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Nobody else may do the same meanwhile: one would take the other's work for interrupted.
    Raises Interrupted; it ends with the process, too."""
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Interrupted("Another `chatsync init` is at work in this folder") from None
        yield
    finally:
        os.close(folder)


def read(root: Path, folder: str) -> Files:
    """What a plan is made of: ``firebase.json``, what it names or may come to name, and the files
    of our folder."""
    firebase = root / FIREBASE
    if not firebase.is_file():
        return {}
    content = firebase.read_bytes()
    text = content.decode(errors="replace")
    ours = root / (firebase_json.source_of(text) or folder)
    paths = [root / path for path in firebase_json.paths(text)]
    paths += [*root.glob("firestore*.rules"), *root.glob("firestore*.json"), *walk(ours)]
    found = {os.path.relpath(path, root): path for path in paths if path.is_file()}
    return {FIREBASE: content, **{name: path.read_bytes() for name, path in found.items()}}


def walk(folder: Path) -> Iterator[Path]:
    """The files in a folder, without what others installed there."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - set(_OF_OTHERS))
        yield from (Path(place) / name for name in sorted(names))


def change(root: Path, changes: Mapping[str, bytes | None]) -> None:
    """Make the changes, by path; None removes a file. Whatever stops it, all files are as before,
    or will be by the next ``recover``."""
    folders = {str(one) for path in changes for one in Path(path).parents[:-1]}
    (root / WORK).mkdir()
    try:
        _prepare(root, changes)
        made = sorted(one for one in folders if not (root / one).exists())
        journal = json.dumps({"paths": sorted(changes), "folders": made})
        _put(root / WORK / _JOURNAL, journal.encode())
        for number, (path, content) in enumerate(sorted(changes.items())):
            target = (root / path).resolve()  # a link stays one
            if content is None:
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / WORK / f"{number}.after", root / WORK / "next")
                os.replace(root / WORK / "next", target)
    except BaseException:
        recover(root)
        raise
    (root / WORK / _JOURNAL).unlink()  # from here on it is done
    shutil.rmtree(root / WORK)
    _remove_empty(root, folders)


def _prepare(root: Path, changes: Mapping[str, bytes | None]) -> None:
    """Copy what the files are, and shall be, into the folder of work."""
    for number, (path, content) in enumerate(sorted(changes.items())):
        file, after = root / path, root / WORK / f"{number}.after"
        if content is not None:
            after.write_bytes(content)
        if file.exists():
            shutil.copy2(file, root / WORK / f"{number}.before")
            if content is not None:
                shutil.copymode(file, after)


def recover(root: Path) -> bool:
    """Put back what an interrupted change left; whether it had begun. Raises Interrupted.

    A file that somebody changed since stays as they made it, and is named.
    """
    work, foreign = root / WORK, []
    if not work.exists():
        return False
    had_begun = (work / _JOURNAL).exists()
    if had_begun:
        journal = json.loads((work / _JOURNAL).read_text())
        for number, path in enumerate(journal["paths"]):
            target, was = (root / path).resolve(), work / f"{number}.before"
            now, before, after = map(_content, (target, was, work / f"{number}.after"))
            if now == before:
                continue
            if now != after:
                foreign.append(path)
            elif before is None:
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(was, work / "next")
                os.replace(work / "next", target)
        _remove_empty(root, journal["folders"])
    if foreign:
        raise Interrupted(
            f"An earlier run was interrupted, and {', '.join(foreign)} was changed since. Put it"
            f" right by hand (what was before is in {WORK}), then remove {WORK}"
        )
    (work / _JOURNAL).unlink(missing_ok=True)  # first: without the rest it would mislead
    shutil.rmtree(work)
    return had_begun


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _put(file: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all."""
    written = file.with_name("next")
    written.write_bytes(content)
    os.replace(written, file)


def _remove_empty(root: Path, folders: Iterable[str]) -> None:
    for one in sorted(folders, reverse=True):
        if (root / one).is_dir() and not any((root / one).iterdir()):
            (root / one).rmdir()
