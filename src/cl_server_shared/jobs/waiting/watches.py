"""Watches of the database: what somebody waits for, and what would be news to them."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, Literal, NamedTuple, final, override

from cl_server_shared.database import Answers, ChangeSubscription, Row
from cl_server_shared.jobs import rows
from cl_server_shared.jobs.arguments import checked_task_types
from cl_server_shared.jobs.claiming import Claiming
from cl_server_shared.jobs.job_database import JobDatabase
from cl_server_shared.jobs.job_state import FINAL
from cl_server_shared.jobs.rows import JobRow, JobVersion
from cl_server_shared.jobs.sql.claims import WORK
from cl_server_shared.jobs.sql.rows import VERSIONS
from cl_server_shared.jobs.waiting.polls import Polls
from cl_server_shared.models import JobRecord, JobStatus
from cl_server_shared.process.clock import Clock
from cl_server_shared.protocols.waiting import JobSnapshot, Watch, WatchSource

_LIVE: Final = frozenset(JobStatus) - FINAL
_SWEEP_EVERY_MS: Final = 250


@final
class JobWatches(WatchSource):
    """Makes the watches of one repository.

    Args:
        jobs: where the jobs are.
        claiming: makes claimable what is due.
        clock: tells what is due.
    """

    def __init__(self, jobs: JobDatabase, claiming: Claiming, clock: Clock) -> None:
        self._jobs: Final = jobs
        self._claiming: Final = claiming
        self._clock: Final = clock

    @override
    def watch_job(
        self, job_id: str, wake: Callable[[], object], *, only_final: bool
    ) -> Watch[JobSnapshot]:
        return JobWatch(self._jobs, job_id, wake, only_final=only_final)

    @override
    def watch_work(
        self, task_types: Sequence[str], wake: Callable[[], object]
    ) -> Watch[Literal[True]]:
        wanted = checked_task_types(task_types)
        return WorkWatch(self._jobs, wanted, wake, self._claiming, self._clock)


@final
class JobWatch(Watch[JobSnapshot]):
    """Watches one job: the row that was there at the first poll, and no later one of its id.

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
        self._polls: Final = Polls(jobs, ChangeSubscription(VERSIONS, [job_id], wake))
        self._version: JobVersion | None = None
        self._shown: JobRecord | None = None

    @override
    def poll(self) -> JobSnapshot | None:
        found = self._polls.poll(lambda: (self._jobs.read_only.read(self._job_id),))
        return None if found is None else self._news_in(*found)

    @override
    def pause_seconds(self) -> float:
        return self._polls.pause_seconds

    @override
    def close(self) -> None:
        self._polls.close()

    def _news_in(self, row: JobRow | None) -> JobSnapshot | None:
        if row is None or _is_another(rows.version_of(row), self._version):
            return JobSnapshot(None, is_last=True)
        version = self._version = rows.version_of(row)
        record = rows.readable(row)
        if record.status in FINAL:
            return JobSnapshot(record, is_last=True)
        if not self._only_final and record != self._shown:
            self._shown = record
            return JobSnapshot(record, is_last=False)
        # No method of its own: a watch that is dropped shall be gone at once.
        self._polls.wait_for(partial(_is_news, known=version, only_final=self._only_final))
        return None


def _is_another(version: JobVersion, known: JobVersion | None) -> bool:
    """Tell whether the job that was known is gone, and this one took its id."""
    return known is not None and (version.id, version.created_at) != (known.id, known.created_at)


def _is_news(answers: Answers, *, known: JobVersion, only_final: bool) -> bool:
    answer = answers.get(known.job_id)
    if answer is None:
        return True
    version = JobVersion._make(answer)  # the statement selects its fields
    if _is_another(version, known):
        return True
    return version.status not in _LIVE if only_final else version != known


class _Work(NamedTuple):
    """Whether jobs of a type wait, and when the next delay and the next lease of any type end."""

    task_type: object
    is_waiting: object
    delayed_until: object
    leased_until: object


@final
class WorkWatch(Watch[Literal[True]]):
    """Watches for jobs that can be claimed, and makes claimable what is due.

    Args:
        jobs: where the jobs are.
        task_types: of which types.
        wake: wakes the owner.
        claiming: makes claimable what is due.
        clock: tells what is due.
    """

    def __init__(
        self,
        jobs: JobDatabase,
        task_types: Sequence[str],
        wake: Callable[[], object],
        claiming: Claiming,
        clock: Clock,
    ) -> None:
        self._jobs: Final = jobs
        self._task_types: Final = task_types
        self._polls: Final = Polls(jobs, ChangeSubscription(WORK, task_types, wake))
        self._claiming: Final = claiming
        self._clock: Final = clock
        self._due_at: float = math.inf
        self._next_sweep_at: float = 0

    @override
    def poll(self) -> Literal[True] | None:
        self._due_at = math.inf
        found = self._polls.poll(self._find)
        if found is None:
            return None
        if _can_be_claimed(found):
            return True
        due_at = self._due_at = _due_at(found)
        self._polls.wait_for(partial(_is_work_news, due_at=due_at))
        return None

    @override
    def pause_seconds(self) -> float:
        """Return when the next job is due: that time passes wakes nobody."""
        poll_at = max(self._due_at, self._next_sweep_at)
        due_in_seconds = max(0, poll_at - self._clock.now_ms()) / 1000
        return min(due_in_seconds, self._polls.pause_seconds)

    @override
    def close(self) -> None:
        self._polls.close()

    def _find(self) -> Sequence[Row]:
        found = self._jobs.read_only.work(self._task_types)
        now_ms = self._clock.now_ms()
        if _can_be_claimed(found) or max(_due_at(found), self._next_sweep_at) > now_ms:
            return found
        self._next_sweep_at = now_ms + _SWEEP_EVERY_MS
        self._claiming.sweep(now_ms)
        return self._jobs.read_only.work(self._task_types)


def _is_work_news(answers: Answers, *, due_at: float) -> bool:
    found = answers.values()
    return _can_be_claimed(found) or _due_at(found) < due_at


def _can_be_claimed(answers: Iterable[Row]) -> bool:
    return any(_Work._make(answer).is_waiting for answer in answers)


def _due_at(answers: Iterable[Row]) -> float:
    """Return when the next delay or lease ends, in ms since the epoch; never, where none does."""
    work = [_Work._make(answer) for answer in answers]
    times = [at for each in work for at in (each.delayed_until, each.leased_until)]
    return min((at for at in times if isinstance(at, int)), default=math.inf)
