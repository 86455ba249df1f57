"""A callback that gets events in order, from a real broadcaster and real threads."""

import gc
import os
import re
import sys
import threading
import weakref
from functools import partial
from types import FrameType
from typing import Final

import pytest

from cl_server_shared.errors import ConfigError
from cl_server_shared.events.in_order import InOrder
from cl_server_shared.events.memory import MemoryBroadcaster
from cl_server_shared.models import JobEvent, JobStatus
from tests.support.processes import child
from tests.support.refused_threads import refused_threads
from tests.support.waiting import wait_until

_LONG_MS: Final = 60_000


def event(seq: int, job_id: str = "job") -> JobEvent:
    return JobEvent(
        job_id=job_id,
        event_type=JobStatus.processing,
        timestamp=0,
        progress=0,
        task_type="resize",
        seq=seq,
        created_at=1,
    )


def publish(broadcaster: MemoryBroadcaster, *numbers: int) -> None:
    for seq in numbers:
        broadcaster.publish(event(seq))


def held_event_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "held events"}


def test_a_broadcaster_calls_it_in_place_of_the_callback() -> None:
    broadcaster = MemoryBroadcaster()
    got: list[JobEvent] = []
    with InOrder(got.append, wait_ms=_LONG_MS) as ordered, broadcaster.subscribe(ordered):
        publish(broadcaster, 2, 1, 3, 3, 5)
        assert got == [event(1), event(2), event(3)]


def test_what_is_held_comes_without_another_event_in_time_and_from_a_thread_that_ends() -> None:
    broadcaster = MemoryBroadcaster()
    got: list[tuple[JobEvent, bool]] = []
    mine = threading.current_thread()
    before = held_event_threads()
    ordered = InOrder(
        lambda each: got.append((each, threading.current_thread() is mine)), wait_ms=30
    )
    with ordered, broadcaster.subscribe(ordered):
        publish(broadcaster, 1, 3)
        assert got == [(event(1), True)]

        wait_until(lambda: len(got) == 2)
        assert got[1] == (event(3), False)
        wait_until(lambda: held_event_threads() <= before)

        publish(broadcaster, 5)  # and again
        wait_until(lambda: len(got) == 3)


def test_nothing_comes_after_it_was_closed_and_its_thread_ends() -> None:
    got: list[JobEvent] = []
    before = held_event_threads()
    several = [InOrder(got.append, wait_ms=_LONG_MS) for _ in range(50)]
    for ordered in several:
        ordered(event(2))
    assert len(held_event_threads() - before) == 50

    for ordered in several:  # the thread of the first is waiting by now, that of the last is not
        ordered.close()
        ordered.close()
        ordered(event(1))

    wait_until(lambda: held_event_threads() <= before)
    assert got == []


def test_once_closed_it_keeps_no_event_that_it_gets() -> None:
    late = event(5)
    ordered = InOrder(print, wait_ms=_LONG_MS)
    ordered.close()
    before = sys.getrefcount(late)

    ordered(late)

    assert sys.getrefcount(late) == before


def test_with_no_time_to_wait_nothing_is_held_and_what_is_late_is_dropped() -> None:
    got: list[JobEvent] = []
    with InOrder(got.append, wait_ms=0) as ordered:
        ordered(event(2))
        assert got == [event(2)]
        ordered(event(1))
        ordered(event(4))

    assert got == [event(2), event(4)]


def test_what_comes_as_the_thread_of_held_events_ends_is_not_forgotten() -> None:
    """It comes in the moment in which that thread has seen that nothing is held."""
    got: list[JobEvent] = []
    late = [event(4)]

    def come_late(frame: FrameType, what: str, value: object) -> None:
        is_decided = frame.f_code.co_name == "_release_due" and what == "return"
        if is_decided and value is None and late:
            ordered(late.pop())

    threading.setprofile(come_late)
    try:
        with InOrder(got.append, wait_ms=1) as ordered:
            ordered(event(2))
            wait_until(lambda: got == [event(2), event(4)])
    finally:
        threading.setprofile(None)
    assert late == []


