"""The operator's command: it compares, and changes something only with ``--apply``.

Exit status 0: in sync. 1: there are findings. 2: it could not be done.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, NoReturn

import typer
from firebase_admin.exceptions import FirebaseError
from firebase_functions import logger
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from .. import audit as audits
from .. import clients as client_module
from .. import conversations, outbox
from ..audit import Audit
from ..audit.steps import (
    BY_HAND,
    CHANNEL_STEPS,
    DESTROYING,
    KINDS,
    KINDS_OF_USERS,
    RECONCILED,
    USER_STEPS,
    Finding,
    compare,
    expected,
    judge_users,
    name_of,
)
from ..clients import Clients
from ..clients.accounts import list_accounts
from ..clients.pacing import LEFT_BY_BACKGROUND
from ..errors import (
    ChatsyncError,
    InvalidArgument,
    NotFound,
    SettingInvalid,
    StreamRateLimited,
    Temporary,
)
from ..ids import IdFormat, Key, check_key
from ..outcome import Outcome
from ..removal import remove_users
from ..side_by_side import batches
from . import terminal
from .terminal import (
    Refused,
    confirm,
    console,
    errors_in_one_line,
    in_one_line,
    is_local,
    percent,
    print_json,
    print_line,
    stderr,
)

IN_SYNC, FINDINGS = 0, 1
SECONDS = 60.0
MAX_ATTEMPTS = 5
SECONDS_UNTIL_DEAD = 150
"""If no page ended for so long, a backfill is dead: a rate limit delays a page by two minutes."""

PAUSES_SECONDS = (0.5, 1.0, 1.5, 3.0)
"""Between queries of a channel that was just changed."""

MAX_TEAM_BYTES = 100
"""Of a team's name, in Stream."""

MOST_SHOWN = 50
ENTRY_FIELDS = ("kind", "key", "reason", "lastError", "attempts")

_INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

app = typer.Typer(
    help="Compares Firebase with Stream Chat, and repairs what disagrees.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Apply = Annotated[
    bool, typer.Option("--apply", help="Make the changes. Without it, only show them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask before destroying something.")]
Channel = Annotated[
    str, typer.Argument(help="A cid (type:id), or the id of a channel of the configured type.")
]


def main() -> NoReturn:
    with errors_in_one_line():
        status = app(standalone_mode=False)
        if status == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(status if isinstance(status, int) else IN_SYNC)


@app.callback()
def configure(
    project: Annotated[
        str, typer.Option(help="The Firebase project; demo-... means the local emulators.")
    ] = "",
) -> None:
    logger.write = terminal.tell_log
    if project:
        os.environ["GCLOUD_PROJECT"] = project


def connect() -> Clients:
    terminal.use_project()
    return client_module.connect().leaving(LEFT_BY_BACKGROUND)


# Commands that only read


