"""Rows, records and events as the model of a job's life puts them."""

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from cl_server_shared.jobs.repository import SqlJobRepository
from cl_server_shared.models import Job, JobFilter, JobRecord, JobRecordUpdate, JobStatus
from tests.faults.in_process_environment import DEFAULT_RETRIES
from tests.faults.model.reference import ModelJob, Report, Told, Visible

_WORKER_LOST: Final = re.compile(r"worker \S+ stopped answering, and all (\d+) tries are used up")


def rows_of(engine: Engine) -> dict[str, Visible]:
    """Read the rows as any service does."""
    with Session(engine) as session:
        return {
            job.job_id: Visible(
                job.status, job.progress, job.output, message(job.error_message), job.retry_count
            )
            for job in session.scalars(select(Job))
        }


def record_of(job: ModelJob) -> JobRecord:
    return JobRecord(
        job_id=job.job_id,
        task_type=job.task_type,
        params={"for": job.job_id},
        status=JobStatus(job.status),
        progress=job.progress,
        output=job.output,
        error_message=job.error_message,
    )


def plain(job: ModelJob) -> ModelJob:
    """Leave out what a batch cannot say."""
    return replace(job, priority=0, max_retries=DEFAULT_RETRIES)


def update_of(report: Report) -> JobRecordUpdate:
    return JobRecordUpdate.model_validate(report._asdict())


def by_job(told: Iterable[Told]) -> dict[str, list[Told]]:
    """Jobs whose leases end at one time are recovered in any order; each job's own is fixed."""
    sorted_ = sorted(told, key=lambda each: each.job_id)
    return {job_id: list(of_job) for job_id, of_job in groupby(sorted_, lambda each: each.job_id)}


def all_found(jobs: SqlJobRepository, wanted: JobFilter) -> list[JobRecord]:
    page = jobs.find_jobs(wanted, limit=2)
    found = [*page.jobs]
    while page.next is not None:
        page = jobs.find_jobs(wanted, limit=2, after=page.next)
        found += page.jobs
    fields = set(JobRecord.model_fields)
    return [JobRecord.model_validate(each.model_dump(include=fields)) for each in found]


def shown(record: JobRecord) -> JobRecord:
    return record.model_copy(update={"error_message": message(record.error_message)})


def message(error: str | None) -> str | None:
    """Say of a worker that was lost what the model says."""
    lost = None if error is None else _WORKER_LOST.fullmatch(error)
    return error if lost is None else f"lost, try {lost[1]}"
