"""The command ``init``: installs the functions in a Firebase project's folder, or removes them."""

import difflib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml

from ... import config as config_module
from ...audit import safeguard
from ...config import MANIFEST, Config
from ...settings import STREAM_API_SECRET
from .. import options
from ..options import IN_SYNC, Refused, Yes
from ..terminal import console, in_one_line, print_line, stderr
from . import deployable, files, firebase_json, plan, their_functions
from .extension import Extension, extension_of
from .plan import FIREBASE, Files, Plan, Wanted
from .rules_text import RulesRefused


def init(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="The folder of firebase.json.")] = Path(),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    yes: Yes = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take out what init put in.")] = False,
    from_extension: Annotated[
        bool,
        typer.Option(
            "--from-extension", help="Take key, secret and region over from Stream's auth-chat."
        ),
    ] = False,
    source: Annotated[str, typer.Option(help="A folder for the functions.")] = "chatsync",
    database: Annotated[
        str, typer.Option(help="The Firestore database, if there are several.")
    ] = "",
    stream_key: Annotated[str, typer.Option(help="The API key of your Stream app.")] = "",
    region: Annotated[str, typer.Option(help="Where the functions run.")] = "",
    app_check: Annotated[
        bool | None,
        typer.Option("--app-check/--no-app-check", help="Demand App Check in callables."),
    ] = None,
    backfill: Annotated[
        bool | None,
        typer.Option("--backfill/--no-backfill", help="Create older accounts once deployed."),
    ] = None,
    same_names: Annotated[
        bool, typer.Option("--same-names", help="Go on though functions have our names.")
    ] = False,
    trust_wildcards: Annotated[
        bool,
        typer.Option(
            "--trust-wildcards",
            help="Go on though a match of every collection allows something: you have seen that"
            " only administrators pass it.",
        ),
    ] = False,
) -> int:
    """Install chatsync in a Firebase project's folder; again: upgrade it. Shows what would change,
    and asks. Needs no network, unless STREAM_API_SECRET is set: then it compares ids in Stream."""
    root, source = directory.resolve(), os.path.normpath(source)
    if os.path.isabs(source) or source.startswith("."):
        raise Refused(f"--source must be within the folder of firebase.json, not {source}.")
    if not root.is_dir():
        raise Refused(f"{directory} is no folder.")
    context.with_resource(files.alone(root))
    if files.recover(root):
        print_line("An earlier run was interrupted: the files are as before it.")
    found = files.read(root, source)
    installed = plan.installed_in(found)
    if remove:
        _uninstall(found, installed, root, dry_run, yes)
        return IN_SYNC
    firebase = found[FIREBASE].decode(errors="replace")
    project, aliases = _project(root, dry_run or yes)
    extension = extension_of(root, firebase, [*aliases, project]) if from_extension else None
    folder = root / (installed or source)
    settings, config = _settings(folder, firebase, database)
    copied = deployable.deployable(settings)
    _refuse_same_names(root, firebase, copied["main.py"], same_names or dry_run, yes)
    stated = {
        "STREAM_API_KEY": stream_key or (extension.key if extension else ""),
        "CHATSYNC_REGION": region or (extension.region if extension else ""),
        "ENFORCE_APP_CHECK": "" if app_check is None else str(app_check).lower(),
        "BACKFILL_ON_INSTALL": "" if backfill is None else str(backfill).lower(),
    }
    placeholder = "your-stream-api-key" if dry_run else None
    environment = _environment(
        copied[MANIFEST], stated, folder, project, dry_run or yes, placeholder
    )
    wanted = Wanted(
        source=os.path.relpath(folder, root),
        project=project,
        config=config,
        deployable=copied,
        settings=settings,
        environment=environment,
        trust_wildcards=trust_wildcards,
    )
    try:
        made = plan.install(found, wanted)
    except RulesRefused as error:
        raise Refused(f"Your rules cannot be extended: {error}") from None
    _show(made, found)
    _say_what_is_weaker(made.left_out, config)
    if _change(made, root, dry_run, yes):
        _say_if_ids_are_wrong(folder, project)
        _say_what_is_next(wanted, extension)
    return IN_SYNC


def _uninstall(found: Files, installed: str, root: Path, dry_run: bool, yes: bool) -> None:
    gone = plan.uninstall(found)
    _show(gone, found)
    if _change(gone, root, dry_run, yes):
        print_line("Gone. What is deployed stays: `firebase functions:delete` removes it.")
        if (root / installed).exists():
            print_line(f"What is left in {installed} is not ours, or was made for the emulators.")