@app.command()
def audit(
    team: Annotated[str, typer.Option(help="Only what belongs to this team.")] = "",
    only_issues: Annotated[
        bool, typer.Option("--only-issues", help="Leave out teams without findings.")
    ] = False,
    users: Annotated[bool, typer.Option("--users", help="Users only.")] = False,
    channels: Annotated[bool, typer.Option("--channels", help="Channels only.")] = False,
    repair: Annotated[
        list[str] | None, typer.Option(help=f"Repair this kind of finding: {', '.join(KINDS)}.")
    ] = None,
    apply: Apply = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Compare every account and every channel, and print the sync rate."""
    steps = [
        *(USER_STEPS if users or not channels else ()),
        *(CHANNEL_STEPS if channels or not users else ()),
    ]
    kinds = _checked_kinds(repair or [], steps, team)
    if apply and not kinds:
        raise Refused("--apply needs --repair KIND, which names what to repair.")
    clients = connect()
    creating = [kind for kind in kinds if kind not in DESTROYING] if apply else []
    if creating and not team and len(steps) == len(USER_STEPS) + len(CHANNEL_STEPS):
        steps.append(audits.LAST_STEP)
    began = audits.start("operator", clients, steps=steps, repair=creating, team=team or None)
    done = run_to_the_end(began, clients)
    findings = list(islice(audits.findings_of(done, clients), audits.MAX_FINDINGS))
    if not as_json:
        _print_findings(done, findings, only_issues)
    if apply:
        destroying = [one for one in findings if one.kind in kinds and one.kind in DESTROYING]
        done = destroy(destroying, done, yes, clients)
    if as_json:
        print_json({**_summary(done), "findings": [one._asdict() for one in findings]})
    else:
        _print_rate(done)
        if kinds and not apply:
            would = sum(numbers.get(kind, 0) for numbers in done.counts.values() for kind in kinds)
            print_line(f"--apply would repair {would} of these.")
    return FINDINGS if done.findings > done.repaired else IN_SYNC


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


def _checked_kinds(kinds: Sequence[str], steps: Sequence[str], team: str) -> tuple[str, ...]:
    for kind in kinds:
        if kind in BY_HAND:
            raise Refused(f"A person corrects {kind}: see fix-team.")
        if kind not in KINDS:
            raise Refused(f"{kind!r} is no kind of finding: {', '.join(KINDS)}.")
        needed = USER_STEPS if kind in KINDS_OF_USERS else CHANNEL_STEPS
        if not set(needed) & set(steps):
            raise Refused(f"--users or --channels leaves out {kind}.")
        if team and kind == "orphan_documents":
            raise Refused("orphan_documents have no team: leave out --team.")
    return tuple(dict.fromkeys(kinds))


def run_to_the_end(audit: Audit, clients: Clients) -> Audit:
    """Run page after page, with a progress bar; waits when Stream's rate limits are used up."""
    try:
        with stderr.status("Counting ..."):
            total = expected(audit.steps, clients)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        started, began_at = time.monotonic(), audit.seen
        with Progress(*columns, console=stderr, transient=True) as progress:
            task = progress.add_task("", total=total, rate="")

            def wait(seconds: int) -> None:
                progress.update(task, description=f"waiting {seconds} s for Stream's rate limit")
                time.sleep(seconds)

            while audit.state == "running":
                progress.update(task, description=audit.steps[audit.step].replace("_", " "))
                audit = run_page_patiently(audit, clients, wait)
                rate = (audit.seen - began_at) / max(0.001, time.monotonic() - started)
                if total is not None:
                    total = max(total, audit.seen)
                progress.update(task, completed=audit.seen, total=total, rate=f"{rate:,.0f}/s")
    except BaseException:
        with suppress(ChatsyncError):
            audits.set_state(audit, "stopped", clients)
        raise
    return audit


def run_page_patiently(audit: Audit, clients: Clients, wait: Callable[[int], None]) -> Audit:
    """Run a page; repeat it after each rate limit, and a few times after other Temporary errors."""
    failures = 0
    while True:
        try:
            return audits.run_page(audit, clients, wait)
        except StreamRateLimited as limited:
            wait(limited.retry_after)
        except Temporary:
            failures += 1
            if failures == MAX_ATTEMPTS:
                raise
            time.sleep(2**failures / 2)


def _summary(done: Audit) -> dict[str, Any]:
    return {
        "id": done.id,
        "mode": done.mode,
        "state": done.state,
        "steps": done.steps,
        "team": done.team,
        "syncRate": done.sync_rate,
        "counts": {section: dict(numbers) for section, numbers in done.counts.items()},
        "teams": {team: dict(numbers) for team, numbers in done.teams.items()},
        "repaired": done.repaired,
        "failed": done.failed,
        "streamCalls": done.stream_calls,
    }


def _print_findings(done: Audit, findings: Sequence[Finding], only_issues: bool) -> None:
    kinds = [kind for kind in KINDS if any(kind in one for one in done.teams.values())]
    table = Table(title=f"Audit {done.id}")
    table.add_column("team")
    for title in ("records", "agreeing", "in sync", *kinds):
        table.add_column(title.replace("_", " "), justify="right")
    for team, numbers in sorted(done.teams.items()):
        if only_issues and not any(kind in numbers for kind in kinds):
            continue
        records, agreeing = numbers.get("records", 0), numbers.get("agreeing", 0)
        rate = percent(agreeing / records if records else None)
        row = [team, str(records), str(agreeing), rate]
        table.add_row(*row, *(str(numbers.get(kind, "")) for kind in kinds))
    if table.row_count:
        console().print(table)
    if findings:
        details = Table("kind", "what", "team", "detail")
        for finding in findings[:MOST_SHOWN]:
            details.add_row(finding.kind, finding.key, finding.team or "", finding.detail)
        console().print(details)
        if done.findings > MOST_SHOWN:
            print_line(f"... {done.findings} in all; --json prints up to {audits.MAX_FINDINGS}.")


def _print_rate(done: Audit) -> None:
    if done.repaired or done.failed:
        print_line(f"{done.repaired} findings repaired; {done.failed} repairs failed for now.")
    before = " before the repairs" if done.repaired else ""
    rate = "nothing to compare" if done.sync_rate is None else percent(done.sync_rate)
    print_line(f"In sync: {rate}{before}. Calls to Stream: {done.stream_calls}.")


@app.command()
def status(as_json: AsJson = False) -> int:
    """Show the outbox, parked entries, and the last audit."""
    clients = connect()
    waiting, parked = (outbox.sample(one, clients) for one in ("waiting", "parked"))
    oldest = waiting[0].get("firstFailedAt") if waiting else None
    last = audits.latest(clients)
    report = {
        "waiting": outbox.count("waiting", clients),
        "reasons": Counter(entry.get("reason", "") for entry in waiting),
        "oldest": oldest.isoformat() if oldest else None,
        "parked": outbox.count("parked", clients),
        "parkedEntries": [{name: entry.get(name) for name in ENTRY_FIELDS} for entry in parked],
        "lastAudit": _summary(last) if last else None,
    }
    if as_json:
        print_json(report)
    else:
        _print_status(report, oldest, last)
    return FINDINGS if report["parked"] else IN_SYNC


def _print_status(report: Mapping[str, Any], oldest: datetime | None, last: Audit | None) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in report["reasons"].items())
    if reasons and report["waiting"] > (shown := report["reasons"].total()):
        reasons = f"of {shown}: {reasons}"
    print_line(f"Waiting in the outbox: {report['waiting']}" + (f" ({reasons})" if reasons else ""))
    if oldest:
        age = datetime.now(UTC) - oldest
        print_line(f"The oldest is {age.total_seconds() / 60:.0f} minutes old.")
    print_line(f"Parked: {report['parked']}")
    if report["parkedEntries"]:
        table = Table(*ENTRY_FIELDS)
        for entry in report["parkedEntries"][:MOST_SHOWN]:
            table.add_row(*("" if value is None else str(value) for value in entry.values()))
        console().print(table)
    if last:
        print_line(f"Last audit: {last.id}, {_described(last)}.")
    else:
        print_line("Last audit: none.")


