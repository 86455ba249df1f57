"""Looking out: what of the database somebody waits for, and what would be news to them."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, final, override

from cl_server_shared.database import Answers, ChangeSubscription, Row
from cl_server_shared.errors import DatabaseError
from cl_server_shared.jobs import rows
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import FINAL
from cl_server_shared.jobs.rows import JobRow, JobVersion
from cl_server_shared.jobs.sql import claims as sql_claims
from cl_server_shared.jobs.sql import rows as sql_rows
from cl_server_shared.models import JobRecord, JobStatus
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.waiting import JobSnapshot, Watch

_LOG: Final = logging.getLogger(__name__)
_LIVE: Final = frozenset(JobStatus) - FINAL
_SWEEP_EVERY_MS: Final = 250
_POLL_SECONDS: Final = 1.0


@final
class _Polling:
    """Looks by which one owner waits: the first alone, from the second on woken by changes."""

    def __init__(self, jobs: JobDatabase, waiter: ChangeSubscription) -> None:
        self._jobs: Final = jobs
        self._waiter: Final = waiter
        self.pause_seconds: float = 0  # until the second look, which begins the watch
        self._has_looked = False

    def look[T](self, read: Callable[[], T]) -> T | None:
        """Return what *read* finds; None where the database failed, except at the first look.

        Raises:
            DatabaseError: the database failed at the first look, or was closed meanwhile.
        """
        if not self._has_looked:
            found = read()
            self._has_looked = True
            return found
        self._waiter.begin_poll()
        is_watched = self._jobs.database.hub.add(self._waiter)
        self.pause_seconds = math.inf if is_watched else _POLL_SECONDS
        try:
            return read()
        except DatabaseError as error:
            _LOG.warning("a look failed, waiting for the next: %s", error)
            return None

    def wait_for(self, is_news: Callable[[Answers], bool]) -> None:
        """Be woken only by answers that are news."""
        self._waiter.wait_for(is_news)

    def close(self) -> None:
        """Wake the owner no more."""
        self._jobs.database.hub.discard(self._waiter)


@final
class JobWatch(Watch[JobSnapshot]):
    """Looks out for one job: the row that was there at the first look, and no later one of its id.

    Args:
        jobs: where the jobs are.
        job_id: which job.
        wake: wakes the owner.
        only_final: whether only the end is of interest.
    """

    def __init__(
        self, jobs: JobDatabase, job_id: str, wake: Callable[[], object], *, only_final: bool
    ) -> None:
        self._jobs: Final = jobs
        self._job_id: Final = job_id
        self._only_final: Final = only_final
        self._looking: Final = _Polling(jobs, ChangeSubscription(sql_rows.VERSIONS, [job_id], wake))
        self._mark: JobVersion | None = None
        self._shown: JobRecord | None = None

    @override
    def look(self) -> JobSnapshot | None:
        found = self._looking.look(lambda: (self._jobs.reading.read(self._job_id),))
        return None if found is None else self._see(*found)

    @override
    def pause_seconds(self) -> float:
        return self._looking.pause_seconds

    @override
    def close(self) -> None:
        self._looking.close()

    def _see(self, row: JobRow | None) -> JobSnapshot | None:
        if row is None or _is_another(rows.version_of(row), self._mark):
            return JobSnapshot(None, is_last=True)
        mark = self._mark = rows.version_of(row)
        record = rows.readable(row)
        if record.status in FINAL:
            return JobSnapshot(record, is_last=True)
        if not self._only_final and record != self._shown:
            self._shown = record
            return JobSnapshot(record, is_last=False)
        self._looking.wait_for(
            lambda answers: _is_news(_mark_in(answers, mark.job_id), mark, self._only_final)
        )
        return None


def _is_another(mark: JobVersion, seen: JobVersion | None) -> bool:
    """Tell whether the job that was seen is gone, and this one took its id."""
    return seen is not None and (mark.id, mark.created_at) != (seen.id, seen.created_at)


def _mark_in(answers: Answers, job_id: str) -> JobVersion | None:
    answer = answers.get(job_id)
    return None if answer is None else JobVersion._make(answer)  # the statement selects its fields


def _is_news(mark: JobVersion | None, seen: JobVersion, only_final: bool) -> bool:  # noqa: FBT001  # a lambda's
    if mark is None or _is_another(mark, seen):
        return True
    return mark.status not in _LIVE if only_final else mark != seen


@final
class WorkWatch(Watch[Literal[True]]):
    """Looks out for jobs that can be claimed, and makes claimable what is due.

    Args:
        jobs: where the jobs are.
        task_types: of which types.
        wake: wakes the owner.
        sweep: makes claimable what is due.
        clock: tells what is due.
    """

    def __init__(
        self,
        jobs: JobDatabase,
        task_types: Sequence[str],
        wake: Callable[[], object],
        *,
        sweep: Callable[[], object],
        clock: Clock,
    ) -> None:
        self._jobs: Final = jobs
        self._task_types: Final = task_types
        self._looking: Final = _Polling(jobs, ChangeSubscription(sql_claims.WORK, task_types, wake))
        self._sweep: Final = sweep
        self._clock: Final = clock
        self._due_at: float = math.inf
        self._next_sweep_at: float = 0

    @override
    def look(self) -> Literal[True] | None:
        self._due_at = math.inf
        found = self._looking.look(self._find)
        if found is None:
            return None
        if _can_be_claimed(found):
            return True
        due_at = self._due_at = _due_at(found)
        self._looking.wait_for(
            lambda answers: _can_be_claimed(answers.values()) or _due_at(answers.values()) < due_at
        )
        return None

    @override
    def pause_seconds(self) -> float:
        """Return when the next job is due: that time passes wakes nobody."""
        look_at = max(self._due_at, self._next_sweep_at)
        due_in_seconds = max(0, look_at - self._clock.now_ms()) / 1000
        return min(due_in_seconds, self._looking.pause_seconds)

    @override
    def close(self) -> None:
        self._looking.close()

    def _find(self) -> Sequence[Row]:
        found = self._jobs.reading.work(self._task_types)
        now_ms = self._clock.now_ms()
        if _can_be_claimed(found) or max(_due_at(found), self._next_sweep_at) > now_ms:
            return found
        self._next_sweep_at = now_ms + _SWEEP_EVERY_MS
        self._sweep()
        return self._jobs.reading.work(self._task_types)


def _can_be_claimed(answers: Iterable[Row]) -> bool:
    return any(waits for _, waits, _, _ in answers)


def _due_at(answers: Iterable[Row]) -> float:
    """Return when the next delay or lease ends, in ms since the epoch; never, where none does."""
    times = [at for _, _, *due in answers for at in due if isinstance(at, int)]
    return min(times, default=math.inf)
