"""Stream's rate limits: what is left is known, shared fairly, and not asked for in vain."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatsync.clients.pacing import (
    LEFT_BY_BACKGROUND,
    LEFT_BY_CALLABLES,
    LEFT_BY_EVENTS,
    Pace,
    RateLimit,
)
from chatsync.clients.stream import Stream
from chatsync.errors import Postponed, StreamRateLimited
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("calls_spread_over_seconds")


@pytest.fixture
def client(stream) -> Stream:
    return Stream(stream.key, stream.secret, stream.url)


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def calls(stream, operation: str) -> list[int]:
    return [call["status"] for call in stream.requests() if call["operation"] == operation]


def upsert_until_refused(client: Stream, unhurried: bool = False) -> StreamRateLimited:
    for n in range(100):
        for pace in client._calls._paces.values() if unhurried else ():
            pace.sent.clear()  # as if a second had passed
        try:
            client.upsert_users([{"id": f"user-{n}"}], soon())
        except StreamRateLimited as refusal:
            return refusal
    pytest.fail("Stream's limit was never reached")


def test_a_window_that_is_used_up_is_not_knocked_at(client, stream):
    stream.limit("UpdateUsers", 3, window_s=30)
    refusal = upsert_until_refused(client)
    assert calls(stream, "UpdateUsers") == [201] * 3
    assert 28 <= refusal.retry_after <= 31


@pytest.mark.parametrize(("share", "used"), [(LEFT_BY_BACKGROUND, 16), (LEFT_BY_EVENTS, 10)])
def test_who_can_wait_leaves_room_in_every_window_to_those_who_cannot(client, stream, share, used):
    stream.switch(burst_guard=False)
    stream.limit("UpdateUsers", 20, window_s=60)
    upsert_until_refused(client.leaving(share), unhurried=True)
    assert len(calls(stream, "UpdateUsers")) == used
    client.upsert_users([{"id": "somebody-waits"}], soon())
    assert len(calls(stream, "UpdateUsers")) == used + 1


def test_one_endpoints_limit_does_not_hold_up_another(client, stream):
    stream.limit("UpdateUsers", 1, window_s=60)
    upsert_until_refused(client)
    assert client.query_users(["user-0"], soon())


def test_a_new_window_is_used_again(client, stream):
    stream.limit("UpdateUsers", 1, window_s=1)
    assert upsert_until_refused(client).retry_after <= 2

    def upsert() -> bool:
        try:
            client.upsert_users([{"id": "later"}], soon())
        except StreamRateLimited:
            return False
        return True

    wait_for(upsert)


def test_a_refusal_holds_until_the_reset_for_all_threads(client, stream):
    stream.limit("UpdateUsers", 2, window_s=60)
    others = Stream(stream.key, stream.secret, stream.url)
    for n in range(2):
        others.upsert_users([{"id": f"other-{n}"}], soon())

    def upsert(n: int) -> Exception | None:
        try:
            client.upsert_users([{"id": f"mine-{n}"}], soon())
        except StreamRateLimited as refusal:
            return refusal
        return None

    with ThreadPoolExecutor(8) as threads:
        refusals = list(threads.map(upsert, range(16)))
    assert all(refusals)
    assert calls(stream, "UpdateUsers").count(429) == 1


def test_who_can_wait_meets_a_window_that_others_used_up_meanwhile_with_one_refusal(client, stream):
    """Sign-ups of one process, which knew of room when it last asked."""
    stream.limit("UpdateUsers", 300, window_s=60)
    stream.switch(burst_guard=False)
    events = client.leaving(LEFT_BY_EVENTS)
    events.upsert_users([{"id": "first"}], soon())
    others = Stream(stream.key, stream.secret, stream.url)
    for n in range(299):
        for pace in others._calls._paces.values():
            pace.sent.clear()
        others.upsert_users([{"id": f"other-{n}"}], soon())
    client._calls._paces["upsert_users"].sent.clear()
    stream.fault("UpdateUsers", "delay", delay_ms=100, rate=1)

    def upsert(n: int) -> bool:
        try:
            events.upsert_users([{"id": f"mine-{n}"}], soon())
        except StreamRateLimited:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert not any(threads.map(upsert, range(8)))
    assert calls(stream, "UpdateUsers").count(429) == 1


def test_a_second_takes_no_more_than_a_thirtieth_of_the_limit(client, stream):
    stream.limit("UpdateUsers", 90, window_s=60)
    with ThreadPoolExecutor(7) as threads:
        list(threads.map(lambda n: client.upsert_users([{"id": f"u{n}"}], soon()), range(7)))
    sent = client._calls._paces["upsert_users"].sent
    assert len(calls(stream, "UpdateUsers")) == 7
    assert len(sent) <= 3


def test_who_has_no_time_to_wait_for_the_next_second_is_postponed(client, stream):
    stream.limit("UpdateUsers", 30, window_s=60)
    client.upsert_users([{"id": "first"}], soon())
    with pytest.raises(Postponed):
        client.upsert_users([{"id": "second"}], soon(0.05))


def test_without_limits_calls_go_side_by_side(client, stream):
    stream.remove_limit("QueryUsers")
    stream.fault("QueryUsers", "delay", delay_ms=200, rate=1)
    client.query_users(["ann"], soon())
    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: client.query_users(["ann"], soon()), range(8)))
    assert time.monotonic() - started < 8 * 0.2


@pytest.mark.parametrize("share", [0.0, LEFT_BY_CALLABLES])
def test_a_refused_burst_is_waited_for_by_those_for_whom_people_wait(client, stream, share):
    """Other processes were as fast: nobody is refused for that."""
    stream.limit("UpdateUsers", 300, window_s=60)
    stream.fault("UpdateUsers", "status", status=429, times=1)
    started = time.monotonic()
    client.leaving(share).upsert_users([{"id": "ann"}], soon())
    assert time.monotonic() - started > 0.9
    assert calls(stream, "UpdateUsers") == [429, 201]


@pytest.mark.parametrize("share", [LEFT_BY_BACKGROUND, LEFT_BY_EVENTS])
def test_a_refused_burst_pauses_those_who_can_wait_until_the_reset(client, stream, share):
    stream.limit("UpdateUsers", 300, window_s=60)
    stream.fault("UpdateUsers", "status", status=429, times=1)
    with pytest.raises(StreamRateLimited) as refusal:
        client.leaving(share).upsert_users([{"id": "ann"}], soon())
    assert refusal.value.retry_after == 1
    with pytest.raises(StreamRateLimited) as pause:
        client.leaving(share).upsert_users([{"id": "ann"}], soon())
    assert 50 < pause.value.retry_after <= 61
    assert calls(stream, "UpdateUsers") == [429]


def test_only_those_who_can_wait_go_one_by_one(client, stream):
    stream.limit("QueryUsers", 1_000, window_s=60)
    client.query_users(["ann"], soon())
    stream.fault("QueryUsers", "delay", delay_ms=200, rate=1)

    def seconds(share: float) -> float:
        started = time.monotonic()
        with ThreadPoolExecutor(6) as threads:
            list(
                threads.map(lambda _: client.leaving(share).query_users(["ann"], soon()), range(6))
            )
        return time.monotonic() - started

    assert seconds(LEFT_BY_CALLABLES) < 6 * 0.2 <= seconds(LEFT_BY_BACKGROUND)


def told(pace: Pace, limit: int, remaining: int, reset: float) -> int:
    pace.note(RateLimit(limit, remaining, reset))
    assert pace.window
    return pace.window.remaining


def test_an_answer_that_was_overtaken_does_not_count():
    pace, reset = Pace(), time.time() + 60
    assert told(pace, 300, 10, reset) == 10
    assert told(pace, 300, 12, reset) == 10
    assert told(pace, 300, 250, reset - 60 + 30) == 10
    assert told(pace, 300, 299, reset + 60) == 299


def test_an_answer_about_a_window_that_has_ended_opens_the_next_to_one_call_only():
    """Not to all that wait: who uses it up already would refuse each of them."""
    pace = Pace()
    with pace.call("UpdateUsers", LEFT_BY_EVENTS, soon()):
        pace.note(RateLimit(300, 200, time.time() - 0.01))
    with (
        pace.call("UpdateUsers", LEFT_BY_EVENTS, soon()),
        pytest.raises(Postponed),
        pace.call("UpdateUsers", LEFT_BY_EVENTS, soon(0.2)),
    ):
        pytest.fail("two calls at once")