def _described(audit: Audit) -> str:
    """``nightly, done, 98% in sync``, with the limits of a partial audit."""
    sections = {"users": USER_STEPS, "channels": CHANNEL_STEPS}
    only = [name for name, steps in sections.items() if set(steps) & set(audit.steps)]
    limits = [f"{only[0]} only"] if len(only) == 1 else []
    limits += [f"team {audit.team}"] if audit.team else []
    rate = (
        "nothing to compare" if audit.sync_rate is None else f"{percent(audit.sync_rate)} in sync"
    )
    return ", ".join([audit.mode, *limits, audit.state, rate])


@app.command()
def doctor(as_json: AsJson = False) -> int:
    """Check settings, credentials, Stream, and the webhook, with a verdict for each."""
    verdicts = list(_verdicts())
    if as_json:
        print_json([{"check": name, "ok": ok, "verdict": text} for name, ok, text in verdicts])
    else:
        table = Table("", "check", "verdict")
        for name, ok, text in verdicts:
            table.add_row(Text("ok", "green") if ok else Text("no", "red"), name, text)
        console().print(table)
    return IN_SYNC if all(ok for _, ok, _ in verdicts) else FINDINGS


def _verdicts() -> Iterator[tuple[str, bool, str]]:
    try:
        clients = connect()
    except SettingInvalid as error:
        yield "settings", False, in_one_line(error)
        return
    except GoogleAuthError as error:
        yield "settings", True, "complete"
        yield "credentials", False, in_one_line(error)
        return
    yield "settings", True, "complete"
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    where = "the emulators" if is_local(project) else "Google Cloud"
    yield "project", True, f"{project}, in {where}"
    checks: dict[str, Callable[[], str]] = {
        "Firestore": lambda: f"{outbox.count('waiting', clients)} entries wait in the outbox",
        "Auth": lambda: _amount(len(list_accounts("", clients.auth)[0])),
    }
    for name, check in checks.items():
        try:
            yield name, True, check()
        except (ChatsyncError, GoogleAPICallError, GoogleAuthError, FirebaseError) as error:
            yield name, False, in_one_line(error)
    try:
        app_settings = clients.stream.app_settings(time.monotonic() + SECONDS)
    except ChatsyncError as error:
        yield "Stream", False, in_one_line(error)
        return
    app = app_settings.get("name") or clients.settings.stream_api_key
    yield "Stream", True, f"reached, app {app}"
    yield "webhook", *_webhook_verdict(app_settings)