def test_what_the_callback_raises_is_logged_and_the_next_event_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    got: list[JobEvent] = []

    def fail_first(each: JobEvent) -> None:
        got.append(each)
        if each == event(1):
            raise ValueError("the first is too much")

    with InOrder(fail_first, wait_ms=_LONG_MS) as ordered:
        ordered(event(2))
        ordered(event(1))

    assert got == [event(1), event(2)]
    assert "the first is too much" in caplog.text


def ignored(_arguments: threading.ExceptHookArgs) -> None:
    """Take what a thread raised, which the suite would count as a failure."""


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_callback_that_ends_the_thread_of_held_events_gets_another(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[JobEvent] = []
    before = held_event_threads()

    def end_thread(each: JobEvent) -> None:
        got.append(each)
        if each == event(2):
            raise error

    monkeypatch.setattr(threading, "excepthook", ignored)
    with InOrder(end_thread, wait_ms=10) as ordered:
        ordered(event(2))
        wait_until(lambda: got == [event(2)] and held_event_threads() <= before)
        ordered(event(4))
        wait_until(lambda: got == [event(2), event(4)])


def test_a_callback_may_publish_and_that_comes_after_what_is_ready() -> None:
    got: list[JobEvent] = []

    def follow(each: JobEvent) -> None:
        if each == event(1):
            ordered(event(3))
        got.append(each)

    with InOrder(follow, wait_ms=_LONG_MS) as ordered:
        ordered(event(2))
        ordered(event(1))

    assert got == [event(1), event(2), event(3)]


def test_without_a_thread_what_is_due_comes_with_the_next_event() -> None:
    got: list[JobEvent] = []
    other = event(0, "another job")
    with InOrder(got.append, wait_ms=50) as ordered:
        with refused_threads():
            ordered(event(2))
            assert got == []
            wait_until(lambda: ordered(other) or event(2) in got)

        ordered(event(4))  # and now there is a thread again
        wait_until(lambda: got[-1] == event(4))
    assert [each for each in got if each != other] == [event(2), event(4)]


def test_without_a_thread_it_can_be_closed() -> None:
    with refused_threads(), InOrder(print, wait_ms=_LONG_MS) as ordered:
        ordered(event(2))


def give(ordered: InOrder, numbers: range) -> None:
    for seq in numbers:
        ordered(event(seq))


def test_events_of_many_threads_come_out_whole_one_at_a_time() -> None:
    number = 400
    got: list[JobEvent] = []
    calls: list[int] = []
    overlaps: list[int] = []

    def note(each: JobEvent) -> None:
        calls.append(1)
        overlaps.append(len(calls))
        got.append(each)
        calls.pop()

    with InOrder(note, wait_ms=_LONG_MS) as ordered:
        threads = [
            threading.Thread(target=give, args=(ordered, range(first, number + 1, 4)))
            for first in (4, 3, 2, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert got == [event(seq) for seq in range(1, number + 1)]
    assert set(overlaps) == {1}


def test_it_is_garbage_once_nobody_holds_it_and_it_holds_nothing() -> None:
    ordered = InOrder(print, wait_ms=1)
    ordered(event(0))
    gone = weakref.ref(ordered)

    del ordered

    gc.collect()
    assert gone() is None


def held_in_parent_and_fork() -> tuple[int, list[JobEvent]]:
    """Hold an event, and fork; the fork hears of another job, each in its own copy."""
    got: list[JobEvent] = []
    ordered = InOrder(got.append, wait_ms=100)
    ordered(event(2))
    pid = os.fork()
    if pid == 0:
        ordered(event(7, "the fork's"))
        wait_until(lambda: got)
        os._exit(got != [event(7, "the fork's")])
    wait_until(lambda: got)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), got


def test_a_fork_holds_its_own_events_and_leaves_those_of_its_parent() -> None:
    with child(held_in_parent_and_fork) as parent:
        assert parent.result() == (0, [event(2)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(InOrder, print, wait_ms=-1), "wait_ms is -1: allowed is 0 or more"),
        (partial(InOrder, print, max_jobs=0), "max_jobs is 0: allowed is 1 or more"),
    ],
)
def test_a_bad_argument_is_named_with_its_value_and_what_is_allowed(
    make: partial[InOrder], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make()