def _change(made: Plan, root: Path, dry_run: bool, yes: bool) -> bool:
    """Make the changes of a plan if a person agrees; whether all is as planned."""
    if dry_run:
        return False
    if not made.changes:
        print_line("All is as it should be.")
        return True
    if made.edited and yes:
        raise Refused("--yes replaces no edited files: run it without, or undo the edits first.")
    _confirm("Make these changes?", yes)
    try:
        files.change(root, made.changes)
    except OSError as error:
        raise Refused(f"Nothing was changed: {error}.") from None
    return True


def _show(made: Plan, found: Files) -> None:
    """The differences in the app's own files; of ours how many there are."""
    for path in sorted(made.changes.keys() - set(made.ours)):
        sides = (found.get(path), made.changes[path])
        was, now = ((side or b"").decode(errors="replace").splitlines() for side in sides)
        before, after = ("nothing" if side is None else path for side in sides)
        for line in difflib.unified_diff(was, now, before, after, lineterm=""):
            style = {"+": "green", "-": "red"}.get(line[:1])
            console().print(line, style=style, soft_wrap=True)
    for what, paths in (
        ("new", [path for path in made.ours if path not in found]),
        ("changed", [path for path in made.ours if path in found and made.changes[path]]),
        ("removed", [path for path in made.ours if made.changes[path] is None]),
    ):
        if paths:
            print_line(f"Our own files {what}: {len(paths)}, such as {paths[0]}")
    for note in made.notes:
        print_line(f"Note: {note}.")
    if made.edited:
        print_line("Edited since they were installed, and about to be replaced:")
        print_line("\n".join(f"  {path}" for path in made.edited))


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        raise Refused("Nothing was changed. Without a terminal, say --yes.") from None
    if not agreed:
        raise Refused("Nothing was changed.")


def _ask(question: str, default: str | None, option: str, yes: bool) -> str:
    """An answer from the terminal; the default where nobody shall be asked. Raises Refused."""
    if yes and default is None:
        raise Refused(f"{question}? With --yes, say it with {option}.")
    if yes:
        return default or ""
    try:
        return str(typer.prompt(question, default=default, err=True)).strip()
    except typer.Abort:
        raise Refused("Nothing was changed. Without a terminal, say --yes.") from None


def _project(root: Path, yes: bool) -> tuple[str, list[str]]:
    """The id of the project that is named before the command, else of the default in
    ``.firebaserc``; and its aliases there."""
    projects = options.projects_in(root)
    default, named = projects.get("default"), config_module.project_of()
    project = projects.get(named, named) or _ask(
        "The id of your Firebase project", default, "--project before init", yes
    )
    if not re.fullmatch(r"[a-z0-9.:-]+", project):
        raise Refused(f"{project!r} is no id of a Firebase project.")
    return project, [alias for alias, of in projects.items() if of == project]


def _settings(folder: Path, firebase: str, database: str) -> tuple[str, Config]:
    """The app's ``chatsync.toml``, or one to begin with; and what it says. Raises Refused."""
    file = folder / "chatsync.toml"
    if file.is_file():
        return file.read_text(encoding="utf-8"), config_module.load(folder=folder)
    named = firebase_json.databases(firebase) or ["(default)"]
    if not database and len(named) > 1 and "(default)" not in named:
        raise Refused(f"Which database has your users? --database {' or '.join(named)}.")
    database = database or ("(default)" if "(default)" in named else named[0])
    config = Config(firestore=config_module.Firestore(database=database))
    return deployable.settings_for(database), config


def _environment(
    manifest: bytes,
    stated: Mapping[str, str],
    folder: Path,
    project: str,
    yes: bool,
    placeholder: str | None,
) -> dict[str, str]:
    """A value for each parameter of the manifest but secrets, which the Firebase CLI would ask
    for: as stated or as the project's file has it, else as a person answers. ``placeholder`` is
    the answer where there is no default."""
    file = folder / f".env.{project}"
    present = plan.variables_in(file.read_text() if file.is_file() else "")
    values = {}
    for param in yaml.safe_load(manifest)["params"]:
        name, default = param["name"], param.get("default", placeholder)
        if stated.get(name) and present.get(name, stated[name]) != stated[name]:
            raise Refused(f"{file} says {name}={present[name]}: change it there, or leave it out.")
        if param["type"] == "secret" or present.get(name):
            continue
        if name in present:
            raise Refused(f"{file} says {name}= and nothing more: say something, or remove it.")
        if default is not None:
            default = str(default).lower() if param["type"] == "boolean" else str(default)
        value = stated.get(name)
        while not value:
            value = _ask(param["description"], default, _OPTIONS[name], yes)
            if param["type"] == "boolean":
                value = _BOOLEANS.get(value.lower(), "")
                if not value:
                    stderr.print("Answer true or false.")
        values[name] = value
    return values


_OPTIONS = {
    "STREAM_API_KEY": "--stream-key",
    "CHATSYNC_REGION": "--region",
    "ENFORCE_APP_CHECK": "--app-check",
    "BACKFILL_ON_INSTALL": "--backfill",
}
"""By parameter the option that states it."""