def _amount(accounts: int) -> str:
    if accounts:
        return f"{accounts} accounts on a page"
    return "no accounts: is this the project of your app?"


def _webhook_verdict(app_settings: Mapping[str, Any]) -> tuple[bool, str]:
    """By ``event_hooks``, or the older ``webhook_url`` and ``webhook_events`` (GetApp)."""
    hooks = [
        (str(hook.get("webhook_url") or ""), hook.get("event_types") or [])
        for hook in app_settings.get("event_hooks") or []
        if isinstance(hook, dict) and hook.get("enabled", True)
    ]
    if app_settings.get("webhook_url"):
        legacy = (str(app_settings["webhook_url"]), app_settings.get("webhook_events") or [])
        hooks.append(legacy)
    # The address of a deployed function has its name in lower case.
    ours = [events for url, events in hooks if "streamwebhook" in url.lower()]
    if not ours:
        return False, "none leads to streamWebhook: Firestore won't learn what happens in Stream"
    from ..entry.webhooks import EVENTS

    sent_all = any(not events for events in ours)
    missing = set(EVENTS).difference(*ours)
    if missing and not sent_all:
        return False, f"does not get {', '.join(sorted(missing))}"
    return True, "leads to streamWebhook"


# Commands that repair


@app.command()
def repair(
    uids: Annotated[list[str], typer.Argument(help="Accounts, or company:ID.")],
    apply: Apply = False,
    as_json: AsJson = False,
) -> int:
    """Repair some users, parked ones too."""
    clients = connect()
    keys = [_user_or_company(uid, clients.settings.id_format) for uid in dict.fromkeys(uids)]
    if apply:
        outcomes = reconcile_by_hand(keys, clients)
        rows = [{"key": name_of(one.key), "result": _result(one)} for one in outcomes]
        missing = any(isinstance(one.error, NotFound) for one in outcomes)
        in_sync = all(one.is_done for one in outcomes) and not missing
        ended = IN_SYNC if in_sync else FINDINGS
    else:
        found = [one for batch in batches(keys) for one in judge_users(batch, clients)]
        rows = [{"kind": one.kind, "key": one.key, "detail": one.detail} for one in found]
        ended = FINDINGS if found else IN_SYNC
    if as_json:
        print_json(rows)
    elif rows:
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*row.values())
        console().print(table)
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


