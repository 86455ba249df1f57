"""Progress that comes faster than it is worth writing: merged, and its last value written."""

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest

from cl_server_shared.jobs.progress_throttle import ProgressThrottle
from cl_server_shared.process.clock import SystemClock
from tests.support.repositories import ManualClock
from tests.support.waiting import wait_until


class Written:
    """Takes down what is written late, and may fail."""

    def __init__(self) -> None:
        self.progress: list[int] = []
        self.failures_left: int = 0

    def __call__(self, _job_id: str, progress: int) -> None:
        if self.failures_left:
            self.failures_left -= 1
            raise OSError("no database")
        self.progress.append(progress)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def throttle(clock: ManualClock, written: Written) -> Iterator[ProgressThrottle]:
    throttle = ProgressThrottle(2, clock, written)
    yield throttle
    throttle.take("job")


def test_the_first_reports_of_a_second_pass_and_each_job_counts_alone(
    throttle: ProgressThrottle, clock: ManualClock
) -> None:
    assert [throttle.admits("job", progress, clock.now_ms()) for progress in (1, 2, 3)] == [
        True,
        True,
        False,
    ]
    assert throttle.admits("other", 1, clock.now_ms())
    throttle.take("job")
    clock.advance(1)
    assert throttle.admits("job", 4, clock.now_ms())


def test_what_is_held_back_is_merged_and_its_furthest_value_is_written_once(
    throttle: ProgressThrottle, clock: ManualClock, written: Written
) -> None:
    for progress in (1, 2):
        throttle.admits("job", progress, clock.now_ms())
    clock.advance(0.99)  # leaves the timer 10 ms
    for progress in (50, 80, 60):
        assert not throttle.admits("job", progress, clock.now_ms())

    wait_until(lambda: written.progress)
    assert written.progress == [80]


def test_what_is_taken_is_not_written_late(
    throttle: ProgressThrottle, clock: ManualClock, written: Written
) -> None:
    for progress in (1, 2):
        throttle.admits("job", progress, clock.now_ms())
    clock.advance(0.9)
    before = set(threading.enumerate())
    throttle.admits("job", 80, clock.now_ms())
    timers = set(threading.enumerate()) - before

    assert throttle.take("job") == 80
    assert throttle.take("job") == 0
    for timer in timers:
        timer.join(5)
    assert written.progress == []


def test_a_write_that_fails_is_tried_again(
    throttle: ProgressThrottle, clock: ManualClock, written: Written
) -> None:
    written.failures_left = 1
    for progress in (1, 2):
        throttle.admits("job", progress, clock.now_ms())
    clock.advance(0.99)
    throttle.admits("job", 80, clock.now_ms())

    wait_until(lambda: written.progress)
    assert written.progress == [80]


def test_no_second_sees_more_writes_than_allowed_and_the_last_is_not_lost() -> None:
    """In real time, since the contract is one: reports without a pause for more than a second."""
    clock = SystemClock()
    writes: list[tuple[int, int]] = []
    throttle = ProgressThrottle(5, clock, lambda _, late: writes.append((clock.now_ms(), late)))
    ends_at, progress = clock.now_ms() + 1500, 0
    while clock.now_ms() < ends_at:
        progress += 1
        if throttle.admits("job", progress, clock.now_ms()):
            writes.append((clock.now_ms(), progress))

    wait_until(lambda: writes[-1][1] == progress)
    assert all(first[1] < second[1] for first, second in pairwise(writes))
    for (first_at, _), (sixth_at, _) in zip(writes, writes[5:], strict=False):
        assert sixth_at - first_at >= 990  # a timer may be early by its clock's grain
