"""Progress that comes faster than it is worth writing."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, final

from cl_server_shared.errors import ContainerClosedError
from cl_server_shared.process.clock import Clock
from cl_server_shared.process.fork import no_fork, renew_after_fork

_LOG: Final = logging.getLogger(__name__)
_SECOND_MS: Final = 1000


@dataclass(slots=True)
class _Job:
    written_at: deque[int]
    waiting: int | None = None
    timer: threading.Timer | None = field(default=None, repr=False)


@final
class ProgressThrottle:
    """Lets at most so many progress reports of a job through in any second, the first ones at once.

    What is held back is merged: the latest is written when there is room again, by a timer, so that
    the last report is never lost.

    Args:
        max_per_second: how many reports of one job may be written in a second, 1 or more.
        clock: tells the time.
        write: writes a job's progress that was held back (job id, 0-100).
    """

    def __init__(
        self, max_per_second: int, clock: Clock, write: Callable[[str, int], object]
    ) -> None:
        self._max_per_second: Final = max_per_second
        self._clock: Final = clock
        self._write: Final = write
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin without reports: those of a parent are the parent's."""
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}

    def admits(self, job_id: str, progress: int) -> bool:
        """Tell whether to write *progress* now; otherwise it is kept and written later."""
        now_ms = self._clock.now_ms()
        with self._lock:
            job = self._jobs.setdefault(job_id, _Job(deque(maxlen=self._max_per_second)))
            room_in_ms = self._room_in_ms(job, now_ms)
            if room_in_ms <= 0 and job.waiting is None:
                job.written_at.append(now_ms)
                return True
            self._keep(job_id, job, progress, room_in_ms)
            return False

    def take(self, job_id: str) -> int:
        """Return the progress that was held back, 0 if none was, and forget the job."""
        if job_id not in self._jobs:
            return 0  # as nearly always
        with self._lock:
            job = self._jobs.pop(job_id, None)
        if job is None:
            return 0
        if job.timer is not None:
            job.timer.cancel()
        return job.waiting or 0

    def _room_in_ms(self, job: _Job, now_ms: int) -> int:
        if len(job.written_at) < self._max_per_second:
            return 0
        return job.written_at[0] + _SECOND_MS - now_ms

    def _write_late(self, job_id: str) -> None:
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return
            job.timer = None
            waiting, job.waiting = job.waiting, None
            job.written_at.append(self._clock.now_ms())
        if waiting is not None:
            self._write_or_keep(job_id, waiting)

    def _write_or_keep(self, job_id: str, progress: int) -> None:
        try:
            with no_fork():
                self._write(job_id, progress)
        except ContainerClosedError as error:
            _LOG.warning("job %s: progress %d was not stored: %s", job_id, progress, error)
        except Exception:  # noqa: BLE001  # whatever failed, the last report must not be lost
            _LOG.exception("job %s: progress %d was not stored; trying again", job_id, progress)
            with self._lock:
                job = self._jobs.get(job_id)
                if job is not None and job.waiting is None:
                    self._keep(job_id, job, progress, _SECOND_MS)

    def _keep(self, job_id: str, job: _Job, progress: int, delay_ms: int) -> None:
        job.waiting = max(progress, job.waiting or 0)
        if job.timer is None:
            job.timer = threading.Timer(max(delay_ms, 0) / _SECOND_MS, self._write_late, [job_id])
            job.timer.daemon = True
            job.timer.start()