def _user_or_company(name: str, id_format: IdFormat) -> Key:
    """The key of a uid, ``company:ID``, or ``user:UID`` as in findings."""
    kind, _, key_id = name.partition(":")
    if key_id and kind == "company":
        return check_key(key_id, "company", "company", id_format)
    uid = key_id if key_id and kind == "user" else name
    return check_key(uid, "uid", "user", id_format)


@app.command()
def backfill(apply: Apply = False, as_json: AsJson = False) -> int:
    """Create all accounts and companies in Stream; continues where it was stopped."""
    clients = connect()
    steps = ("accounts", "companies")
    if not apply:
        count = expected(steps, clients)
        if as_json:
            print_json({"expected": count})
            return IN_SYNC
        print_line(
            f"--apply would compare {'very many' if count is None else count} accounts and"
            " companies, and create those that are missing."
        )
        return IN_SYNC
    began = _unfinished_backfill(clients)
    if began:
        stderr.print(f"Continuing {began.id}: {began.seen} are done.")
    else:
        began = audits.start("backfill", clients, steps=steps, repair=RECONCILED)
    seen_before = began.seen
    started = time.monotonic()
    done = run_to_the_end(began, clients)
    numbers = done.counts.get("users", {})
    # Users are counted here, not findings: an account can have two.
    repaired = numbers.get("records", 0) - numbers.get("agreeing", 0) - done.failed
    if as_json:
        print_json(_summary(done) | {"seen": done.seen, "repaired": repaired})
    else:
        seconds = time.monotonic() - started
        print_line(
            f"{done.seen} compared, {repaired} created or patched, {done.failed} left to the"
            f" outbox; {done.stream_calls} calls to Stream, {seconds:.0f} s."
        )
        if seen_before:
            print_line("Accounts imported since it first began may be missed: run it once more.")
    return FINDINGS if done.failed else IN_SYNC


def _unfinished_backfill(clients: Clients) -> Audit | None:
    """The backfill to continue, set to running; refuses while another process runs it."""
    audit = audits.unfinished("backfill", clients)
    if audit is None:
        return None
    quiet_for = (datetime.now(UTC) - (audit.version or datetime.now(UTC))).total_seconds()
    if audit.state == "running" and quiet_for < SECONDS_UNTIL_DEAD:
        left = SECONDS_UNTIL_DEAD - quiet_for
        raise Refused(
            f"A backfill was running {quiet_for:.0f} s ago. If it was killed, try again in"
            f" {left:.0f} s."
        )
    return audits.set_state(audit, "running", clients) or _unfinished_backfill(clients)


@app.command("fix-team")
def fix_team(
    channel: Channel,
    team: Annotated[str, typer.Option(help="The team it belongs to.")],
    apply: Apply = False,
) -> int:
    """Correct a channel's team in Stream, keeping its history and other fields."""
    if not 1 <= len(team.encode()) <= MAX_TEAM_BYTES:
        raise InvalidArgument("team", f"must have 1 to {MAX_TEAM_BYTES} bytes")
    clients = connect()
    cid, state, document = _both_sides(channel, clients)
    present = state["channel"].get("team") or None
    recorded = _named(document.team) if document.status else "no document"
    print_line(f"{cid}: {_named(present)} in Stream, {recorded} in Firestore.")
    if present == team and (document.team == team or not document.status):
        print_line("Nothing to correct.")
        return IN_SYNC
    if not apply:
        print_line(f"--apply would change it to {team}.")
        return FINDINGS
    deadline = time.monotonic() + SECONDS
    if present != team:
        clients.stream.update_channel_partial(cid, {"team": team}, deadline)
        _wait_for_team(team, cid, clients, deadline)
    if document.status and document.team != team:
        conversations.set_team(document, team, clients, deadline)
    print_line(f"{cid} belongs to {team} now.")
    return IN_SYNC


