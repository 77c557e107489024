"""The operator's command: it compares, and changes something only with ``--apply``.

Exit status 0: in sync. 1: there are findings. 2: it could not be done.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from firebase_functions import logger
from rich import progress as bar
from rich.table import Table

import chatsync

from .. import audit as audits
from .. import outbox
from ..audit import Audit
from ..audit.safeguard import refuse_too_many
from ..audit.steps import (
    BY_HAND,
    CHANNEL_STEPS,
    DESTROYING,
    KINDS,
    KINDS_OF_USERS,
    RECONCILED,
    USER_STEPS,
    Finding,
    expected,
    judge_users,
    name_of,
)
from ..clients import Clients
from ..errors import ChatsyncError, NotFound, Unsafe
from ..ids import IdFormat, Key, check_key
from ..outcome import Outcome
from ..removal import remove_users
from ..side_by_side import batches
from . import accounts, channels, options, pause, rules_file, terminal, verify
from .doctor import doctor
from .explain.command import explain
from .explain.subjects import key_named
from .health import is_dead
from .init.command import init
from .kinds import change_kind, remove_wrong
from .manifest import manifest
from .nights import rate_of_team
from .options import FINDINGS, IN_SYNC, SECONDS, Apply, AsJson, IKnow, Refused, Yes
from .report import report
from .status import status, summary
from .terminal import (
    confirm,
    console,
    patiently,
    percent,
    print_json,
    print_line,
    print_table,
    stderr,
)

_REPAIRABLE = [kind for kind in KINDS if kind not in BY_HAND]

MOST_SHOWN = 50
"""Of findings, in a terminal."""

_INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

app = typer.Typer(
    help="Compares Firebase with Stream Chat, and repairs what disagrees.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> NoReturn:
    with terminal.errors_in_one_line():
        status = app(standalone_mode=False)
        if status == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(status if isinstance(status, int) else IN_SYNC)


def _print_version(asked: bool) -> None:
    if asked:
        print_line(f"chatsync {chatsync.__version__}")
        raise typer.Exit


@app.callback()
def configure(
    context: typer.Context,
    project: Annotated[
        str,
        typer.Option(help="The Firebase project, or its alias; demo-... means the emulators."),
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print it.")
    ] = False,
) -> None:
    is_init = context.invoked_subcommand == "init"
    if not options.use_installed_folder() and not is_init and "--help" not in sys.argv:
        raise Refused("chatsync is not installed here: run this in your project, after `init`.")
    logger.write = terminal.tell_log
    if project:
        # `init` looks for aliases itself, in the folder that it is told.
        folders = () if is_init else (Path.cwd(), *Path.cwd().parents)
        os.environ["GCLOUD_PROJECT"] = options.projects_in(*folders).get(project, project)


def audit(
    team: Annotated[str, typer.Option(help="Only what belongs to this team.")] = "",
    only_issues: Annotated[
        bool,
        typer.Option("--only-issues", help="Leave out teams, or accounts, without findings."),
    ] = False,
    users: Annotated[bool, typer.Option("--users", help="Users only.")] = False,
    channels: Annotated[bool, typer.Option("--channels", help="Channels only.")] = False,
    everybody: Annotated[
        bool,
        typer.Option(
            "--all",
            help="With --users: list every account with its state on every side, newest first."
            f" Of more than {accounts.MOST_SORTED:,} accounts, each so many are sorted apart.",
        ),
    ] = False,
    repair: Annotated[
        list[str] | None,
        typer.Option(help=f"Repair this kind of finding: {', '.join(_REPAIRABLE)}."),
    ] = None,
    apply: Apply = False,
    yes: Yes = False,
    i_know: IKnow = False,
    as_json: AsJson = False,
) -> int:
    """Compare every account and every channel, and print the sync rate."""
    if everybody:
        if not users or channels or team or repair or apply:
            raise Refused("--all goes with --users, --only-issues and --json, and nothing else.")
        return accounts.list_all(only_issues, as_json, options.connect())
    steps = [
        *(USER_STEPS if users or not channels else ()),
        *(CHANNEL_STEPS if channels or not users else ()),
    ]
    kinds = _checked_kinds(repair or [], steps, team)
    if apply and not kinds:
        raise Refused("--apply needs --repair KIND, which names what to repair.")
    clients = options.connect_to(apply)
    creating = [kind for kind in kinds if kind not in DESTROYING] if apply else []
    if creating and not team and len(steps) == len(USER_STEPS) + len(CHANNEL_STEPS):
        steps.append(audits.LAST_STEP)
    began = audits.start(
        "operator",
        clients,
        steps=steps,
        repair=creating,
        team=team or None,
        ids_are_checked=i_know,
    )
    done = run_to_the_end(began, clients)
    findings = list(islice(audits.findings_of(done, clients), audits.MAX_FINDINGS))
    if not as_json:
        _print_findings(done, findings, only_issues)
    if apply:
        destroying = [one for one in findings if one.kind in kinds and one.kind in DESTROYING]
        if not i_know:
            refuse_too_many(destroying, done.counts, clients.settings)
        done = destroy(destroying, done, yes, clients)
    if as_json:
        print_json({**summary(done), "findings": [one._asdict() for one in findings]})
    else:
        _print_rate(done)
        if kinds and not apply:
            would = sum(numbers.get(kind, 0) for numbers in done.counts.values() for kind in kinds)
            print_line(f"--apply would repair {would} of these.")
    return FINDINGS if done.findings > done.repaired else IN_SYNC


_BY_HAND = {
    "wrong_kind": "see repair --kind",
    "wrong_team": "see fix-team",
    "orphan_channel": "see delete-orphan",
    "foreign_document": "whoever writes these documents, with the app's own backend",
}


def _checked_kinds(kinds: Sequence[str], steps: Sequence[str], team: str) -> tuple[str, ...]:
    for kind in kinds:
        if kind in BY_HAND:
            raise Refused(f"A person corrects {kind}: {_BY_HAND[kind]}.")
        if kind not in KINDS:
            raise Refused(f"{kind!r} is no kind of finding: {', '.join(_REPAIRABLE)}.")
        needed = USER_STEPS if kind in KINDS_OF_USERS else CHANNEL_STEPS
        if not set(needed) & set(steps):
            raise Refused(f"--users or --channels leaves out {kind}.")
        if team and kind == "orphan_documents":
            raise Refused("orphan_documents have no team: leave out --team.")
    return tuple(dict.fromkeys(kinds))


def destroy(findings: Sequence[Finding], audit: Audit, yes: bool, clients: Clients) -> Audit:
    """Remove or close just what was found, after a confirmation that says how much it is."""
    if not findings:
        return audit
    amounts = ", ".join(f"{n} {kind}" for kind, n in Counter(one.kind for one in findings).items())
    records = sum(numbers.get("records", 0) for numbers in audit.counts.values())
    confirm(f"Remove or close {amounts}? {records} records were compared.", yes)
    with stderr.status(f"Removing or closing {amounts} ...") as shown:

        def wait(seconds: int) -> None:
            shown.update(f"Waiting {seconds} s for Stream's rate limit ...")
            time.sleep(seconds)

        return audits.repair_findings(audit, findings, clients, wait)


def run_to_the_end(audit: Audit, clients: Clients) -> Audit:
    """Run page after page, with a progress bar; waits when Stream's rate limits are used up."""
    try:
        with stderr.status("Counting ..."):
            total = expected(audit.steps, clients)
        columns = (
            bar.SpinnerColumn(),
            bar.TextColumn("{task.description}"),
            bar.BarColumn(),
            bar.MofNCompleteColumn(),
            bar.TextColumn("{task.fields[rate]}"),
            bar.TimeRemainingColumn(),
        )
        started, began_at = time.monotonic(), audit.seen
        with bar.Progress(*columns, console=stderr, transient=True) as progress:
            task = progress.add_task("", total=total, rate="")

            def wait(seconds: int) -> None:
                progress.update(task, description=f"waiting {seconds} s for Stream's rate limit")
                time.sleep(seconds)

            while audit.state == "running":
                progress.update(task, description=audit.steps[audit.step].replace("_", " "))
                audit = patiently(partial(audits.run_page, audit, clients, wait), wait)
                rate = (audit.seen - began_at) / max(0.001, time.monotonic() - started)
                if total is not None:
                    total = max(total, audit.seen)
                progress.update(task, completed=audit.seen, total=total, rate=f"{rate:,.0f}/s")
    except BaseException:
        with suppress(ChatsyncError):
            audits.set_state(audit, "stopped", clients)
        raise
    if audit.state == "unsafe":
        raise Unsafe(audit.reason)
    return audit


