"""Waiting on an event loop: as in threads, and without one each."""

import threading
from typing import Final

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import Engine

from cl_server_shared.jobs.async_repository import AsyncJobRepository
from tests.support.repositories import at, completed, job, repository_on

pytestmark = pytest.mark.anyio
pytest_plugins = ["tests.support.databases"]

RESIZE: Final = ["resize"]


@pytest.fixture
def jobs(engine: Engine) -> AsyncJobRepository:
    return AsyncJobRepository(repository_on(engine))


async def test_a_wait_ends_with_the_final_record(jobs: AsyncJobRepository) -> None:
    await jobs.add_job(job())
    found: list[object] = []

    async def wait() -> None:
        found.append(await jobs.wait_for_job("job", 20))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.1)
        await jobs.update_job("job", at(50))
        await jobs.update_job("job", completed())

    assert found == [job(status="completed", progress=100)]


async def test_what_is_final_or_not_there_needs_no_wait(jobs: AsyncJobRepository) -> None:
    await jobs.add_job(job(status="completed", progress=100))

    assert await jobs.wait_for_job("job", 0) == job(status="completed", progress=100)
    assert await jobs.wait_for_job("unknown", None) is None
    assert [seen async for seen in jobs.watch_job("unknown")] == []


async def test_a_wait_that_is_over_is_told(jobs: AsyncJobRepository) -> None:
    await jobs.add_job(job())

    with pytest.raises(TimeoutError, match=r"job 'job' is not final after 0\.2 s"):
        await jobs.wait_for_job("job", 0.2)
    with pytest.raises(TimeoutError, match=r"0\.2 s"):
        _ = [seen async for seen in jobs.watch_job("job", 0.2)]
    assert not await jobs.wait_for_work(["other"], 0.2)


async def test_a_watch_yields_each_change_and_stays_at_its_end(jobs: AsyncJobRepository) -> None:
    await jobs.add_job(job())
    watching = jobs.watch_job("job", 20)
    seen: list[int] = []
    async for record in watching:
        seen.append(record.progress)
        following = {0: at(10), 10: at(20), 20: completed()}.get(record.progress)
        if following is not None:
            await jobs.update_job("job", following)

    assert seen == [0, 10, 20, 100]
    assert [record async for record in watching] == []


async def test_who_waits_for_work_is_woken_by_a_job(jobs: AsyncJobRepository) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(add_later, jobs)
        assert await jobs.wait_for_work(RESIZE, 20)


async def add_later(jobs: AsyncJobRepository) -> None:
    await anyio.sleep(0.1)
    await jobs.add_job(job())


async def test_a_watch_that_is_left_early_needs_no_closing(jobs: AsyncJobRepository) -> None:
    await jobs.add_job(job())
    async for _ in jobs.watch_job("job"):
        break

    assert await jobs.delete_job("job")


async def watch_to_the_end(jobs: AsyncJobRepository) -> None:
    async for _ in jobs.watch_job("job"):
        pass


async def test_a_cancelled_wait_ends_at_once(jobs: AsyncJobRepository) -> None:
    await jobs.add_job(job())
    for wait in (
        lambda: jobs.wait_for_job("job", None),
        lambda: jobs.wait_for_work(["other"], None),
        lambda: watch_to_the_end(jobs),
    ):
        with anyio.fail_after(20), anyio.move_on_after(0.2) as scope:
            await wait()
        assert scope.cancelled_caught


@pytest.fixture
def file_jobs(sqlite_engine: Engine) -> AsyncJobRepository:
    return AsyncJobRepository(repository_on(sqlite_engine))


async def test_a_thousand_who_wait_take_no_thread_each(file_jobs: AsyncJobRepository) -> None:
    ids = [f"job-{number}" for number in range(1000)]
    await file_jobs.add_jobs([job(job_id) for job_id in ids])
    begun: list[str] = []
    ended: list[str] = []

    async def wait(job_id: str) -> None:
        begun.append(job_id)
        record = await file_jobs.wait_for_job(job_id, None)
        assert record is not None
        ended.append(record.job_id)

    limiter = anyio.to_thread.current_default_thread_limiter()
    async with anyio.create_task_group() as tasks:
        for job_id in ids:
            tasks.start_soon(wait, job_id)
        with anyio.fail_after(60):
            while len(begun) < len(ids) or limiter.borrowed_tokens:  # noqa: ASYNC110  # which tells nobody
                await anyio.sleep(0.01)
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("db-watch") == 1
        await file_jobs.finish_jobs({job_id: completed() for job_id in ids})

    assert sorted(ended) == sorted(ids)
