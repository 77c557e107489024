"""``verify``: acceptance of a project. A throwaway account goes through all that is promised.

Everything that it makes is its own, marked, written down beforehand, and removed at the end.
"""

import os
import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.text import Text

from .. import settings
from ..clients import Clients
from . import options, probe, throwaway
from .options import FINDINGS, IN_SYNC, AsJson, Refused
from .terminal import console, print_json, print_line, stderr
from .verify_run import Run, plan
from .verify_steps import Promise, promises_of

_MARKS = {True: Text("ok", "green"), False: Text("no", "red"), None: Text("--", "yellow")}


def verify(
    live: Annotated[
        str,
        typer.Option(metavar="PROJECT", help="The project's id once more, if it is a real one."),
    ] = "",
    web_api_key: Annotated[
        str, typer.Option(help="Of a real project: Firebase console, Project settings, General.")
    ] = "",
    seconds: Annotated[
        float, typer.Option(min=1, help="How long each promise may take to be kept.")
    ] = 60,
    only_probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Try in Stream itself what is assumed of it. For a development app of Stream.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Let a throwaway account sign up, chat and leave: does the project keep its promises?"""
    clients = options.connect_to(apply=True)
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    if only_probe:
        _demand(live, project, "makes users and channels in Stream, and deletes them")
        _remove_what_was_left(clients)
        return probe.run(clients, seconds, as_json)
    is_local = options.is_local(project)
    if not is_local:
        _demand(live, project, "makes accounts, and deletes them: the app's own triggers will run")
        if not web_api_key:
            raise Refused(
                "--web-api-key is needed to sign in: Firebase console, Project settings, General,"
                " Web API key."
            )
    if settings.enforce_app_check():
        raise Refused(
            "ENFORCE_APP_CHECK is on: the callables refuse verify, which has no App Check token."
            " Verify before it is turned on, or in another project."
        )
    _remove_what_was_left(clients)
    if not is_local:
        stderr.print("The app's own triggers run for these accounts, too.", soft_wrap=True)
    tell: Callable[[Promise], None] = (lambda promise: None) if as_json else _print_promise
    run = Run(clients, project, web_api_key, seconds, plan(clients))
    throwaway.note(run.made, clients)
    try:
        promises = promises_of(run, tell)
    finally:
        removal = _remove(run.made, clients)
    tell(removal)
    promises.append(removal)
    kept = all(promise.kept for promise in promises)
    if as_json:
        told = [promise._asdict() for promise in promises]
        print_json({"project": project, "kept": kept, "promises": told})
    else:
        not_kept = sum(not promise.kept for promise in promises)
        print_line(
            f"All {len(promises)} promises are kept."
            if kept
            else f"{not_kept} of {len(promises)} promises are not kept."
        )
    return IN_SYNC if kept else FINDINGS


def _demand(live: str, project: str, what: str) -> None:
    if live != project:
        raise Refused(f"verify {what}. If that may be in {project}, say so: --live {project}")


def _remove_what_was_left(clients: Clients) -> None:
    if left := throwaway.read(clients):
        stderr.print("Removing what an interrupted run left ...")
        if failed := throwaway.remove(left, clients):
            raise Refused(f"This could not be removed: {'; '.join(failed)}")


def _remove(made: throwaway.Made, clients: Clients) -> Promise:
    """The last promise: nothing is left behind."""
    began = time.monotonic()
    with stderr.status("Removing what was made ..."):
        failed = throwaway.remove(made, clients)
    told = f"{'; '.join(failed)}: the next run tries again" if failed else ""
    if failed:
        stderr.print(f"Not removed: {told}", style="red", soft_wrap=True)
    return Promise("at the end: nothing is left behind", not failed, time.monotonic() - began, told)


def _print_promise(promise: Promise) -> None:
    line = Text.assemble(_MARKS[promise.kept], f" {promise.seconds:7.2f} s  {promise.name}")
    if promise.detail:
        line.append(f" ({promise.detail})")
    console().print(line, soft_wrap=True)
