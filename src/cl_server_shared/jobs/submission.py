"""A new job as its caller brings it, checked before the database sees it."""

from typing import NamedTuple

from cl_server_shared.jobs.checks import checked_length, checked_record, json_text
from cl_server_shared.jobs.plain import is_percentage, is_plain_message, is_plain_name
from cl_server_shared.jobs.policy import JobPolicy
from cl_server_shared.models import JobRecord, JobStatus
from cl_server_shared.models.json_object import plain_json
from cl_server_shared.protocols import JobRecordLike


class Submission(NamedTuple):
    """What a new job is to be; `params` and `output` are JSON text."""

    job_id: str
    task_type: str
    params: str
    status: JobStatus
    progress: int
    output: str | None
    error_message: str | None


def checked_submission(job: JobRecordLike, policy: JobPolicy) -> Submission:
    """Return *job* as it will be stored, checked now: a record may have been changed since made.

    Raises:
        InvalidJobError: it cannot be stored.
    """
    plain = _plain_submission(job) if type(job) is JobRecord else None
    if plain is None:
        return _validated_submission(job, policy.json_max_bytes)
    checked_length("params", plain.params, policy.json_max_bytes)
    checked_length("output", plain.output or "", policy.json_max_bytes)
    return plain


def _plain_submission(job: JobRecord) -> Submission | None:
    """Take a record that is beyond doubt valid, at a fifth of what validating it costs."""
    given = job.output
    params, output = plain_json(job.params), None if given is None else plain_json(given)
    if params is None or (output is None and given is not None):
        return None
    plain = Submission(
        job.job_id, job.task_type, params, job.status, job.progress, output, job.error_message
    )
    return plain if _is_plain(plain) else None


def _is_plain(submission: Submission) -> bool:
    return (
        is_plain_name(submission.job_id)
        and is_plain_name(submission.task_type)
        and type(submission.status) is JobStatus
        and is_percentage(submission.progress)
        and is_plain_message(submission.error_message)
    )


def _validated_submission(job: JobRecordLike, max_bytes: int) -> Submission:
    record = checked_record(job)
    output = record.output
    return Submission(
        record.job_id,
        record.task_type,
        json_text("params", record.params, max_bytes),
        record.status,
        record.progress,
        None if output is None else json_text("output", output, max_bytes),
        record.error_message,
    )