_BOOLEANS = {"true": "true", "yes": "true", "y": "true"}
_BOOLEANS |= {"false": "false", "no": "false", "n": "false"}


def _refuse_same_names(root: Path, firebase: str, main: bytes, agreed: bool, yes: bool) -> None:
    found = their_functions.same_names(root, firebase, their_functions.ours(main))
    if not found:
        return
    print_line("Your own sources declare functions with names of ours:")
    print_line("\n".join(f"  {name} in {file}" for name, file in found.items()))
    print_line(
        "The Firebase CLI deploys no name twice. Remove yours from the sources before you deploy:"
        " the app's calls then reach ours, in the region that you choose. One that is deployed as"
        " 1st gen, in the same region, must be deleted first: `firebase functions:delete NAME`."
    )
    if yes and not agreed:
        raise Refused("Nothing was changed. Remove them first, or go on with --same-names.")
    _confirm("Go on?", agreed)


_WEAKER = {
    "users": "as its owner, write {guarded}a name of 257 characters to {collection}/{{uid}}{email}",
    "profiles": "as its owner, write `mirrored` or a field of your own invention to"
    " {collection}/{{uid}}; as another account, write it, and list the collection",
    "stats": "as its owner, write {collection}/{{uid}}; as another account, read it",
    "companies": "as any account, write {collection}/{{id}}, and list the collection",
    "conversations": "as any account, read one of {collection} that does not name you in"
    " participantIds; as a participant, write one",
}
"""What ours deny, as something to try, by section of the settings."""

_WITH_EMAIL = (
    "; as another account, read it: chatsync creates it, with an e-mail address, unless you state"
    " `create = false` in [users]"
)


def _say_what_is_weaker(left_out: Sequence[str], config: Config) -> None:
    if not left_out:
        return
    print_line(
        "Your own rules stay for these collections, and ours are left out there. Each of the"
        " following must be denied, unless your app means it: try it in the emulator. If something"
        " is not, correct your match; or remove it and run this again, which puts ours there"
        " (docs/install.md, Rules)."
    )
    users = config.users
    paths = (users.role, users.teams, users.company.field)
    guarded = [one for one in paths if one and not one.startswith("claims:")]
    for section in left_out:
        trial = _WEAKER[section].format(
            collection=getattr(config, section).collection,
            guarded="".join(f"{one}, " for one in guarded) + ("or " if guarded else ""),
            email=_WITH_EMAIL if users.create else "",
        )
        print_line(f"  {section}: {trial}.")


def _say_if_ids_are_wrong(folder: Path, project: str) -> None:
    """Compare ids in Stream with accounts, where Stream's secret is at hand: before the first
    deployment, since sign-ups don't wait."""
    if not os.environ.get(STREAM_API_SECRET.name):
        return
    config_module.FOLDER = folder
    os.environ["GCLOUD_PROJECT"] = project
    try:
        problem = safeguard.sample(options.connect()).doubt
    except Exception as error:
        if not (why := in_one_line(error)):
            raise
        problem = f"they could not be compared with accounts: {why.rstrip('.')}"
    if problem:
        stderr.print(f"Ids of users in Stream: {problem}.", style="red", soft_wrap=True)


def _say_what_is_next(wanted: Wanted, extension: Extension | None) -> None:
    source, project = wanted.source, f"--project {wanted.project}"
    print_line(
        f"After a change of {source}/chatsync.toml (what your app calls things), run this again."
    )
    if options.is_local(wanted.project):
        python, needed = f"python3.{sys.version_info.minor}", f"-r {source}/requirements.txt"
        print_line(f"Next, with all of these emulators in {FIREBASE} (docs/install.md has more):")
        print_line(f"  {python} -m venv {source}/venv && {source}/venv/bin/pip install {needed}")
        print_line(f"  firebase emulators:start {project} --only {_EMULATORS}")
        print_line(f"  chatsync {project} doctor")
        return
    secret = f"firebase functions:secrets:set STREAM_API_SECRET {project}"
    if extension:
        print_line(
            f"The extension's secret is {extension.secret}. Deploy chatsync first, and uninstall"
            f" {extension.instance} last (docs/install.md, Coming from Stream's extension)."
        )
        read = f"firebase functions:secrets:access {extension.secret} {project}"
        secret = f"{read} | {secret} --data-file -"
    print_line("Next; the second says whether the ids of users in Stream are as you say:")
    print_line(f"  {secret}")
    print_line(f"  chatsync {project} doctor")
    print_line(f"  firebase deploy --only functions:chatsync,firestore {project}")


_EMULATORS = "auth,functions,firestore,pubsub,tasks,eventarc"
