"""A database with one job and three workers, and what they may do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from cl_server_shared.models import Job, JobRecordUpdate
from tests.faults.in_process_environment import LEASE_SECONDS, Worker, World
from tests.support.repositories import at, completed, job

RESIZE: Final = ["resize"]
FIRST, SECOND, THIRD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Stage:
    """A database with one job, `job`, and three workers; the first is who claims it, if anyone."""

    world: World
    workers: tuple[Worker, ...]
    claimers: set[int] = field(default_factory=set)
    without_files: list[str] = field(default_factory=list)

    def fetch(self, who: int) -> str | None:
        found = self.workers[who].jobs.fetch_next_job(RESIZE)
        if found is not None and found.job_id == "job":
            self.claimers.add(who)
        return None if found is None else found.job_id

    def complete(self, who: int) -> bool:
        is_done = self.workers[who].jobs.update_job("job", completed({"by": who}))
        if is_done:
            self.claimers.discard(who)
        return is_done


type Does = Callable[[Stage], object]


def add(max_retries: int = 1) -> Does:
    return lambda stage: stage.workers[SECOND].jobs.add_job(job(), max_retries=max_retries)


def add_next(stage: Stage) -> object:
    return stage.workers[SECOND].jobs.add_job(job("next"))


def fetch(who: int) -> Does:
    return lambda stage: stage.fetch(who)


def lease_ends(stage: Stage) -> None:
    stage.world.clock.advance(LEASE_SECONDS)


def complete(who: int) -> Does:
    return lambda stage: stage.complete(who)


def complete_alike(who: int) -> Does:
    return lambda stage: stage.workers[who].jobs.update_job("job", completed({"by": "both"}))


def complete_in_a_batch(who: int) -> Does:
    def act(stage: Stage) -> object:
        updates = {"unknown": at(1), "job": completed({"by": who})}
        is_done = stage.workers[who].jobs.finish_jobs(updates)["job"]
        if is_done:
            stage.claimers.discard(who)
        return is_done

    return act


def report(who: int, update: JobRecordUpdate) -> Does:
    return lambda stage: stage.workers[who].jobs.update_job("job", update)


def cancel(who: int) -> Does:
    return lambda stage: stage.workers[who].jobs.cancel_job("job", "no need")


def release(who: int) -> Does:
    return lambda stage: stage.workers[who].jobs.release_job("job")


def retry(who: int) -> Does:
    return lambda stage: stage.workers[who].jobs.retry_job("job")


def recover(who: int) -> Does:
    return lambda stage: stage.workers[who].jobs.recover_expired()


def renew(who: int) -> Does:
    return lambda stage: stage.workers[who].leases.renew()


def replace_job(who: int) -> Does:
    def act(stage: Stage) -> object:
        jobs = stage.workers[who].jobs
        return jobs.delete_job("job"), jobs.add_job(job())

    return act


def purge(who: int) -> Does:
    def act(stage: Stage) -> object:
        jobs, before_ms = stage.workers[who].jobs, stage.world.clock.now_ms() + 1
        return tuple(jobs.purge_finished(before_ms, 1, stage.without_files.append))

    return act


def state_of(stage: Stage) -> str:
    """Say how the job is, in words."""
    with Session(stage.world.engine) as session:
        found = session.scalars(select(Job).where(col(Job.job_id) == "job")).one_or_none()
    if found is None:
        return "gone"
    by = f" by {found.output['by']}" if found.output else ""
    retried = f", retried {found.retry_count}" if found.retry_count else ""
    return f"{found.status}{by}{retried}"
