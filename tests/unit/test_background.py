"""A thread for a part: it starts at need, ends when idle, and survives what is refused."""

import logging
import os
import threading
from queue import SimpleQueue

import pytest

from cl_server_shared.process.background import BackgroundThread
from tests.support.refused_threads import refuse_start
from tests.support.waiting import wait_until


def _ignore(_arguments: threading.ExceptHookArgs) -> None:
    """Take what a thread raised, which the suite would count as a failure."""


def test_a_step_is_called_once_for_each_wake_and_the_thread_then_ends() -> None:
    steps: SimpleQueue[str] = SimpleQueue()
    background = BackgroundThread("test", lambda: steps.put(threading.current_thread().name))

    assert background.wake()

    assert steps.get(timeout=5) == "test"
    wait_until(lambda: not background.is_running)
    assert steps.empty()


def test_a_wake_during_a_step_is_for_another_one() -> None:
    begun, go_on, steps = threading.Event(), threading.Event(), SimpleQueue[int]()

    def step() -> None:
        steps.put(1)
        begun.set()
        go_on.wait(5)

    background = BackgroundThread("test", step)
    background.wake()
    begun.wait(5)
    background.wake()
    go_on.set()

    assert [steps.get(timeout=5), steps.get(timeout=5)] == [1, 1]


def test_a_step_is_called_again_after_the_seconds_that_it_returns() -> None:
    pauses = iter([0.0, 0.01, None])
    steps: SimpleQueue[int] = SimpleQueue()

    def step() -> float | None:
        steps.put(1)
        return next(pauses)

    BackgroundThread("test", step).wake()

    assert [steps.get(timeout=5) for _ in range(3)] == [1, 1, 1]


def test_a_lingering_thread_is_woken_without_another_start() -> None:
    threads: SimpleQueue[threading.Thread] = SimpleQueue()
    background = BackgroundThread(
        "test", lambda: threads.put(threading.current_thread()), linger_seconds=60
    )
    background.wake()
    first = threads.get(timeout=5)
    background.wake()

    assert threads.get(timeout=5) is first
    assert background.stop(5)
    assert not first.is_alive()


def test_what_a_step_raises_is_logged_and_the_next_wake_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    served = threading.Event()
    errors = iter([ValueError("odd")])

    def step() -> None:
        error = next(errors, None)
        if error is not None:
            raise error
        served.set()

    background = BackgroundThread("test", step)
    background.wake()
    wait_until(lambda: "odd" in caplog.text)
    background.wake()

    assert served.wait(5)


def test_a_refused_start_is_logged_once_and_tried_again_at_the_next_wake(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = threading.Event()
    background = BackgroundThread("test", served.set)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_start)
        refused = [background.wake(), background.wake()]
        ended = background.stop(5)

    assert (refused, ended) == ([False, False], True)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert background.wake()
    assert served.wait(5)


def test_the_end_of_the_thread_is_told_in_the_thread() -> None:
    told: SimpleQueue[str] = SimpleQueue()
    background = BackgroundThread(
        "test", lambda: 60.0, at_end=lambda: told.put(threading.current_thread().name)
    )
    background.wake()

    assert background.stop(5)
    assert told.get(timeout=5) == "test"


def test_a_closed_one_starts_no_more() -> None:
    steps: SimpleQueue[int] = SimpleQueue()
    background = BackgroundThread("test", lambda: steps.put(1))
    background.wake()
    steps.get(timeout=5)

    assert background.close(5)
    assert not background.wake()
    assert steps.empty()


def test_its_end_can_be_waited_for_without_ending_it() -> None:
    go_on = threading.Event()
    background = BackgroundThread("test", lambda: go_on.wait(5) and None)
    assert background.join(0)

    background.wake()
    assert not background.join(0)
    assert background.is_running
    go_on.set()

    assert background.join(5)


def test_a_repeated_stop_waits_too() -> None:
    go_on, begun = threading.Event(), threading.Event()

    def step() -> None:
        begun.set()
        go_on.wait(5)

    background = BackgroundThread("test", step)
    background.wake()
    assert begun.wait(5)

    assert [background.stop(0), background.stop(0)] == [False, False]
    go_on.set()
    assert background.stop(5)


def test_a_step_that_ends_its_thread_is_followed_by_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended, steps = threading.Event(), SimpleQueue[threading.Thread]()

    def step() -> None:
        steps.put(threading.current_thread())
        if not ended.is_set():
            background.wake()  # while it ends
            ended.set()
            raise SystemExit

    monkeypatch.setattr(threading, "excepthook", _ignore)
    background = BackgroundThread("test", step)
    background.wake()

    first, second = steps.get(timeout=5), steps.get(timeout=5)
    assert first is not second
    wait_until(lambda: not background.is_running)
    background.wake()
    assert steps.get(timeout=5) is not second


def test_a_wake_that_interrupts_a_start_makes_no_other_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[threading.Thread] = []
    served = threading.Event()
    background = BackgroundThread("test", served.set)
    start = threading.Thread.start

    def start_interrupted(thread: threading.Thread) -> None:
        started.append(thread)
        assert background.wake()  # as a signal handler may
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_interrupted)
    assert background.wake()

    assert served.wait(5)
    assert len(started) == 1


def test_it_can_be_stopped_by_itself_and_before_it_began() -> None:
    stopped: SimpleQueue[bool] = SimpleQueue()
    background = BackgroundThread("test", lambda: stopped.put(background.stop(5)))
    assert background.stop()

    background.wake()

    assert stopped.get(timeout=5) is False
    wait_until(lambda: not background.is_running)


def test_a_forked_child_has_a_thread_of_its_own() -> None:
    read_end, write_end = os.pipe()
    background = BackgroundThread(
        "test", lambda: os.write(write_end, os.getpid().to_bytes(8)) and None, linger_seconds=60
    )
    background.wake()
    parent = int.from_bytes(os.read(read_end, 8))

    child = os.fork()
    if child == 0:
        background.wake()
        background.stop(5)
        os._exit(0)
    os.waitpid(child, 0)

    assert (parent, int.from_bytes(os.read(read_end, 8))) == (os.getpid(), child)
    assert background.stop(5)
    os.close(read_end)
    os.close(write_end)


def test_no_wake_is_lost_while_the_thread_is_about_to_end() -> None:
    count = 0
    seen: SimpleQueue[int] = SimpleQueue()

    def step() -> None:
        seen.put(count)

    background = BackgroundThread("test", step)
    for number in range(1, 2_000):
        count = number
        background.wake()
        while seen.get(timeout=5) != number:
            pass
