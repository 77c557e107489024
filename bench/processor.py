"""CPU time of one call, beside a function that makes the same calls and decides nothing.

Of the whole process, as the platform bills it: framework, SDKs and ours. The times of other
processes, and how long they take to answer, don't count.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from stream_chat import StreamChat

from dev.app_client import AppUser

from . import people, sizes
from .figures import Figure
from .people import STREAM
from .processes import OURS, SAME_CALLS, Function, serving
from .serving import created_event, heal

GOAL = "<= 1.3"


def processor() -> Iterator[Figure]:
    people.set_delay(0)
    people.prove()
    caller = people.caller()
    with serving(OURS, "ensureStreamUser") as function:
        heal(function, [caller.uid], caller)
    fresh = iter(people.accounts(2 * (sizes.WARM_CALLS + sizes.CPU_CALLS)))
    echo = _echo(caller.uid)
    calls: tuple[tuple[str, str, Callable[[Function], object]], ...] = (
        ("sign-up", "createStreamUser", lambda one: one.post(*created_event(one, next(fresh)))),
        ("getStreamUserToken, known to agree", "getStreamUserToken", partial(_call, caller)),
        ("ensureStreamUser, present", "ensureStreamUser", partial(_call, caller)),
        ("an echo from Stream", "streamWebhook", lambda one: one.post(*echo)),
    )
    for name, function_name, call in calls:
        ours, same = (_cpu_ms(source, function_name, call) for source in (OURS, SAME_CALLS))
        yield Figure(f"CPU of {name}", ours, same, "ms", GOAL, f"mean, n={sizes.CPU_CALLS}")


def _cpu_ms(source: Path, name: str, call: Callable[[Function], object]) -> float:
    with serving(source, name, threads=1) as function:
        for _ in range(sizes.WARM_CALLS):
            call(function)
        before = function.cpu_seconds()
        for _ in range(sizes.CPU_CALLS):
            call(function)
        return 1000 * (function.cpu_seconds() - before) / sizes.CPU_CALLS


def _call(caller: AppUser, function: Function) -> object:
    return function.call({"userId": caller.uid}, caller.id_token)


def _echo(uid: str) -> tuple[bytes, dict[str, str]]:
    """What Stream sends about a user whom we have just created there."""
    chat = StreamChat(STREAM.key, STREAM.secret, base_url=STREAM.url)
    [user] = chat.query_users({"id": uid})["users"]
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    body = json.dumps({"type": "user.updated", "created_at": at, "user": user}).encode()
    signature = hmac.new(STREAM.secret.encode(), body, hashlib.sha256).hexdigest()
    return body, {"Content-Type": "application/json", "X-Signature": signature}


MEASUREMENTS: dict[str, Callable[[], Iterator[Figure]]] = {"processor": processor}
