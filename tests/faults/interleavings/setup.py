"""A database with one job and three workers, and what they may do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from cl_server_shared.models import Job, JobRecordUpdate
from tests.faults.in_process_environment import LEASE_SECONDS, InProcessEnvironment, Worker
from tests.support.repositories import at, completed, job

RESIZE: Final = ["resize"]
FIRST, SECOND, THIRD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Setup:
    """A database with one job, `job`, and three workers; the first is who claims it, if anyone."""

    environment: InProcessEnvironment
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


type Action = Callable[[Setup], object]


def add(max_retries: int = 1) -> Action:
    return lambda setup: setup.workers[SECOND].jobs.add_job(job(), max_retries=max_retries)


def add_next(setup: Setup) -> object:
    return setup.workers[SECOND].jobs.add_job(job("next"))


def fetch(who: int) -> Action:
    return lambda setup: setup.fetch(who)


def lease_ends(setup: Setup) -> None:
    setup.environment.clock.advance(LEASE_SECONDS)


def complete(who: int) -> Action:
    return lambda setup: setup.complete(who)


def complete_alike(who: int) -> Action:
    return lambda setup: setup.workers[who].jobs.update_job("job", completed({"by": "both"}))


def complete_in_a_batch(who: int) -> Action:
    def action(setup: Setup) -> object:
        updates = {"unknown": at(1), "job": completed({"by": who})}
        is_done = setup.workers[who].jobs.finish_jobs(updates)["job"]
        if is_done:
            setup.claimers.discard(who)
        return is_done

    return action


def report(who: int, update: JobRecordUpdate) -> Action:
    return lambda setup: setup.workers[who].jobs.update_job("job", update)


def cancel(who: int) -> Action:
    return lambda setup: setup.workers[who].jobs.cancel_job("job", "no need")


def release(who: int) -> Action:
    return lambda setup: setup.workers[who].jobs.release_job("job")


def retry(who: int) -> Action:
    return lambda setup: setup.workers[who].jobs.retry_job("job")


def recover(who: int) -> Action:
    return lambda setup: setup.workers[who].jobs.recover_expired()


def renew(who: int) -> Action:
    return lambda setup: setup.workers[who].leases.renew()


def replace_job(who: int) -> Action:
    def action(setup: Setup) -> object:
        jobs = setup.workers[who].jobs
        return jobs.delete_job("job"), jobs.add_job(job())

    return action


def purge(who: int) -> Action:
    def action(setup: Setup) -> object:
        jobs, before_ms = setup.workers[who].jobs, setup.environment.clock.now_ms() + 1
        return tuple(jobs.purge_finished(before_ms, 1, setup.without_files.append))

    return action


def state_of(setup: Setup) -> str:
    """Say how the job is, in words."""
    with Session(setup.environment.engine) as session:
        found = session.scalars(select(Job).where(col(Job.job_id) == "job")).one_or_none()
    if found is None:
        return "gone"
    by = f" by {found.output['by']}" if found.output else ""
    retried = f", retried {found.retry_count}" if found.retry_count else ""
    return f"{found.status}{by}{retried}"