def watch(audit: Audit, clients: Clients) -> Audit:
    """Wait while another process runs an audit; returns it at its end, or if that process died."""
    stderr.print(f"{audit.id} is under way. Ctrl-C ends the watching only.")
    with stderr.status("") as shown:
        while audit.state == "running" and not is_dead(audit, datetime.now(UTC)):
            shown.update(f"{audit.seen} are done ...")
            time.sleep(1)
            audit = audits.read(audit.id, clients) or audit
    return audit


def _print_findings(done: Audit, findings: Sequence[Finding], only_issues: bool) -> None:
    kinds = [kind for kind in KINDS if any(kind in one for one in done.teams.values())]
    table = Table(title=f"Audit {done.id}")
    table.add_column("team")
    for title in ("records", "agreeing", "in sync", *kinds):
        table.add_column(title.replace("_", " "), justify="right")
    for team, numbers in sorted(done.teams.items()):
        if only_issues and not any(kind in numbers for kind in kinds):
            continue
        counts = (str(numbers.get(name, 0)) for name in ("records", "agreeing"))
        of_kinds = (str(numbers.get(kind, "")) for kind in kinds)
        table.add_row(team, *counts, percent(rate_of_team(done, team)), *of_kinds)
    if table.row_count:
        console().print(table)
    if findings:
        rows = (
            (one.kind, one.key, ", ".join(filter(None, one.teams)), one.detail)
            for one in findings[:MOST_SHOWN]
        )
        print_table(("kind", "what", "team", "detail"), rows)
        if done.findings > MOST_SHOWN:
            print_line(f"... {done.findings} in all; --json prints up to {audits.MAX_FINDINGS}.")


