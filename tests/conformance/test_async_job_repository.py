"""The repository for event loops does what the one for threads does, and never holds the loop."""

import threading
import time
from pathlib import Path

import anyio
import pytest

from cl_server_shared import JobCancelled, JobFilter
from cl_server_shared.database import make_engine
from cl_server_shared.jobs.async_repository import AsyncJobRepository
from cl_server_shared.models import JobStatus
from tests.support.repositories import at, completed, failed, job, repository_on

pytestmark = pytest.mark.anyio


@pytest.fixture
def jobs(tmp_path: Path) -> AsyncJobRepository:
    return AsyncJobRepository(repository_on(make_engine(f"sqlite:///{tmp_path}/jobs.db")))


async def test_a_job_lives_through_it(jobs: AsyncJobRepository) -> None:
    assert await jobs.add_job(job("a"), created_by="ada", priority=3)
    claimed = await jobs.fetch_next_job(["resize"])
    assert claimed is not None
    assert await jobs.update_job("a", at(40))
    assert await jobs.update_job("a", completed({"ok": True}))

    done = await jobs.get_job("a")
    assert done is not None
    assert (JobStatus.completed, {"ok": True}) == (done.status, done.output)
    assert await jobs.count_jobs() == {"completed": {"resize": 1}}
    assert await jobs.delete_job("a")
    assert await jobs.get_job("a") is None


async def test_batches_and_pages_go_through_it(jobs: AsyncJobRepository) -> None:
    assert await jobs.add_jobs([job("a"), job("b"), job("a")]) == [True, True, False]
    assert len(await jobs.fetch_next_jobs(["resize"], 5)) == 2
    assert await jobs.finish_jobs({"a": completed(), "c": completed()}) == {"a": True, "c": False}

    page = await jobs.find_jobs(JobFilter(statuses=[JobStatus.completed]), limit=1)
    assert [found.job_id for found in page.jobs] == ["a"]


async def test_what_operators_do_goes_through_it(jobs: AsyncJobRepository) -> None:
    await jobs.add_job(job("a"))
    await jobs.fetch_next_job(["resize"])
    assert await jobs.release_job("a")
    await jobs.fetch_next_job(["resize"])
    assert await jobs.cancel_job("a", "not needed")
    with pytest.raises(JobCancelled):
        await jobs.update_job("a", at(1))
    await jobs.update_job("a", failed())

    assert [attempt.error for attempt in await jobs.attempts("a")] == ["cancelled: not needed"]
    assert await jobs.retry_job("a")


async def test_calls_run_outside_the_loops_thread(
    jobs: AsyncJobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is asked in the thread in which a call runs."""
    threads: set[int] = set()
    ask = time.time_ns

    def asked() -> int:
        threads.add(threading.get_ident())
        return ask()

    monkeypatch.setattr(time, "time_ns", asked)
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(jobs.add_job, job(f"job-{number}"))

    assert threads
    assert threading.get_ident() not in threads
