"""Waiting in a thread: the database is the truth, a change of it the wake-up."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final, final

from cl_server_shared.jobs.arguments import checked_timeout
from cl_server_shared.models import JobRecord
from cl_server_shared.protocols.waiting import Watch, WatchSource

_LONGEST_PAUSE_SECONDS: Final = 3600.0  # threads cannot wait for ever, nor any number of seconds


@final
class Deadline:
    """The end of a wait that begins now.

    Args:
        timeout_seconds: 0 or more; None is never.

    Raises:
        InvalidJobError: it is something else.
    """

    def __init__(self, timeout_seconds: float | None) -> None:
        self._timeout_seconds: Final = checked_timeout(timeout_seconds)
        self._ends_at: Final = time.monotonic() + self._timeout_seconds

    def pause_seconds(self, longest: float) -> float:
        """Return how long to pause, at most *longest* seconds; 0 or less when it has passed."""
        return min(self._ends_at - time.monotonic(), _LONGEST_PAUSE_SECONDS, longest)

    @property
    def has_passed(self) -> bool:
        """Tell whether the time is up."""
        return time.monotonic() >= self._ends_at

    def error_for(self, job_id: str) -> TimeoutError:
        """Return what to raise when the time is up."""
        return TimeoutError(
            f"job {job_id!r} is not final after {self._timeout_seconds:g} s: wait on, or see with "
            "get_job how far it is"
        )


def wait_for_job(
    watches: WatchSource, job_id: str, timeout_seconds: float | None
) -> JobRecord | None:
    """Wait until a job is final; see `JobManagement.wait_for_job`."""
    deadline, woken = Deadline(timeout_seconds), threading.Event()
    with closing(watches.watch_job(job_id, woken.set, only_final=True)) as watch:
        snapshot = _next_news(watch, woken, deadline)
    if snapshot is None:
        raise deadline.error_for(job_id)
    return snapshot.record


def watch_job(
    watches: WatchSource, job_id: str, timeout_seconds: float | None
) -> Iterator[JobRecord]:
    """Yield a job at each change; see `JobManagement.watch_job`."""
    return _watch_job(watches, job_id, Deadline(timeout_seconds))


def _watch_job(watches: WatchSource, job_id: str, deadline: Deadline) -> Iterator[JobRecord]:
    woken = threading.Event()
    with closing(watches.watch_job(job_id, woken.set, only_final=False)) as watch:
        while (snapshot := _next_news(watch, woken, deadline)) is not None:
            if snapshot.record is not None:
                yield snapshot.record
            if snapshot.is_last:
                return
    raise deadline.error_for(job_id)


def wait_for_work(
    watches: WatchSource, task_types: Sequence[str], timeout_seconds: float | None
) -> bool:
    """Wait until a job of these types can be claimed; see `JobManagement.wait_for_work`."""
    deadline, woken = Deadline(timeout_seconds), threading.Event()
    with closing(watches.watch_work(task_types, woken.set)) as watch:
        # Of no type at all there never will be one.
        return bool(task_types) and _next_news(watch, woken, deadline) is not None


def _next_news[T](watch: Watch[T], woken: threading.Event, deadline: Deadline) -> T | None:
    """Poll until there is news; None: not in time."""
    while (found := watch.poll()) is None and not deadline.has_passed:
        woken.wait(max(0, deadline.pause_seconds(watch.pause_seconds())))
        woken.clear()
    return found
