"""Two calls under way at once, and no third."""

from __future__ import annotations

import threading
import time

import pytest

from chatsync.side_by_side import two_at_once


def test_everything_is_called_once_and_never_more_than_two_at_once():
    at_work: list[int] = []
    most = []

    def call(number: int) -> int:
        at_work.append(number)
        most.append(len(at_work))
        time.sleep(0.01)
        at_work.remove(number)
        return number

    assert sorted(two_at_once(call, range(9))) == list(range(9))
    assert max(most) == 2


def test_after_an_error_no_other_begins_and_the_one_under_way_is_waited_for():
    called, done = [], []
    both = threading.Barrier(2, timeout=10)

    def call(number: int) -> None:
        called.append(number)
        both.wait()
        if number == 0:
            raise ValueError
        time.sleep(0.1)
        done.append(number)

    with pytest.raises(ValueError):  # noqa: PT011 (it has no message)
        list(two_at_once(call, range(5)))
    assert (sorted(called), done) == ([0, 1], [1])


@pytest.mark.parametrize("count", [0, 1])
def test_with_nothing_beside_it_a_call_needs_no_thread(count):
    threads = list(two_at_once(lambda _: threading.current_thread(), range(count)))
    assert threads == [threading.current_thread()] * count
