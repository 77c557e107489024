"""Shows what chatsync is for, on the emulators: a sign-up, a missing chat user, and its repair."""

import signal

if __name__ == "__main__":  # Ctrl-C during the other imports, too, ends without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import json
import re
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import firebase_admin
import requests
from firebase_admin import auth
from firebase_admin.exceptions import FirebaseError
from google.api_core.exceptions import GoogleAPIError
from google.cloud import firestore
from stream_chat import StreamChat
from stream_chat.base.exceptions import StreamAPIException

from dev import app_client, emulators, seed
from dev.start import LOG, Stack, StackError, call_back, running_stack
from stream_server.control_client import LocalStream
from stream_server.credentials import API_KEY, API_SECRET

DEADLINE_SECONDS = 60
LENA, MAX = "legacy-lena", "legacy-max"
OUTAGE_SECONDS = 10
UNLUCKY = [f"unlucky-{n}" for n in range(1, 21)]


class DemoError(Exception):
    """A step of the story did not happen."""


# What a part of the stack can answer; anything else is a bug of the demo.
FAILURES = (
    DemoError,
    app_client.CallFailed,
    requests.RequestException,
    StreamAPIException,
    FirebaseError,
    GoogleAPIError,
)


def main() -> None:
    print("chatsync keeps Firebase Auth, Firestore and Stream Chat in agreement about who exists.")
    print("This is a real run: Firebase's own emulators, and a local server with Stream's API.\n")
    print("Starting them ...", flush=True)
    started = time.monotonic()
    stack = Stack()
    try:
        with running_stack(stack):
            print_step(started, "all are up")
            try:
                tell_the_story(stack)
            except FAILURES:
                stack.check()  # a dead part of the stack is the cause of whatever follows from it
                raise
    except StackError as error:
        sys.exit(f"\nThe demo failed: {error}")
    except FAILURES as error:
        sys.exit(f"\nThe demo failed: {error}\n{what_the_log_says(LOG.read_text())}")
    print("\nEvery line above really happened. Everything is stopped again.")
    print(f"To click through it: `make start`, then open {emulators.url('web example')}")


def what_the_log_says(log: str) -> str:
    # A logged error, or the last line of a traceback. Retries repeat both.
    error = re.compile(r'^>  (\{"severity": "ERROR"|[\w.]+: )')
    errors = list(dict.fromkeys(line for line in log.splitlines() if error.match(line)))
    if not errors:
        return f"More in {LOG.relative_to(emulators.ROOT)}."
    lines = "\n".join(errors[-3:])
    return f"The functions' last errors, more in {LOG.relative_to(emulators.ROOT)}:\n{lines}"


