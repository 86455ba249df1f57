"""Waiting in a thread: the database is the truth, a change of it the wake-up."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final, final

from cl_server_shared.jobs import arguments
from cl_server_shared.models import JobRecord
from cl_server_shared.protocols.jobs import JobManagement
from cl_server_shared.protocols.waiting import Watch

_LONGEST_PAUSE_SECONDS: Final = 3600.0  # threads cannot wait for ever, nor any number of seconds


@final
class Deadline:
    """How long a wait goes on that begins now.

    Args:
        timeout_seconds: 0 or more; None is for ever.

    Raises:
        InvalidJobError: it is something else.
    """

    def __init__(self, timeout_seconds: float | None) -> None:
        self._timeout_seconds: Final = arguments.checked_timeout(timeout_seconds)
        self._ends_at: Final = time.monotonic() + self._timeout_seconds

    def pause_seconds(self, longest: float) -> float:
        """Return how long to pause, at most *longest* seconds; 0 or less when it is at its end."""
        return min(self._ends_at - time.monotonic(), _LONGEST_PAUSE_SECONDS, longest)

    @property
    def is_over(self) -> bool:
        """Tell whether the time is up."""
        return time.monotonic() >= self._ends_at

    def error_for(self, job_id: str) -> TimeoutError:
        """Return what to raise when the time is up."""
        return TimeoutError(
            f"job {job_id!r} is not final after {self._timeout_seconds:g} s: wait on, or see with "
            "get_job how far it is"
        )


def wait_for_job(
    jobs: JobManagement, job_id: str, timeout_seconds: float | None
) -> JobRecord | None:
    """Wait until a job is final; see `JobManagement.wait_for_job`."""
    patience, woken = Deadline(timeout_seconds), threading.Event()
    with closing(jobs.look_out_for_job(job_id, woken.set, only_final=True)) as lookout:
        sight = _next_sight(lookout, woken, patience)
    if sight is None:
        raise patience.error_for(job_id)
    return sight.record


def watch_job(
    jobs: JobManagement, job_id: str, timeout_seconds: float | None
) -> Iterator[JobRecord]:
    """Yield a job at each change; see `JobManagement.watch_job`."""
    return _watch_job(jobs, job_id, Deadline(timeout_seconds))


def _watch_job(jobs: JobManagement, job_id: str, patience: Deadline) -> Iterator[JobRecord]:
    woken = threading.Event()
    with closing(jobs.look_out_for_job(job_id, woken.set, only_final=False)) as lookout:
        while (sight := _next_sight(lookout, woken, patience)) is not None:
            if sight.record is not None:
                yield sight.record
            if sight.is_last:
                return
    raise patience.error_for(job_id)


def wait_for_work(
    jobs: JobManagement, task_types: Sequence[str], timeout_seconds: float | None
) -> bool:
    """Wait until a job of these types can be claimed; see `JobManagement.wait_for_work`."""
    patience, woken = Deadline(timeout_seconds), threading.Event()
    with closing(jobs.look_out_for_work(task_types, woken.set)) as lookout:
        return _next_sight(lookout, woken, patience) is not None


def _next_sight[T](lookout: Watch[T], woken: threading.Event, patience: Deadline) -> T | None:
    """Look until there is something to tell; None: not in time."""
    while (found := lookout.look()) is None and not patience.is_over:
        woken.wait(max(0, patience.pause_seconds(lookout.pause_seconds())))
        woken.clear()
    return found
