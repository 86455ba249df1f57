"""What the processes do that the fault tests of the repository kill."""

import os
import time
import traceback
from itertools import count
from pathlib import Path

from cl_server_shared.database import make_engine
from cl_server_shared.errors import JobLost
from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import JobRecord, JobStatus
from tests.faults.journal import Journal, Step
from tests.faults.process_environment import ProcessEnvironment, number_of
from tests.support.repositories import at, completed, job
from tests.support.waiting import wait_until

TASK = "work"
_WAITING_JOBS = 24
_ADDED_AT_ONCE = 8
_FOR_EVER = 3600


def add_on_and_on(environment: ProcessEnvironment, journal_path: Path) -> None:
    """Keep a few jobs waiting, until killed."""
    os.nice(5)
    engine, journal = make_engine(environment.url), Journal(journal_path)
    repository = environment.repository(engine)
    journal.note(Step.ready)
    try:
        for number in count():
            wait_until(lambda: number_of(engine, JobStatus.queued) < _WAITING_JOBS, _FOR_EVER)
            _add_some(repository, journal, f"{os.getpid()}-{number}")
    except Exception:  # noqa: BLE001  # told by the journal, whose reader counts it
        journal.note(Step.failed, note=traceback.format_exc())


def _add_some(repository: SqlJobRepository, journal: Journal, name: str) -> None:
    job_ids = [f"{name}-{position}" for position in range(_ADDED_AT_ONCE)]
    journal.note(Step.add, name)
    told = repository.add_jobs([job(job_id, TASK) for job_id in job_ids])
    for job_id, is_new in zip(job_ids, told, strict=True):
        journal.note(Step.added, job_id, is_new)


def work_on_and_on(environment: ProcessEnvironment, journal_path: Path) -> None:
    """Claim, report and complete one job after the other, until killed."""
    os.nice(10)  # whoever kills must not wait for those who are killed
    journal = Journal(journal_path)
    repository = environment.repository()
    journal.note(Step.ready)
    try:
        while True:
            _work_once(repository, journal)
    except Exception:  # noqa: BLE001  # told by the journal, whose reader counts it
        journal.note(Step.failed, note=traceback.format_exc())


def _work_once(repository: SqlJobRepository, journal: Journal) -> None:
    journal.note(Step.claim)
    claimed = repository.fetch_next_job([TASK])
    if claimed is None:
        journal.note(Step.found_nothing)
        time.sleep(0.005)
        return
    journal.note(Step.claimed, claimed.job_id)
    try:
        _finish(repository, journal, claimed)
    except JobLost:
        journal.note(Step.progressed, claimed.job_id, note="lost")


def _finish(repository: SqlJobRepository, journal: Journal, claimed: JobRecord) -> None:
    job_id = claimed.job_id
    for progress in (25, 50, 75):
        journal.note(Step.progress, job_id)
        told = repository.update_job(job_id, at(progress))
        journal.note(Step.progressed, job_id, told)
    token = f"{os.getpid()}-{time.monotonic_ns()}"
    journal.note(Step.complete, job_id)
    told = repository.update_job(job_id, completed({"token": token}))
    journal.note(Step.completed, job_id, token if told else "")