def tell_the_story(stack: Stack) -> None:
    emulators.use_local_stack()
    firebase_admin.initialize_app()
    documents = firestore.Client(project=emulators.PROJECT)
    stream = StreamChat(API_KEY, API_SECRET, base_url=emulators.STREAM_BASE_URL)

    def stream_user(uid: str) -> dict[str, Any] | None:
        return next(iter(stream.query_users({"id": uid})["users"]), None)

    def has_teams(uid: str) -> bool:
        return (stream_user(uid) or {}).get("teams") == seed.TEAMS

    def exists(reference: firestore.DocumentReference) -> bool:
        return bool(reference.get().exists)

    def wait_for(look: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            if found := look():
                return found
            stack.check()
            time.sleep(0.1)
        raise DemoError(f"{what} did not appear within {DEADLINE_SECONDS} s.")

    print("\n1. Ann signs up in the app. Nothing else is called.")
    started = time.monotonic()
    ann = app_client.sign_up("ann@example.com", "Ann")
    user = wait_for(lambda: stream_user(ann.uid), "Ann's Stream user")
    print_step(started, f"Stream has a user for her, named {user['name']}")
    for collection in ("users", "user_profiles", "user_stats"):
        reference = documents.document(collection, ann.uid)
        wait_for(partial(exists, reference), reference.path)
        print_step(started, f"Firestore has {collection}/{{uid}}")

    print("\n2. Lena's account is older than the chat: it came with an import.")
    started = time.monotonic()
    auth.import_users([auth.ImportUserRecord(LENA, display_name="Lena")])
    print_step(started, f"Firebase Auth has {auth.get_user(LENA).display_name}")
    expect(stream_user(LENA) is None, "Lena should be missing in Stream")
    print_step(started, "Stream has not")

    print("\n3. Ann opens a chat with Lena: the crash that chatsync exists for.")
    started = time.monotonic()
    channel = stream.channel("messaging", "ann-and-lena", {"members": [ann.uid, LENA]})
    try:
        channel.create(ann.uid)
    except StreamAPIException as error:
        expect("don't exist" in error.error_message, "Stream should name the missing user")
        print_step(started, f"Stream refuses: {error.error_message}")
    else:
        raise DemoError("the chat opened, although Lena is missing in Stream")

    print("\n4. The app's error handler calls ensureStreamUser with Lena's id.")
    started = time.monotonic()
    answer = ann.call("ensureStreamUser", {"userId": LENA})
    stack.check()
    expect(answer["status"] == "created", f"ensureStreamUser answered {answer}")
    print_step(started, f"it answers {json.dumps(answer)}")
    started = time.monotonic()
    answer = ann.call("ensureStreamUser", {"userId": LENA})
    expect(answer["status"] == "ok", f"ensureStreamUser answered {answer}")
    print_step(started, "asked once more, it finds nothing left to do")

    print("\n5. Ann opens the chat again.")
    started = time.monotonic()
    members = channel.create(ann.uid)["members"]
    names = sorted(member["user"]["name"] for member in members)
    expect(names == ["Ann", "Lena"], f"the chat has {names}")
    print_step(started, f"it opens, with {' and '.join(names)} in it")

    print("\n6. Ann starts a conversation with Max, whom Stream has never seen either.")
    started = time.monotonic()
    auth.import_users([auth.ImportUserRecord(MAX, display_name="Max")])
    conversation = ann.call("createConversation", {"participantIds": [MAX]})
    print_step(started, f"createConversation healed {' and '.join(conversation['healed'])} first")
    started = time.monotonic()
    [state] = stream.query_channels({"cid": conversation["cid"]})["channels"]
    names = sorted(member["user"]["name"] for member in state["members"])
    expect(names == ["Ann", "Max"], f"the conversation has {names}")
    print_step(started, f"its channel is open, with {' and '.join(names)} in it")
    record = documents.document("conversations", conversation["id"]).get()
    expect(record.get("status") == "ready", f"its document is {record.get('status')}")
    print_step(started, "Firestore has conversations/{id}, and calls it ready")

    print("\n7. Somebody renames it in Stream itself, which calls back.")
    started = time.monotonic()
    call_back()
    channel_type, channel_id = conversation["cid"].split(":")
    stream.channel(channel_type, channel_id).update_partial({"name": "Ann & Max"})
    reference = record.reference
    wait_for(lambda: reference.get().get("name") == "Ann & Max", "The new name")
    print_step(started, "Firestore has the new name")
    control = LocalStream(emulators.STREAM_BASE_URL)
    control.webhook(None)

    print(f"\n8. Stream is down for {OUTAGE_SECONDS} seconds, and {len(UNLUCKY)} people sign up.")
    started = time.monotonic()
    present = control.state()["counts"]["users"]
    control.fault("*", "reset", rate=1)
    went_down = time.monotonic()
    people = [app_client.sign_up(f"{name}@example.com", name) for name in UNLUCKY]
    entries = documents.collection("repairs")
    wait_for(lambda: len(entries.get()) >= len(people), "An entry for each in the outbox")
    print_step(started, f"the outbox has {len(people)} entries in Firestore's repairs")
    wait_for(lambda: time.monotonic() > went_down + OUTAGE_SECONDS, "The end of the outage")
    expect(control.state()["counts"]["users"] == present, "Stream should have nobody new")
    control.clear_faults()
    print_step(started, "Stream is back; nobody does anything")
    started = time.monotonic()
    for person in people:
        wait_for(partial(stream_user, person.uid), "A Stream user")
    print_step(started, f"Stream has all {len(people)}")
    wait_for(lambda: not entries.get(), "The end of the last entry")
    print_step(started, "the outbox is empty again")

    print("\n9. Another chat, whose two sides have drifted apart. An operator asks for an audit.")
    command = f"venv/bin/python -m chatsync --project {emulators.PROJECT}"
    print(f"   (In functions/, and python -m chatsync is short for {command}.)")
    for cid in (channel.cid, conversation["cid"]):
        stream.channel(*cid.split(":")).delete(hard=True)
    reference.delete()
    for uid in (ann.uid, LENA):
        documents.document("users", uid).set({"chat": {"teams": seed.TEAMS}}, merge=True)
        wait_for(partial(has_teams, uid), "Their teams")
    seed.seed(documents, stream, [ann.uid, LENA])
    report = operate("audit", "--channels", status=1)
    expect("In sync: 33%" in report, "five of fifteen records should be in sync")
    for arguments in seed.COMMANDS_THAT_FIX_IT:
        operate(*arguments)
    report = operate("audit", "--channels")
    expect("In sync: 100%" in report, "all records should be in sync")


def operate(*arguments: str, status: int = 0) -> str:
    """Run a command of the operator, and show it with what it prints."""
    print(f"\n  $ python -m chatsync {' '.join(arguments)}", flush=True)
    ran = seed.run_command(*arguments)
    print(textwrap.indent(ran.stdout + ran.stderr, "  "), end="", flush=True)
    expect(ran.returncode == status, f"exit status {ran.returncode}")
    return ran.stdout


def print_step(started: float, what: str) -> None:
    print(f"  {time.monotonic() - started:6.2f} s  {what}", flush=True)


def expect(happened: bool, otherwise: str) -> None:
    if not happened:
        raise DemoError(otherwise)


if __name__ == "__main__":
    main()