def _print_rate(done: Audit) -> None:
    if done.repaired or done.failed:
        print_line(f"{done.repaired} findings repaired; {done.failed} repairs failed for now.")
    before = " before the repairs" if done.repaired else ""
    rate = "nothing to compare" if done.sync_rate is None else percent(done.sync_rate)
    print_line(f"In sync: {rate}{before}. Calls to Stream: {done.stream_calls}.")


def repair(
    uids: Annotated[list[str], typer.Argument(help="Accounts, or company:ID.")],
    kind: Annotated[
        str, typer.Option(help="Correct what these accounts are in Stream: user or company.")
    ] = "",
    apply: Apply = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Repair some users, parked ones too."""
    clients = options.connect_to(apply)
    keys = [_checked_key(uid, clients.settings.id_format) for uid in dict.fromkeys(uids)]
    changed = change_kind(keys, kind, apply, yes, clients) if kind else []
    if changed and not apply:
        return FINDINGS
    if apply:
        outcomes = reconcile_by_hand(keys, clients)
        rows = [{"key": name_of(one.key), "result": _result(one)} for one in outcomes]
        missing = any(isinstance(one.error, NotFound) for one in outcomes)
        in_sync = all(one.is_done for one in outcomes) and not missing
        ended = IN_SYNC if in_sync else FINDINGS
        if in_sync:
            remove_wrong(changed, clients)
    else:
        found = [one for batch in batches(keys) for one in judge_users(batch, clients)]
        rows = [{"kind": one.kind, "key": one.key, "detail": one.detail} for one in found]
        ended = FINDINGS if found else IN_SYNC
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows[0], (row.values() for row in rows))
    else:
        print_line("In agreement.")
    return ended


def reconcile_by_hand(keys: Sequence[Key], clients: Clients) -> list[Outcome]:
    """Repair some users, and delete the outbox entries of those who are done."""
    entries = outbox.entries_of(keys, clients)
    removals = [key for key in keys if key in entries and entries[key].removal]
    outcomes = outbox.reconcile(
        [key for key in keys if key not in removals], clients, retry_refused=True
    )
    for batch in batches(removals):
        removed = remove_users(batch, clients)
        outbox.enqueue_unfinished(removed, clients)
        outcomes += removed
    done = [one for one in outcomes if one.key in entries and one.is_done]
    for some in batches(done):
        settled = {entries[one.key]: one for one in some}
        outbox.apply_outcomes(settled, clients, time.monotonic() + SECONDS)
    return outcomes


def _result(outcome: Outcome) -> str:
    if isinstance(outcome.error, NotFound):
        return "no such account or company"
    return outcome.status or str(outcome.error)


def _checked_key(name: str, id_format: IdFormat) -> Key:
    key = key_named(name) or Key("user", name)
    return check_key(key.id, "uid" if key.kind == "user" else key.kind, key.kind, id_format)


def backfill(apply: Apply = False, i_know: IKnow = False, as_json: AsJson = False) -> int:
    """Create all accounts and companies in Stream; continues where it was stopped.

    One that is under way, as after the installation, is watched to its end.
    """
    clients = options.connect_to(apply)
    steps = ("accounts", "companies")
    if not apply:
        count = expected(steps, clients)
        if as_json:
            print_json({"expected": count})
        else:
            amount = "very many" if count is None else count
            what = f"{amount} accounts and companies, and create those that are missing"
            print_line(f"--apply would compare {what}.")
        return IN_SYNC
    began = audits.unfinished("backfill", clients)
    if began is None:
        began = audits.start("backfill", clients, steps=steps, repair=RECONCILED)
    elif began.state == "running":
        began = watch(began, clients)
        clients.pause.refuse_if_paused()  # then it only waits, and goes on by itself
    if began.state in ("running", "stopped"):
        began = replace(began, state="running", ids_are_checked=began.ids_are_checked or i_know)
        if began.seen:
            stderr.print(f"Continuing {began.id}: {began.seen} are done.")
    started = time.monotonic()
    done = run_to_the_end(began, clients)
    numbers = done.counts.get("users", {})
    # Users are counted here, not findings: an account can have two.
    repaired = numbers.get("records", 0) - numbers.get("agreeing", 0) - done.failed
    if as_json:
        print_json(summary(done) | {"seen": done.seen, "repaired": repaired})
    else:
        seconds = time.monotonic() - started
        print_line(
            f"{done.seen} compared, {repaired} created or patched, {done.failed} left to the"
            f" outbox; {done.stream_calls} calls to Stream, {seconds:.0f} s."
        )
        if began.seen:
            print_line("Accounts imported since it first began may be missed: run it once more.")
    return FINDINGS if done.failed else IN_SYNC


for _command in (
    *(audit, explain, status, report, doctor, repair, backfill),
    *(channels.fix_team, channels.delete_orphan, channels.sync_channel),
    *(pause.pause, pause.resume, verify.verify),
    *(init, rules_file.rules, manifest),
):
    app.command()(_command)
