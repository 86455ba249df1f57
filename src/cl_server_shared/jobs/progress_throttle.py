"""Progress that comes faster than it is worth writing."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from cl_server_shared.errors import ContainerClosedError
from cl_server_shared.process.background import BackgroundThread
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.fork import no_fork, renew_after_fork
from cl_server_shared.process.log_limits import Outage

_LOG: Final = logging.getLogger(__name__)
_SECOND_MS: Final = 1000


@dataclass(slots=True)
class _Job:
    """When the latest reports were written (ms), and what waits until when (s, monotonic)."""

    written_at: deque[int]
    waiting: int | None = None
    due_at: float = 0.0


@final
class ProgressThrottle:
    """Lets at most so many progress reports of a job through in any second, the first ones at once.

    What is held back is merged: the latest is written when there is room again, by a thread, so
    that the last report is never lost. Where the system refuses the thread, nothing is held back.

    Args:
        max_per_second: how many reports of one job may be written in a second, 1 or more.
        clock: tells when a late report was written.
        write: writes a job's progress that was held back (job id, 0-100).
    """

    def __init__(
        self, max_per_second: int, clock: Clock, write: Callable[[str, int], object]
    ) -> None:
        self._max_per_second: Final = max_per_second
        self._clock: Final = clock
        self._write: Final = write
        self._thread: Final = BackgroundThread("late-progress", self._write_due)
        self._outage: Final = Outage(
            _LOG, "progress cannot be stored, trying again: %s", "progress is stored again"
        )
        self.jobs: Final[dict[str, _Job]] = {}
        """The jobs of which something was reported lately, by id; for its owner to read."""
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without reports: those of a parent are the parent's."""
        self._lock = threading.Lock()
        self.jobs.clear()

    def admits(self, job_id: str, progress: int, now_ms: int) -> bool:
        """Tell whether to write *progress* now; otherwise it is kept and written later."""
        with self._lock:
            job = self.jobs.setdefault(job_id, _Job(deque(maxlen=self._max_per_second)))
            room_in_ms = self._room_in_ms(job, now_ms)
            if room_in_ms <= 0 and job.waiting is None:
                job.written_at.append(now_ms)
                return True
            was_waiting = job.waiting is not None
            _keep(job, progress, room_in_ms)
            # Under the lock: else a later report would rely on a thread that was refused.
            if was_waiting or self._thread.wake():
                return False
            job.waiting = None
            job.written_at.append(now_ms)
            return True

    def take(self, job_id: str) -> int:
        """Return the progress that was held back, 0 if none was, and forget the job."""
        if job_id not in self.jobs:
            return 0  # as nearly always
        with self._lock:
            job = self.jobs.pop(job_id, None)
        return 0 if job is None else job.waiting or 0

    def _room_in_ms(self, job: _Job, now_ms: int) -> int:
        if len(job.written_at) < self._max_per_second:
            return 0
        return job.written_at[0] + _SECOND_MS - now_ms

    def _write_due(self) -> float | None:
        """Write what there is room for again; return the seconds until the next, None: nothing."""
        now = time.monotonic()
        for job_id, progress in self._due(now):
            self._write_or_keep(job_id, progress)
        with self._lock:
            waiting = [job.due_at for job in self.jobs.values() if job.waiting is not None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _due(self, now: float) -> list[tuple[str, int]]:
        with self._lock:
            due = [
                (job_id, job, job.waiting)
                for job_id, job in self.jobs.items()
                if job.waiting is not None and job.due_at <= now
            ]
            for _, job, _ in due:
                job.waiting = None
                job.written_at.append(self._clock.now_ms())
        return [(job_id, progress) for job_id, _, progress in due]

    def _write_or_keep(self, job_id: str, progress: int) -> None:
        try:
            with no_fork():
                self._write(job_id, progress)
        except ContainerClosedError as error:
            _LOG.warning("job %s: progress %d was not stored: %s", job_id, progress, error)
        except Exception as error:  # noqa: BLE001  # whatever failed, the last must not be lost
            self._outage.begin(error)
            with self._lock:
                job = self.jobs.get(job_id)
                if job is not None and job.waiting is None:
                    _keep(job, progress, _SECOND_MS)
        else:
            self._outage.end()


def _keep(job: _Job, progress: int, delay_ms: int) -> None:
    if job.waiting is None:
        job.due_at = time.monotonic() + max(delay_ms, 0) / _SECOND_MS
    job.waiting = max(progress, job.waiting or 0)
