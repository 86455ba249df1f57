"""This library, as services use it: built by its container, records in and out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import batched
from typing import Final, final, override

from dependency_injector import providers

from cl_server_shared import Container
from cl_server_shared.models import JobRecord, JobRecordUpdate, JobStatus
from tests.benchmarks.queues import OUTPUT, PARAMS, TASK_TYPE, Names, Phases, Queue, timed
from tests.support.repositories import settings

BATCH: Final = 100


def container_on(url: str, **changed: object) -> Container:
    """Build a container on a database, without a broker unless *changed* says otherwise."""
    return Container(settings=providers.Object(settings(STORE_DATABASE_URL=url, **changed)))


def record(job_id: str) -> JobRecord:
    """Make the job that all add."""
    return JobRecord(job_id=job_id, task_type=TASK_TYPE, params=PARAMS)


def result() -> JobRecordUpdate:
    """Make the result that all report."""
    return JobRecordUpdate(status=JobStatus.completed, progress=100, output=OUTPUT)


@final
class OneByOne(Queue):
    """Each job a call of its own."""

    def __init__(self, url: str, **changed: object) -> None:
        self._container: Final = container_on(url, **changed)
        self._jobs: Final = self._container.job_repository()
        self._names: Final = Names()
        self._claimed: Final[list[str]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self.add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._container.closing().close()

    def add(self, number: int) -> None:
        """Add jobs."""
        for _ in range(number):
            assert self._jobs.add_job(record(self._names.next()), created_by="ada")

    def claim(self) -> str | None:
        """Claim one job; return its id."""
        job = self._jobs.fetch_next_job([TASK_TYPE])
        return None if job is None else job.job_id

    def complete(self, job_id: str) -> None:
        """Complete a claimed job."""
        assert self._jobs.update_job(job_id, result())

    def _claim(self, number: int) -> None:
        for _ in range(number):
            job_id = self.claim()
            assert job_id is not None
            self._claimed.append(job_id)

    def _complete(self, number: int) -> None:
        for _ in range(number):
            self.complete(self._claimed.pop())


@final
class InBatches(Queue):
    """A hundred jobs a call."""

    def __init__(self, url: str, **changed: object) -> None:
        self._container: Final = container_on(url, **changed)
        self._jobs: Final = self._container.job_repository()
        self._names: Final = Names()
        self._claimed: Final[list[str]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self._add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._container.closing().close()

    def _add(self, number: int) -> None:
        for some in batched(range(number), BATCH):
            records = [record(self._names.next()) for _ in some]
            assert all(self._jobs.add_jobs(records, created_by="ada"))

    def _claim(self, number: int) -> None:
        while len(self._claimed) < number:
            jobs = self._jobs.fetch_next_jobs([TASK_TYPE], min(BATCH, number - len(self._claimed)))
            assert jobs
            self._claimed.extend(job.job_id for job in jobs)

    def _complete(self, number: int) -> None:
        done = [self._claimed.pop() for _ in range(number)]
        for some in batched(done, BATCH):
            assert all(self._jobs.finish_jobs({job_id: result() for job_id in some}).values())


@final
class FromThreads(Queue):
    """Each job a call of its own, from several threads that share one repository."""

    def __init__(self, url: str, threads: int, **changed: object) -> None:
        self._queue: Final = OneByOne(url, **changed)
        self._threads: Final = threads
        self._pool: Final = ThreadPoolExecutor(threads)
        self._claimed: Final[list[str]] = []

    @override
    def cycle(self, number: int) -> Phases:
        return timed(number, add=self._add, claim=self._claim, complete=self._complete)

    @override
    def close(self) -> None:
        self._pool.shutdown()
        self._queue.close()

    def _add(self, number: int) -> None:
        self._together(number, partial(self._queue.add, 1))

    def _claim(self, number: int) -> None:
        self._together(number, self._claim_one)

    def _complete(self, number: int) -> None:
        self._together(number, self._complete_one)

    def _claim_one(self) -> None:
        job_id = self._queue.claim()
        assert job_id is not None
        self._claimed.append(job_id)

    def _complete_one(self) -> None:
        self._queue.complete(self._claimed.pop())

    def _together(self, number: int, call: Callable[[], object]) -> None:
        shares = [len(range(each, number, self._threads)) for each in range(self._threads)]
        for done in [self._pool.submit(_repeat, call, share) for share in shares]:
            done.result()


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()