def _named(team: str | None) -> str:
    return f"team {team}" if team else "no team"


def _wait_for_team(team: str, cid: str, clients: Clients, deadline: float) -> None:
    """Wait until Stream reports the new team, which may take a few seconds."""
    for pause in (0.0, *PAUSES_SECONDS):
        time.sleep(pause)
        state = clients.stream.query_channels([cid], deadline).get(cid)
        if state and state["channel"].get("team") == team:
            return
    raise Refused(f"Stream accepted the change of {cid}, but still reports another team.")


@app.command("delete-orphan")
def delete_orphan(
    channel: Channel,
    hard: Annotated[bool, typer.Option("--hard", help="Delete it permanently.")] = False,
    apply: Apply = False,
    yes: Yes = False,
) -> int:
    """Delete a channel without document; refuses every other channel."""
    clients = connect()
    cid, state = _orphan(channel, clients)
    members = state["channel"].get("member_count", len(state["members"]))
    last = state["channel"].get("last_message_at") or "never"
    print_line(f"{cid}: {members} members, last message {last}, no document.")
    if not apply:
        print_line(f"--apply would delete it{' permanently' if hard else ''}.")
        return FINDINGS
    confirm(f"Delete {cid}{' permanently' if hard else ''}?", yes)
    _orphan(channel, clients)  # it may have changed before the answer
    clients.stream.delete_channel(cid, hard, time.monotonic() + SECONDS)
    print_line(f"{cid} is deleted.")
    return IN_SYNC


def _orphan(channel: str, clients: Clients) -> tuple[str, dict[str, Any]]:
    """The cid of a channel without document, and its state in Stream; refuses every other."""
    cid, state, document = _both_sides(channel, clients)
    if document.status not in ("", "deleted"):
        raise Refused(f"{cid} is no orphan: its document is {document.status}.")
    if others := conversations.documents_of(cid, clients):
        raise Refused(f"{cid} is no orphan: it has the document {', '.join(others)}.")
    return cid, state


@app.command("sync-channel")
def sync_channel(channel: Channel, apply: Apply = False) -> int:
    """Record one channel in Firestore, as Stream has it."""
    clients = connect()
    cid, state, document = _both_sides(channel, clients)
    if document.status in ("pending", "failed"):
        raise Refused(f"{cid}: its document is {document.status}, and the outbox finishes it.")
    print_line(
        f"{cid}: document {document.status or 'absent'}{_difference(document, state, clients)}."
    )
    if not apply:
        if document.status == "ready" and not compare(document, state, clients)[0]:
            return IN_SYNC
        print_line("--apply would record it from Stream.")
        return FINDINGS
    [outcome] = conversations.reconcile_conversations(
        [document.id], clients, origin="operator", may_close=False
    )
    if outcome.error:
        raise outcome.error
    difference = _difference(outcome.document, state, clients)
    print_line(f"{cid}: document {outcome.status}{difference}.")
    return FINDINGS if difference else IN_SYNC


def _difference(
    document: conversations.Conversation, state: Mapping[str, Any], clients: Clients
) -> str:
    if document.status != "ready":
        return ""
    kind, detail = compare(document, state, clients)
    return f", {kind}: {detail}" if kind else ""


def _both_sides(
    channel: str, clients: Clients
) -> tuple[str, dict[str, Any], conversations.Conversation]:
    """The cid of the named channel, its state in Stream, and its document."""
    cid = channel if ":" in channel else f"{clients.settings.channel_type}:{channel}"
    if not conversations.is_cid(cid):
        raise InvalidArgument("channel", "must be type:id, of A-Z a-z 0-9 _ -")
    deadline = time.monotonic() + SECONDS
    conversation_id = conversations.conversation_id_of(cid, clients.settings)
    document = conversations.read(conversation_id, clients, deadline)
    state = clients.stream.query_channels([cid], deadline).get(cid)
    if state is None:
        raise Refused(f"Stream has no channel {cid}.")
    return cid, state, document
